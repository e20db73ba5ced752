r"""Compiled loops for geodesics of small matrices; needs Numba (extra ``fast``).

The same equations as `dlngeo.core.geodesics.charts.depth_root_chart`, by the same method as
`dlngeo.core.numerics.integration`, and tested against both. At rank three a call of LAPACK costs
more than all of the arithmetic. Here some lanes, one problem in each, advance side by side: the
innermost index of every array is the lane, the eigenframes come from Jacobi's rotations, and
the compiler vectorises everything. A lane that has arrived takes the next problem.

======================================  ===========================  ==================
symbol                                  name                         shape, and lanes
======================================  ===========================  ==================
state ``S, p, c, Q, O, m_L, m_R``       ``y``                        [n_state]
eigenframe of ``S``                     ``v``                        [r, r]
``S, p, c`` in the eigenframe           ``s``, ``p``, ``c``          [r, r]
``λ_k + λ_l``                           ``sums``                     [r, r]
``K_kl = c_kl / (λ_k + λ_l)``           ``quotient``                 [r, r]
``a_kl / (λ_k + λ_l), b_kl / (λ_k +     ``a``, ``b``                 [r, r]
λ_l)`` with ``a = p/h``, ``b = K/g``
``A`` there, and in the basis of ``S``  ``turn``, ``rotation``       [r, r]
``[S, p]``                              ``commutator``               [r, r]
``Ṡ``, ``ṗ``; ``ċ`` is ``twist`` less   ``s_dot``, ``p_dot``,        [r, r]
its transpose                           ``twist``
``λ_k^m``, ``h^{(m)}_kl``, all ``m``     ``powers, differences``      [..., r], [..., r, r]
======================================  ===========================  ==================
"""

import numpy

from dlngeo.core.geodesics.charts.compiled_differences import (
    first_differences,
    mixed_differences,
    numbers_up_to,
)
from dlngeo.core.geodesics.charts.compiled_limit import limit_velocity
from dlngeo.core.geodesics.charts.compiled_matrices import (
    add,
    compiled,
    diagonalise,
    from_frame,
    parts,
    times,
    times_transposed,
    to_frame,
    transposed_product,
    views,
)
from dlngeo.core.numerics.integration import (
    FIFTH_ORDER,
    FIRST_STEP,
    NEAREST,
    SAFETY,
    THIRD_ORDER,
    WEIGHTS,
    Status,
)

_ARRIVED, _BOUNDARY, _STALLED = map(int, Status)


@compiled
def _side(sign, end, null, v, s, c, sums, rotation, commutator, p_dot, twist, end_dot, null_dot):
    """Set the velocities of a frame and of its momentum, and add what the latter exerts.

    The sign is that of ``A`` by which the frame turns.
    """
    height, rank, lanes = end.shape
    times(end, rotation, end_dot, lanes)
    add(sign - 1.0, end_dot, end_dot)
    if null.shape[0] == 0:
        return
    tall, square = (height, rank, lanes), (rank, rank, lanes)
    frame, image, drift = numpy.empty(tall), numpy.empty(tall), numpy.empty(tall)
    gram, spin = numpy.empty(square), numpy.empty(square)
    # In the eigenframe of S: the momentum, and the drift m S^{-2} of the frame.
    times(null, v, frame, lanes)
    for i in range(height):
        for k in range(rank):
            for e in range(lanes):
                drift[i, k, e] = frame[i, k, e] / s[k, k, e] ** 2
    times_transposed(drift, v, image, lanes)
    add(1.0, image, end_dot)
    transposed_product(drift, drift, gram, lanes)
    for k in range(rank):
        for l in range(rank):
            for e in range(lanes):
                p_dot[k, l, e] += sums[k, l, e] / 2 * gram[k, l, e]
                spin[k, l, e] = commutator[k, l, e] - sign * c[k, l, e]
    transposed_product(frame, drift, gram, lanes)
    add(-sign / 2, gram, twist)
    times(drift, spin, image, lanes)
    times(end, v, frame, lanes)
    times_transposed(frame, gram, drift, lanes)
    add(-1.0, drift, image)
    times_transposed(image, v, null_dot, lanes)
    times(null, rotation, image, lanes)
    add(sign, image, null_dot)


