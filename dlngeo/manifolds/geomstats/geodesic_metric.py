"""What the metrics share: geodesics and curvature by kernels of the core."""

from abc import abstractmethod
from collections.abc import Callable
from typing import Any

import geomstats.backend as gs
from geomstats.geometry.scalar_product_metric import register_scaled_method

from dlngeo.core.base.arrays import Array
from dlngeo.core.base.checks import float_array
from dlngeo.core.base.memory import check_numbers
from dlngeo.core.base.scales import at_scale, at_unit_scale
from dlngeo.manifolds.geomstats.checks import velocity_of
from dlngeo.manifolds.geomstats.homogeneous_norm import HomogeneousNorm

# Of a multiple of the metric, which geomstats derives from the methods, gradients shrink.
register_scaled_method("riemannian_gradient", "inverse")
register_scaled_method("flat", "linear")


def kernel(function: Callable) -> Callable:
    """Return the method that applies a kernel of the core, base point first."""

    def method(metric: Any, *arrays: Array, **options: Any) -> Any:
        return metric._apply(function, *arrays, **options)

    return method


def _times(times: Any) -> Array:
    array = float_array(times if hasattr(times, "dtype") else gs.array(times), "the array of times")
    return gs.array(array)


class GeodesicMetric(HomogeneousNorm):
    """Metric with geodesics and curvature by kernels of the core.

    A subclass says by `kernel` which kernel does what, and by `_apply` how it is called.

    Attributes
    ----------
    on_boundary : str
        What methods do at the boundary if nothing else is said: "raise".
    """

    on_boundary: str = "raise"

    _exp: Callable
    _log: Callable
    _transport: Callable
    _curvature: Callable
    _sectional_curvature: Callable

    @abstractmethod
    def _apply(self, function: Callable, *arrays: Array, **options: Any) -> Any:
        """Apply a kernel to a base point and vectors."""

    @abstractmethod
    def _curve(self, point: Array, velocity: Array, on_boundary: str) -> Callable[[Array], Array]:
        """Return a geodesic as a function of an array of times."""

    @abstractmethod
    def riemannian_gradient(self, euclidean_gradient: Array, base_point: Array) -> Array:
        """Return the gradient ``g^{-1} ∇E`` of a function, from that in the Euclidean metric."""

    def inner_coproduct(
        self, cotangent_vec_a: Array, cotangent_vec_b: Array, base_point: Array
    ) -> Array:
        ndim = self._space.point_ndim
        a, b, first, second = at_unit_scale(2, cotangent_vec_a, cotangent_vec_b, axes=ndim)
        product = gs.sum(a * self.riemannian_gradient(b, base_point), axis=tuple(range(-ndim, 0)))
        return at_scale(product, first + second, "the inner product", axes=0)

    def exp(self, tangent_vec: Array, base_point: Array, on_boundary: str | None = None) -> Array:
        """Return the exponential: the geodesic at time one.

        Parameters
        ----------
        tangent_vec : array-like, shape=[..., *point_shape]
        base_point : array-like, shape=[..., *point_shape]
        on_boundary : str, optional
            In spaces that end where a singular value vanishes: "raise", "nan", or how the geodesic
            goes on there.

        Returns
        -------
        point : array-like, shape=[..., *point_shape]
        """
        way = on_boundary or self.on_boundary
        return self._exp(base_point, tangent_vec, on_boundary=way)

    def log(self, point: Array, base_point: Array) -> Array:
        return self._log(base_point, point)

    def geodesic(
        self,
        initial_point: Array,
        end_point: Array | None = None,
        initial_tangent_vec: Array | None = None,
        on_boundary: str | None = None,
    ) -> Callable[[Array], Array]:
        """Return a geodesic, given by its velocity or by its end at time one.

        Parameters
        ----------
        initial_point : array-like, shape=[..., *point_shape]
        end_point : array-like, shape=[..., *point_shape], optional
        initial_tangent_vec : array-like, shape=[..., *point_shape], optional
        on_boundary : str, optional
            As in `exp`.

        Returns
        -------
        path : callable
            Times, shape=[n_times], to points, shape=[..., n_times, *point_shape].
        """
        velocity = velocity_of(self, initial_point, end_point, initial_tangent_vec)
        curve = self._curve(initial_point, velocity, on_boundary or self.on_boundary)
        return lambda t: curve(gs.to_ndarray(_times(t), to_ndim=1))

    def parallel_transport(
        self,
        tangent_vec: Array,
        base_point: Array,
        direction: Array | None = None,
        end_point: Array | None = None,
    ) -> Array:
        direction = velocity_of(self, base_point, end_point, direction)
        return self._transport(base_point, direction, tangent_vec)

    def curvature(
        self, tangent_vec_a: Array, tangent_vec_b: Array, tangent_vec_c: Array, base_point: Array
    ) -> Array:
        return self._curvature(base_point, tangent_vec_a, tangent_vec_b, tangent_vec_c)

    def sectional_curvature(
        self, tangent_vec_a: Array, tangent_vec_b: Array, base_point: Array
    ) -> Array:
        return self._sectional_curvature(base_point, tangent_vec_a, tangent_vec_b)

    def _matrix_of(self, operator: Callable[[Array, Array], Array], base_point: Array) -> Array:
        """Return the matrix of an operator on all arrays of the shape of the space, by rows."""
        space, size = self._space, self._space.embedding_space.dim
        n_points = base_point.shape[: base_point.ndim - space.point_ndim]
        check_numbers(
            (*n_points, size, size),
            "the matrix of an operator on tangent vectors",
            "apply it to vectors instead",
        )
        basis = gs.reshape(gs.eye(size), (size, *space.shape))
        batch_shape = base_point.shape[: base_point.ndim - space.point_ndim]
        point = gs.reshape(base_point, (*batch_shape, 1, *space.shape))
        return gs.reshape(operator(basis, point), (*batch_shape, size, size))
