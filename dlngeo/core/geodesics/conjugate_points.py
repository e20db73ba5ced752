r"""Conjugate points along the geodesics of the depth metric.

A point of a geodesic is conjugate to its start if a Jacobi field vanishes at both: up to the first
such point a geodesic is shorter than all curves near it, and beyond it never. The geodesic is cut
into short segments. With the Jacobi fields ``A = 1, A' = 0`` and ``B = 0, B' = 1`` at the start of
a segment, where those that vanish at the start of the geodesic obey ``J' = S J``, the part ``τ`` of
the segment ends at a conjugate point where a symmetric matrix is singular,

.. math:: M(τ) = B^{-1} A + S, \quad M' = -B^{-1} B^{-T}.

All its eigenvalues fall, from infinity: those that are negative at the end of the segment have
passed zero, where Newton's method finds it.

References
----------
The index theorem of Morse; THEORY 3 (own derivation).
"""

from typing import NamedTuple

import numpy

from dlngeo.core.base.arrays import Array, from_numpy, transpose
from dlngeo.core.base.checks import in_batch
from dlngeo.core.base.packing import flatten_batch, take
from dlngeo.core.geodesics.exponential import exp
from dlngeo.core.geodesics.observable_curves import checked_problem, geodesic
from dlngeo.core.geodesics.search.spaces import MatrixSpace, metric_space
from dlngeo.core.geodesics.transport import jacobi_field
from dlngeo.core.networks.blocks import join
from dlngeo.core.networks.frames import exact_frames

# Numbers of segments, and how far from one the singular values of ``B`` of a short one may be.
_FEWEST, _MOST, _SHORT = 4, 256, 0.5
# Part of a segment by which the first one is shorter.
_SHIFT = 0.12
# Change of a part of a segment at which Newton's method ends, as the next one is its square.
_CONVERGED, _MOST_ITERATIONS = 1e-6, 40


def conjugate_times(
    matrix: Array,
    velocity: Array,
    depth: float,
    rank: int | None = None,
    *,
    on_boundary: str = "raise",
) -> Array:
    r"""Return the times up to one at which geodesics are conjugate to their initial points.

    There ``d exp_X`` is singular at ``t Z``. A geodesic with such a time below one is not the
    shortest path to its end.

    Parameters
    ----------
    matrix : array-like, shape=[..., m, n]
        Initial point ``X`` of the given rank.
    velocity : array-like, shape=[..., m, n]
        Initial velocity ``Z``.
    depth : int or inf
        Depth ``N``.
    rank : int, optional
        Rank of ``X``, full by default.
    on_boundary : str
        What happens at the boundary, as in `geodesic`; "nan" gives the one time NaN where a
        geodesic has ended.

    Returns
    -------
    times : array-like, shape=[..., k]
        In ascending order, each as often as there are independent Jacobi fields that vanish; then
        infinity.

    Raises
    ------
    ValueError
        As `geodesic`, and if a geodesic reaches the boundary before time one, or comes so near to
        it that a singular value is lost to round-off.
    RuntimeError
        If Jacobi fields change too fast to be followed.

    References
    ----------
    The index theorem of Morse; THEORY 3 (own derivation).
    """
    x, z, rank = checked_problem(matrix, velocity, depth, rank)
    end = geodesic(x, z, depth, rank, on_boundary=on_boundary).point(1.0)
    batch, (x, z, end) = flatten_batch(x, z, end)
    is_lost = ~numpy.isfinite(end).all(axis=(1, 2))
    fields = _Fields(depth, rank, on_boundary)
    which, times = numpy.flatnonzero(is_lost), numpy.full(is_lost.sum(), numpy.nan)
    pending, count = numpy.flatnonzero(~is_lost), _FEWEST
    while len(pending):
        segments = _cut(fields, x[pending], z[pending], count)
        place, found = _vanishing(fields, segments)
        which = numpy.concatenate([which, pending[place]])
        times = numpy.concatenate([times, found])
        pending = pending[~segments.is_short]
        if len(pending) and count == _MOST:
            is_open = numpy.isin(numpy.arange(len(x)), pending).reshape(batch)
            raise RuntimeError(
                f"Jacobi fields change too fast to be followed along a geodesic{in_batch(is_open)}"
                ": ask for a shorter part of it."
            )
        count *= 2
    order = numpy.lexsort((times, which))
    which, times = which[order], times[order]
    place = numpy.arange(len(times)) - numpy.searchsorted(which, which)
    every = numpy.full((len(x), place.max(initial=-1) + 1), numpy.inf)
    every[which, place] = times
    return from_numpy(every.reshape(*batch, every.shape[1]), matrix)


class _Fields(NamedTuple):
    """Jacobi fields along geodesics of a metric, in orthonormal coordinates."""

    depth: float
    rank: int
    on_boundary: str

    def space(self, matrix: numpy.ndarray) -> MatrixSpace:
        """Return matrices with coordinates of their tangent vectors."""
        return metric_space(exact_frames(matrix, self.rank), self.depth)

    def along(
        self, start: MatrixSpace, velocity: numpy.ndarray, end: MatrixSpace
    ) -> tuple[numpy.ndarray, ...]:
        """Return ``A, B, A', B'`` at time one, shape=[s, n, n]; columns are fields."""
        n = start.dimension
        here, there = (take(space, (slice(None), None)) for space in (start, end))
        basis = join(here.unpack(numpy.eye(n)[None]), here.frames.left, here.frames.right)
        basis = numpy.moveaxis(basis, 1, 0)
        ends = jacobi_field(
            start.matrix,
            velocity,
            numpy.concatenate([basis, 0 * basis]),
            numpy.concatenate([0 * basis, basis]),
            self.depth,
            self.rank,
            on_boundary=self.on_boundary,
        )
        field, derivative = (
            transpose(there.pack(there.frames.split(numpy.moveaxis(end, 0, 1)))) for end in ends
        )
        return field[..., :n], field[..., n:], derivative[..., :n], derivative[..., n:]


