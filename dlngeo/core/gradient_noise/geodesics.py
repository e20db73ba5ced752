r"""Geodesics of the diffusion metric: exponential, logarithm and parallel transport.

Geodesics are integrated in parameter space, ``ẍ = -Γ(ẋ, ẋ)``, by the method of Dormand and
Prince of order 8, one by one, since the losses are functions of one point; on the host, in
double precision, in units of the length of the velocity.
"""

import functools
import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy
import scipy.linalg
from scipy.integrate import solve_ivp
from scipy.optimize import NoConvergence, anderson

from dlngeo.core.base.arrays import Array, from_numpy, namespace, to_numpy
from dlngeo.core.base.scales import at_scale, at_unit_scale
from dlngeo.core.gradient_noise.diffusion import DiffusionGeometry
from dlngeo.core.numerics.integration import FIRST_STEP
from dlngeo.core.numerics.shooting import CONVERGED, Aim, Attempt, Found, Miss, norms, search, shoot

TOLERANCE = 1e-11
"""Local error of a step, relative to the length of the velocity."""

NEWTON = 64
"""Largest dimension in which logarithms are found with Jacobians by differences."""

MOST_EVALUATIONS = 30_000
"""Accelerations after which a geodesic counts as stalled."""

SHOOTING_EVALUATIONS = 10_000
"""Accelerations after which a logarithm is given up, and a tenth more for each dimension."""

_CONTINUATION = (0.1, 0.3, 0.6, 1.0)
"""Parts of the scale through which a logarithm is followed that the chord does not lead to."""


class _Stalled(ValueError):
    """The steps of a geodesic have become too short."""


def positions(
    geometry: DiffusionGeometry,
    x: Array,
    velocity: Array,
    times: numpy.ndarray,
    tolerance: float = TOLERANCE,
) -> Array:
    """Return the points of geodesics at times, shape=[..., n_times, D].

    Parameters
    ----------
    geometry : DiffusionGeometry
    x, velocity : array-like, shape=[..., D]
    times : array, shape=[n_times]
        Of any sign.
    tolerance : float
        Local error of a step, relative to the length of the velocity.

    Raises
    ------
    ValueError
        If a geodesic cannot be continued to a time.
    """
    x, velocity = x + 0 * velocity, velocity + 0 * x
    size = x.shape[-1]

    def positions_from(start: numpy.ndarray, move: numpy.ndarray) -> numpy.ndarray:
        result = numpy.empty((len(times), size))
        for sign, side in ((1, times >= 0), (-1, times < 0)):
            chosen = numpy.flatnonzero(side)
            if len(chosen):
                order = chosen[numpy.argsort(abs(times[chosen]))]
                fields = numpy.zeros((0, size))
                result[order] = _path(
                    geometry, start, sign * move, fields, abs(times[order]), x, tolerance
                )[0]
        return result

    return _apply_on_host(positions_from, (len(times), size), x, velocity)


def exp(geometry: DiffusionGeometry, x: Array, velocity: Array) -> Array:
    """Return the exponential, shape=[..., D]; parameters and errors as in `positions`."""
    return positions(geometry, x, velocity, numpy.ones(1))[..., 0, :]


def parallel_transport(
    geometry: DiffusionGeometry, x: Array, velocity: Array, vectors: Array
) -> Array:
    """Transport vectors in parallel to time one.

    Parameters
    ----------
    geometry : DiffusionGeometry
    x, velocity : array-like, shape=[..., D]
    vectors : array-like, shape=[..., D]
        Axes that they have more than the points count vectors along the same geodesics.

    Returns
    -------
    transported : array-like, shape=[..., D]

    Raises
    ------
    ValueError
        If a geodesic cannot be continued to time one.
    """
    x, velocity = x + 0 * velocity, velocity + 0 * x
    batch = x.shape[:-1]
    every = numpy.broadcast_shapes(tuple(batch), tuple(vectors.shape[:-1]))
    size, extra = x.shape[-1], every[: len(every) - len(batch)]
    xp = namespace(vectors)
    count = math.prod(extra)
    vectors = xp.reshape(xp.broadcast_to(vectors, (*every, size)), (count, *batch, size))
    vectors, exponent = at_unit_scale(2, xp.moveaxis(vectors, 0, -2), axes=1)

    def carry(start: numpy.ndarray, move: numpy.ndarray, fields: numpy.ndarray) -> numpy.ndarray:
        return _path(geometry, start, move, fields, numpy.ones(1), x, TOLERANCE)[1][0]

    moved = _apply_on_host(carry, (count, size), x, velocity, vectors)
    moved = at_scale(moved, exponent, "the vector", axes=1)
    return xp.reshape(xp.moveaxis(moved, -2, 0), (*extra, *batch, size))


