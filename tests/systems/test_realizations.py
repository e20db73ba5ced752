"""Balanced realisations and truncation, and what they refuse."""

import control
import numpy as np
import pytest
from scipy import linalg

from dlngeo import systems as sy
from dlngeo.core.networks.balancing import balance
from dlngeo.core.networks.frames import SingularFrames, singular_frames
from dlngeo.core.networks.network import end_to_end, moment_map
from tests.core.brute import assert_close
from tests.systems.linear_systems import (
    TIMES,
    System,
    boundary,
    building,
    cd_player,
    change_of_state,
    errors_of,
    gramians,
    heated_rod,
    not_minimal,
    random_system,
    sup_norm,
    transfer,
    transformed,
)


@TIMES
def test_balanced_gramians_are_equal_and_diagonal(dt):
    A, B, C = random_system(9, dt)
    D = np.arange(6.0).reshape(3, 2)
    bal = sy.balanced_realization(A, B, C, D, dt)
    sigma = np.diag(bal.hankel_singular_values)
    for gramian in gramians(bal.A, bal.B, bal.C, dt):
        assert_close(gramian, sigma, 1e-10)
    assert_close(bal.transformation @ bal.inverse_transformation, np.eye(7), 1e-11)
    assert_close(bal.A @ bal.transformation, bal.transformation @ A, 1e-11)
    points = boundary(A, dt)
    response = transfer(A, B, C, D, points)
    assert_close(transfer(bal.A, bal.B, bal.C, bal.D, points), response, 1e-10)
    assert (bal.order, bal.dt, bal.error_bound) == (7, dt, 0)


@TIMES
@pytest.mark.parametrize("order", [7, 4])
def test_balancing_is_that_of_a_network_of_depth_two(order, dt):
    """`balance` of the factors is ``(Q_1 T L_c, L_oᵀ T^{-1} Q_1ᵀ)`` with a frame ``Q_1``."""
    A, B, C = random_system(10, dt)
    controllability, observability = gramians(A, B, C, dt)
    first = np.linalg.cholesky(controllability)
    last = np.linalg.cholesky(observability).T
    assert_close(moment_map((first, last))[0], observability - controllability, 1e-12)
    red = sy.balanced_truncation(A, B, C, dt=dt, order=order)
    own = red.transformation @ first, last @ red.inverse_transformation
    assert_close(moment_map(own)[0], np.zeros((order, order)), 1e-10, scale=np.max(own[0]) ** 2)
    assert_close(own[0] @ own[0].T, np.diag(red.hankel_singular_values[:order]), 1e-9)
    balanced = balance((first, last), rank=order)
    frame = balanced[0] @ np.linalg.pinv(own[0])
    assert_close(frame.T @ frame, np.eye(order), 1e-9)
    for ours, expected in zip((frame @ own[0], own[1] @ frame.T), balanced, strict=True):
        assert_close(ours, expected, 1e-9)
    if order == 7:
        assert_close(end_to_end(own), last @ first, 1e-9)
        # The system of the balanced point has equal Gramians.
        one, two = gramians(*transformed((red.A, red.B, red.C), frame), dt)
        assert_close(one, two, 1e-9)


def test_equal_singular_values():
    """All Hankel singular values of ``det(s + A*)/det(s - A)`` are one, and count once."""
    rng = np.random.default_rng(11)
    B = rng.standard_normal((4, 1))
    skew = rng.standard_normal((4, 4))
    A = (skew - skew.T) - B @ B.T / 2  # A + Aᵀ + BBᵀ = 0
    system = transformed((A, B, -B.T), change_of_state(11, 4))
    gain = np.abs(transfer(*system, np.eye(1), boundary(A, None)))
    np.testing.assert_allclose(gain, 1, rtol=1e-12)
    bal = sy.balanced_realization(*system, np.eye(1))
    assert_close(bal.hankel_singular_values, np.ones(4), 1e-11)
    for gramian in gramians(bal.A, bal.B, bal.C, None):
        assert_close(gramian, np.eye(4), 1e-11)
    for order in range(4):
        red = sy.balanced_truncation(*system, np.eye(1), order=order)
        assert red.error_bound == pytest.approx(2)
    assert sy.balanced_truncation(*system, tolerance=1.9).order == 4
    assert sy.balanced_truncation(*system, tolerance=2.1).order == 0


