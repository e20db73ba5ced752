r"""Geodesic deviation in the diffusion metric: how nearby trainings part.

Between neighbours on a family of forced geodesics lies a field ``Y`` with

.. math:: \nabla_{\dot x}^2 Y = R(\dot x, Y) \dot x - \nabla_Y \mathrm{grad}_{g_ε} f
          - γ \nabla_{\dot x} Y,

the tidal forces of general relativity: those of curvature and those of the force. The curvature
comes from the equation of Gauss and the Hessian of the loss from second derivatives, so third
derivatives of the losses are not needed, as they would be to differentiate the equation.
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy

from dlngeo.core.base.arrays import Array, to_numpy
from dlngeo.core.base.checks import real_array
from dlngeo.core.gradient_noise import graph_metric
from dlngeo.core.gradient_noise.diffusion import DiffusionGeometry
from dlngeo.solvers.flow_paths import Layers, flow_path, saved_times
from dlngeo.solvers.forced_geodesics import REMEDY, acceleration, on_base, particle


@dataclass(frozen=True, eq=False)
class GeodesicDeviation:
    """A particle in the diffusion metric and its Jacobi fields, at the times that were saved.

    Attributes
    ----------
    times : array, shape=[t]
    points : array, shape=[t, *point_shape]
    velocities : array, shape=[t, *point_shape]
    deviations : array, shape=[t, ..., *point_shape]
        ``Y``: to first order the way from the particle to its neighbour.
    rates : array, shape=[t, ..., *point_shape]
        ``∇_ẋ Y``, the covariant derivative.
    lengths : array, shape=[t, ...]
        ``|Y|_g``.
    n_evaluations : int
        Evaluations of the equation.
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
    deviations: Array
    rates: Array
    lengths: Array
    n_evaluations: int
    success: bool
    interrupted: bool
    status: str


def geodesic_deviation(
    metric: Any,
    initial: Array,
    velocity: Array | None = None,
    *,
    deviation: Array,
    rate: Array | None = None,
    t_final: float,
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
    metric, initial, velocity, t_final, force, rtol, atol, method, n_saved, progress
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
    times = saved_times(t_final, n_saved, rtol, atol)
    geometry: DiffusionGeometry = metric.geometry
    if math.isinf(friction):
        raise ValueError("friction must be finite: the overdamped limit is of first order.")
    start, move = particle(geometry, initial, velocity, friction, method)
    shape = geometry.samples.shape
    size = math.prod(shape)
    deviation = real_array(deviation, "the deviation")
    rate = 0 * deviation if rate is None else real_array(rate, "the rate of the deviation")
    batch = tuple(deviation.shape[: deviation.ndim - len(shape)])
    if tuple(deviation.shape) != (*batch, *shape) or rate.shape != deviation.shape:
        raise ValueError(
            f"deviation and rate must be of one shape that ends in {shape}, that of a point; got "
            f"{tuple(deviation.shape)} and {tuple(rate.shape)}."
        )

    def equation(x: Array, v: Array, y: Array, k: Array) -> Layers:
        tide = geometry.curvature(x, v, y, v) - friction * k
        if force:
            tide = tide - geometry.hessian(x, y)
        return (
            to_numpy(v),
            to_numpy(acceleration(geometry, x, v, friction, force)),
            to_numpy(k - geometry.christoffel(x, v, y)),
            to_numpy(tide - geometry.christoffel(x, v, k)),
        )

    def rates(_: float, state: Layers) -> Layers | None:
        try:
            return equation(*on_base(geometry, state, start))
        except (ValueError, RuntimeError):
            return None

    fields = [to_numpy(array).reshape(-1, size) for array in (deviation, rate)]
    state: Layers = (to_numpy(start).reshape(size), to_numpy(move).reshape(size), *fields)
    if rates(0.0, state) is None:  # raise the error that tells why
        equation(*on_base(geometry, state, start))
    path = flow_path(
        rates,
        state,
        times,
        method,
        progress,
        name="geodesic deviation",
        remedy=REMEDY,
        rtol=rtol,
        atol=atol,
    )
    rows = []
    for state in path.states:
        x, v, y, k = on_base(geometry, state, start)
        products = geometry.products(x)
        lengths = to_numpy(graph_metric.inner_product(products, y, y)) ** 0.5
        rows.append((*(to_numpy(array) for array in (x, v, y, k)), lengths))
    points, velocities, deviations, slopes, lengths = map(numpy.stack, zip(*rows, strict=True))
    count = len(points)
    return GeodesicDeviation(
        times=numpy.array(path.times),
        points=points.reshape(count, *shape),
        velocities=velocities.reshape(count, *shape),
        deviations=deviations.reshape(count, *batch, *shape),
        rates=slopes.reshape(count, *batch, *shape),
        lengths=lengths.reshape(count, *batch),
        n_evaluations=path.n_evaluations,
        success=path.success,
        interrupted=path.interrupted,
        status=path.status,
    )
