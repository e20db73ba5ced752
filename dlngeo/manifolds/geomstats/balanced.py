"""The balanced manifold of a deep linear network, as a geomstats manifold."""

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import geomstats.backend as gs

from dlngeo.core.balanced import curvature
from dlngeo.core.balanced import submanifold as core
from dlngeo.core.balanced.basis import tangent_basis
from dlngeo.core.base.arrays import Array, transpose
from dlngeo.core.base.scales import square
from dlngeo.core.geodesics.balanced_curves import (
    balanced_exp,
    balanced_geodesic,
    balanced_transport,
)
from dlngeo.core.geodesics.balanced_logarithm import balanced_dist, balanced_log
from dlngeo.core.networks.balancing import balance, factorize
from dlngeo.core.networks.components import check_determinant, is_across
from dlngeo.core.networks.equations import polar_factor
from dlngeo.core.networks.factors import check_widths
from dlngeo.core.networks.network import act, end_to_end, moment_map
from dlngeo.manifolds.geomstats.checks import judge_rank
from dlngeo.manifolds.geomstats.depth_metric import DepthMetric
from dlngeo.manifolds.geomstats.embedded import gaussian, in_unit_ball
from dlngeo.manifolds.geomstats.factor_space import FactorSpace, FrobeniusMetric
from dlngeo.manifolds.geomstats.fixed_rank import FixedRankMatrices
from dlngeo.manifolds.geomstats.geodesic_metric import GeodesicMetric, kernel


