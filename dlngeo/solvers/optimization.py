r"""Riemannian optimisation of deep linear networks, by the optimisers of pymanopt.

`LeastSquaresProblem` is the pymanopt ``Problem`` of a loss of `dlngeo.solvers.losses` on a
manifold, with gradient and Hessian in closed form: through no singular value decomposition, and
with residuals as sparse as the data. `minimize` runs an optimiser on any pymanopt problem and
returns a result with its history.
"""

import abc
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy
import pymanopt
from pymanopt.manifolds.manifold import Manifold
from pymanopt.optimizers import ConjugateGradient, SteepestDescent, TrustRegions
from pymanopt.optimizers.line_search import AdaptiveLineSearcher, BackTrackingLineSearcher
from sklearn.utils.extmath import randomized_svd
from tqdm import tqdm

from dlngeo.core.arrays import Array
from dlngeo.core.frames import SingularFrames
from dlngeo.core.network import factors_over
from dlngeo.manifolds.balanced_factors import BalancedFactors
from dlngeo.manifolds.deep_fixed_rank import DeepFixedRank, FactoredPoint
from dlngeo.manifolds.sequences import ArrayTuple
from dlngeo.solvers.losses import LeastSquares

LINE_SEARCH_SOLVERS = {
    "conjugate-gradient": (ConjugateGradient, AdaptiveLineSearcher),
    "steepest-descent": (SteepestDescent, BackTrackingLineSearcher),
}
SOLVERS = ("trust-regions", *LINE_SEARCH_SOLVERS)

ROUND_OFF = 1e-14
"""Gradient, relative to that of the data alone, which is zero to round-off."""

VANISHING = 1e-6
"""Smallest singular value, relative to the largest, below which a minimum has lower rank."""


class _Points(abc.ABC):
    """How the points of a manifold stand for matrices ``X``."""

    @abc.abstractmethod
    def measure(self, loss: LeastSquares, point: Sequence[Array]) -> Array:
        """Return ``𝓐(X)``."""

    @abc.abstractmethod
    def measure_change(
        self, loss: LeastSquares, point: Sequence[Array], vector: Sequence[Array]
    ) -> Array:
        """Return the derivative of `measure` along a vector."""

    @abc.abstractmethod
    def pull(self, point: Sequence[Array], gradient: Any) -> Any:
        """Return the derivative by the point, given the one by ``X``."""

    @abc.abstractmethod
    def pull_change(
        self, point: Sequence[Array], vector: Sequence[Array], gradient: Any, change: Any
    ) -> Any:
        """Return the derivative of `pull` along a vector."""

    @abc.abstractmethod
    def at(self, frames: SingularFrames) -> Any:
        """Return the point of a matrix."""


class _Matrices(_Points):
    """Points that are the matrices themselves."""

    def measure(self, loss: LeastSquares, point: Sequence[Array]) -> Array:
        return loss.measure(point[0])

    def measure_change(
        self, loss: LeastSquares, point: Sequence[Array], vector: Sequence[Array]
    ) -> Array:
        return loss.measure(vector[0])

    def pull(self, point: Sequence[Array], gradient: Any) -> Array:
        return gradient if isinstance(gradient, numpy.ndarray) else gradient.toarray()

    def pull_change(
        self, point: Sequence[Array], vector: Sequence[Array], gradient: Any, change: Any
    ) -> Array:
        return self.pull(point, change)

    def at(self, frames: SingularFrames) -> Array:
        return frames.with_values(frames.sigma)


class _Frames(_Points):
    """Points ``(u, s, vt)``, of a manifold that takes derivatives by ``X``."""

    def measure(self, loss: LeastSquares, point: Sequence[Array]) -> Array:
        u, s, vt = point
        return loss.measure_product(u * s, vt.T)

    def measure_change(
        self, loss: LeastSquares, point: Sequence[Array], vector: Sequence[Array]
    ) -> Array:
        (u, s, vt), (u_dot, s_dot, vt_dot) = point, vector
        left = numpy.concatenate([u_dot * s + u * s_dot, u * s], axis=1)
        return loss.measure_product(left, numpy.concatenate([vt, vt_dot]).T)

    def pull(self, point: Sequence[Array], gradient: Any) -> Any:
        return gradient

    def pull_change(
        self, point: Sequence[Array], vector: Sequence[Array], gradient: Any, change: Any
    ) -> Any:
        return change

    def at(self, frames: SingularFrames) -> FactoredPoint:
        return FactoredPoint(frames.left, frames.sigma, frames.right.T)


