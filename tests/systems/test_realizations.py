"""Balanced realisations and truncation, and what they refuse."""

import doctest
import importlib

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
    unstable_matrix,
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

    monkeypatch.setattr("dlngeo.systems.hankel.singular_frames", turned_frames)
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
    "rod": (heated_rod(100), [2, 4, 6, 8, 10]),
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


# --- exact at zero frequency ------------------------------------------------------------


def test_matchdc_of_python_control():
    """Its own residualisation of the balanced realisation, in continuous time."""
    A, B, C = random_system(12, None)
    system = control.StateSpace(A, B, C, np.ones((3, 2)))
    expected = control.model_reduction(
        sy.balanced_realization(system), elim_states=[3, 4, 5, 6], method="matchdc"
    )
    red = sy.balanced_truncation(system, order=3, method="matchdc")
    for name in "ABCD":
        assert_close(getattr(red, name), getattr(expected, name), 1e-10)


def test_matchdc_example_of_python_control():
    """MATLAB's figures, of its tests."""
    A = [[-15, -7.5, -6.25, -1.875], [8, 0, 0, 0], [0, 4, 0, 0], [0, 0, 1, 0]]
    B, C = [[2], [0], [0], [0]], [[0.5, 0.6875, 0.7031, 0.5]]
    red = sy.balanced_truncation(A, B, C, order=2, method="matchdc")
    signs = np.diag(np.sign(red.B[:, 0]))
    expected = [[-4.43094773, -4.55232904], [-4.55232904, -5.36195206]]
    np.testing.assert_allclose(signs @ red.A @ signs, expected, rtol=1e-7)
    np.testing.assert_allclose(signs @ red.B, [[1.36235673], [1.03114388]], rtol=1e-7)
    np.testing.assert_allclose(red.C @ signs, [[1.36235673, 1.03114388]], rtol=1e-7)
    np.testing.assert_allclose(red.D, [[-0.08383902]], rtol=1e-6)


def test_matchdc_in_discrete_time_is_that_of_the_bilinear_transform():
    """``z = (1 + s)/(1 - s)`` keeps the Gramians, and takes ``s = 0`` to ``z = 1``."""
    A, B, C = random_system(12, True)
    D, identity = np.ones((3, 2)), np.eye(7)
    inverse = np.linalg.inv(A + identity)
    continuous = (
        inverse @ (A - identity),
        2**0.5 * inverse @ B,
        2**0.5 * C @ inverse,
        D - C @ inverse @ B,
    )
    expected = sy.balanced_truncation(*continuous, order=3, method="matchdc")
    red = sy.balanced_truncation(A, B, C, D, True, order=3, method="matchdc")
    z = np.exp(1j * np.linspace(0, 3, 20))
    response = transfer(expected.A, expected.B, expected.C, expected.D, (z - 1) / (z + 1))
    assert_close(transfer(red.A, red.B, red.C, red.D, z), response, 1e-10)
    assert_close(red.hankel_singular_values, expected.hankel_singular_values, 1e-10)


@TIMES
def test_matchdc_is_exact_at_zero_frequency_and_balanced(dt):
    """At every order; in a system that is not minimal, too, and its bound is that of truncation."""
    A = linalg.block_diag(random_system(3, dt, n=6)[0], 0.5 if dt else -0.5)
    rng = np.random.default_rng(3)
    B, C, D = (rng.standard_normal(shape) for shape in ((7, 2), (3, 7), (3, 2)))
    C[:, 6] = 0
    start, points = np.array([1.0 if dt else 0.0]), boundary(A, dt)
    full = transfer(A, B, C, D, points)
    for order in range(7):
        red = sy.balanced_truncation(A, B, C, D, dt, order=order, method="matchdc")
        system = red.A, red.B, red.C, red.D
        assert_close(transfer(*system, start), transfer(A, B, C, D, start), 1e-11)
        sigma = np.diag(red.hankel_singular_values[:order])
        for gramian in gramians(*system[:3], dt) if order else ():
            assert_close(gramian, sigma, 1e-9)
        error = sup_norm(full - transfer(*system, points))
        truncated = sy.balanced_truncation(A, B, C, D, dt, order=order)
        assert red.error_bound == truncated.error_bound
        assert error <= red.error_bound * (1 + 1e-9) + 1e-10
        assert error >= 0.99 * red.hankel_singular_values[order] - 1e-10


