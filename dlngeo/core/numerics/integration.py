r"""Initial value problems in batches, each element at its own pace.

SciPy's solvers take one problem at a time, or make a whole batch wait for its slowest
element. Here the embedded Runge–Kutta method of Dormand and Prince of order 8, with SciPy's
coefficients, steps a batch of autonomous systems at once: every element has its own step
size and its own end, and leaves the batch when it has arrived.
"""

import enum
from collections.abc import Callable
from dataclasses import dataclass

import numpy
from scipy.integrate import DOP853

WEIGHTS = numpy.vstack([DOP853.A[1:], DOP853.B])
THIRD_ORDER, FIFTH_ORDER = DOP853.E3, DOP853.E5
FIRST_STEP = 4.0
"""First step, in units of ``tolerance^{1/8}`` times the time in which the state changes."""
SAFETY = 0.93
"""Factor by which a step stays below the one that the error estimate allows."""

NEAREST = 1e-6
"""Part of the first gap below which the boundary counts as reached where there are null spaces.

There frames turn at once when a geodesic nearly hits it: which way hangs on the errors before.
"""

Field = Callable[[numpy.ndarray], tuple[numpy.ndarray, numpy.ndarray]]
"""Velocities, shape=[b, n], and gaps to the boundary, shape=[b], at states, shape=[b, n]."""


class Status(enum.IntEnum):
    """How the integration of one element ended."""

    ARRIVED = 0
    BOUNDARY = 1
    STALLED = 2

    @property
    def remedy(self) -> str:
        """What it means, and what to do about it."""
        return {
            Status.ARRIVED: "it arrived at the end.",
            Status.BOUNDARY: "it reached the boundary of the space, where a singular value "
            "vanishes: the metric is incomplete; shorten the velocity, or see on_boundary.",
            Status.STALLED: "the step size fell to round-off: the path passes too near to the "
            "boundary of the space; shorten the velocity or raise the tolerance.",
        }[self]


@dataclass(frozen=True)
class Trajectory:
    """End states of a batch of initial value problems, and how they were reached.

    Attributes
    ----------
    state : array, shape=[b, n]
        State at ``time``.
    time : array, shape=[b]
        The end that was asked for, or the time at which the boundary was reached.
    status : array of int, shape=[b]
        A `Status` for each element.
    error : array, shape=[b]
        Sum of the estimates of the local errors, relative to the size of the state.
    n_steps : array of int, shape=[b]
        Number of accepted steps.
    """

    state: numpy.ndarray
    time: numpy.ndarray
    status: numpy.ndarray
    error: numpy.ndarray
    n_steps: numpy.ndarray

    @property
    def arrival(self) -> numpy.ndarray:
        """The states, NaN where the end was not reached."""
        return numpy.where((self.status == Status.ARRIVED)[:, None], self.state, numpy.nan)


def integrate(
    field: Field,
    state: numpy.ndarray,
    end: numpy.ndarray,
    tolerance: float | numpy.ndarray,
    most_steps: int = 2_000,
    nearest: float = 0.0,
) -> Trajectory:
    """Integrate a batch of autonomous systems from time zero to an end for each.

    Parameters
    ----------
    field : callable
        States ``[b, n]`` to velocities ``[b, n]`` and finite gaps ``[b]``; an element whose gap
        falls to zero has reached the boundary. States just beyond it must be defined.
    state : array, shape=[b, n]
        Initial states, of size about one.
    end : array, shape=[b]
        End times, not negative.
    tolerance : float or array, shape=[b]
        Bound on the local error of a step, root mean square over the entries, relative to
        the size of the state where that exceeds one.
    most_steps : int
        Number of trial steps after which an element counts as stalled.
    nearest : float
        Part of the first gap below which the boundary counts as reached.

    Returns
    -------
    trajectory : Trajectory
    """
    state, end = state.copy(), numpy.asarray(end, dtype=state.dtype)
    size = len(state)
    time, error = numpy.zeros(size), numpy.zeros(size)
    status = numpy.zeros(size, dtype=int)
    n_steps = numpy.zeros(size, dtype=int)
    active = numpy.flatnonzero(end > 0)
    y, t, stop = state[active], time[active], end[active]
    bound = numpy.broadcast_to(tolerance, (size,))[active]
    f, floor = field(y) if len(active) else (y, t)
    floor = nearest * floor
    h = _first_step(y, f, stop, bound)
    has_crossed = numpy.zeros(len(active), dtype=bool)
    n_trials = 0
    while len(active):
        left = stop - t
        is_last = h >= left
        # Two equal steps are more accurate than a long and a short one.
        is_near = (2 * h >= left) & ~has_crossed
        h = numpy.where(is_last, left, numpy.where(is_near, left / 2, h))
        with numpy.errstate(all="ignore"):  # a trial step may go wild; it is rejected
            y_new, f_new, gap, estimate = _step(field, y, f, h)
        size_of_state = _size(y)
        # A NaN counts as an error beyond all bounds.
        ratio = numpy.nan_to_num(estimate / (bound * size_of_state), nan=numpy.inf)
        is_small = ratio <= 1
        # Beyond the boundary: bisection, towards a time that is known to be too late.
        is_beyond = is_small & ~(gap > floor)
        has_crossed |= is_beyond
        stop = numpy.where(is_beyond, t + h, stop)
        is_accepted = is_small & ~is_beyond
        with numpy.errstate(divide="ignore"):
            factor = numpy.clip(SAFETY * ratio**-0.125, 0.2, 10.0)
        t = numpy.where(is_accepted, numpy.where(is_last, stop, t + h), t)
        y = numpy.where(is_accepted[:, None], y_new, y)
        f = numpy.where(is_accepted[:, None], f_new, f)
        h = h * factor
        h = numpy.where(has_crossed, numpy.minimum(h, (stop - t) / 2), h)
        accepted = active[is_accepted]
        error[accepted] += (estimate / size_of_state)[is_accepted]
        n_steps[accepted] += 1
        n_trials += 1
        has_arrived = is_accepted & is_last
        is_lost = (h <= 1e-14 * numpy.maximum(1, t)) | (n_trials >= most_steps)
        is_done = has_arrived | is_lost
        if is_done.any():
            done = active[is_done]
            state[done], time[done] = y[is_done], t[is_done]
            why = numpy.where(has_crossed, Status.BOUNDARY, Status.STALLED)
            status[done] = numpy.where(has_arrived, Status.ARRIVED, why)[is_done]
            active, y, f, t, h, stop, bound, floor, has_crossed = (
                array[~is_done] for array in (active, y, f, t, h, stop, bound, floor, has_crossed)
            )
    return Trajectory(state, time, status, error, n_steps)


