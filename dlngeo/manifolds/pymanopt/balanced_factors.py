"""Balanced factors of a deep linear network, as a pymanopt manifold."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy
from pymanopt.manifolds.manifold import RiemannianSubmanifold

from dlngeo.core.balanced import submanifold as core
from dlngeo.core.base.arrays import Array
from dlngeo.core.base.vectors import Layers
from dlngeo.core.geodesics.balanced_curves import balanced_exp
from dlngeo.core.geodesics.balanced_logarithm import balanced_dist, balanced_log
from dlngeo.core.networks.balancing import balance
from dlngeo.core.networks.factors import check_widths
from dlngeo.core.networks.frames import BalancedFrames
from dlngeo.manifolds.pymanopt.manifold_methods import ManifoldMethods, arrays_of, random_frames


class BalancedFactors(ManifoldMethods, RiemannianSubmanifold):
    r"""Manifold of balanced factors of a deep linear network, of fixed rank.

    Factors ``W_p`` of shapes ``(d_p, d_{p-1})``, ``p = 1, ..., N``, with

    .. math:: W_{p+1}^T W_{p+1} = W_p W_p^T, \quad \mathrm{rank}(W_N \cdots W_1) = r,

    and the metric of parameter space, ``⟨V, V'⟩ = Σ_p tr(V_pᵀ V'_p)``. Every gradient flow of a
    loss of the end-to-end matrix stays on it; other losses of the factors are as welcome.

    A cost takes the ``N`` factors as arguments, ``W_1`` first. Points and tangent vectors are
    tuples of ``N`` arrays with the operations of a vector space (`Layers`); a network of one
    layer is its matrix, as pymanopt has it. The manifold ends where a singular value vanishes.

    Parameters
    ----------
    widths : sequence of int
        Widths ``(d_0, ..., d_N)``, in the order in which data flow.
    rank : int, optional
        Rank ``r``, the smallest width by default.

    Raises
    ------
    ValueError
        If the rank does not fit the widths. The methods raise it for points that are not balanced
        or of another rank.

    References
    ----------
    [MY25]; [BRTW22]; THEORY 2; see `dlngeo.core.balanced` and `dlngeo.core.geodesics`.
    """

    def __init__(self, widths: Sequence[int], rank: int | None = None):
        self.widths, self.rank = check_widths(widths, rank)
        self.depth = len(self.widths) - 1
        self._shapes = list(zip(self.widths[1:], self.widths[:-1], strict=True))
        super().__init__(
            f"Manifold of balanced factors of widths {self.widths} and rank {self.rank}",
            core.dimension(self.widths, self.rank),
            point_layout=self.depth,
        )

    @property
    def typical_dist(self) -> float:
        """Norm of balanced factors with singular values one."""
        return math.sqrt(self.rank * self.depth)

    # Between arrays of pymanopt and layers of the core.

    def _layers(self, factors: Any) -> Layers:
        layers = (factors,) if self.depth == 1 else factors
        return Layers(arrays_of(layers, self._shapes, "factors, W_1 first,"))

    def _factors(self, layers: Sequence[Array]) -> Any:
        return layers[0] if self.depth == 1 else Layers(layers)

    def _apply(self, kernel: Callable, *points: Any) -> Any:
        return self._factors(kernel(*map(self._layers, points), self.rank))

    # The metric.

    def inner_product(self, point: Any, tangent_vector_a: Any, tangent_vector_b: Any) -> float:
        """Return ``Σ_p tr(V_pᵀ V'_p)``."""
        layers = self._layers(tangent_vector_a), self._layers(tangent_vector_b)
        return sum(float(numpy.vdot(a, b)) for a, b in zip(*layers, strict=True))

    def dist(self, point_a: Any, point_b: Any) -> float:
        """Return the length of the geodesic that `log` finds."""
        return float(balanced_dist(self._layers(point_a), self._layers(point_b), self.rank))

    # Tangent vectors.

    def projection(self, point: Any, vector: Any) -> Any:
        return self._apply(core.tangent_projection, point, vector)

    to_tangent_space = projection

    def zero_vector(self, point: Any) -> Any:
        return self._factors([numpy.zeros(shape) for shape in self._shapes])

    def random_point(self) -> Any:
        """Sample frames uniformly, and singular values of the product uniformly in [0, 1]."""
        frames, sigma = random_frames(self.widths, self.rank)
        return self._factors(BalancedFrames(tuple(frames), sigma ** (1 / self.depth)).layers)

    def random_tangent_vector(self, point: Any) -> Any:
        """Sample a unit vector, uniformly."""
        vector = self._factors([numpy.random.normal(size=shape) for shape in self._shapes])
        vector = self.projection(point, vector)
        return vector / self.norm(point, vector)

    # Derivatives of costs; the gradient is the projection.

    def weingarten(self, point: Any, tangent_vector: Any, normal_vector: Any) -> Any:
        """Return the Weingarten map, ``⟨S_n(V), Y⟩ = ⟨n, II(V, Y)⟩``.

        A tangent part of the normal vector is ignored.
        """
        return self._apply(core.weingarten_map, point, tangent_vector, normal_vector)

    def euclidean_to_riemannian_hessian(
        self, point: Any, euclidean_gradient: Any, euclidean_hessian: Any, tangent_vector: Any
    ) -> Any:
        """Return the Hessian along a tangent vector, ``P(D²f V) + S_{∇f}(V)``."""
        bent = self.weingarten(point, tangent_vector, euclidean_gradient)
        return self.projection(point, euclidean_hessian) + bent

    # Moves.

    def retraction(self, point: Any, tangent_vector: Any) -> Any:
        """Return ``bal(W + V)``, which follows the geodesic to second order.

        Raises
        ------
        ValueError
            If the product of the factors ``W + V`` has a lower rank.
        """
        moved = self._layers(point) + self._layers(tangent_vector)
        return self._factors(balance(moved, self.rank))

    def exp(self, point: Any, tangent_vector: Any) -> Any:
        return self._apply(balanced_exp, point, tangent_vector)

    def log(self, point_a: Any, point_b: Any) -> Any:
        return self._apply(balanced_log, point_a, point_b)
