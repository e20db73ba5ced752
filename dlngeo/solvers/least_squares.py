r"""Least squares problems of deep linear networks, for the optimisers of pymanopt.

Gradient and Hessian are in closed form: through no singular value decomposition, and with
residuals as sparse as the data.
"""

import abc
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy
import pymanopt
from pymanopt.manifolds import Euclidean
from pymanopt.manifolds.manifold import Manifold
from sklearn.utils.extmath import randomized_svd

from dlngeo.core.base.arrays import Array
from dlngeo.core.base.checks import finite, instance
from dlngeo.core.base.vectors import Layers
from dlngeo.core.networks.balancing import factors_over
from dlngeo.core.networks.frames import SingularFrames
from dlngeo.core.networks.network import partial_products
from dlngeo.losses.linear_measurements import LeastSquares
from dlngeo.manifolds.pymanopt.balanced_factors import BalancedFactors
from dlngeo.manifolds.pymanopt.deep_fixed_rank import DeepFixedRank, FactoredPoint
from dlngeo.manifolds.pymanopt.geomstats_spaces import GeomstatsManifold
from dlngeo.manifolds.pymanopt.points import rank_of

Point = Sequence[Array]
"""The arrays of a point, or of a tangent vector."""

VALUE: frozenset[int] = frozenset()
CHANGE = frozenset({0})
"""Keys of `partial_products`: a product of layers, and its derivative along a vector."""


class _Points(abc.ABC):
    """How the points of a manifold stand for matrices ``X``."""

    @abc.abstractmethod
    def at(self, frames: SingularFrames) -> Any:
        """Return the point of a matrix."""

    @abc.abstractmethod
    def measure(self, loss: LeastSquares, point: Point) -> Array:
        """Return ``𝓐(X)``."""

    @abc.abstractmethod
    def measure_change(self, loss: LeastSquares, point: Point, vector: Point) -> Array:
        """Return the derivative of `measure` along a vector."""

    def pull(self, point: Point, gradient: Any) -> Any:
        """Return the derivative by the point, given the one by ``X``."""
        return gradient

    def pull_change(self, point: Point, vector: Point, gradient: Any, change: Any) -> Any:
        """Return the derivative of `pull` along a vector, along which the gradient changes too."""
        return self.pull(point, change)


class _Matrices(_Points):
    """Points that are the matrices themselves."""

    def at(self, frames: SingularFrames) -> Array:
        return frames.with_values(frames.sigma)

    def measure(self, loss: LeastSquares, point: Point) -> Array:
        return loss.measure(point[0])

    def measure_change(self, loss: LeastSquares, point: Point, vector: Point) -> Array:
        return loss.measure(vector[0])

    def pull(self, point: Point, gradient: Any) -> Array:
        return gradient if isinstance(gradient, numpy.ndarray) else gradient.toarray()


class _Frames(_Points):
    """Points ``(u, s, vt)``, of a manifold that takes derivatives by ``X``."""

    def at(self, frames: SingularFrames) -> FactoredPoint:
        return FactoredPoint(frames.left, frames.sigma, frames.right.T)

    def measure(self, loss: LeastSquares, point: Point) -> Array:
        u, s, vt = point
        return loss.measure_product(u * s, vt.T)

    def measure_change(self, loss: LeastSquares, point: Point, vector: Point) -> Array:
        (u, s, vt), (u_dot, s_dot, vt_dot) = point, vector
        left = numpy.concatenate([u_dot * s + u * s_dot, u * s], axis=1)
        return loss.measure_product(left, numpy.concatenate([vt, vt_dot]).T)


class _Factors(_Points):
    """Points ``(W_1, ..., W_N)``, ``N ≥ 2``; ``X`` is cut in two at the narrowest layer."""

    def __init__(self, widths: Sequence[int]):
        self.widths = widths
        self.cut = 1 + int(numpy.argmin(widths[1:-1]))

    def at(self, frames: SingularFrames) -> Layers:
        return Layers(factors_over(frames, self.widths))

    def measure(self, loss: LeastSquares, point: Point) -> Array:
        before, after = partial_products(point)
        return loss.measure_product(after[self.cut - 1][VALUE], before[self.cut][VALUE].T)

    def measure_change(self, loss: LeastSquares, point: Point, vector: Point) -> Array:
        before, after = partial_products(point, vector)
        left, right = after[self.cut - 1], before[self.cut]
        return loss.measure_product(
            numpy.concatenate([left[CHANGE], left[VALUE]], axis=1),
            numpy.concatenate([right[VALUE], right[CHANGE]]).T,
        )

    def pull(self, point: Point, gradient: Any) -> Layers:
        products = zip(*partial_products(point), strict=True)
        return Layers(
            _sandwich(after[VALUE], gradient, before[VALUE]) for before, after in products
        )

    def pull_change(self, point: Point, vector: Point, gradient: Any, change: Any) -> Layers:
        result = []
        for before, after in zip(*partial_products(point, vector), strict=True):
            total = _sandwich(after[VALUE], change, before[VALUE])
            if CHANGE in after:
                total = total + _sandwich(after[CHANGE], gradient, before[VALUE])
            if CHANGE in before:
                total = total + _sandwich(after[VALUE], gradient, before[CHANGE])
            result.append(total)
        return Layers(result)


