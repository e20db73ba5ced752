r"""The metric that training puts on the end-to-end matrices of relaxed balanced networks.

In the singular frames of ``X`` the Gram operator ``dφ dφ*`` of relaxed balanced factors
(`dlngeo.core.relaxed.strings`) multiplies the entry ``(k, l)`` by

.. math:: q[m_k, m_l] = \sum_{p=1}^{N} \prod_{j>p} (m_k - τ_j) \prod_{j<p} (m_l - τ_j),

the divided difference of ``q(m) = Π_p (m - τ_p)``, where a null vector has the ``m`` of its
string. Without offsets this is the kernel ``r_kl`` of balanced networks ([MPG25]; THEORY 6).

References
----------
[MPG25]; own derivation of the kernel and the layers; THEORY 6.
"""

import itertools
import math
from collections.abc import Sequence

import numpy

from dlngeo.core.base.arrays import Array, eye, from_numpy, is_traced, namespace, transpose
from dlngeo.core.base.checks import check_range, real_array
from dlngeo.core.base.primitives import primitive, refuse
from dlngeo.core.fibres.gram import gram_solve
from dlngeo.core.networks.blocks import Blocks, join, split
from dlngeo.core.networks.factors import checked_matrix
from dlngeo.core.networks.frames import (
    SingularFrames,
    check_positive,
    complement,
    frames_of_rank,
)
from dlngeo.core.networks.network import adjoint_differential, differential
from dlngeo.core.relaxed.strings import RelaxedNetwork


def _complete_frame(frame: Array) -> Array:
    """Return a square orthogonal matrix of which the first columns are the frame."""
    return namespace(frame).concat([frame, complement(frame)], axis=-1)


# As that of `balancing.factorize`: the derivative of some local section, right for functions of
# the factors that do not depend on the section.


def _layers_jvp(
    arguments: tuple, result: tuple, tangents: tuple, network: RelaxedNetwork
) -> tuple[Array, ...]:
    return adjoint_differential(result, gram_solve(result, tangents[0]))


def _layers_vjp(
    arguments: tuple, result: tuple, cotangents: tuple, network: RelaxedNetwork
) -> tuple[Array]:
    return (gram_solve(result, differential(result, cotangents)),)


@primitive(static=("network",), jvp=_layers_jvp, vjp=_layers_vjp)
def relaxed_layers(matrix: Array, network: RelaxedNetwork) -> tuple[Array, ...]:
    """Return relaxed balanced layers over a matrix, whose rank may also be lower.

    In the bases of the strings the hidden layers are diagonal.

    Parameters
    ----------
    matrix : array-like, shape=[..., d_N, d_0]
    network : RelaxedNetwork

    Returns
    -------
    layers : tuple of array-like, shape=[..., d_p, d_{p-1}]
    """
    widths, rank, depth = network.widths, network.rank, len(network.shifts)
    frames = frames_of_rank(matrix, rank)
    ends = {0: frames.right, depth: frames.left}
    constants = [numpy.zeros((rows, columns)) for columns, rows in itertools.pairwise(widths)]
    first_free = [rank] * (depth + 1)
    for first, last, level, number in network.strings:
        for p in range(first + 1, last + 1):
            value = math.sqrt(level - network.shifts[p - 1])
            for i in range(number):
                constants[p - 1][first_free[p] + i, first_free[p - 1] + i] = value
        for p in range(first, last + 1):
            first_free[p] += number
    layers = []
    for p, square in enumerate(network.squares(frames.sigma), start=1):
        root = square**0.5
        # In the bases of the strings, whole ones first.
        sides = [eye(widths[side], rank, matrix) for side in (p, p - 1)]
        layer = sides[0] * root[..., None, :] @ transpose(sides[1])
        if constants[p - 1].any():
            layer = layer + from_numpy(constants[p - 1], matrix)
        if p == 1:
            layer = layer @ transpose(_complete_frame(ends[0]))
        if p == depth:
            layer = _complete_frame(ends[depth]) @ layer
        layers.append(layer)
    return tuple(layers)


def gram_kernel(left: Sequence[Array], right: Sequence[Array]) -> Array:
    """Return ``Σ_p Π_{j>p} left_j(k) Π_{j<p} right_j(l)``, shape=[..., m, n].

    Parameters
    ----------
    left, right : sequence of array-like, shape=[..., m], shape=[..., n]
        ``m_k - τ_p`` for each ``p``.
    """
    kernel = power = 1 + 0 * (left[0][..., :, None] * right[0][..., None, :])
    for before, square in zip(right[:-1], left[1:], strict=True):
        power = power * before[..., None, :]
        kernel = kernel * square[..., :, None] + power
    return kernel


