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
from pymanopt.manifolds.manifold import Manifold
from pymanopt.optimizers import ConjugateGradient, SteepestDescent, TrustRegions
from pymanopt.optimizers.line_search import AdaptiveLineSearcher, BackTrackingLineSearcher
from tqdm import tqdm

from dlngeo.core.base.arrays import Array
from dlngeo.core.base.checks import choice, flag, instance, integer, positive
from dlngeo.core.base.functions import optional_function
from dlngeo.manifolds.pymanopt.deep_fixed_rank import FactoredPoint
from dlngeo.manifolds.pymanopt.points import checked_point, hessian_of, rank_of, size_of
from dlngeo.outcomes import Outcome, interruptible
from dlngeo.solvers.least_squares import LeastSquaresProblem

LINE_SEARCH_SOLVERS = {
    "conjugate-gradient": (ConjugateGradient, AdaptiveLineSearcher),
    "steepest-descent": (SteepestDescent, BackTrackingLineSearcher),
}
SOLVERS = ("trust-regions", *LINE_SEARCH_SOLVERS)

ROUND_OFF = 1e-14
"""Gradient, relative to that of the data alone, which is zero to round-off."""

MOST_TRIALS = 60
"""Trial steps in a row of which none is accepted: then they are shorter than round-off."""

AS_ASKED, STALLED, CONVERGED = "as asked", "no step is accepted", "min grad norm"
"""Why a run stops; the last one is pymanopt's."""

LEFT = "left: "
"""What the reason begins with, if an error is it."""

DIFFERENCE = 1e-4
"""Step of a difference of gradients, in units of the size of the point."""

UNBOUNDED = 1e10
"""Fall of the cost, in units of its first value and first fall, which has no lower bound."""

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
    """Raised with the reason to leave an optimiser, which has no other way out."""


class _NoPoint:
    """What a step leads to that leaves the manifold."""


class _CarefulManifold:
    """A manifold whose retraction may lead to no point, where it has none."""

    def __init__(self, manifold: Manifold):
        self._manifold = manifold

    def __getattr__(self, name: str) -> Any:
        return getattr(self._manifold, name)

    def retraction(self, point: Any, tangent_vector: Any) -> Any:
        try:
            return self._manifold.retraction(point, tangent_vector)
        except (ValueError, numpy.linalg.LinAlgError):
            return _NoPoint()


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
        self.manifold = _CarefulManifold(problem.manifold)
        self.preconditioner, self.riemannian_hessian = problem.preconditioner, hessian_of(problem)
        self.problem, self._stop, self._bar = problem, stop, bar
        self._started = time.perf_counter()
        self._last: tuple[Any, float] = (None, math.nan)
        self._last_gradient: tuple[Any, Any] = (None, None)
        self._n_trials = 0
        self.point: Any = None
        self.history: list[tuple[float, float, float]] = []

    def cost(self, point: Any) -> float:
        self._n_trials += 1
        if self._n_trials > MOST_TRIALS:
            raise _Stop(STALLED)
        # A trial step may go wild; an infinite cost makes the optimiser take a shorter one.
        if isinstance(point, _NoPoint):
            return math.inf
        value = float(self.problem.cost(point))
        self._last = point, value
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
        self._n_trials = 0
        self.point = point
        self.history.append((cost, norm, time.perf_counter() - self._started))
        self._bar.set_postfix(cost=f"{cost:.3e}", gradient=f"{norm:.1e}", refresh=False)
        self._bar.update()
        if self._stop is not None and self._stop(point, cost):
            raise _Stop(AS_ASKED)
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
        Ends when the norm of the gradient has fallen to this part of the first one, and of the
        scale of gradients at the point; a start where it is this part of the scale is converged.
        The scale is the gradient of the data alone in a least squares problem, and else that at
        the distance of the point's size, by the curvature along the gradient.
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
    instance(problem, pymanopt.Problem, "problem")
    choice(solver, "the solver", SOLVERS)
    tolerance = positive(tolerance, "tolerance")
    max_iterations = integer(max_iterations, "max_iterations")
    stop, progress = optional_function(stop, "stop"), flag(progress, "progress")
    if initial_point is None:
        is_own = isinstance(problem, LeastSquaresProblem)
        initial_point = problem.initial_point() if is_own else problem.manifold.random_point()
    else:
        initial_point = checked_point(problem.manifold, initial_point)
    bar = tqdm(desc=solver, disable=not progress, leave=False, unit="it")
    watched = _Watched(problem, stop, bar)
    reason = ""
    quiet = numpy.errstate(all="ignore")
    with bar, quiet, interruptible() as interruption:
        try:
            reason = _Run(watched, solver, max_iterations, tolerance).end(initial_point)
        except _Stop as stopped:
            reason = str(stopped)
        except (ValueError, ArithmeticError, numpy.linalg.LinAlgError) as error:
            if watched.point is None:
                raise
            reason = f"{LEFT}{error}"
    if watched.point is None:
        raise KeyboardInterrupt
    costs, norms, seconds = (numpy.array(column) for column in zip(*watched.history, strict=True))
    success = CONVERGED in reason
    n_taken = max_iterations if "max iterations" in reason else len(costs) - 1
    status = _status(success, interruption.happened, reason, costs, norms, n_taken)
    if status.endswith("max_iterations.") and solver != "trust-regions":
        status = status.removesuffix(".") + ", or take solver='trust-regions'."
    return Minimum(
        point=watched.point,
        cost=float(costs[-1]),
        gradient_norm=float(norms[-1]),
        costs=costs,
        gradient_norms=norms,
        seconds=seconds,
        success=success,
        interrupted=interruption.happened,
        status=status + _rank_note(problem.manifold, watched.point),
    )


