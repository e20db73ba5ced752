"""Spaces of factors of a network, and the metric of parameter space on them."""

from collections.abc import Callable, Sequence
from typing import Any

import geomstats.backend as gs
from geomstats.geometry.matrices import Matrices
from geomstats.geometry.product_manifold import ProductManifold
from geomstats.vectorization import get_batch_shape

from dlngeo.core.base.arrays import Array
from dlngeo.core.base.checks import float_array
from dlngeo.core.base.memory import check_numbers
from dlngeo.core.base.packing import pack, unpack
from dlngeo.core.base.scales import at_scale, at_unit_scale
from dlngeo.core.networks.factors import is_network, layers_of
from dlngeo.manifolds.geomstats.embedded import EmbeddedSpace
from dlngeo.manifolds.geomstats.homogeneous_norm import HomogeneousNorm


class FactorSpace(EmbeddedSpace):
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
        self._shapes = list(zip(self.widths[1:], self.widths[:-1], strict=True))
        point_ndim = 3 if len(set(self.widths)) == 1 else 1
        layers = [Matrices(*shape) for shape in self._shapes]
        super().__init__(ProductManifold(layers, point_ndim=point_ndim), dim, equip)

    def to_factors(self, point: Array) -> tuple[Array, ...]:
        """Return the factors of a point or a vector.

        Parameters
        ----------
        point : array-like, shape=[..., *point_shape]

        Returns
        -------
        factors : tuple of array-like, shape=[..., d_p, d_{p-1}]
        """
        if self.point_ndim == 3:
            return tuple(point[..., p, :, :] for p in range(self.depth))
        return unpack(point, self._shapes)

    def from_factors(self, factors: Any) -> Array:
        """Return the point or vector with the given factors.

        Parameters
        ----------
        factors : sequence of array-like, shape=[..., d_p, d_{p-1}], or
            array-like, shape=[..., N, d, d], or LinearNetwork

        Returns
        -------
        point : array-like, shape=[..., *point_shape]
        """
        if is_network(factors):
            factors = layers_of(factors)
        if not isinstance(factors, (tuple, list)):
            stack = float_array(factors, "the array of factors")
            if stack.ndim < 3:
                raise ValueError(
                    f"expected factors [..., N, d, d], got shape {tuple(stack.shape)}."
                )
            factors = tuple(stack[..., p, :, :] for p in range(stack.shape[-3]))
        # NaN stands for points beyond the boundary.
        factors = [float_array(factor, f"factor {p}") for p, factor in enumerate(factors, 1)]
        shapes = [tuple(factor.shape[-2:]) for factor in factors]
        if shapes != self._shapes:
            raise ValueError(f"expected factors of shapes {self._shapes}, got {shapes}.")
        return gs.stack(list(factors), axis=-3) if self.point_ndim == 3 else pack(factors)

    def apply(self, kernel: Callable, *arrays: Array, **options: Any) -> Any:
        """Apply a kernel of factors to points and vectors; factors become points again."""
        result = kernel(*map(self.to_factors, arrays), **options)
        return self.from_factors(result) if isinstance(result, tuple) else result


class FrobeniusMetric(HomogeneousNorm):
    r"""Metric that a space of factors inherits from parameter space.

    .. math:: \langle V, V' \rangle = \sum_p \mathrm{tr}(V_p^T V'_p)

    Parameters
    ----------
    space : FactorSpace
    """

    def inner_product(
        self, tangent_vec_a: Array, tangent_vec_b: Array, base_point: Array | None = None
    ) -> Array:
        ndim = self._space.point_ndim
        a, b, first, second = at_unit_scale(2, tangent_vec_a, tangent_vec_b, axes=ndim)
        product = gs.sum(a * b, axis=tuple(range(-ndim, 0)))
        product = at_scale(product, first + second, "the inner product", axes=0)
        if base_point is None:
            return product
        batch_shape = get_batch_shape(ndim, tangent_vec_a, tangent_vec_b, base_point)
        return gs.broadcast_to(product, batch_shape)

    def metric_matrix(self, base_point: Array) -> Array:
        """Return the identity of parameter space, shape=[..., n_parameters, n_parameters]."""
        batch_shape = get_batch_shape(self._space.point_ndim, base_point)
        size = self._space.embedding_space.dim
        check_numbers((size, size), "the matrix of the metric", "it is the identity: leave it out")
        return gs.broadcast_to(gs.eye(size), (*batch_shape, size, size))

    def riemannian_gradient(self, euclidean_gradient: Array, base_point: Array) -> Array:
        """Project the gradient of a function of the factors on the tangent space."""
        return self._space.to_tangent(euclidean_gradient, base_point)
