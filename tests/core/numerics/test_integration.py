"""The batched integrator, against SciPy and closed forms."""

import numpy as np
import pytest
from scipy.integrate import solve_ivp

from dlngeo.core.numerics.integration import Status, integrate, integrate_on
from tests.core.brute import assert_close


def pendulum(states: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    angle, speed = states.T
    return np.stack([speed, -np.sin(angle)], axis=1), np.ones(len(states))


@pytest.mark.parametrize("tolerance", [1e-6, 1e-9, 1e-12])
def test_every_element_keeps_its_tolerance(tolerance):
    """Fast and slow pendula in one batch, against SciPy at round-off."""
    states = np.array([[1.0, 0.0], [3.0, 0.0], [0.1, 2.5], [0.0, 0.0]])
    ends = np.array([5.0, 20.0, 0.0, 3.0])
    result = integrate(pendulum, states, ends, tolerance)
    for k, (state, end) in enumerate(zip(states, ends, strict=True)):
        exact = solve_ivp(
            lambda t, y: pendulum(y[None])[0][0], (0, end), state, "DOP853", rtol=1e-13, atol=1e-13
        ).y[:, -1]
        assert_close(result.state[k], exact, 2e3 * tolerance, 1.0)
    assert (result.status == Status.ARRIVED).all()
    np.testing.assert_array_equal(result.time, ends)
    assert result.n_steps[1] > result.n_steps[0] > result.n_steps[2] == 0
    assert np.all(result.error[[0, 1]] < 100 * tolerance)


def test_order_eight():
    """Twice the number of steps, by 2^8 the tolerance: 2^8 to 2^9 the error."""
    state, end = np.array([[1.0, 0.0]]), np.array([8.0])
    steps = [int(integrate(pendulum, state, end, 10.0**-k).n_steps[0]) for k in (6, 12)]
    assert 10 ** (6 / 9) < steps[1] / steps[0] < 10 ** (6 / 7)


def test_no_short_step_at_the_end():
    """The last two of the steps, of twelve stages each, are equal."""
    times = []

    def clock(states: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        times.append(states[0, 2])
        velocity, gap = pendulum(states[:, :2])
        return np.concatenate([velocity, np.ones((1, 1))], axis=1), gap

    for end in (3.0, 5.0, 8.0):
        times.clear()
        integrate(clock, np.array([[1.0, 0.0, 0.0]]), np.array([end]), 1e-9)
        steps = np.diff(times[12::12])
        assert steps[-1] == pytest.approx(steps[-2], rel=1e-12)


def test_boundary_is_located():
    """The gap ``1 - t²/9`` vanishes at three: the time of an accepted step just before."""

    def field(states: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return np.ones_like(states), 1 - states[:, 0] ** 2 / 9

    result = integrate(field, np.zeros((2, 1)), np.array([2.0, 8.0]), 1e-8)
    assert result.status.tolist() == [Status.ARRIVED, Status.BOUNDARY]
    assert result.time[1] == pytest.approx(3.0, abs=1e-12)
    assert result.state[1, 0] == pytest.approx(3.0, abs=1e-12)


def test_on_beyond_the_boundary():
    """A ball between two walls; without a way on it has ended, and after many turns stalls."""

    def flow(start, end, tolerance):
        return integrate(
            lambda state: (np.stack([state[:, 1], 0 * state[:, 1]], axis=1), 1 - abs(state[:, 0])),
            start,
            end,
            tolerance,
        )

    def turn(state, left):
        # The ball rests on the wall for a while.
        turned = np.where(state[:, 1:] > 2.5, np.nan, state * np.array([1.0, -1.0]))
        return turned, np.minimum(0.25, left)

    start = np.array([[0.0, 1.0], [0.5, 2.0], [0.0, 0.5], [0.0, 3.0]])
    end = np.array([4.25, 1.0, 1.0, 1.0])
    found = integrate_on(flow, turn, start, end, 1e-10)
    arrived, boundary = Status.ARRIVED, Status.BOUNDARY
    assert found.status.tolist() == [arrived, arrived, arrived, boundary]
    np.testing.assert_allclose(found.state[:3, 0], [-0.25, 0.0, 0.5], atol=1e-10)
    np.testing.assert_allclose(found.time, [4.25, 1.0, 1.0, 1 / 3], atol=1e-12)
    assert found.n_steps[0] > found.n_steps[2]
    few = integrate_on(flow, turn, start, end, 1e-10, most_turns=1)
    assert few.status.tolist() == [Status.STALLED, arrived, arrived, boundary]


def test_blow_up_stalls():
    """``ẏ = y²`` has no solution beyond ``t = 1``; the others of the batch arrive."""

    def field(states: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return states**2, np.ones(len(states))

    result = integrate(field, np.array([[1.0], [0.1]]), np.array([2.0, 2.0]), 1e-10)
    assert result.status.tolist() == [Status.STALLED, Status.ARRIVED]
    assert result.time[0] == pytest.approx(1.0, abs=1e-9)
    assert result.state[1, 0] == pytest.approx(0.125, rel=1e-9)