def log(geometry: DiffusionGeometry, x: Array, y: Array) -> Array:
    """Return the velocity of a geodesic from ``x`` to ``y``, shape=[..., D].

    It is found by shooting from the chord, which is exact for ``ε = 0``, and where that fails by
    following it as ``ε`` grows: of several geodesics one that is near to the chord, not always
    the shortest.

    Raises
    ------
    RuntimeError
        If no geodesic was found.
    """
    x, y = x + 0 * y, y + 0 * x
    return _apply_on_host(functools.partial(_connect, geometry, x), x.shape[-1:], x, y)


def _apply_on_host(function: Any, shape: Sequence[int], *arrays: Array) -> Array:
    """Apply a function of host arrays of single geodesics to a batch, whatever its library.

    Its results have the given shape.
    """
    like = arrays[0]
    batch = tuple(like.shape[:-1])
    results = numpy.empty((math.prod(batch), *shape))
    hosts = [to_numpy(array) for array in arrays]
    hosts = [host.reshape(len(results), *host.shape[len(batch) :]) for host in hosts]
    for number, rows in enumerate(zip(*hosts, strict=True)):
        results[number] = function(*rows)
    return from_numpy(results.reshape(*batch, *shape), like)


def _path(
    geometry: DiffusionGeometry,
    start: numpy.ndarray,
    move: numpy.ndarray,
    fields: numpy.ndarray,
    times: numpy.ndarray,
    like: Array,
    tolerance: float,
    budget: Iterator[int] | None = None,
) -> tuple[numpy.ndarray, numpy.ndarray]:
    """Return points ``[t, D]`` and parallel fields ``[t, k, D]`` at ascending times."""
    size, end = len(start), times[-1]
    length = scipy.linalg.norm(move)  # of squares that may be out of range
    if length * end == 0:
        return numpy.tile(start, (len(times), 1)), numpy.tile(fields, (len(times), 1, 1))
    weight = numpy.linalg.norm(fields, axis=-1, keepdims=True)
    weight = numpy.where(weight == 0, 1.0, weight)
    unit, base = length * end, geometry.base
    budget = iter(range(MOST_EVALUATIONS)) if budget is None else budget

    def field(_: float, state: numpy.ndarray) -> numpy.ndarray:
        away, *vectors = state.reshape(-1, size)
        if next(budget, None) is None:
            raise _Stalled
        try:
            x = from_numpy(start + unit * away, like)
            rows = from_numpy(numpy.stack(vectors), like)
            if base is not None:
                # Stages of a step leave the submanifold: there, that of the nearest point.
                x = base.nearest(x)
                rows = base.project(x, rows)
            symbols = to_numpy(geometry.christoffel(x, rows[0], rows))
        except (ValueError, RuntimeError, numpy.linalg.LinAlgError):
            return numpy.full_like(state, numpy.nan)
        return numpy.concatenate([to_numpy(rows)[0], -unit * symbols.ravel()])

    tolerance = max(tolerance, 100 * float(namespace(like).finfo(like.dtype).eps))
    state = numpy.concatenate([numpy.zeros(size), move / length, (fields / weight).ravel()])
    rates = field(0.0, state)
    # One for the velocity, and what turns it.
    pace = float(numpy.linalg.norm(rates[: 2 * size]))
    if not numpy.isfinite(pace):
        geometry.christoffel(*[from_numpy(array, like) for array in (start, move, move)])
        raise ValueError("the geodesic equation is not finite at the start: lower the scale.")
    reached = [0.0]

    def record(time: float, _: numpy.ndarray) -> float:
        reached.append(time)
        return 1.0

    try:
        with numpy.errstate(all="ignore"):  # a trial step may go wild; it is rejected
            flow = solve_ivp(
                field,
                (0.0, 1.0),
                state,
                "DOP853",
                t_eval=times / end,
                first_step=min(1.0, FIRST_STEP * tolerance ** (1 / 8) / max(1.0, pace)),
                rtol=tolerance,
                atol=tolerance / numpy.sqrt(size),
                events=record,
            )
    except _Stalled:
        flow = None
    if flow is None or not flow.success:
        raise ValueError(
            f"the geodesic could not be continued from time {max(reached) * end:.6g}: the losses "
            "cease to be finite or smooth there, or the submanifold ends. Shorten the velocity."
        )
    states = flow.y.T.reshape(len(times), -1, size)
    points = start + unit * states[:, 0]
    moved = weight * states[:, 2:]
    if base is not None:
        points = to_numpy(base.nearest(from_numpy(points, like)))
        if len(fields):
            at = from_numpy(points[:, None], like)
            moved = to_numpy(base.project(at, from_numpy(moved, like)))
    return points, moved


