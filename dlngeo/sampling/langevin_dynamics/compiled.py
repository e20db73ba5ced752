r"""Compiled step of Langevin dynamics for small square matrices; needs Numba (extra ``fast``).

The equations of `dlngeo.sampling.langevin_dynamics.euler_maruyama`, tested against it. As in
`dlngeo.core.geodesics.charts.compiled` the innermost index of every array is the lane, of which
each carries a chain. The core is diagonal up to the noise of a step, so that a few sweeps of
Kogbetliantz' rotations decompose it in less than the time of a call of LAPACK.

================================  =====================  ======================
symbol                            name                   shape
================================  =====================  ======================
``λ_k^i``                         ``power``              ``[r, N + 1, lanes]``
``Qᵀ ∇E O``                       ``slope``              ``[r, r, lanes]``
``Λ``, drift and flat noise       ``core``               ``[r, r, lanes]``
standard normals ``ξ_kl``         ``normals``            ``[r, r, lanes]``
frames ``Q, O``, by columns       ``u, v``               ``[r, r, lanes]``
half of the turns ``L, R``        ``turn_u, turn_v``     ``[r, r, lanes]``
``h_{N-1}(λ_k, λ_l)``             ``h``                  ``[lanes]``
``Σ_j h_{j-1} h_{N-j-1}``         ``mixed``              ``[lanes]``
``r_kl``                          ``kernel``             ``[lanes]``
``∂r_kl/∂λ_k, ∂r_kl/∂λ_l``        ``by_k, by_l``         ``[lanes]``
``(σ_k + σ_l)/(λ_k + λ_l)``       ``g``                  a number
``√α_kl, √(1/N)``                 ``alpha, root``        a number
``√(2hκ/β), √(2hκ/(βN))``         ``noise, flat``        ``[lanes]``, a number
``h/β``                           ``heat``               ``[lanes]``
``h``                             ``step``               a number
================================  =====================  ======================
"""

import numpy

from dlngeo.core.geodesics.charts.compiled_matrices import compiled, times, times_transposed

LANES = 32


@compiled
def langevin_step(
    left, lam, right, covector, normals, depth, step, heat, noise, least, is_confined
):
    r"""Return ``Y`` and ``X`` after an Euler–Maruyama step.

    Parameters
    ----------
    left, right : array, shape=[chains, r, r]
    lam : array, shape=[chains, r]
    covector, normals : array, shape=[chains, r, r]
        Gradient ``∇E`` in ambient coordinates, and standard normals in the frames.
    depth : int
    step : float
        ``h``.
    heat, noise : array, shape=[chains]
        ``h/β``, ``√(2hκ/β)``.
    least : float
        What no ``λ`` is let fall below.
    is_confined : bool
        Whether chains are reflected where ``det`` would change its sign.

    Returns
    -------
    left, lam, right : array
        As given; unchanged where the step has no bounds.
    matrix : array, shape=[chains, r, r]
        ``X``.
    is_reflected, is_kept : array of bool, shape=[chains]
    """
    chains, rank = lam.shape
    new_left, new_lam, new_right = left.copy(), lam.copy(), right.copy()
    matrix = numpy.empty_like(left)
    is_reflected, is_kept = numpy.zeros(chains, numpy.bool_), numpy.ones(chains, numpy.bool_)
    power = numpy.empty((rank, depth + 1, LANES))
    # Of one allocation the compiler could not tell these apart, and would not vectorise.
    core = numpy.empty((rank, rank, LANES))
    slope = numpy.empty((rank, rank, LANES))
    normal = numpy.empty((rank, rank, LANES))
    u = numpy.empty((rank, rank, LANES))
    v = numpy.empty((rank, rank, LANES))
    turn_u = numpy.empty((rank, rank, LANES))
    turn_v = numpy.empty((rank, rank, LANES))
    rows = numpy.empty((8, LANES))
    for start in range(0, chains, LANES):
        enter(left, lam, right, start, u, v, power)
        for e in range(LANES):
            n = min(start + e, chains - 1)
            rows[6, e], rows[7, e] = heat[n], noise[n]
            for i in range(rank):
                for j in range(rank):
                    core[i, j, e], normal[i, j, e] = covector[n, i, j], normals[n, i, j]
        times(u, core, turn_u, LANES)
        times_transposed(turn_u, v, slope, LANES)
        _fill(core, turn_u, turn_v, power, slope, normal, rows, depth, step)
        turn(u, turn_u)
        turn(v, turn_v)
        decompose(core, u, v, rows)
        leave(
            core, u, v, start, depth, least, is_confined,
            new_left, new_lam, new_right, is_reflected, is_kept,
        )  # fmt: skip
    set_products(new_left, new_lam, new_right, depth, matrix)
    return new_left, new_lam, new_right, matrix, is_reflected, is_kept


@compiled
def enter(left, lam, right, start, u, v, power):
    """Set frames by columns, so that turns are of rows, and the powers of ``λ``."""
    chains, rank = lam.shape
    for e in range(LANES):
        n = min(start + e, chains - 1)  # idle lanes of the last block
        for i in range(rank):
            power[i, 0, e] = 1.0
            for j in range(power.shape[1] - 1):
                power[i, j + 1, e] = power[i, j, e] * lam[n, i]
            for j in range(rank):
                u[j, i, e], v[j, i, e] = left[n, i, j], right[n, i, j]