class _Run:
    """An optimiser on its way; `end` tells why it stopped."""

    def __init__(self, watched: _Watched, solver: str, max_iterations: int, tolerance: float):
        self.watched, self.solver = watched, solver
        self.max_iterations, self.tolerance = max_iterations, tolerance

    @property
    def _n_left(self) -> int:
        """Iterations that are left; the first point of the history is the initial one."""
        return self.max_iterations - max(len(self.watched.history) - 1, 0)

    def end(self, point: Any) -> str:
        watched = self.watched
        cost = float(watched.problem.cost(point))
        norm = float(watched.manifold.norm(point, watched.gradient(point)))
        if not (math.isfinite(cost) and math.isfinite(norm)):
            raise ValueError(
                f"cost {cost} and norm of the gradient {norm} at the initial point must be finite: "
                "check the data and the cost, or start elsewhere."
            )
        curvature = self._curvature(point)
        scale = self._scale(point, curvature)
        if norm <= max(self.tolerance, ROUND_OFF) * scale:
            watched.riemannian_gradient(point)
            return CONVERGED
        reason = self._run(point, curvature, max(self.tolerance * norm, ROUND_OFF * scale))
        if CONVERGED in reason and self._n_left > 0:
            # From a start far away the first gradient says little about that of a minimum.
            point, norm = watched.point, watched.history[-1][1]
            curvature = self._curvature(point)
            scale = self._scale(point, curvature)
            if norm > max(self.tolerance, ROUND_OFF) * scale:
                with contextlib.suppress(_Stop, ValueError):
                    self._run(point, curvature, max(self.tolerance, ROUND_OFF) * scale)
        return reason

    def _scale(self, point: Any, curvature: float | None) -> float:
        """Return the norm of gradients that the gradient at a point is to be compared to."""
        problem = self.watched.problem
        if isinstance(problem, LeastSquaresProblem):
            return problem.gradient_scale(point)
        return (curvature or 0.0) * size_of(problem.manifold, point)

    def _run(self, point: Any, curvature: float | None, least: float) -> str:
        """Run the optimiser until the gradient has a norm, and return why it stopped."""
        watched = self.watched
        options = {
            "min_gradient_norm": least,
            "min_step_size": 1e-300,
            "max_time": math.inf,
            "verbosity": 0,
        }
        step = self._first_step(point, curvature)
        if self.solver == "trust-regions":
            regions = TrustRegions(max_iterations=self._n_left, **options)
            # Without a least number of inner steps: one that is exact must not be followed by
            # another, which divides zero by zero.
            return regions.run(
                watched,
                initial_point=point,
                mininner=0,
                Delta_bar=math.inf,
                Delta0=step or watched.manifold.typical_dist / 8,
            ).stopping_criterion
        kind, searcher = LINE_SEARCH_SOLVERS[self.solver]
        while True:
            n_before = len(watched.history)
            search = searcher(initial_step_size=step or 1.0)
            # These optimisers count the initial point.
            optimizer = kind(line_searcher=search, max_iterations=self._n_left + 1, **options)
            reason = optimizer.run(watched, initial_point=point).stopping_criterion
            # A line search gives up when its first step is far too long, as where the cost bends
            # away from a saddle. It is worth a new start if it came anywhere.
            if "min step_size" not in reason or len(watched.history) <= max(n_before, 1):
                return reason
            point = watched.point
            step = self._first_step(point, self._curvature(point))

    def _curvature(self, point: Any) -> float | None:
        """Return how much the cost bends along the gradient, in the metric, or None.

        By the Hessian for the optimiser that takes it, for the others by a difference of gradients.
        """
        manifold, gradient = self.watched.manifold, self.watched.gradient(point)
        norm = float(manifold.norm(point, gradient))
        if norm == 0:
            return None
        unit = gradient / norm
        try:
            if self.solver == "trust-regions":
                bent = self.watched.riemannian_hessian(point, unit)
            else:
                step = DIFFERENCE * size_of(self.watched.problem.manifold, point)
                near = manifold.retraction(point, step * unit)
                slope = self.watched.problem.riemannian_gradient(near)
                bent = (manifold.transport(near, point, slope) - gradient) / step
        except (NotImplementedError, ValueError, AttributeError):  # FixedRankEmbedded; no point
            return None
        curvature = abs(float(manifold.inner_product(point, unit, bent)))
        return curvature if curvature > 0 and math.isfinite(curvature) else None

    def _first_step(self, point: Any, curvature: float | None) -> float | None:
        """Return the length of a step along the gradient on which the cost bends.

        To second order it is the way to the minimum, or to the mirror image of a maximum. It brings
        the scale of the problem, which pymanopt's defaults take to be one.
        """
        norm = float(self.watched.manifold.norm(point, self.watched.gradient(point)))
        return norm / curvature if curvature else None


