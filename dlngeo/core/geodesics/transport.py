r"""Parallel transport and Jacobi fields along the geodesics of the depth metric.

Fields are carried in orthonormal coordinates. With ``x = σ^{2/N}`` the weights ``r_kl`` of
the metric are the first divided differences of the function ``x^N``, and its Christoffel
symbols are the second ones,

.. math:: Γ(Z, E)_{kl} = -\sum_m σ_m H_{kml} (z_{km} w_{ml} + w_{km} z_{ml}), \quad
          z = Z / r, \; w = E / r, \; H_{kml} = \sum_{a+b+c=N-2} x_k^a x_m^b x_l^c;

at infinite depth ``r`` and ``H`` are the divided differences of ``exp`` at ``2 log σ``. In the
coordinates ``e = E / √r``, that is with ``e = A^{-1/2}(E)`` as a matrix in a fixed basis, the
terms of the connection unite to skew ones,

.. math:: \dot e_{km} = \sum_l Ω^{(m)}_{kl} e_{lm} + \sum_l e_{kl} Ω'^{(k)}_{lm}, \quad
          Ω^{(m)}_{kl} = H_{klm} \frac{\sqrt{r_{km}} σ_l z_{kl} - \sqrt{r_{lm}} σ_k z_{lk}}
          {\sqrt{r_{km}} \sqrt{r_{lm}} (\sqrt{r_{km}} + \sqrt{r_{lm}})},

and ``Ω'`` is the same for the transposed matrix (own derivation). No difference of singular
values is divided by; null spaces are singular values zero.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy

from dlngeo.core.base.arrays import Array, from_numpy, namespace, to_numpy, transpose
from dlngeo.core.depth_metric.curvature import curvature_in_frames, point_at
from dlngeo.core.geodesics.charts import (
    TOLERANCE,
    Chart,
    chart_of,
    check_arrival,
    check_on_boundary,
    checked_problem,
)
from dlngeo.core.networks.blocks import Blocks, join, split
from dlngeo.core.networks.factors import checked_matrix
from dlngeo.core.networks.frames import SingularFrames, exact_frames
from dlngeo.core.networks.jacobi import log_log_mean_kernel
from dlngeo.core.numerics.integration import Status, integrate


class _Kernels(NamedTuple):
    """Divided differences at the singular values of a matrix.

    Attributes
    ----------
    root : array, shape=[..., r, r]
        ``√r_kl``.
    null_root : array, shape=[..., r]
        ``√r_k0``, the same towards the null spaces.
    second : array, shape=[..., r, r, r]
        ``H_klm``.
    null_second : array, shape=[..., r, r]
        ``H_kl0``.
    """

    root: numpy.ndarray
    null_root: numpy.ndarray
    second: numpy.ndarray
    null_second: numpy.ndarray


def _kernels(sigma: numpy.ndarray, depth: float) -> _Kernels:
    """Return sums of positive terms, for singular values ``[..., r]``."""
    if depth == math.inf:
        kernel = numpy.exp(log_log_mean_kernel(sigma, sigma))
        second = _exponential_differences(2 * numpy.log(sigma))
        # Square and of full rank: there are no null blocks to weigh.
        return _Kernels(numpy.sqrt(kernel), sigma, second, 0 * kernel)
    x = sigma ** (2 / depth)
    one, other = x[..., :, None], x[..., None, :]
    kernel, power = numpy.ones_like(one * other), numpy.ones_like(other)
    null_second = numpy.zeros_like(kernel)
    second = numpy.zeros_like(kernel[..., None] * x[..., None, None, :])
    for _ in range(int(depth) - 1):
        second = second * x[..., None, None, :] + kernel[..., None]
        null_second = kernel
        power = power * other
        kernel = kernel * one + power
    null_root = x ** ((depth - 1) / 2)
    return _Kernels(numpy.sqrt(kernel), null_root, second, null_second)


def _exponential_differences(a: numpy.ndarray) -> numpy.ndarray:
    """Return the second divided differences of ``exp`` at ``a_k, a_l, a_m``."""
    triples = numpy.broadcast_arrays(
        a[..., :, None, None], a[..., None, :, None], a[..., None, None, :]
    )
    low, middle, high = numpy.moveaxis(numpy.sort(numpy.stack(triples, -1), axis=-1), -1, 0)
    center, gap = (low + high) / 2, high - low
    is_close = gap < 1
    # Σ_n h_n / (n + 2)! with the complete homogeneous polynomials h_n of what is left.
    half, between = numpy.minimum(gap, 1) / 2, numpy.clip(middle - center, -0.5, 0.5)
    by_one = by_two = by_three = numpy.ones_like(center)
    near, factor = 0.0, 0.5
    for n in range(16):
        near = near + factor * by_three
        by_one = by_one * half
        by_two = by_two * between + by_one
        by_three = -by_three * half + by_two
        factor = factor / (n + 3)
    far = _exponential_slope(middle, high) - _exponential_slope(low, middle)
    return numpy.where(is_close, numpy.exp(center) * near, far / numpy.where(is_close, 1.0, gap))


def _exponential_slope(a: numpy.ndarray, b: numpy.ndarray) -> numpy.ndarray:
    """Return the divided differences ``(e^b - e^a) / (b - a)``."""
    gap = b - a
    safe = numpy.where(gap == 0, 1.0, gap)
    return numpy.exp(a) * numpy.where(gap == 0, 1.0, numpy.expm1(safe) / safe)


def _turned(kernels: _Kernels, sigma: numpy.ndarray, tangent: Blocks, e: Blocks) -> Blocks:
    """Return ``Σ_l Ω^{(m)}_kl e_lm``, block by block; the second axis of ``e`` counts fields."""
    root, null_root, second, null_second = kernels
    # σ_l z_kl
    z = sigma[..., None, :] * tangent.core / root**2
    by_k, by_l = root[..., :, None, :], root[..., None, :, :]
    form = by_k * z[..., None] - by_l * transpose(z)[..., None]
    form = second / by_k / by_l / (by_k + by_l) * form
    core = numpy.einsum("bklm,bflm->bfkm", form, e.core)
    left = right = both = None
    if e.left_null is not None:
        weight = (null_second / root / (root + null_root[..., None, :]))[:, None]
        z_null = (tangent.left_null * (sigma / null_root**2)[..., None, :])[:, None]
        left = z_null @ (weight * e.core)
        core = core - weight * (transpose(z_null) @ e.left_null)
    if e.right_null is not None:
        one, other = null_root[..., :, None], null_root[..., None, :]
        form = null_second / one / other / (one + other) * (one * z - other * transpose(z))
        right = form[:, None] @ e.right_null
        if e.left_null is not None:
            both = (tangent.left_null / sigma[..., None, :])[:, None] @ e.right_null
    return Blocks(core, left, right, both)


def _connection(kernels: _Kernels, sigma: numpy.ndarray, tangent: Blocks, e: Blocks) -> Blocks:
    """Return the velocity of parallel fields ``e`` in singular frames that stand still."""
    left = _turned(kernels, sigma, tangent, e)
    right = _turned(kernels, sigma, tangent.transposed(), e.transposed()).transposed()
    return Blocks(*[None if a is None else a + b for a, b in zip(left, right, strict=True)])


def _tide(frames: SingularFrames, tangent: Blocks, e: Blocks, depth: float) -> Blocks:
    """Return ``R(E, Ẋ)Ẋ``, all in orthonormal coordinates."""
    if depth > 1:
        return curvature_in_frames(point_at(frames, depth), e, tangent, tangent)
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
    return SingularFrames(frames.left[:, None], frames.sigma[:, None], frames.right[:, None])


class _Fields(NamedTuple):
    """Fields along geodesics, integrated together with them.

    A state is that of the geodesic in its chart, and then the matrices ``e`` of the fields;
    of Jacobi fields, those of all fields and then those of their covariant derivatives.

    Attributes
    ----------
    chart : Chart
    depth : float
    shape : tuple of int
        Rows and columns.
    chart_size : int
        Length of the state of a geodesic.
    is_jacobi : bool
    """

    chart: Chart
    depth: float
    shape: tuple[int, int]
    chart_size: int
    is_jacobi: bool

    def coordinates(self, frames: SingularFrames, fields: numpy.ndarray) -> numpy.ndarray:
        """Return ``e = A^{-1/2}(E)``, shape=[b, f, m, n]."""
        return self._weighted(frames, fields, -1)

    def leave(self, state: numpy.ndarray) -> numpy.ndarray:
        """Return the fields ``E`` of a state, shape=[b, f, m, n]."""
        frames, _ = self.chart.opened(state[:, : self.chart_size])
        return self._weighted(frames, self._matrices(state), 1)

    def _matrices(self, state: numpy.ndarray) -> numpy.ndarray:
        return state[:, self.chart_size :].reshape(len(state), -1, *self.shape)

    def _weighted(self, frames: SingularFrames, fields: numpy.ndarray, power: int) -> numpy.ndarray:
        kernels = _kernels(frames.sigma, self.depth)
        left, _, right = _with_fields(frames)
        root, null_root = kernels.root[:, None] ** power, kernels.null_root[:, None] ** power
        return join(split(fields, left, right).scaled(root, null_root), left, right)

    def velocity(self, state: numpy.ndarray) -> tuple[numpy.ndarray, numpy.ndarray]:
        """Return the velocity of a state, shape=[b, n_state], and the gap of the geodesic."""
        position = state[:, : self.chart_size]
        moved, gap = self.chart.velocity(position)
        frames, tangent = self.chart.opened(position)
        wide = _with_fields(frames)
        matrices = self._matrices(state)
        e = split(matrices, wide.left, wide.right)
        kernels = _kernels(frames.sigma, self.depth)
        rates = join(_connection(kernels, frames.sigma, tangent, e), wide.left, wide.right)
        if self.is_jacobi:
            count = matrices.shape[1] // 2
            along = tangent.scaled(1 / kernels.root, 1 / kernels.null_root)
            along = Blocks(*[None if block is None else block[:, None] for block in along])
            spread = Blocks(*[None if block is None else block[:, :count] for block in e])
            tide = _tide(wide, along, spread, self.depth)
            rates[:, :count] += matrices[:, count:]
            rates[:, count:] -= join(tide, wide.left, wide.right)
        return numpy.concatenate([moved, rates.reshape(len(state), -1)], axis=-1), gap


def field_axes(
    points: Sequence[numpy.ndarray], fields: Sequence[numpy.ndarray]
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return the axes that count fields along the same geodesics, and those of geodesics."""
    batch = numpy.broadcast_shapes(*[array.shape[:-2] for array in points])
    every = numpy.broadcast_shapes(batch, *[array.shape[:-2] for array in fields])
    cut = len(every) - len(batch)
    return every[:cut], every[cut:]