class _Products(NamedTuple):
    """Products ``W_{<p}`` and ``W_{>p}`` for each layer, None where they are empty."""

    before: list[Any]
    after: list[Any]


class _Factors(_Points):
    """Points ``(W_1, ..., W_N)``, ``N ≥ 2``."""

    def __init__(self, widths: Sequence[int]):
        self.widths = widths
        self.cut = 1 + int(numpy.argmin(widths[1:-1]))

    @staticmethod
    def _products(layers: Sequence[Array]) -> _Products:
        before: list[Any] = [None, layers[0]]
        after: list[Any] = [None, layers[-1]]
        for p in range(1, len(layers)):
            before.append(layers[p] @ before[-1])
            after.append(after[-1] @ layers[-1 - p])
        return _Products(before, after[::-1])

    @staticmethod
    def _moved(layers: Sequence[Array], vector: Sequence[Array], known: _Products) -> _Products:
        """Return the derivatives of the products along a vector."""
        before: list[Any] = [None, vector[0]]
        after: list[Any] = [None, vector[-1]]
        for p in range(1, len(layers)):
            before.append(layers[p] @ before[-1] + vector[p] @ known.before[p])
            after.append(after[-1] @ layers[-1 - p] + known.after[-1 - p] @ vector[-1 - p])
        return _Products(before, after[::-1])

    def measure(self, loss: LeastSquares, point: Sequence[Array]) -> Array:
        before, after = self._products(point)
        return loss.measure_product(after[self.cut], before[self.cut].T)

    def measure_change(
        self, loss: LeastSquares, point: Sequence[Array], vector: Sequence[Array]
    ) -> Array:
        known = self._products(point)
        moved = self._moved(point, vector, known)
        left = numpy.concatenate([moved.after[self.cut], known.after[self.cut]], axis=1)
        right = numpy.concatenate([known.before[self.cut], moved.before[self.cut]])
        return loss.measure_product(left, right.T)

    def pull(self, point: Sequence[Array], gradient: Any) -> ArrayTuple:
        before, after = self._products(point)
        return ArrayTuple(map(_sandwich, after[1:], [gradient] * len(point), before[:-1]))

    def pull_change(
        self, point: Sequence[Array], vector: Sequence[Array], gradient: Any, change: Any
    ) -> ArrayTuple:
        known = self._products(point)
        moved = self._moved(point, vector, known)
        result = []
        for p in range(len(point)):
            after, before = known.after[p + 1], known.before[p]
            total = _sandwich(after, change, before)
            if after is not None:
                total = total + _sandwich(moved.after[p + 1], gradient, before)
            if before is not None:
                total = total + _sandwich(after, gradient, moved.before[p])
            result.append(total)
        return ArrayTuple(result)

    def at(self, frames: SingularFrames) -> ArrayTuple:
        return ArrayTuple(factors_over(frames, self.widths))


def _sandwich(after: Array | None, gradient: Any, before: Array | None) -> Array:
    """Return ``W_{>p}ᵀ G W_{<p}ᵀ``, where ``G`` may be sparse."""
    if before is None:
        return (gradient.T @ after).T
    columns = gradient @ before.T
    return columns if after is None else after.T @ columns


def _points_of(manifold: Manifold, loss: LeastSquares) -> _Points:
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
    point: Sequence[Array]
    cost: float
    gradient: Any


class LeastSquaresProblem(pymanopt.Problem):
    """Minimisation of a loss of the end-to-end matrix over a manifold.

    Parameters
    ----------
    manifold : DeepFixedRank, BalancedFactors, or a manifold whose points are matrices
    loss : LeastSquares
        One of `dlngeo.solvers.losses`, of NumPy arrays.

    Raises
    ------
    ValueError
        If the shapes differ, or points of the manifold do not stand for matrices.
    """

    def __init__(self, manifold: Manifold, loss: LeastSquares):
        self.loss = loss
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

    def _evaluation(self, point: Sequence[Array]) -> _Evaluation:
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
        rank = getattr(self.manifold, "rank", min(self.loss.shape))
        data = self.loss.adjoint(self.loss.data)
        left, sigma, right = randomized_svd(data, rank, random_state=0)
        if sigma[-1] <= 1e-12 * sigma[0] or sigma[0] == 0:
            raise ValueError(
                f"the data have a lower rank than {rank}: give an initial point, or a smaller rank."
            )
        measured = self.loss.measure_product(left * sigma, right.T)
        best = numpy.sum(measured * self.loss.data) / numpy.sum(measured**2)
        return self._points.at(SingularFrames(left, scale * best * sigma, right.T))


