r"""The observable space ``𝔐_r`` of end-to-end matrices, and the depth metric ``g^N``.

The metric is given by the operator

.. math:: A_{N,X}(P) = \sum_{p=1}^{N} (XX^T)^{(N-p)/N} P (X^TX)^{(p-1)/N},
          \quad g^N_X(Z, Z') = \mathrm{tr}(Z^T A_{N,X}^{-1} Z'),

which multiplies the entry ``(k, l)`` in the singular frames of ``X`` by the kernel
``r_kl``. At infinite depth the metric is scaled by ``N``.
"""

import math

import numpy

from dlngeo.core.arrays import (
    Array,
    Primitive,
    check_range,
    is_traced,
    namespace,
    real_array,
    refuse,
    scalar_primitive,
    symmetric_part,
    transpose,
)
from dlngeo.core.factors import checked_matrix, network_shape
from dlngeo.core.frames import (
    Blocks,
    SingularFrames,
    check_positive,
    exact_frames,
    frames_of_rank,
    join,
    scaled,
    singular_frames,
    split,
)
from dlngeo.core.jacobi import (
    depth_kernel,
    log_log_mean_kernel,
    log_mean_kernel,
    log_mean_kernel_derivative,
)
from dlngeo.core.network import adjoint_differential, differential, inverse_gram, thin_layers
from dlngeo.core.thermodynamics import entropy, log_orthogonal_volume


