r"""Geodesics of the depth metric: exponential, paths, transport and Jacobi fields.

Geodesics run in a chart in which the metric is tame up to the boundary: depth-root
coordinates for a finite depth, logarithmic ones for infinite depth. A batch is integrated
together, each element with its own steps, on the host and in double precision, whatever
library and type the arguments have.
"""

from dataclasses import dataclass
from typing import Any

import numpy

from dlngeo.core.arrays import (
    Array,
    Primitive,
    eye,
    from_numpy,
    namespace,
    real_array,
    refuse,
    to_numpy,
    transpose,
)
from dlngeo.core.depth_root import DepthRootChart
from dlngeo.core.factors import checked_matrix
from dlngeo.core.flat import FlatChart
from dlngeo.core.frames import Blocks, SingularFrames, exact_frames, split
from dlngeo.core.infinite_depth import LogarithmicChart
from dlngeo.core.integration import Status
from dlngeo.core.observables import check_observable

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


@dataclass(frozen=True)
class Positions:
    """Positions on geodesics, and how the integration went.

    Attributes
    ----------
    point, velocity : array-like, shape=[..., m, n]
        NaN where the geodesic has ended before.
    status : array of int, shape=[...]
        `Status.ARRIVED`, or why the geodesic has ended.
    end : array, shape=[...]
        Time that was reached.
    error : array, shape=[...]
        Estimate of the error, relative to the largest singular value of the factors.
    """

    point: Array
    velocity: Array
    status: numpy.ndarray
    end: numpy.ndarray
    error: numpy.ndarray


