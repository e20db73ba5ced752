"""Flows of a vector: adaptive integrators, saved at given times, up to an event."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field, fields
from typing import Any

import numpy
from scipy.integrate import DOP853, LSODA, RK23, RK45
from scipy.optimize import brentq
from tqdm import tqdm

from dlngeo.core.base.arrays import Array
from dlngeo.core.base.checks import choice, flag, host_array, integer, positive, shown
from dlngeo.core.base.memory import check_numbers
from dlngeo.core.networks.factors import Factors, is_network
from dlngeo.core.numerics.chebyshev import RungeKuttaChebyshev
from dlngeo.networks.linear_network import LinearNetwork
from dlngeo.outcomes import Outcome, interruptible

METHODS = {"DOP853": DOP853, "RK45": RK45, "RK23": RK23, "LSODA": LSODA, "RKC": RungeKuttaChebyshev}
"""SciPy's solvers, and one like them."""

Velocity = Callable[[float, Array], Array | None]
"""From a time and a state, shape=[D], to the velocity of the state; None where there is none."""


Event = Callable[[Array], float]
"""A function of a state, shape=[D]: a flow ends where it ceases to be positive."""


@dataclass(frozen=True)
class Integration:
    """How a flow is integrated and saved, after checks of what its caller asks for.

    Attributes
    ----------
    t_final : float or None
        By default the last of ``t_eval``.
    n_saved : int
        Number of equidistant times at which the flow is saved, start and end among them.
    rtol, atol : float
    method : str
        One of `METHODS`.
    progress : bool
        Whether to show a progress bar.
    t_eval : array-like, shape=[t], or None
        Times at which to save the flow instead.
    duration : float
        The final time.
    times : array, shape=[t]
        Those at which it is saved.

    Raises
    ------
    ValueError
        If an option does not fit.
    """

    t_final: float | None
    n_saved: int
    rtol: float
    atol: float
    method: str = "DOP853"
    progress: bool = False
    t_eval: Array | None = None
    duration: float = field(init=False)
    times: Array = field(init=False)

    def __post_init__(self) -> None:
        for name in ("rtol", "atol"):
            positive(getattr(self, name), name)
        n_saved = integer(self.n_saved, "n_saved", 2, 10**6)
        choice(self.method, "method", METHODS)
        flag(self.progress, "progress")
        if self.t_eval is None:
            if self.t_final is None:
                raise ValueError("tell how long the flow is: give t_final=, or t_eval=.")
            duration = positive(self.t_final, "t_final")
            times = numpy.linspace(0.0, duration, n_saved)
        else:
            times = host_array(self.t_eval, "t_eval")
            if times.ndim != 1 or times.size == 0 or times[0] < 0 or (numpy.diff(times) <= 0).any():
                raise ValueError(
                    "t_eval must be a list of ascending times from zero on, got "
                    f"{shown(self.t_eval)}."
                )
            duration = positive(times[-1] if self.t_final is None else self.t_final, "t_final")
            if times[-1] > duration:
                raise ValueError(f"t_eval must end by t_final={duration:.6g}, got {times[-1]:.6g}.")
        object.__setattr__(self, "duration", duration)
        object.__setattr__(self, "times", times)


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
    """What the result of every flow says; it succeeds if it reaches its final time, or an event.

    Attributes
    ----------
    times : array, shape=[t]
        Those to be saved that the flow reached, and the one at which it ended before its time.
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
    """Return a network, a stack, a tuple of matrices or a matrix, of NumPy floats."""
    if is_network(initial):
        return LinearNetwork(initial)
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
    velocity: Velocity,
    start: Array,
    integration: Integration,
    *,
    name: str,
    remedy: str,
    until: Event | None = None,
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
    until : callable, optional
        Event that ends the flow; looked for at the ends of the integrator's steps.

    Returns
    -------
    path : Path
    """

    def checked_velocity(time: float, state: Array) -> Array:
        # A trial step may leave the domain. NaN tells the solver to take a shorter one.
        move = velocity(time, state) if is_finite(state) else None
        return numpy.full_like(state, math.nan) if move is None else move

    times, t_final = integration.times, integration.duration
    check_numbers((len(times), start.size), f"the {name}", "save fewer times")
    time, state = 0.0, start
    value = math.inf if until is None else until(start)
    n_kept = int(times[0] == 0)
    kept = [(times[:n_kept], start[None].repeat(n_kept, axis=0))]
    bar = tqdm(
        desc=name,
        total=t_final,
        disable=not integration.progress,
        leave=False,
        bar_format="{desc} |{bar}| t = {n:.3g} of {total:.3g}, {elapsed}",
    )

    def begin(method: str) -> Any:
        tolerances = {"rtol": integration.rtol, "atol": integration.atol}
        return METHODS[method](checked_velocity, time, state, t_final, **tolerances)

    stiffness, reach = _Stiffness(integration.method), _Reach()
    n_before = 0
    is_out_of_reach = False
    with bar, numpy.errstate(over="ignore", invalid="ignore"):
        solver = begin(integration.method)
        # Without a velocity at the start the first step would be shortened for ever.
        can_start = is_finite(checked_velocity(time, state))
        with interruptible() as interruption:
            while solver.status == "running" and can_start and not value <= 0:
                solver.step()
                if not is_finite(solver.y):
                    break
                end = solver.t, solver.y, value
                if until is not None:
                    end = _up_to_event(until, solver, value)
                due = times[n_kept : numpy.searchsorted(times, end[0], side="right")]
                if due.size:
                    reached = solver.dense_output()(due).T
                    if not is_finite(reached):
                        break
                    kept.append((due, reached))
                    n_kept += due.size
                time, state, value = end
                bar.update(time - bar.n)
                is_out_of_reach = reach.ends_before(t_final, time, n_before + solver.nfev)
                if is_out_of_reach:
                    break
                if solver.status == "running" and stiffness.is_told_by(solver):
                    n_before += solver.nfev
                    solver = begin("LSODA" if start.size <= LARGEST_JACOBIAN else "RKC")
    is_whole = time == t_final
    if value <= 0:
        status = f"stopped at t = {time:.6g}, where until= was met."
    elif is_whole:
        status = f"reached t = {time:.6g}" + (", but not until=." if until else ".")
    elif interruption.happened:
        status = f"interrupted at t = {time:.6g}: start again from the last state to go on."
    elif is_out_of_reach:
        status = (
            f"came to t = {time:.6g} of {t_final:.6g}, and at its pace there would take more "
            f"than {MOST:.0e} evaluations to the end: take a shorter t_final, or larger "
            "tolerances; if the flow is stiff, another method, LSODA for few numbers and RKC for "
            "many."
        )
    else:
        status = f"the integrator found no step that it could take from t = {time:.6g}: {remedy}"
    if not is_whole and not (n_kept and times[n_kept - 1] == time):
        kept.append((numpy.array([time]), state[None]))
    instants, states = zip(*kept, strict=True)
    return Path(
        times=numpy.concatenate(instants),
        states=numpy.concatenate(states),
        n_evaluations=n_before + solver.nfev,
        success=bool(is_whole or value <= 0),
        interrupted=interruption.happened,
        status=status,
    )


def is_finite(state: Array) -> bool:
    """Tell whether all entries are finite."""
    # A sum is NaN or infinite if an entry is: one pass, and no array of answers.
    return math.isfinite(numpy.add.reduce(state, axis=None))


def _up_to_event(until: Event, solver: Any, before: float) -> tuple[float, Array, float]:
    """Return where a step ends, at an event within it if there is one, and the event's value."""
    value = until(solver.y)
    if not value <= 0 < before:
        return solver.t, solver.y, value
    dense = solver.dense_output()
    ends = {solver.t_old: before, solver.t: value}

    def value_at(time: float) -> float:
        return ends[time] if time in ends else until(dense(time))

    time = brentq(value_at, solver.t_old, solver.t, xtol=1e-14 * solver.t)
    return time, solver.y if time == solver.t else dense(time), value


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
