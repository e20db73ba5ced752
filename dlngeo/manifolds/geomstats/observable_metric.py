"""What the metrics of end-to-end matrices share: an operator that raises and lowers indices."""

from abc import abstractmethod
from collections.abc import Callable

import geomstats.backend as gs
from geomstats.geometry.manifold import Manifold
from geomstats.geometry.riemannian_metric import RiemannianMetric
from geomstats.geometry.scalar_product_metric import register_scaled_method

from dlngeo.core.base.arrays import Array
from dlngeo.manifolds.geomstats.checks import check_shape, velocity_of
from dlngeo.manifolds.geomstats.fixed_rank import FixedRankMatrices

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

    @abstractmethod
    def _exp(self, point: Array, velocity: Array, on_boundary: str) -> Array:
        """Return the end of a geodesic."""

    @abstractmethod
    def _curve(self, point: Array, velocity: Array, on_boundary: str) -> Callable[[Array], Array]:
        """Return a geodesic as a function of an array of times."""

    @abstractmethod
    def _transport(self, point: Array, direction: Array, vector: Array) -> Array:
        """Return a vector transported along a geodesic."""

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

    def exp(self, tangent_vec: Array, base_point: Array, on_boundary: str = "raise") -> Array:
        """Return the exponential: the geodesic at time one.

        Parameters
        ----------
        tangent_vec : array-like, shape=[..., m, n]
        base_point : array-like, shape=[..., m, n]
        on_boundary : str
            What happens if a geodesic reaches the boundary, where a singular value vanishes:
            "raise" a ValueError that names the time, or "nan". A complete metric has none.

        Returns
        -------
        point : array-like, shape=[..., m, n]

        References
        ----------
        [Che25]; THEORY 3, 6; see `dlngeo.core.geodesics.curves` and
        `dlngeo.core.relaxed.geodesics`.
        """
        check_shape(base_point, self._space.shape)
        check_shape(tangent_vec, self._space.shape)
        return self._exp(base_point, tangent_vec, on_boundary)

    def geodesic(
        self,
        initial_point: Array,
        end_point: Array | None = None,
        initial_tangent_vec: Array | None = None,
        on_boundary: str = "raise",
    ) -> Callable[[Array], Array]:
        """Return a geodesic, given by its velocity or by its end at time one.

        Parameters
        ----------
        initial_point : array-like, shape=[..., m, n]
        end_point : array-like, shape=[..., m, n], optional
        initial_tangent_vec : array-like, shape=[..., m, n], optional
        on_boundary : str
            As in `exp`.

        Returns
        -------
        path : callable
            Times, shape=[n_times], to points, shape=[..., n_times, m, n].

        Raises
        ------
        ValueError
            If not exactly one of end point and tangent vector is given.
        """
        check_shape(initial_point, self._space.shape)
        velocity = velocity_of(self, initial_point, end_point, initial_tangent_vec)
        curve = self._curve(initial_point, velocity, on_boundary)
        return lambda t: curve(gs.to_ndarray(gs.array(t), to_ndim=1))

    def parallel_transport(
        self,
        tangent_vec: Array,
        base_point: Array,
        direction: Array | None = None,
        end_point: Array | None = None,
    ) -> Array:
        """Transport a tangent vector along a geodesic, from time zero to one.

        Parameters
        ----------
        tangent_vec : array-like, shape=[..., m, n]
            Axes that it has more than the points count vectors along the same geodesics.
        base_point : array-like, shape=[..., m, n]
        direction : array-like, shape=[..., m, n], optional
            Initial velocity of the geodesic.
        end_point : array-like, shape=[..., m, n], optional
            End of the geodesic.

        Returns
        -------
        transported : array-like, shape=[..., m, n]

        Raises
        ------
        ValueError
            If not exactly one of direction and end point is given.

        References
        ----------
        THEORY 3, 6.
        """
        check_shape(base_point, self._space.shape)
        direction = velocity_of(self, base_point, end_point, direction)
        return self._transport(base_point, direction, tangent_vec)

    def _matrix_of(self, operator: Callable[[Array, Array], Array], base_point: Array) -> Array:
        check_shape(base_point, self._space.shape)
        m, n = self._space.shape
        basis = gs.reshape(gs.eye(m * n), (m * n, m, n))
        images = operator(basis, base_point[..., None, :, :])
        return gs.reshape(images, (*base_point.shape[:-2], m * n, m * n))
