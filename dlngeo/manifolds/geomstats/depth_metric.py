"""The depth metric ``g^N`` on matrices of fixed rank, as a geomstats metric."""

from collections.abc import Callable

import geomstats.backend as gs
from geomstats.geometry.manifold import Manifold

from dlngeo.core.base.arrays import Array
from dlngeo.core.depth_metric import curvature
from dlngeo.core.depth_metric import metric as core
from dlngeo.core.geodesics import curves as geodesics
from dlngeo.core.geodesics import exponential, logarithm, transport
from dlngeo.manifolds.geomstats.checks import check_shape
from dlngeo.manifolds.geomstats.observable_metric import ObservableMetric
from dlngeo.thermodynamics import volume


class DepthMetric(ObservableMetric):
    r"""Metric that training a balanced network of depth ``N`` puts on its matrices.

    .. math:: g^N_X(Z, Z') = \mathrm{tr}(Z^T A_{N,X}^{-1} Z'), \quad
              A_{N,X}(P) = \sum_{p=1}^{N} (XX^T)^{(N-p)/N} P (X^TX)^{(p-1)/N}

    Depth 1 is the Euclidean metric, and depth 2 on positive definite matrices is twice
    the Bures–Wasserstein metric. At infinite depth the metric is scaled by ``N``.

    Parameters
    ----------
    space : FixedRankMatrices
    depth : int or inf
        Depth ``N ≥ 1``; infinity for square matrices of full rank only.

    Raises
    ------
    ValueError
        If the space is another one, the depth is no positive integer, or infinite where the
        metric does not exist.

    References
    ----------
    [BRTW22]; [MY25]; [CMV22] for infinite depth; THEORY 3.
    """

    def __init__(self, space: Manifold, depth: float):
        super().__init__(space=space)
        core.check_observable(gs.eye(*space.shape), depth, space.rank)
        self.depth = depth

    def flat(self, tangent_vec: Array, base_point: Array) -> Array:
        """Return the covector ``A_{N,X}^{-1}(Z)``.

        Parameters
        ----------
        tangent_vec : array-like, shape=[..., m, n]
        base_point : array-like, shape=[..., m, n]

        Returns
        -------
        cotangent_vec : array-like, shape=[..., m, n]

        Raises
        ------
        ValueError
            If the base point has a lower rank.

        References
        ----------
        [BRTW22]; THEORY 3.
        """
        check_shape(base_point, self._space.shape)
        return core.flat(base_point, tangent_vec, self.depth, self._space.rank)

    def riemannian_gradient(self, euclidean_gradient: Array, base_point: Array) -> Array:
        """Return the Riemannian gradient ``A_{N,X}(∇E)``.

        Parameters
        ----------
        euclidean_gradient : array-like, shape=[..., m, n]
            Gradient ``∇E`` in the Euclidean metric.
        base_point : array-like, shape=[..., m, n]

        Returns
        -------
        gradient : array-like, shape=[..., m, n]

        References
        ----------
        [BRTW22]; THEORY 3.
        """
        check_shape(base_point, self._space.shape)
        return core.sharp(base_point, euclidean_gradient, self.depth, self._space.rank)

    def log_volume_density(self, base_point: Array) -> Array:
        r"""Return ``½ log det g^N``, the volume density against Lebesgue's measure.

        Parameters
        ----------
        base_point : array-like, shape=[..., d, d]

        Returns
        -------
        log_density : array-like, shape=[...]

        Raises
        ------
        ValueError
            If the matrices are not square and of full rank.

        References
        ----------
        [MY25]; THEORY 3.
        """
        return volume.log_volume_density(base_point, self.depth)

    def _exp(self, point: Array, velocity: Array, on_boundary: str) -> Array:
        return exponential.exp(
            point, velocity, self.depth, self._space.rank, on_boundary=on_boundary
        )

    def _curve(self, point: Array, velocity: Array, on_boundary: str) -> Callable[[Array], Array]:
        return geodesics.geodesic(
            point, velocity, self.depth, self._space.rank, on_boundary=on_boundary
        ).point

    def _transport(self, point: Array, direction: Array, vector: Array) -> Array:
        return transport.parallel_transport(point, direction, vector, self.depth, self._space.rank)

    def log(self, point: Array, base_point: Array) -> Array:
        """Return the logarithm: the velocity of the shortest geodesic found to a point.

        Parameters
        ----------
        point : array-like, shape=[..., m, n]
        base_point : array-like, shape=[..., m, n]

        Returns
        -------
        tangent_vec : array-like, shape=[..., m, n]

        Raises
        ------
        ValueError
            If no path joins the points: determinants of opposite signs.
        RuntimeError
            If no geodesic was found; see `dlngeo.core.geodesics.logarithm.connect`.

        References
        ----------
        THEORY 3; see `dlngeo.core.geodesics.logarithm`.
        """
        check_shape(base_point, self._space.shape)
        return logarithm.log(base_point, point, self.depth, self._space.rank)

    def dist(self, point_a: Array, point_b: Array) -> Array:
        """Return the length of the shortest geodesic found between two points.

        Parameters
        ----------
        point_a, point_b : array-like, shape=[..., m, n]

        Returns
        -------
        dist : array-like, shape=[...]

        Raises
        ------
        ValueError, RuntimeError
            As `log`.
        """
        check_shape(point_a, self._space.shape)
        return logarithm.dist(point_a, point_b, self.depth, self._space.rank)

    def squared_dist(self, point_a: Array, point_b: Array) -> Array:
        """Return the square of `dist`.

        Parameters
        ----------
        point_a, point_b : array-like, shape=[..., m, n]

        Returns
        -------
        squared_dist : array-like, shape=[...]
        """
        check_shape(point_a, self._space.shape)
        check_shape(point_b, self._space.shape)
        return logarithm.squared_dist(point_a, point_b, self.depth, self._space.rank)

    def curvature(
        self,
        tangent_vec_a: Array,
        tangent_vec_b: Array,
        tangent_vec_c: Array,
        base_point: Array,
    ) -> Array:
        """Return the curvature tensor ``R(a, b)c = ∇_a ∇_b c - ∇_b ∇_a c - ∇_[a,b] c``.

        Parameters
        ----------
        tangent_vec_a, tangent_vec_b, tangent_vec_c : array-like, shape=[..., m, n]
        base_point : array-like, shape=[..., m, n]

        Returns
        -------
        curvature : array-like, shape=[..., m, n]

        References
        ----------
        THEORY 3.
        """
        check_shape(base_point, self._space.shape)
        return curvature.riemann_curvature(
            base_point, tangent_vec_a, tangent_vec_b, tangent_vec_c, self.depth, self._space.rank
        )

    def sectional_curvature(
        self, tangent_vec_a: Array, tangent_vec_b: Array, base_point: Array
    ) -> Array:
        """Return the sectional curvature of a plane, zero for linearly dependent vectors.

        Parameters
        ----------
        tangent_vec_a, tangent_vec_b : array-like, shape=[..., m, n]
        base_point : array-like, shape=[..., m, n]

        Returns
        -------
        sectional_curvature : array-like, shape=[...]

        References
        ----------
        THEORY 3.
        """
        check_shape(base_point, self._space.shape)
        return curvature.sectional_curvature(
            base_point, tangent_vec_a, tangent_vec_b, self.depth, self._space.rank
        )

    def ricci(self, tangent_vec: Array, base_point: Array) -> Array:
        """Return the Ricci operator, ``⟨Ric(a), c⟩ = Ric(a, c)``.

        Parameters
        ----------
        tangent_vec : array-like, shape=[..., m, n]
        base_point : array-like, shape=[..., m, n]

        Returns
        -------
        ricci : array-like, shape=[..., m, n]

        References
        ----------
        THEORY 3.
        """
        check_shape(base_point, self._space.shape)
        return curvature.ricci(base_point, tangent_vec, self.depth, self._space.rank)

    def ricci_tensor(self, base_point: Array) -> Array:
        """Return the matrix of the Ricci tensor in flattened coordinates, row by row.

        Below full rank it is zero on the normal space, as `metric_matrix`.

        Parameters
        ----------
        base_point : array-like, shape=[..., m, n]

        Returns
        -------
        ricci_tensor : array-like, shape=[..., m n, m n]
        """

        return self._matrix_of(
            lambda basis, point: self.flat(self.ricci(basis, point), point), base_point
        )

    def scalar_curvature(self, base_point: Array) -> Array:
        """Return the scalar curvature, the trace of the Ricci operator.

        Parameters
        ----------
        base_point : array-like, shape=[..., m, n]

        Returns
        -------
        scalar_curvature : array-like, shape=[...]

        References
        ----------
        THEORY 3.
        """
        check_shape(base_point, self._space.shape)
        return curvature.scalar_curvature(base_point, self.depth, self._space.rank)
