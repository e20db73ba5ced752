"""The metric of relaxed balanced networks on matrices of fixed rank, as a geomstats metric."""

from collections.abc import Callable, Sequence
from typing import Any

from geomstats.geometry.manifold import Manifold

from dlngeo.core.base.arrays import Array
from dlngeo.core.relaxed import geodesics, logarithm, metric
from dlngeo.core.relaxed.strings import intrinsic_network
from dlngeo.manifolds.geomstats.checks import check_shape
from dlngeo.manifolds.geomstats.geodesic_metric import kernel
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
    Where the metric is complete, indices are lowered at matrices of lower rank too, and geodesics
    have no boundary. Elsewhere they end where a singular value vanishes, and are not continued:
    ``on_boundary`` is "raise" or "nan". `log` is that of a geodesic found, not always the shortest.
    Curvature is not implemented.

    References
    ----------
    [MPG25]; THEORY 6; see `dlngeo.core.relaxed`.
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

    @property
    def _parameters(self) -> tuple[Any, ...]:
        return (self.network,)

    _raise_index = kernel(metric.raise_index)
    _lower_index = kernel(metric.lower_index)
    _log = kernel(logarithm.log)
    _transport = kernel(geodesics.parallel_transport)

    def _exp(self, point: Array, velocity: Array, on_boundary: str) -> Array:
        return self._curve(point, velocity, on_boundary)(1.0)

    def _curve(self, point: Array, velocity: Array, on_boundary: str) -> Callable[[Array], Array]:
        check_shape(point, self._space.shape)
        return geodesics.geodesic(point, velocity, self.network, on_boundary=on_boundary).point

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