# --- unstable systems --------------------------------------------------------------------


@TIMES
@pytest.mark.parametrize("method", ["truncate", "matchdc"])
@pytest.mark.parametrize("kind", ["growing", "integrators", "chain"])
def test_the_unstable_part_is_kept(kind, method, dt):
    """The response is that of the unstable part and of the reduced stable one, in any states."""
    first, (last, *_) = unstable_matrix(kind, dt), random_system(4, dt, n=5)
    rng = np.random.default_rng(4)
    B, C, D = (rng.standard_normal(shape) for shape in ((8, 2), (3, 8), (3, 2)))
    A = linalg.block_diag(first, last)
    mixed = transformed((A, B, C), change_of_state(4, 8))
    points = 1.3 * np.exp(1j * np.linspace(0.1, 3, 9))
    for order in (3, 5, 8):
        stable = sy.balanced_truncation(
            last, B[3:], C[:, 3:], D, dt, order=order - 3, method=method
        )
        expected = transfer(first, B[:3], C[:, :3], 0, points) + transfer(
            stable.A, stable.B, stable.C, stable.D, points
        )
        for system in ((A, B, C), mixed):
            given = (*system, D, dt)
            red = sy.balanced_truncation(given, order=order, method=method)
            assert (red.order, red.unstable_order) == (order, 3)
            assert_close(transfer(red.A, red.B, red.C, red.D, points), expected, 1e-8)
            assert_close(red.hankel_singular_values, stable.hankel_singular_values, 1e-8)
            assert red.error_bound == pytest.approx(stable.error_bound, rel=1e-7)
            assert_close(red.transformation @ red.inverse_transformation, np.eye(order), 1e-9)
            if method == "truncate":
                projected = red.transformation @ system[0] @ red.inverse_transformation
                assert_close(projected, red.A, 1e-9, scale=1)
            assert_close(red.A[:3, 3:], np.zeros((3, order - 3)), 1e-15)
    given = (*mixed, D, dt)
    red = sy.balanced_truncation(given, tolerance=stable.hankel_singular_values.sum() / 2)
    assert red.unstable_order == 3 < red.order < 8
    with pytest.raises(ValueError, match="at least 3, that of the unstable part"):
        sy.balanced_truncation(given, order=2)
    with pytest.raises(ValueError, match="from 3 to 8"):
        sy.balanced_truncation(given, order=9)


def test_nothing_but_unstable_poles():
    red = sy.balanced_truncation(np.eye(2), ONE[[0, 0]], np.ones((1, 2)), order=2)
    assert (red.unstable_order, red.error_bound, len(red.hankel_singular_values)) == (2, 0, 0)


@pytest.mark.parametrize("module", ["", ".gramians", ".realizations"])
def test_examples(module):
    failed, count = doctest.testmod(importlib.import_module(f"dlngeo.systems{module}"))
    assert (failed, count > 0) == (0, True)


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


def test_tolerances_that_cannot_be_met():
    with pytest.raises(ValueError, match=r"goes down to .* at order 4"):
        sy.balanced_truncation(*not_minimal(), tolerance=0)


@pytest.mark.parametrize("tolerance", [-1.0, np.nan, "1", True])
def test_tolerances(tolerance):
    with pytest.raises(ValueError, match="the tolerance must be at least zero"):
        sy.balanced_truncation(*not_minimal(), tolerance=tolerance)


def test_methods():
    with pytest.raises(ValueError, match="method must be one of truncate, matchdc, got 'dc'"):
        sy.balanced_truncation(-ONE, ONE, ONE, order=1, method="dc")


@pytest.mark.parametrize("given", [{}, {"order": 1, "tolerance": 1.0}])
def test_order_or_tolerance(given):
    with pytest.raises(ValueError, match="either an order or a tolerance"):
        sy.balanced_truncation(-ONE, ONE, ONE, **given)


@pytest.mark.parametrize("scale", [1e-160, 1e160])
@pytest.mark.parametrize("name", ["A", "B", "C"])
def test_scales_out_of_range(name, scale):
    given = {"A": -ONE, "B": ONE, "C": ONE}
    given[name] = scale * given[name]
    with pytest.raises(ValueError, match=f"largest entry of {name} is 1.0e.160, .* other units"):
        sy.balanced_truncation(given["A"], given["B"], given["C"], order=1)
