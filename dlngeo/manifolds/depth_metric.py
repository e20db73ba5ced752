"""The depth metric ``g^N`` on matrices of fixed rank, as a geomstats metric."""

import geomstats.backend as gs
from geomstats.geometry.manifold import Manifold
from geomstats.geometry.riemannian_metric import RiemannianMetric

from dlngeo.core import curvature
from dlngeo.core import observables as core
from dlngeo.core.arrays import Array
from dlngeo.manifolds.arrays import check_shape
from dlngeo.manifolds.fixed_rank import FixedRankMatrices


class DepthMetric(RiemannianMetric):
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
        if not isinstance(space, FixedRankMatrices):
            raise ValueError(
                "the depth metric lives on FixedRankMatrices(m, n, rank), got "
                f"{type(space).__name__}."
            )
        core.check_observable(gs.eye(*space.shape), depth, space.rank)
        super().__init__(space=space)
        self.depth = depth

    def inner_product(self, tangent_vec_a: Array, tangent_vec_b: Array, base_point: Array) -> Array:
        """Return ``tr(Zᵀ A_{N,X}^{-1} Z')``.

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
        check_shape(base_point, self._space.shape)
        covector = core.flat(base_point, tangent_vec_b, self.depth, self._space.rank)
        return gs.sum(tangent_vec_a * covector, axis=(-2, -1))

    def inner_coproduct(
        self, cotangent_vec_a: Array, cotangent_vec_b: Array, base_point: Array
    ) -> Array:
        """Return ``tr(Pᵀ A_{N,X} P')``.

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
        return self._matrix_of(core.flat, base_point)

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
        return self._matrix_of(core.sharp, base_point)

    def _matrix_of(self, operator, base_point: Array) -> Array:
        m, n = self._space.shape
        basis = gs.reshape(gs.eye(m * n), (m * n, m, n))
        images = operator(base_point[..., None, :, :], basis, self.depth, self._space.rank)
        return gs.reshape(images, (*base_point.shape[:-2], m * n, m * n))

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
        return core.log_volume_density(base_point, self.depth)

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
        return curvature.curvature(
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

        def lowered(point: Array, basis: Array, depth: float, rank: int) -> Array:
            return core.flat(point, curvature.ricci(point, basis, depth, rank), depth, rank)

        check_shape(base_point, self._space.shape)
        return self._matrix_of(lowered, base_point)

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