@compiled
def leave(
    core, u, v, start, depth, least, is_confined,
    left, lam, right, is_reflected, is_kept,
):  # fmt: skip
    """Set ``Y`` with positive values, where it is bounded; as `matrix_steps.fold` does."""
    chains, rank = lam.shape
    for e in range(min(LANES, chains - start)):
        n = start + e
        total, is_odd, smallest = 0.0, False, 0
        for i in range(rank):
            # Kernels of the depth metric lie within the squares of the singular values.
            total += core[i, i, e] ** (2 * depth)
            is_odd ^= core[i, i, e] < 0
            if abs(core[i, i, e]) < abs(core[smallest, smallest, e]):
                smallest = i
            for j in range(rank):
                total += u[i, j, e] + v[i, j, e]
        if not numpy.isfinite(total):
            is_kept[n] = False
            continue
        is_reflected[n] = is_odd and is_confined
        for i in range(rank):
            sign = -1.0 if core[i, i, e] < 0 else 1.0
            if is_reflected[n] and i == smallest:
                sign = -sign
            lam[n, i] = max(abs(core[i, i, e]), least)
            for j in range(rank):
                left[n, j, i], right[n, j, i] = sign * u[i, j, e], v[i, j, e]


@compiled
def set_products(left, lam, right, depth, matrix):
    """Set ``X = left · diag(lam)^N · rightᵀ``."""
    chains, rank = lam.shape
    scaled = numpy.empty((rank, rank))
    for n in range(chains):
        for k in range(rank):
            sigma = lam[n, k] ** depth
            for i in range(rank):
                scaled[i, k] = left[n, i, k] * sigma
        for i in range(rank):
            for j in range(rank):
                total = 0.0
                for k in range(rank):
                    total += scaled[i, k] * right[n, j, k]
                matrix[n, i, j] = total


@compiled
def set_pair(power, k, l, depth, rows):
    """Set ``h``, the mixed sum, ``r`` and its derivatives of a pair of values."""
    h, mixed, kernel, by_k, by_l = rows[0], rows[1], rows[2], rows[3], rows[4]
    h[:] = mixed[:] = kernel[:] = by_k[:] = by_l[:] = 0.0
    for p in range(depth):
        # The coefficient in Σ_j h_{j-1} h_{N-j-1}, as in
        # dlngeo.sampling.langevin_dynamics.brownian.
        weight = 0
        for j in range(1, depth):
            weight += min(min(p, depth - 2 - p), min(j - 1, depth - j - 1)) + 1
        for e in range(LANES):
            x, y = power[k, p, e], power[l, depth - 1 - p, e]
            h[e] += x * y
            kernel[e] += x * x * y * y
            if p > 0:
                by_k[e] += 2 * p * x * power[k, p - 1, e] * y * y
                by_l[e] += (
                    2 * p * power[l, p, e] * power[l, p - 1, e] * (power[k, depth - 1 - p, e] ** 2)
                )
            if p < depth - 1:
                mixed[e] += weight * x * power[l, depth - 2 - p, e]


@compiled
def set_drift(core, power, slope, k, l, depth, step, rows):
    """Set the drift of a pair, after `set_pair`, and add the rise of both values."""
    h, kernel, by_k, by_l, heat = rows[0], rows[2], rows[3], rows[4], rows[6]
    for e in range(LANES):
        g = (power[k, depth, e] + power[l, depth, e]) / (power[k, 1, e] + power[l, 1, e])
        even = (slope[k, l, e] + slope[l, k, e]) / 2
        odd = (slope[k, l, e] - slope[l, k, e]) / 2
        core[k, l, e] = -step * (g * even + h[e] * odd)
        core[l, k, e] = -step * (g * even - h[e] * odd)
        rise = heat[e] / (2 * depth * kernel[e])
        core[k, k, e] += rise * by_k[e]
        core[l, l, e] += rise * by_l[e]


@compiled
def _fill(core, turn_u, turn_v, power, slope, normals, rows, depth, step):
    """Set the core, with drift and flat noise, and the halves of the turns of the frames."""
    rank = core.shape[0]
    h, mixed, noise = rows[0], rows[1], rows[7]
    root = numpy.sqrt(1.0 / depth)
    for k in range(rank):
        for e in range(LANES):
            core[k, k, e] = power[k, 1, e] + noise[e] * root * normals[k, k, e]
            core[k, k, e] -= step * power[k, depth - 1, e] * slope[k, k, e]
            turn_u[k, k, e] = turn_v[k, k, e] = 0.0
    for k in range(1, rank):
        for l in range(k):
            set_pair(power, k, l, depth, rows)
            set_drift(core, power, slope, k, l, depth, step, rows)
            for e in range(LANES):
                sums = power[k, 1, e] + power[l, 1, e]
                g = (power[k, depth, e] + power[l, depth, e]) / sums
                core[k, l, e] += noise[e] * root * normals[k, l, e]
                core[l, k, e] += noise[e] * root * normals[l, k, e]
                alpha = numpy.sqrt(g / h[e])
                gap = power[l, 1, e] - power[k, 1, e]
                even = noise[e] * (normals[k, l, e] + normals[l, k, e]) / 2
                odd = noise[e] * (normals[k, l, e] - normals[l, k, e]) / 2
                common = gap * mixed[e] / (depth * h[e] * sums * (alpha + root)) * even / 2
                opposite = (1 / alpha - root) / sums * odd / 2
                turn_u[k, l, e], turn_u[l, k, e] = common + opposite, -common - opposite
                turn_v[k, l, e], turn_v[l, k, e] = common - opposite, opposite - common


