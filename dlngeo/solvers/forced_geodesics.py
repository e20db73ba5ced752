r"""Geodesics of the diffusion metric with the loss gradient as force.

A training with inertia is a particle in a curved space,

.. math:: \ddot x + Γ(\dot x, \dot x) = -\mathrm{grad}_{g_ε} f - γ \dot x,

where the force plays the part of the electromagnetic field in general relativity ([FCS20];
THEORY 7). Without friction ``½|ẋ|²_g + f`` is conserved; with much of it, in the time
``τ = t / γ``, the path is that of the gradient flow in ``g_ε``.
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy

from dlngeo.core.base.arrays import Array, from_numpy, to_numpy
from dlngeo.core.base.checks import real_array
from dlngeo.core.gradient_noise import graph_metric
from dlngeo.core.gradient_noise.diffusion import DiffusionGeometry
from dlngeo.solvers.flow_paths import METHODS, Layers, flow_path, saved_times

REMEDY = (
    "losses or their derivatives cease to be finite there, or the submanifold ends. Stop before, "
    "or correct the losses."
)


@dataclass(frozen=True, eq=False)
class ForcedGeodesic:
    """A particle in the diffusion metric, at the times that were saved.

    Attributes
    ----------
    times : array, shape=[t]
    points : array, shape=[t, *point_shape]
    velocities : array, shape=[t, *point_shape]
    loss : array, shape=[t], or None
        ``f``; None if only gradients of the samples are given.
    kinetic_energy : array, shape=[t]
        ``½|ẋ|²_g``; zero in the overdamped limit, where there is no inertia.
    n_evaluations : int
        Evaluations of the acceleration.
    success : bool
        Whether the path reached its final time.
    interrupted : bool
        Whether the keyboard stopped it.
    status : str
        How it ended, and what to do if it did not succeed.
    """

    times: Array
    points: Array
    velocities: Array
    loss: Array
    kinetic_energy: Array
    n_evaluations: int
    success: bool
    interrupted: bool
    status: str

    @property
    def energy(self) -> Array:
        """``½|ẋ|²_g + f``, which is conserved under the force without friction; or None."""
        return None if self.loss is None else self.kinetic_energy + self.loss


def forced_geodesic(
    metric: Any,
    initial: Array,
    velocity: Array | None = None,
    *,
    t_final: float,
    friction: float = 0.0,
    force: bool = True,
    rtol: float = 1e-9,
    atol: float = 1e-12,
    method: str = "DOP853",
    n_saved: int = 200,
    progress: bool = False,
) -> ForcedGeodesic:
    r"""Integrate the motion of a particle in the diffusion metric.

    .. math:: \ddot x + Γ(\dot x, \dot x) = -\mathrm{grad}_g f - γ \dot x

    ``friction=inf`` is the overdamped limit ``dx/dτ = -grad_g f`` in the time ``τ = t / γ``; a
    start at rest with friction ``γ`` comes near to it as ``1/γ²``.

    Parameters
    ----------
    metric : DiffusionMetric
        At scale zero the equation is Newton's. On balanced factors the force is the projected one.
    initial : array-like, shape=[*point_shape]
    velocity : array-like, shape=[*point_shape], optional
        At rest by default; none in the overdamped limit.
    t_final : float
        Final time, positive.
    friction : float
        ``γ ≥ 0``, also infinite.
    force : bool
        Whether the gradient of the loss acts; without it, and without friction, the path is a
        geodesic.
    rtol, atol : float
        Tolerances of the adaptive integrator.
    method : str
        One of SciPy's integrators: DOP853, RK45, RK23, or LSODA for stiff problems.
    n_saved : int
        Number of equidistant times at which the path is saved, at least two.
    progress : bool
        Whether to show a progress bar.

    Returns
    -------
    result : ForcedGeodesic
        In NumPy arrays. If the step fails or the keyboard interrupts, the path up to there, with
        a status that says so.

    Raises
    ------
    ValueError
        If an argument does not fit, or losses or gradients are not finite at the start.

    References
    ----------
    [FCS20]; THEORY 7.
    """
    times = saved_times(t_final, n_saved, rtol, atol)
    geometry: DiffusionGeometry = metric.geometry
    shape = geometry.samples.shape
    is_overdamped = math.isinf(friction)
    if is_overdamped and (velocity is not None or not force):
        raise ValueError(
            "in the overdamped limit the force is the velocity: leave out velocity= and force=."
        )
    start, move = particle(geometry, initial, velocity, friction, method)
    size = math.prod(shape)

    def rates(_: float, state: Layers) -> Layers | None:
        x, *moves = on_base(geometry, state, start)
        try:
            if is_overdamped:
                return (to_numpy(-geometry.gradient(x)),)
            (v,) = moves
            return to_numpy(v), to_numpy(acceleration(geometry, x, v, friction, force))
        except (ValueError, RuntimeError):
            return None

    state: Layers = (to_numpy(start).reshape(size), to_numpy(move).reshape(size))
    state = state[:1] if is_overdamped else state
    if rates(0.0, state) is None:  # raise the error that tells why
        here = from_numpy(state[0], start)
        geometry.gradient(here)
        geometry.christoffel(here, *[from_numpy(state[-1], start)] * 2)
    path = flow_path(
        rates,
        state,
        times,
        method,
        progress,
        name="forced geodesic",
        remedy=REMEDY,
        rtol=rtol,
        atol=atol,
    )
    stacked = tuple(numpy.stack(part) for part in zip(*path.states, strict=True))
    points, *moves = on_base(geometry, stacked, start)
    if is_overdamped:
        velocities = -geometry.gradient(points)
        kinetic = 0 * velocities[:, 0]
    else:
        (velocities,) = moves
        products = geometry.products(points)
        kinetic = graph_metric.inner_product(products, velocities, velocities) / 2
    loss = None
    if geometry.samples.losses is not None:
        loss = to_numpy(geometry.samples.values(points)).mean(axis=-1)
    return ForcedGeodesic(
        times=numpy.array(path.times),
        points=to_numpy(points).reshape(-1, *shape),
        velocities=to_numpy(velocities).reshape(-1, *shape),
        loss=loss,
        kinetic_energy=to_numpy(kinetic),
        n_evaluations=path.n_evaluations,
        success=path.success,
        interrupted=path.interrupted,
        status=path.status,
    )


def particle(
    geometry: DiffusionGeometry,
    initial: Array,
    velocity: Array | None,
    friction: float,
    method: str,
) -> tuple[Array, Array]:
    """Return point and velocity at the start, after checks of the arguments of a motion."""
    shape = geometry.samples.shape
    start = real_array(initial, "the initial point")
    if not friction >= 0:
        raise ValueError(f"friction must be at least zero, got {friction}.")
    if method not in METHODS:
        raise ValueError(f"method must be one of {', '.join(METHODS)}, got {method!r}.")
    move = 0 * start if velocity is None else real_array(velocity, "the velocity")
    if tuple(start.shape) != shape or tuple(move.shape) != shape:
        raise ValueError(
            f"initial point and velocity must be of the shape {shape} of one point, got "
            f"{tuple(start.shape)} and {tuple(move.shape)}."
        )
    return start, move


def acceleration(
    geometry: DiffusionGeometry, x: Array, v: Array, friction: float, force: bool
) -> Array:
    """Return ``ẍ`` of a particle, in parameter space."""
    differential = geometry.differential(x)
    rate = -geometry.christoffel(x, v, v, differential) - friction * v
    return rate - geometry.gradient(x, differential) if force else rate


def on_base(geometry: DiffusionGeometry, state: Layers, like: Array) -> list[Array]:
    """Return a point and vectors in the library of an array, brought back to the submanifold."""
    x, *vectors = (from_numpy(part, like) for part in state)
    if geometry.base is None:
        return [x, *vectors]
    x = geometry.base.nearest(x)
    return [x, *(geometry.base.project(x, v) for v in vectors)]
