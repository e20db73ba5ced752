"""Realisations of transfer functions."""

import control
import numpy as np
import pytest
import scipy.signal

from dlngeo import systems as sy
from dlngeo.systems.transfer_functions import realization_of_poles, realization_of_polynomials
from tests.core.brute import assert_close
from tests.systems.linear_systems import transfer


def response(modes, points):
    A, B, C, D, _ = modes.unstable.parallel(modes.stable)
    return transfer(A, B, C, D, points)


POINTS = 2j * np.geomspace(0.01, 100, 30) + 0.1


@pytest.mark.parametrize("dt", [0, True])
@pytest.mark.parametrize(
    ("numerators", "denominators", "order"),
    [
        ([[[1.0]]], [[[1.0, 3, 2]]], 2),
        ([[[1.0, 2, 3]]], [[[2.0, 3, 2]]], 2),  # with a gain
        ([[[1.0, 1]]], [[[1.0, 3, 2]]], 1),  # a pole is cancelled
        ([[[1.0, 0]]], [[[1.0, 1, 0]]], 1),  # that of an integrator too
        ([[[4.0]]], [[[2.0]]], 0),
        ([[[1.0], [1]], [[1.0], [1]]], [[[1.0, 1], [1.0, 2]], [[1.0, 1], [1.0, 2]]], 2),
        ([[[1.0], [1]], [[1.0], [1]]], [[[1.0, 1, 0], [1.0, 2, 0]]] * 2, 3),
        ([[[1e40]]], [[[1.0, 0, 0]]], 2),
        ([[[1e-40, 0]]], [[[1.0, 0, 0, 0]]], 2),
        ([[[1.0], [1]], [[1.0], [2]]], [[[1.0, 1, 0], [1.0, 2, 0]]] * 2, 4),
        ([[[1.0], [1]], [[1.0], [1]]], [[[1.0, 0, 0], [1.0, 0]], [[1.0, 0], [1.0]]], 2),
        ([[[1.0]], [[2.0, 1]]], [[[1.0, 4, 5]], [[1.0, 4, 5]]], 2),
    ],
)
def test_minimal_realisations(numerators, denominators, order, dt):
    system = realization_of_polynomials(numerators, denominators, dt)
    assert system.order == order
    expected = [
        [np.polyval(n, POINTS) / np.polyval(d, POINTS) for n, d in zip(*rows, strict=True)]
        for rows in zip(numerators, denominators, strict=True)
    ]
    assert_close(response(system, POINTS), np.moveaxis(np.array(expected), -1, 0), 1e-11)


REAL, PAIR, OTHER = [-1.0, -2.0, -3.0, -4.0], [-1 + 2j, -1 - 2j], [-3 + 1j, -3 - 1j]


@pytest.mark.parametrize(
    ("zeros", "poles"),
    [
        ([], [-1.0]),
        ([], []),
        ([2.0], [-1.0]),
        ([5.0, 6, 7], REAL),
        (PAIR, REAL),
        (PAIR, OTHER),
        ([-5.0], OTHER),
        ([-5.0, -6], OTHER),
        ([-5.0, -6, -7], OTHER + PAIR),
        ([*PAIR, -5.0], [*OTHER, -1.0]),
        (PAIR + OTHER, REAL),
        (PAIR, [0, 0, 0.0]),
        ([1.0], [0.5 + 1j, 0.5 - 1j, 0.5 + 1j, 0.5 - 1j]),
    ],
)
def test_zeros_and_poles(zeros, poles):
    system = realization_of_poles(zeros, poles, 3.0, 0)
    assert system.order == len(poles)
    expected = 3 * np.prod([POINTS - z for z in zeros], axis=0)
    expected = expected / np.prod([POINTS - p for p in poles], axis=0)
    assert_close(response(system, POINTS)[:, 0, 0], expected * np.ones(30), 1e-10)


def test_stiff_zeros_and_poles():
    """A slow pole beside a fast one keeps its digits: its residue is 2 · 5e10/(25 · 1e10)."""
    system = scipy.signal.lti([-1, -2], [-1e-6, -1e10, -3 + 4j, -3 - 4j], 5e10)
    assert sy.hankel_singular_values(system)[0] == pytest.approx(0.4 / 2e-6, rel=1e-5)
    slow = control.tf([1.0], [1, 1e10, 1e4])
    assert sy.hankel_singular_values(slow)[0] == pytest.approx(1e-10 / 2e-6, rel=1e-9)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: realization_of_polynomials([[[1.0, 0, 0]]], [[[1.0, 1]]], 0), "degree 2, .* 1"),
        (lambda: realization_of_poles([1, 2], [-1], 1.0, 0), "improper"),
        (lambda: realization_of_polynomials([[[1.0]]], [[[0.0, 0]]], 0), "denominator .* is zero"),
        (lambda: realization_of_poles([], [-1 + 1j], 1.0, 0), "pairs of conjugates"),
        (lambda: realization_of_poles([], [-1 + 1j, -2 - 1j], 1.0, 0), "pairs of conjugates"),
        (lambda: realization_of_poles([], [np.nan], 1.0, 0), "finite"),
        (lambda: realization_of_poles([], [-1], np.inf, 0), "the gain holds NaN or inf"),
        (lambda: realization_of_polynomials([[[np.nan]]], [[[1.0]]], 0), "numerator holds NaN"),
        (lambda: realization_of_polynomials([[[1j]]], [[[1.0]]], 0), "numerator is of type comp"),
    ],
)
def test_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize("dt", [None, 1])
def test_filters(dt):
    """A steep filter, of poles at 1e-5 from the boundary, from its zeros and poles."""
    time = {"analog": True} if dt is None else {}
    zeros, poles, gain = scipy.signal.ellip(
        16, 1, 40, 1.0 if dt is None else 0.5, "low", **time, output="zpk"
    )
    system = realization_of_poles(zeros, poles, gain, dt)
    points = np.linspace(0, 1.3, 20) * 1j
    points = points if dt is None else np.exp(2 * points)
    expected = [gain * np.prod(s - zeros) / np.prod(s - poles) for s in points]
    assert_close(response(system, points)[:, 0, 0], np.array(expected), 1e-8)


def test_a_fast_filter():
    """The gain ``ω^8`` of a filter in gigahertz is no number that it works with."""
    zeros, poles, gain = scipy.signal.butter(8, 1e10, analog=True, output="zpk")
    fast = sy.hankel_singular_values(scipy.signal.lti(zeros, poles, gain))
    slow = sy.hankel_singular_values(scipy.signal.lti(zeros, poles / 1e10, 1.0))
    np.testing.assert_allclose(fast, slow, rtol=1e-9)


def test_a_filter_that_its_polynomials_make_unstable():
    """Round-off of the coefficients moves poles across the axis; the sum is that of these poles."""
    top, bottom = scipy.signal.ellip(16, 1, 40, 1e6, analog=True)
    reduced = sy.balanced_truncation(scipy.signal.lti(top, bottom), tolerance=1e-9)
    assert np.roots(bottom).real.max() > 0 < reduced.unstable_order
    points = np.geomspace(1e4, 1e8, 30) * 1j
    expected = np.polyval(top, points) / np.polyval(bottom, points)
    matrices = reduced.A, reduced.B, reduced.C, reduced.D
    assert_close(transfer(*matrices, points)[:, 0, 0], expected, 1e-4)