class BalancedManifold(FactorSpace):
    r"""Manifold of balanced factors of a deep linear network, of fixed rank.

    Factors ``W_p`` of shapes ``(d_p, d_{p-1})``, ``p = 1, ..., N``, with

    .. math:: W_{p+1}^T W_{p+1} = W_p W_p^T, \quad \mathrm{rank}(W_N \cdots W_1) = r.

    Every gradient flow of a loss of the end-to-end matrix stays on it. A point is the
    array ``(N, d, d)`` of the factors, ``W_1`` first, if all widths are equal; otherwise
    it is the flat vector of the factors one after the other, as in geomstats'
    ProductManifold. `to_factors` and `from_factors` translate.

    The manifold is not closed: it ends where a singular value vanishes. It has components where
    several layers are as wide as the rank: the product of the factors between two such layers has a
    determinant of one sign. Symmetries of the hidden layers exchange those whose end-to-end
    matrices are of one component, so that there are two up to symmetry.

    Parameters
    ----------
    depth : int, optional
        Depth ``N``.
    width : int, optional
        Width of all the layers.
    rank : int, optional
        Rank ``r``, the smallest width by default.
    widths : sequence of int, optional
        Widths ``(d_0, ..., d_N)``, instead of depth and width.
    equip : bool
        If True, equip with the `BalancedMetric`.
    determinant : str, optional
        "positive" or "negative": one component alone. The first of these determinants are positive,
        and the last of them has this sign.

    Raises
    ------
    ValueError
        If neither depth and width nor widths are given, the rank does not fit, or there is no such
        determinant.

    Examples
    --------
    >>> from geomstats.learning.frechet_mean import FrechetMean
    >>> space = BalancedManifold(depth=2, width=2, determinant="positive")
    >>> mean = FrechetMean(space).fit(space.random_point(4)).estimate_
    >>> bool(space.belongs(mean))
    True

    References
    ----------
    [MY25]; [BRTW22]; THEORY 2.
    """

    def __init__(
        self,
        depth: float | None = None,
        width: int | None = None,
        rank: int | None = None,
        widths: Sequence[int] | None = None,
        equip: bool = True,
        *,
        determinant: str | None = None,
    ):
        if widths is None:
            if depth is None or width is None or not (depth >= 1 and float(depth).is_integer()):
                raise ValueError(
                    "give either an integer depth and a width, or widths=(d_0, ..., d_N); got "
                    f"depth={depth}, width={width}."
                )
            widths = (width,) * (int(depth) + 1)
        elif width is not None or (depth is not None and depth != len(widths) - 1):
            raise ValueError(
                f"widths={tuple(widths)} say everything: leave out depth={depth} and width={width}."
            )
        widths, self.rank = check_widths(widths, rank)
        rows, columns = widths[-1], widths[0]
        wide = [layer for layer, width in enumerate(widths) if width == self.rank]
        check_determinant(
            determinant,
            f"factors of the widths {widths}, of which not two are the rank {self.rank},",
            has_components=len(wide) > 1,
        )
        self.determinant = determinant
        # Layers between which the factors have a determinant, and its name.
        self._determinants = [
            (before, after, "positive" if after != wide[-1] else determinant)
            for before, after in pairwise(wide if determinant else [])
        ]
        of_matrix = determinant if rows == columns == self.rank else None
        self._observables = FixedRankMatrices(
            rows, columns, rank=self.rank, equip=False, determinant=of_matrix
        )
        super().__init__(widths, core.dimension(widths, self.rank), equip)

    @staticmethod
    def default_metric() -> type["BalancedMetric"]:
        return BalancedMetric

    def _fulfils(self, point: Array, atol: float) -> Array:
        factors = self.to_factors(point)
        fulfils, scale = judge_rank(factors[0], self.rank, atol)
        for moment in moment_map(factors):
            bound = atol * scale[..., None, None] ** 2
            fulfils = gs.logical_and(fulfils, gs.all(abs(moment) <= bound, axis=(-2, -1)))
        for before, after, determinant in self._determinants:
            product = end_to_end(factors[before:after])
            fulfils = gs.logical_and(fulfils, ~is_across(product, determinant))
        return fulfils

    def to_tangent(self, vector: Array, base_point: Array) -> Array:
        """Project a velocity of the factors orthogonally on the tangent space.

        Raises
        ------
        ValueError
            If the base point is not balanced, or of another rank.
        """
        return self.apply(core.tangent_projection, base_point, vector, rank=self.rank)

    def projection(self, point: Array) -> Array:
        """Balance arbitrary factors, keeping the end-to-end matrix up to the rank.

        Where the result is of another component than that of the space, layers are reflected along
        their last singular vectors: the end-to-end matrix stays, or changes by a reflection at the
        boundary.

        References
        ----------
        THEORY 2 (closed form, see `dlngeo.core.networks.balancing.balance`).
        """
        balanced = self.apply(balance, point, rank=self.rank)
        factors = list(self.to_factors(balanced)) if self._determinants else []
        for before, after, determinant in self._determinants:
            is_turned = is_across(end_to_end(factors[before:after]), determinant)
            left = gs.linalg.svd(factors[after - 1], full_matrices=False)[0]
            last = left[..., :, self.rank - 1 : self.rank]
            last = gs.where(is_turned[..., None, None], last, 0 * last)
            mirror = gs.eye(self.widths[after]) - 2 * last @ transpose(last)
            factors[after - 1] = mirror @ factors[after - 1]
            if after < self.depth:
                factors[after] = factors[after] @ mirror
        return self.from_factors(factors) if factors else balanced

    def retraction(self, tangent_vec: Array, base_point: Array) -> Array:
        """Retract by ``bal(W + V)``, to second order (THEORY 2).

        Parameters
        ----------
        tangent_vec : array-like, shape=[..., *point_shape]
        base_point : array-like, shape=[..., *point_shape]

        Returns
        -------
        point : array-like, shape=[..., *point_shape]
        """
        return self.projection(base_point + tangent_vec)

    def random_point(self, n_samples: int = 1, bound: float = 1.0) -> Array:
        """Sample balanced factors of a Gaussian matrix, turned at random along the fibre.

        The matrix is a random point of `FixedRankMatrices`, with the same ``bound``. Of one
        component: factors in the ball of radius ``λ/2``, ``λ = bound^{1/N}``, around ``λ`` times
        identities, cut or filled up with zeros, of which one has a last entry of -1 if the
        determinant is negative; and then balanced. All of them are joined by shortest geodesics
        that stay off the boundary.
        """
        if self.determinant is not None:
            centre = [gs.eye(*shape) for shape in self._shapes]
            if self.determinant == "negative":
                last = self._determinants[-1][1] - 1
                signs = gs.where(gs.arange(self.rank) == self.rank - 1, -1.0, 1.0)
                centre[last] = signs[:, None] * centre[last]
            size = sum(rows * columns for rows, columns in self._shapes)
            step = in_unit_ball(n_samples, size, *self.shape) / 2
            return bound ** (1 / self.depth) * self.projection(self.from_factors(centre) + step)
        matrix = self._observables.random_point(n_samples, bound)
        factors = factorize(matrix, self.depth, self.widths, self.rank)
        rotations = [polar_factor(gaussian(n_samples, width, width)) for width in self.widths[1:-1]]
        return self.from_factors(act(rotations, factors))

    def tangent_basis(self, base_point: Array) -> Array:
        """Return the orthonormal basis of the tangent space, horizontal vectors first.

        Parameters
        ----------
        base_point : array-like, shape=[*point_shape]

        Returns
        -------
        basis : array-like, shape=[dim, *point_shape]

        References
        ----------
        [MY25] Thm 5; THEORY 2.
        """
        parts = tangent_basis(self.to_factors(base_point), self.rank)
        return gs.concatenate([self.from_factors(part) for part in parts], axis=0)

    def second_fundamental_form(
        self, tangent_vec_a: Array, tangent_vec_b: Array, base_point: Array
    ) -> Array:
        """Return the second fundamental form in parameter space (THEORY 2).

        Parameters
        ----------
        tangent_vec_a, tangent_vec_b : array-like, shape=[..., *point_shape]
        base_point : array-like, shape=[..., *point_shape]

        Returns
        -------
        normal_vec : array-like, shape=[..., *point_shape]
        """
        points = base_point, tangent_vec_a, tangent_vec_b
        return self.apply(core.second_fundamental_form, *points, rank=self.rank)

    def mean_curvature_vector(self, base_point: Array) -> Array:
        """Return the mean curvature vector, the trace of the second fundamental form (THEORY 2).

        Parameters
        ----------
        base_point : array-like, shape=[..., *point_shape]

        Returns
        -------
        normal_vec : array-like, shape=[..., *point_shape]
        """
        return self.apply(core.mean_curvature, base_point, rank=self.rank)

    def equip_with_quotient(self) -> FixedRankMatrices:
        """Equip with the bundle of orbits and its base.

        Sets ``fiber_bundle``, an `OrbitBundle`, and ``quotient``, the `FixedRankMatrices`
        with the `DepthMetric` of this depth. The group action must be there before:
        ``equip_with_group_action(OrbitAction(self))``.

        Returns
        -------
        quotient : FixedRankMatrices
        """
        super().equip_with_quotient()
        self.quotient = self._observables.equip_with_metric(DepthMetric, depth=self.depth)
        return self.quotient


