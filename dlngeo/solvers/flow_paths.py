"""Flows of tuples of matrices: SciPy's adaptive integrators, saved at given times."""

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy
import scipy.integrate
from tqdm import tqdm

from dlngeo.core.base.arrays import Array
from dlngeo.core.networks.factors import Factors

METHODS = ("DOP853", "RK45", "RK23", "LSODA")

Layers = tuple[Array, ...]
"""A state: the factors of a network, or a single matrix."""

Velocity = Callable[[float, Layers], Sequence[Array] | None]
"""From a time and a state to the velocity of the state; None where there is none."""


class Path(NamedTuple):
    """States of a flow at the times that it reached.

    Attributes
    ----------
    times : list of float
    states : list of tuples of array
    n_evaluations : int
        Evaluations of the velocity.
    success : bool
        Whether the flow reached its final time.
    interrupted : bool
        Whether the keyboard stopped it.
    status : str
        How it ended, and what to do if it did not succeed.
    """

    times: list[float]
    states: list[Layers]
    n_evaluations: int
    success: bool
    interrupted: bool
    status: str


def as_float(initial: Factors) -> Factors:
    """Return a stack, a tuple of matrices or a matrix, of NumPy floats."""
    if isinstance(initial, tuple | list):
        layers = tuple(numpy.asarray(layer, dtype=float) for layer in initial)
        if all(layer.ndim == 2 for layer in layers):
            return layers
        shape: Any = [layer.shape for layer in layers]
    else:
        initial = numpy.asarray(initial, dtype=float)
        if initial.ndim in (2, 3):
            return initial
        shape = initial.shape
    raise ValueError(
        "initial must be factors, as one array [N, d, d] or a tuple of matrices, or a matrix "
        f"[m, n]; got shape {shape}."
    )


def saved_times(t_final: float, n_saved: int, rtol: float, atol: float) -> Array:
    """Return the equidistant times at which to save a flow, after checks of its options.

    Raises
    ------
    ValueError
        If an option does not fit.
    """
    for name, number in {"t_final": t_final, "rtol": rtol, "atol": atol}.items():
        if not 0 < number < math.inf:
            raise ValueError(f"{name} must be positive and finite, got {number}.")
    if n_saved < 2:
        raise ValueError(f"n_saved must be at least 2, to save start and end, got {n_saved}.")
    return numpy.linspace(0.0, t_final, n_saved)


def flow_path(
    velocity: Velocity,
    start: Layers,
    times: Array,
    method: str,
    progress: bool,
    *,
    name: str,
    remedy: str,
    **tolerances: float,
) -> Path:
    """Step a solver through the given times and keep the state at each that it reaches.

    Parameters
    ----------
    velocity : callable
    start : tuple of array
        State at the first of the times, zero.
    times : array, shape=[t]
    method : str
        One of `METHODS`.
    progress : bool
        Whether to show a progress bar.
    name : str
        What the progress bar calls the flow.
    remedy : str
        What it means if no further step can be taken, and what to do then.
    tolerances : float
        ``rtol`` and ``atol``.

    Returns
    -------
    path : Path
    """
    cuts = numpy.cumsum([layer.size for layer in start])[:-1]

    def unpacked(vector: Array) -> Layers:
        parts = numpy.split(vector, cuts)
        return tuple(part.reshape(w.shape) for part, w in zip(parts, start, strict=True))

    def packed_velocity(time: float, vector: Array) -> Array:
        # A trial step may leave the domain. NaN tells the solver to take a shorter one.
        moves = velocity(time, unpacked(vector)) if numpy.isfinite(vector).all() else None
        if moves is None:
            return numpy.full_like(vector, math.nan)
        return numpy.concatenate([part.ravel() for part in moves])

    time, vector = 0.0, numpy.concatenate([layer.ravel() for layer in start])
    kept = [(time, vector)]
    interrupted = False
    bar = tqdm(
        desc=name,
        total=times[-1],
        disable=not progress,
        leave=False,
        bar_format="{desc} |{bar}| t = {n:.3g} of {total:.3g}, {elapsed}",
    )
    with bar, numpy.errstate(over="ignore", invalid="ignore"):
        solver_class = getattr(scipy.integrate, method)
        solver = solver_class(packed_velocity, time, vector, times[-1], **tolerances)
        try:
            while solver.status == "running":
                solver.step()
                if not numpy.isfinite(solver.y).all():
                    break
                time, vector = solver.t, solver.y
                due = times[len(kept) : numpy.searchsorted(times, time, side="right")]
                if due.size:
                    dense = solver.dense_output()
                    reached = [(float(t), dense(t)) for t in due]
                    if not all(numpy.isfinite(state).all() for _, state in reached):
                        break
                    kept.extend(reached)
                bar.update(time - bar.n)
        except KeyboardInterrupt:
            interrupted = True
    success = len(kept) == len(times)
    if success:
        status = f"reached t = {time:.6g}."
    elif interrupted:
        status = f"interrupted at t = {time:.6g}: start again from the last state to go on."
    else:
        status = f"the integrator found no step that it could take from t = {time:.6g}: {remedy}"
    if time > kept[-1][0]:
        kept.append((time, vector))
    instants, vectors = zip(*kept, strict=True)
    states = [unpacked(vector) for vector in vectors]
    return Path(list(instants), states, solver.nfev, success, interrupted, status)
