r"""Compiled loops for the geodesic flow of small matrices; needs Numba (extra ``fast``).

The same equations as `dlngeo.core.depth_root.velocity`, tested against it. At rank three a
call of LAPACK costs more than all of the arithmetic. Here a batch is cut into chunks whose
working set stays in the first cache, the innermost index runs over the elements of a chunk,
and the eigenframes come from Jacobi's rotations, so that the compiler vectorises everything.
"""

import numpy
from numba import njit

_options = {"cache": True, "error_model": "numpy", "fastmath": {"contract", "nsz", "reassoc"}}

CHUNK = 400
"""Matrix entries of one kind that a chunk holds."""


@njit(**_options)
def _product(a, b, out, lanes):
    """Set ``out = a b``."""
    for i in range(a.shape[0]):
        for j in range(b.shape[1]):
            for e in range(lanes):
                out[i, j, e] = a[i, 0, e] * b[0, j, e]
            for k in range(1, a.shape[1]):
                for e in range(lanes):
                    out[i, j, e] += a[i, k, e] * b[k, j, e]


@njit(**_options)
def _transposed_product(a, b, out, lanes):
    """Set ``out = aᵀ b``."""
    for i in range(a.shape[1]):
        for j in range(b.shape[1]):
            for e in range(lanes):
                out[i, j, e] = a[0, i, e] * b[0, j, e]
            for k in range(1, a.shape[0]):
                for e in range(lanes):
                    out[i, j, e] += a[k, i, e] * b[k, j, e]


@njit(**_options)
def _product_transposed(a, b, out, lanes):
    """Set ``out = a bᵀ``."""
    for i in range(a.shape[0]):
        for j in range(b.shape[0]):
            for e in range(lanes):
                out[i, j, e] = a[i, 0, e] * b[j, 0, e]
            for k in range(1, a.shape[1]):
                for e in range(lanes):
                    out[i, j, e] += a[i, k, e] * b[j, k, e]


@njit(**_options)
def _load(packed, first, start, lanes, out):
    """Copy a matrix of every element of a chunk, and return where the next one starts."""
    rows, columns = out.shape[0], out.shape[1]
    for e in range(lanes):
        for i in range(rows):
            for j in range(columns):
                out[i, j, e] = packed[first + e, start + i * columns + j]
    return start + rows * columns


@njit(**_options)
def _store(packed, first, start, lanes, matrix):
    """Copy the matrices of a chunk back, and return where the next ones start."""
    rows, columns = matrix.shape[0], matrix.shape[1]
    for e in range(lanes):
        for i in range(rows):
            for j in range(columns):
                packed[first + e, start + i * columns + j] = matrix[i, j, e]
    return start + rows * columns


@njit(**_options)
def _diagonalise(s, v, lanes):
    """Turn symmetric ``s`` to diagonal form by cyclic Jacobi rotations, gathered in ``v``."""
    rank = s.shape[0]
    for i in range(rank):
        for j in range(rank):
            for e in range(lanes):
                v[i, j, e] = 1.0 if i == j else 0.0
    for _ in range(30):
        worst = 0.0
        for e in range(lanes):
            off, whole = 0.0, 1e-300
            for i in range(rank):
                whole += s[i, i, e] ** 2
                for j in range(i):
                    off += s[i, j, e] ** 2
            worst = max(worst, off / whole)
        # A sweep squares what is left, up to round-off. NaN ends the loop as well.
        if not worst > 1e-32:
            return
        for i in range(1, rank):
            for j in range(i):
                for e in range(lanes):
                    entry = s[i, j, e]
                    gap = s[i, i, e] - s[j, j, e]
                    root = numpy.sqrt(gap * gap + 4 * entry * entry)
                    t = 2 * entry / (gap + (root if gap >= 0 else -root) + 1e-300)
                    cosine = 1 / numpy.sqrt(1 + t * t)
                    sine = t * cosine
                    s[j, j, e] -= t * entry
                    s[i, i, e] += t * entry
                    s[i, j, e] = 0.0
                    s[j, i, e] = 0.0
                    for k in range(rank):
                        if k != i and k != j:
                            one, other = s[k, j, e], s[k, i, e]
                            s[k, j, e] = cosine * one - sine * other
                            s[j, k, e] = s[k, j, e]
                            s[k, i, e] = sine * one + cosine * other
                            s[i, k, e] = s[k, i, e]
                        one, other = v[k, j, e], v[k, i, e]
                        v[k, j, e] = cosine * one - sine * other
                        v[k, i, e] = sine * one + cosine * other
        if worst < 1e-17:
            return


