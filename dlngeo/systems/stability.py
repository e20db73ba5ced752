r"""Which poles of a system are stable, and the system as a sum over stable and unstable ones.

In states that order the Schur form of ``A`` by stability, a Sylvester equation takes the
coupling away,

.. math:: \begin{pmatrix} A_u & A_{us} \\ 0 & A_s \end{pmatrix}, \quad
          A_u X - X A_s = -A_{us},

and ``G = G_u + G_s`` in the states ``x_u - X x_s`` and ``x_s``. Poles on the axis, or on the unit
circle, belong to ``G_u``.

References
----------
C. Hsu, D. Hou, *Reducing unstable linear control systems via real Schur transformation*,
Electronics Letters 27, 1991.
"""

from typing import NamedTuple

import numpy
import scipy.linalg

from dlngeo.core.base.arrays import Array
from dlngeo.systems.state_space import System

ROUND_OFF = 10 * float(numpy.finfo(float).eps)
"""Errors of eigenvalues and of Hankel singular values for each state, in their units."""

LARGEST = 1e75
"""Bound of the largest entries of a system, and their inverse."""


class SchurForm(NamedTuple):
    """``A = V S Vᴴ`` with an upper triangular ``S``, complex."""

    triangle: Array
    vectors: Array


def schur_form(matrix: Array) -> SchurForm:
    # Not the real form, whose blocks of two poles lose a slow one beside a fast one.
    if matrix.size == 0:
        return SchurForm(matrix + 0j, matrix + 0j)
    return SchurForm(*scipy.linalg.schur(matrix, output="complex"))


class Spectrum(NamedTuple):
    """Eigenvalues, in the order of a Schur form.

    Attributes
    ----------
    eigenvalues, growth, round_off : array, shape=[n]
        Growth is the real part, or in discrete time the modulus minus one; and its round-off.
    """

    eigenvalues: Array
    growth: Array
    round_off: Array

    @property
    def is_unstable(self) -> Array:
        """Whether they are not stable to round-off, shape=[n]."""
        return self.growth >= -self.round_off

    @property
    def unstable(self) -> Array:
        """The eigenvalues that are not stable, the one that grows fastest first."""
        fastest = numpy.argsort(-self.growth[self.is_unstable])
        return self.eigenvalues[self.is_unstable][fastest]


def spectrum_of(schur: SchurForm, sizes: Array, dt: float | bool | None) -> Spectrum:
    """Return the eigenvalues of a matrix of which the Schur form is given.

    Round-off of an eigenvalue is that of the entries which its eigenvectors see: a slow pole beside
    a fast one has its own, where they are not coupled.

    Parameters
    ----------
    sizes : array, shape=[n, n]
        Of the entries of the matrix, or of those that cancelled in them.
    """
    if schur.triangle.size == 0:
        nothing = numpy.zeros(0)
        return Spectrum(nothing, nothing, nothing)
    # Those of a triangular matrix come in its order.
    eigenvalues, left, right = scipy.linalg.eig(schur.triangle, left=True, right=True)
    seen = numpy.maximum(abs(schur.vectors @ left), abs(schur.vectors @ right))
    round_off = len(sizes) * ROUND_OFF * (seen * (sizes @ seen)).sum(axis=0)
    return Spectrum(eigenvalues, _growth(eigenvalues, dt), round_off)


def _growth(eigenvalues: Array, dt: float | bool | None) -> Array:
    return abs(eigenvalues) - 1 if dt else eigenvalues.real


class Modes(NamedTuple):
    """A system as the sum of an unstable and a stable one.

    Attributes
    ----------
    unstable, stable : System
    schur : SchurForm
        Of ``stable.A``.
    eigenvalues : array
        Those that are not stable to round-off, the one that grows fastest first.
    transformation, inverse : array, shape=[n, n]
        From the states of the system to both, the unstable ones first, and back.
    """

    unstable: System
    stable: System
    schur: SchurForm
    eigenvalues: Array
    transformation: Array
    inverse: Array

    @property
    def order(self) -> int:
        """Number of all states."""
        return len(self.transformation)

    def check_stable(self) -> None:
        """Raise a ValueError if there is an unstable summand."""
        dt = self.stable.dt
        if self.unstable.order:
            expected = "modulus below 1" if dt else "negative real part"
            raise ValueError(
                f"the system is not stable: A has the eigenvalue {self.eigenvalues[0]:.4g}, and "
                f"needs eigenvalues of {expected} (dt is {dt!r}). Stabilise it; "
                "balanced_truncation reduces its stable part, and keeps the rest."
            )


