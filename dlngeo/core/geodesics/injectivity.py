r"""Radii within which no two geodesics from a point meet: one that is found is the shortest.

``ρ = √N λ_r`` is the distance of ``X`` from the boundary. The radius of injectivity is at least
``l`` if ``R = l (1 + \arcsin(q)/q)``, ``q = √((N-1)/2) l / (λ_r - l/√N)``, is less than

.. math:: ρ (1 - e^{-φ/a}), \quad \cos φ + a \sin φ = e^{-φ/a}, \quad a^2 = N (N - 1), \; φ > 0.

No two geodesics so short meet of balanced factors over ``X`` with hidden layers as wide as the
rank, as they bend by at most ``√(N-1)/λ_r``; and no point so near is conjugate to ``X``, as
sectional curvature is at most ``0.9 N/λ_r²``. At depth one matrices are their own factors, which
bend by ``1/σ_r``: ``a = 1``, ``R = l``.

References
----------
THEORY 3 (own derivation).
"""

import functools
import math

import numpy
from scipy.optimize import brentq

from dlngeo.core.base.arrays import Array, from_numpy, to_numpy
from dlngeo.core.base.checks import real_array
from dlngeo.core.depth_metric.metric import check_observable
from dlngeo.core.networks.frames import exact_frames


def injectivity_bound(matrix: Array, depth: float, rank: int | None = None) -> Array:
    r"""Return a lower bound of the radius of injectivity of the depth metric.

    It is ``c_N λ_r``, ``λ_r = σ_r^{1/N}``, with ``c_N = 0.90, 0.56, 0.53, 0.47`` for
    ``N = 1, 2, 3, 5``, tends to ``1.35 λ_r/√N`` for large depth, and is 1.35 at infinite depth. The
    radius itself is at most ``√N λ_r``, and ``π (2/N)^{1/2} σ^{1/N}`` at multiples ``σ`` of
    rotations.

    Parameters
    ----------
    matrix : array-like, shape=[..., m, n]
        Matrices ``X`` of the given rank.
    depth : int or inf
        Depth ``N``.
    rank : int, optional
        Rank of the matrices, full by default.

    Returns
    -------
    radius : array-like, shape=[...]
        The exponential map of ``X`` is injective on shorter vectors, and they are the velocities of
        the shortest paths to their ends.

    Raises
    ------
    ValueError
        If rank or depth do not fit, or an entry is NaN or infinite.

    References
    ----------
    THEORY 3 (own derivation).
    """
    matrix = real_array(matrix, "the matrix")
    rank = check_observable(matrix, depth, rank)
    radius = proved_radius(exact_frames(to_numpy(matrix), rank).sigma, depth)
    return from_numpy(radius, matrix)


def proved_radius(sigma: numpy.ndarray, depth: float) -> numpy.ndarray:
    """Return `injectivity_bound` for singular values, shape=[..., r]."""
    return _factor(depth) * sigma[..., -1] ** (1 / depth)


def conjugate_radius(sigma: numpy.ndarray, depth: float) -> numpy.ndarray:
    """Return a radius within which no point is conjugate to square matrices of full rank.

    It is ``ρ (1 - e^{-π/ω})``, ``ω² = 0.9 N² - 0.25``.
    """
    least = sigma[..., -1] ** (1 / depth)
    if depth == 1:
        return numpy.full_like(least, numpy.inf)
    if depth == math.inf:
        return math.pi / math.sqrt(0.9) * least
    return -math.sqrt(depth) * math.expm1(-math.pi / math.sqrt(0.9 * depth**2 - 0.25)) * least


def proved_radius_of_factors(lam: numpy.ndarray, depth: int) -> numpy.ndarray:
    """Return the same for balanced factors with hidden layers as wide as the rank."""
    return _reach(depth) * lam[..., -1]


@functools.cache
def _factor(depth: float) -> float:
    """Return ``l`` for ``λ_r = 1``."""
    if depth == 1:
        return _reach(1)
    if depth == math.inf:
        # The limit of √N times that for N.
        return _least(1 / math.sqrt(2), 0.0, math.pi)
    size = math.sqrt(depth)
    return _least(math.sqrt((depth - 1) / 2), 1 / size, _reach(depth))


def _least(slope: float, loss: float, farthest: float) -> float:
    """Return the ``l`` at which ``R`` is ``farthest``, with ``q = slope l / (1 - loss l)``."""

    def excess(l: float) -> float:
        q = slope * l / (1 - loss * l)
        return l * (1 + math.asin(min(q, 1.0)) / q) - farthest

    # Up to q = 1.
    most = 1 / (slope + loss)
    return brentq(excess, 1e-9 * most, most)


@functools.cache
def _reach(depth: int) -> float:
    """Return the length below which no two geodesics of balanced factors meet, for ``λ_r = 1``."""
    a = math.sqrt(max(depth * (depth - 1), 1))

    def mean(phi: float) -> float:
        """Return what is positive as long as a loop cannot close."""
        return math.cos(phi) + a * math.sin(phi) - math.exp(-phi / a)

    phi = brentq(mean, math.atan(a), math.pi)
    return -math.sqrt(depth) * math.expm1(-phi / a)
