r"""Volumes of orbits, Boltzmann entropy, free energy.

The fibre over ``X`` in the balanced manifold is an orbit of ``O(d_1) × ... × O(d_{N-1})``.
The logarithm of its volume is the Boltzmann entropy of the group of networks that share
the end-to-end matrix ([MY25]). Natural logarithms throughout.

References
----------
[MY25]; THEORY 4.
"""

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy

from dlngeo.core.base.arrays import (
    Array,
    diagonal_matrix,
    is_traced,
    namespace,
    off_diagonal,
    round_off,
    symmetric_part,
)
from dlngeo.core.base.checks import (
    float_array,
    in_range,
    integer,
    positive,
    real_array,
    where,
)
from dlngeo.core.base.functions import call, function
from dlngeo.core.base.primitives import primitive, rules_of_gradients
from dlngeo.core.networks.blocks import Blocks, join, split
from dlngeo.core.networks.factors import (
    Factors,
    check_widths,
    is_network,
    layers_of,
    network_shape,
    widths_of,
)
from dlngeo.core.networks.frames import exact_frames, singular_frames
from dlngeo.core.networks.jacobi import (
    log_depth_kernel_curvature,
    log_depth_kernel_derivative,
    log_depth_kernel_second_derivative,
    log_pair_kernel,
)
from dlngeo.core.networks.network import end_to_end

_WIDEST = 10**6
"""Width beyond which a volume, a sum over the dimensions, takes too long."""


def log_stiefel_volume(width: int, rank: int) -> float:
    r"""Return the logarithm of the volume of the Stiefel manifold ``St(d, r)``.

    .. math:: \mathrm{vol}\, St(d, r) = \prod_{k=d-r+1}^{d} \frac{2 π^{k/2}}{Γ(k/2)}

    The product of the volumes of unit spheres ``S^{k-1}``: every entry of the skew part
    has weight one. ``St(d, d) = O(d)`` has two components.

    Parameters
    ----------
    width, rank : int
        ``d`` and ``r``.

    Returns
    -------
    log_volume : float
    """
    width, rank = integer(width, "the width", most=_WIDEST), integer(rank, "the rank", 0)
    if not rank <= width:
        raise ValueError(f"the rank must be between 0 and the width {width}, got {rank}.")
    return _log_stiefel_volume(width, rank)


@functools.lru_cache(256)
def _log_stiefel_volume(width: int, rank: int) -> float:
    return sum(
        math.log(2) + k / 2 * math.log(math.pi) - math.lgamma(k / 2)
        for k in range(width - rank + 1, width + 1)
    )


def log_orthogonal_volume(width: int) -> float:
    r"""Return the logarithm of the volume ``c_d`` of ``O(d)`` in the Frobenius metric.

    .. math:: c_d = 2^{d(d-1)/4} \prod_{k=1}^{d} \frac{2 π^{k/2}}{Γ(k/2)}
    """
    width = integer(width, "the width", most=_WIDEST)
    return log_stiefel_volume(width, width) + width * (width - 1) / 4 * math.log(2)


def spectral_entropy(singular_values: Array, widths: Sequence[int]) -> Array:
    r"""Return the Boltzmann entropy as a function of the singular values.

    .. math:: S = \sum_{p=1}^{N-1} \Big[ \log \mathrm{vol}\, St(d_p, r)
              + \tfrac12 \dim St(d_p, r) \log 2 + (d_p - r) \sum_k \log λ_k \Big]
              + \tfrac12 \sum_{k<l} \log r_{kl}

    Parameters
    ----------
    singular_values : array-like, shape=[..., r]
        Positive singular values ``σ`` of the end-to-end matrix, ``λ = σ^{1/N}``.
    widths : sequence of int
        Widths ``(d_0, ..., d_N)``.

    Returns
    -------
    entropy : array-like, shape=[...]

    References
    ----------
    [MY25] Thm 1; THEORY 4 for general widths and rank.
    """
    sigma, widths = _checked_values(singular_values, widths)
    return spectral_entropy_of_logs(namespace(sigma).log(sigma) / (len(widths) - 1), widths)