def modes_of(system: System) -> Modes:
    """Return a system as a sum. Where it is stable, its states have only changed their units.

    Raises
    ------
    ValueError
        If its largest entries, in these units, leave no room for squares.
    """
    n = system.order
    units = numpy.ones(n)
    if n:
        # Units of their own, powers of 2: otherwise the Schur form loses small states.
        *_, units, _ = scipy.linalg.lapack.dgebal(system.A, scale=True, permute=False)
    to, back = numpy.diag(1 / units), numpy.diag(units)
    scaled = system.projected(to, back)
    for name, matrix in zip("ABC", scaled[:3], strict=True):
        size = abs(matrix).max(initial=0.0)
        if size and not 1 / LARGEST < size < LARGEST:
            raise ValueError(
                f"the largest entry of {name} is {size:.1e}, out of the range from "
                f"{1 / LARGEST:.0e} to {LARGEST:.0e}: choose other units of time or of the signals."
            )
    schur = schur_form(scaled.A)
    spectrum = spectrum_of(schur, abs(scaled.A), system.dt)
    if not spectrum.is_unstable.any():
        return Modes(scaled.zero(), scaled, schur, spectrum.unstable, to, back)
    order, frame, inverse = _split(scaled.A, schur, spectrum.eigenvalues, spectrum.is_unstable)
    # Inputs and outputs of one size, as in balanced states, beside which these will stand.
    driven, seen = (
        numpy.linalg.norm(m) for m in (frame[:order] @ scaled.B, scaled.C @ inverse[:, :order])
    )
    unit = (driven / seen) ** 0.5 if driven and seen else 1.0
    frame[:order] /= unit
    inverse[:, :order] *= unit
    unstable = scaled.projected(frame[:order], inverse[:, :order])
    # Poles on the boundary must not look stable once nothing else stands beside their round-off.
    short = -_growth(scipy.linalg.eigvals(unstable.A), system.dt).min()
    if 0 < short <= spectrum.round_off[spectrum.is_unstable].max():
        A = unstable.A * (1 + 2 * short) if system.dt else unstable.A + 2 * short * numpy.eye(order)
        unstable = unstable._replace(A=A)
    # Round-off of another kind may decide once more what is stable.
    rest = modes_of(scaled.projected(frame[order:], inverse[:, order:]))
    return Modes(
        unstable._replace(D=0 * unstable.D).parallel(rest.unstable),
        rest.stable,
        rest.schur,
        numpy.concatenate([spectrum.unstable, rest.eigenvalues]),
        numpy.concatenate([frame[:order], rest.transformation @ frame[order:]]) @ to,
        back @ numpy.concatenate([inverse[:, :order], inverse[:, order:] @ rest.inverse], axis=1),
    )


def _split(
    matrix: Array, schur: SchurForm, poles: Array, chosen: Array
) -> tuple[int, Array, Array]:
    """Return the number of unstable states, and the change to states that are not coupled.

    A stable pole that round-off cannot tell from an unstable one, as in a chain of integrators,
    goes with it.
    """
    conjugates = abs(poles[:, None] - poles.conj()).argmin(axis=1)
    n = len(matrix)
    while True:
        chosen = chosen | chosen[conjugates]
        triangle, frame, _, order, *_ = scipy.linalg.lapack.ztrsen(chosen, *schur, job="N")
        if order == n:
            return n, numpy.eye(n), numpy.eye(n)
        distances = abs(poles[~chosen, None] - poles[chosen]).min(axis=1)
        if distances.min() > 0:
            coupling = _coupling(triangle, order)
            entries = abs(frame[:, order:]).T @ abs(matrix) @ abs(frame[:, :order])
            if distances.min() > n * ROUND_OFF * (entries @ abs(coupling)).max():
                to, back = _real_states(frame, coupling)
                # It fails where round-off took conjugate poles to different sides.
                if abs(to @ back - numpy.eye(n)).max() < 1e-10 * (abs(to) @ abs(back)).max():
                    return order, to, back
        chosen = chosen | (poles == poles[~chosen][distances.argmin()])


def _coupling(triangle: Array, order: int) -> Array:
    """Solve ``A_u X - X A_s = -A_us``, with blocks of a triangle.

    LAPACK's solver takes divisors as small as a slow pole beside a fast one for zero.
    """
    upper, lower, source = (
        triangle[:order, :order],
        triangle[order:, order:],
        triangle[:order, order:],
    )
    solution = numpy.zeros_like(source)
    for k in range(lower.shape[0]):
        shifted = upper - lower[k, k] * numpy.eye(order)
        driven = solution[:, :k] @ lower[:k, k] - source[:, k]
        solution[:, k] = scipy.linalg.solve_triangular(shifted, driven)
    return solution


def _real_states(frame: Array, coupling: Array) -> tuple[Array, Array]:
    """Return the change to real states of both subspaces, which are their own conjugates."""
    order, n = len(coupling), len(frame)
    to, back = frame.conj().T.copy(), frame.copy()
    to[:order] -= coupling @ to[order:]
    back[:, order:] += back[:, :order] @ coupling
    for part in (slice(order), slice(order, n)):
        own = back[:, part]
        # Pivots, not singular vectors, which would mix slow and fast states.
        basis, *_ = scipy.linalg.qr(
            numpy.concatenate([own.real, own.imag], axis=1), mode="economic", pivoting=True
        )
        basis = basis[:, : own.shape[1]]
        to[part], back[:, part] = basis.T @ own @ to[part], basis
    return to.real, back.real