def integrate_on(
    flow: Callable[[numpy.ndarray, numpy.ndarray, numpy.ndarray], Trajectory],
    turn: Callable[[numpy.ndarray, numpy.ndarray], tuple[numpy.ndarray, numpy.ndarray]],
    state: numpy.ndarray,
    end: numpy.ndarray,
    tolerance: float | numpy.ndarray,
    most_turns: int = 100,
) -> Trajectory:
    """Integrate a batch beyond the boundary, as often as it is reached.

    Parameters
    ----------
    flow : callable
        Initial states, end times and tolerances to trajectories up to the boundary.
    turn : callable
        States at the boundary, shape=[k, n], and times left, shape=[k], to states with which to go
        on, NaN where there is none, and the times that passed meanwhile.
    state, end, tolerance : array
        As in `integrate`.
    most_turns : int
        How often an element may come to the boundary; after that it counts as stalled.

    Returns
    -------
    trajectory : Trajectory
    """
    tolerance = numpy.broadcast_to(tolerance, end.shape)
    whole = flow(state, end, tolerance)
    met = numpy.flatnonzero(whole.status == Status.BOUNDARY)
    for _ in range(most_turns):
        if not len(met):
            return whole
        turned, passed = turn(whole.state[met], end[met] - whole.time[met])
        goes_on = numpy.isfinite(turned).all(axis=1)
        met = met[goes_on]
        whole.time[met] += passed[goes_on]
        part = flow(turned[goes_on], end[met] - whole.time[met], tolerance[met])
        whole.state[met] = part.state
        whole.error[met] += part.error
        whole.n_steps[met] += part.n_steps
        whole.status[met] = part.status
        has_arrived = part.status == Status.ARRIVED
        whole.time[met] = numpy.where(has_arrived, end[met], whole.time[met] + part.time)
        met = met[part.status == Status.BOUNDARY]
    whole.status[met] = Status.STALLED
    return whole


def _size(states: numpy.ndarray) -> numpy.ndarray:
    """Return root mean squares, at least one."""
    mean = numpy.einsum("bi,bi->b", states, states) / states.shape[1]
    return numpy.maximum(1, numpy.sqrt(mean))


def _first_step(
    y: numpy.ndarray, f: numpy.ndarray, stop: numpy.ndarray, tolerance: numpy.ndarray
) -> numpy.ndarray:
    """Return first steps from the size of the velocity, as if it changed in its own time."""
    pace = _size(y) / _size(f)
    return numpy.minimum(stop, FIRST_STEP * tolerance ** (1 / 8) * pace)


def _step(
    field: Field, y: numpy.ndarray, f: numpy.ndarray, h: numpy.ndarray
) -> tuple[numpy.ndarray, numpy.ndarray, numpy.ndarray, numpy.ndarray]:
    """Take one step; return state, velocity, the least gap on the way, and the error."""
    size, n = y.shape
    # Slopes times the step, so that few arrays are read and written.
    moves = numpy.empty((len(WEIGHTS) + 1, size, n))
    flat = moves.reshape(len(moves), size * n)
    pace = h[:, None]
    numpy.multiply(pace, f, out=moves[0])
    gap = numpy.full(size, numpy.inf)
    for stage, weights in enumerate(WEIGHTS, start=1):
        y_new = (weights[:stage] @ flat[:stage]).reshape(size, n)
        y_new += y
        f_new, here = field(y_new)
        numpy.multiply(pace, f_new, out=moves[stage])
        gap = numpy.minimum(gap, here)
    errors = (numpy.stack([FIFTH_ORDER, THIRD_ORDER]) @ flat).reshape(2, size, n)
    fifth, third = numpy.einsum("kbi,kbi->kb", errors, errors)
    blend = numpy.sqrt(numpy.maximum(fifth + 0.01 * third, 1e-300) * n)
    return y_new, f_new, gap, fifth / blend