@njit(**_options)
def depth_root_velocity(packed, rows, columns, rank, depth):
    """Return what `dlngeo.core.depth_root.velocity` returns."""
    size = packed.shape[0]
    out, gap = numpy.empty_like(packed), numpy.empty(size)
    width = max(1, min(size, CHUNK // (rank * rank)))
    square = (rank, rank, width)
    s, p, c, v = numpy.empty(square), numpy.empty(square), numpy.empty(square), numpy.empty(square)
    sums, turn, spin = numpy.empty(square), numpy.empty(square), numpy.empty(square)
    a, b, s_dot = numpy.empty(square), numpy.empty(square), numpy.empty(square)
    p_dot, twist, work = numpy.empty(square), numpy.empty(square), numpy.empty(square)
    powers = numpy.empty((depth + 1, rank, width))
    weights = numpy.empty((depth, *square))
    ends = (rows, columns)
    for first in range(0, size, width):
        lanes = min(width, size - first)
        start = _load(packed, first, 0, lanes, s)
        _diagonalise(s, v, lanes)
        start = _load(packed, first, start, lanes, p)
        _product(p, v, work, lanes)
        _transposed_product(v, work, p, lanes)
        start = _load(packed, first, start, lanes, c)
        _product(c, v, work, lanes)
        _transposed_product(v, work, c, lanes)
        for k in range(rank):
            for e in range(lanes):
                powers[0, k, e] = 1.0
            for i in range(depth):
                for e in range(lanes):
                    powers[i + 1, k, e] = powers[i, k, e] * s[k, k, e]
        for k in range(rank):
            for l in range(rank):
                for e in range(lanes):
                    h = 0.0
                    for i in range(depth):
                        h += powers[i, k, e] * powers[depth - 1 - i, l, e]
                    both = s[k, k, e] + s[l, l, e]
                    g = (powers[depth, k, e] + powers[depth, l, e]) / both
                    sums[k, l, e] = both
                    spin[k, l, e] = c[k, l, e] / both
                    a[k, l, e] = p[k, l, e] / (h * both)
                    b[k, l, e] = spin[k, l, e] / (g * both)
                    turn[k, l, e] = h * b[k, l, e]
                    s_dot[k, l, e] = g / h * p[k, l, e]
        for l in range(rank):
            for m in range(rank):
                for e in range(lanes):
                    total = 0.0
                    for j in range(depth - 1):
                        total -= powers[j, l, e] * powers[depth - 1 - j, m, e]
                    weights[0, l, m, e] = total
                for i in range(depth - 1):
                    for e in range(lanes):
                        weights[i + 1, l, m, e] = (
                            weights[i, l, m, e]
                            + powers[depth - 1 - i, l, e] * powers[i, m, e]
                            + powers[depth - 2 - i, l, e] * powers[i + 1, m, e]
                        )
        _product(turn, spin, work, lanes)
        for k in range(rank):
            for l in range(k, rank):
                for e in range(lanes):
                    p_dot[k, l, e] = -work[k, l, e] - work[l, k, e]
                for m in range(rank):
                    for e in range(lanes):
                        kernel = 0.0
                        for i in range(depth):
                            kernel += (
                                powers[i, k, e] * powers[depth - i, m, e] * weights[i, l, m, e]
                            )
                        pair = a[k, m, e] * a[l, m, e] - b[k, m, e] * b[l, m, e]
                        p_dot[k, l, e] -= 2 * kernel * pair
                for e in range(lanes):
                    p_dot[l, k, e] = p_dot[k, l, e]
        for k in range(rank):
            for l in range(rank):
                for e in range(lanes):
                    # From here on p is the commutator [S, p].
                    p[k, l, e] *= s[k, k, e] - s[l, l, e]
        _product(turn, p, twist, lanes)
        # The frames Q and O, and the momenta m_L and m_R towards the null spaces.
        frames_start = start
        null_start = start + (rows + columns) * rank
        for side in range(2):
            height = ends[side]
            sign = 1.0 if side == 0 else -1.0
            tall = (height, rank, width)
            frame, frame_dot, raw = numpy.empty(tall), numpy.empty(tall), numpy.empty(tall)
            _load(packed, first, frames_start, lanes, raw)
            _product(raw, v, frame, lanes)
            _product(frame, turn, frame_dot, lanes)
            for i in range(height):
                for k in range(rank):
                    for e in range(lanes):
                        frame_dot[i, k, e] *= sign
            if height > rank:
                null, drift = numpy.empty(tall), numpy.empty(tall)
                null_dot, image = numpy.empty(tall), numpy.empty(tall)
                gram = numpy.empty(square)
                _load(packed, first, null_start, lanes, raw)
                _product(raw, v, null, lanes)
                for i in range(height):
                    for k in range(rank):
                        for e in range(lanes):
                            drift[i, k, e] = null[i, k, e] / s[k, k, e] ** 2
                            frame_dot[i, k, e] += drift[i, k, e]
                _transposed_product(drift, drift, gram, lanes)
                for k in range(rank):
                    for l in range(rank):
                        for e in range(lanes):
                            p_dot[k, l, e] += sums[k, l, e] / 2 * gram[k, l, e]
                            work[k, l, e] = p[k, l, e] - sign * c[k, l, e]
                _product(drift, work, null_dot, lanes)
                _product(null, turn, image, lanes)
                for i in range(height):
                    for k in range(rank):
                        for e in range(lanes):
                            null_dot[i, k, e] += sign * image[i, k, e]
                _transposed_product(null, drift, gram, lanes)
                _product_transposed(frame, gram, image, lanes)
                for i in range(height):
                    for k in range(rank):
                        for e in range(lanes):
                            null_dot[i, k, e] -= image[i, k, e]
                for k in range(rank):
                    for l in range(rank):
                        for e in range(lanes):
                            twist[k, l, e] -= sign / 2 * gram[k, l, e]
                _product_transposed(null_dot, v, image, lanes)
                null_start = _store(out, first, null_start, lanes, image)
            _product_transposed(frame_dot, v, raw, lanes)
            frames_start = _store(out, first, frames_start, lanes, raw)
        for k in range(rank):
            for l in range(k):
                for e in range(lanes):
                    skew = twist[k, l, e] - twist[l, k, e]
                    twist[k, l, e], twist[l, k, e] = skew, -skew
            for e in range(lanes):
                twist[k, k, e] = 0.0
        start = 0
        for matrix in (s_dot, p_dot, twist):
            _product(v, matrix, work, lanes)
            _product_transposed(work, v, a, lanes)
            start = _store(out, first, start, lanes, a)
        for e in range(lanes):
            least = s[0, 0, e]
            for k in range(1, rank):
                least = min(least, s[k, k, e])
            gap[first + e] = least
    return out, gap
