r"""Parallel transport and Jacobi fields along the geodesics of the depth metric.

Fields are carried in orthonormal coordinates, in which the connection is skew, see
`dlngeo.core.depth_metric.connection.parallel_rates`.
"""

import math
from dataclasses import dataclass
from functools import partial

import numpy

from dlngeo.core.base.arrays import Array, from_numpy, to_numpy, transpose
from dlngeo.core.base.vectors import Layers
from dlngeo.core.depth_metric.connection import parallel_rates
from dlngeo.core.depth_metric.curvature import curvature_in_frames
from dlngeo.core.depth_metric.weights import weights_of
from dlngeo.core.geodesics.charts.chart import Chart, Matrices, ObservableChart
from dlngeo.core.geodesics.curves import FieldAxes, Geodesic
from dlngeo.core.geodesics.observable_curves import chart_of, checked_problem, frames_and_velocity
from dlngeo.core.networks.blocks import Blocks, join, split
from dlngeo.core.networks.factors import checked_matrix
from dlngeo.core.networks.frames import SingularFrames
from dlngeo.core.numerics.integration import Status, Trajectory, integrate, integrate_on


def _tide(frames: SingularFrames, tangent: Blocks, e: Blocks, depth: float) -> Blocks:
    """Return ``R(E, Ẋ)Ẋ``, all in orthonormal coordinates."""
    if depth > 1:
        return curvature_in_frames(weights_of(frames.sigma, depth), e, tangent, tangent)
    if tangent.left_null is None or tangent.right_null is None:
        return Blocks(0 * e.core)
    # The equation of Gauss: the normals of the matrices of a rank lie between null spaces.
    inverse = 1 / frames.sigma[..., None, :]
    left, right = tangent.left_null * inverse, tangent.right_null
    e_left, e_right = e.left_null * inverse, e.right_null
    own, mixed = 2 * left @ right, e_left @ right + left @ e_right
    return Blocks(
        0 * e.core,
        (own @ transpose(e_right) - mixed @ transpose(right)) * inverse,
        transpose(e_left) @ own - transpose(left) @ mixed,
    )


def _with_fields(frames: SingularFrames) -> SingularFrames:
    """Return frames with one more axis, that of the fields."""
    left, sigma, right = frames
    return SingularFrames(left[..., None, :, :], sigma[..., None, :], right[..., None, :, :])