class _Segments(NamedTuple):
    """Segments of geodesics, all but the first of each.

    Attributes
    ----------
    start : MatrixSpace
    velocity : array, shape=[b, k, m, n]
        By which one is at the end at time one.
    slope, end : array, shape=[b, k, n, n]
        ``S``, and ``M`` at the end.
    is_short : array of bool, shape=[b]
        Whether on no segment of a geodesic there is a point conjugate to the start of the segment.
    """

    start: MatrixSpace
    velocity: numpy.ndarray
    slope: numpy.ndarray
    end: numpy.ndarray
    is_short: numpy.ndarray


def _times(count: int) -> numpy.ndarray:
    """Return the ends of segments, at odd times: at even ones geodesics may cross the boundary."""
    return numpy.concatenate([[0.0], (numpy.arange(1, count) - _SHIFT) / count, [1.0]])


def _cut(fields: _Fields, x: numpy.ndarray, z: numpy.ndarray, count: int) -> _Segments:
    """Return geodesics, shape=[b, m, n], as segments."""
    curve = geodesic(x, z, fields.depth, fields.rank, on_boundary=fields.on_boundary)
    times = _times(count)
    lengths = numpy.diff(times)
    nodes = fields.space(curve.point(times))
    velocity = lengths[:, None, None] * curve.velocity(times[:-1])
    which, place = numpy.divmod(numpy.arange(len(x) * count), count)
    starts, ends = (take(nodes, (which, place + step)) for step in (0, 1))
    n = nodes.dimension
    a, b, da, db = (
        array.reshape(len(x), count, n, n)
        for array in fields.along(starts, velocity[which, place], ends)
    )
    slope, slopes = lengths[1] / lengths[0] * db[:, 0] @ numpy.linalg.inv(b[:, 0]), []
    for j in range(1, count):
        slope = (slope + transpose(slope)) / 2
        slopes.append(slope)
        slope = (da[:, j] + db[:, j] @ slope) @ numpy.linalg.inv(a[:, j] + b[:, j] @ slope)
        slope = slope * (lengths[min(j + 1, count - 1)] / lengths[j])
    inner = (slice(None), slice(1, None))
    slope = numpy.stack(slopes, axis=1)
    stretch = numpy.linalg.svd(b, compute_uv=False)
    is_short = abs(stretch - 1).max(axis=(1, 2)) <= _SHORT
    end = numpy.linalg.solve(b[inner], a[inner]) + slope
    starts = take(nodes, (slice(None), slice(1, -1)))
    return _Segments(starts, velocity[inner], slope, end, is_short)


def _vanishing(fields: _Fields, segments: _Segments) -> tuple[numpy.ndarray, numpy.ndarray]:
    """Return the times at which fields vanish, and of which geodesics, shape=[c]."""
    values = numpy.linalg.eigvalsh((segments.end + transpose(segments.end)) / 2)
    is_passed = (values <= 0) & segments.is_short[:, None, None]
    which, place, index = numpy.nonzero(is_passed)
    start, velocity, slope = take(segments[:3], (which, place))
    # Almost ``M = 1/τ + S``.
    part = 1 / (1 - values[is_passed])
    low, high = numpy.zeros(len(part)), numpy.ones(len(part))
    active = numpy.arange(len(part))
    for _ in range(_MOST_ITERATIONS):
        if not len(active):
            break
        begin, speed = take(start, active), velocity[active]
        size = part[active, None, None]
        # Fields change by the part of the segment, not by the time of the shorter one.
        point = exp(
            begin.matrix, size * speed, fields.depth, fields.rank, on_boundary=fields.on_boundary
        )
        a, b, _, _ = fields.along(begin, size * speed, fields.space(point))
        inverse = numpy.linalg.inv(size * b)
        form = inverse @ a + slope[active]
        values, vectors = numpy.linalg.eigh((form + transpose(form)) / 2)
        rows = numpy.arange(len(active))
        value, vector = values[rows, index[active]], vectors[rows, :, index[active]]
        fall = ((vector[:, None, :] @ inverse) ** 2).sum(axis=(-2, -1))
        low[active] = numpy.where(value > 0, part[active], low[active])
        high[active] = numpy.where(value > 0, high[active], part[active])
        # Newton's step for τ times the eigenvalue, which is almost linear.
        new = part[active] * (1 - value / (value - part[active] * fall))
        is_outside = ~((low[active] < new) & (new < high[active]))
        new = numpy.where(is_outside, (low[active] + high[active]) / 2, new)
        change = abs(new - part[active])
        part[active] = new
        active = active[(change > _CONVERGED) & (high - low > _CONVERGED)[active]]
    times = _times(segments.velocity.shape[1] + 1)
    return which, times[place + 1] + part * numpy.diff(times)[place + 1]
