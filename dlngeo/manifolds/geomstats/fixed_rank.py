"""Matrices of fixed rank, the observable space, as a geomstats manifold."""

import geomstats.backend as gs
from geomstats.geometry.matrices import Matrices
from geomstats.geometry.riemannian_metric import RiemannianMetric

from dlngeo.core.base.arrays import Array
from dlngeo.core.depth_metric.metric import tangent_projection
from dlngeo.core.networks.components import check_determinant, is_across
from dlngeo.core.networks.factors import check_widths
from dlngeo.manifolds.geomstats.checks import judge_rank
from dlngeo.manifolds.geomstats.depth_metric import DepthMetric
from dlngeo.manifolds.geomstats.embedded import EmbeddedSpace, gaussian, in_unit_ball


class FixedRankMatrices(EmbeddedSpace):
    r"""Manifold ``𝔐_r`` of ``m × n`` matrices of rank ``r``.

    The space of the end-to-end matrices of deep linear networks, of dimension
    ``r (m + n - r)``: an open set of matrices if ``r = min(m, n)``. It ends where a
    further singular value vanishes. It is connected, but for square matrices of full rank:
    no path joins two of them whose determinants have opposite signs, and algorithms that
    join every two points ask for one component, by its sign.

    Parameters
    ----------
    m, n : int
        Numbers of rows and columns.
    rank : int, optional
        Rank ``r``, full by default.
    determinant : str, optional
        "positive" or "negative": of square matrices of full rank those with such a
        determinant alone.
    equip : bool
        If True, equip with the `DepthMetric` of depth 1: the Euclidean metric.

    Raises
    ------
    ValueError
        If the rank does not fit, or there is no such determinant.

    Examples
    --------
    >>> from geomstats.learning.frechet_mean import FrechetMean
    >>> space = FixedRankMatrices(3, 3, determinant="positive")
    >>> mean = FrechetMean(space).fit(space.random_point(10)).estimate_
    >>> bool(space.belongs(mean))
    True

    References
    ----------
    [BRTW22]; THEORY 3.
    """

    def __init__(
        self,
        m: int,
        n: int,
        rank: int | None = None,
        equip: bool = True,
        *,
        determinant: str | None = None,
    ):
        (self.n, self.m), self.rank = check_widths((n, m), rank)
        check_determinant(
            determinant,
            f"{m} x {n} matrices of rank {self.rank}",
            has_components=self.m == self.n == self.rank,
        )
        self.determinant = determinant
        dim = self.rank * (self.m + self.n - self.rank)
        super().__init__(Matrices(self.m, self.n), dim, equip)

    @staticmethod
    def default_metric() -> tuple[type[RiemannianMetric], dict]:
        return DepthMetric, {"depth": 1}

    def _fulfils(self, point: Array, atol: float) -> Array:
        is_of_rank = judge_rank(point, self.rank, atol)[0]
        return gs.logical_and(is_of_rank, ~is_across(point, self.determinant))

    def to_tangent(self, vector: Array, base_point: Array) -> Array:
        """Project a matrix on the tangent space, orthogonally for every depth (THEORY 3)."""
        return tangent_projection(base_point, vector, self.rank)

    def projection(self, point: Array) -> Array:
        """Return the nearest matrix of the rank, by truncated singular values.

        A matrix of lower rank has no nearest one; it is moved by the tolerance of
        geomstats (``gs.atol``) into the manifold. A determinant of the other sign changes it by
        a reflection at the boundary: the least singular value changes its sign.
        """
        left, singular_values, right = gs.linalg.svd(point, full_matrices=False)
        left, right = left[..., :, : self.rank], right[..., : self.rank, :]
        kept = singular_values[..., : self.rank]
        kept = gs.where(kept > gs.atol, kept, 2 * gs.atol * gs.ones_like(kept))
        is_last = gs.arange(self.rank) == self.rank - 1
        is_turned = gs.logical_and(is_across(left @ right, self.determinant)[..., None], is_last)
        return (left * gs.where(is_turned, -kept, kept)[..., None, :]) @ right

    def random_point(self, n_samples: int = 1, bound: float = 1.0) -> Array:
        """Sample products of Gaussian matrices; ``bound`` is the standard deviation of entries.

        Of one component: the ball of radius ``bound / 2`` around ``bound I``, or around
        ``bound diag(1, ..., 1, -1)``, in the Frobenius norm, uniformly. Its singular values are
        between ``bound / 2`` and ``3 bound / 2``, and for every depth two of its points have a
        shortest geodesic, which stays off the boundary (THEORY 3); Gaussian matrices come near
        to it, and beyond it their geodesics end.
        """
        if self.determinant is not None:
            centre = gs.eye(self.m)
            if self.determinant == "negative":
                centre = gs.where(gs.arange(self.m) == self.m - 1, -centre, centre)
            return bound * (centre + in_unit_ball(n_samples, self.dim, *self.shape) / 2)
        if self.rank == min(self.shape):
            return bound * gaussian(n_samples, *self.shape)
        left, right = gaussian(n_samples, self.m, self.rank), gaussian(n_samples, self.rank, self.n)
        return bound / self.rank**0.5 * (left @ right)
