r"""Compiled proposals of the Metropolis scheme; symbols as in `compiled` beside it.

``alpha`` is ``α_kl``, shape=[r, r, lanes], and ``warmth`` ``hκ/β``.
"""

import numpy

from dlngeo.core.geodesics.charts.compiled_matrices import compiled, times, times_transposed
from dlngeo.sampling.langevin_dynamics.compiled import (
    LANES,
    decompose,
    enter,
    leave,
    set_drift,
    set_pair,
    set_products,
)


@compiled
def proposal(left, lam, right, covector, normals, depth, step, heat, warmth, least, is_confined):
    r"""Return ``Y`` and ``X`` after a proposal.

    Parameters
    ----------
    left, right : array, shape=[chains, r, r]
    lam : array, shape=[chains, r]
    covector, normals : array, shape=[chains, r, r]
        Gradient ``∇E`` in ambient coordinates, and standard normals in the frames.
    depth : int
    step : float
        ``h``.
    heat, warmth : array, shape=[chains]
        ``h/β``, ``hκ/β``.
    least : float
        What no ``λ`` is let fall below.
    is_confined : bool

    Returns
    -------
    left, lam, right : array
        As given; unchanged where the proposal has no bounds.
    matrix : array, shape=[chains, r, r]
        ``X``.
    has_left, is_kept : array of bool, shape=[chains]
        Where a confined chain would leave its component, and where the proposal is bounded.
    """
    chains, rank = lam.shape
    new_left, new_lam, new_right = left.copy(), lam.copy(), right.copy()
    matrix = numpy.empty_like(left)
    has_left, is_kept = numpy.zeros(chains, numpy.bool_), numpy.ones(chains, numpy.bool_)
    power = numpy.empty((rank, depth + 1, LANES))
    core = numpy.empty((rank, rank, LANES))
    slope = numpy.empty((rank, rank, LANES))
    alpha = numpy.empty((rank, rank, LANES))
    u = numpy.empty((rank, rank, LANES))
    v = numpy.empty((rank, rank, LANES))
    rows = numpy.empty((8, LANES))
    for start in range(0, chains, LANES):
        enter(left, lam, right, start, u, v, power)
        _set_slope(covector, u, v, start, core, alpha, slope)
        _set_heat(heat, warmth, start, rows)
        _set_mean(core, alpha, power, slope, rows, depth, step)
        for e in range(LANES):
            n = min(start + e, chains - 1)
            deviation = numpy.sqrt(2 * warmth[n])
            for k in range(rank):
                for l in range(rank):
                    root = numpy.sqrt(alpha[k, l, e])
                    even = (normals[n, k, l] + normals[n, l, k]) / 2
                    odd = (normals[n, k, l] - normals[n, l, k]) / 2
                    core[k, l, e] += deviation * (root * even + odd / root)
        decompose(core, u, v, rows)
        leave(
            core, u, v, start, depth, least, is_confined,
            new_left, new_lam, new_right, has_left, is_kept,
        )  # fmt: skip
    set_products(new_left, new_lam, new_right, depth, matrix)
    return new_left, new_lam, new_right, matrix, has_left, is_kept


@compiled
def log_return_density(
    left, lam, right, new_left, new_lam, new_right, covector, depth, step, heat, warmth
):
    """Return the logarithm of the density of the proposal back to ``Y``, up to a constant.

    From the new ``Y``, where the gradient is `covector`; other arguments as of `proposal`.
    """
    chains, rank = lam.shape
    total = numpy.zeros(chains)
    power = numpy.empty((rank, depth + 1, LANES))
    core = numpy.empty((rank, rank, LANES))
    slope = numpy.empty((rank, rank, LANES))
    alpha = numpy.empty((rank, rank, LANES))
    u = numpy.empty((rank, rank, LANES))
    v = numpy.empty((rank, rank, LANES))
    rows = numpy.empty((8, LANES))
    for start in range(0, chains, LANES):
        enter(new_left, new_lam, new_right, start, u, v, power)
        _set_slope(covector, u, v, start, core, alpha, slope)
        _set_heat(heat, warmth, start, rows)
        _set_mean(core, alpha, power, slope, rows, depth, step)
        for e in range(min(LANES, chains - start)):
            n = start + e
            for k in range(rank):
                for l in range(rank):
                    for i in range(rank):
                        # Of the frames, the products with those of the old ones.
                        across, down = 0.0, 0.0
                        for j in range(rank):
                            across += u[k, j, e] * left[n, j, i]
                            down += v[l, j, e] * right[n, j, i]
                        core[k, l, e] -= across * lam[n, i] * down
            for k in range(rank):
                for l in range(rank):
                    even = (core[k, l, e] + core[l, k, e]) / 2
                    odd = (core[k, l, e] - core[l, k, e]) / 2
                    square = even * even / alpha[k, l, e] + odd * odd * alpha[k, l, e]
                    total[n] -= square / (4 * warmth[n])
    return total


@compiled
def log_kernels(lam, depth):
    """Return ``½ Σ_{k<l} log r_kl``, the entropy up to a constant, shape=[chains]."""
    chains, rank = lam.shape
    total = numpy.zeros(chains)
    for n in range(chains):
        for k in range(rank):
            for l in range(k):
                x, y = lam[n, k] ** 2, lam[n, l] ** 2
                high = max(x, y)
                ratio, series = min(x, y) / high, 1.0
                for _ in range(depth - 1):
                    series = 1.0 + ratio * series
                total[n] += ((depth - 1) * numpy.log(high) + numpy.log(series)) / 2
    return total


@compiled
def _set_slope(covector, u, v, start, scratch, half, slope):
    """Set ``Qᵀ ∇E O``."""
    chains, rank = covector.shape[:2]
    for e in range(LANES):
        n = min(start + e, chains - 1)
        for i in range(rank):
            for j in range(rank):
                scratch[i, j, e] = covector[n, i, j]
    times(u, scratch, half, LANES)
    times_transposed(half, v, slope, LANES)


@compiled
def _set_heat(heat, warmth, start, rows):
    for e in range(LANES):
        n = min(start + e, len(heat) - 1)
        rows[6, e], rows[7, e] = heat[n], warmth[n]


@compiled
def _set_mean(core, alpha, power, slope, rows, depth, step):
    """Set ``Λ`` and the drift of ``Y``, with that of Brownian motion; and ``α``."""
    rank = core.shape[0]
    h, mixed, warmth = rows[0], rows[1], rows[7]
    for k in range(rank):
        for e in range(LANES):
            core[k, k, e] = power[k, 1, e] - step * power[k, depth - 1, e] * slope[k, k, e]
            alpha[k, k, e] = 1.0 / depth
    for k in range(1, rank):
        for l in range(k):
            set_pair(power, k, l, depth, rows)
            set_drift(core, power, slope, k, l, depth, step, rows)
            for e in range(LANES):
                sums = power[k, 1, e] + power[l, 1, e]
                g = (power[k, depth, e] + power[l, depth, e]) / sums
                gap = power[k, 1, e] - power[l, 1, e]
                push = gap * mixed[e] / (depth * h[e])
                pull = h[e] / g - 1.0 / depth
                core[k, k, e] -= warmth[e] * (push + pull) / sums
                core[l, l, e] += warmth[e] * (push - pull) / sums
                alpha[k, l, e] = alpha[l, k, e] = g / h[e]
