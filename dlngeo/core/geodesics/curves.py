r"""Geodesics as curves: every geometry gives a chart and initial states, and these do the rest.

A batch is integrated together, each element with its own steps, on the host and in double
precision, whatever library and type the arguments have.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, NamedTuple, Self, TypeVar

import numpy

from dlngeo.core.base.arrays import Array, quotient
from dlngeo.core.base.checks import host_array, in_batch
from dlngeo.core.geodesics.charts.chart import Chart, Matrices
from dlngeo.core.numerics.integration import Status

C = TypeVar("C", bound=Chart)


@dataclass(frozen=True)
class Positions:
    """Positions on geodesics, and how the integration went.

    Attributes
    ----------
    point, velocity : array-like, shape=[..., m, n], or factors
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


@dataclass(frozen=True, eq=False)
class Geodesic(Generic[C]):
    """Geodesics with given initial points and velocities, evaluated at any time.

    Every time is reached by an integration of its own from the initial point, at full
    accuracy, all times in one batch.

    Attributes
    ----------
    chart : Chart
    start : array, shape=[..., n_state]
        Initial states, in units in which points are of size one.
    unit : array, shape=[...]
        Size of the points.
    pace : array, shape=[...]
        Time of the chart in time one.
    result : callable
        Takes matrices, shape=[..., m_i, n_i], and returns what the caller gets.
    on_boundary : str
        What happens when a time is asked for at which a geodesic has ended at the boundary:
        "raise" an error that names the time, or "nan"; or how it goes on there, one of the
        chart's `ways_on`, with an error where it cannot.

    Raises
    ------
    ValueError
        If ``on_boundary`` is another word.
    """

    chart: C
    start: numpy.ndarray
    unit: numpy.ndarray
    pace: numpy.ndarray
    result: Callable[[Matrices], Any]
    on_boundary: str = "raise"

    def __post_init__(self) -> None:
        words = ("raise", "nan", *self.chart.ways_on)
        if self.on_boundary not in words:
            *most, last = [f'"{word}"' for word in words]
            raise ValueError(
                f"on_boundary is {', '.join(most)} or {last}, got {self.on_boundary!r}."
            )

    def __call__(self, t: Any) -> Any:
        """Return the points at times ``t``; see `point`."""
        return self.point(t)

    def point(self, t: Any) -> Any:
        """Return the points at times ``t``.

        Parameters
        ----------
        t : float or array-like, shape=[n_times]
            Times, of any sign.

        Returns
        -------
        point : array-like, shape=[..., m, n] or [..., n_times, m, n], or factors
            Like the initial points. The axis of the times stands behind those of the batch.

        Raises
        ------
        ValueError
            If a geodesic reaches the boundary of the space before; the message tells when.
        """
        return self._checked(t).point

    def velocity(self, t: Any) -> Any:
        """Return the velocities at times ``t``; arguments and errors as in `point`."""
        return self._checked(t).velocity

    def at(self, t: Any, tolerance: Any = None, most_steps: int = 2_000) -> Positions:
        """Return points, velocities and status at times ``t``, without raising.

        Parameters
        ----------
        t : float or array-like, shape=[n_times]
        tolerance : float or array, shape=[...], optional
            Local error of a step, that of the chart by default.
        most_steps : int
            Number of trial steps after which a geodesic counts as stalled.
        """
        times = host_array(t, "the array of times")
        if times.ndim > 1:
            raise ValueError(f"times must be one finite number or a list of them, got {t}.")
        state, *info = self._follow(times.reshape(-1), tolerance, most_steps)
        unit = numpy.where(info[0] == Status.ARRIVED, self.unit, numpy.nan)
        with numpy.errstate(all="ignore"):  # at the boundary; what is lost becomes NaN
            points, velocities = self.chart.leave(state)

        def behind(array: numpy.ndarray) -> numpy.ndarray:
            """Put the axis of the times behind those of the batch."""
            return numpy.moveaxis(array, 0, self.pace.ndim) if times.ndim else array[0]

        sign = numpy.where(times < 0, -1.0, 1.0).reshape(-1, *[1] * self.pace.ndim)
        results = [
            self.result([behind(scale[..., None, None] * matrix) for matrix in matrices])
            for matrices, scale in (
                (points, unit),
                # On a geodesic run backwards the velocity is the opposite one.
                (velocities, unit * self.pace * sign),
            )
        ]
        return Positions(*results, *map(behind, info))

    def arrive(self) -> tuple[numpy.ndarray, numpy.ndarray]:
        """Return the states at time one, shape=[..., n_state], and what fields there count by.

        The factors, shape=[..., 1, 1, 1], are one, and NaN where a geodesic has ended. Errors as
        in `point`.
        """
        state, status, end, _ = self._follow(numpy.ones(1))
        self._check(status[0], end[0])
        factor = numpy.where(status[0] == Status.ARRIVED, 1.0, numpy.nan)
        return state[0], factor[..., None, None, None]

    def _checked(self, t: Any) -> Positions:
        positions = self.at(t)
        self._check(positions.status, positions.end)
        return positions

    def _check(self, status: numpy.ndarray, end: numpy.ndarray) -> None:
        """Raise a ValueError if a geodesic has ended before its time, shape=[...] or [..., n]."""
        is_lost = status != Status.ARRIVED
        if is_lost.any() and self.on_boundary != "nan":
            first = tuple(numpy.argwhere(is_lost)[0])
            lost = is_lost.reshape(*self.pace.shape, -1).any(axis=-1)
            raise ValueError(
                f"the geodesic ends at time {end[first]:.6g}{in_batch(lost)}: "
                f"{Status(status[first]).remedy}"
            )

    def _follow(
        self, times: numpy.ndarray, tolerance: Any = None, most_steps: int = 2_000
    ) -> tuple[numpy.ndarray, ...]:
        """Return state, status, end and error, shape=[n_times, ...]."""
        shape, n = (len(times), *self.pace.shape), self.start.shape[-1]
        times = times.reshape(-1, *[1] * self.pace.ndim)
        start = self.start
        if (times < 0).any():
            start = numpy.where(times[..., None] < 0, self.chart.reverse(start), start)
        tolerance = self.chart.tolerance if tolerance is None else tolerance
        length = abs(times) * self.pace
        flow = self.chart.flow(
            numpy.broadcast_to(start, (*shape, n)).reshape(-1, n),
            length.reshape(-1),
            numpy.broadcast_to(tolerance, shape).reshape(-1),
            most_steps,
        )
        status, time, error = (
            array.reshape(shape) for array in (flow.status, flow.time, flow.error)
        )
        reached = numpy.sign(times) * quotient(time, self.pace + 0 * time)
        end = numpy.where(status == Status.ARRIVED, times, reached)
        return flow.state.reshape(*shape, n), status, end, error


