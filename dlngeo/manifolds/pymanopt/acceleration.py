"""Acceleration of geodesics of geomstats' metrics in the ambient space."""

import math
from collections.abc import Callable
from typing import Any

import numpy
from geomstats.geometry.product_manifold import ProductRiemannianMetric
from geomstats.geometry.riemannian_metric import RiemannianMetric
from geomstats.geometry.scalar_product_metric import ScalarProductMetric

from dlngeo.core.base.arrays import Array
from dlngeo.core.depth_metric.connection import christoffel
from dlngeo.manifolds.geomstats.balanced import BalancedMetric
from dlngeo.manifolds.geomstats.depth_metric import DepthMetric

# Central differences of order eight: weights of the steps ±1, ..., ±4 in f''.
_STEPS = numpy.array([1, 2, 3, 4, -1, -2, -3, -4])
_WEIGHTS = numpy.tile([8 / 5, -1 / 5, 8 / 315, -1 / 560], 2)


def acceleration_at(metric: Any, point: Array) -> Callable[[Array, Array], Array]:
    """Return the ambient acceleration at a point, ``(η, ξ) -> a(η, ξ)``.

    It takes one tangent vector, shape=[*point_shape], and several, shape=[n, *point_shape].
    """
    space = metric._space
    if isinstance(metric, DepthMetric):
        return lambda vector, others: -christoffel(point, vector, others, metric.depth, space.rank)
    if isinstance(metric, BalancedMetric):
        return lambda vector, others: space.second_fundamental_form(vector, others, point)
    if isinstance(metric, ScalarProductMetric):
        return acceleration_at(metric.underlying_metric, point)
    if isinstance(metric, ProductRiemannianMetric):
        points = space.project_from_product(point)
        bents = [acceleration_at(*pair) for pair in zip(metric.factors, points, strict=True)]

        def bent(vector: Array, others: Array) -> Array:
            parts = zip(*map(space.project_from_product, (vector, others)), strict=True)
            return space.embed_to_product([a(*pair) for a, pair in zip(bents, parts, strict=True)])

        return bent
    return MeasuredAcceleration(metric, point)


class MeasuredAcceleration:
    """The second derivative of ``metric.exp`` at a point, by central differences."""

    def __init__(self, metric: RiemannianMetric, point: Array):
        self._metric = metric
        self._point = point
        self._step: float | None = None

    def __call__(self, vector: Array, others: Array) -> Array:
        one, length = self._unit(vector[None])
        others, lengths = self._unit(others)
        if self._step is None:
            # Of a generic direction: no sum of a few vectors is likely to vanish so.
            weights = numpy.sqrt(numpy.arange(1, len(others) + 1))
            self._step = self._best_step(self._unit(numpy.tensordot(weights, others, 1)[None])[0])
        # The polarisation of unit vectors, by vectors of any length.
        pairs, spans = self._unit(numpy.concatenate([one + others, one - others]))
        bent = spans**2 * self._second_derivative(pairs, self._step)
        plus, minus = numpy.split(bent, 2)
        return length * lengths * (plus - minus) / 4

    def _unit(self, vectors: Array) -> tuple[Array, Array]:
        """Return vectors of length one, or zero, and the lengths, shape=[n, 1, ..., 1]."""
        squared = numpy.reshape(
            self._metric.inner_product(vectors, vectors, self._point), len(vectors)
        )
        lengths = numpy.sqrt(numpy.maximum(squared, 0)).reshape(-1, *[1] * self._point.ndim)
        return vectors / numpy.where(lengths == 0, 1, lengths), lengths

    def _second_derivative(self, units: Array, step: float) -> Array:
        shape = self._point.shape
        moves = step * numpy.multiply.outer(_STEPS, units)
        ends = self._metric.exp(moves.reshape(-1, *shape), self._point)
        change = numpy.reshape(ends, moves.shape) - self._point
        return numpy.tensordot(_WEIGHTS, change, axes=1) / step**2

    def _best_step(self, unit: Array) -> float:
        """Return the step that it matters least to halve.

        The error falls like its eighth power, until round-off outweighs it. Where that is depends
        on the scales of the metric and of the point.
        """
        speed = numpy.linalg.norm(unit)
        if speed == 0:  # all vectors are zero, as their accelerations
            return 1.0
        size = numpy.linalg.norm(self._point) / speed or 1.0
        coarse, fine = math.log2(max(size, 1.0)), math.log2(min(size, 1.0)) - 10
        steps = 2.0 ** numpy.arange(math.ceil(coarse), math.floor(fine), -1)
        derivatives = []
        for step in steps:
            try:
                with numpy.errstate(all="ignore"):
                    derivatives.append(self._second_derivative(unit, step))
            except ValueError:  # beyond the boundary
                derivatives.append(numpy.full_like(unit, numpy.nan))
        axes = tuple(range(1, unit.ndim + 1))
        with numpy.errstate(all="ignore"):
            change = numpy.max(numpy.abs(numpy.diff(derivatives, axis=0)), axis=axes)
            # In a flat space the derivative vanishes, and the change is round-off alone.
            change /= numpy.max(numpy.abs(derivatives[1:]), axis=axes) + speed / size
        change = numpy.where(numpy.isfinite(change), change, numpy.inf)
        if numpy.min(change) == numpy.inf:
            raise ValueError(
                "geodesics from this point have no finite acceleration: the point or the tangent "
                "vector does not belong to the space, or the metric has no exponential."
            )
        return steps[numpy.argmin(change)]