def _status(
    success: bool, interrupted: bool, reason: str, costs: Array, norms: Array, n_taken: int
) -> str:
    n = len(norms) - 1
    fall = norms[-1] / norms[0] if norms[0] > 0 else 0.0
    accepted = "" if n == n_taken else f" ({n} of them accepted)"
    where = f"after {n_taken} iterations{accepted}, with the gradient at {fall:.1e} of the first"
    if success:
        return f"converged {where}."
    if interrupted:
        return f"interrupted {where}: pass the point as initial_point to go on."
    if reason == AS_ASKED:
        return f"stopped as asked {where}."
    unit = abs(costs[0]) + abs(costs[min(n, 1)] - costs[0])
    if costs[-1] < -UNBOUNDED * unit:
        return (
            f"the cost has fallen to {costs[-1]:.1e} {where}: it seems to have no lower bound; "
            "correct its sign, or add a term that bounds it."
        )
    if reason.startswith(LEFT):
        return (
            f"the descent left the manifold {where}, so that its infimum may lie on the boundary: "
            f"{reason.removeprefix(LEFT)}"
        )
    if "max iterations" in reason and (n < MOST_TRIALS or costs[-1] < costs[n // 2]):
        return f"not converged {where}: raise max_iterations."
    return (
        f"no further descent {where}: the cost is at round-off, or badly scaled; accept the point "
        "if its cost serves, or loosen the tolerance."
    )


def _rank_note(manifold: Manifold, point: Any) -> str:
    """Tell if the point is near the end of the manifold."""
    if isinstance(point, FactoredPoint):
        values = point.s
    elif manifold.point_layout == 1 and (rank := rank_of(manifold)) is not None:
        values = numpy.linalg.svd(point, compute_uv=False)[:rank]
    else:
        return ""
    ratio = values / values[0]
    if ratio[-1] >= VANISHING:
        return ""
    rank = int((ratio >= VANISHING).sum())
    return (
        f" The smallest singular value is {ratio[-1]:.1e} of the largest, near the end of the "
        f"manifold: the minimum seems to have rank {rank}; take that rank."
    )
