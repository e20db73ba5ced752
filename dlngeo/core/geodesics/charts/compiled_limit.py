r"""Compiled loops for geodesics of small matrices at infinite depth; needs Numba (extra ``fast``).

The same equations as `dlngeo.core.geodesics.charts.logarithmic_chart`, in the lanes of
`dlngeo.core.geodesics.charts.compiled`.

======================================  ===========================  ==================
symbol                                  name                         shape, and lanes
======================================  ===========================  ==================
state ``S, p, c, Q, O``                 ``y``                        [n_state]
eigenframe of ``S``                     ``v``                        [r, r]
``S, p, c`` in the eigenframe           ``s``, ``p``, ``c``          [r, r]
``x_kl / 2``, its hyperbolic functions  ``half``, ``sinh``, ``cosh`` [r, r]
``sinh(x_kl / 2) / (x_kl / 2)``         ``ratio``                    [r, r]
``A``                                   ``turn``                     [r, r]
``Ṡ``, ``ṗ``; ``ċ`` is ``twist`` less   ``s_dot``, ``p_dot``,        [r, r]
its transpose                           ``twist``
======================================  ===========================  ==================
"""

import numpy

from dlngeo.core.geodesics.charts.compiled_matrices import (
    compiled,
    diagonalise,
    from_frame,
    parts,
    times,
    to_frame,
    views,
)
from dlngeo.core.geodesics.charts.logarithmic_chart import COTH_SERIES, SMALL, TANH_SERIES


@compiled
def limit_velocity(y, out, gap, v, rank, work, lines):
    """Set velocities as `LogarithmicChart.velocity` does, and gaps of one.

    Arguments are those of the velocity in `dlngeo.core.geodesics.charts.compiled`.
    """
    stretch, momentum, spin, left, right, _, _ = views(y, rank, rank, rank)
    s_out, p_out, c_out, left_out, right_out, _, _ = views(out, rank, rank, rank)
    lanes = y.shape[1]
    s, p, c, half, sinh, cosh, ratio, turn, s_dot, p_dot, twist, product = work
    to_frame(stretch, v, s, product, lanes)
    diagonalise(s, v, lines, lanes)
    for k in range(rank):
        for l in range(rank):
            for e in range(lanes):
                half[k, l, e] = momentum[k, l, e] + spin[k, l, e]
    to_frame(half, v, sinh, product, lanes)
    parts(sinh, p, c)
    for e in range(lanes):
        gap[e] = 1.0
    for k in range(rank):
        for l in range(rank):
            for e in range(lanes):
                h = (s[k, k, e] - s[l, l, e]) / 2
                half[k, l, e], sinh[k, l, e], cosh[k, l, e] = h, numpy.sinh(h), numpy.cosh(h)
                ratio[k, l, e] = 1.0 if h == 0 else sinh[k, l, e] / h
                s_dot[k, l, e] = cosh[k, l, e] / ratio[k, l, e] * p[k, l, e]
                turn[k, l, e] = ratio[k, l, e] / cosh[k, l, e] / 4 * c[k, l, e]
    for k in range(rank):
        for l in range(k, rank):
            for e in range(lanes):
                total = 0.0
                for m in range(rank):
                    i, j = (k, l) if abs(half[k, m, e]) >= abs(half[l, m, e]) else (l, k)
                    a, b = half[i, m, e], half[j, m, e]
                    if abs(a) < SMALL:
                        by_alpha, by_gamma, power, sums = 0.0, 0.0, 1.0, 1.0
                        for n in range(len(TANH_SERIES)):
                            by_alpha += COTH_SERIES[n] * sums
                            by_gamma += TANH_SERIES[n] * sums
                            power *= b * b
                            sums = a * a * sums + power
                        by_alpha *= (a + b) / 2
                        by_gamma *= (a + b) / 8
                    else:
                        by_alpha = cosh[i, m, e] - ratio[k, l, e] / ratio[j, m, e]
                        by_alpha /= 2 * sinh[i, m, e]
                        by_gamma = ratio[k, l, e] / cosh[i, m, e] - ratio[j, m, e]
                        by_gamma /= 8 * a * cosh[j, m, e]
                    total += by_alpha * p[k, m, e] * p[l, m, e]
                    total += by_gamma * c[k, m, e] * c[l, m, e]
                p_dot[k, l, e], p_dot[l, k, e] = -total, -total
    # From here on the room of p, sinh and cosh serves others.
    commutator, rotation, both = p, sinh, cosh
    for k in range(rank):
        for l in range(rank):
            for e in range(lanes):
                commutator[k, l, e] *= 2 * half[k, l, e]
    times(turn, commutator, twist, lanes)
    from_frame(turn, v, rotation, product, lanes)
    times(left, rotation, left_out, lanes)
    times(right, rotation, right_out, lanes)
    for k in range(rank):
        for l in range(rank):
            for e in range(lanes):
                right_out[k, l, e] = -right_out[k, l, e]
                both[k, l, e] = p_dot[k, l, e] + twist[k, l, e] - twist[l, k, e]
    from_frame(s_dot, v, s_out, product, lanes)
    from_frame(both, v, half, product, lanes)
    parts(half, p_out, c_out)
