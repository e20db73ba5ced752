"""Matrices of fixed rank, the observable space, as a geomstats manifold."""

import geomstats.backend as gs
from geomstats.geometry.matrices import Matrices
from geomstats.geometry.riemannian_metric import RiemannianMetric

from dlngeo.core.base.arrays import Array
from dlngeo.core.depth_metric.metric import tangent_projection
from dlngeo.core.networks.factors import check_widths
from dlngeo.manifolds.geomstats.checks import check_shape, judge_rank
from dlngeo.manifolds.geomstats.depth_metric import DepthMetric
from dlngeo.manifolds.geomstats.embedded import EmbeddedSpace, gaussian


class FixedRankMatrices(EmbeddedSpace):
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
        dim = self.rank * (self.m + self.n - self.rank)
        super().__init__(Matrices(self.m, self.n), dim, equip)

    @staticmethod
    def default_metric() -> tuple[type[RiemannianMetric], dict]:
        return DepthMetric, {"depth": 1}

    def _fulfils(self, point: Array, atol: float) -> Array:
        return judge_rank(point, self.rank, atol)[0]

    def to_tangent(self, vector: Array, base_point: Array) -> Array:
        """Project a matrix on the tangent space, orthogonally for every depth (THEORY 3)."""
        check_shape(base_point, self.shape)
        return tangent_projection(base_point, vector, self.rank)

    def projection(self, point: Array) -> Array:
        """Return the nearest matrix of the rank, by truncated singular values.

        A matrix of lower rank has no nearest one; it is moved by the tolerance of
        geomstats (``gs.atol``) into the manifold.
        """
        check_shape(point, self.shape)
        left, singular_values, right = gs.linalg.svd(point, full_matrices=False)
        kept = singular_values[..., : self.rank]
        kept = gs.where(kept > gs.atol, kept, 2 * gs.atol * gs.ones_like(kept))
        return (left[..., :, : self.rank] * kept[..., None, :]) @ right[..., : self.rank, :]

    def random_point(self, n_samples: int = 1, bound: float = 1.0) -> Array:
        """Sample products of Gaussian matrices; ``bound`` is the standard deviation of entries."""
        if self.rank == min(self.shape):
            return bound * gaussian(n_samples, *self.shape)
        left, right = gaussian(n_samples, self.m, self.rank), gaussian(n_samples, self.rank, self.n)
        return bound / self.rank**0.5 * (left @ right)
