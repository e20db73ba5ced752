r"""Compiled flows of the scheme of weak order two; symbols as in `compiled` beside it."""

import numpy

from dlngeo.core.geodesics.charts.compiled import compiled, times, times_transposed
from dlngeo.sampling.langevin_dynamics.compiled import (
    LANES,
    decompose,
    enter,
    leave,
    set_drift,
    set_pair,
    set_products,
    turn,
)


@compiled
def turn_frames(left, lam, right, normals, depth, deviation):
    r"""Return frames after turns by noise, which keep ``λ``.

    Parameters
    ----------
    left, right : array, shape=[chains, r, r]
    lam : array, shape=[chains, r]
    normals : array, shape=[2, chains, r, r]
        Of the two flows, of the covariance ``[[1/2, -1/2], [-1/2, 3/2]]``: below the diagonal
        those of turns of both frames by the same angle, above it by opposite ones.
    depth : int
    deviation : array, shape=[chains]
        ``√(2tκ/β)``.

    Returns
    -------
    left, right : array
    """
    chains, rank = lam.shape
    new_left, new_right = numpy.empty_like(left), numpy.empty_like(right)
    power = numpy.empty((rank, depth + 1, LANES))
    u = numpy.empty((rank, rank, LANES))
    v = numpy.empty((rank, rank, LANES))
    skew_u = numpy.empty((rank, rank, LANES))
    skew_v = numpy.empty((rank, rank, LANES))
    square = numpy.empty((rank, rank, LANES))
    half = numpy.empty((rank, rank, LANES))
    same = numpy.empty((rank, rank, LANES))
    opposite = numpy.empty((rank, rank, LANES))
    rows = numpy.empty((8, LANES))
    h, mixed = rows[0], rows[1]
    for start in range(0, chains, LANES):
        enter(left, lam, right, start, u, v, power)
        for k in range(1, rank):
            for l in range(k):
                set_pair(power, k, l, depth, rows)
                for e in range(LANES):
                    scale = deviation[min(start + e, chains - 1)]
                    sums = power[k, 1, e] + power[l, 1, e]
                    g = (power[k, depth, e] + power[l, depth, e]) / sums
                    spread = mixed[e] / (2 * depth * h[e] * sums)
                    same[k, l, e] = min(scale * numpy.sqrt(spread), numpy.pi)
                    spread = max(h[e] / g - 1.0 / depth, 0.0) / 2
                    opposite[k, l, e] = min(scale * numpy.sqrt(spread) / sums, numpy.pi)
        for flow in range(2):
            for k in range(rank):
                for e in range(LANES):
                    skew_u[k, k, e] = skew_v[k, k, e] = 0.0
                for l in range(k):
                    for e in range(LANES):
                        n = min(start + e, chains - 1)
                        a = same[k, l, e] * normals[flow, n, k, l]
                        b = opposite[k, l, e] * normals[flow, n, l, k]
                        skew_u[k, l, e], skew_u[l, k, e] = a + b, -a - b
                        skew_v[k, l, e], skew_v[l, k, e] = a - b, b - a
            _turn_by(u, skew_u, square, half)
            _turn_by(v, skew_v, square, half)
        for e in range(min(LANES, chains - start)):
            for i in range(rank):
                for j in range(rank):
                    new_left[start + e, i, j] = u[j, i, e]
                    new_right[start + e, i, j] = v[j, i, e]
    return new_left, new_right


@compiled
def _turn_by(frame, skew, square, half):
    """Turn by the exponential, to fourth order: by Cayley's rotation of ``A - A³/12``."""
    times(skew, skew, square, LANES)
    times(skew, square, half, LANES)
    rank = skew.shape[0]
    for i in range(rank):
        for j in range(rank):
            for e in range(LANES):
                half[i, j, e] = (skew[i, j, e] - half[i, j, e] / 12) / 2
    turn(frame, half)


@compiled
def move_root(left, lam, right, change, depth, least, is_confined):
    r"""Return ``Y`` and ``X`` after a change of ``Y``, shape=[chains, r, r].

    Returns
    -------
    left, lam, right, matrix, is_reflected, is_kept : array
        As of `langevin_step`.
    """
    chains, rank = lam.shape
    new_left, new_lam, new_right = left.copy(), lam.copy(), right.copy()
    matrix = numpy.empty_like(left)
    is_reflected, is_kept = numpy.zeros(chains, numpy.bool_), numpy.ones(chains, numpy.bool_)
    power = numpy.empty((rank, 2, LANES))
    core = numpy.empty((rank, rank, LANES))
    scratch = numpy.empty((rank, rank, LANES))
    u = numpy.empty((rank, rank, LANES))
    v = numpy.empty((rank, rank, LANES))
    rows = numpy.empty((8, LANES))
    for start in range(0, chains, LANES):
        enter(left, lam, right, start, u, v, power)
        for e in range(LANES):
            n = min(start + e, chains - 1)
            for i in range(rank):
                for j in range(rank):
                    core[i, j, e] = change[n, i, j]
        times(u, core, scratch, LANES)
        times_transposed(scratch, v, core, LANES)
        for i in range(rank):
            for e in range(LANES):
                core[i, i, e] += power[i, 1, e]
        decompose(core, u, v, rows)
        leave(
            core, u, v, start, depth, least, is_confined,
            new_left, new_lam, new_right, is_reflected, is_kept,
        )  # fmt: skip
    set_products(new_left, new_lam, new_right, depth, matrix)
    return new_left, new_lam, new_right, matrix, is_reflected, is_kept


@compiled
def descend(left, lam, right, covector, depth, time, heat):
    r"""Return the change of ``Y`` by ``-grad F`` in a time, shape=[chains, r, r].

    Parameters
    ----------
    left, right : array, shape=[chains, r, r]
    lam : array, shape=[chains, r]
    covector : array, shape=[chains, r, r]
        Gradient ``∇E`` in ambient coordinates.
    depth : int
    time : float
        ``t``.
    heat : array, shape=[chains]
        ``t/β``.
    """
    chains, rank = lam.shape
    change = numpy.empty_like(left)
    power = numpy.empty((rank, depth + 1, LANES))
    core = numpy.empty((rank, rank, LANES))
    scratch = numpy.empty((rank, rank, LANES))
    slope = numpy.empty((rank, rank, LANES))
    u = numpy.empty((rank, rank, LANES))
    v = numpy.empty((rank, rank, LANES))
    rows = numpy.empty((8, LANES))
    for start in range(0, chains, LANES):
        enter(left, lam, right, start, u, v, power)
        for e in range(LANES):
            n = min(start + e, chains - 1)
            rows[6, e] = heat[n]
            for i in range(rank):
                for j in range(rank):
                    core[i, j, e] = covector[n, i, j]
        times(u, core, scratch, LANES)
        times_transposed(scratch, v, slope, LANES)
        for k in range(rank):
            for e in range(LANES):
                core[k, k, e] = -time * power[k, depth - 1, e] * slope[k, k, e]
        for k in range(1, rank):
            for l in range(k):
                set_pair(power, k, l, depth, rows)
                set_drift(core, power, slope, k, l, depth, time, rows)
        for e in range(min(LANES, chains - start)):
            for i in range(rank):
                for k in range(rank):
                    total = 0.0
                    for l in range(rank):
                        total += core[k, l, e] * v[l, i, e]
                    scratch[k, i, e] = total
            for i in range(rank):
                for j in range(rank):
                    total = 0.0
                    for k in range(rank):
                        total += u[k, i, e] * scratch[k, j, e]
                    change[start + e, i, j] = total
    return change
