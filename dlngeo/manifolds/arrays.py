"""What the spaces share: how they judge points and vectors, and cut flat ones."""

import math
from collections.abc import Sequence

import geomstats.backend as gs

from dlngeo.core.arrays import Array, namespace


def finite_points(points: Array, point_ndim: int) -> tuple[Array, Array]:
    """Tell which points of a batch are finite, and replace the others by zeros.

    Integers become floats.
    """
    axes = tuple(range(-point_ndim, 0))
    is_finite = gs.all(namespace(points).isfinite(points), axis=axes)
    kept = is_finite[(..., *[None] * point_ndim)]
    return is_finite, gs.where(kept, 1.0 * points, gs.zeros_like(1.0 * points))


def is_small(part: Array, vector: Array, atol: float, point_ndim: int) -> Array:
    """Evaluate if a part of a vector vanishes, to a tolerance that grows with the vector."""
    axes = tuple(range(-point_ndim, 0))
    size = namespace(vector).amax(abs(vector), axes)
    size = gs.where(size > 1, size, gs.ones_like(size))
    return gs.all(abs(part) <= atol * size[(..., *[None] * point_ndim)], axis=axes)


def unflatten(vector: Array, shapes: Sequence[tuple[int, int]]) -> list[Array]:
    """Cut a flat vector into matrices of the given shapes, one after the other."""
    matrices, start = [], 0
    for shape in shapes:
        size = math.prod(shape)
        piece = vector[..., start : start + size]
        matrices.append(gs.reshape(piece, (*piece.shape[:-1], *shape)))
        start += size
    return matrices
