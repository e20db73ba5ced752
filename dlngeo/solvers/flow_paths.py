"""Flows of a vector: adaptive integrators, saved at equidistant times."""

import math
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any

import numpy
from scipy.integrate import DOP853, LSODA, RK23, RK45
from tqdm import tqdm

from dlngeo.core.base.arrays import Array
from dlngeo.core.base.checks import choice, flag, host_array, integer, positive
from dlngeo.core.networks.factors import Factors
from dlngeo.core.numerics.chebyshev import RungeKuttaChebyshev
from dlngeo.outcomes import Outcome, interruptible

METHODS = {"DOP853": DOP853, "RK45": RK45, "RK23": RK23, "LSODA": LSODA, "RKC": RungeKuttaChebyshev}
"""SciPy's solvers, and one like them."""

Velocity = Callable[[float, Array], Array | None]
"""From a time and a state, shape=[D], to the velocity of the state; None where there is none."""


@dataclass(frozen=True)
class Integration:
    """How a flow is integrated and saved, after checks of what its caller asks for.

    Attributes
    ----------
    t_final : float
    n_saved : int
        Number of equidistant times at which the flow is saved, start and end among them.
    rtol, atol : float
    method : str
        One of `METHODS`.
    progress : bool
        Whether to show a progress bar.

    Raises
    ------
    ValueError
        If an option does not fit.
    """

    t_final: float
    n_saved: int
    rtol: float
    atol: float
    method: str = "DOP853"
    progress: bool = False

    def __post_init__(self) -> None:
        for name in ("t_final", "rtol", "atol"):
            positive(getattr(self, name), name)
        object.__setattr__(self, "n_saved", integer(self.n_saved, "n_saved", 2, 10**6))
        choice(self.method, "method", METHODS)
        flag(self.progress, "progress")


STABLE = {"DOP853": 6.1, "RK45": 3.25}
"""Products of step and rate at which explicit methods cease to be stable."""

STIFF_STEPS, FREE_STEPS = 15, 6
"""So many steps at that bound tell that a flow is stiff, if fewer than these are free in a row."""

LARGEST_JACOBIAN = 500
"""So many entries a state may have for Jacobians by differences to be worth their cost."""

STRETCH, MOST = 10**5, 10**7
"""Evaluations over which the pace is measured, and those beyond which an end is out of reach."""


@dataclass(frozen=True, eq=False, kw_only=True)
class FlowOutcome(Outcome):
    """What the result of every flow says; it succeeds if it reaches its final time.

    Attributes
    ----------
    times : array, shape=[t]
        Those to be saved that the flow reached, and the one at which it ended.
    n_evaluations : int
        Evaluations of the velocity.
    """

    times: Array
    n_evaluations: int


@dataclass(frozen=True, eq=False, kw_only=True)
class Path(FlowOutcome):
    """States of a flow, shape=[t, D], at the times that it reached."""

    states: Array

    @property
    def outcome(self) -> dict[str, Any]:
        """What the result of the flow takes over, by name."""
        return {field.name: getattr(self, field.name) for field in fields(FlowOutcome)}


def as_float(initial: Factors) -> Factors:
    """Return a stack, a tuple of matrices or a matrix, of NumPy floats."""
    if isinstance(initial, tuple | list):
        layers = tuple(host_array(layer, f"factor {p}") for p, layer in enumerate(initial, 1))
        if all(layer.ndim == 2 for layer in layers):
            return layers
        shape: Any = [layer.shape for layer in layers]
    else:
        initial = host_array(initial, "initial")
        if initial.ndim in (2, 3):
            return initial
        shape = initial.shape
    raise ValueError(
        "initial must be factors, as one array [N, d, d] or a tuple of matrices, or a matrix "
        f"[m, n]; got shape {shape}."
    )