def check_observable(matrix: Array, depth: float, rank: int | None = None) -> int:
    """Return the checked rank of a matrix that stands for a network of the given depth.

    Raises
    ------
    ValueError
        If the depth is not a positive integer or infinity, the rank does not fit the
        shape, or the depth is infinite and the matrix not square of full rank.
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


def metric_weights(frames: SingularFrames, depth: float) -> tuple[Array, Array]:
    """Return ``r_kl`` and ``r_k0``, the weights of the core and of the null blocks.

    At infinite depth, where they are scaled by ``1/N``, there are no null blocks.
    """
    if depth == math.inf:
        return log_mean_kernel(frames.sigma, frames.sigma), 0 * frames.sigma
    lam = frames.sigma ** (1 / depth)
    return depth_kernel(lam, lam, int(depth)), lam ** (2 * (int(depth) - 1))


# At infinite depth there are no layers to differentiate through. The kernel is
# ∫ x^{1-s} y^s ds in the squares x, y of the singular values; its divided differences are
# integrals of positive terms, summed by Gauss–Legendre quadrature.
_NODES, _WEIGHTS = numpy.polynomial.legendre.leggauss(48)
QUADRATURE = [(float(t + 1) / 2, float(w) / 2) for t, w in zip(_NODES, _WEIGHTS, strict=True)]


def _power_differences(sigma: Array, power: float) -> Array:
    """Return ``(x_k^a - x_l^a) / (x_k - x_l)`` of the squares ``x = σ²``, ``0 ≤ a ≤ 1``."""
    xp = namespace(sigma)
    log = 2 * xp.log(sigma)
    gap = log[..., :, None] - log[..., None, :]
    middle = (log[..., :, None] + log[..., None, :]) / 2
    safe = xp.where(gap == 0, xp.ones_like(gap), gap / 2)
    ratio = xp.where(gap == 0, power * xp.ones_like(gap), xp.sinh(power * safe) / xp.sinh(safe))
    return xp.exp((power - 1) * middle) * ratio


def _limit_value(matrix: Array, vector: Array, inverse: bool) -> Array:
    frames = singular_frames(matrix, matrix.shape[-1])
    check_positive(frames.sigma, matrix.shape[-1])
    kernel = log_mean_kernel(frames.sigma, frames.sigma)
    check_range(kernel, divides=inverse)
    core = split(vector, frames.left, frames.right).core
    return join(Blocks(core / kernel if inverse else core * kernel), frames.left, frames.right)


def _limit_change_value(matrix: Array, covector: Array, velocity: Array) -> Array:
    """Return the derivative of ``A_∞(P)`` along a velocity of ``X``, at fixed ``P``."""
    left, sigma, right = singular_frames(matrix, matrix.shape[-1])
    core = transpose(left) @ covector @ right
    moved = transpose(left) @ velocity @ right
    by_rows = moved * sigma[..., None, :]
    by_columns = sigma[..., :, None] * moved
    d_left, d_right = by_rows + transpose(by_rows), by_columns + transpose(by_columns)
    change = 0.0
    for s, weight in QUADRATURE:
        difference = _power_differences(sigma, 1 - s)
        power = sigma ** (2 * s)
        change = change + weight * (
            (difference * d_left) @ (core * power[..., None, :])
            + (power[..., :, None] * core) @ (difference * d_right)
        )
    return left @ change @ transpose(right)


def _limit_slope_value(matrix: Array, covector: Array, cotangent: Array) -> Array:
    """Return the gradient by ``X`` of ``⟨C, A_∞(P)⟩``."""
    left, sigma, right = singular_frames(matrix, matrix.shape[-1])
    core = transpose(left) @ covector @ right
    pulled = transpose(left) @ cotangent @ right
    by_left = by_right = 0.0
    for s, weight in QUADRATURE:
        difference = weight * _power_differences(sigma, 1 - s)
        power = sigma ** (2 * s)
        by_left = by_left + difference * (pulled @ transpose(core * power[..., None, :]))
        by_right = by_right + difference * (transpose(power[..., :, None] * core) @ pulled)
    gradient = 2 * symmetric_part(by_left) * sigma[..., None, :]
    gradient = gradient + sigma[..., :, None] * 2 * symmetric_part(by_right)
    return left @ gradient @ transpose(right)


limit_change = Primitive(_limit_change_value, refuse, refuse)
limit_slope = Primitive(_limit_slope_value, refuse, refuse)


def _limit_jvp(arrays: tuple, result: Array, tangents: tuple, inverse: bool) -> Array:
    (matrix, vector), (velocity, change) = arrays, tangents
    if inverse:
        change = change - limit_change(matrix, result, velocity)
        return _limit(matrix, change, inverse=True)
    return _limit(matrix, change, inverse=False) + limit_change(matrix, vector, velocity)


def _limit_vjp(arrays: tuple, result: Array, cotangent: Array, inverse: bool) -> tuple:
    matrix, vector = arrays
    pulled = _limit(matrix, cotangent, inverse=inverse)
    if inverse:
        return -limit_slope(matrix, result, pulled), pulled
    return limit_slope(matrix, vector, cotangent), pulled


_limit = Primitive(_limit_value, _limit_jvp, _limit_vjp)


def _limit_volume_value(matrix: Array) -> Array:
    sigma = singular_frames(matrix, matrix.shape[-1]).sigma
    check_positive(sigma, matrix.shape[-1])
    xp = namespace(matrix)
    return -xp.sum(log_log_mean_kernel(sigma, sigma), axis=(-2, -1)) / 2


def _limit_volume_gradient_value(matrix: Array) -> Array:
    frames = singular_frames(matrix, matrix.shape[-1])
    derivative = log_mean_kernel_derivative(frames.sigma, frames.sigma)
    return frames.with_values(-namespace(matrix).sum(derivative, axis=-1) / frames.sigma)


_limit_volume_gradient = Primitive(_limit_volume_gradient_value, refuse, refuse)


_limit_volume = scalar_primitive(_limit_volume_value, _limit_volume_gradient)


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
    matrix = real_array(matrix, "the matrix")
    rank = check_observable(matrix, depth, rank)
    covector = checked_matrix(covector, *matrix.shape[-2:])
    if depth == 1:
        return tangent_projection(matrix, covector, rank)
    if depth == math.inf:
        return _limit(matrix, covector, inverse=False)
    if is_traced(matrix):
        layers = thin_layers(matrix, int(depth), rank)
        return differential(layers, adjoint_differential(layers, covector))
    frames = frames_of_rank(matrix, rank)
    core, null = metric_weights(frames, depth)
    check_range(core, divides=False)
    blocks = split(covector, frames.left, frames.right)
    return join(scaled(blocks, core, null), frames.left, frames.right)


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
        If the matrix has another rank.

    References
    ----------
    [BRTW22]; THEORY 3.
    """
    matrix = real_array(matrix, "the matrix")
    rank = check_observable(matrix, depth, rank)
    tangent_vec = checked_matrix(tangent_vec, *matrix.shape[-2:])
    if depth == 1:
        return tangent_projection(matrix, tangent_vec, rank)
    if depth == math.inf:
        return _limit(matrix, tangent_vec, inverse=True)
    if is_traced(matrix):
        # Below full rank the null spaces move with X, and what is dropped with them.
        tangent_vec = tangent_projection(matrix, tangent_vec, rank)
        covector = inverse_gram(thin_layers(matrix, int(depth), rank), tangent_vec, rank)
        return tangent_projection(matrix, covector, rank)
    frames = exact_frames(matrix, rank)
    core, null = metric_weights(frames, depth)
    check_range(core, divides=True)
    blocks = split(tangent_vec, frames.left, frames.right)
    return join(scaled(blocks, 1 / core, 1 / null), frames.left, frames.right)


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
    matrix = real_array(matrix, "the matrix")
    rank = check_observable(matrix, 1, rank)
    vector = checked_matrix(vector, *matrix.shape[-2:])
    if rank == min(matrix.shape[-2:]):
        # Everything is tangent; the sum broadcasts, and keeps the graph of derivatives.
        return vector + 0 * matrix
    xp = namespace(matrix, vector)
    # Projectors from the balanced layers of depth 2, which can be differentiated.
    right, left = thin_layers(matrix, 2, rank)
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
    matrix = real_array(matrix, "the matrix")
    rank = check_observable(matrix, depth)
    if matrix.shape[-2] != matrix.shape[-1]:
        raise ValueError(
            "the volume density against Lebesgue's measure needs a square matrix, got shape "
            f"{tuple(matrix.shape[-2:])}: rectangular matrices of a rank are no open set."
        )
    xp = namespace(matrix)
    if depth == math.inf:
        return _limit_volume(matrix)
    # ½ Σ_{k<l} log r_kl is the entropy without its constant.
    depth = int(depth)
    pairs = entropy(matrix, depth) - (depth - 1) * log_orthogonal_volume(rank)
    log_determinant = xp.linalg.slogdet(matrix)[1]
    diagonal = rank * math.log(depth) + (2 - 2 / depth) * log_determinant
    return -diagonal / 2 - 2 * pairs
