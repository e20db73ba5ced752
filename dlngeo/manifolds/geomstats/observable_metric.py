"""What the metrics of end-to-end matrices share: an operator that raises and lowers indices."""

from abc import abstractmethod
from collections.abc import Callable
from typing import Any

import geomstats.backend as gs
from geomstats.geometry.manifold import Manifold
from geomstats.geometry.matrices import Matrices

from dlngeo.core.base.arrays import Array
from dlngeo.core.base.scales import at_scale, at_unit_scale
from dlngeo.manifolds.geomstats.embedded import EmbeddedSpace
from dlngeo.manifolds.geomstats.geodesic_metric import GeodesicMetric


class ObservableMetric(GeodesicMetric):
    r"""Metric ``g_X(Z, Z') = tr(Zᵀ A_X^{-1} Z')``, with the operator ``A_X = dφ dφ*`` of training.

    Below full rank its matrices are zero on the normal space.

    Parameters
    ----------
    space : FixedRankMatrices

    Raises
    ------
    ValueError
        If the space is another one. The methods that lower an index raise it if the base point
        has a lower rank.

    References
    ----------
    [BRTW22]; [MPG25]; THEORY 3, 6.
    """

    # Degree of the operator in X; 0 where it is not homogeneous.
    _degree: float = 0

    _raise_index: Callable
    _lower_index: Callable
    _geodesic: Callable

    def __init__(self, space: Manifold):
        embedding_space = space.embedding_space if isinstance(space, EmbeddedSpace) else None
        if not isinstance(embedding_space, Matrices):
            raise ValueError(
                f"{type(self).__name__} lives on FixedRankMatrices(m, n, rank), got "
                f"{type(space).__name__}."
            )
        super().__init__(space=space)

    @property
    @abstractmethod
    def _parameters(self) -> tuple[Any, ...]:
        """What the kernels take after matrices."""

    def _apply(self, function: Callable, *arrays: Array, **options: Any) -> Any:
        return function(*arrays, *self._parameters, **options)

    def _curve(self, point: Array, velocity: Array, on_boundary: str) -> Callable[[Array], Array]:
        return self._geodesic(point, velocity, on_boundary=on_boundary).point

    def riemannian_gradient(self, euclidean_gradient: Array, base_point: Array) -> Array:
        """Return the Riemannian gradient ``A_X(∇E)``.

        Parameters
        ----------
        euclidean_gradient : array-like, shape=[..., m, n]
            Gradient ``∇E`` in the Euclidean metric.
        base_point : array-like, shape=[..., m, n]

        Returns
        -------
        gradient : array-like, shape=[..., m, n]
        """
        return self._raise_index(base_point, euclidean_gradient)

    def flat(self, tangent_vec: Array, base_point: Array) -> Array:
        """Return the covector ``A_X^{-1}(Z)``.

        Parameters
        ----------
        tangent_vec : array-like, shape=[..., m, n]
        base_point : array-like, shape=[..., m, n]

        Returns
        -------
        cotangent_vec : array-like, shape=[..., m, n]
        """
        return self._lower_index(base_point, tangent_vec)

    def inner_product(self, tangent_vec_a: Array, tangent_vec_b: Array, base_point: Array) -> Array:
        a, b, first, second = at_unit_scale(2, tangent_vec_a, tangent_vec_b)
        point, down = at_unit_scale(2, base_point) if self._degree else (base_point, 0)
        product = gs.sum(a * self.flat(b, point), axis=(-2, -1))
        exponent = first + second - self._degree * down
        return at_scale(product, exponent, "the inner product", axes=0)

    def metric_matrix(self, base_point: Array) -> Array:
        return self._matrix_of(self.flat, base_point)

    def cometric_matrix(self, base_point: Array) -> Array:
        return self._matrix_of(self.riemannian_gradient, base_point)