@compiled
def _velocity(y, out, gap, v, shape, work, numbers, powers, differences, lines):
    """Set velocities and gaps as `DepthRootChart.velocity` does, or those of infinite depth.

    The eigenframes ``v`` of the last call are where the rotations start. The numbers are those
    of `numbers_up_to`; the last three arguments and ``work`` are room to work in, and the names
    are those of the table above.
    """
    rows, columns, rank, depth = shape
    if depth == 0:
        limit_velocity(y, out, gap, v, rank, work, lines)
        return
    stretch, momentum, spin, left, right, left_null, right_null = views(y, rows, columns, rank)
    s_out, p_out, c_out, left_out, right_out, left_null_out, right_null_out = views(
        out, rows, columns, rank
    )
    lanes = y.shape[1]
    s, p, c, sums, quotient, turn, a, b, s_dot, p_dot, twist, product = work
    to_frame(stretch, v, s, product, lanes)
    diagonalise(s, v, lines, lanes)
    # The momenta p and c, symmetric and skew, turn together.
    for k in range(rank):
        for l in range(rank):
            for e in range(lanes):
                b[k, l, e] = momentum[k, l, e] + spin[k, l, e]
    to_frame(b, v, a, product, lanes)
    parts(a, p, c)
    first_differences(s, numbers, powers, differences)
    for k in range(rank):
        for e in range(lanes):
            gap[e] = s[k, k, e] if k == 0 else min(gap[e], s[k, k, e])
    # a, b, A and the velocity of S, symmetric or skew.
    for k in range(rank):
        for l in range(k, rank):
            for e in range(lanes):
                both = s[k, k, e] + s[l, l, e]
                sigmas = powers[-1, k, e] + powers[-1, l, e]
                h = differences[-1, k, l, e]
                per_sum, per_h = 1 / both, 1 / h
                sums[k, l, e] = both
                quotient[k, l, e] = c[k, l, e] * per_sum
                a[k, l, e] = p[k, l, e] * per_h * per_sum
                b[k, l, e] = quotient[k, l, e] / sigmas
                turn[k, l, e] = h * b[k, l, e]
                s_dot[k, l, e] = sigmas * per_sum * per_h * p[k, l, e]
            for e in range(lanes):
                sums[l, k, e], a[l, k, e] = sums[k, l, e], a[k, l, e]
                s_dot[l, k, e] = s_dot[k, l, e]
                if k != l:
                    quotient[l, k, e], b[l, k, e] = -quotient[k, l, e], -b[k, l, e]
                    turn[l, k, e] = -turn[k, l, e]
    times(turn, quotient, product, lanes)
    half = twist[0]  # room of what comes later
    for k in range(rank):
        for l in range(k, rank):
            for e in range(lanes):
                p_dot[k, l, e] = -product[k, l, e] - product[l, k, e]
            mixed_differences(k, l, s, numbers, powers, differences, lines[4], half)
            for m in range(rank):
                for e in range(lanes):
                    pair = a[k, m, e] * a[l, m, e] - b[k, m, e] * b[l, m, e]
                    gap_kl = s[k, k, e] * s[l, l, e] - s[m, m, e] ** 2
                    if k == l:  # exactly zero for m = k, where at the boundary ``a`` is infinite
                        gap_kl = (s[k, k, e] - s[m, m, e]) * (s[k, k, e] + s[m, m, e])
                    p_dot[k, l, e] -= 2 * s[m, m, e] * gap_kl * half[m, e] * pair
            for e in range(lanes):
                p_dot[l, k, e] = p_dot[k, l, e]
    # From here on the room of p and of a serves others.
    commutator, rotation = p, a
    for k in range(rank):
        for l in range(rank):
            for e in range(lanes):
                commutator[k, l, e] *= s[k, k, e] - s[l, l, e]
    times(turn, commutator, twist, lanes)
    from_frame(turn, v, rotation, product, lanes)
    shared = (v, s, c, sums, rotation, commutator, p_dot, twist)
    _side(1.0, left, left_null, *shared, left_out, left_null_out)
    _side(-1.0, right, right_null, *shared, right_out, right_null_out)
    for k in range(rank):
        for l in range(rank):
            for e in range(lanes):
                b[k, l, e] = p_dot[k, l, e] + twist[k, l, e] - twist[l, k, e]
    from_frame(s_dot, v, s_out, product, lanes)
    from_frame(b, v, a, product, lanes)
    parts(a, p_out, c_out)


