"""Matrices of fixed rank with the depth metric, as a pymanopt manifold."""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy
from pymanopt.manifolds.manifold import Manifold
from scipy.sparse import issparse
from scipy.sparse.linalg import LinearOperator

from dlngeo.core.base.arrays import Array
from dlngeo.core.base.checks import float_array
from dlngeo.core.base.vectors import VectorOperations
from dlngeo.core.depth_metric.metric import check_observable
from dlngeo.core.depth_metric.weights import weights_of
from dlngeo.core.low_rank import matrices as factored
from dlngeo.core.low_rank import svd_costs
from dlngeo.core.networks.blocks import Blocks
from dlngeo.core.networks.factors import check_widths
from dlngeo.core.networks.frames import SingularFrames
from dlngeo.manifolds.pymanopt.manifold_methods import ManifoldMethods, arrays_of, random_frames


class _Point(NamedTuple):
    u: Array
    s: Array
    vt: Array


class _Tangent(NamedTuple):
    Up: Array
    M: Array
    Vp: Array


class FactoredPoint(VectorOperations, _Point):  # type: ignore[misc]
    """Singular frames ``(u, s, vt)`` of a matrix ``u @ diag(s) @ vt``."""


class FactoredTangent(VectorOperations, _Tangent):  # type: ignore[misc]
    """Blocks ``(Up, M, Vp)`` of a tangent vector ``u @ M @ vt + Up @ vt + u @ Vp.T``."""


