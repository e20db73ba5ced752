"""Charts in which geodesics are integrated, and what every problem of geodesics checks."""

from dataclasses import dataclass
from typing import Any

import numpy

from dlngeo.core.base.arrays import Array, namespace, to_numpy, transpose
from dlngeo.core.base.checks import real_array
from dlngeo.core.depth_metric.metric import check_observable
from dlngeo.core.geodesics.depth_root_chart import DepthRootChart
from dlngeo.core.geodesics.logarithmic_chart import LogarithmicChart
from dlngeo.core.geodesics.straight_chart import FlatChart
from dlngeo.core.networks.blocks import Blocks
from dlngeo.core.networks.factors import checked_matrix
from dlngeo.core.networks.frames import SingularFrames
from dlngeo.core.numerics.integration import Status

TOLERANCE = 5e-11
"""Local error of a step in the chart, relative to the largest singular value."""


Chart = DepthRootChart | LogarithmicChart | FlatChart


def chart_of(rows: int, columns: int, rank: int, depth: float) -> Chart:
    """Return the chart in which geodesics of these matrices are integrated."""
    if depth == numpy.inf:
        return LogarithmicChart(rows)
    if depth == 1 and rank == min(rows, columns):
        return FlatChart(rows, columns)
    return DepthRootChart(rows, columns, rank, int(depth))


def checked_times(t: Any) -> numpy.ndarray:
    """Return times as an array of at most one axis, or raise a ValueError."""
    times = to_numpy(t)
    if times.ndim > 1 or not numpy.isfinite(times).all():
        raise ValueError(f"times must be one finite number or a list of them, got {t}.")
    return times


def check_on_boundary(on_boundary: str) -> None:
    """Raise a ValueError if it is not "raise" or "nan"."""
    if on_boundary not in ("raise", "nan"):
        raise ValueError(f'on_boundary is "raise" or "nan", got {on_boundary!r}.')


def check_arrival(status: numpy.ndarray, end: numpy.ndarray) -> None:
    """Raise a ValueError if a geodesic has ended before its time."""
    lost = numpy.flatnonzero(status != Status.ARRIVED)
    if len(lost):
        first = lost[0]
        many = f" ({len(lost)} of {status.size} geodesics end so)" if status.size > 1 else ""
        raise ValueError(
            f"the geodesic ends at time {end.flat[first]:.6g}: "
            f"{Status(status.flat[first]).remedy}{many}"
        )


def _scaled(tangent: Blocks, factor: Any) -> Blocks:
    return Blocks(*[None if block is None else factor * block for block in tangent])


def checked_problem(
    matrix: Array, vector: Array, depth: float, rank: int | None
) -> tuple[numpy.ndarray, numpy.ndarray, int]:
    """Return point and vector on the host, in double precision, and the checked rank."""
    matrix = real_array(matrix, "the matrix")
    rank = check_observable(matrix, depth, rank)
    vector = checked_matrix(vector, *matrix.shape[-2:])
    namespace(matrix, vector)
    return to_numpy(matrix), to_numpy(vector), rank


def compressed(
    frames: SingularFrames, tangent: Blocks
) -> tuple[SingularFrames, Blocks, tuple[numpy.ndarray | None, numpy.ndarray | None]]:
    """Restrict rows and columns to the subspaces in which a geodesic stays.

    They are spanned by the frames and the velocity, of dimension ``2 r``: reflections at
    them are isometries that keep the initial data.
    """
    left_null = tangent.left_null
    right_null = None if tangent.right_null is None else transpose(tangent.right_null)
    left, left_null, left_basis = restricted(frames.left, left_null)
    right, right_null, right_basis = restricted(frames.right, right_null)
    tangent = Blocks(tangent.core, left_null, None if right_null is None else transpose(right_null))
    return SingularFrames(left, frames.sigma, right), tangent, (left_basis, right_basis)


def restricted(
    frame: numpy.ndarray, other: numpy.ndarray | None
) -> tuple[numpy.ndarray, numpy.ndarray | None, numpy.ndarray | None]:
    """Return columns in a basis of their common span, and the basis, if that is smaller."""
    rows, rank = frame.shape[-2:]
    if other is None or rows <= 2 * rank:
        return frame, other, None
    basis = numpy.linalg.qr(numpy.concatenate([frame + 0 * other, other], axis=-1))[0]
    return transpose(basis) @ frame, transpose(basis) @ other, basis


def extended(
    matrix: numpy.ndarray, left: numpy.ndarray | None, right: numpy.ndarray | None
) -> numpy.ndarray:
    """Return a matrix in the entries from which `restricted` took it."""
    matrix = matrix if left is None else left @ matrix
    return matrix if right is None else matrix @ transpose(right)


@dataclass(frozen=True)
class Connection:
    """Geodesics found between pairs of points.

    Attributes
    ----------
    velocity : array-like, shape=[..., m, n]
        Initial velocities; NaN where no geodesic was found.
    length : array-like, shape=[...]
        Their norms in the metric.
    residual : array, shape=[...]
        Distance of the end of the geodesic from the second point, in the chart.
    is_found : array of bool, shape=[...]
    """

    velocity: Array
    length: Array
    residual: numpy.ndarray
    is_found: numpy.ndarray


def check_components(x: numpy.ndarray, y: numpy.ndarray) -> None:
    """Raise a ValueError if determinants have opposite signs."""
    apart = numpy.linalg.slogdet(x)[0] != numpy.linalg.slogdet(y)[0]
    if apart.any():
        raise ValueError(
            "no geodesic joins square matrices of full rank whose determinants have opposite "
            f"signs: that is so for {int(apart.sum())} of {len(x)} pairs."
        )


def check_found(connection: Connection) -> Connection:
    """Return a connection, or raise a RuntimeError where no geodesic was found."""
    missing = int((~connection.is_found).sum())
    if missing:
        raise RuntimeError(
            f"no geodesic was found for {missing} of {connection.is_found.size} pairs: connect() "
            "tells which; join them through a point in between."
        )
    return connection
