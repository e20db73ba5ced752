r"""Geodesics of the depth metric.

They run in a chart in which the metric is tame up to the boundary: depth-root coordinates for a
finite depth, logarithmic ones for infinite depth, the entries themselves at depth one.
"""

import math

import numpy

from dlngeo.core.base.arrays import Array, from_numpy, namespace, to_numpy
from dlngeo.core.base.checks import real_array
from dlngeo.core.depth_metric.metric import check_observable
from dlngeo.core.geodesics.charts.chart import Bases, Matrices, ObservableChart, compress
from dlngeo.core.geodesics.charts.depth_root_chart import DepthRootChart
from dlngeo.core.geodesics.charts.logarithmic_chart import LogarithmicChart
from dlngeo.core.geodesics.charts.straight_chart import StraightChart
from dlngeo.core.geodesics.curves import Geodesic
from dlngeo.core.networks.blocks import Blocks, split
from dlngeo.core.networks.factors import checked_matrix
from dlngeo.core.networks.frames import SingularFrames, exact_frames


def chart_of(
    rows: int,
    columns: int,
    rank: int,
    depth: float,
    bases: Bases = (None, None),
    on_boundary: str = "raise",
) -> ObservableChart:
    """Return the chart in which geodesics of these matrices are integrated."""
    way_on = on_boundary if on_boundary in ObservableChart.ways_on else None
    if depth == math.inf:
        return LogarithmicChart(rows, bases=bases, way_on=way_on)
    if depth == 1 and rank == min(rows, columns):
        return StraightChart(rows, columns, bases=bases, way_on=way_on)
    return DepthRootChart(rows, columns, rank, int(depth), bases=bases, way_on=way_on)


def checked_problem(
    matrix: Array, vector: Array, depth: float, rank: int | None
) -> tuple[numpy.ndarray, numpy.ndarray, int]:
    """Return point and vector on the host, in double precision, and the checked rank."""
    matrix = real_array(matrix, "the matrix")
    rank = check_observable(matrix, depth, rank)
    vector = checked_matrix(vector, matrix.shape[-2:], matrix)
    namespace(matrix, vector)
    return to_numpy(matrix), to_numpy(vector), rank


def frames_and_velocity(
    x: numpy.ndarray, z: numpy.ndarray, rank: int
) -> tuple[SingularFrames, Blocks, numpy.ndarray]:
    """Return frames and a velocity in them, in units of the largest singular value, and it."""
    frames = exact_frames(x, rank)
    unit = frames.sigma[..., 0]
    frames = frames._replace(sigma=frames.sigma / unit[..., None])
    velocity = split(z / unit[..., None, None], frames.left, frames.right)
    return frames, velocity.tangent(), unit


def geodesic(
    matrix: Array,
    velocity: Array,
    depth: float,
    rank: int | None = None,
    *,
    on_boundary: str = "raise",
) -> Geodesic:
    r"""Return the geodesics of ``g^N`` with initial points ``X`` and velocities ``Z``.

    They are the solutions of ``Ẍ = D²φ(V, V)`` with the horizontal lift ``V`` of ``Ẋ``,
    integrated in depth-root coordinates (`dlngeo.core.geodesics.charts.depth_root_chart`).

    Parameters
    ----------
    matrix : array-like, shape=[..., m, n]
        Initial point ``X`` of the given rank.
    velocity : array-like, shape=[..., m, n]
        Tangent vector ``Z``; a part between the null spaces is dropped.
    depth : int or inf
        Depth ``N``.
    rank : int, optional
        Rank of ``X``, full by default.
    on_boundary : str
        What happens when a time is asked for at which a geodesic has reached the boundary,
        where a singular value vanishes: "raise" an error that names the time; "nan"; "continue"
        as its horizontal lift does, which for odd depth crosses ``det X = 0`` into the other
        component, and for even depth comes back as from a mirror; or "cross", at every depth:
        the geodesic of the completed space. Only square matrices of full rank go on, at depth
        one rectangular ones too, and not where two singular values vanish at once: these errors
        remain.

    Returns
    -------
    geodesic : Geodesic

    Raises
    ------
    ValueError
        If shapes, rank or depth do not fit, or an entry is NaN or infinite.

    References
    ----------
    [Che25]; THEORY 3, also for what is beyond the boundary (own derivation).
    """
    x, z, rank = checked_problem(matrix, velocity, depth, rank)
    frames, tangent, unit = frames_and_velocity(x, z, rank)
    frames, tangent, bases = compress(frames, tangent)
    rows, columns = frames.left.shape[-2], frames.right.shape[-2]
    chart = chart_of(rows, columns, rank, depth, bases, on_boundary)
    speed = chart.speed(frames, tangent)
    # In units of arc length; a vanishing velocity stays what it is.
    start = chart.enter(frames, tangent / numpy.where(speed == 0, 1, speed)[..., None, None])
    unit = numpy.broadcast_to(unit, speed.shape)

    def result(matrices: Matrices) -> Array:
        return from_numpy(matrices[0], matrix)

    return Geodesic(chart, start, unit, speed, result, on_boundary)