@dataclass(frozen=True, eq=False)
class Minimum:
    """Where an optimiser ended, and how it came there.

    Attributes
    ----------
    point : point of the manifold
    cost, gradient_norm : float
        Of the point; the norm is that of the metric.
    costs, gradient_norms, seconds : array, shape=[n_iterations + 1]
        Along the iterations, the first entry at the initial point; the time since the start.
    success : bool
        Whether the gradient fell to the tolerance.
    interrupted : bool
        Whether the keyboard stopped it.
    status : str
        How it ended, and what to do if it did not succeed.
    """

    point: Any
    cost: float
    gradient_norm: float
    costs: Array
    gradient_norms: Array
    seconds: Array
    success: bool
    interrupted: bool
    status: str

    @property
    def n_iterations(self) -> int:
        """Number of points after the initial one."""
        return len(self.costs) - 1


class _Stop(Exception):
    """Raised to leave an optimiser, which has no other way out."""


class _Watched:
    """A problem that keeps the history of the points at which gradients are taken.

    Optimisers take one gradient at each point that they accept, after its cost.
    """

    def __init__(
        self,
        problem: pymanopt.Problem,
        stop: Callable[[Any, float], bool] | None,
        bar: Any,
    ):
        self.manifold, self.preconditioner = problem.manifold, problem.preconditioner
        self.riemannian_hessian = problem.riemannian_hessian
        self.problem, self._stop, self._bar = problem, stop, bar
        self._started = time.perf_counter()
        self._last: tuple[Any, float] = (None, math.nan)
        self.point: Any = None
        self.history: list[tuple[float, float, float]] = []

    def cost(self, point: Any) -> float:
        value = float(self.problem.cost(point))
        self._last = point, value
        # A trial step may go wild; an infinite cost makes the optimiser take a shorter one.
        return value if math.isfinite(value) else math.inf

    def riemannian_gradient(self, point: Any) -> Any:
        gradient = self.problem.riemannian_gradient(point)
        if point is self.point:  # a new start, or a line search that gave up
            return gradient
        cost = self._last[1] if self._last[0] is point else self.cost(point)
        norm = float(self.manifold.norm(point, gradient))
        self.point = point
        self.history.append((cost, norm, time.perf_counter() - self._started))
        self._bar.set_postfix(cost=f"{cost:.3e}", gradient=f"{norm:.1e}", refresh=False)
        self._bar.update()
        if self._stop is not None and self._stop(point, cost):
            raise _Stop
        return gradient


def minimize(
    problem: pymanopt.Problem,
    initial_point: Any = None,
    *,
    solver: str = "trust-regions",
    max_iterations: int = 1000,
    tolerance: float = 1e-6,
    stop: Callable[[Any, float], bool] | None = None,
    progress: bool = False,
) -> Minimum:
    """Minimise a cost over a manifold by an optimiser of pymanopt.

    Parameters
    ----------
    problem : pymanopt.Problem
        A `LeastSquaresProblem`, or any other, with derivatives by autograd, PyTorch or JAX
        through pymanopt's function decorators.
    initial_point : point of the manifold, optional
        By default the `LeastSquaresProblem.spectral_point`, or a random point.
    solver : str
        "trust-regions", of second order, "conjugate-gradient" or "steepest-descent".
    max_iterations : int
    tolerance : float
        Ends when the norm of the gradient has fallen to this part of the first one, or to
        round-off in a least squares problem.
    stop : callable, optional
        ``stop(point, cost)`` is called at each iteration; if it is true, that point is the
        result.
    progress : bool
        Whether to show a progress bar.

    Returns
    -------
    minimum : Minimum
        Also after an interrupt by the keyboard: pass its point as the initial one to go on.

    Raises
    ------
    ValueError
        If the solver is unknown, the tolerance not positive, or cost or gradient are not finite
        at the initial point.
    """
    if solver not in SOLVERS:
        raise ValueError(f"the solver must be one of {', '.join(SOLVERS)}; got {solver!r}.")
    if not tolerance > 0 or max_iterations < 1:
        raise ValueError(
            f"tolerance and max_iterations must be positive, got {tolerance} and {max_iterations}."
        )
    if initial_point is None:
        is_own = isinstance(problem, LeastSquaresProblem)
        initial_point = problem.spectral_point() if is_own else problem.manifold.random_point()
    bar = tqdm(desc=solver, disable=not progress, leave=False, unit="it")
    watched = _Watched(problem, stop, bar)
    interrupted, reason = False, "as asked"
    with bar, numpy.errstate(all="ignore"):
        try:
            reason = _run(watched, initial_point, solver, max_iterations, tolerance)
        except _Stop:
            pass
        except KeyboardInterrupt:
            if watched.point is None:
                raise
            interrupted = True
    costs, norms, seconds = (numpy.array(column) for column in zip(*watched.history, strict=True))
    success = "min grad norm" in reason
    status = _status(success, interrupted, reason, norms, solver)
    return Minimum(
        point=watched.point,
        cost=float(costs[-1]),
        gradient_norm=float(norms[-1]),
        costs=costs,
        gradient_norms=norms,
        seconds=seconds,
        success=success,
        interrupted=interrupted,
        status=status + _rank_note(watched.point),
    )