def _kernel_weights(
    network: RelaxedNetwork, sigma: Array
) -> tuple[Array, Array | None, Array | None]:
    """Return the kernel ``q[m_k, m_l]``, and its values at the left and the right null vectors.

    Parameters
    ----------
    network : RelaxedNetwork
    sigma : array-like, shape=[..., r]

    Returns
    -------
    core : array-like, shape=[..., r, r]
    left_null, right_null : array-like, shape=[..., r], or None
        ``q(m_k) / (m_k - t)`` for null vectors of level ``t``; None where there are none.
    """
    squares = network.squares(sigma)
    core = gram_kernel(squares, squares)
    nulls: list[Array | None] = []
    for levels in (network.left_levels, network.right_levels):
        if not levels:
            nulls.append(None)
            continue
        (level,) = levels
        own = network.shifts.index(level)
        others = [square for p, square in enumerate(squares) if p != own]
        nulls.append(math.prod(others, start=namespace(sigma).ones_like(sigma)))
    return core, nulls[0], nulls[1]


def _weighted_frames(
    matrix: Array, network: RelaxedNetwork, *, divides: bool
) -> tuple[SingularFrames, Blocks]:
    """Return singular frames and, in the shape of blocks, the kernel in them."""
    frames = frames_of_rank(matrix, network.rank)
    null_levels = network.left_levels | network.right_levels
    if null_levels - {network.top} or (divides and not network.is_complete):
        check_positive(frames.sigma, network.rank)
    core, left, right = _kernel_weights(network, frames.sigma)
    check_range(core, divides=divides)
    weights = Blocks(
        core,
        None if left is None else left[..., None, :],
        None if right is None else right[..., :, None],
    )
    return frames, weights


def raise_index(matrix: Array, covector: Array, network: RelaxedNetwork) -> Array:
    r"""Return ``dφ dφ*(P)`` at relaxed balanced factors over ``X``.

    The gradient flow of such a network runs along the negative of ``P = ∇E(X)``.

    Parameters
    ----------
    matrix : array-like, shape=[..., m, n]
        Base point ``X``. Its rank may be lower than the network's if the null vectors of the
        network, if any, have the top level.
    covector : array-like, shape=[..., m, n]
        Matrix ``P``.
    network : RelaxedNetwork

    Returns
    -------
    tangent_vec : array-like, shape=[..., m, n]
    """
    matrix = real_array(matrix, "the matrix")
    covector = checked_matrix(covector, matrix.shape[-2:], matrix)
    if is_traced(matrix):
        layers = relaxed_layers(matrix, network)
        return differential(layers, adjoint_differential(layers, covector))
    frames, weights = _weighted_frames(matrix, network, divides=False)
    blocks = split(covector, frames.left, frames.right)
    weighted = weights.map(lambda weight, block: weight * block, blocks)
    return join(weighted, frames.left, frames.right)


def lower_index(matrix: Array, tangent_vec: Array, network: RelaxedNetwork) -> Array:
    r"""Return the covector ``P`` with ``dφ dφ*(P) = Z``.

    Parameters
    ----------
    matrix : array-like, shape=[..., m, n]
        Base point ``X``. Its rank may be lower than the network's if the top level is a simple
        one, and that of the null vectors, if any.
    tangent_vec : array-like, shape=[..., m, n]
        Tangent vector ``Z``; a part between the null spaces is dropped.
    network : RelaxedNetwork

    Returns
    -------
    covector : array-like, shape=[..., m, n]

    Raises
    ------
    ValueError
        If the matrix has another rank and may not.

    Notes
    -----
    Derivatives at full rank ``min(m, n)`` only.
    """
    matrix = real_array(matrix, "the matrix")
    tangent_vec = checked_matrix(tangent_vec, matrix.shape[-2:], matrix)
    if is_traced(matrix):
        if network.rank < min(matrix.shape[-2:]):
            refuse()
        return gram_solve(relaxed_layers(matrix, network), tangent_vec)
    frames, weights = _weighted_frames(matrix, network, divides=True)
    blocks = split(tangent_vec, frames.left, frames.right)
    weighted = weights.map(lambda weight, block: block / weight, blocks)
    return join(weighted, frames.left, frames.right)
