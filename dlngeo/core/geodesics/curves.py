r"""Geodesics of the depth metric: exponential, paths, transport and Jacobi fields.

Geodesics run in a chart in which the metric is tame up to the boundary: depth-root
coordinates for a finite depth, logarithmic ones for infinite depth. A batch is integrated
together, each element with its own steps, on the host and in double precision, whatever
library and type the arguments have.
"""

from dataclasses import dataclass
from typing import Any

import numpy

from dlngeo.core.base.arrays import Array, from_numpy
from dlngeo.core.geodesics.charts import (
    TOLERANCE,
    Chart,
    _scaled,
    chart_of,
    check_arrival,
    check_on_boundary,
    checked_problem,
    checked_times,
    compressed,
    extended,
)
from dlngeo.core.networks.blocks import Blocks, split
from dlngeo.core.networks.frames import SingularFrames, exact_frames
from dlngeo.core.numerics.integration import Status


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
    integrated in depth-root coordinates (`dlngeo.core.geodesics.depth_root_chart`).

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