def _checked_values(values: Array, widths: Sequence[int]) -> tuple[Array, tuple[int, ...]]:
    values = real_array(values, "the array of singular values")
    rank = values.shape[-1] if values.ndim else 0
    if rank == 0:
        raise ValueError(f"expected singular values of shape [..., r], got {tuple(values.shape)}.")
    return values, check_widths(widths, rank)[0]


def spectral_entropy_of_logs(logs: Array, widths: Sequence[int]) -> Array:
    """Return `spectral_entropy` as a function of ``log λ = log σ / N``, shape=[..., r]."""
    depth, rank = len(widths) - 1, logs.shape[-1]
    xp = namespace(logs)
    constant = sum(
        _log_stiefel_volume(width, rank) + (width * rank - rank * (rank + 1) / 2) * math.log(2) / 2
        for width in widths[1:-1]
    )
    surplus = sum(width - rank for width in widths[1:-1])
    rows, columns = numpy.triu_indices(rank, 1)
    pairs = xp.sum(log_pair_kernel(logs[..., rows], logs[..., columns], depth), axis=-1)
    return constant + surplus * xp.sum(logs, axis=-1) + pairs / 2


def spectral_entropy_gradient(singular_values: Array, widths: Sequence[int]) -> Array:
    r"""Return the derivatives ``∂S/∂σ_k`` of the entropy, shape=[..., r].

    .. math:: \frac{1}{N σ_k} \Big[ \sum_{p=1}^{N-1} (d_p - r)
              + \tfrac12 \sum_{l≠k} \frac{∂ \log r_{kl}}{∂ \log λ_k} \Big]

    a sum of positive terms, regular where singular values meet.

    Parameters as in `spectral_entropy`.
    """
    singular_values, widths = _checked_values(singular_values, widths)
    depth, rank = len(widths) - 1, singular_values.shape[-1]
    xp = namespace(singular_values)
    lam = singular_values ** (1 / depth)
    pairs = xp.sum(off_diagonal(log_depth_kernel_derivative(lam, lam, depth)), axis=-1)
    surplus = sum(width - rank for width in widths[1:-1])
    return (surplus + pairs / 2) / (depth * singular_values)


def _spectral_entropy_hessian(singular_values: Array, widths: Sequence[int]) -> Array:
    """Return the second derivatives ``∂²S/∂σ_k∂σ_l``, shape=[..., r, r]."""
    depth, rank = len(widths) - 1, singular_values.shape[-1]
    xp = namespace(singular_values)
    lam = singular_values ** (1 / depth)
    mixed = off_diagonal(log_depth_kernel_curvature(lam, lam, depth)) / depth**2
    own = xp.sum(off_diagonal(log_depth_kernel_second_derivative(lam, lam, depth)), axis=-1)
    surplus = sum(width - rank for width in widths[1:-1])
    by_log = diagonal_matrix(own / 2 - surplus / depth) - mixed / 2
    return by_log / singular_values[..., :, None] / singular_values[..., None, :]


def _divided_difference(sigma: Array, slopes: Array, hessian: Array) -> Array:
    """Return ``(g_k - g_l) / (σ_k - σ_l)``, to ``ε^{2/3}`` also where ``σ_k ≈ σ_l``.

    Near coincidence it is the mean of ``∂_k g_k - ∂_l g_k`` and its mirror image, which
    is right to second order in the gap.
    """
    xp = namespace(sigma)
    gap = sigma[..., :, None] - sigma[..., None, :]
    own = xp.einsum("...kk->...k", hessian)
    mean = (own[..., :, None] + own[..., None, :]) / 2 - symmetric_part(hessian)
    is_near = xp.abs(gap) <= round_off(sigma) ** (1 / 3) * sigma[..., :, None]
    quotient = (slopes[..., :, None] - slopes[..., None, :]) / xp.where(is_near, 1.0, gap)
    return xp.where(is_near, mean, quotient)