class BalancedMetric(FrobeniusMetric, GeodesicMetric):
    r"""Metric that the balanced manifold inherits from parameter space.

    .. math:: \langle V, V' \rangle = \sum_p \mathrm{tr}(V_p^T V'_p)

    Geodesics are ``Ẅ = II(Ẇ, Ẇ)``, curvature follows from the equation of Gauss. `log` follows the
    shortest of a few curves that have been shortened to geodesics, and `dist` is the length of
    that. Between components, which are told apart by determinants of products of factors, there is
    a ValueError; a RuntimeError where no geodesic was found, as where the shortest curve leads
    through the boundary. The Ricci tensor is zero on the normal space.

    Parameters
    ----------
    space : BalancedManifold

    References
    ----------
    [MY25]; THEORY 2; see `dlngeo.core.balanced` and `dlngeo.core.geodesics`.
    """

    _exp = kernel(balanced_exp)
    _log = kernel(balanced_log)
    _transport = kernel(balanced_transport)
    _curvature = kernel(curvature.balanced_curvature)
    _sectional_curvature = kernel(curvature.balanced_sectional_curvature)

    def _apply(self, function: Callable, *arrays: Array, **options: Any) -> Any:
        return self._space.apply(function, *arrays, rank=self._space.rank, **options)

    def _curve(self, point: Array, velocity: Array, on_boundary: str) -> Callable[[Array], Array]:
        curve = self._apply(balanced_geodesic, point, velocity, on_boundary=on_boundary)
        return lambda times: self._space.from_factors(curve.point(times))

    def dist(self, point_a: Array, point_b: Array) -> Array:
        return self._apply(balanced_dist, point_a, point_b)

    def squared_dist(self, point_a: Array, point_b: Array) -> Array:
        return square(self.dist(point_a, point_b), "the squared distance")

    def ricci(self, tangent_vec: Array, base_point: Array) -> Array:
        """Return the Ricci operator, shape=[..., *point_shape]."""
        return self._apply(curvature.balanced_ricci, base_point, tangent_vec)

    def ricci_tensor(self, base_point: Array) -> Array:
        return self._matrix_of(
            lambda basis, point: self.ricci(self._space.to_tangent(basis, point), point), base_point
        )

    def scalar_curvature(self, base_point: Array) -> Array:
        return self._apply(curvature.balanced_scalar_curvature, base_point)
