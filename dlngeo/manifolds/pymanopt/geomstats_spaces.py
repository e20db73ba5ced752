"""Spaces of geomstats as pymanopt manifolds."""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import geomstats.backend as gs
import numpy
from geomstats.geometry.manifold import Manifold as Space
from pymanopt.manifolds.manifold import Manifold

from dlngeo.core.base.arrays import Array
from dlngeo.core.base.checks import host_array
from dlngeo.manifolds.pymanopt.acceleration import acceleration_at
from dlngeo.manifolds.pymanopt.manifold_methods import ManifoldMethods


def from_geomstats(space: Space) -> Manifold:
    r"""Return a space of geomstats, with its metric, as a pymanopt manifold.

    Points and tangent vectors are arrays of ``space.shape``; a cost takes one such array. With an
    orthonormal basis ``e_j`` of the tangent space, gradient and Hessian follow from the Euclidean
    ones ``G`` and ``H[η]`` of any extension of the cost,

    .. math:: \mathrm{grad} f = \sum_j \langle G, e_j \rangle e_j, \quad
              \mathrm{Hess} f[η] = \sum_j \left( \langle H[η], e_j \rangle
              + \langle G, a(η, e_j) \rangle \right) e_j,

    where ``a(η, η)`` is the acceleration of the geodesic with velocity ``η`` in the ambient
    space, and ``a(η, ξ)`` its polarisation. They are right for every metric, induced from the
    ambient space or not, and every embedding.

    The acceleration is exact for our metrics, also as factors of a product or times a number.
    Of others, in general, only the exponential tells it: it is the second derivative of
    ``metric.exp`` by central differences of order eight, with a step chosen at every point, and
    has ten to thirteen digits where the exponential is in closed form. Where geomstats integrates
    geodesics numerically, it is the acceleration of its approximate ones.

    Of our spaces `DeepFixedRank` and `BalancedFactors` are the faster forms: they need no basis,
    and retract instead of integrating geodesics.

    Parameters
    ----------
    space : geomstats Manifold
        Equipped with a Riemannian metric, under geomstats' NumPy backend.

    Returns
    -------
    manifold : pymanopt Manifold
        The retraction is ``metric.exp``; where that raises a ValueError, as ours does if a geodesic
        reaches the boundary, or is not finite, it is ``space.projection`` of the sum. Transport
        is parallel where geomstats has it, else it projects. Methods that geomstats lacks for a
        space raise what geomstats raises.

    Raises
    ------
    ValueError
        If this is no space with a metric, or the backend another one. The methods raise it for
        points and vectors of another shape, and where tangent vectors are no projections of
        arrays, or the metric is not positive definite.

    References
    ----------
    Own derivation; for the gradient [AMS08, 3.6].
    """
    if gs.__name__ != "geomstats.numpy":
        raise ValueError(
            f"pymanopt works on NumPy arrays, but the backend is {gs.__name__}: set "
            "GEOMSTATS_BACKEND=numpy before geomstats is imported."
        )
    if not isinstance(space, Space) or getattr(space, "metric", None) is None:
        raise ValueError(
            f"expected a geomstats space with a metric, got {type(space).__name__}: equip it first "
            "(space.equip_with_metric)."
        )
    return GeomstatsManifold(space)


class _Frame(NamedTuple):
    """What the derivatives of costs need at a point.

    Attributes
    ----------
    point : array, shape=[*point_shape]
    basis : array, shape=[dim, *point_shape]
        Orthonormal basis of the tangent space.
    acceleration : callable
        See `acceleration_at`.
    """

    point: Array
    basis: Array
    acceleration: Callable[[Array, Array], Array]


