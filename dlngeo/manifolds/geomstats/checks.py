"""How spaces and metrics judge points and vectors."""

import geomstats.backend as gs
from geomstats.geometry.riemannian_metric import RiemannianMetric

from dlngeo.core.base.arrays import Array, namespace
from dlngeo.core.base.checks import real_array


def check_shape(array: Array, shape: tuple[int, ...]) -> Array:
    """Return points or vectors; a ValueError if they have another shape, or are not finite."""
    array = real_array(array, "the point")
    if tuple(array.shape[-len(shape) :]) != tuple(shape):
        raise ValueError(
            f"expected an array of shape [..., {', '.join(map(str, shape))}], "
            f"got {tuple(array.shape)}."
        )
    return array


def velocity_of(
    metric: RiemannianMetric, point: Array, end_point: Array | None, velocity: Array | None
) -> Array:
    """Return the initial velocity of a geodesic that is given by it, or by an end point."""
    if (end_point is None) == (velocity is None):
        raise ValueError(
            "a geodesic is given either by its end point or by its initial velocity: give one."
        )
    return metric.log(end_point, point) if velocity is None else velocity


def judge_rank(matrix: Array, rank: int, atol: float) -> tuple[Array, Array]:
    """Tell whether matrices have a rank, and the scale by which tolerances grow.

    The scale is the largest singular value where that exceeds one; a further singular value
    may reach ``atol`` times it.
    """
    singular_values = gs.linalg.svd(matrix, compute_uv=False)
    largest = singular_values[..., 0]
    scale = gs.where(largest > 1, largest, gs.ones_like(largest))
    is_of_rank = singular_values[..., rank - 1] > atol
    if rank < singular_values.shape[-1]:
        is_of_rank = gs.logical_and(is_of_rank, singular_values[..., rank] <= atol * scale)
    return is_of_rank, scale


def finite_points(points: Array, point_ndim: int) -> tuple[Array, Array]:
    """Tell which points of a batch are finite, and replace the others by zeros.

    Integers become floats.
    """
    axes = tuple(range(-point_ndim, 0))
    is_finite = gs.all(namespace(points).isfinite(points), axis=axes)
    kept = is_finite[(..., *[None] * point_ndim)]
    return is_finite, gs.where(kept, 1.0 * points, gs.zeros_like(1.0 * points))


def largest_entry(vector: Array, point_ndim: int) -> Array:
    """Return the largest absolute value of the entries of vectors, shape=[...]."""
    return namespace(vector).amax(abs(vector), tuple(range(-point_ndim, 0)))


def is_small(part: Array, vector: Array, atol: float, point_ndim: int) -> Array:
    """Evaluate if a part of a vector vanishes, to a tolerance that grows with the vector."""
    axes = tuple(range(-point_ndim, 0))
    size = largest_entry(vector, point_ndim)
    size = gs.where(size > 1, size, gs.ones_like(size))
    return gs.all(abs(part) <= atol * size[(..., *[None] * point_ndim)], axis=axes)