def flow_path(
    velocity: Velocity, start: Array, integration: Integration, *, name: str, remedy: str
) -> Path:
    """Step a solver through the times to be saved and keep the state at each that it reaches.

    Where stability and not accuracy bounds the steps of an explicit method, as of a flow near its
    end, another goes on that is stable at long steps: LSODA, with Jacobians, of at most 500
    entries, and RKC of more.

    Parameters
    ----------
    velocity : callable
    start : array, shape=[D]
        State at time zero.
    integration : Integration
    name : str
        What the progress bar calls the flow.
    remedy : str
        What it means if no further step can be taken, and what to do then.

    Returns
    -------
    path : Path
    """

    def checked_velocity(time: float, state: Array) -> Array:
        # A trial step may leave the domain. NaN tells the solver to take a shorter one.
        move = velocity(time, state) if numpy.isfinite(state).all() else None
        return numpy.full_like(state, math.nan) if move is None else move

    times = numpy.linspace(0.0, integration.t_final, integration.n_saved)
    time, state = 0.0, start
    kept = [(time, state)]
    bar = tqdm(
        desc=name,
        total=times[-1],
        disable=not integration.progress,
        leave=False,
        bar_format="{desc} |{bar}| t = {n:.3g} of {total:.3g}, {elapsed}",
    )

    def begin(method: str) -> Any:
        tolerances = {"rtol": integration.rtol, "atol": integration.atol}
        return METHODS[method](checked_velocity, time, state, times[-1], **tolerances)

    stiffness, reach = _Stiffness(integration.method), _Reach()
    n_before = 0
    is_out_of_reach = False
    with bar, numpy.errstate(over="ignore", invalid="ignore"):
        solver = begin(integration.method)
        with interruptible() as interruption:
            while solver.status == "running":
                solver.step()
                if not numpy.isfinite(solver.y).all():
                    break
                time, state = solver.t, solver.y
                due = times[len(kept) : numpy.searchsorted(times, time, side="right")]
                if due.size:
                    dense = solver.dense_output()
                    reached = [(float(t), dense(t)) for t in due]
                    if not all(numpy.isfinite(state).all() for _, state in reached):
                        break
                    kept.extend(reached)
                bar.update(time - bar.n)
                is_out_of_reach = reach.ends_before(times[-1], time, n_before + solver.nfev)
                if is_out_of_reach:
                    break
                if solver.status == "running" and stiffness.is_told_by(solver):
                    n_before += solver.nfev
                    solver = begin("LSODA" if start.size <= LARGEST_JACOBIAN else "RKC")
    success = len(kept) == len(times)
    if success:
        status = f"reached t = {time:.6g}."
    elif interruption.happened:
        status = f"interrupted at t = {time:.6g}: start again from the last state to go on."
    elif is_out_of_reach:
        status = (
            f"came to t = {time:.6g} of {times[-1]:.6g}, and at its pace there would take more "
            f"than {MOST:.0e} evaluations to the end: take a shorter t_final, or larger "
            "tolerances; if the flow is stiff, another method, LSODA for few numbers and RKC for "
            "many."
        )
    else:
        status = f"the integrator found no step that it could take from t = {time:.6g}: {remedy}"
    if time > kept[-1][0]:
        kept.append((time, state))
    instants, states = zip(*kept, strict=True)
    return Path(
        times=numpy.array(instants),
        states=numpy.stack(states),
        n_evaluations=n_before + solver.nfev,
        success=success,
        interrupted=interruption.happened,
        status=status,
    )


class _Reach:
    """Whether a flow can come to its end, by its pace over the last evaluations."""

    def __init__(self) -> None:
        self._time = self._pace = 0.0
        self._n = 0

    def ends_before(self, end: float, time: float, n: int) -> bool:
        """Tell whether it does not, at the time that it has come to in so many evaluations."""
        n_new = n - self._n
        if n_new < STRETCH:
            return False
        before, self._pace = self._pace, (time - self._time) / n_new
        self._time, self._n = time, n
        # Near its end a flow gains pace.
        return self._pace < 2 * before and MOST * self._pace < end - time


class _Stiffness:
    """Whether stability bounds the steps of an explicit method, and not accuracy.

    The test is that of E. Hairer and G. Wanner, Solving Ordinary Differential Equations II, IV.2
    (1996). It tells of a flow once.
    """

    def __init__(self, method: str):
        self._bound = STABLE.get(method, math.inf)
        self._n_bounded = self._n_free = 0

    def is_told_by(self, solver: Any) -> bool:
        """Tell whether the last step, of those before, shows it."""
        if self._bound == math.inf:
            return False
        is_bounded = _pace(solver) > self._bound
        self._n_bounded += is_bounded
        self._n_free = 0 if is_bounded else self._n_free + 1
        if self._n_free == FREE_STEPS:
            self._n_bounded = 0
        is_stiff = self._n_bounded == STIFF_STEPS
        if is_stiff:
            self._bound = math.inf
        return is_stiff


def _pace(solver: Any) -> float:
    """Return the last step of an explicit method times the fastest rate that it felt.

    From its last two slopes, which are of one time and of different states.
    """
    last = solver.n_stages - 1
    h, slopes = solver.h_previous, solver.K
    stage = solver.y_old + h * (solver.A[last, :last] @ slopes[:last])
    gap = numpy.linalg.norm(solver.y - stage)
    return float(h * numpy.linalg.norm(slopes[last + 1] - slopes[last]) / gap) if gap > 0 else 0.0