@dataclass(frozen=True, eq=False)
class _Fields(Chart):
    """Fields along geodesics, integrated together with them.

    A state is that of the geodesic in its chart, and then the matrices ``e`` of the fields;
    of Jacobi fields, those of all fields and then those of their covariant derivatives.

    Attributes
    ----------
    chart : ObservableChart
    depth : float
    shape : tuple of int
        Rows and columns.
    chart_size : int
        Length of the state of a geodesic.
    is_jacobi : bool
    """

    chart: ObservableChart
    depth: float
    shape: tuple[int, int]
    chart_size: int
    is_jacobi: bool

    ways_on = ObservableChart.ways_on

    def enter(self, frames: SingularFrames, fields: numpy.ndarray) -> numpy.ndarray:
        """Return ``e = A^{-1/2}(E)``, shape=[..., f, m, n]."""
        left, sigma, right = _with_fields(frames)
        coordinates = weights_of(sigma, self.depth).coordinates(split(fields, left, right))
        return join(coordinates, left, right)

    def fields(self, state: numpy.ndarray) -> numpy.ndarray:
        """Return the fields ``E`` of a state, shape=[..., f, m, n]."""
        frames, _ = self.chart.decompose(state[..., : self.chart_size])
        left, sigma, right = _with_fields(frames)
        coordinates = split(self._matrices(state), left, right)
        return join(weights_of(sigma, self.depth).vector(coordinates), left, right)

    def _matrices(self, state: numpy.ndarray) -> numpy.ndarray:
        entries = state[..., self.chart_size :]
        count = entries.shape[-1] // math.prod(self.shape)
        return entries.reshape(*entries.shape[:-1], count, *self.shape)

    def reverse(self, state: numpy.ndarray) -> numpy.ndarray:
        position, entries = state[..., : self.chart_size], state[..., self.chart_size :]
        return numpy.concatenate([self.chart.reverse(position), entries], axis=-1)

    def leave(self, state: numpy.ndarray) -> tuple[Matrices, Matrices]:
        return self.chart.leave(state[..., : self.chart_size])

    def velocity(self, state: numpy.ndarray) -> tuple[numpy.ndarray, numpy.ndarray]:
        position = state[:, : self.chart_size]
        motion, gap = self.chart.velocity(position)
        frames, tangent = self.chart.decompose(position)
        wide = _with_fields(frames)
        matrices = self._matrices(state)
        e = split(matrices, wide.left, wide.right)
        weights = weights_of(frames.sigma, self.depth)
        rates = join(parallel_rates(weights, tangent, e), wide.left, wide.right)
        if self.is_jacobi:
            count = matrices.shape[1] // 2
            along = weights.coordinates(tangent).map(lambda block: block[:, None])
            tide = _tide(wide, along, e.map(lambda block: block[:, :count]), self.depth)
            rates[:, :count] += matrices[:, count:]
            rates[:, count:] -= join(tide, wide.left, wide.right)
        return numpy.concatenate([motion, rates.reshape(len(state), -1)], axis=-1), gap

    def turn(
        self, state: numpy.ndarray, left: numpy.ndarray
    ) -> tuple[numpy.ndarray, numpy.ndarray]:
        """Return how they go on from the boundary: see `integrate_on`.

        In these coordinates fields are continuous. Where a geodesic comes back, their part
        across the boundary turns with its velocity.
        """
        position = state[:, : self.chart_size]
        fields = self._matrices(state)
        if self.chart.is_mirror:
            frames, _ = self.chart.decompose(position)
            u, v = frames.left[:, None, :, :1], frames.right[:, None, :, :1]
            fields = fields - 2 * u @ (transpose(u) @ fields @ v) @ transpose(v)
        entries = fields.reshape(len(state), state.shape[-1] - self.chart_size)
        turned, passed = self.chart.turn(position, left)
        return numpy.concatenate([turned, entries], axis=-1), passed

    def flow(
        self,
        start: numpy.ndarray,
        end: numpy.ndarray,
        tolerance: float | numpy.ndarray,
        most_steps: int = 2_000,
    ) -> Trajectory:
        """Follow geodesics and fields; where the geodesic itself ends, its chart knows best."""
        alone = self.chart.flow(start[:, : self.chart_size], end, tolerance, most_steps)
        arrives = alone.status == Status.ARRIVED
        end = numpy.where(arrives, end, 0.0)
        inner = partial(integrate, self.velocity, most_steps=most_steps)
        both = integrate_on(inner, self.turn, start, end, tolerance)
        return Trajectory(
            both.state,
            numpy.where(arrives, both.time, alone.time),
            numpy.where(arrives, both.status, alone.status),
            both.error,
            both.n_steps,
        )