def _run(watched: _Watched, point: Any, solver: str, max_iterations: int, tolerance: float) -> str:
    """Run an optimiser and return why it stopped."""
    manifold, problem = watched.manifold, watched.problem
    cost = float(problem.cost(point))
    norm = float(manifold.norm(point, problem.riemannian_gradient(point)))
    if not (math.isfinite(cost) and math.isfinite(norm)):
        raise ValueError(
            f"cost {cost} and norm of the gradient {norm} at the initial point must be finite: "
            "check the data and the cost, or start elsewhere."
        )
    least = 0.0
    if isinstance(problem, LeastSquaresProblem):
        least = ROUND_OFF * problem.gradient_scale(point)
    if norm <= least:
        watched.riemannian_gradient(point)
        return "min grad norm"
    options = {
        "min_gradient_norm": max(tolerance * norm, least),
        "min_step_size": 1e-300,
        "max_time": math.inf,
        "verbosity": 0,
    }
    step = _first_step(watched, point)
    if solver == "trust-regions":
        radius = manifold.typical_dist / 8 if step is None else step
        regions = TrustRegions(max_iterations=max_iterations, **options)
        return regions.run(
            watched, initial_point=point, Delta_bar=math.inf, Delta0=radius
        ).stopping_criterion
    kind, searcher = LINE_SEARCH_SOLVERS[solver]
    while True:
        n_before = len(watched.history)
        # These optimisers count the initial point.
        n_left = max_iterations + 1 - max(n_before - 1, 0)
        search = searcher(initial_step_size=step or 1.0)
        optimizer = kind(line_searcher=search, max_iterations=n_left, **options)
        reason = optimizer.run(watched, initial_point=point).stopping_criterion
        # A line search gives up when its first step is far too long, as where the cost bends away
        # from a saddle. It is worth a new start if it came anywhere.
        if "min step_size" not in reason or len(watched.history) <= max(n_before, 1):
            return reason
        point = watched.point
        step = _first_step(watched, point)


def _first_step(watched: _Watched, point: Any) -> float | None:
    """Return the length of a step along the gradient on which the cost bends.

    To second order it is the way to the minimum, or to the mirror image of a maximum. It brings
    the scale of the problem, which pymanopt's defaults take to be one. None if there is no
    Hessian.
    """
    gradient = watched.problem.riemannian_gradient(point)
    try:
        bent = watched.riemannian_hessian(point, gradient)
    except (NotImplementedError, ValueError):  # ValueError: pymanopt's FixedRankEmbedded
        return None
    norm = float(watched.manifold.norm(point, gradient))
    curvature = abs(float(watched.manifold.inner_product(point, gradient, bent))) / norm**2
    return norm / curvature if curvature > 0 and math.isfinite(curvature) else None


def _status(success: bool, interrupted: bool, reason: str, norms: Array, solver: str) -> str:
    n = len(norms) - 1
    fall = norms[-1] / norms[0] if norms[0] > 0 else 0.0
    where = f"after {n} iterations, with the gradient at {fall:.1e} of the first"
    if success:
        return f"converged {where}."
    if interrupted:
        return f"interrupted {where}: pass the point as initial_point to go on."
    if reason == "as asked":
        return f"stopped as asked {where}."
    if "max iterations" in reason:
        better = "" if solver == "trust-regions" else ", or take solver='trust-regions'"
        return f"not converged {where}: raise max_iterations{better}."
    return (
        f"no further descent {where}: the cost is at round-off, or badly scaled; accept the point "
        "if its cost serves, or loosen the tolerance."
    )


def _rank_note(point: Any) -> str:
    """Tell if the point is near the end of the manifold."""
    if not isinstance(point, FactoredPoint):
        return ""
    ratio = point.s / point.s[0]
    if ratio[-1] >= VANISHING:
        return ""
    rank = int((ratio >= VANISHING).sum())
    return (
        f" The smallest singular value is {ratio[-1]:.1e} of the largest, near the end of the "
        f"manifold: the minimum seems to have rank {rank}; take that rank."
    )
