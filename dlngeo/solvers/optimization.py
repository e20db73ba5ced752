r"""Riemannian optimisation of deep linear networks, by the optimisers of pymanopt.

`minimize` runs an optimiser on any pymanopt problem, those of `dlngeo.solvers.least_squares` and
others, and returns a result with its history.
"""

import contextlib
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy
import pymanopt
from pymanopt.optimizers import ConjugateGradient, SteepestDescent, TrustRegions
from pymanopt.optimizers.line_search import AdaptiveLineSearcher, BackTrackingLineSearcher
from tqdm import tqdm

from dlngeo.core.base.arrays import Array
from dlngeo.core.base.checks import choice, integer, positive
from dlngeo.manifolds.pymanopt.deep_fixed_rank import FactoredPoint
from dlngeo.outcomes import Outcome, interruptible
from dlngeo.solvers.least_squares import LeastSquaresProblem

LINE_SEARCH_SOLVERS = {
    "conjugate-gradient": (ConjugateGradient, AdaptiveLineSearcher),
    "steepest-descent": (SteepestDescent, BackTrackingLineSearcher),
}
SOLVERS = ("trust-regions", *LINE_SEARCH_SOLVERS)

ROUND_OFF = 1e-14
"""Gradient, relative to that of the data alone, which is zero to round-off."""

VANISHING = 1e-6
"""Smallest singular value, relative to the largest, below which a minimum has lower rank."""


@dataclass(frozen=True, eq=False)
class Minimum(Outcome):
    """Where an optimiser ended, and how it came there.

    It succeeds if the gradient falls to the tolerance.

    Attributes
    ----------
    point : point of the manifold
    cost, gradient_norm : float
        Of the point; the norm is that of the metric.
    costs, gradient_norms, seconds : array, shape=[n_iterations + 1]
        Along the iterations, the first entry at the initial point; the time since the start.
    """

    point: Any
    cost: float
    gradient_norm: float
    costs: Array
    gradient_norms: Array
    seconds: Array

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
        self._last_gradient: tuple[Any, Any] = (None, None)
        self.point: Any = None
        self.history: list[tuple[float, float, float]] = []

    def cost(self, point: Any) -> float:
        value = float(self.problem.cost(point))
        self._last = point, value
        # A trial step may go wild; an infinite cost makes the optimiser take a shorter one.
        return value if math.isfinite(value) else math.inf

    def gradient(self, point: Any) -> Any:
        """Return the gradient, which is not kept in the history."""
        if self._last_gradient[0] is not point:
            self._last_gradient = point, self.problem.riemannian_gradient(point)
        return self._last_gradient[1]

    def riemannian_gradient(self, point: Any) -> Any:
        gradient = self.gradient(point)
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
    choice(solver, "the solver", SOLVERS)
    tolerance = positive(tolerance, "tolerance")
    max_iterations = integer(max_iterations, "max_iterations")
    if initial_point is None:
        is_own = isinstance(problem, LeastSquaresProblem)
        initial_point = problem.spectral_point() if is_own else problem.manifold.random_point()
    bar = tqdm(desc=solver, disable=not progress, leave=False, unit="it")
    watched = _Watched(problem, stop, bar)
    reason = "as asked"
    quiet = numpy.errstate(all="ignore")
    with bar, quiet, interruptible() as interruption, contextlib.suppress(_Stop):
        reason = _run(watched, initial_point, solver, max_iterations, tolerance)
    if watched.point is None:
        raise KeyboardInterrupt
    costs, norms, seconds = (numpy.array(column) for column in zip(*watched.history, strict=True))
    success = "min grad norm" in reason
    status = _status(success, interruption.happened, reason, norms, solver)
    return Minimum(
        point=watched.point,
        cost=float(costs[-1]),
        gradient_norm=float(norms[-1]),
        costs=costs,
        gradient_norms=norms,
        seconds=seconds,
        success=success,
        interrupted=interruption.happened,
        status=status + _rank_note(watched.point),
    )


def _run(watched: _Watched, point: Any, solver: str, max_iterations: int, tolerance: float) -> str:
    """Run an optimiser and return why it stopped."""
    manifold, problem = watched.manifold, watched.problem
    cost = float(problem.cost(point))
    norm = float(manifold.norm(point, watched.gradient(point)))
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
    gradient = watched.gradient(point)
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
