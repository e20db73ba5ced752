"""Shooting on problems whose ends are known functions."""

import numpy as np

from dlngeo.core.numerics.shooting import CONVERGED, shoot


def bent(u: np.ndarray) -> np.ndarray:
    """Return ends that depend on velocities by a smooth nonlinear map."""
    x, y = u.T
    return np.stack([x + 0.3 * np.sin(y), y + 0.3 * x**2], axis=1)


def test_a_batch_is_solved_from_a_poor_jacobian():
    goals = np.random.default_rng(0).uniform(-1, 1, (50, 2))
    inverse = np.tile(np.array([[0.5, 0.4], [-0.4, 0.5]]), (50, 1, 1))
    u, defect = shoot(lambda index, u, _: bent(u) - goals[index], goals, inverse)
    assert defect.max() <= CONVERGED
    np.testing.assert_allclose(bent(u), goals, rtol=0, atol=CONVERGED)


def test_what_has_no_solution_is_told():
    """``1 + u²`` does not vanish, and a start that never arrives has an infinite defect."""
    inverse = np.ones((2, 1, 1))

    def miss(index: np.ndarray, u: np.ndarray, _: np.ndarray) -> np.ndarray:
        return np.where(index[:, None] == 1, np.inf, 1 + u**2)

    _, defect = shoot(miss, np.array([[0.5], [1.0]]), inverse)
    assert 1 - 1e-6 <= defect[0] < np.inf
    assert defect[1] == np.inf


def test_a_start_beyond_the_boundary_is_shortened():
    def miss(index: np.ndarray, u: np.ndarray, _: np.ndarray) -> np.ndarray:
        return np.where(abs(u) > 1, np.inf, u**3 - 0.2)

    u, defect = shoot(miss, np.array([[2.5]]), np.ones((1, 1, 1)))
    assert defect[0] <= CONVERGED
    assert abs(u[0, 0] - 0.2 ** (1 / 3)) < 1e-9
