"""What the manifolds share: what follows from other methods, and random frames."""

import math
from collections.abc import Sequence
from typing import Any

import numpy

from dlngeo.core.base.arrays import Array, to_numpy
from dlngeo.core.base.checks import float_array
from dlngeo.core.networks.equations import polar_factor


class ManifoldMethods:
    """Methods of a pymanopt manifold that follow from others; stands before its class."""

    def norm(self: Any, point: Any, tangent_vector: Any) -> float:
        return math.sqrt(self.inner_product(point, tangent_vector, tangent_vector))

    def transport(self: Any, point_a: Any, point_b: Any, tangent_vector_a: Any) -> Any:
        """Project a tangent vector on the tangent space at another point."""
        return self.projection(point_b, tangent_vector_a)

    def pair_mean(self: Any, point_a: Any, point_b: Any) -> Any:
        """Return the middle of the geodesic that `log` finds."""
        return self.exp(point_a, self.log(point_a, point_b) / 2)


def arrays_of(
    value: Any, shapes: Sequence[tuple[int, ...]], name: str
) -> tuple[numpy.ndarray, ...]:
    """Return the arrays that a point or a vector is made of; NaN stands for what there is not.

    Raises
    ------
    TypeError, ValueError
        If they are not real numbers, or of other shapes.
    """
    if isinstance(value, tuple | list) or getattr(value, "ndim", 0) > 1:
        arrays = tuple(map(_on_host, value))
        if [array.shape for array in arrays] == list(shapes):
            return arrays
        came = f"shapes {[array.shape for array in arrays]}"
    else:
        came = type(value).__name__
    raise ValueError(f"expected {name} of arrays of shapes {list(shapes)}, got {came}.")


def _on_host(array: Any) -> numpy.ndarray:
    if type(array) is numpy.ndarray and array.dtype == float:
        return array  # the usual case
    return to_numpy(float_array(array, "an array of a point or a vector"))


def random_frames(sizes: Sequence[int], rank: int) -> tuple[list[Array], Array]:
    """Return uniform frames, shape=[size, rank], and descending numbers in [0, 1], shape=[rank]."""
    frames = [polar_factor(numpy.random.normal(size=(size, rank))) for size in sizes]
    return frames, numpy.sort(numpy.random.uniform(size=rank))[::-1].copy()
