"""Gramians and Hankel singular values."""

import control
import mpmath
import numpy as np
import pytest
from scipy import linalg

from dlngeo import systems as sy
from tests.core.brute import assert_close
from tests.systems.linear_systems import (
    TIMES,
    boundary,
    building,
    change_of_state,
    gramians,
    random_system,
    transfer,
    transformed,
)


@TIMES
@pytest.mark.parametrize(("n", "inputs", "outputs"), [(1, 1, 1), (7, 2, 3), (5, 8, 1), (40, 1, 2)])
def test_gramians_are_those_of_scipy(n, inputs, outputs, dt):
    A, B, C = random_system(0, dt, n, inputs, outputs)
    controllability, observability = gramians(A, B, C, dt)
    assert_close(sy.controllability_gramian(A, B, dt), controllability, 1e-11)
    assert_close(sy.observability_gramian(A, C, dt), observability, 1e-11)


@pytest.mark.parametrize("pole", [-0.9999, 0.9999])
def test_discrete_gramians_near_the_circle(pole):
    """The Cayley transform loses nothing near -1: the sum over time, in closed form."""
    poles, B = np.array([pole, 0.5, -0.2]), np.array([[1.0], [2.0], [3.0]])
    expected = B @ B.T / (1 - np.outer(poles, poles))
    assert_close(sy.controllability_gramian(np.diag(poles), B, dt=True), expected, 1e-11)


@pytest.mark.parametrize(("slow", "fast"), [(-1e-6, -1e10), (-1e-12, -1e3), (-1e-9 + 1e-7j, -1e8)])
def test_slow_poles_beside_fast_ones(slow, fast):
    """A pole is stable to its own round-off, not to that of the fastest one."""
    block = np.array([[slow.real, -slow.imag], [slow.imag, slow.real]])
    A = linalg.block_diag(block, fast)
    B = np.ones((3, 1))
    poles, change = np.linalg.eig(A)
    driven = np.linalg.solve(change, B + 0j)
    middle = driven @ driven.conj().T / -(poles[:, None] + poles.conj())
    expected = (change @ middle @ change.conj().T).real
    np.testing.assert_allclose(sy.controllability_gramian(A, B), expected, rtol=1e-9)
    # A weak coupling of the slow pole to the fast one leaves its round-off alone.
    weak = np.array([[-1e-6, 1e-3], [1e-3, -1e10]])
    found = sy.hankel_singular_values(weak, B[:2], B[:2].T)
    assert found[0] == pytest.approx(5e5, rel=1e-6)
    reduced = sy.balanced_truncation(weak, B[:2], B[:2].T, order=1)
    assert reduced.A[0, 0] == pytest.approx(-1e-6, rel=1e-6)


def test_a_slow_pole_in_a_dense_matrix_has_its_round_off():
    """Where all entries make the pole, theirs decides: zero is not stable, 1e-10 is."""
    frame = np.linalg.qr(np.random.default_rng(0).standard_normal((10, 10)))[0]
    B = np.ones((10, 1))
    for slow in (0.0, 1e-10):
        A = -frame @ np.diag([slow, *np.geomspace(1, 100, 9)]) @ frame.T
        if slow:
            expected = sum(frame[:, 0]) ** 2 / (2 * slow)
            assert sy.hankel_singular_values(A, B, B.T)[0] == pytest.approx(expected, rel=1e-3)
        else:
            with pytest.raises(ValueError, match="not stable"):
                sy.hankel_singular_values(A, B, B.T)


@TIMES
def test_hankel_singular_values_are_those_of_the_gramians(dt):
    A, B, C = random_system(1, dt)
    controllability, observability = gramians(A, B, C, dt)
    eigenvalues = np.linalg.eigvals(controllability @ observability)
    expected = np.sqrt(np.sort(eigenvalues.real)[::-1])
    np.testing.assert_allclose(sy.hankel_singular_values(A, B, C, dt), expected, rtol=1e-9)


@pytest.mark.parametrize("damping", [0.01, 0.3, 1.0, 2.0])
def test_oscillator(damping):
    """``ω²/(s² + 2ζωs + ω²)`` has ``σ = (√(1+ζ²) ± ζ)/(4ζ)``, whatever ``ω``."""
    A = [[0, 1], [-9, -6 * damping]]
    expected = (np.sqrt(1 + damping**2) + damping * np.array([1, -1])) / (4 * damping)
    found = sy.hankel_singular_values(A, [[0], [9]], [[1, 0]])
    np.testing.assert_allclose(found, expected, rtol=1e-12)


@pytest.mark.parametrize(("pole", "dt", "expected"), [(-2.0, 0, 0.25), (0.6, True, 1 / 0.64)])
def test_one_state(pole, dt, expected):
    """``1/(s + a)`` has ``σ = 1/(2a)``, ``1/(z - a)`` has ``σ = 1/(1 - a²)``."""
    assert sy.hankel_singular_values([[pole]], [[1]], [[1]], dt) == pytest.approx([expected])


def test_values_of_python_control():
    """The example of its tests, with MATLAB's figures."""
    found = sy.hankel_singular_values([[1, -2], [3, -4]], [[5], [7]], [[6, 8]])
    np.testing.assert_allclose(found, [24.42686, 0.5731395], atol=1e-5)