def by_geodesic(
    field: numpy.ndarray, extra: tuple[int, ...], batch: tuple[int, ...]
) -> numpy.ndarray:
    """Return fields as an array of shape [b, f, m, n]."""
    shape = field.shape[-2:]
    field = numpy.broadcast_to(field, (*extra, *batch, *shape))
    return field.reshape(math.prod(extra), math.prod(batch), *shape).swapaxes(0, 1)


def _carried(
    matrix: Array,
    velocity: Array,
    fields: tuple[Array, ...],
    depth: float,
    rank: int | None,
    on_boundary: str,
) -> list[Array]:
    """Return parallel fields, or a Jacobi field and its derivative, at time one."""
    check_on_boundary(on_boundary)
    x, z, rank = checked_problem(matrix, velocity, depth, rank)
    rows, columns = shape = x.shape[-2], x.shape[-1]
    namespace(matrix, *fields)
    starts = [to_numpy(checked_matrix(field, *shape)) for field in fields]
    extra, batch = field_axes((x, z), starts)
    x, z = (numpy.broadcast_to(a, (*batch, *shape)).reshape(-1, *shape) for a in (x, z))
    starts = [by_geodesic(start, extra, batch) for start in starts]

    frames = exact_frames(x, rank)
    unit = frames.sigma[:, 0]
    frames = frames._replace(sigma=frames.sigma / unit[:, None])
    tangent = split(z / unit[:, None, None], frames.left, frames.right)
    chart = chart_of(rows, columns, rank, depth)
    # Faster than one in units of arc length.
    pace = numpy.maximum(chart.speed(frames, tangent), 1.0)
    position = chart.enter(frames, tangent.scaled(1 / pace[:, None, None], 1 / pace[:, None]))
    carrier = _Fields(chart, depth, shape, position.shape[-1], len(fields) == 2)
    # A covariant derivative counts in the same time.
    paces = [1.0, pace[:, None, None, None]]
    parts = [
        carrier.coordinates(frames, start) / p for start, p in zip(starts, paces, strict=False)
    ]
    size = numpy.sqrt(sum(numpy.sum(part**2, axis=(-2, -1)) for part in parts))[..., None, None]
    size = numpy.where(size == 0, 1.0, size)
    state = numpy.concatenate(
        [position, *[(part / size).reshape(len(position), -1) for part in parts]], axis=-1
    )
    # Where the geodesic itself ends, its chart knows best.
    alone = chart.flow(position, pace, TOLERANCE)
    has_ended = alone.status != Status.ARRIVED
    together = integrate(carrier.velocity, state, numpy.where(has_ended, 0.0, pace), TOLERANCE)
    status = numpy.where(has_ended, alone.status, together.status)
    if on_boundary == "raise":
        check_arrival(status, numpy.where(has_ended, alone.time, together.time) / pace)
    is_lost = (status != Status.ARRIVED)[:, None, None, None]
    ends = numpy.where(is_lost, numpy.nan, carrier.leave(together.state))
    return [
        from_numpy((p * size * end).swapaxes(0, 1).reshape(*extra, *batch, *shape), matrix)
        for end, p in zip(numpy.split(ends, len(fields), axis=1), paces, strict=False)
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
        What happens if a geodesic reaches the boundary, where a singular value vanishes:
        "raise" an error that names the time, or "nan".

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
    return _carried(matrix, velocity, (vectors,), depth, rank, on_boundary)[0]


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
    field, derivative = _carried(matrix, velocity, fields, depth, rank, on_boundary)
    return field, derivative