@dataclass(frozen=True)
class Geodesic:
    """Geodesics with given initial points and velocities, evaluated at any time.

    Made by `geodesic`. Every time is reached by an integration of its own from the initial
    point, at full accuracy, all times in one batch.
    """

    _chart: Chart
    _frames: SingularFrames
    _tangent: Blocks
    _speed: numpy.ndarray
    _unit: numpy.ndarray
    _bases: tuple[numpy.ndarray | None, numpy.ndarray | None]
    _like: Array
    _on_boundary: str

    def __call__(self, t: Any) -> Array:
        """Return the points at times ``t``; see `point`."""
        return self.point(t)

    def point(self, t: Any) -> Array:
        """Return the points at times ``t``.

        Parameters
        ----------
        t : float or array-like, shape=[n_times]
            Times, of any sign.

        Returns
        -------
        point : array-like, shape=[..., m, n] or [..., n_times, m, n]

        Raises
        ------
        ValueError
            If a geodesic reaches the boundary of the space before; the message tells when.
        """
        return self._checked(t).point

    def velocity(self, t: Any) -> Array:
        """Return the velocities at times ``t``; arguments and errors as in `point`."""
        return self._checked(t).velocity

    def _checked(self, t: Any) -> Positions:
        positions = self.at(t)
        if self._on_boundary == "raise":
            check_arrival(positions.status, positions.end)
        return positions

    def at(self, t: Any) -> Positions:
        """Return points, velocities and status at times ``t``, without raising."""
        times = checked_times(t)
        batch = self._speed.shape
        flat = times.reshape(-1)
        shape = (*batch, len(flat))
        start = self._chart.enter(self._frames, self._tangent)[..., None, :]
        if (flat < 0).any():
            backwards = self._chart.enter(self._frames, _scaled(self._tangent, -1.0))
            start = numpy.where((flat >= 0)[:, None], start, backwards[..., None, :])
        start = numpy.broadcast_to(start, (*shape, start.shape[-1]))
        length = self._speed[..., None] * abs(flat)
        trajectory = self._chart.flow(
            start.reshape(-1, start.shape[-1]), length.reshape(-1), TOLERANCE
        )
        with numpy.errstate(all="ignore"):  # at the boundary; what is lost becomes NaN
            point, velocity = self._chart.leave(trajectory.state)
        is_lost = (trajectory.status != Status.ARRIVED)[:, None, None]
        # On a geodesic run backwards the velocity is the opposite one.
        direction = numpy.where(flat >= 0, 1.0, -1.0) * self._speed[..., None]
        unit = self._unit[..., None, None, None]
        bases = [basis if basis is None else basis[..., None, :, :] for basis in self._bases]
        results = []
        for matrix, scale in ((point, unit), (velocity, unit * direction[..., None, None])):
            matrix = numpy.where(is_lost, numpy.nan, matrix)
            matrix = scale * matrix.reshape(*shape, *matrix.shape[-2:])
            matrix = extended(matrix, *bases)
            matrix = matrix if times.ndim else matrix[..., 0, :, :]
            results.append(from_numpy(matrix, self._like))
        reached = (
            trajectory.time.reshape(shape)
            / numpy.where(self._speed == 0, 1, self._speed)[..., None]
        )
        is_arrived = trajectory.status.reshape(shape) == Status.ARRIVED
        end = numpy.where(is_arrived, flat, numpy.sign(flat) * reached)
        info = [trajectory.status.reshape(shape), end, trajectory.error.reshape(shape)]
        if times.ndim == 0:
            info = [array[..., 0] for array in info]
        return Positions(*results, *info)


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
    integrated in depth-root coordinates (`dlngeo.core.depth_root`).

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
        where a singular value vanishes: "raise" an error that names the time, or "nan".

    Returns
    -------
    geodesic : Geodesic

    Raises
    ------
    ValueError
        If shapes, rank or depth do not fit, or an entry is NaN or infinite.

    References
    ----------
    [Che25]; THEORY 3.
    """
    check_on_boundary(on_boundary)
    x, z, rank = checked_problem(matrix, velocity, depth, rank)
    frames = exact_frames(x, rank)
    unit = frames.sigma[..., 0]
    frames = frames._replace(sigma=frames.sigma / unit[..., None])
    tangent = split(z / unit[..., None, None], frames.left, frames.right)
    frames, tangent, bases = compressed(frames, tangent._replace(both_null=None))
    rows, columns = frames.left.shape[-2], frames.right.shape[-2]
    chart = chart_of(rows, columns, rank, depth)
    speed = chart.speed(frames, tangent)
    # In units of arc length; a vanishing velocity stays what it is.
    pace = numpy.where(speed == 0, 1, speed)[..., None, None]
    tangent = _scaled(tangent, 1 / pace)
    unit = numpy.broadcast_to(unit, speed.shape)
    return Geodesic(chart, frames, tangent, speed, unit, bases, matrix, on_boundary)


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


def exp(
    matrix: Array,
    velocity: Array,
    depth: float,
    rank: int | None = None,
    *,
    on_boundary: str = "raise",
) -> Array:
    """Return the exponential of ``g^N``: the geodesic at time one.

    It can be differentiated, once and along tangent vectors: by its velocity the derivative
    is the Jacobi field that starts at zero, and by its point the one that starts with the
    Christoffel symbols, `dlngeo.core.connection.christoffel`, as its derivative.

    Parameters and errors as in `geodesic`.

    Returns
    -------
    point : array-like, shape=[..., m, n]

    References
    ----------
    [Che25]; THEORY 3.
    """
    matrix = real_array(matrix, "the matrix")
    check_observable(matrix, depth, rank)
    velocity = checked_matrix(velocity, *matrix.shape[-2:])
    # Sums keep the shape of a broadcast, and what autodiff knows of it.
    matrix, velocity = matrix + 0 * velocity, velocity + 0 * matrix
    return _exp(matrix, velocity, depth=depth, rank=rank, on_boundary=on_boundary)


def _exp_value(
    matrix: Array, velocity: Array, depth: float, rank: int | None, on_boundary: str
) -> Array:
    return geodesic(matrix, velocity, depth, rank, on_boundary=on_boundary).point(1.0)


def _jacobians_value(
    matrix: Array, velocity: Array, depth: float, rank: int | None, on_boundary: str
) -> tuple[Array, Array]:
    """Return the derivatives by point and velocity, with the axes of the result first."""
    from dlngeo.core.connection import christoffel
    from dlngeo.core.transport import jacobi_field

    xp = namespace(matrix)
    rows, columns = matrix.shape[-2:]
    size = rows * columns
    batch = (1,) * (matrix.ndim - 2)
    basis = xp.reshape(eye(size, size, matrix), (size, *batch, rows, columns)) + 0 * matrix
    turned = christoffel(matrix, basis, velocity, depth, rank)
    fields, _ = jacobi_field(
        matrix,
        velocity,
        xp.concat([basis, 0 * basis]),
        xp.concat([turned, basis]),
        depth,
        rank,
        on_boundary=on_boundary,
    )
    return fields[:size], fields[size:]


_jacobians = Primitive(_jacobians_value, refuse, refuse)


def _exp_jvp(arrays: tuple, result: Array, tangents: tuple, **static: Any) -> Array:
    xp = namespace(*arrays, *tangents)
    change = 0 * result
    for jacobian, tangent in zip(_jacobians(*arrays, **static), tangents, strict=True):
        directions = xp.moveaxis(xp.reshape(tangent, (*tangent.shape[:-2], -1)), -1, 0)
        change = change + xp.sum(directions[..., None, None] * jacobian, axis=0)
    return change


def _exp_vjp(arrays: tuple, result: Array, cotangent: Array, **static: Any) -> tuple[Array, ...]:
    xp = namespace(*arrays, cotangent)
    return tuple(
        xp.reshape(xp.moveaxis(xp.sum(cotangent * jacobian, axis=(-2, -1)), 0, -1), cotangent.shape)
        for jacobian in _jacobians(*arrays, **static)
    )


_exp = Primitive(_exp_value, _exp_jvp, _exp_vjp)
