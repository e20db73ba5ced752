r"""Geodesic deviation in the diffusion metric: how nearby trainings part.

Between neighbours on a family of forced geodesics lies a field ``Y`` with

.. math:: \nabla_{\dot x}^2 Y = R(\dot x, Y) \dot x - \nabla_Y \mathrm{grad}_{g_ε} f
          - γ \nabla_{\dot x} Y,

the tidal forces of general relativity: those of curvature and those of the force. The curvature
comes from the equation of Gauss and the Hessian of the loss from second derivatives, so third
derivatives of the losses are not needed, as they would be to differentiate the equation.
"""

from dataclasses import dataclass
from typing import Any

import numpy

from dlngeo.core.base.arrays import Array, to_numpy
from dlngeo.core.base.checks import real_array
from dlngeo.core.gradient_noise import graph_metric
from dlngeo.core.networks.factors import is_infinite
from dlngeo.solvers.flow_paths import FlowOutcome, Integration
from dlngeo.solvers.forced_geodesics import Particle, geometry_of


@dataclass(frozen=True, eq=False)
class GeodesicDeviation(FlowOutcome):
    """A particle in the diffusion metric and its Jacobi fields, at the times that were saved.

    Attributes
    ----------
    points : array, shape=[t, *point_shape]
    velocities : array, shape=[t, *point_shape]
    deviations : array, shape=[t, ..., *point_shape]
        ``Y``: to first order the way from the particle to its neighbour.
    rates : array, shape=[t, ..., *point_shape]
        ``∇_ẋ Y``, the covariant derivative.
    lengths : array, shape=[t, ...]
        ``|Y|_g``.
    """

    points: Array
    velocities: Array
    deviations: Array
    rates: Array
    lengths: Array


def geodesic_deviation(
    metric: Any,
    initial: Array,
    velocity: Array | None = None,
    *,
    deviation: Array,
    rate: Array | None = None,
    t_final: float | None = None,
    t_eval: Array | None = None,
    friction: float = 0.0,
    force: bool = True,
    rtol: float = 1e-9,
    atol: float = 1e-12,
    method: str = "DOP853",
    n_saved: int = 200,
    progress: bool = False,
) -> GeodesicDeviation:
    """Integrate Jacobi fields along a particle in the diffusion metric.

    Parameters
    ----------
    metric, initial, velocity, t_final, t_eval, force, rtol, atol, method, n_saved, progress
        As in `forced_geodesic`.
    deviation : array-like, shape=[..., *point_shape]
        ``Y`` at the start, of one field or of several along the same path.
    rate : array-like, shape=[..., *point_shape], optional
        ``∇_ẋ Y`` at the start, zero by default. Neighbours that differ by ``δv`` in velocity
        alone have ``Y = 0`` and ``∇_ẋ Y = δv``.
    friction : float
        ``γ ≥ 0``, finite.

    Returns
    -------
    result : GeodesicDeviation
        In NumPy arrays. If the step fails or the keyboard interrupts, the path up to there, with
        a status that says so.

    Raises
    ------
    ValueError
        If an argument does not fit, or losses or derivatives are not finite at the start.

    References
    ----------
    [FCS20]; THEORY 7.
    """
    integration = Integration(t_final, n_saved, rtol, atol, method, progress, t_eval)
    geometry = geometry_of(metric)
    if is_infinite(friction):
        raise ValueError("friction must be finite: the overdamped limit is of first order.")
    shape = geometry.samples.shape
    deviation = real_array(deviation, "the deviation")
    rate = 0 * deviation if rate is None else real_array(rate, "the rate of the deviation")
    batch = tuple(deviation.shape[: deviation.ndim - len(shape)])
    if tuple(deviation.shape) != (*batch, *shape) or rate.shape != deviation.shape:
        raise ValueError(
            f"deviation and rate must be of one shape that ends in {shape}, that of a point; got "
            f"{tuple(deviation.shape)} and {tuple(rate.shape)}."
        )
    fields = (deviation, rate)
    particle = Particle(geometry, initial, velocity, friction, force, fields)
    middle = 1 + len(particle.start) // 2
    parts = (0, 1, slice(2, middle), slice(middle, None))

    def equation(x: Array, v: Array, y: Array, k: Array) -> tuple[Array, ...]:
        tide = geometry.curvature(x, v, y, v) - friction * k
        if particle.force:
            tide = tide - geometry.hessian(x, y)
        return (
            v,
            particle.acceleration(x, v),
            k - geometry.christoffel(x, v, y),
            tide - geometry.christoffel(x, v, k),
        )

    path = particle.path(equation, parts, integration)
    rows = []
    for state in path.states:
        x, v, y, k = particle.on_base(state, parts)
        square = graph_metric.inner_product(geometry.products(x), y, y)
        rows.append([to_numpy(array) for array in (x, v, y, k, square)])
    points, velocities, deviations, rates, squares = map(numpy.stack, zip(*rows, strict=True))
    return GeodesicDeviation(
        points=points.reshape(-1, *shape),
        velocities=velocities.reshape(-1, *shape),
        deviations=deviations.reshape(-1, *batch, *shape),
        rates=rates.reshape(-1, *batch, *shape),
        lengths=squares.reshape(-1, *batch) ** 0.5,
        **path.outcome,
    )
