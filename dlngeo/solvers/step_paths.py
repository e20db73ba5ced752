"""Descent by steps: states kept after some of them, up to an event."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy
from tqdm import tqdm

from dlngeo.core.base.arrays import Array
from dlngeo.core.base.checks import flag, integer
from dlngeo.outcomes import Outcome, interruptible
from dlngeo.solvers.flow_paths import Event, is_finite

Step = Callable[[Array, int], Array]
"""From a state and the number of steps before, to a new array: the next state."""


@dataclass(frozen=True, eq=False, kw_only=True)
class StepPath(Outcome):
    """States after some steps.

    Attributes
    ----------
    steps : array of int, shape=[t]
        Numbers of steps, from zero to the last one that was made.
    states : array, shape=[t, ...]
    stop : str
        Why there was no next state; empty if there was one.
    """

    steps: Array
    states: Array
    stop: str


def step_path(
    step: Step,
    start: Array,
    n_steps: int,
    n_saved: int,
    *,
    name: str,
    remedy: str,
    until: Event | None = None,
    progress: bool = False,
) -> StepPath:
    """Take steps, and keep the states after some of them.

    Parameters
    ----------
    step : callable
    start : array
    n_steps : int
    n_saved : int
        Number of states that are kept, after nearly equidistant steps, start and end among them.
    name : str
        What the progress bar calls the steps.
    remedy : str
        What to do if a state is not finite, or has no next one.
    until : callable, optional
        Event that ends the steps.
    progress : bool
        Whether to show a progress bar.

    Returns
    -------
    path : StepPath
        If a state is not finite or the keyboard interrupts, the states up to there, with a status
        that says so.

    Raises
    ------
    ValueError
        If an argument does not fit; and that of the first step.
    """
    flag(progress, "progress")
    n_steps, n_saved = integer(n_steps, "n_steps"), integer(n_saved, "n_saved", 2, 10**7)
    saved = numpy.unique(numpy.round(numpy.linspace(0, n_steps, n_saved)).astype(int))
    due = iter(saved[1:].tolist())
    following, state, count = next(due), start, 0
    kept, stop = [(0, start)], ""
    bar = tqdm(range(n_steps), desc=name, disable=not progress, leave=False)
    with interruptible() as interruption, numpy.errstate(over="ignore", invalid="ignore"):
        try:
            is_met = until is not None and until(state) <= 0
            for k in bar:
                if is_met:
                    break
                moved = step(state, k)
                if not is_finite(moved):
                    stop = "it left all bounds."
                    break
                state, count = moved, k + 1
                if count == following:
                    kept.append((count, state))
                    following = next(due, 0)
                is_met = until is not None and until(state) <= 0
        except ValueError as error:
            if count == 0:
                raise
            stop = str(error)
    if interruption.happened:
        status = f"interrupted after {count} of {n_steps} steps: start again from the last state."
    elif stop:
        status = f"stopped after {count} of {n_steps} steps: {stop} {remedy}"
    elif is_met:
        status = f"stopped after {count} steps, where until= was met."
    else:
        status = f"made all {n_steps} steps" + (", but until= was not met." if until else ".")
    if count != kept[-1][0]:
        kept.append((count, state))
    return StepPath(
        steps=numpy.array([count for count, _ in kept]),
        states=numpy.stack([state for _, state in kept]),
        stop=stop,
        success=not (stop or interruption.happened),
        interrupted=interruption.happened,
        status=status,
    )


def draw_batch(
    rng: numpy.random.Generator, n_samples: int, size: int, replacement: bool
) -> numpy.ndarray:
    """Return indices of the samples of a batch."""
    if replacement:
        return rng.integers(n_samples, size=size)
    return rng.choice(n_samples, size, replace=False)
