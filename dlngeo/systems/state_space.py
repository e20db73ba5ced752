"""What linear systems are given by, and the checks that they pass."""

import sys
from typing import Any, NamedTuple

import numpy

from dlngeo.core.base.arrays import Array
from dlngeo.core.base.checks import host_array

StateSpace = Any
"""A ``control.StateSpace`` of python-control."""


class System(NamedTuple):
    A: Array
    B: Array
    C: Array
    D: Array
    dt: float | bool | None


def is_state_space(system: Any) -> bool:
    control = sys.modules.get("control")  # a StateSpace exists only where it was imported
    return control is not None and isinstance(system, control.StateSpace)


def system_of(
    A: Array | StateSpace, B: Array | None, C: Array | None, D: Array | None, dt: Any
) -> System:
    """Return a system after the checks of what was given."""
    if is_state_space(A):
        if any(given is not None for given in (B, C, D, dt)):
            raise ValueError("a StateSpace holds B, C, D and dt itself: pass it alone.")
        A, B, C, D, dt = A.A, A.B, A.C, A.D, A.dt
    if B is None or C is None:
        raise ValueError("expected the matrices of a system, or a StateSpace in place of A.")
    A, B, C = (_matrix(m, name) for m, name in ((A, "A"), (B, "B"), (C, "C")))
    n, inputs, outputs = A.shape[0], B.shape[1], C.shape[0]
    D = numpy.zeros((outputs, inputs)) if D is None else _matrix(D, "D")
    shapes = [m.shape for m in (A, B, C, D)]
    if n == 0 or shapes != [(n, n), (n, inputs), (outputs, n), (outputs, inputs)]:
        raise ValueError(
            "expected A, B, C, D of shapes (n, n), (n, m), (p, n), (p, m) with at least one "
            f"state, got {', '.join(map(str, shapes))}."
        )
    is_time = isinstance(dt, float | int | numpy.number) and 0 <= dt < numpy.inf
    if dt is not None and not is_time:
        raise ValueError(
            "dt must be None or 0 (continuous time), or the sampling time or True (discrete "
            f"time), got {dt!r}."
        )
    return System(A, B, C, D, dt)


def _matrix(matrix: Any, name: str) -> Array:
    matrix = host_array(matrix, name)
    if matrix.ndim != 2:
        raise ValueError(f"{name} must be a matrix, got shape {matrix.shape}.")
    return matrix


def in_kind(result: Any, given: Any) -> Any:
    """Return a realisation as a StateSpace, with the names of its signals, if one was given."""
    if not is_state_space(given):
        return result
    import control

    matrices = result.A, result.B, result.C, result.D
    names = {"inputs": given.input_labels, "outputs": given.output_labels}
    return control.StateSpace(*matrices, result.dt, **names)
