"""Flows of a vector: SciPy's adaptive integrators, saved at equidistant times."""

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any

import numpy
import scipy.integrate
from tqdm import tqdm

from dlngeo.core.base.arrays import Array
from dlngeo.core.base.checks import choice, host_array, integer, positive
from dlngeo.core.networks.factors import Factors
from dlngeo.outcomes import Outcome, interruptible

METHODS = ("DOP853", "RK45", "RK23", "LSODA")

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


_STRETCH, _MOST_STEPS = 2_000, 10**7
"""Number of steps after which the way is measured, and that beyond which an end is out of reach."""


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
    time, state, stretch = 0.0, start, 0.0
    kept = [(time, state)]
    bar = tqdm(
        desc=name,
        total=times[-1],
        disable=not integration.progress,
        leave=False,
        bar_format="{desc} |{bar}| t = {n:.3g} of {total:.3g}, {elapsed}",
    )
    with bar, numpy.errstate(over="ignore", invalid="ignore"):
        solver = getattr(scipy.integrate, integration.method)(
            checked_velocity,
            time,
            state,
            times[-1],
            rtol=integration.rtol,
            atol=integration.atol,
        )
        with interruptible() as interruption:
            for n_steps in itertools.count(1):
                if solver.status != "running":
                    break
                solver.step()
                if n_steps % _STRETCH == 0:
                    if _MOST_STEPS * (solver.t - stretch) < _STRETCH * (times[-1] - solver.t):
                        break
                    stretch = solver.t
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
    success = len(kept) == len(times)
    if success:
        status = f"reached t = {time:.6g}."
    elif interruption.happened:
        status = f"interrupted at t = {time:.6g}: start again from the last state to go on."
    else:
        status = f"the integrator found no step that it could take from t = {time:.6g}: {remedy}"
    if time > kept[-1][0]:
        kept.append((time, state))
    instants, states = zip(*kept, strict=True)
    return Path(
        times=numpy.array(instants),
        states=numpy.stack(states),
        n_evaluations=solver.nfev,
        success=success,
        interrupted=interruption.happened,
        status=status,
    )
