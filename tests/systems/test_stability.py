"""Stable and unstable poles, and the system as a sum over them."""

import numpy as np
import pytest
import scipy.signal
from scipy import linalg

from dlngeo import systems as sy
from dlngeo.systems.stability import _split, modes_of, schur_form, spectrum_of
from dlngeo.systems.state_space import System
from tests.core.brute import assert_close
from tests.systems.linear_systems import (
    TIMES,
    change_of_state,
    random_system,
    transfer,
    transformed,
    unstable_matrix,
)

KINDS = ("growing", "integrators", "chain")


@TIMES
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("seed", range(3))
def test_a_system_is_a_sum(kind, seed, dt):
    """In random states: the summands are found, chains of integrators too."""
    first = unstable_matrix(kind, dt)
    last, *_ = random_system(seed, dt, n=4)
    rng = np.random.default_rng(seed)
    T = rng.standard_normal((7, 7))
    A = T @ linalg.block_diag(first, last) @ np.linalg.inv(T)
    B, C, D = (rng.standard_normal(shape) for shape in ((7, 2), (3, 7), (3, 2)))
    modes = modes_of(System(A, B, C, D, dt))
    assert modes.unstable.order == 3
    assert_close(modes.transformation @ modes.inverse, np.eye(7), 1e-11)
    # Of a chain the eigenvalues are known to ε^{1/3}, the subspace and the sum to ε.
    found, expected = (np.sort_complex(np.linalg.eigvals(a)) for a in (modes.stable.A, last))
    assert_close(found, expected, 1e-8)
    points = 1.5 * np.exp(1j * np.linspace(0.1, 3, 9))
    parts = [transfer(*part[:4], points) for part in (modes.unstable, modes.stable)]
    assert_close(sum(parts), transfer(A, B, C, D, points), 1e-7)
    projected = modes.transformation @ A @ modes.inverse
    assert_close(projected, linalg.block_diag(modes.unstable.A, modes.stable.A), 1e-8)


def test_pairs_stay_together():
    """Of two conjugate poles both are kept, though round-off may put them on either side."""
    A = linalg.block_diag([[0.0, 3], [-3, 0.0]], [[-1.0, 2], [-2, -1]])
    A = transformed((A, A, A), change_of_state(0, 4))[0]
    schur = schur_form(A)
    spectrum = spectrum_of(schur, abs(A), None)
    one = abs(spectrum.eigenvalues - 3j) < 1e-9
    order, to, back = _split(A, schur, spectrum.eigenvalues, one)
    assert (one.sum(), order) == (1, 2)
    assert_close((to @ A @ back)[:2, 2:], np.zeros((2, 2)), 1e-13, scale=1)


def test_stable_systems_stay_whole():
    A, B, C = random_system(0, None)
    modes = modes_of(System(A, B, C, np.zeros((3, 2)), None))
    assert modes.unstable.order == 0
    assert np.count_nonzero(modes.transformation) == len(A)  # units alone


@pytest.mark.parametrize("slow", [1e-6, 1e-9])
def test_a_slow_pole_beside_an_integrator(slow):
    """``1/(s (s + a))``: one state is kept, and the other has a Hankel singular value."""
    A, B, C = [[0.0, 1], [0, -slow]], [[0.0], [1]], [[1.0, 0]]
    reduced = sy.balanced_truncation(A, B, C, order=1)
    assert reduced.unstable_order == 1
    assert reduced.hankel_singular_values == pytest.approx([0.5 / slow**2])
    assert (reduced.C @ reduced.B).item() == pytest.approx(1 / slow)


def test_fast_and_slow_poles_beside_an_integrator():
    """A fast pole does not hide a slow one, coupled or not."""
    A = np.diag([0.0, -1e-6, -1e10])
    A[0, 1:] = 1e-3, 1.0
    A[1, 2] = A[2, 1] = 1e-3
    B = np.ones((3, 1))
    reduced = sy.balanced_truncation(A, B, B.T, order=2)
    assert reduced.unstable_order == 1
    # The slow pole is seen through the integrator, by 1e-3/-1e-6.
    assert reduced.hankel_singular_values[0] == pytest.approx((1000 - 1) / 2e-6, rel=1e-6)
    assert reduced.A[1, 1] == pytest.approx(-1e-6, rel=1e-6)


@pytest.mark.parametrize(
    "A",
    [
        np.diag([1 - 1e-12, 1e-12]),
        np.array([[0.5, 1e10], [0, 0.1]]),
        np.eye(6, k=1) * 1e8,
        np.array([[0.999999, 1e3], [0, -0.999999]]),
    ],
)
def test_stable_in_discrete_time(A):
    """Neither entries nor other poles make a pole on the safe side of the circle unstable."""
    n = len(A)
    found = sy.hankel_singular_values(A, np.eye(n), np.eye(n), True)
    assert found[0] >= 1


@TIMES
def test_integrators_in_dense_states(dt):
    """Poles on the boundary count as unstable, whatever round-off says."""
    for seed in range(20):
        rng = np.random.default_rng(seed)
        frame = np.linalg.qr(rng.standard_normal((6, 6)))[0]
        last, *_ = random_system(seed, dt, n=5)
        A = frame @ linalg.block_diag(float(bool(dt)), last) @ frame.T
        B, C = rng.standard_normal((6, 1)), rng.standard_normal((1, 6))
        with pytest.raises(ValueError, match="not stable"):
            sy.hankel_singular_values(A, B, C, dt)
        assert sy.balanced_truncation(A, B, C, dt=dt, order=1).unstable_order == 1


@TIMES
@pytest.mark.parametrize("poles", [[0.0], [0.0, 0.0], [1j, -1j], [0.0, 2j, -2j]])
def test_reduced_again(poles, dt):
    """What comes back has its poles on the boundary to any reader, and can be given again."""
    for seed in range(10):
        blocks = [np.array([[0, p.imag], [-p.imag, 0]]) for p in np.array(poles) if p.imag > 0]
        first = linalg.block_diag(np.zeros((poles.count(0.0),) * 2), *blocks)[: len(poles)]
        first = first[-len(poles) :, -len(poles) :]
        last, *_ = random_system(seed, dt, n=3)
        A = linalg.block_diag(linalg.expm(first) if dt else first, last)
        rng = np.random.default_rng(seed)
        B, C = rng.standard_normal((len(A), 2)), rng.standard_normal((2, len(A)))
        frame = np.linalg.qr(rng.standard_normal(A.shape))[0]
        system = frame @ A @ frame.T, frame @ B, C @ frame.T
        for order in (len(A), len(A) - 1, len(poles)):
            red = sy.balanced_truncation((*system, np.zeros((2, 2)), dt), order=order)
            assert red.unstable_order == len(poles)
            system = red.A, red.B, red.C


@pytest.mark.parametrize("lags", [[-1.0, -50], [-1.0, -50, -50, -1e4], [-0.1, -2 + 3j, -2 - 3j]])
def test_integrators_of_transfer_functions(lags):
    for count in (1, 2, 3):
        plant = scipy.signal.lti([], [0.0] * count + lags, 50)
        for given in (plant, plant.to_tf()):
            red = sy.balanced_truncation(given, order=count + 1, method="matchdc")
            assert red.unstable_order == count
            assert len(red.hankel_singular_values) >= len(lags) - 1  # one may be round-off
            if count == 1:
                assert sy.balanced_truncation(red, order=1).unstable_order == 1
            with pytest.raises(ValueError, match="not stable: A has the eigenvalue"):
                sy.hankel_singular_values(given)
