"""Compiled products of small matrices, in lanes; needs Numba (extra ``fast``).

The innermost index of every array is the lane, one problem in each, so that the compiler
vectorises everything.
"""

from collections.abc import Callable

import numpy
from numba import njit

# No "reassoc": the order of sums would depend on what else is compiled or found in the cache.
compiled: Callable = njit(cache=True, error_model="numpy", fastmath={"contract", "nsz"})


@compiled
def times(a, b, out, lanes):
    """Set ``out = a b``."""
    for i in range(a.shape[0]):
        for j in range(b.shape[1]):
            for e in range(lanes):
                out[i, j, e] = a[i, 0, e] * b[0, j, e]
            for k in range(1, a.shape[1]):
                for e in range(lanes):
                    out[i, j, e] += a[i, k, e] * b[k, j, e]


@compiled
def transposed_product(a, b, out, lanes):
    """Set ``out = aᵀ b``."""
    for i in range(a.shape[1]):
        for j in range(b.shape[1]):
            for e in range(lanes):
                out[i, j, e] = a[0, i, e] * b[0, j, e]
            for k in range(1, a.shape[0]):
                for e in range(lanes):
                    out[i, j, e] += a[k, i, e] * b[k, j, e]


@compiled
def times_transposed(a, b, out, lanes):
    """Set ``out = a bᵀ``."""
    for i in range(a.shape[0]):
        for j in range(b.shape[0]):
            for e in range(lanes):
                out[i, j, e] = a[i, 0, e] * b[j, 0, e]
            for k in range(1, a.shape[1]):
                for e in range(lanes):
                    out[i, j, e] += a[i, k, e] * b[j, k, e]


@compiled
def add(factor, a, out):
    """Add ``factor a`` to ``out``."""
    terms, sums = a.reshape(-1), out.reshape(-1)
    for x in range(sums.shape[0]):
        sums[x] += factor * terms[x]


@compiled
def to_frame(a, v, out, product, lanes):
    """Set ``out = vᵀ a v``."""
    times(a, v, product, lanes)
    transposed_product(v, product, out, lanes)


@compiled
def from_frame(a, v, out, product, lanes):
    """Set ``out = v a vᵀ``."""
    times(v, a, product, lanes)
    times_transposed(product, v, out, lanes)


@compiled
def parts(a, symmetric, skew):
    """Set the symmetric and the skew part of ``a``."""
    rank, _, lanes = a.shape
    for k in range(rank):
        for l in range(rank):
            for e in range(lanes):
                symmetric[k, l, e] = (a[k, l, e] + a[l, k, e]) / 2
                skew[k, l, e] = (a[k, l, e] - a[l, k, e]) / 2


@compiled
def diagonalise(s, v, lines, lanes):
    """Turn symmetric ``s`` to diagonal form by cyclic Jacobi rotations, gathered in ``v``."""
    rank = s.shape[0]
    cosine, sine, off, whole, _ = lines
    for _ in range(30):
        for e in range(lanes):
            off[e], whole[e] = 0.0, 1e-300
        for i in range(rank):
            for e in range(lanes):
                whole[e] += s[i, i, e] ** 2
            for j in range(i):
                for e in range(lanes):
                    off[e] += s[i, j, e] ** 2
        worst = 0.0
        for e in range(lanes):
            worst = max(worst, off[e] / whole[e])
        # A sweep squares what is left, up to round-off. NaN ends the loop as well.
        if not worst > 1e-32:
            return
        for i in range(1, rank):
            for j in range(i):
                for e in range(lanes):
                    entry = s[i, j, e]
                    gap = s[i, i, e] - s[j, j, e]
                    root = numpy.copysign(numpy.sqrt(gap * gap + 4 * entry * entry), gap)
                    tangent = 2 * entry / (gap + root + numpy.copysign(1e-300, gap))
                    cosine[e] = 1 / numpy.sqrt(1 + tangent * tangent)
                    sine[e] = tangent * cosine[e]
                    s[j, j, e] -= tangent * entry
                    s[i, i, e] += tangent * entry
                    s[i, j, e] = 0.0
                    s[j, i, e] = 0.0
                for k in range(rank):
                    if k != i and k != j:
                        for e in range(lanes):
                            first, second = s[k, j, e], s[k, i, e]
                            s[k, j, e] = cosine[e] * first - sine[e] * second
                            s[k, i, e] = sine[e] * first + cosine[e] * second
                            s[j, k, e] = s[k, j, e]
                            s[i, k, e] = s[k, i, e]
                    for e in range(lanes):
                        first, second = v[k, j, e], v[k, i, e]
                        v[k, j, e] = cosine[e] * first - sine[e] * second
                        v[k, i, e] = sine[e] * first + cosine[e] * second
        if worst < 1e-17:
            return


@compiled
def views(y, rows, columns, rank):
    """Return ``S, p, c, Q, O, m_L, m_R`` of states, shape=[n_state, lanes]."""
    lanes = y.shape[1]
    square, left, right = rank * rank, rows * rank, columns * rank
    heights = (rows if rows > rank else 0, columns if columns > rank else 0)
    ends = 3 * square + left + right
    nulls = ends + heights[0] * rank
    return (
        y[:square].reshape((rank, rank, lanes)),
        y[square : 2 * square].reshape((rank, rank, lanes)),
        y[2 * square : 3 * square].reshape((rank, rank, lanes)),
        y[3 * square : 3 * square + left].reshape((rows, rank, lanes)),
        y[3 * square + left : ends].reshape((columns, rank, lanes)),
        y[ends:nulls].reshape((heights[0], rank, lanes)),
        y[nulls:].reshape((heights[1], rank, lanes)),
    )
