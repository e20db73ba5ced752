r"""Minimal realisations of transfer functions, given by polynomials or by zeros and poles.

Polynomials are realised entry by entry in companion form, and zeros and poles as a cascade of
sections of second order, so that they keep their digits. What is then not controllable or not
observable is taken off: of the stable summand by its Hankel singular values, of the other one by
those that it has as seen from the right, ``A_u - a I``, or in discrete time ``A_u / a``.
"""

import functools
from collections.abc import Iterator
from typing import Any, NamedTuple, Self

import numpy
import scipy.linalg

from dlngeo.core.base.arrays import Array
from dlngeo.core.base.checks import host_array
from dlngeo.systems.hankel import hankel_of
from dlngeo.systems.stability import modes_of
from dlngeo.systems.state_space import System

Matrices = tuple[Array, Array, Array, Array]
"""``A``, ``B``, ``C``, ``D`` of one input and one output."""


def realization_of_polynomials(
    numerators: Any, denominators: Any, dt: float | bool | None
) -> System:
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


def realization_of_poles(zeros: Any, poles: Any, gain: float, dt: float | bool | None) -> System:
    """Return the system of zeros, poles and a gain.

    Raises
    ------
    ValueError
        If there are more zeros than poles, or complex ones without their conjugates.
    """
    if len(zeros) > len(poles):
        raise ValueError(_improper(len(zeros), len(poles)))
    empty = numpy.zeros((0, 0)), numpy.zeros((0, 1)), numpy.zeros((1, 0))
    start = System(*empty, host_array(gain, "the gain").reshape(1, 1), dt)
    sections = _sections(_Roots.of(zeros), _Roots.of(poles))
    systems = [System(*matrices, dt) for matrices in sections]
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


def _sections(zeros: _Roots, poles: _Roots) -> Iterator[Matrices]:
    """Yield sections of first and second order, of zeros near their poles."""
    while zeros.upper:
        zero = zeros.upper.pop()
        if poles.upper:
            pole = _Roots.take(poles.upper, zero)
            pair = [pole, pole.conjugate()]
        else:
            pair = [_Roots.take(poles.real, zero) for _ in range(2)]
        yield _second_order(pair, [zero, zero.conjugate()])
    while poles.upper:
        pole = poles.upper.pop()
        near = [_Roots.take(zeros.real, pole) for _ in range(min(2, len(zeros.real)))]
        yield _second_order([pole, pole.conjugate()], near)
    while poles.real:
        pole = poles.real.pop()
        one, gain = numpy.ones((1, 1)), float(bool(zeros.real))
        output = (pole - _Roots.take(zeros.real, pole)).real if zeros.real else 1.0
        yield pole.real * one, one, output * one, gain * one


def _second_order(poles: list[complex], zeros: list[complex]) -> Matrices:
    r"""Return the section of two poles, which are real or conjugate, and at most two zeros.

    With ``(s - p_1)(s - p_2) = (s - a)(s - c) + q`` the states are ``x_1 = 1/(...)`` and
    ``x_2 = (s - a) x_1``. The zeros are divided by this basis.
    """
    is_real = poles[0].imag == 0
    a, c, q = poles[1].real, poles[0].real, 0.0 if is_real else poles[0].imag ** 2
    value = numpy.prod([a - zero for zero in zeros]).real  # at s = a
    gain = float(len(zeros) == 2)
    slope = a + c - sum(zeros).real if gain else float(len(zeros))
    return (
        numpy.array([[a, 1.0], [-q, c]]),
        numpy.array([[0.0], [1.0]]),
        numpy.array([[value - gain * q, slope]]),
        numpy.array([[gain]]),
    )


def _improper(top: int, bottom: int) -> str:
    return (
        f"the transfer function is improper: its numerator has degree {top}, its denominator "
        f"{bottom}. It has no realisation; add fast poles, or take its polynomial part off."
    )


def _minimal(system: System) -> System:
    """Return the controllable and observable part."""
    modes = modes_of(system)
    hankel = hankel_of(modes)
    stable = modes.stable.projected(*hankel.projections(hankel.minimal_order))
    unstable = modes.unstable
    if not unstable.order:
        return stable
    size = 2 * (float(scipy.linalg.norm(unstable.A, 2)) or 1.0)
    A = unstable.A / size if system.dt else unstable.A - size * numpy.eye(unstable.order)
    seen = modes_of(unstable._replace(A=A))
    hankel = hankel_of(seen)
    left, right = hankel.projections(hankel.minimal_order)
    return unstable.projected(left @ seen.transformation, seen.inverse @ right).parallel(stable)
