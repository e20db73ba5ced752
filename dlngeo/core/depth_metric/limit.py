"""The depth metric at infinite depth, scaled by ``N``."""

import numpy

from dlngeo.core.base.arrays import Array, namespace, symmetric_part, transpose
from dlngeo.core.base.checks import check_range
from dlngeo.core.base.primitives import Primitive, refuse
from dlngeo.core.networks.blocks import Blocks, join, split
from dlngeo.core.networks.frames import check_positive, singular_frames
from dlngeo.core.networks.jacobi import log_mean_kernel

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
