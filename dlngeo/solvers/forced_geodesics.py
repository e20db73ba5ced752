r"""Geodesics of the diffusion metric with the loss gradient as force.

A training with inertia is a particle in a curved space,

.. math:: \ddot x + Γ(\dot x, \dot x) = -\mathrm{grad}_{g_ε} f - γ \dot x,

where the force plays the part of the electromagnetic field in general relativity ([FCS20];
THEORY 7). Without friction ``½|ẋ|²_g + f`` is conserved; with much of it, in the time
``τ = t / γ``, the path is that of the gradient flow in ``g_ε``.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy

from dlngeo.core.base.arrays import Array, from_numpy, to_numpy
from dlngeo.core.base.checks import flag, nonnegative, real_array
from dlngeo.core.gradient_noise import graph_metric
from dlngeo.core.gradient_noise.diffusion import DiffusionGeometry
from dlngeo.core.networks.factors import is_infinite
from dlngeo.solvers.flow_paths import FlowOutcome, Integration, Path, flow_path

Parts = Sequence[int | slice]
"""Rows of a state: that of the point, and those of vectors along its path."""


@dataclass(frozen=True, eq=False)
class ForcedGeodesic(FlowOutcome):
    """A particle in the diffusion metric, at the times that were saved.

    Attributes
    ----------
    points : array, shape=[t, *point_shape]
    velocities : array, shape=[t, *point_shape]
    loss : array, shape=[t], or None
        ``f``; None if only gradients of the samples are given.
    kinetic_energy : array, shape=[t]
        ``½|ẋ|²_g``; zero in the overdamped limit, where there is no inertia.
    """

    points: Array
    velocities: Array
    loss: Array
    kinetic_energy: Array

    @property
    def energy(self) -> Array:
        """``½|ẋ|²_g + f``, which is conserved under the force without friction; or None."""
        return None if self.loss is None else self.kinetic_energy + self.loss


def forced_geodesic(
    metric: Any,
    initial: Array,
    velocity: Array | None = None,
    *,
    t_final: float | None = None,
    t_eval: Array | None = None,
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
        Final time, positive; by default the last of ``t_eval``.
    t_eval : array-like, shape=[t], optional
        Ascending times at which the path is saved, in place of ``n_saved`` equidistant ones.
    friction : float
        ``γ ≥ 0``, also infinite.
    force : bool
        Whether the gradient of the loss acts; without it, and without friction, the path is a
        geodesic.
    rtol, atol : float
        Tolerances of the adaptive integrator.
    method : str
        One of those of `learning_flow`: DOP853, RK45, RK23, LSODA, RKC.
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
    integration = Integration(t_final, n_saved, rtol, atol, method, progress, t_eval)
    geometry = geometry_of(metric)
    friction = math.inf if is_infinite(friction) else nonnegative(friction, "friction")
    is_overdamped = friction == math.inf
    if is_overdamped and (velocity is not None or not flag(force, "force")):
        raise ValueError(
            "in the overdamped limit the force is the velocity: leave out velocity= and force=."
        )
    particle = Particle(geometry, initial, velocity, friction, force)
    if is_overdamped:
        path = particle.path(lambda x: [-geometry.gradient(x)], (0,), integration)
        (points,) = particle.on_base(path.states, (0,))
        velocities = -geometry.gradient(points)
        kinetic = 0 * velocities[:, 0]
    else:
        path = particle.path(lambda x, v: [v, particle.acceleration(x, v)], (0, 1), integration)
        points, velocities = particle.on_base(path.states, (0, 1))
        products = geometry.products(points)
        kinetic = graph_metric.inner_product(products, velocities, velocities) / 2
    loss = None
    if geometry.samples.losses is not None:
        loss = to_numpy(geometry.samples.values(points)).mean(axis=-1)
    return ForcedGeodesic(
        points=to_numpy(points).reshape(-1, *geometry.samples.shape),
        velocities=to_numpy(velocities).reshape(-1, *geometry.samples.shape),
        loss=loss,
        kinetic_energy=to_numpy(kinetic),
        **path.outcome,
    )


def geometry_of(metric: Any) -> DiffusionGeometry:
    """Return the geometry of gradient noise of a metric.

    Raises
    ------
    ValueError
        If it is another metric.
    """
    geometry = getattr(metric, "geometry", None)
    if isinstance(geometry, DiffusionGeometry):
        return geometry
    raise ValueError(
        f"expected a DiffusionMetric, whose losses are the force, got {type(metric).__name__}: "
        "geodesics of other metrics are metric.geodesic."
    )


class Particle:
    """A particle in the diffusion metric, and fields of vectors along its path.

    Attributes
    ----------
    geometry : DiffusionGeometry
    start : array, shape=[2 + k, D]
        Point, velocity and fields at the start, flat.

    Raises
    ------
    ValueError
        If point or velocity do not fit, or the friction is negative.
    """

    def __init__(
        self,
        geometry: DiffusionGeometry,
        initial: Array,
        velocity: Array | None,
        friction: float,
        force: bool,
        fields: Sequence[Array] = (),
    ):
        shape = geometry.samples.shape
        x = real_array(initial, "the initial point")
        friction = friction if friction == math.inf else nonnegative(friction, "friction")
        v = 0 * x if velocity is None else real_array(velocity, "the velocity")
        if tuple(x.shape) != shape or tuple(v.shape) != shape:
            raise ValueError(
                f"initial point and velocity must be of the shape {shape} of one point, got "
                f"{tuple(x.shape)} and {tuple(v.shape)}."
            )
        self.geometry, self.friction, self._like = geometry, friction, x
        self.force = flag(force, "force")
        size = math.prod(shape)
        self.start = numpy.concatenate([to_numpy(a).reshape(-1, size) for a in (x, v, *fields)])

    def acceleration(self, x: Array, v: Array) -> Array:
        """Return ``ẍ``, in parameter space."""
        differential = self.geometry.differential(x)
        rate = -self.geometry.christoffel(x, v, v, differential) - self.friction * v
        return rate - self.geometry.gradient(x, differential) if self.force else rate

    def on_base(self, states: Array, parts: Parts) -> list[Array]:
        """Return point and vectors of states, shape=[..., k D], brought back to the submanifold.

        They are in the library of the initial point.
        """
        rows = states.reshape(*states.shape[:-1], -1, self.start.shape[-1])
        x, *vectors = (from_numpy(rows[..., part, :], self._like) for part in parts)
        base = self.geometry.base
        if base is None:
            return [x, *vectors]
        x = base.nearest(x)
        return [x, *(base.project(x, v) for v in vectors)]

    def path(
        self, equation: Callable[..., Sequence[Array]], parts: Parts, integration: Integration
    ) -> Path:
        """Integrate an equation from the start.

        Parameters
        ----------
        equation : callable
            From what `on_base` returns of the parts to their rates.
        parts : sequence of int or slice
            Rows of the state: the point, and vectors along the path.
        integration : Integration

        Returns
        -------
        path : Path

        Raises
        ------
        ValueError, RuntimeError
            Those of the equation at the start.
        """

        def rates(state: Array) -> Array:
            values = equation(*self.on_base(state, parts))
            return numpy.concatenate([to_numpy(rate).ravel() for rate in values])

        def velocity(_: float, state: Array) -> Array | None:
            try:
                return rates(state)
            except (ValueError, RuntimeError):
                return None

        start = numpy.concatenate([self.start[part].ravel() for part in parts])
        rates(start)  # raises the error that tells why there is no velocity
        return flow_path(
            velocity,
            start,
            integration,
            name="motion in the diffusion metric",
            remedy="losses or their derivatives cease to be finite there, or the submanifold ends. "
            "Stop before, or correct the losses.",
        )
