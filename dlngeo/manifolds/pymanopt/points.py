"""What optimisation asks of any pymanopt manifold, beyond its methods."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy
import pymanopt
from pymanopt.manifolds import Product
from pymanopt.manifolds.manifold import Manifold

from dlngeo.core.base.checks import host_array
from dlngeo.manifolds.pymanopt.geomstats_spaces import GeomstatsManifold

Layout = int | Sequence[int]


def checked_point(manifold: Manifold, point: Any, name: str = "initial_point") -> Any:
    """Return a point of the layout of a manifold, of finite floats.

    Raises
    ------
    ValueError
        If it has another layout, or is no array of numbers.
    """
    if isinstance(manifold, Product):
        points = _parts(point, len(manifold.manifolds), name, "one point for each factor")
        pairs = zip(manifold.manifolds, points, strict=True)
        return [checked_point(one, part, f"{name}[{i}]") for i, (one, part) in enumerate(pairs)]
    if manifold.point_layout == 1:
        array = host_array(point, name)
        shape = numpy.shape(manifold.zero_vector(array))
        if array.shape != shape:
            raise ValueError(f"{name} must have shape {shape}, got {array.shape}.")
        return array
    parts = _parts(point, manifold.point_layout, name, f"the arrays of a point of {manifold}")
    arrays = [host_array(array, f"{name}[{i}]") for i, array in enumerate(parts)]
    checked = type(point)._make(arrays) if hasattr(point, "_make") else tuple(arrays)
    manifold.norm(checked, manifold.zero_vector(checked))  # our own refuse other shapes
    return checked


def _parts(point: Any, count: int, name: str, what: str) -> Sequence[Any]:
    if isinstance(point, tuple | list) and len(point) == count:
        return point
    came = f"{len(point)} of them" if isinstance(point, tuple | list) else type(point).__name__
    raise ValueError(
        f"{name} must be a tuple of {count}, {what}; got {came}. Of a matrix, (u, s, vt) is "
        "numpy.linalg.svd(matrix, full_matrices=False), cut at the rank."
    )


def rank_of(manifold: Manifold) -> int | None:
    """Return the rank of a manifold of matrices of one rank, None of others."""
    holder = manifold.space if isinstance(manifold, GeomstatsManifold) else manifold
    return getattr(holder, "rank", None)


def size_of(manifold: Manifold, point: Any) -> float:
    """Return how far a point is from zero in the metric, or the size of the manifold.

    It is the norm of the velocity of ``(1 + t) x``, where that has a tangent part.
    """
    if isinstance(manifold, Product):
        return math.hypot(*map(size_of, manifold.manifolds, point))
    try:
        if manifold.point_layout == 3:  # u @ diag(s) @ vt, as the product of three matrices
            u, s, vt = point
            vector = manifold.projection(point, (u, numpy.diag(s), vt.T))
        else:
            vector = manifold.projection(point, point)
        size = float(manifold.norm(point, vector))
    except (NotImplementedError, TypeError, ValueError, AttributeError):
        size = 0.0
    if size > 0 and math.isfinite(size):
        return size
    try:
        return float(manifold.typical_dist)
    except NotImplementedError:
        return math.sqrt(manifold.dim)


def hessian_of(problem: pymanopt.Problem) -> Callable[[Any, Any], Any]:
    """Return the Riemannian Hessian of a problem, on products of manifolds too.

    Of a product, pymanopt 2.2 does not know how its tangent vectors are embedded.
    """
    manifold = problem.manifold
    if isinstance(manifold, Product) and "embedding" not in vars(manifold):

        def embedding(point: Any, vector: Any) -> Any:
            parts = zip(manifold.manifolds, point, vector, strict=True)
            return [_embedded(one, x, v) for one, x, v in parts]

        manifold.embedding = embedding
    return lambda point, vector: problem.riemannian_hessian(point, vector)


def _embedded(manifold: Manifold, point: Any, vector: Any) -> Any:
    try:
        return manifold.embedding(point, vector)
    except NotImplementedError:
        return vector