class FieldAxes(NamedTuple):
    """Axes that count fields along the same geodesics, and those of geodesics.

    Attributes
    ----------
    fields, batch : tuple of int
    """

    fields: tuple[int, ...]
    batch: tuple[int, ...]

    @classmethod
    def of(cls, points: Matrices, fields: Matrices) -> Self:
        """Return the axes of matrices; fields may have more axes in front than points."""
        batch = numpy.broadcast_shapes(*[array.shape[:-2] for array in points])
        every = numpy.broadcast_shapes(batch, *[array.shape[:-2] for array in fields])
        cut = len(every) - len(batch)
        return cls(every[:cut], every[cut:])

    def spread(self, point: numpy.ndarray) -> numpy.ndarray:
        """Return a matrix for each geodesic, shape=[*batch, m, n]."""
        return numpy.broadcast_to(point, (*self.batch, *point.shape[-2:]))

    def gather(self, field: numpy.ndarray) -> numpy.ndarray:
        """Return the fields of each geodesic, shape=[*batch, f, m, n]."""
        shape = (*self.batch, *field.shape[-2:])
        field = numpy.broadcast_to(field, (*self.fields, *shape))
        return numpy.moveaxis(field.reshape(math.prod(self.fields), *shape), 0, -3)

    def scatter(self, fields: numpy.ndarray) -> numpy.ndarray:
        """Return fields in the axes from which `gather` took them."""
        fields = numpy.moveaxis(fields, -3, 0)
        return fields.reshape(*self.fields, *fields.shape[1:])
