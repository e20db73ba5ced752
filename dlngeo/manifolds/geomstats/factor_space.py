"""Spaces of factors of a network, and the metric of parameter space on them."""

from collections.abc import Sequence
from typing import Any

import geomstats.backend as gs
from geomstats.geometry.manifold import Manifold
from geomstats.geometry.matrices import Matrices
from geomstats.geometry.product_manifold import ProductManifold
from geomstats.geometry.riemannian_metric import RiemannianMetric
from geomstats.vectorization import get_batch_shape

from dlngeo.core.base.arrays import Array
from dlngeo.manifolds.geomstats.checks import check_shape, is_small, unflatten


class FactorSpace(Manifold):
    """Submanifold of the factors ``W_p`` of shapes ``(d_p, d_{p-1})``, ``p = 1, ..., N``.

    A point is the array ``(N, d, d)`` of the factors, ``W_1`` first, if all widths are equal;
    otherwise it is the flat vector of the factors one after the other, as in geomstats'
    ProductManifold.

    Parameters
    ----------
    widths : sequence of int
        Widths ``(d_0, ..., d_N)``.
    dim : int
        Dimension of the submanifold.
    equip : bool
        If True, equip with the default metric.
    """

    def __init__(self, widths: Sequence[int], dim: int, equip: bool):
        self.widths = tuple(widths)
        self.depth = len(self.widths) - 1
        self.embedding_space = ProductManifold(
            [
                Matrices(after, before)
                for before, after in zip(self.widths[:-1], self.widths[1:], strict=True)
            ],
            point_ndim=3 if len(set(self.widths)) == 1 else 1,
        )
        super().__init__(dim=dim, shape=self.embedding_space.shape, intrinsic=False, equip=equip)

    def to_factors(self, point: Array) -> tuple[Array, ...]:
        """Return the factors of a point or a vector.

        Parameters
        ----------
        point : array-like, shape=[..., *point_shape]

        Returns
        -------
        factors : tuple of array-like, shape=[..., d_p, d_{p-1}]
        """
        check_shape(point, self.shape)
        if self.point_ndim == 3:
            return tuple(point[..., p, :, :] for p in range(self.depth))
        return tuple(unflatten(point, [factor.shape for factor in self.embedding_space.factors]))

    def from_factors(self, factors: Any) -> Array:
        """Return the point or vector with the given factors.

        Parameters
        ----------
        factors : sequence of array-like, shape=[..., d_p, d_{p-1}], or
            array-like, shape=[..., N, d, d]

        Returns
        -------
        point : array-like, shape=[..., *point_shape]
        """
        if not isinstance(factors, (tuple, list)):
            factors = tuple(factors[..., p, :, :] for p in range(factors.shape[-3]))
        shapes = [tuple(factor.shape[-2:]) for factor in factors]
        expected = [factor.shape for factor in self.embedding_space.factors]
        if shapes != expected:
            raise ValueError(f"expected factors of shapes {expected}, got {shapes}.")
        if self.point_ndim == 3:
            return gs.stack(list(factors), axis=-3)
        # An empty stack has no size to infer.
        flat = [gs.reshape(w, (*w.shape[:-2], w.shape[-2] * w.shape[-1])) for w in factors]
        return gs.concatenate(flat, axis=-1)

    def is_tangent(self, vector: Array, base_point: Array, atol: float = gs.atol) -> Array:
        """Evaluate if a velocity of the factors is tangent at a point.

        Parameters
        ----------
        vector : array-like, shape=[..., *point_shape]
        base_point : array-like, shape=[..., *point_shape]
        atol : float
            Bound on the entries of the normal part, relative to the vector where it exceeds one.

        Returns
        -------
        is_tangent : array-like, shape=[...]
        """
        batch_shape = get_batch_shape(self.point_ndim, base_point, vector)
        if tuple(vector.shape[-self.point_ndim :]) != self.shape:
            return gs.zeros(batch_shape, dtype=bool)
        return is_small(vector - self.to_tangent(vector, base_point), vector, atol, self.point_ndim)


class FrobeniusMetric(RiemannianMetric):
    r"""Metric that a space of factors inherits from parameter space.

    .. math:: \langle V, V' \rangle = \sum_p \mathrm{tr}(V_p^T V'_p)

    Parameters
    ----------
    space : FactorSpace
    """

    def inner_product(
        self, tangent_vec_a: Array, tangent_vec_b: Array, base_point: Array | None = None
    ) -> Array:
        """Return the Frobenius inner product of two tangent vectors.

        Parameters
        ----------
        tangent_vec_a, tangent_vec_b : array-like, shape=[..., *point_shape]
        base_point : array-like, shape=[..., *point_shape], optional
            Only its batch shape counts.

        Returns
        -------
        inner_product : array-like, shape=[...]
        """
        ndim = self._space.point_ndim
        product = gs.sum(tangent_vec_a * tangent_vec_b, axis=tuple(range(-ndim, 0)))
        if base_point is None:
            return product
        batch_shape = get_batch_shape(ndim, tangent_vec_a, tangent_vec_b, base_point)
        return gs.broadcast_to(product, batch_shape)

    def metric_matrix(self, base_point: Array) -> Array:
        """Return the identity, in flattened coordinates of parameter space.

        Parameters
        ----------
        base_point : array-like, shape=[..., *point_shape]

        Returns
        -------
        metric_matrix : array-like, shape=[..., n_parameters, n_parameters]
        """
        batch_shape = get_batch_shape(self._space.point_ndim, base_point)
        size = self._space.embedding_space.dim
        return gs.broadcast_to(gs.eye(size), (*batch_shape, size, size))

    def riemannian_gradient(self, euclidean_gradient: Array, base_point: Array) -> Array:
        """Project the gradient of a function of the factors on the tangent space.

        Parameters
        ----------
        euclidean_gradient : array-like, shape=[..., *point_shape]
        base_point : array-like, shape=[..., *point_shape]

        Returns
        -------
        gradient : array-like, shape=[..., *point_shape]
        """
        return self._space.to_tangent(euclidean_gradient, base_point)
