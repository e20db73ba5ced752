"""Matrices of fixed rank, the observable space, as a geomstats manifold."""

import geomstats.backend as gs
from geomstats.geometry.manifold import Manifold
from geomstats.geometry.matrices import Matrices
from geomstats.geometry.riemannian_metric import RiemannianMetric
from geomstats.vectorization import get_batch_shape

from dlngeo.core.base.arrays import Array
from dlngeo.core.depth_metric.metric import tangent_projection
from dlngeo.core.networks.factors import check_widths
from dlngeo.manifolds.geomstats.checks import check_shape, finite_points, is_small, judge_rank


class FixedRankMatrices(Manifold):
    r"""Manifold ``𝔐_r`` of ``m × n`` matrices of rank ``r``.

    The space of the end-to-end matrices of deep linear networks, of dimension
    ``r (m + n - r)``: an open set of matrices if ``r = min(m, n)``. It ends where a
    further singular value vanishes.

    Parameters
    ----------
    m, n : int
        Numbers of rows and columns.
    rank : int, optional
        Rank ``r``, full by default.
    equip : bool
        If True, equip with the `DepthMetric` of depth 1: the Euclidean metric.

    References
    ----------
    [BRTW22]; THEORY 3.
    """

    def __init__(self, m: int, n: int, rank: int | None = None, equip: bool = True):
        (self.n, self.m), self.rank = check_widths((n, m), rank)
        self.embedding_space = Matrices(self.m, self.n)
        super().__init__(
            dim=self.rank * (self.m + self.n - self.rank),
            shape=(self.m, self.n),
            intrinsic=False,
            equip=equip,
        )

    @staticmethod
    def default_metric() -> tuple[type[RiemannianMetric], dict]:
        """Metric to equip the space with if equip is True."""
        from dlngeo.manifolds.geomstats.depth_metric import DepthMetric

        return DepthMetric, {"depth": 1}

    def belongs(self, point: Array, atol: float = gs.atol) -> Array:
        """Evaluate if matrices have the rank.

        Parameters
        ----------
        point : array-like, shape=[..., m, n]
        atol : float
            Singular values up to it count as zero, relative to the first where that exceeds
            one.

        Returns
        -------
        belongs : array-like, shape=[...]
        """
        if tuple(point.shape[-2:]) != self.shape:
            return gs.zeros(tuple(point.shape[:-2]), dtype=bool)
        belongs, point = finite_points(point, 2)
        return gs.logical_and(belongs, judge_rank(point, self.rank, atol)[0])

    def is_tangent(self, vector: Array, base_point: Array, atol: float = gs.atol) -> Array:
        """Evaluate if a matrix is tangent: zero between the null spaces of the point.

        Parameters
        ----------
        vector : array-like, shape=[..., m, n]
        base_point : array-like, shape=[..., m, n]
        atol : float
            Bound on the entries of the normal part, relative to the vector where it exceeds one.

        Returns
        -------
        is_tangent : array-like, shape=[...]
        """
        if tuple(vector.shape[-2:]) != self.shape:
            return gs.zeros(get_batch_shape(2, base_point, vector), dtype=bool)
        return is_small(vector - self.to_tangent(vector, base_point), vector, atol, 2)

    def to_tangent(self, vector: Array, base_point: Array) -> Array:
        """Project a matrix on the tangent space, orthogonally for every depth.

        Parameters
        ----------
        vector : array-like, shape=[..., m, n]
        base_point : array-like, shape=[..., m, n]

        Returns
        -------
        tangent_vec : array-like, shape=[..., m, n]

        References
        ----------
        THEORY 3.
        """
        check_shape(base_point, self.shape)
        return tangent_projection(base_point, vector, self.rank)

    def projection(self, point: Array) -> Array:
        """Return the nearest matrix of the rank, by truncated singular values.

        A matrix of lower rank has no nearest one; it is moved by the tolerance of
        geomstats (``gs.atol``) into the manifold.

        Parameters
        ----------
        point : array-like, shape=[..., m, n]

        Returns
        -------
        point : array-like, shape=[..., m, n]
        """
        check_shape(point, self.shape)
        left, singular_values, right = gs.linalg.svd(point, full_matrices=False)
        kept = singular_values[..., : self.rank]
        kept = gs.where(kept > gs.atol, kept, 2 * gs.atol * gs.ones_like(kept))
        return (left[..., :, : self.rank] * kept[..., None, :]) @ right[..., : self.rank, :]

    def random_point(self, n_samples: int = 1, bound: float = 1.0) -> Array:
        """Sample products of Gaussian matrices.

        Parameters
        ----------
        n_samples : int
        bound : float
            Standard deviation of the entries.

        Returns
        -------
        point : array-like, shape=[..., m, n]
        """
        batch_shape = () if n_samples == 1 else (n_samples,)
        if self.rank == min(self.shape):
            return bound * gs.random.normal(size=(*batch_shape, *self.shape))
        left = gs.random.normal(size=(*batch_shape, self.m, self.rank))
        right = gs.random.normal(size=(*batch_shape, self.rank, self.n))
        return bound / self.rank**0.5 * (left @ right)
