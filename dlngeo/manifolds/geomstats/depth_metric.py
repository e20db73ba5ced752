"""The depth metric ``g^N`` on matrices of fixed rank, as a geomstats metric."""

from collections.abc import Callable
from typing import Any

import geomstats.backend as gs
from geomstats.geometry.manifold import Manifold
from tqdm import tqdm

from dlngeo.core.base.arrays import Array
from dlngeo.core.base.checks import flag
from dlngeo.core.depth_metric import curvature, metric, ricci_operator
from dlngeo.core.depth_metric.weights import index_degree
from dlngeo.core.geodesics import (
    conjugate_points,
    distance_matrix,
    exponential,
    injectivity,
    logarithm,
    observable_curves,
    transport,
)
from dlngeo.manifolds.geomstats.checks import check_shape
from dlngeo.manifolds.geomstats.geodesic_metric import kernel
from dlngeo.manifolds.geomstats.observable_metric import ObservableMetric
from dlngeo.thermodynamics import volume

_ON_BOUNDARY = ("raise", "nan", "cross")


class DepthMetric(ObservableMetric):
    r"""Metric that training a balanced network of depth ``N`` puts on its matrices.

    .. math:: g^N_X(Z, Z') = \mathrm{tr}(Z^T A_{N,X}^{-1} Z'), \quad
              A_{N,X}(P) = \sum_{p=1}^{N} (XX^T)^{(N-p)/N} P (X^TX)^{(p-1)/N}

    Depth 1 is the Euclidean metric, and depth 2 on positive definite matrices is twice
    the Bures–Wasserstein metric. At infinite depth the metric is scaled by ``N``.

    `log` and `dist` are those of the shortest geodesic found; `dlngeo.core.geodesics.connect` says
    where it is proved that no path is shorter.

    Parameters
    ----------
    space : FixedRankMatrices
    depth : int or inf
        Depth ``N ≥ 1``; infinity for square matrices of full rank only.
    on_boundary : str
        What all methods do at the boundary if nothing else is said. "raise" an error, if a geodesic
        ends there, or if no path joins two matrices, whose determinants have opposite signs; or
        "nan", with a `log` of NaN and a `dist` of infinity. "cross": the metric of the completed
        space of square matrices, the Euclidean one at depth one. See
        `dlngeo.core.geodesics.geodesic` and `dlngeo.core.geodesics.connect`.

    Raises
    ------
    ValueError
        If the space is another one, the depth is no positive integer, or infinite where the
        metric does not exist, or there is no such word.

    References
    ----------
    [BRTW22]; [MY25]; [CMV22] for infinite depth; [Che25] for geodesics; THEORY 3; see
    `dlngeo.core.depth_metric` and `dlngeo.core.geodesics`.
    """

    def __init__(self, space: Manifold, depth: float, on_boundary: str = "raise"):
        super().__init__(space=space)
        metric.check_observable(gs.eye(*space.shape), depth, space.rank)
        if on_boundary not in _ON_BOUNDARY:
            raise ValueError(
                f"on_boundary is one of {', '.join(_ON_BOUNDARY)}, got {on_boundary!r}."
            )
        self.depth, self.on_boundary = depth, on_boundary
        self._degree = index_degree(depth)

    @property
    def _parameters(self) -> tuple[Any, ...]:
        return self.depth, self._space.rank

    _raise_index = kernel(metric.raise_index)
    _lower_index = kernel(metric.lower_index)
    _exp = kernel(exponential.exp)
    _geodesic = kernel(observable_curves.geodesic)
    _curvature = kernel(curvature.riemann_curvature)
    _sectional_curvature = kernel(curvature.sectional_curvature)

    def _at_boundary(self, function: Callable, *arrays: Array) -> Array:
        return self._apply(function, *arrays, on_boundary=self.on_boundary)

    def _log(self, base_point: Array, point: Array) -> Array:
        return self._at_boundary(logarithm.log, base_point, point)

    def _transport(self, base_point: Array, direction: Array, vector: Array) -> Array:
        return self._at_boundary(transport.parallel_transport, base_point, direction, vector)

    def conjugate_times(self, tangent_vec: Array, base_point: Array) -> Array:
        """Return the times up to one at which geodesics are conjugate to their base points.

        A geodesic with such a time below one is not the shortest path to its end. See
        `dlngeo.core.geodesics.conjugate_times`.

        Parameters
        ----------
        tangent_vec : array-like, shape=[..., m, n]
            Initial velocities.
        base_point : array-like, shape=[..., m, n]

        Returns
        -------
        times : array-like, shape=[..., k]
            In ascending order, each as often as Jacobi fields vanish; then infinity.
        """
        return self._at_boundary(conjugate_points.conjugate_times, base_point, tangent_vec)

    def injectivity_bound(self, base_point: Array) -> Array:
        """Return a radius within which no two geodesics from a point meet.

        It is proved, and less than the radius of injectivity, which is not known. See
        `dlngeo.core.geodesics.injectivity_bound`.

        Parameters
        ----------
        base_point : array-like, shape=[..., m, n]

        Returns
        -------
        radius : array-like, shape=[...]
        """
        return self._apply(injectivity.injectivity_bound, base_point)

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

    def dist(self, point_a: Array, point_b: Array) -> Array:
        return self._at_boundary(logarithm.dist, point_a, point_b)

    def dist_pairwise(
        self, points: Array, n_jobs: int = 1, *, progress: bool = False, **joblib_kwargs: Any
    ) -> Array:
        """Return the distances between all pairs of points.

        Pairs are searched for in batches, which no jobs share: the arguments for joblib, which
        geomstats passes, change nothing.

        Parameters
        ----------
        points : array-like, shape=[k, m, n]
        progress : bool
            Whether to show a progress bar.

        Returns
        -------
        distances : array-like, shape=[k, k]
            NaN where no geodesic was found.
        """
        points = check_shape(points, self._space.shape)
        total = len(points) * (len(points) - 1) // 2
        is_quiet = not flag(progress, "progress")
        with tqdm(desc="pairs", total=total, disable=is_quiet, leave=False) as bar:
            return self._apply(distance_matrix.dist_pairwise, points, advance=bar.update)

    def squared_dist(self, point_a: Array, point_b: Array) -> Array:
        return self._at_boundary(logarithm.squared_dist, point_a, point_b)

    def ricci(self, tangent_vec: Array, base_point: Array) -> Array:
        """Return the Ricci operator, shape=[..., m, n]."""
        return self._apply(ricci_operator.ricci, base_point, tangent_vec)

    def ricci_tensor(self, base_point: Array) -> Array:
        return self._matrix_of(
            lambda basis, point: self.flat(self.ricci(basis, point), point), base_point
        )

    def scalar_curvature(self, base_point: Array) -> Array:
        return self._apply(ricci_operator.scalar_curvature, base_point)