@compiled
def _size(y, e):
    """Return the root mean square of the state of a lane, at least one."""
    total = 0.0
    for i in range(y.shape[0]):
        total += y[i, e] ** 2
    return max(1.0, numpy.sqrt(total / y.shape[0]))


@compiled
def _combine(weights, slopes, out):
    """Set ``out = Σ_j w_j slopes_j``."""
    sums, first = out.reshape(-1), slopes[0].reshape(-1)
    for x in range(sums.shape[0]):
        sums[x] = weights[0] * first[x]
    for j in range(1, weights.shape[0]):
        if weights[j] != 0:
            add(weights[j], slopes[j], out)


@compiled
def integrate_geodesics(start, end, tolerance, most_steps, shape):
    """Return state, time, status, error and number of steps, as `integrate` does.

    Starts have shape=[b, n_state], ends and tolerances shape=[b]; the shape is that of the
    problem, rows, columns, rank and depth; depth zero stands for infinite depth.

    ==================================================  =====================  ================
    of each lane                                        name                   shape, and lanes
    ==================================================  =====================  ================
    number of its problem, -1 for none                  ``problem``            []
    state, and that after the step on trial             ``y``, ``trial``       [n_state]
    time, step, and a time known to be too late         ``t, h, wall``         []
    slopes of the stages; the last are the next first   ``slopes``             [stages + 1, n]
    gap at a stage, and the least of a step             ``gap``, ``least``     []
    squared norms of the errors of orders five, three   ``fifth``, ``third``   []
    size of the state                                   ``scale``              []
    eigenframe of ``S`` at the last stage               ``v``                  [r, r]
    ==================================================  =====================  ================
    """
    rank, depth = shape[2], shape[3]
    nearest = NEAREST if max(shape[0], shape[1]) > rank else 0.0
    stages = len(WEIGHTS)
    count, n = start.shape
    state, time, status = start.copy(), numpy.zeros(count), numpy.zeros(count, numpy.int64)
    error, n_steps = numpy.zeros(count), numpy.zeros(count, numpy.int64)
    lanes = max(1, min(count, 32 if rank <= 3 else 16))
    slopes = numpy.empty((stages + 1, n, lanes))
    y, trial = numpy.empty((n, lanes)), numpy.empty((n, lanes))
    gap, least = numpy.empty(lanes), numpy.empty(lanes)
    by_fifth, by_third = numpy.empty((n, lanes)), numpy.empty((n, lanes))
    fifth, third, scale = numpy.empty(lanes), numpy.empty(lanes), numpy.empty(lanes)
    t, h = numpy.zeros(lanes), numpy.zeros(lanes)
    problem, n_trials = numpy.full(lanes, -1), numpy.zeros(lanes, numpy.int64)
    has_crossed = numpy.zeros(lanes, numpy.bool_)
    wall = numpy.zeros(lanes)
    m, x = numpy.empty((12, rank, rank, lanes)), numpy.empty((5, lanes))
    work = (m[0], m[1], m[2], m[3], m[4], m[5], m[6], m[7], m[8], m[9], m[10], m[11])
    lines = (x[0], x[1], x[2], x[3], x[4])
    numbers = numbers_up_to(depth)
    powers = numpy.empty((len(numbers), rank, lanes))
    differences = numpy.empty((len(numbers), rank, rank, lanes))
    v = numpy.zeros((rank, rank, lanes))
    for k in range(rank):
        v[k, k] = 1.0
    # The first slopes of all problems, so that a lane can take any of them up.
    first_slopes, floors = numpy.empty_like(start), numpy.empty(count)
    for first in range(0, count, lanes):
        for e in range(lanes):
            for i in range(n):
                y[i, e] = start[min(first + e, count - 1), i]
        _velocity(y, slopes[0], gap, v, shape, work, numbers, powers, differences, lines)
        for e in range(min(lanes, count - first)):
            floors[first + e] = nearest * gap[e]
            for i in range(n):
                first_slopes[first + e, i] = slopes[0, i, e]
    upcoming = 0
    is_free = numpy.ones(lanes, numpy.bool_)
    while True:
        busy = 0
        for e in range(lanes):
            if is_free[e]:
                while upcoming < count and not end[upcoming] > 0:
                    upcoming += 1
                problem[e] = upcoming if upcoming < count else -1
                if problem[e] >= 0:
                    for i in range(n):
                        y[i, e] = start[upcoming, i]
                        slopes[0, i, e] = first_slopes[upcoming, i]
                    for k in range(rank):
                        for l in range(rank):
                            v[k, l, e] = 1.0 if k == l else 0.0
                    t[e], n_trials[e], has_crossed[e], is_free[e] = 0.0, 0, False, False
                    scale[e] = _size(y, e)
                    speed = _size(slopes[0], e) / scale[e]
                    h[e] = FIRST_STEP * tolerance[upcoming] ** 0.125 / speed
                    upcoming += 1
            busy += problem[e] >= 0
        if not busy:
            return state, time, status, error, n_steps
        for e in range(lanes):
            if problem[e] >= 0:
                left = end[problem[e]] - t[e]
                if h[e] >= left:
                    h[e] = left
                elif 2 * h[e] >= left and not has_crossed[e]:
                    h[e] = left / 2
            least[e] = numpy.inf
        for stage in range(1, stages + 1):
            _combine(WEIGHTS[stage - 1, :stage], slopes, trial)
            for i in range(n):
                for e in range(lanes):
                    trial[i, e] = y[i, e] + h[e] * trial[i, e]
            _velocity(
                trial, slopes[stage], gap, v, shape, work, numbers, powers, differences, lines
            )
            for e in range(lanes):
                # NaN counts as a crossing as well; the error sees it first.
                least[e] = min(least[e], gap[e])
        for e in range(lanes):
            fifth[e], third[e] = 0.0, 0.0
        _combine(FIFTH_ORDER, slopes, by_fifth)
        _combine(THIRD_ORDER, slopes, by_third)
        for i in range(n):
            for e in range(lanes):
                fifth[e] += by_fifth[i, e] ** 2
                third[e] += by_third[i, e] ** 2
        for e in range(lanes):
            here = problem[e]
            if here < 0:
                continue
            blend = numpy.sqrt(max(fifth[e] + 0.01 * third[e], 1e-300) * n)
            estimate = h[e] * fifth[e] / blend / scale[e]
            ratio = estimate / tolerance[here]
            n_trials[e] += 1
            arrived = False
            if not ratio <= 1:
                h[e] *= max(0.2, SAFETY * ratio**-0.125) if ratio < numpy.inf else 0.2
            elif not least[e] > floors[here]:
                # Bisection, towards a time that is known to be too late.
                has_crossed[e] = True
                wall[e] = t[e] + h[e]
            else:
                error[here] += estimate
                n_steps[here] += 1
                arrived = h[e] >= end[here] - t[e]
                t[e] = end[here] if arrived else t[e] + h[e]
                for i in range(n):
                    y[i, e] = trial[i, e]
                    slopes[0, i, e] = slopes[stages, i, e]
                scale[e] = _size(y, e)
                h[e] *= min(10.0, SAFETY * max(ratio, 1e-20) ** -0.125)
            if has_crossed[e]:
                h[e] = min(h[e], (wall[e] - t[e]) / 2)
            is_lost = h[e] <= 1e-14 * max(1.0, t[e]) or n_trials[e] >= most_steps
            if arrived or is_lost:
                status[here] = _ARRIVED if arrived else _BOUNDARY if has_crossed[e] else _STALLED
                time[here] = t[e]
                for i in range(n):
                    state[here, i] = y[i, e]
                is_free[e] = True
