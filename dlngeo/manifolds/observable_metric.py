"""What the metrics of end-to-end matrices share: an operator that raises and lowers indices."""

from abc import abstractmethod
from collections.abc import Callable

import geomstats.backend as gs
from geomstats.geometry.manifold import Manifold
from geomstats.geometry.riemannian_metric import RiemannianMetric
from geomstats.geometry.scalar_product_metric import register_scaled_method

from dlngeo.core.arrays import Array
from dlngeo.manifolds.arrays import check_shape
from dlngeo.manifolds.fixed_rank import FixedRankMatrices

# Of a multiple of the metric, which geomstats derives from the methods, gradients shrink.
register_scaled_method("riemannian_gradient", "inverse")
register_scaled_method("flat", "linear")


class ObservableMetric(RiemannianMetric):
    r"""Metric ``g_X(Z, Z') = tr(Zᵀ A_X^{-1} Z')``, with the operator ``A_X = dφ dφ*`` of training.

    Parameters
    ----------
    space : FixedRankMatrices

    Raises
    ------
    ValueError
        If the space is another one.

    References
    ----------
    [BRTW22]; [MPG25]; THEORY 3, 6.
    """

    def __init__(self, space: Manifold):
        if not isinstance(space, FixedRankMatrices):
            raise ValueError(
                f"{type(self).__name__} lives on FixedRankMatrices(m, n, rank), got "
                f"{type(space).__name__}."
            )
        super().__init__(space=space)

    @abstractmethod
    def riemannian_gradient(self, euclidean_gradient: Array, base_point: Array) -> Array:
        """Return ``A_X(∇E)``."""

    @abstractmethod
    def flat(self, tangent_vec: Array, base_point: Array) -> Array:
        """Return ``A_X^{-1}(Z)``."""

    def inner_product(self, tangent_vec_a: Array, tangent_vec_b: Array, base_point: Array) -> Array:
        """Return ``tr(Zᵀ A^{-1} Z')``.

        Parameters
        ----------
        tangent_vec_a, tangent_vec_b : array-like, shape=[..., m, n]
        base_point : array-like, shape=[..., m, n]

        Returns
        -------
        inner_product : array-like, shape=[...]

        Raises
        ------
        ValueError
            If the base point has a lower rank.
        """
        return gs.sum(tangent_vec_a * self.flat(tangent_vec_b, base_point), axis=(-2, -1))

    def inner_coproduct(
        self, cotangent_vec_a: Array, cotangent_vec_b: Array, base_point: Array
    ) -> Array:
        """Return ``tr(Pᵀ A P')``.

        Parameters
        ----------
        cotangent_vec_a, cotangent_vec_b : array-like, shape=[..., m, n]
        base_point : array-like, shape=[..., m, n]

        Returns
        -------
        inner_coproduct : array-like, shape=[...]
        """
        return gs.sum(
            cotangent_vec_a * self.riemannian_gradient(cotangent_vec_b, base_point),
            axis=(-2, -1),
        )

    def metric_matrix(self, base_point: Array) -> Array:
        """Return the matrix of the metric in flattened coordinates, row by row.

        Below full rank it is zero on the normal space.

        Parameters
        ----------
        base_point : array-like, shape=[..., m, n]

        Returns
        -------
        metric_matrix : array-like, shape=[..., m n, m n]
        """
        return self._matrix_of(self.flat, base_point)

    def cometric_matrix(self, base_point: Array) -> Array:
        """Return the matrix of the cometric in flattened coordinates, row by row.

        Below full rank it is zero on the normal space.

        Parameters
        ----------
        base_point : array-like, shape=[..., m, n]

        Returns
        -------
        cometric_matrix : array-like, shape=[..., m n, m n]
        """
        return self._matrix_of(self.riemannian_gradient, base_point)

    def _matrix_of(self, operator: Callable[[Array, Array], Array], base_point: Array) -> Array:
        check_shape(base_point, self._space.shape)
        m, n = self._space.shape
        basis = gs.reshape(gs.eye(m * n), (m * n, m, n))
        images = operator(basis, base_point[..., None, :, :])
        return gs.reshape(images, (*base_point.shape[:-2], m * n, m * n))