def test_order_that_parts_equal_values(monkeypatch):
    """An oscillator that is damped in one of two states, ``σ = (1, 1)``.

    Any frame of the equal values serves; but one keeps the state without damping.
    """
    A, B = np.array([[0.0, -3], [3, -1]]), np.array([[0.0], [2**0.5]])
    frame = np.eye(2)

    def turned_frames(matrix, rank):
        left, sigma, right = singular_frames(matrix, rank)
        return SingularFrames(left @ frame, sigma, right @ frame)

    monkeypatch.setattr("dlngeo.systems.gramians.singular_frames", turned_frames)
    T = sy.balanced_realization(A, B, B.T).transformation
    assert_close(T @ T.T, np.eye(2), 1e-14)
    frame = T  # T becomes I, from Tᵀ T
    with pytest.raises(ValueError, match=r"order 1 is not stable.* nearly equal"):
        sy.balanced_truncation(A, B, B.T, order=1)
    frame = T @ np.array([[0.6, -0.8], [0.8, 0.6]])
    red = sy.balanced_truncation(A, B, B.T, order=1)
    assert red.A[0, 0] == pytest.approx(-0.64)
    points = boundary(A, None)
    error = transfer(A, B, B.T, 0, points) - transfer(red.A, red.B, red.C, red.D, points)
    assert sup_norm(error) <= red.error_bound * (1 + 1e-9) == pytest.approx(2)


# --- truncation ------------------------------------------------------------------------


@TIMES
@pytest.mark.parametrize("seed", range(5))
def test_error_is_within_its_bounds(seed, dt):
    A, B, C = random_system(seed, dt, n=9)
    error, least, bound = errors_of(A, B, C, dt, range(9))
    assert np.all(least * (1 - 1e-2) <= error)
    assert np.all(error <= bound * (1 + 1e-9))


def test_bound_is_sharp_for_relaxation():
    """Of a sum of decays ``b²/(s + a)`` the error at zero frequency is the bound."""
    a = np.array([1.0, 3.0, 10.0, 50.0, 200.0])
    b = np.sqrt(a)[:, None]
    for order in range(5):
        red = sy.balanced_truncation(np.diag(-a), b, b.T, order=order)
        gain = red.C @ np.linalg.solve(-red.A, red.B) if order else np.zeros((1, 1))
        assert (b.T / a @ b - gain).item() == pytest.approx(red.error_bound, rel=1e-10)


MODELS: dict[str, tuple[System, list[int]]] = {
    "rod": (heated_rod(200), [2, 4, 6, 8, 10]),
    "building": (building(24), [4, 10, 20, 30, 40]),
    "CD player": (cd_player(30), [4, 10, 20, 30, 50]),
}


@pytest.mark.parametrize(("system", "orders"), MODELS.values(), ids=MODELS)
def test_models(system, orders):
    A, B, C = system
    error, least, bound = errors_of(A, B, C, None, orders)
    assert np.all(least * (1 - 1e-2) <= error)
    assert np.all(error <= bound * (1 + 1e-6))
    assert np.all(np.diff(bound) < 0)


def test_impulse_response():
    """The energy of the difference of impulse responses, and it dwindles with the order."""
    A, B, C = building(10, damping=0.2)
    times = np.arange(40000) * 0.01
    full = control.impulse_response(control.ss(A, B, C, 0), times).y[0, 0]
    energies = []
    for order in (4, 10, 16):
        red = sy.balanced_truncation(A, B, C, order=order)
        response = control.impulse_response(control.ss(red.A, red.B, red.C, 0), times).y[0, 0]
        energy = np.trapezoid((full - response) ** 2, times)
        both = linalg.block_diag(A, red.A), np.concatenate([B, red.B])
        difference = np.concatenate([C, -red.C], axis=1)
        expected = difference @ gramians(*both, difference, None)[0] @ difference.T
        assert energy == pytest.approx(expected.item(), rel=1e-3)
        energies.append(energy / np.trapezoid(full**2, times))
    assert energies[1] < 0.1 * energies[0]
    assert energies[2] < 1e-3 * energies[0]


def test_example_of_python_control():
    """``(s³ + 11s² + 45s + 32)/(s⁴ + 15s³ + 60s² + 200s + 60)``, MATLAB's truncation."""
    A = [[-15, -7.5, -6.25, -1.875], [8, 0, 0, 0], [0, 4, 0, 0], [0, 0, 1, 0]]
    B, C = [[2], [0], [0], [0]], [[0.5, 0.6875, 0.7031, 0.5]]
    red = sy.balanced_truncation(A, B, C, order=2)
    signs = np.diag(np.sign(red.B[:, 0]))
    expected = [[-1.958, -1.194], [-1.194, -0.8344]]
    np.testing.assert_allclose(signs @ red.A @ signs, expected, atol=1e-3)
    np.testing.assert_allclose(signs @ red.B, [[0.9057], [0.4068]], atol=1e-4)
    np.testing.assert_allclose(red.C @ signs, [[0.9057, 0.4068]], atol=1e-4)