def _sandwich(after: Array | None, gradient: Any, before: Array | None) -> Array:
    """Return ``W_{>p}ᵀ G W_{<p}ᵀ``, where ``G`` may be sparse."""
    if before is None:
        return (gradient.T @ after).T
    columns = gradient @ before.T
    return columns if after is None else after.T @ columns


def _points_of(manifold: Manifold, loss: LeastSquares) -> _Points:
    instance(manifold, Manifold, "the manifold")
    if isinstance(manifold, DeepFixedRank):
        shape: tuple[int, ...] = (manifold.m, manifold.n)
        points: _Points = _Frames()
    elif isinstance(manifold, BalancedFactors):
        shape = manifold.widths[-1], manifold.widths[0]
        points = _Matrices() if len(manifold.widths) == 2 else _Factors(manifold.widths)
    elif manifold.point_layout == 1:
        shape = numpy.shape(manifold.random_point())
        points = _Matrices()
    else:
        raise ValueError(
            "a least squares problem needs a manifold of matrices, DeepFixedRank or "
            f"BalancedFactors; got {manifold}. Write the cost as a pymanopt function instead."
        )
    if shape != loss.shape:
        raise ValueError(
            f"the manifold holds matrices of shape {shape}, but the loss is a function of "
            f"matrices of shape {loss.shape}."
        )
    return points


class _Evaluation(NamedTuple):
    point: Point
    cost: float
    gradient: Any


class LeastSquaresProblem(pymanopt.Problem):
    """Minimisation of a loss of the end-to-end matrix over a manifold.

    Parameters
    ----------
    manifold : DeepFixedRank, BalancedFactors, or a manifold whose points are matrices
    loss : LeastSquares
        One of `dlngeo.losses`, of NumPy arrays.

    Raises
    ------
    ValueError
        If the shapes differ, or points of the manifold do not stand for matrices.
    """

    def __init__(self, manifold: Manifold, loss: LeastSquares):
        self.loss = loss = instance(loss, LeastSquares, "the loss")
        if not isinstance(loss.data, numpy.ndarray):
            raise ValueError(
                f"problems run on NumPy's arrays, but the data of the loss are a "
                f"{type(loss.data).__name__}: convert them by numpy.asarray."
            )
        self._points = points = _points_of(manifold, loss)
        self._known: list[_Evaluation] = []
        function = pymanopt.function.numpy(manifold)

        def cost(*point: Array) -> float:
            return self._evaluation(point).cost

        def gradient(*point: Array) -> Any:
            return points.pull(point, self._evaluation(point).gradient)

        def hessian(*arrays: Array) -> Any:
            point, vector = arrays[: len(arrays) // 2], arrays[len(arrays) // 2 :]
            change = loss.pull(points.measure_change(loss, point, vector))
            return points.pull_change(point, vector, self._evaluation(point).gradient, change)

        super().__init__(
            manifold,
            function(cost),
            euclidean_gradient=function(gradient),
            euclidean_hessian=function(hessian),
        )

    def _evaluation(self, point: Point) -> _Evaluation:
        """Return cost and gradient by ``X``; optimisers ask for those of two points in turn."""
        for known in self._known:
            if all(a is b for a, b in zip(known.point, point, strict=True)):
                return known
        residual = self._points.measure(self.loss, point) - self.loss.data
        found = _Evaluation(point, float(self.loss.value(residual)), self.loss.pull(residual))
        self._known = [found, *self._known[:1]]
        return self._known[0]

    def gradient_scale(self, point: Any) -> float:
        """Return the norm of the gradient of the data alone, from which that of ``E`` is left."""
        arrays = (point,) if self.manifold.point_layout == 1 else point
        covector = self._points.pull(arrays, self.loss.pull(self.loss.data))
        vector = self.manifold.euclidean_to_riemannian_gradient(point, covector)
        return float(self.manifold.norm(point, vector))

    def initial_point(self) -> Any:
        """Return the `spectral_point` if it is one of the manifold, else a random point."""
        manifold = self.manifold
        if isinstance(manifold, GeomstatsManifold):
            point = self.spectral_point()
            return point if manifold.space.belongs(point) else manifold.random_point()
        if isinstance(manifold, DeepFixedRank | BalancedFactors | Euclidean):
            return self.spectral_point()
        return manifold.random_point()

    def spectral_point(self, scale: float = 1.0) -> Any:
        """Return the matrix of leading singular frames of ``𝓐*(b)``, scaled to fit the data best.

        Parameters
        ----------
        scale : float
            Further factor. From a small start, say 0.01, descent at depth two and more learns
            the singular values one after the other: slower where all are alike, but where they
            are not it avoids minima at which one of them has fitted an odd entry.

        Raises
        ------
        ValueError
            If the data are zero, or of lower rank than the manifold.
        """
        scale = finite(scale, "scale")
        rank = rank_of(self.manifold) or min(self.loss.shape)
        data = self.loss.adjoint(self.loss.data)
        left, sigma, right = randomized_svd(data, rank, random_state=0)
        if sigma[-1] <= 1e-12 * sigma[0] or sigma[0] == 0:
            raise ValueError(
                f"the data have a lower rank than {rank}: give an initial point, or a smaller rank."
            )
        measured = self.loss.measure_product(left * sigma, right.T)
        best = numpy.sum(measured * self.loss.data) / numpy.sum(measured**2)
        return self._points.at(SingularFrames(left, scale * best * sigma, right.T))