@compiled
def turn(frame, half):
    """Turn a frame, kept by columns, by Cayley's rotation with half of a skew generator."""
    # With x (I - A/2) = q (I + A/2) for each row q of the frame: first the right-hand side in
    # place, by x = 2 q (I - A/2)^{-1} - q; the elimination needs no pivots for I + skew.
    rank = half.shape[0]
    old = frame.copy()
    for i in range(rank):
        for j in range(rank):
            for e in range(LANES):
                half[i, j, e] = -half[i, j, e]
        for e in range(LANES):
            half[i, i, e] = 1.0
    # Columns c_j of the frame obey Σ_j c_j (I - A/2)_ji = old_i: eliminate along rows of the
    # transposed matrix, which is half with the indices exchanged.
    for p in range(rank):
        for i in range(p + 1, rank):
            for e in range(LANES):
                half[p, i, e] = half[p, i, e] / half[p, p, e]
            for j in range(p + 1, rank):
                for e in range(LANES):
                    half[j, i, e] -= half[p, i, e] * half[j, p, e]
            for k in range(rank):
                for e in range(LANES):
                    frame[i, k, e] -= half[p, i, e] * frame[p, k, e]
    for i in range(rank - 1, -1, -1):
        for k in range(rank):
            for j in range(i + 1, rank):
                for e in range(LANES):
                    frame[i, k, e] -= half[j, i, e] * frame[j, k, e]
            for e in range(LANES):
                frame[i, k, e] = frame[i, k, e] / half[i, i, e]
    for i in range(rank):
        for k in range(rank):
            for e in range(LANES):
                frame[i, k, e] = 2 * frame[i, k, e] - old[i, k, e]


@compiled
def _rotate_rows(matrix, p, q, cosine, sine):
    """Rotate two rows."""
    for k in range(matrix.shape[1]):
        for e in range(LANES):
            x, y = matrix[p, k, e], matrix[q, k, e]
            matrix[p, k, e] = cosine[e] * x + sine[e] * y
            matrix[q, k, e] = cosine[e] * y - sine[e] * x


@compiled
def decompose(core, left, right, rows):
    """Turn the core to diagonal form by rotations, which the frames gather."""
    rank = core.shape[0]
    off, whole = rows[0], rows[1]
    c_left, s_left, c_right, s_right = rows[2], rows[3], rows[4], rows[5]
    for _ in range(30):
        off[:] = 0.0
        whole[:] = 1e-300
        for i in range(rank):
            for e in range(LANES):
                whole[e] += core[i, i, e] ** 2
            for j in range(i):
                for e in range(LANES):
                    off[e] += core[i, j, e] ** 2 + core[j, i, e] ** 2
        worst = 0.0
        for e in range(LANES):
            worst = max(worst, off[e] / whole[e])
        # What is dropped is below 1e-11 of the core. NaN ends the loop as well.
        if not worst > 1e-22:
            break
        for q in range(1, rank):
            for p in range(q):
                for e in range(LANES):
                    even = (core[q, p, e] + core[p, q, e]) / 2
                    odd = (core[q, p, e] - core[p, q, e]) / 2
                    mean = (core[p, p, e] + core[q, q, e]) / 2
                    half = (core[p, p, e] - core[q, q, e]) / 2
                    # Tangents of half the sum and half the difference of the two angles.
                    reach = numpy.copysign(numpy.sqrt(half * half + even * even), half)
                    bend = even / (half + reach + numpy.copysign(1e-300, half))
                    reach = numpy.copysign(numpy.sqrt(mean * mean + odd * odd), mean)
                    turn = odd / (mean + reach + numpy.copysign(1e-300, mean))
                    scale = 1 / numpy.sqrt((1 + bend * bend) * (1 + turn * turn))
                    c_left[e], s_left[e] = (1 - bend * turn) * scale, (bend + turn) * scale
                    c_right[e], s_right[e] = (1 + bend * turn) * scale, (bend - turn) * scale
                _rotate_rows(core, p, q, c_left, s_left)
                for k in range(rank):
                    for e in range(LANES):
                        x, y = core[k, p, e], core[k, q, e]
                        core[k, p, e] = c_right[e] * x + s_right[e] * y
                        core[k, q, e] = c_right[e] * y - s_right[e] * x
                _rotate_rows(left, p, q, c_left, s_left)
                _rotate_rows(right, p, q, c_right, s_right)
        # A sweep squares what was left.
        if worst < 1e-11:
            break