def test_finite_impulse_response():
    """``Σ c_j z^{-j}``: the singular values of the finite Hankel matrix of its coefficients."""
    coefficients = np.random.default_rng(2).standard_normal(6)
    A, B = np.eye(6, k=-1), np.eye(6, 1)
    expected = np.linalg.svd(linalg.hankel(coefficients), compute_uv=False)
    found = sy.hankel_singular_values(A, B, coefficients[None], True)
    np.testing.assert_allclose(found, expected, rtol=1e-12)


def test_markov_parameters():
    """The singular values of the Hankel matrix that python-control identifies systems by."""
    A, B, C = random_system(3, True, n=4)
    A = 0.8 * A
    markov = np.stack([C @ np.linalg.matrix_power(A, k) @ B for k in range(301)], -1)
    markov = np.concatenate([0 * markov[..., :1], markov], -1)
    _, expected = control.eigensys_realization(markov, 4, m=150, n=150)
    np.testing.assert_allclose(sy.hankel_singular_values(A, B, C, True), expected[:4], rtol=1e-10)


def test_cross_gramian():
    """With one input and one output they are the moduli of the eigenvalues of one equation."""
    A, B, C = random_system(4, None, inputs=1, outputs=1)
    cross = linalg.solve_sylvester(A, A, -B @ C)
    expected = np.sort(np.abs(np.linalg.eigvals(cross)))[::-1]
    assert_close(sy.hankel_singular_values(A, B, C), expected, 1e-12)


def test_small_values_are_accurate():
    """Down to ``ε σ_1``, far below the ``√ε σ_1`` that factors of Gramians can give.

    ``Σ_i b_i²/(s + a_i)`` has the eigenvalues of ``b_i b_j/(a_i + a_j)``, here with 50 digits.
    """
    rates = [(mpmath.mpf(5) / 4) ** k for k in range(14)]
    with mpmath.workdps(50):
        cauchy = mpmath.matrix(14, 14)
        for i in range(14):
            for j in range(14):
                cauchy[i, j] = mpmath.sqrt(rates[i] * rates[j]) / (rates[i] + rates[j])
        expected = np.array(sorted(map(float, mpmath.eigsy(cauchy, eigvals_only=True))))[::-1]
    assert expected[-1] < 1e-13 * expected[0]
    # In states that mix the modes.
    Q = np.linalg.qr(np.random.default_rng(5).standard_normal((14, 14)))[0]
    a = np.array(rates, dtype=float)
    b = Q @ np.sqrt(a)[:, None]
    found = sy.hankel_singular_values(-Q * a @ Q.T, b, b.T)
    np.testing.assert_allclose(found, expected, atol=1e-14 * expected[0])


@pytest.mark.parametrize("exponent", [6, 12])
def test_units_of_the_states_do_not_count(exponent):
    """States in units from ``10^-6`` to ``10^6`` leave what a balanced start would give."""
    units = 10.0 ** np.random.default_rng(6).uniform(-exponent / 2, exponent / 2, 48)
    A, B, C = building(24)
    scaled = units[:, None] * A / units, units[:, None] * B, C / units
    expected = sy.hankel_singular_values(A, B, C)
    np.testing.assert_allclose(
        sy.hankel_singular_values(*scaled), expected, atol=1e-9 * expected[0]
    )
    points = boundary(A, None)
    red = sy.balanced_truncation(*scaled, order=10)
    same = sy.balanced_truncation(A, B, C, order=10)
    response = transfer(same.A, same.B, same.C, same.D, points)
    assert_close(transfer(red.A, red.B, red.C, red.D, points), response, 1e-8)


@pytest.mark.parametrize("scale", [1e-6, 1e6])
def test_scales_of_time_and_signals(scale):
    """Slower or faster systems have the same values, and weaker or stronger ones scaled ones."""
    A, B, C = random_system(16, None)
    expected = sy.balanced_truncation(A, B, C, order=4)
    fast = sy.balanced_truncation(scale * A, scale * B, C, order=4)
    strong = sy.balanced_truncation(A, scale * B, scale * C, order=4)
    for red, unit in ((fast, 1.0), (strong, scale**2)):
        assert red.error_bound == pytest.approx(unit * expected.error_bound, rel=1e-9)
        assert_close(red.hankel_singular_values, unit * expected.hankel_singular_values, 1e-11)
    eigenvalues = [np.sort_complex(np.linalg.eigvals(red.A)) for red in (fast, strong, expected)]
    assert_close(eigenvalues[0], scale * eigenvalues[2], 1e-9)
    assert_close(eigenvalues[1], eigenvalues[2], 1e-9)


@TIMES
def test_invariance_under_changes_of_state(dt):
    A, B, C = random_system(7, dt)
    points = boundary(A, dt)
    values, responses = [], []
    for T in (np.eye(7), change_of_state(8, 7)):
        system = transformed((A, B, C), T)
        red = sy.balanced_truncation(*system, dt=dt, order=3)
        values.append(red.hankel_singular_values)
        responses.append(transfer(red.A, red.B, red.C, red.D, points))
    assert_close(values[1], values[0], 1e-11)
    assert_close(responses[1], responses[0], 1e-9)
