r"""The observable space ``𝔐_r`` of end-to-end matrices, and the depth metric ``g^N``.

The metric is given by the operator

.. math:: A_{N,X}(P) = \sum_{p=1}^{N} (XX^T)^{(N-p)/N} P (X^TX)^{(p-1)/N},
          \quad g^N_X(Z, Z') = \mathrm{tr}(Z^T A_{N,X}^{-1} Z'),

which multiplies the entry ``(k, l)`` in the singular frames of ``X`` by the kernel
``r_kl``. At infinite depth the metric is scaled by ``N``.
"""

import math

from dlngeo.core.arrays import Array, is_traced, namespace, transpose
from dlngeo.core.frames import (
    Blocks,
    SingularFrames,
    check_positive,
    join,
    singular_frames,
    split,
)
from dlngeo.core.jacobi import depth_kernel, log_depth_kernel, log_mean_kernel
from dlngeo.core.network import (
    adjoint_differential,
    differential,
    factorize,
    inverse_gram,
    layers_of,
    network_shape,
)


def check_observable(matrix: Array, depth: float, rank: int | None = None) -> int:
    """Return the checked rank of a matrix that stands for a network of the given depth.

    Raises
    ------
    ValueError
        If the depth is not a positive integer or infinity, the rank does not fit the
        shape, an entry is NaN or infinite, or the depth is infinite and the matrix not
        square of full rank.
    """
    if depth != math.inf:
        return network_shape(matrix, depth, None, rank)[1]
    _, rank = network_shape(matrix, 1, None, rank)
    rows, columns = matrix.shape[-2:]
    if not rows == columns == rank:
        raise ValueError(
            "the depth metric of infinite depth exists for square matrices of full rank "
            f"only, got shape ({rows}, {columns}) and rank {rank}: use a finite depth."
        )
    return rank


def _kernels(frames: SingularFrames, depth: float) -> tuple[Array, Array]:
    """Return ``r_kl`` and ``r_k0``, the weights of the core and of the null blocks."""
    sigma = frames.sigma
    if depth == math.inf:
        return log_mean_kernel(sigma, sigma), sigma
    lam = sigma ** (1 / depth)
    return depth_kernel(lam, lam, int(depth)), lam ** (2 * (depth - 1))


def _thin_layers(matrix: Array, depth: int, rank: int) -> tuple[Array, ...]:
    """Return balanced layers over a matrix whose hidden widths are the rank."""
    rows, columns = matrix.shape[-2:]
    return layers_of(factorize(matrix, depth, (columns, *[rank] * (depth - 1), rows), rank))


def _scaled(blocks: Blocks, core: Array, null: Array) -> Blocks:
    left, right = blocks.left_null, blocks.right_null
    return Blocks(
        blocks.core * core,
        None if left is None else left * null[..., None, :],
        None if right is None else null[..., :, None] * right,
    )


def sharp(matrix: Array, covector: Array, depth: float, rank: int | None = None) -> Array:
    r"""Raise an index with the depth metric: ``P^♯ = A_{N,X}(P)``.

    The Riemannian gradient of ``E`` is ``A_{N,X}(∇E)``, and the gradient flow of a
    balanced network runs along its negative.

    Parameters
    ----------
    matrix : array-like, shape=[..., m, n]
        Base point ``X``.
    covector : array-like, shape=[..., m, n]
        Matrix ``P``.
    depth : int or inf
        Depth ``N``.
    rank : int, optional
        Rank of ``X``, full by default.

    Returns
    -------
    tangent_vec : array-like, shape=[..., m, n]

    References
    ----------
    [BRTW22]; [ACH18]; [CMV22] for infinite depth; THEORY 3.
    """
    rank = check_observable(matrix, depth, rank)
    if depth == 1:
        return tangent_projection(matrix, covector, rank)
    if is_traced(matrix) and depth != math.inf:
        layers = _thin_layers(matrix, int(depth), rank)
        return differential(layers, adjoint_differential(layers, covector))
    frames = singular_frames(matrix, rank)
    core, null = _kernels(frames, depth)
    blocks = split(covector, frames.left, frames.right)
    return join(_scaled(blocks, core, null), frames.left, frames.right)