def _check_network(
    matrix: Array, widths: Sequence[int], rank: int | None
) -> tuple[Array, tuple[int, ...], int]:
    """Return a matrix, the widths of a network over it, and its rank, after their checks."""
    if isinstance(matrix, tuple | list) or is_network(matrix):
        raise TypeError(
            f"expected an end-to-end matrix, got {type(matrix).__name__}: of factors and networks "
            "take network_entropy."
        )
    matrix = real_array(matrix, "the matrix")
    widths, rank = check_widths(widths, rank)
    depth = len(widths) - 1
    if depth > 1 and set(widths) == {*matrix.shape[-2:]} and matrix.shape[-3:-2] == (depth,):
        raise ValueError(
            f"an array of shape {tuple(matrix.shape)} may be a batch of matrices, and the factors "
            f"of a network of the widths {widths}: of factors take network_entropy, and of a batch "
            "X of as many matrices X[..., None, :, :]."
        )
    return matrix, *network_shape(matrix, depth, widths, rank)


@primitive(static=("widths", "rank"))
def _gradient_change(
    matrix: Array, tangent: Array, widths: Sequence[int], rank: int | None
) -> Array:
    """Return the derivative of `entropy_gradient` along a tangent vector."""
    matrix, widths, rank = _check_network(matrix, widths, rank)
    # Daleckii–Krein for U diag(g(σ)) Vᵀ: the symmetric part of the core is multiplied by
    # divided differences of g, the skew part and the null blocks by those at -σ and 0.
    xp = namespace(matrix, tangent)
    frames = singular_frames(matrix, rank)
    sigma = frames.sigma
    slopes = spectral_entropy_gradient(sigma, widths)
    hessian = _spectral_entropy_hessian(sigma, widths)
    blocks = split(tangent, frames.left, frames.right)
    symmetric = symmetric_part(blocks.core)
    diagonal = xp.einsum("...kk->...k", symmetric)
    change = xp.einsum("...kl,...l->...k", hessian, diagonal)
    core = (symmetric - diagonal_matrix(diagonal)) * _divided_difference(sigma, slopes, hessian)
    sums = (slopes[..., :, None] + slopes[..., None, :]) / (
        sigma[..., :, None] + sigma[..., None, :]
    )
    core = core + diagonal_matrix(change) + (blocks.core - symmetric) * sums
    ratio = slopes / sigma
    null = Blocks(core, blocks.left_null, blocks.right_null).scaled(1.0, ratio)
    return join(null, frames.left, frames.right)


def _gradient_jvp(arguments: tuple, result: Array, tangents: tuple, **static: Any) -> Array:
    return _gradient_change(arguments[0], tangents[0], **static)


def _gradient_vjp(arguments: tuple, result: Array, cotangent: Array, **static: Any) -> tuple[Array]:
    # A Hessian: the derivative of the gradient is symmetric.
    return (_gradient_change(arguments[0], cotangent, **static),)


@primitive(static=("widths", "rank"), jvp=_gradient_jvp, vjp=_gradient_vjp)
def entropy_gradient(matrix: Array, widths: Sequence[int], rank: int | None = None) -> Array:
    r"""Return the Euclidean gradient ``U diag(∂S/∂σ) Vᵀ`` of the entropy.

    Parameters and errors as in `entropy`.

    Returns
    -------
    gradient : array-like, shape=[..., d_N, d_0]
        A tangent vector of ``𝔐_r``: the gradient along matrices of the same rank.
    """
    matrix, widths, rank = _check_network(matrix, widths, rank)
    frames = exact_frames(matrix, rank)
    return frames.with_values(spectral_entropy_gradient(frames.sigma, widths))


def _entropy_gradients(matrix: Array, **static: Any) -> tuple[Array]:
    return (entropy_gradient(matrix, **static),)


