r"""Minimal realisations of transfer functions, given by polynomials or by zeros and poles.

Polynomials are realised entry by entry in companion form, and zeros and poles as a cascade of
sections of second order, so that they keep their digits. What is then not controllable or not
observable is taken off: of the stable summand by its Hankel singular values, of the other one by
orthonormal bases of what the inputs reach, and of what the outputs see.
"""

import functools
from collections.abc import Iterator
from typing import Any, NamedTuple, Self

import numpy

from dlngeo.core.base.arrays import Array
from dlngeo.core.base.checks import host_array
from dlngeo.systems.hankel import hankel_of
from dlngeo.systems.stability import ROUND_OFF, Modes, modes_of
from dlngeo.systems.state_space import System

Matrices = tuple[Array, Array, Array, Array]
"""``A``, ``B``, ``C``, ``D`` of one input and one output."""


def realization_of_polynomials(
    numerators: Any, denominators: Any, dt: float | bool | None
) -> Modes:
    """Return the system of ratios of polynomials, by rows of outputs and columns of inputs.

    Raises
    ------
    ValueError
        If a ratio is improper.
    """
    outputs, inputs = len(numerators), len(numerators[0])
    entries = []
    for row in range(outputs):
        for column in range(inputs):
            A, B, C, D = _companion(numerators[row][column], denominators[row][column])
            to, back = numpy.eye(outputs)[:, [row]], numpy.eye(inputs)[[column]]
            entries.append(System(A, B @ back, to @ C, to @ D @ back, dt))
    return _minimal(functools.reduce(System.parallel, entries))


def _companion(numerator: Any, denominator: Any) -> Matrices:
    top = numpy.trim_zeros(host_array(numerator, "the numerator"), "f")
    bottom = numpy.trim_zeros(host_array(denominator, "the denominator"), "f")
    if not len(bottom):
        raise ValueError("the denominator of a transfer function is zero.")
    order = len(bottom) - 1
    if len(top) > len(bottom):
        raise ValueError(_improper(len(top) - 1, order))
    top = numpy.concatenate([numpy.zeros(order + 1 - len(top)), top]) / bottom[0]
    bottom = bottom / bottom[0]
    A = numpy.eye(order, k=-1)
    A[:1] = -bottom[1:]
    return A, numpy.eye(order, 1), (top[1:] - top[0] * bottom[1:])[None], top[:1, None]


def realization_of_poles(zeros: Any, poles: Any, gain: float, dt: float | bool | None) -> Modes:
    """Return the system of zeros, poles and a gain.

    Raises
    ------
    ValueError
        If there are more zeros than poles, or complex ones without their conjugates.
    """
    if len(zeros) > len(poles):
        raise ValueError(_improper(len(zeros), len(poles)))
    gain = float(host_array(gain, "the gain"))
    systems = []
    for own_poles, own_zeros in _sections(_Roots.of(zeros), _Roots.of(poles), dt):
        A, B, C, D = _section(own_poles, own_zeros)
        # Of the size of one, as gains of fast systems are not: the others' units are its own.
        size = abs(numpy.prod(own_poles)) ** (1 - len(own_zeros) / len(own_poles)) or 1.0
        gain = float(gain / size)
        systems.append(System(A, B, size * C, size * D, dt))
    empty = numpy.zeros((0, 0)), numpy.zeros((0, 1)), numpy.zeros((1, 0))
    start = System(*empty, numpy.array([[gain]]), dt)
    return _minimal(functools.reduce(System.series, systems, start))


class _Roots(NamedTuple):
    """Real roots, and those of pairs that lie in the upper half plane."""

    real: list[complex]
    upper: list[complex]

    @classmethod
    def of(cls, roots: Any) -> Self:
        roots = numpy.atleast_1d(roots).astype(complex)
        if not numpy.isfinite(roots).all():
            raise ValueError("zeros and poles must be finite.")
        upper = numpy.sort_complex(roots[roots.imag > 0])
        lower = numpy.sort_complex(roots[roots.imag < 0].conj())
        if len(upper) != len(lower) or not numpy.allclose(upper, lower, rtol=1e-8, atol=0):
            raise ValueError("complex zeros and poles must come in pairs of conjugates.")
        return cls(list(roots[roots.imag == 0]), list(upper))

    @staticmethod
    def take(roots: list[complex], near: complex) -> complex:
        """Remove the nearest root from a list, and return it."""
        return roots.pop(int(numpy.argmin(abs(numpy.array(roots) - near))))