def flat(matrix: Array, tangent_vec: Array, depth: float, rank: int | None = None) -> Array:
    r"""Lower an index with the depth metric: ``Z^♭ = A_{N,X}^{-1}(Z)``.

    Parameters
    ----------
    matrix : array-like, shape=[..., m, n]
        Base point ``X`` of the given rank.
    tangent_vec : array-like, shape=[..., m, n]
        Tangent vector ``Z``; a part between the null spaces is dropped.
    depth : int or inf
        Depth ``N``.
    rank : int, optional
        Rank of ``X``, full by default.

    Returns
    -------
    covector : array-like, shape=[..., m, n]

    Raises
    ------
    ValueError
        If the matrix has a lower rank.

    References
    ----------
    [BRTW22]; THEORY 3.
    """
    rank = check_observable(matrix, depth, rank)
    if depth == 1:
        return tangent_projection(matrix, tangent_vec, rank)
    if is_traced(matrix) and depth != math.inf:
        return inverse_gram(_thin_layers(matrix, int(depth), rank), tangent_vec, rank)
    frames = singular_frames(matrix, rank)
    check_positive(frames.sigma, rank)
    core, null = _kernels(frames, depth)
    blocks = split(tangent_vec, frames.left, frames.right)
    return join(_scaled(blocks, 1 / core, 1 / null), frames.left, frames.right)


def tangent_projection(matrix: Array, vector: Array, rank: int | None = None) -> Array:
    r"""Project a matrix on the tangent space ``T_X 𝔐_r``, orthogonally for every depth.

    .. math:: V - (I - U U^T) V (I - V_0 V_0^T)

    with ``U, V_0`` the singular frames of ``X``. All of the metrics ``g^N`` agree on which
    part is normal: it is the one between the null spaces.

    Parameters
    ----------
    matrix : array-like, shape=[..., m, n]
        Base point ``X``.
    vector : array-like, shape=[..., m, n]
    rank : int, optional
        Rank of ``X``, full by default.

    Returns
    -------
    tangent_vec : array-like, shape=[..., m, n]

    References
    ----------
    THEORY 3.
    """
    rank = check_observable(matrix, 1, rank)
    xp = namespace(matrix, vector)
    if rank == min(matrix.shape[-2:]):
        return vector + xp.zeros_like(matrix)
    # Projectors from the balanced layers of depth 2, which can be differentiated.
    right, left = _thin_layers(matrix, 2, rank)
    left_null = vector - left @ xp.linalg.solve(transpose(left) @ left, transpose(left) @ vector)
    gram = right @ transpose(right)
    right_part = left_null @ transpose(right) @ xp.linalg.solve(gram, right)
    return vector - (left_null - right_part)


def log_volume_density(matrix: Array, depth: float) -> Array:
    r"""Return the logarithm of the density of the volume of ``g^N`` against Lebesgue's.

    .. math:: -\tfrac12 \sum_k \log(N σ_k^{2-2/N}) - \sum_{k<l} \log r_{kl}

    Parameters
    ----------
    matrix : array-like, shape=[..., d, d]
        Square matrix of full rank.
    depth : int or inf
        Depth ``N``.

    Returns
    -------
    log_density : array-like, shape=[...]

    Raises
    ------
    ValueError
        If the matrix is not square and of full rank.

    References
    ----------
    [MY25]; THEORY 3.
    """
    rank = check_observable(matrix, depth)
    if matrix.shape[-2] != matrix.shape[-1]:
        raise ValueError(
            "the volume density against Lebesgue's measure needs a square matrix, got shape "
            f"{tuple(matrix.shape[-2:])}: rectangular matrices of a rank are no open set."
        )
    sigma = singular_frames(matrix, rank).sigma
    check_positive(sigma, rank)
    xp = namespace(matrix)
    if depth == math.inf:
        kernel = xp.log(log_mean_kernel(sigma, sigma))
    else:
        lam = sigma ** (1 / depth)
        kernel = log_depth_kernel(lam, lam, int(depth))
    # All ordered pairs: every k < l twice, every k once.
    return -xp.sum(kernel, (-2, -1)) / 2
