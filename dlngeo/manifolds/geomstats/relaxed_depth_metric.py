"""The metric of relaxed balanced networks on matrices of fixed rank, as a geomstats metric."""

import functools
from collections.abc import Callable, Sequence

from geomstats.geometry.manifold import Manifold

from dlngeo.core.base.arrays import Array
from dlngeo.core.relaxed import geodesics as relaxed_geodesics
from dlngeo.core.relaxed import logarithm as relaxed_logarithm
from dlngeo.core.relaxed import metric as relaxed
from dlngeo.core.relaxed.strings import intrinsic_network
from dlngeo.manifolds.geomstats.checks import check_shape
from dlngeo.manifolds.geomstats.observable_metric import ObservableMetric


class RelaxedDepthMetric(ObservableMetric):
    r"""Metric that training puts on the matrices of a relaxed balanced network.

    For factors with ``W_{p+1}^T W_{p+1} - W_p W_p^T = c_p I``, in the singular frames of ``X``,

    .. math:: g_X(Z, Z') = \sum_{kl} \frac{Z_{kl} Z'_{kl}}{q[m_k, m_l]}, \quad
              q(m) = \prod_{p=1}^{N} (m - τ_p), \; τ_p = \sum_{j \ge p} c_j, \; q(m_k) = σ_k^2

    with the divided differences of ``q`` and the ``m`` of `dlngeo.core.relaxed.strings`. Zero
    offsets give the `DepthMetric` of depth ``N``. Where the largest ``τ_p`` is that of one ``p``
    alone and no null vector has another ``m``, the metric is complete: matrices of lower rank are
    ordinary points of it, and geodesics and training run through them.

    Parameters
    ----------
    space : FixedRankMatrices
    offsets : sequence of float
        ``c_1, ..., c_{N-1}``.
    widths : sequence of int, optional
        ``(d_0, ..., d_N)``; the hidden layers are as wide as the rank by default.

    Raises
    ------
    ValueError
        If the space is another one, there are no such factors, the operator ``dφ dφ*`` is no
        function of ``X``, or training leaves the matrices of the rank; the message says why.

    Notes
    -----
    Curvature is not implemented.

    References
    ----------
    [MPG25]; THEORY 6.
    """

    def __init__(
        self, space: Manifold, offsets: Sequence[float], widths: Sequence[int] | None = None
    ):
        super().__init__(space=space)
        self.network = intrinsic_network(offsets, space.shape, widths, space.rank)

    @property
    def depth(self) -> int:
        """Number of factors."""
        return len(self.network.shifts)

    def flat(self, tangent_vec: Array, base_point: Array) -> Array:
        """Return the covector ``P`` with ``dφ dφ*(P) = Z``.

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
            If the base point has a lower rank and the metric is not complete.

        References
        ----------
        [MPG25]; THEORY 6.
        """
        check_shape(base_point, self._space.shape)
        return relaxed.flat(base_point, tangent_vec, self.network)

    def riemannian_gradient(self, euclidean_gradient: Array, base_point: Array) -> Array:
        """Return the Riemannian gradient ``dφ dφ*(∇E)``.

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
        [MPG25]; THEORY 6.
        """
        check_shape(base_point, self._space.shape)
        return relaxed.sharp(base_point, euclidean_gradient, self.network)

    def _exp(self, point: Array, velocity: Array, on_boundary: str) -> Array:
        return self._curve(point, velocity, on_boundary)(1.0)

    def _curve(self, point: Array, velocity: Array, on_boundary: str) -> Callable[[Array], Array]:
        return functools.partial(
            relaxed_geodesics.path, point, velocity, self.network, on_boundary=on_boundary
        )

    def _transport(self, point: Array, direction: Array, vector: Array) -> Array:
        return relaxed_geodesics.parallel_transport(point, direction, vector, self.network)

    def log(self, point: Array, base_point: Array) -> Array:
        """Return the logarithm: the velocity of a geodesic found to a point.

        Parameters
        ----------
        point : array-like, shape=[..., m, n]
        base_point : array-like, shape=[..., m, n]

        Returns
        -------
        tangent_vec : array-like, shape=[..., m, n]

        Raises
        ------
        RuntimeError
            If none was found.

        References
        ----------
        See `dlngeo.core.relaxed.logarithm`.
        """
        check_shape(base_point, self._space.shape)
        return relaxed_logarithm.log(base_point, point, self.network)

    def curvature(self, *_: Array, **__: Array) -> Array:
        """Refuse: not implemented.

        Raises
        ------
        NotImplementedError
            Always.
        """
        raise NotImplementedError(
            "the curvature of relaxed balanced networks is not implemented: DepthMetric has that "
            "of balanced ones (zero offsets)."
        )

    sectional_curvature = ricci_tensor = scalar_curvature = curvature