@TIMES
def test_truncation_is_the_leading_block(dt):
    """python-control's own elimination of the last states of the balanced realisation."""
    system = control.StateSpace(*random_system(12, dt), 0, dt or 0)
    expected = control.model_reduction(
        sy.balanced_realization(system), elim_states=[3, 4, 5, 6], method="truncate"
    )
    red = sy.balanced_truncation(system, order=3)
    for name in "ABCD":
        assert_close(getattr(red, name), getattr(expected, name), 1e-10)


def test_tolerance():
    """The fewest states with a bound within the tolerance; the gain alone if it is large."""
    system = building(24)
    sigma = sy.hankel_singular_values(*system)
    for tolerance in (1e-2, 0.3, 2.0):
        red = sy.balanced_truncation(*system, tolerance=tolerance)
        assert red.error_bound == pytest.approx(2 * sigma[red.order :].sum())
        assert red.error_bound <= tolerance < 2 * sigma[red.order - 1 :].sum()
    assert sy.balanced_truncation(*system, [[5.0]], tolerance=1e9).order == 0
    assert sy.balanced_truncation(*system, tolerance=0).order == 48


def test_not_minimal_systems_are_truncated():
    """What no input reaches or no output sees drops out, and the response stays."""
    A, B, C = not_minimal()
    sigma = sy.hankel_singular_values(A, B, C)
    assert np.all(sigma[4:] < 1e-12 * sigma[0])
    red = sy.balanced_truncation(A, B, C, order=4)
    points = boundary(A, None)
    response = transfer(A, B, C, 0, points)
    assert_close(transfer(red.A, red.B, red.C, red.D, points), response, 1e-10)
    for gramian in gramians(red.A, red.B, red.C, None):
        assert_close(gramian, np.diag(sigma[:4]), 1e-10)


def test_nearly_unobservable_states_leave_the_others_alone():
    """A state that is seen by ``10^-13`` only: the realisation of the others does not move."""
    A, B, C = random_system(13, None, n=5)
    weak = linalg.block_diag(A, -1.0), np.vstack([B, np.ones((1, 2))]), np.c_[C, np.full(3, 1e-13)]
    expected = sy.balanced_realization(A, B, C)
    red = sy.balanced_truncation(*transformed(weak, change_of_state(14, 6)), order=5)
    signs = np.diag(np.sign(red.B[:, 0] * expected.B[:, 0]))
    assert_close(signs @ red.A @ signs, expected.A, 1e-8)
    assert_close(signs @ red.B, expected.B, 1e-9)
    assert_close(red.C @ signs, expected.C, 1e-9)


# --- what is refused -------------------------------------------------------------------

ONE = np.array([[1.0]])


def test_balancing_needs_a_minimal_system():
    A, B, C = not_minimal()
    with pytest.raises(
        ValueError, match=r"not controllable .* dimension 6 of 9.* not observable"
    ) as e:
        sy.balanced_realization(A, B, C)
    assert "dimension 7 of 9" in str(e.value)
    assert "order=4" in str(e.value)
    with pytest.raises(ValueError, match=r"is not observable .* dimension 1 of 2"):
        sy.balanced_realization(np.diag([-1.0, -2.0]), [[1], [1]], [[1, 0]])
    with pytest.raises(ValueError, match=r"is not controllable .* dimension 1 of 2"):
        sy.balanced_realization(np.diag([-1.0, -2.0]), [[1], [0]], [[1, 1]])
    with pytest.raises(ValueError, match=r"nearly not controllable or not observable"):
        sy.balanced_realization(np.diag([-1.0, -2.0]), [[1], [1e-9]], [[1, 1e-9]])


@pytest.mark.parametrize("order", [-1, 5, 9])
def test_orders_out_of_range(order):
    with pytest.raises(ValueError, match=r"order must be (from 0 to 4|an integer of at least 0)"):
        sy.balanced_truncation(*not_minimal(), order=order)


@pytest.mark.parametrize("tolerance", [-1.0, 0.0, np.nan])
def test_tolerances_that_cannot_be_met(tolerance):
    with pytest.raises(ValueError, match=r"goes down to .* at order 4"):
        sy.balanced_truncation(*not_minimal(), tolerance=tolerance)


@pytest.mark.parametrize("given", [{}, {"order": 1, "tolerance": 1.0}])
def test_order_or_tolerance(given):
    with pytest.raises(ValueError, match="either an order or a tolerance"):
        sy.balanced_truncation(-ONE, ONE, ONE, **given)
