"""The balanced manifold of a deep linear network, as a geomstats manifold."""

from collections.abc import Callable, Sequence

import geomstats.backend as gs
from geomstats.geometry.manifold import Manifold
from geomstats.vectorization import get_batch_shape

from dlngeo.core.balanced import curvature
from dlngeo.core.balanced import submanifold as core
from dlngeo.core.balanced.basis import tangent_basis
from dlngeo.core.base.arrays import Array
from dlngeo.core.geodesics.balanced_curves import (
    balanced_exp,
    balanced_geodesic,
    balanced_transport,
)
from dlngeo.core.geodesics.balanced_logarithm import balanced_dist, balanced_log
from dlngeo.core.networks.balancing import balance, factorize
from dlngeo.core.networks.equations import polar_factor
from dlngeo.core.networks.factors import check_widths
from dlngeo.core.networks.network import act, moment_map
from dlngeo.manifolds.geomstats.checks import finite_points, judge_rank, velocity_of
from dlngeo.manifolds.geomstats.factor_space import FactorSpace, FrobeniusMetric


class BalancedManifold(FactorSpace):
    r"""Manifold of balanced factors of a deep linear network, of fixed rank.

    Factors ``W_p`` of shapes ``(d_p, d_{p-1})``, ``p = 1, ..., N``, with

    .. math:: W_{p+1}^T W_{p+1} = W_p W_p^T, \quad \mathrm{rank}(W_N \cdots W_1) = r.

    Every gradient flow of a loss of the end-to-end matrix stays on it. A point is the
    array ``(N, d, d)`` of the factors, ``W_1`` first, if all widths are equal; otherwise
    it is the flat vector of the factors one after the other, as in geomstats'
    ProductManifold. `to_factors` and `from_factors` translate.

    The manifold is not closed: it ends where a singular value vanishes.

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

    Raises
    ------
    ValueError
        If neither depth and width nor widths are given, or the rank does not fit.

    References
    ----------
    [MY25]; [BRTW22]; THEORY 2.
    """

    def __init__(
        self,
        depth: int | None = None,
        width: int | None = None,
        rank: int | None = None,
        widths: Sequence[int] | None = None,
        equip: bool = True,
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
        super().__init__(widths, core.dimension(widths, self.rank), equip)

    @staticmethod
    def default_metric() -> type["BalancedMetric"]:
        """Metric to equip the space with if equip is True."""
        return BalancedMetric

    def belongs(self, point: Array, atol: float = gs.atol) -> Array:
        """Evaluate if factors are balanced and of the right rank.

        Parameters
        ----------
        point : array-like, shape=[..., *point_shape]
        atol : float
            Bound on the entries of the moment map and on the singular values of the factors
            beyond the rank, relative to the factors where these exceed one; singular values
            within the rank must be larger.

        Returns
        -------
        belongs : array-like, shape=[...]
        """
        if tuple(point.shape[-self.point_ndim :]) != self.shape:
            return gs.zeros(tuple(point.shape[: -self.point_ndim]), dtype=bool)
        belongs, point = finite_points(point, self.point_ndim)
        factors = self.to_factors(point)
        is_of_rank, scale = judge_rank(factors[0], self.rank, atol)
        belongs = gs.logical_and(belongs, is_of_rank)
        for moment in moment_map(factors):
            bound = atol * scale[..., None, None] ** 2
            belongs = gs.logical_and(belongs, gs.all(abs(moment) <= bound, axis=(-2, -1)))
        return belongs

    def to_tangent(self, vector: Array, base_point: Array) -> Array:
        """Project a velocity of the factors orthogonally on the tangent space.

        Parameters
        ----------
        vector : array-like, shape=[..., *point_shape]
        base_point : array-like, shape=[..., *point_shape]

        Returns
        -------
        tangent_vec : array-like, shape=[..., *point_shape]

        Raises
        ------
        ValueError
            If the base point is not balanced, or of another rank.

        References
        ----------
        [MY25]; THEORY 2.
        """
        return self.from_factors(
            core.tangent_projection(self.to_factors(base_point), self.to_factors(vector), self.rank)
        )

    def projection(self, point: Array) -> Array:
        """Balance arbitrary factors, keeping the end-to-end matrix up to the rank.

        Parameters
        ----------
        point : array-like, shape=[..., *point_shape]

        Returns
        -------
        balanced : array-like, shape=[..., *point_shape]

        References
        ----------
        THEORY 2 (closed form, see `dlngeo.core.networks.balancing.balance`).
        """
        return self.from_factors(balance(self.to_factors(point), self.rank))

    def retraction(self, tangent_vec: Array, base_point: Array) -> Array:
        """Retract by ``bal(W + V)``, to second order.

        Parameters
        ----------
        tangent_vec : array-like, shape=[..., *point_shape]
        base_point : array-like, shape=[..., *point_shape]

        Returns
        -------
        point : array-like, shape=[..., *point_shape]

        References
        ----------
        THEORY 2.
        """
        return self.projection(base_point + tangent_vec)

    def random_point(self, n_samples: int = 1, bound: float = 1.0) -> Array:
        """Sample balanced factors of a Gaussian matrix, turned at random along the fibre.

        Parameters
        ----------
        n_samples : int
        bound : float
            Standard deviation of the entries of the end-to-end matrix.

        Returns
        -------
        point : array-like, shape=[..., *point_shape]
        """
        batch_shape = () if n_samples == 1 else (n_samples,)
        rows, columns = self.widths[-1], self.widths[0]
        matrix = gs.random.normal(size=(*batch_shape, rows, columns))
        if self.rank < min(rows, columns):
            matrix = gs.random.normal(size=(*batch_shape, rows, self.rank)) @ gs.random.normal(
                size=(*batch_shape, self.rank, columns)
            )
            matrix = matrix / self.rank**0.5
        factors = factorize(bound * matrix, self.depth, self.widths, self.rank)
        rotations = [
            polar_factor(gs.random.normal(size=(*batch_shape, width, width)))
            for width in self.widths[1:-1]
        ]
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
        horizontal, vertical = tangent_basis(self.to_factors(base_point), self.rank)
        return gs.concatenate([self.from_factors(horizontal), self.from_factors(vertical)], axis=0)

    def second_fundamental_form(
        self, tangent_vec_a: Array, tangent_vec_b: Array, base_point: Array
    ) -> Array:
        """Return the second fundamental form in parameter space.

        Parameters
        ----------
        tangent_vec_a, tangent_vec_b : array-like, shape=[..., *point_shape]
        base_point : array-like, shape=[..., *point_shape]

        Returns
        -------
        normal_vec : array-like, shape=[..., *point_shape]

        References
        ----------
        THEORY 2.
        """
        return self.from_factors(
            core.second_fundamental_form(
                self.to_factors(base_point),
                self.to_factors(tangent_vec_a),
                self.to_factors(tangent_vec_b),
                self.rank,
            )
        )

    def mean_curvature_vector(self, base_point: Array) -> Array:
        """Return the mean curvature vector, the trace of the second fundamental form.

        Parameters
        ----------
        base_point : array-like, shape=[..., *point_shape]

        Returns
        -------
        normal_vec : array-like, shape=[..., *point_shape]

        References
        ----------
        THEORY 2.
        """
        return self.from_factors(core.mean_curvature(self.to_factors(base_point), self.rank))

    def equip_with_quotient(self) -> Manifold:
        """Equip with the bundle of orbits and its base.

        Sets ``fiber_bundle``, an `OrbitBundle`, and ``quotient``, the `FixedRankMatrices`
        with the `DepthMetric` of this depth. The group action must be there before:
        ``equip_with_group_action(OrbitAction(self))``.

        Returns
        -------
        quotient : FixedRankMatrices
        """
        from dlngeo.manifolds.geomstats.depth_metric import DepthMetric
        from dlngeo.manifolds.geomstats.fixed_rank import FixedRankMatrices

        super().equip_with_quotient()
        self.quotient = FixedRankMatrices(
            self.widths[-1], self.widths[0], rank=self.rank, equip=False
        ).equip_with_metric(DepthMetric, depth=self.depth)
        return self.quotient


class BalancedMetric(FrobeniusMetric):
    r"""Metric that the balanced manifold inherits from parameter space.

    .. math:: \langle V, V' \rangle = \sum_p \mathrm{tr}(V_p^T V'_p)

    Parameters
    ----------
    space : BalancedManifold

    References
    ----------
    [MY25]; THEORY 2.
    """

    def exp(self, tangent_vec: Array, base_point: Array, on_boundary: str = "raise") -> Array:
        """Return the exponential: the geodesic ``Ẅ = II(Ẇ, Ẇ)`` at time one.

        Parameters
        ----------
        tangent_vec : array-like, shape=[..., *point_shape]
        base_point : array-like, shape=[..., *point_shape]
        on_boundary : str
            What happens if a geodesic reaches the boundary, where a singular value vanishes:
            "raise" a ValueError that names the time, or "nan".

        Returns
        -------
        point : array-like, shape=[..., *point_shape]

        References
        ----------
        THEORY 2; see `dlngeo.core.geodesics.balanced_curves`.
        """
        space = self._space
        factors, velocity = space.to_factors(base_point), space.to_factors(tangent_vec)
        end = balanced_exp(factors, velocity, space.rank, on_boundary=on_boundary)
        return space.from_factors(end)

    def log(self, point: Array, base_point: Array) -> Array:
        """Return the logarithm: the velocity of a geodesic to a point.

        It starts from the chord: among several geodesics it finds one that is near to it,
        not always the shortest.

        Parameters
        ----------
        point : array-like, shape=[..., *point_shape]
        base_point : array-like, shape=[..., *point_shape]

        Returns
        -------
        tangent_vec : array-like, shape=[..., *point_shape]

        Raises
        ------
        RuntimeError
            If no geodesic was found.

        References
        ----------
        THEORY 2; see `dlngeo.core.geodesics.balanced_logarithm`.
        """
        space = self._space
        factors, ends = space.to_factors(base_point), space.to_factors(point)
        return space.from_factors(balanced_log(factors, ends, space.rank))

    def dist(self, point_a: Array, point_b: Array) -> Array:
        """Return the length of the geodesic found by `log`.

        Parameters
        ----------
        point_a, point_b : array-like, shape=[..., *point_shape]

        Returns
        -------
        dist : array-like, shape=[...]
        """
        space = self._space
        return balanced_dist(space.to_factors(point_a), space.to_factors(point_b), space.rank)

    def squared_dist(self, point_a: Array, point_b: Array) -> Array:
        """Return the square of `dist`.

        Parameters
        ----------
        point_a, point_b : array-like, shape=[..., *point_shape]

        Returns
        -------
        squared_dist : array-like, shape=[...]
        """
        return self.dist(point_a, point_b) ** 2

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
        initial_point : array-like, shape=[..., *point_shape]
        end_point : array-like, shape=[..., *point_shape], optional
        initial_tangent_vec : array-like, shape=[..., *point_shape], optional
        on_boundary : str
            As in `exp`.

        Returns
        -------
        path : callable
            Times, shape=[n_times], to points, shape=[..., n_times, *point_shape].

        Raises
        ------
        ValueError
            If not exactly one of end point and tangent vector is given.
        """
        velocity = velocity_of(self, initial_point, end_point, initial_tangent_vec)
        space = self._space
        factors, moves = space.to_factors(initial_point), space.to_factors(velocity)
        curve = balanced_geodesic(factors, moves, space.rank, on_boundary=on_boundary)
        return lambda t: space.from_factors(curve.point(gs.to_ndarray(gs.array(t), to_ndim=1)))

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
        tangent_vec : array-like, shape=[..., *point_shape]
            Axes that it has more than the points count vectors along the same geodesics.
        base_point : array-like, shape=[..., *point_shape]
        direction : array-like, shape=[..., *point_shape], optional
            Initial velocity of the geodesic.
        end_point : array-like, shape=[..., *point_shape], optional
            End of the geodesic.

        Returns
        -------
        transported : array-like, shape=[..., *point_shape]

        Raises
        ------
        ValueError
            If not exactly one of direction and end point is given.

        References
        ----------
        THEORY 3; see `dlngeo.core.geodesics.balanced_curves`.
        """
        direction = velocity_of(self, base_point, end_point, direction)
        space = self._space
        factors, moves = space.to_factors(base_point), space.to_factors(direction)
        vectors = space.to_factors(tangent_vec)
        return space.from_factors(balanced_transport(factors, moves, vectors, space.rank))

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
        tangent_vec_a, tangent_vec_b, tangent_vec_c : array-like, shape=[..., *point_shape]
        base_point : array-like, shape=[..., *point_shape]

        Returns
        -------
        curvature : array-like, shape=[..., *point_shape]

        References
        ----------
        THEORY 2 (equation of Gauss).
        """
        space = self._space
        vectors = (tangent_vec_a, tangent_vec_b, tangent_vec_c)
        factors, a, b, c = map(space.to_factors, (base_point, *vectors))
        return space.from_factors(curvature.balanced_curvature(factors, a, b, c, space.rank))

    def sectional_curvature(
        self, tangent_vec_a: Array, tangent_vec_b: Array, base_point: Array
    ) -> Array:
        """Return the sectional curvature of a plane, zero for linearly dependent vectors.

        Parameters
        ----------
        tangent_vec_a, tangent_vec_b : array-like, shape=[..., *point_shape]
        base_point : array-like, shape=[..., *point_shape]

        Returns
        -------
        sectional_curvature : array-like, shape=[...]

        References
        ----------
        THEORY 2 (equation of Gauss).
        """
        space = self._space
        factors, a, b = map(space.to_factors, (base_point, tangent_vec_a, tangent_vec_b))
        return curvature.balanced_sectional_curvature(factors, a, b, space.rank)

    def ricci(self, tangent_vec: Array, base_point: Array) -> Array:
        """Return the Ricci operator, ``⟨Ric(a), c⟩ = Ric(a, c)``.

        Parameters
        ----------
        tangent_vec : array-like, shape=[..., *point_shape]
        base_point : array-like, shape=[..., *point_shape]

        Returns
        -------
        ricci : array-like, shape=[..., *point_shape]

        References
        ----------
        THEORY 2 (equation of Gauss).
        """
        space = self._space
        factors, vector = map(space.to_factors, (base_point, tangent_vec))
        return space.from_factors(curvature.balanced_ricci(factors, vector, space.rank))

    def ricci_tensor(self, base_point: Array) -> Array:
        """Return the matrix of the Ricci tensor, in flattened coordinates of parameter space.

        It is zero on the normal space.

        Parameters
        ----------
        base_point : array-like, shape=[..., *point_shape]

        Returns
        -------
        ricci_tensor : array-like, shape=[..., n_parameters, n_parameters]
        """
        space = self._space
        size = space.embedding_space.dim
        point = base_point[(..., None, *[slice(None)] * space.point_ndim)]
        basis = space.to_tangent(gs.reshape(gs.eye(size), (size, *space.shape)), point)
        batch_shape = get_batch_shape(space.point_ndim, base_point)
        return gs.reshape(self.ricci(basis, point), (*batch_shape, size, size))

    def scalar_curvature(self, base_point: Array) -> Array:
        """Return the scalar curvature, the trace of the Ricci operator.

        Parameters
        ----------
        base_point : array-like, shape=[..., *point_shape]

        Returns
        -------
        scalar_curvature : array-like, shape=[...]

        References
        ----------
        THEORY 2 (equation of Gauss).
        """
        space = self._space
        return curvature.balanced_scalar_curvature(space.to_factors(base_point), space.rank)