def _sections(
    zeros: _Roots, poles: _Roots, dt: float | bool | None
) -> Iterator[tuple[list[complex], list[complex]]]:
    """Yield poles, one or two, and zeros near them, no more than poles.

    Poles of little damping choose first: no other zero takes their resonance down.
    """
    for pole in sorted(poles.upper, key=lambda p: abs(abs(p) - 1) if dt else abs(p.real / p)):
        if zeros.upper:
            zero = _Roots.take(zeros.upper, pole)
            near = [zero, zero.conjugate()]
        else:
            near = [_Roots.take(zeros.real, pole) for _ in range(min(2, len(zeros.real)))]
        yield [pole, pole.conjugate()], near
    for zero in zeros.upper:
        yield [_Roots.take(poles.real, zero) for _ in range(2)], [zero, zero.conjugate()]
    for pole in poles.real:
        yield [pole], [_Roots.take(zeros.real, pole)] if zeros.real else []


def _section(poles: list[complex], zeros: list[complex]) -> Matrices:
    r"""Return the system of one pole or two, which are real or conjugate, and its zeros.

    With ``(s - p_1)(s - p_2) = (s - a)(s - c) + q`` the states are ``x_1 = 1/(...)`` and
    ``x_2 = (s - a) x_1``. The zeros are divided by this basis.
    """
    gain = numpy.array([[float(len(zeros) == len(poles))]])
    a = poles[-1].real
    value = numpy.prod([a - zero for zero in zeros]).real  # at s = a
    if len(poles) == 1:
        return numpy.array([[a]]), numpy.ones((1, 1)), numpy.array([[value]]), gain
    c, q = poles[0].real, -poles[0].imag * poles[1].imag
    slope = a + c - sum(zeros).real if gain else float(len(zeros))
    A, B = numpy.array([[a, 1.0], [-q, c]]), numpy.array([[0.0], [1.0]])
    return A, B, numpy.array([[value - gain.item() * q, slope]]), gain


def _improper(top: int, bottom: int) -> str:
    return (
        f"the transfer function is improper: its numerator has degree {top}, its denominator "
        f"{bottom}. It has no realisation; add fast poles, or take its polynomial part off."
    )


def _minimal(system: System) -> Modes:
    """Return the controllable and observable part; its states are those of both summands."""
    modes = modes_of(system)
    hankel = hankel_of(modes)
    stable = modes.stable.projected(*hankel.projections(hankel.minimal_order))
    reached = _reached(modes.unstable.A, modes.unstable.B)
    unstable = modes.unstable.projected(reached.T, reached)
    seen = _reached(unstable.A.T, unstable.C.T)
    unstable = unstable.projected(seen.T, seen)
    rest = modes_of(stable)
    unstable = unstable.parallel(rest.unstable)
    states = numpy.eye(unstable.order + rest.stable.order)
    eigenvalues = numpy.concatenate([modes.eigenvalues, rest.eigenvalues])
    return Modes(unstable, rest.stable, rest.schur, eigenvalues, states, states)


def _reached(A: Array, B: Array) -> Array:
    """Return an orthonormal basis of the span of ``B, A B, A² B, ...``, to round-off."""
    n = len(A)
    basis, block = numpy.zeros((n, 0)), B
    while True:
        size = numpy.linalg.norm(A if basis.size else B)
        for _ in range(2):
            block = block - basis @ (basis.T @ block)
        directions, sizes, _ = numpy.linalg.svd(block, full_matrices=False)
        new = directions[:, sizes > n * ROUND_OFF * size]
        if not new.size:
            # States that all stay are not rotated, which would leave round-off where zeros are.
            return basis if basis.shape[1] < n else numpy.eye(n)
        basis, block = numpy.concatenate([basis, new], axis=1), A @ new