class GeomstatsManifold(ManifoldMethods, Manifold):
    """What `from_geomstats` returns."""

    def __init__(self, space: Space):
        self.space = space
        self.metric = space.metric
        self._frame: _Frame | None = None
        super().__init__(f"{type(space).__name__} of geomstats, shape {space.shape}", space.dim)

    @property
    def typical_dist(self) -> float:
        return math.sqrt(self.dim)

    # The metric.

    def inner_product(self, point: Array, tangent_vector_a: Array, tangent_vector_b: Array) -> Any:
        product = numpy.sum(self.metric.inner_product(tangent_vector_a, tangent_vector_b, point))
        # The square of a vector that is zero to round-off may come out negative, and pymanopt
        # takes its root.
        return numpy.maximum(product, 0.0) if tangent_vector_a is tangent_vector_b else product

    def dist(self, point_a: Array, point_b: Array) -> float:
        return numpy.asarray(self.metric.dist(point_a, point_b)).item()

    # Tangent vectors.

    def projection(self, point: Array, vector: Array) -> Array:
        """Project an array on the tangent space, as geomstats does."""
        return self.space.to_tangent(vector, point)

    to_tangent_space = projection

    def zero_vector(self, point: Array) -> Array:
        return numpy.zeros(self.space.shape)

    def random_point(self) -> Array:
        """Sample a point as geomstats does."""
        return self.space.random_point()

    def random_tangent_vector(self, point: Array) -> Array:
        """Sample a unit vector, uniformly in the metric."""
        components = gs.random.normal(size=self.dim)
        basis = self._frame_at(point).basis
        return self._combination(basis, components / numpy.linalg.norm(components))

    def _check_array(self, array: Any, name: str) -> Array:
        array = host_array(array, name)
        if array.shape != self.space.shape:
            raise ValueError(f"expected {name} of shape {self.space.shape}, got {array.shape}.")
        return array

    def _frame_at(self, point: Array) -> _Frame:
        """Return the frame at a point, of which the last one is kept."""
        frame = self._frame
        if frame is None or not numpy.array_equal(frame.point, point):
            point = self._check_array(point, "the point").copy()
            frame = _Frame(point, self._basis(point), acceleration_at(self.metric, point))
            self._frame = frame
        return frame

    def _basis(self, point: Array) -> Array:
        space, size = self.space, point.size
        arrays = numpy.eye(size).reshape(size, *space.shape)
        spanning = space.to_tangent(arrays, point).reshape(size, size)
        _, stretches, directions = numpy.linalg.svd(spanning)
        spanned = int(numpy.sum(stretches > 1e-8 * stretches[0]))
        if spanned != self.dim:
            raise ValueError(
                f"the tangent vectors of {space.shape} arrays (space.to_tangent) have {spanned} "
                f"dimensions, but space.dim is {self.dim}: one of them is wrong."
            )
        basis = directions[: self.dim].reshape(self.dim, *space.shape)
        products = [self.metric.inner_product(vector, basis, point) for vector in basis]
        gram = numpy.reshape(products, (self.dim, self.dim))
        try:
            triangle = numpy.linalg.cholesky(gram)
        except numpy.linalg.LinAlgError as error:
            raise ValueError(
                "the metric is not positive definite here: pymanopt needs a Riemannian metric, and "
                "a point inside the space."
            ) from error
        return numpy.linalg.solve(triangle, basis.reshape(self.dim, size)).reshape(basis.shape)

    @staticmethod
    def _components(basis: Array, vectors: Array) -> Array:
        """Return Euclidean products of the basis with one array, or with one for each vector."""
        return numpy.sum(basis * vectors, axis=tuple(range(1, basis.ndim)))

    @staticmethod
    def _combination(basis: Array, components: Array) -> Array:
        return numpy.tensordot(components, basis, axes=1)

    # Derivatives of costs.

    def euclidean_to_riemannian_gradient(self, point: Array, euclidean_gradient: Array) -> Array:
        """Return the Riemannian gradient, ``g(grad f, ξ) = ⟨G, ξ⟩``."""
        gradient = self._check_array(euclidean_gradient, "the gradient of the cost")
        if hasattr(self.metric, "riemannian_gradient"):
            return self.metric.riemannian_gradient(gradient, point)
        basis = self._frame_at(point).basis
        return self._combination(basis, self._components(basis, gradient))

    def euclidean_to_riemannian_hessian(
        self,
        point: Array,
        euclidean_gradient: Array,
        euclidean_hessian: Array,
        tangent_vector: Array,
    ) -> Array:
        """Return the Riemannian Hessian, ``g(Hess f[η], ξ) = ⟨H[η], ξ⟩ + ⟨G, a(η, ξ)⟩``."""
        gradient = self._check_array(euclidean_gradient, "the gradient of the cost")
        second = self._check_array(euclidean_hessian, "the Hessian of the cost")
        tangent_vector = self._check_array(tangent_vector, "the tangent vector")
        _, basis, acceleration = self._frame_at(point)
        bent = acceleration(tangent_vector, basis)
        components = self._components(basis, second) + self._components(bent, gradient)
        return self._combination(basis, components)

    # Moves.

    def retraction(self, point: Array, tangent_vector: Array) -> Array:
        """Return the exponential, or the projection of the sum where it has no finite value.

        Raises
        ------
        ValueError
            If there is no projection either.
        """
        point = self._check_array(point, "the point")
        tangent_vector = self._check_array(tangent_vector, "the tangent vector")
        try:
            end = self.metric.exp(tangent_vector, point)
            reason = None
        except ValueError as error:
            end, reason = numpy.nan, error
        if numpy.isfinite(end).all():
            return end
        try:
            return self.space.projection(point + tangent_vector)
        except NotImplementedError:
            raise ValueError(
                "the geodesic does not reach time one, and geomstats has no projection on "
                f"{type(self.space).__name__}: take a shorter step."
            ) from reason

    def exp(self, point: Array, tangent_vector: Array) -> Array:
        return self.metric.exp(tangent_vector, point)

    def log(self, point_a: Array, point_b: Array) -> Array:
        return self.metric.log(point_b, point_a)

    def transport(self, point_a: Array, point_b: Array, tangent_vector_a: Array) -> Array:
        """Transport in parallel where geomstats can, and project where it cannot."""
        try:
            moved = self.metric.parallel_transport(tangent_vector_a, point_a, end_point=point_b)
        except (ValueError, RuntimeError, LookupError):  # not implemented, no geodesic, a bug
            moved = numpy.nan
        return moved if numpy.isfinite(moved).all() else self.projection(point_b, tangent_vector_a)