class DeepFixedRank(ManifoldMethods, Manifold):
    r"""Manifold of ``m × n`` matrices of rank ``r`` with the depth metric ``g^N``.

    Points and tangent vectors are those of pymanopt's FixedRankEmbedded, so that costs written
    for it run unchanged: ``(u, s, vt)`` of shapes ``(m, r)``, ``(r,)``, ``(r, n)`` stands for
    ``X = u @ diag(s) @ vt``, and ``(Up, M, Vp)`` of shapes ``(m, r)``, ``(r, r)``, ``(n, r)``,
    ``uᵀ Up = 0``, ``vt Vp = 0``, for

    .. math:: Z = u M v^T + U_p v^T + u V_p^T.

    Depth one is FixedRankEmbedded's metric. The Riemannian gradient ``A_{N,X}(∇E)`` of depth
    ``N`` is the velocity of the gradient flow of a balanced linear network of that depth.

    Everything stays factored, at ``O((m + n) r²)`` for each operation but `exp`, `log` and
    `dist`, which integrate geodesics in ``2r`` dimensions. Nothing is divided by differences of
    singular values: they may repeat (see `dlngeo.core.low_rank.svd_costs` for costs that are not
    functions of the product). The manifold ends where a singular value vanishes.

    Parameters
    ----------
    m, n : int
        Numbers of rows and columns.
    rank : int
        Rank ``r``; full rank too.
    depth : int or inf
        Depth ``N``; inf for square matrices of full rank.

    Raises
    ------
    ValueError
        If rank or depth do not fit.

    References
    ----------
    [BRTW22]; [Van13] for depth one; THEORY 3; see `dlngeo.core.geodesics`, also for errors of `exp`
    and `log`.
    """

    def __init__(self, m: int, n: int, rank: int, depth: float):
        (self.n, self.m), self.rank = check_widths((n, m), rank)
        check_observable(numpy.broadcast_to(0.0, (self.m, self.n)), depth, self.rank)
        self.depth = depth
        self._shapes = [(self.m, self.rank), (self.rank, self.rank), (self.n, self.rank)]
        self._point_shapes = [(self.m, self.rank), (self.rank,), (self.rank, self.n)]
        super().__init__(
            f"Manifold of {m}x{n} matrices of rank {self.rank} with the metric of depth {depth}",
            self.rank * (self.m + self.n - self.rank),
            point_layout=3,
        )

    @property
    def typical_dist(self) -> float:
        """Norm of balanced factors with singular values one."""
        return math.sqrt(self.rank * (1 if self.depth == math.inf else self.depth))

    # Between arrays of pymanopt and frames and blocks of the core.

    def _frames(self, point: Sequence[Array]) -> SingularFrames:
        u, s, vt = arrays_of(point, self._point_shapes, "a point (u, s, vt)")
        return SingularFrames(u, s, vt.T)

    def _blocks(self, tangent_vector: Sequence[Array]) -> Blocks:
        left, core, right = arrays_of(tangent_vector, self._shapes, "a vector (Up, M, Vp)")
        return Blocks(
            core,
            left if self.m > self.rank else None,
            right.T if self.n > self.rank else None,
        )

    def _vector(self, blocks: Blocks) -> FactoredTangent:
        left, right = blocks.left_null, blocks.right_null
        return FactoredTangent(
            numpy.zeros((self.m, self.rank)) if left is None else left,
            blocks.core,
            numpy.zeros((self.n, self.rank)) if right is None else right.T,
        )

    @staticmethod
    def _point(frames: SingularFrames) -> FactoredPoint:
        return FactoredPoint(frames.left, frames.sigma, frames.right.T)

    # The metric.

    def inner_product(self, point: Any, tangent_vector_a: Any, tangent_vector_b: Any) -> Any:
        """Return ``g^N_X(Z, Z') = tr(Zᵀ A_{N,X}^{-1} Z')``."""
        a, b = self._blocks(tangent_vector_a), self._blocks(tangent_vector_b)
        return factored.inner_product(self._frames(point), a, b, self.depth)

    def dist(self, point_a: Any, point_b: Any) -> float:
        """Return the length of the shortest geodesic found."""
        return factored.dist(self._frames(point_a), self._frames(point_b), self.depth)

    # Tangent vectors.

    def projection(self, point: Any, vector: Any) -> FactoredTangent:
        """Project a matrix on the tangent space, orthogonally for every depth.

        Parameters
        ----------
        point : FactoredPoint
        vector : array, sparse array or linear operator, shape=[m, n], or (U, S, V)
            Three arrays stand for ``U @ S @ V.T``.
        """
        is_product = isinstance(vector, tuple | list)
        vector = self._product(vector) if is_product else self._operator(vector)
        return self._vector(factored.tangent_blocks(self._frames(point), vector))

    def _product(self, factors: Sequence[Any]) -> "_Product":
        shapes = [tuple(getattr(factor, "shape", ())) for factor in factors]
        inner = shapes[1] if len(shapes) == 3 else ()
        if len(inner) != 2 or shapes != [(self.m, inner[0]), inner, (self.n, inner[1])]:
            raise ValueError(
                f"expected three arrays, whose product U @ S @ V.T is {self.m} x {self.n}; got "
                f"shapes {shapes}."
            )
        return _Product(*arrays_of(factors, shapes, "a product"))

    def _operator(self, matrix: Any) -> Any:
        """Return anything of the shape of the matrices that has products."""
        shape = getattr(matrix, "shape", None)
        if shape is not None and tuple(shape) == (self.m, self.n) and hasattr(matrix, "T"):
            is_array = not isinstance(matrix, LinearOperator) and not issparse(matrix)
            return float_array(matrix, "the matrix") if is_array else matrix
        raise ValueError(
            f"expected a matrix, sparse array or linear operator of shape {(self.m, self.n)}, or "
            f"a tuple of arrays, got {type(matrix).__name__} of shape {shape}."
        )

    def to_tangent_space(self, point: Any, vector: Any) -> FactoredTangent:
        """Remove from ``Up`` and ``Vp`` what round-off put along ``u`` and ``v``."""
        u, _, vt = arrays_of(point, self._point_shapes, "a point (u, s, vt)")
        left, core, right = arrays_of(vector, self._shapes, "a vector (Up, M, Vp)")
        return FactoredTangent(left - u @ (u.T @ left), core, right - vt.T @ (vt @ right))

    def embedding(self, point: Any, tangent_vector: Any) -> FactoredPoint:
        """Return a velocity of ``(u, s, vt)`` that moves the product as the tangent vector."""
        blocks = self._blocks(tangent_vector)
        return FactoredPoint(*svd_costs.velocity(self._frames(point), blocks))

    def zero_vector(self, point: Any) -> FactoredTangent:
        return self._vector(self._blocks([numpy.zeros(shape) for shape in self._shapes]))

    def random_point(self) -> FactoredPoint:
        """Sample frames uniformly, and singular values uniformly between zero and one."""
        (u, v), s = random_frames((self.m, self.n), self.rank)
        return FactoredPoint(u, s, v.T)

    def random_tangent_vector(self, point: Any) -> FactoredTangent:
        """Sample a unit vector, uniformly in the metric."""
        vector = FactoredTangent(*[numpy.random.normal(size=shape) for shape in self._shapes])
        frames = self._frames(point)
        blocks = self._blocks(self.to_tangent_space(point, vector))
        vector = self._vector(weights_of(frames.sigma, self.depth).vector(blocks))
        return vector / self.norm(point, vector)

    # Derivatives of costs.

    def euclidean_to_riemannian_gradient(
        self, point: Any, euclidean_gradient: Any
    ) -> FactoredTangent:
        """Return the Riemannian gradient ``A_{N,X}(∇E)``.

        Parameters
        ----------
        point : FactoredPoint
        euclidean_gradient : sequence of arrays, or matrix
            Derivatives of the cost by ``(u, s, vt)``, as autodiff gives them; or its gradient by
            ``X``, anything of shape ``(m, n)`` with products: an array, a sparse array, a
            linear operator.

        Raises
        ------
        ValueError
            If it is not finite, or not determined (`dlngeo.core.low_rank.svd_costs`).
        """
        frames = self._frames(point)
        blocks = self._gradient(frames, euclidean_gradient)
        return self._vector(weights_of(frames.sigma, self.depth).raise_index(blocks))

    def _gradient(self, frames: SingularFrames, gradient: Any) -> Blocks:
        if isinstance(gradient, tuple | list):
            arrays = arrays_of(gradient, self._point_shapes, "a gradient by (u, s, vt)")
            blocks = svd_costs.gradient(frames, arrays)
        else:
            blocks = factored.tangent_blocks(frames, self._operator(gradient))
        if not numpy.isfinite(blocks.core).all():
            raise ValueError(
                "the gradient of the cost is NaN or infinite: check the data and the cost, or "
                "start elsewhere."
            )
        return blocks

    def euclidean_to_riemannian_hessian(
        self, point: Any, euclidean_gradient: Any, euclidean_hessian: Any, tangent_vector: Any
    ) -> FactoredTangent:
        """Return the Riemannian Hessian along a tangent vector.

        Parameters
        ----------
        point : FactoredPoint
        euclidean_gradient, euclidean_hessian : sequences of arrays, or matrices
            The gradient as in `euclidean_to_riemannian_gradient`, and its derivative along
            `embedding` of the tangent vector, of the same kind.
        tangent_vector : FactoredTangent
        """
        frames, tangent = self._frames(point), self._blocks(tangent_vector)
        gradient = self._gradient(frames, euclidean_gradient)
        if isinstance(euclidean_gradient, tuple | list):
            second = svd_costs.hessian(frames, tangent, euclidean_gradient, euclidean_hessian)
        else:
            second = factored.embedded_hessian(
                frames, euclidean_gradient, euclidean_hessian, tangent
            )
        return self._vector(
            factored.riemannian_hessian(frames, gradient, second, tangent, self.depth)
        )

    # Moves.

    def retraction(self, point: Any, tangent_vector: Any) -> FactoredPoint:
        """Move along a tangent vector, to second order as the geodesic does."""
        blocks = self._blocks(tangent_vector)
        return self._point(factored.retraction(self._frames(point), blocks, self.depth))

    def exp(self, point: Any, tangent_vector: Any) -> FactoredPoint:
        blocks = self._blocks(tangent_vector)
        return self._point(factored.exp(self._frames(point), blocks, self.depth))

    def log(self, point_a: Any, point_b: Any) -> FactoredTangent:
        frames = self._frames(point_a), self._frames(point_b)
        return self._vector(factored.log(*frames, self.depth))

    def transport(self, point_a: Any, point_b: Any, tangent_vector_a: Any) -> FactoredTangent:
        """Project a tangent vector on the tangent space at another point."""
        blocks = self._blocks(tangent_vector_a)
        to = self._frames(point_b)
        return self._vector(factored.project_blocks(self._frames(point_a), blocks, to))


class _Product(NamedTuple):
    """The matrix ``U @ S @ V.T``, as an operator."""

    U: Array
    S: Array
    V: Array

    def __matmul__(self, other: Array) -> Array:
        return self.U @ (self.S @ (self.V.T @ other))

    @property
    def T(self) -> "_Product":
        return _Product(self.V, self.S.T, self.U)