def _carry(
    matrix: Array,
    velocity: Array,
    fields: tuple[Array, ...],
    depth: float,
    rank: int | None,
    on_boundary: str,
) -> list[Array]:
    """Return parallel fields, or a Jacobi field and its derivative, at time one."""
    x, z, rank = checked_problem(matrix, velocity, depth, rank)
    shape = x.shape[-2], x.shape[-1]
    starts = [to_numpy(checked_matrix(field, shape, matrix)) for field in fields]
    axes = FieldAxes.of((x, z), starts)
    frames, tangent, unit = frames_and_velocity(axes.spread(x), axes.spread(z), rank)
    chart = chart_of(shape[0], shape[1], rank, depth, on_boundary=on_boundary)
    # Faster than one in units of arc length.
    pace = numpy.maximum(chart.speed(frames, tangent), 1.0)
    position = chart.enter(frames, tangent / pace[..., None, None])
    carrier = _Fields(chart, depth, shape, position.shape[-1], len(fields) == 2)
    # A covariant derivative counts in the same time.
    paces = [1.0, pace[..., None, None, None]][: len(fields)]
    parts = Layers(
        carrier.enter(frames, axes.gather(start)) / p
        for start, p in zip(starts, paces, strict=True)
    )
    parts, size = parts.unit()
    entries = [part.reshape(*pace.shape, math.prod(part.shape[-3:])) for part in parts]
    start = numpy.concatenate([position, *entries], axis=-1)
    curve = Geodesic(carrier, start, unit, pace, list, on_boundary)
    state, factor = curve.arrive()
    with numpy.errstate(all="ignore"):  # at the boundary
        ends = numpy.split(factor * carrier.fields(state), len(fields), axis=-3)
    return [
        from_numpy(axes.scatter(p * size[..., None, None] * end), matrix)
        for end, p in zip(ends, paces, strict=True)
    ]


def parallel_transport(
    matrix: Array,
    velocity: Array,
    vectors: Array,
    depth: float,
    rank: int | None = None,
    *,
    on_boundary: str = "raise",
) -> Array:
    r"""Transport tangent vectors in parallel along the geodesic with an initial velocity.

    Parameters
    ----------
    matrix : array-like, shape=[..., m, n]
        Initial point ``X`` of the given rank.
    velocity : array-like, shape=[..., m, n]
        Initial velocity ``Z``; the geodesic ends at ``exp(X, Z)``.
    vectors : array-like, shape=[..., m, n]
        Tangent vectors at ``X``; a part between the null spaces is dropped. Axes that they
        have more than matrix and velocity count vectors along the same geodesics, which
        are integrated once.
    depth : int or inf
        Depth ``N``.
    rank : int, optional
        Rank of ``X``, full by default.
    on_boundary : str
        What happens if a geodesic reaches the boundary, as in `geodesic`.

    Returns
    -------
    transported : array-like, shape=[..., m, n]
        Tangent vectors at ``exp(X, Z)``.

    Raises
    ------
    ValueError
        If shapes, rank or depth do not fit, an entry is NaN or infinite, or a geodesic
        reaches the boundary.

    References
    ----------
    THEORY 3 (own derivation).
    """
    return _carry(matrix, velocity, (vectors,), depth, rank, on_boundary)[0]


def jacobi_field(
    matrix: Array,
    velocity: Array,
    variation_point: Array,
    variation_velocity: Array,
    depth: float,
    rank: int | None = None,
    *,
    on_boundary: str = "raise",
) -> tuple[Array, Array]:
    r"""Return Jacobi fields and their covariant derivatives at time one.

    They solve ``J'' + R(J, Ẋ)Ẋ = 0``: the field ``J`` of a family of geodesics, of which
    ``J(0)`` moves the initial point and ``J'(0)``, a covariant derivative, the initial
    velocity. With ``J(0) = 0`` the result is the derivative of ``exp_X(Z)`` by ``Z`` along
    ``J'(0)``.

    Parameters
    ----------
    matrix : array-like, shape=[..., m, n]
        Initial point ``X`` of the given rank.
    velocity : array-like, shape=[..., m, n]
        Initial velocity ``Z``.
    variation_point, variation_velocity : array-like, shape=[..., m, n]
        ``J(0)`` and ``J'(0)``, tangent vectors at ``X``; shapes as in `transport`.
    depth, rank, on_boundary
        As in `transport`.

    Returns
    -------
    field, derivative : array-like, shape=[..., m, n]
        ``J(1)`` and ``J'(1)``, tangent vectors at ``exp(X, Z)``.

    Raises
    ------
    ValueError
        As `transport`.

    References
    ----------
    THEORY 3 (own derivation).
    """
    fields = (variation_point, variation_velocity)
    field, derivative = _carry(matrix, velocity, fields, depth, rank, on_boundary)
    return field, derivative