def _connect(
    geometry: DiffusionGeometry, like: Array, start: numpy.ndarray, end: numpy.ndarray
) -> numpy.ndarray:
    """Return the velocity of a geodesic between two points."""
    length = scipy.linalg.norm(end - start)
    if length == 0:
        return 0 * start
    geometry.differential(from_numpy(end, like))  # an end that is none is told as such
    if geometry.base is None:
        basis = None
        first = (end - start) / length
    else:
        basis = to_numpy(geometry.base.basis(from_numpy(start, like)))
        first = basis @ (end - start) / length

    budget = iter(range(SHOOTING_EVALUATIONS * (10 + len(first)) // 10))
    no_fields = numpy.zeros((0, len(start)))

    def vector(u: numpy.ndarray) -> numpy.ndarray:
        return length * (u if basis is None else u @ basis)

    def aim(part: float) -> Aim:
        """Return the aim at the end, of geodesics at a part of the scale."""
        scaled = DiffusionGeometry(geometry.samples, part * geometry.scale, geometry.base)

        def gap(u: numpy.ndarray, tolerance: float) -> numpy.ndarray:
            move, times = vector(u), numpy.ones(1)
            try:
                x = _path(scaled, start, move, no_fields, times, like, tolerance, budget)[0][0]
            except ValueError:
                return numpy.full_like(u, numpy.inf)
            return (x - end) / length if basis is None else basis @ (x - end) / length

        def miss(_: Any, u: numpy.ndarray, tolerance: numpy.ndarray) -> numpy.ndarray:
            return numpy.stack([gap(*pair) for pair in zip(u, tolerance, strict=True)])

        return Aim(miss, numpy.eye(len(first) if len(first) <= NEWTON else 1)[None])

    def along_chord(found: Found) -> Iterator[Attempt]:
        yield Attempt(found.missing, first[None], [aim(1.0)])

    def by_growing_scale(found: Found) -> Iterator[Attempt]:
        yield Attempt(found.missing, first[None], map(aim, _CONTINUATION))

    precision = max(CONVERGED, 1e4 * float(namespace(like).finfo(like.dtype).eps))

    def mix(miss: Miss, u: numpy.ndarray, _: numpy.ndarray) -> tuple[numpy.ndarray, numpy.ndarray]:
        """Solve as `shoot` does, without Jacobians."""
        tolerance = numpy.array([TOLERANCE])

        def gap(v: numpy.ndarray) -> numpy.ndarray:
            return miss(numpy.zeros(1, int), v, tolerance)

        try:
            u = anderson(gap, u, alpha=-1.0, f_tol=precision / 2, maxiter=60)
        except (NoConvergence, ValueError):
            return u, numpy.array([numpy.inf])
        return u, norms(gap(u))

    strategies = [along_chord, by_growing_scale]
    solver = shoot if len(first) <= NEWTON else mix
    found = search(1, len(first), strategies, solver, precision)
    if not found.is_found[0]:
        raise RuntimeError(
            f"no geodesic was found between two points at Euclidean distance {length:.3g}: "
            f"shooting missed by {found.residual[0] * length:.1e}. Take points that are nearer, "
            "or a smaller scale."
        )
    return vector(found.velocity[0])
