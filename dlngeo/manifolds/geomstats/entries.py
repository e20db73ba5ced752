"""Matrices of full rank in vector coordinates, for what geomstats does in coordinates only."""

import geomstats.backend as gs
from geomstats.geometry.manifold import Manifold

from dlngeo.core.base.arrays import Array
from dlngeo.core.base.memory import check_numbers
from dlngeo.core.depth_metric.connection import christoffel
from dlngeo.manifolds.geomstats.checks import check_shape
from dlngeo.manifolds.geomstats.depth_metric import DepthMetric
from dlngeo.manifolds.geomstats.fixed_rank import FixedRankMatrices
from dlngeo.manifolds.geomstats.homogeneous_norm import HomogeneousNorm


class Entries(Manifold):
    r"""Matrices of full rank as the vectors of their entries, row by row.

    An open set of ``ℝ^{mn}`` with the depth metric of the given space: what geomstats writes in
    intrinsic coordinates takes it, such as ``BrownianMotion``.

    Parameters
    ----------
    space : FixedRankMatrices
        Of full rank, with a `DepthMetric`.

    Raises
    ------
    ValueError
        If the rank is lower, where entries are no coordinates, or the metric another one.

    Notes
    -----
    Geomstats' Brownian motion has the generator ``½ Δ_g``, the Langevin equation of this package
    ``β^{-1} Δ_g - ⟨grad F_β, ·⟩``: they agree for ``β = 2`` and ``E = S/β``. It takes
    Euler–Maruyama steps in these coordinates, which do not see the boundary: keep times short,
    such that no singular value comes near to zero.

    Examples
    --------
    >>> from geomstats.distributions.brownian_motion import BrownianMotion
    >>> from dlngeo import DepthMetric, FixedRankMatrices
    >>> space = FixedRankMatrices(2, 2).equip_with_metric(DepthMetric, depth=3)
    >>> entries = Entries(space)
    >>> start = entries.from_matrices(gs.eye(2))
    >>> path = BrownianMotion(entries).sample_path(0.01, n_steps=20, initial_point=start)
    >>> entries.to_matrices(path).shape
    (20, 2, 2)

    References
    ----------
    [Men24]; THEORY 3, 4.
    """

    def __init__(self, space: FixedRankMatrices):
        metric = getattr(space, "metric", None)
        if not isinstance(space, FixedRankMatrices) or not isinstance(metric, DepthMetric):
            raise ValueError(
                "expected FixedRankMatrices with a DepthMetric, got "
                f"{type(space).__name__} with {type(metric).__name__}."
            )
        if space.rank < min(space.shape):
            raise ValueError(
                f"entries are coordinates of matrices of full rank, got rank {space.rank} of shape "
                f"{space.shape}: there is no such chart below."
            )
        super().__init__(dim=space.dim, shape=(space.dim,), intrinsic=True, equip=False)
        self.space = space
        self.metric = EntriesMetric(self)

    def to_matrices(self, point: Array) -> Array:
        """Return the matrices of vectors, shape=[..., m, n]."""
        point = check_shape(point, self.shape)
        return gs.reshape(point, (*point.shape[:-1], *self.space.shape))

    def from_matrices(self, matrix: Array) -> Array:
        """Return the vectors of matrices, shape=[..., m n]."""
        matrix = check_shape(matrix, self.space.shape)
        return gs.reshape(matrix, (*matrix.shape[:-2], self.dim))

    def belongs(self, point: Array, atol: float = gs.atol) -> Array:
        """Evaluate if the matrices have full rank; ``atol`` as of `FixedRankMatrices`."""
        if point.shape[-1] != self.dim:
            return gs.zeros(tuple(point.shape[:-1]), dtype=bool)
        return self.space.belongs(self.to_matrices(point), atol)

    def is_tangent(self, vector: Array, base_point: Array, atol: float = gs.atol) -> Array:
        """Evaluate if a vector has the right shape: every one is tangent."""
        if vector.shape[-1] != self.dim:
            return gs.zeros(tuple(vector.shape[:-1]), dtype=bool)
        return self.space.is_tangent(self.to_matrices(vector), self.to_matrices(base_point), atol)

    def to_tangent(self, vector: Array, base_point: Array) -> Array:
        """Return the vector: every one is tangent."""
        matrices = self.to_matrices(vector), self.to_matrices(base_point)
        return self.from_matrices(self.space.to_tangent(*matrices))

    def projection(self, point: Array) -> Array:
        """Return the nearest matrix of full rank, as `FixedRankMatrices.projection`."""
        return self.from_matrices(self.space.projection(self.to_matrices(point)))

    def random_point(self, n_samples: int = 1, bound: float = 1.0) -> Array:
        return self.from_matrices(self.space.random_point(n_samples, bound))


class EntriesMetric(HomogeneousNorm):
    """The depth metric in the coordinates of `Entries`."""

    def __init__(self, space: Entries):
        super().__init__(space=space)
        self.depth = space.space.metric.depth

    def metric_matrix(self, base_point: Array) -> Array:
        space = self._space
        return space.space.metric.metric_matrix(space.to_matrices(base_point))

    def cometric_matrix(self, base_point: Array) -> Array:
        space = self._space
        return space.space.metric.cometric_matrix(space.to_matrices(base_point))

    def christoffels(self, base_point: Array) -> Array:
        """Return ``Γ^i_jk``, the upper index first, in closed form ([Che25]; THEORY 3)."""
        space = self._space
        matrix = space.to_matrices(base_point)[..., None, None, :, :]
        check_numbers(
            (*matrix.shape[:-4], *[space.dim] * 3),
            "the array of Christoffel symbols",
            "take those of two vectors, dlngeo.core.depth_metric.christoffel",
        )
        basis = space.to_matrices(gs.eye(space.dim))
        symbols = christoffel(matrix, basis[:, None], basis[None], self.depth)
        return gs.moveaxis(space.from_matrices(symbols), -1, -3)
