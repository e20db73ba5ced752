"""What linear systems are given as, and results in the same form.

python-control and SciPy's signals are looked for where they have been imported: a system of theirs
exists nowhere else.
"""

import sys
from typing import Any, NamedTuple

import numpy

from dlngeo.core.base.arrays import Array, from_numpy
from dlngeo.core.base.checks import host_array, in_range
from dlngeo.systems.stability import Modes, modes_of
from dlngeo.systems.state_space import System
from dlngeo.systems.transfer_functions import realization_of_poles, realization_of_polynomials

LinearSystem = Any
"""A ``StateSpace`` or ``TransferFunction`` of python-control, a linear system of ``scipy.signal``,
or a tuple ``(A, B, C, D)`` or ``(A, B, C, D, dt)``."""


class Origin(NamedTuple):
    """What a system was given as.

    Attributes
    ----------
    library : str or None
        ``"control"``, ``"scipy.signal"``, or None for matrices.
    given : LinearSystem or None
        A system of the library.
    model : array
        Of the library and type that arrays come back in.
    """

    library: str | None
    given: LinearSystem
    model: Array

    def check_states(self) -> None:
        """Raise a ValueError for what has no states, and so no Gramians."""
        if self.library and not hasattr(self.given, "A"):
            raise ValueError(
                f"a Gramian is one of states, which a {type(self.given).__name__} does not have: "
                "give a realisation of it, by control.ss or its to_ss()."
            )

    def array(self, array: numpy.ndarray) -> Array:
        """Return an array in the library and precision of what was given."""
        return in_range(from_numpy(array, self.model), "the result")

    def state_space(self, system: System, **properties: Any) -> LinearSystem:
        """Return a StateSpace of the library, with the names of the signals, and properties."""
        if self.library == "control":
            import control

            result = control.StateSpace(
                *system[:4],
                system.dt,
                name=self.given.name,
                inputs=self.given.input_labels,
                outputs=self.given.output_labels,
            )
        else:
            import scipy.signal

            time = {} if system.dt is None else {"dt": system.dt}
            result = scipy.signal.StateSpace(*system[:4], **time)
        for name, value in properties.items():
            setattr(result, name, value)
        return result


def modes_given_by(
    A: Array | LinearSystem,
    B: Array | None,
    C: Array | None,
    D: Array | None,
    dt: Any,
    needed: str = "BC",
) -> tuple[Modes, Origin]:
    """Return a system as a sum after the checks of what was given, in double precision.

    Of the matrices ``B`` and ``C`` those that are not needed are empty if they are not given.
    """
    if isinstance(A, tuple) and B is C is D is dt is None:
        if len(A) not in (4, 5):
            raise ValueError(
                "a tuple must be (A, B, C, D) or (A, B, C, D, dt), got one of length "
                f"{len(A)}: polynomials, or zeros and poles, come as scipy.signal.lti or dlti."
            )
        A, B, C, D, dt = (*A, None)[:5]
    library = _library(A)
    if library is None:
        model = _model([m for m in (A, B, C, D) if m is not None])
        system = _system_of_matrices(A, B, C, D, dt, needed)
        return modes_of(system), Origin(None, None, model)
    if any(given is not None for given in (B, C, D, dt)):
        raise ValueError(f"a {type(A).__name__} holds B, C, D and dt itself: pass it alone.")
    origin = Origin(library, A, numpy.zeros(0))
    if hasattr(A, "A"):
        return modes_of(_system_of_matrices(A.A, A.B, A.C, A.D, A.dt, needed)), origin
    dt = _time(A.dt)
    if not hasattr(A, "num"):
        return realization_of_poles(A.zeros, A.poles, A.gain, dt), origin
    if library == "control":
        return realization_of_polynomials(A.num, A.den, dt), origin
    numerators = [[row] for row in numpy.atleast_2d(A.num)]
    return realization_of_polynomials(numerators, len(numerators) * [[A.den]], dt), origin


def _library(given: Any) -> str | None:
    control, signal = (sys.modules.get(name) for name in ("control", "scipy.signal"))
    if control is not None and isinstance(given, control.InputOutputSystem):
        if not isinstance(given, control.StateSpace | control.TransferFunction):
            raise TypeError(
                "expected a control.StateSpace or control.TransferFunction, got a "
                f"{type(given).__name__}: linearise it, or fit a StateSpace to it."
            )
        return "control"
    if signal is not None and isinstance(given, signal.lti | signal.dlti):
        return "scipy.signal"
    return None


def _model(matrices: list[Any]) -> Array:
    """Return the array of the highest precision; numbers in lists have none of their own."""
    arrays = [matrix for matrix in matrices if hasattr(matrix, "dtype")]
    double = [array for array in arrays if "float32" not in str(array.dtype)]
    return [*double, *arrays, numpy.zeros(0)][0]


def _system_of_matrices(A: Any, B: Any, C: Any, D: Any, dt: Any, needed: str) -> System:
    A = _matrix(A, "A")
    n = len(A)
    B = numpy.zeros((n, 0)) if B is None and "B" not in needed else B
    C = numpy.zeros((0, n)) if C is None and "C" not in needed else C
    if B is None or C is None:
        raise ValueError(
            "expected the matrices of a system, or in place of A a tuple of them, or a system of "
            "python-control or scipy.signal."
        )
    B, C = _matrix(B, "B"), _matrix(C, "C")
    inputs, outputs = B.shape[1], C.shape[0]
    D = numpy.zeros((outputs, inputs)) if D is None else _matrix(D, "D")
    shapes = [m.shape for m in (A, B, C, D)]
    if shapes != [(n, n), (n, inputs), (outputs, n), (outputs, inputs)]:
        raise ValueError(
            "expected A, B, C, D of shapes (n, n), (n, m), (p, n), (p, m), got "
            f"{', '.join(map(str, shapes))}."
        )
    return System(A, B, C, D, _time(dt))


def _time(dt: Any) -> float | bool | None:
    is_time = isinstance(dt, float | int | numpy.number) and 0 <= dt < numpy.inf
    if dt is not None and not is_time:
        raise ValueError(
            "dt must be None or 0 (continuous time), or the sampling time or True (discrete "
            f"time), got {dt!r}."
        )
    return dt


def _matrix(matrix: Any, name: str) -> Array:
    matrix = host_array(matrix, name)
    if matrix.ndim != 2:
        raise ValueError(f"{name} must be a matrix, got shape {matrix.shape}.")
    return matrix