@primitive(static=("widths", "rank"), **rules_of_gradients(_entropy_gradients))
def entropy(matrix: Array, widths: Sequence[int], rank: int | None = None) -> Array:
    r"""Return the Boltzmann entropy ``S(X) = log vol(O_X)`` of an end-to-end matrix.

    ``O_X`` is the orbit of balanced factors over ``X`` with its volume in parameter
    space. For square full rank ``S = (N-1) log c_d + ½ Σ_{k<l} log r_kl``; see
    `spectral_entropy` for every width and rank. A matrix does not tell the hidden widths of its
    network, on which the entropy depends: of factors, `network_entropy` knows them.

    Parameters
    ----------
    matrix : array-like, shape=[..., d_N, d_0]
    widths : sequence of int
        Widths ``(d_0, ..., d_N)`` of the network.
    rank : int, optional
        Rank of the matrix, ``min(widths)`` by default.

    Returns
    -------
    entropy : array-like, shape=[...]
        In nats.

    Raises
    ------
    ValueError
        If the matrix has another rank, the widths do not fit it, or a batch has the shape of the
        factors of the network, ``[..., N, d, d]``: give it an axis more, ``X[..., None, :, :]``.

    Notes
    -----
    It can be differentiated twice, also where singular values meet.

    References
    ----------
    [MY25] Thm 1; THEORY 4.
    """
    matrix, widths, rank = _check_network(matrix, widths, rank)
    return spectral_entropy(exact_frames(matrix, rank).sigma, widths)


def network_entropy(factors: Factors, rank: int | None = None) -> Array:
    """Return the Boltzmann entropy of the end-to-end matrix of a network.

    The factors need not be balanced: it is the `entropy` of their product among the networks of
    their widths.

    Parameters
    ----------
    factors : array-like, shape=[..., N, d, d], or sequence of shape=[..., d_p, d_{p-1}]
    rank : int, optional
        Rank of the product, ``min(widths)`` by default.

    Returns
    -------
    entropy : array-like, shape=[...]
        In nats.

    Raises
    ------
    ValueError
        If the product has another rank.

    References
    ----------
    [MY25] Thm 1; THEORY 4.
    """
    layers = layers_of(factors)
    # With an axis that tells matrices from factors, of which there may be as many.
    return entropy(end_to_end(layers)[..., None, :, :], widths_of(layers), rank)[..., 0]


def free_energy(
    energy: Callable[[Array], Array],
    matrix: Array,
    widths: Sequence[int],
    beta: Any,
    rank: int | None = None,
) -> Array:
    r"""Return the free energy ``F_β(X) = E(X) - S(X) / β``.

    Parameters
    ----------
    energy : callable
        ``E``, from arrays of shape=[..., d_N, d_0] to shape=[...].
    matrix : array-like, shape=[..., d_N, d_0]
    widths : sequence of int
        Widths ``(d_0, ..., d_N)`` of the network.
    beta : float, or array-like, shape=[...]
        Inverse temperature ``β > 0``; infinity gives the energy.
    rank : int, optional
        As in `entropy`.

    Returns
    -------
    free_energy : array-like, shape=[...]

    Raises
    ------
    ValueError
        If ``β`` is not positive, or `entropy` refuses its arguments.

    References
    ----------
    [MY25]; [Men24]; THEORY 4.
    """
    matrix = real_array(matrix, "the matrix")
    orbit = entropy(matrix, widths, rank)
    value = call(function(energy, "the energy"), "the energy", matrix)
    if not isinstance(value, int | float):
        value = float_array(value, "what the energy returned")
        if tuple(value.shape) != tuple(orbit.shape):
            raise ValueError(
                f"the energy must return a number for each matrix, shape {tuple(orbit.shape)}, got "
                f"{tuple(value.shape)}."
            )
    return in_range(value - orbit / _inverse_temperature(beta), "the free energy")


def _inverse_temperature(beta: Any) -> Any:
    """Return a positive number, infinity too, or an array of them."""
    if getattr(beta, "ndim", 0) == 0:
        return beta if beta == math.inf else positive(beta, "beta")
    beta = float_array(beta, "the array beta")
    is_positive = beta > 0
    if not is_traced(beta) and not bool(is_positive.all()):
        raise ValueError(f"beta must be positive, but is not in {where(~is_positive)}.")
    return beta
