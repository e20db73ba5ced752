"""Two layers against the integrated Riccati equation, at early and late times."""

import mpmath
import numpy as np
import pytest
from scipy.integrate import solve_ivp

from dlngeo.networks.riccati import riccati_path
from tests.core.brute import assert_close

CASES = {
    # widths, c, rank of the hidden layer beyond c, target
    "balanced": ((4, 3, 3), 0.0, 3, "full"),
    "narrow": ((5, 2, 4), 0.0, 2, "full"),
    "one hidden unit": ((3, 1, 3), 0.0, 1, "full"),
    "wide and of low rank": ((2, 4, 3), 0.0, 2, "one"),
    "relaxed": ((3, 3, 3), 0.7, 3, "repeated"),
    "relaxed the other way": ((4, 3, 3), -0.5, 2, "zero"),
    "null space of the first": ((2, 3, 4), 0.3, 1, "full"),
}


def layers_with(widths, offset, rank, rng):
    """Return layers with ``W_2ᵀW_2 - W_1W_1ᵀ = c I``."""
    start, hidden, end = widths
    squares = np.zeros(hidden)
    squares[:rank] = rng.uniform(0.1, 1.2, rank)
    squares = squares + max(-offset, 0)
    frames = [np.linalg.qr(rng.standard_normal((width, width)))[0] for width in widths]
    first, second = np.zeros((hidden, start)), np.zeros((end, hidden))
    np.fill_diagonal(first, squares[: min(hidden, start)] ** 0.5)
    np.fill_diagonal(second, (squares + offset)[: min(hidden, end)] ** 0.5)
    return frames[1] @ first @ frames[0].T, frames[2] @ second @ frames[1].T


def target_of(kind, shape, rng):
    return {
        "full": rng.standard_normal(shape),
        "one": np.outer(np.ones(shape[0]), np.arange(1.0, 1 + shape[1])),
        "repeated": np.eye(*shape),
        "zero": np.zeros(shape),
    }[kind]


@pytest.mark.parametrize("case", CASES)
def test_layers_follow_their_flow(case):
    widths, offset, rank, kind = CASES[case]
    rng = np.random.default_rng(list(CASES).index(case))
    first, second = layers_with(widths, offset, rank, rng)
    moment = second.T @ second - first @ first.T
    assert_close(moment, offset * np.eye(widths[1]), 1e-13, scale=1.0)
    target = target_of(kind, (widths[2], widths[0]), rng)

    def velocity(_, state):
        a, b = state[: first.size].reshape(first.shape), state[first.size :].reshape(second.shape)
        residual = b @ a - target
        return -np.concatenate([(b.T @ residual).ravel(), (residual @ a.T).ravel()])

    times = np.array([1e-6, 0.01, 0.3, 1.0, 4.0, 12.0])
    start = np.concatenate([first.ravel(), second.ravel()])
    flow = solve_ivp(velocity, (0, times[-1]), start, "Radau", t_eval=times, rtol=1e-12, atol=1e-15)
    a, b = np.split(flow.y.T, [first.size], axis=1)
    expected = b.reshape(-1, *second.shape) @ a.reshape(-1, *first.shape)
    found = riccati_path(first, second, target, offset, times)
    assert_close(found, expected, 1e-11, scale=1.0)


def test_times_of_every_size():
    """At once after the start nothing has moved; late, two layers hold the best of their rank."""
    rng = np.random.default_rng(0)
    first, second = layers_with((4, 2, 3), 0.0, 2, rng)
    target = rng.standard_normal((3, 4))
    path = riccati_path(first, second, target, 0.0, np.array([1e-300, 1e-30, 1e5, 1e300]))
    u, s, vt = np.linalg.svd(target)
    best = u[:, :2] * s[:2] @ vt[:2]
    assert_close(path[:2], np.stack([second @ first] * 2), 1e-13)
    assert_close(path[2:], np.stack([best] * 2), 1e-12)


def test_rates_far_apart():
    """A mode that is done before the next one begins, by more than a double's exponents."""
    target, times = np.diag([1e3, 1.0]), np.array([1.0, 5.0, 8.0])
    start = 1e-2 * np.eye(2)
    path = riccati_path(start, start, target, 0.0, times)
    for k, y in enumerate(np.diag(target)):
        sigmoid = y / (1 + (y / 1e-4 - 1) * np.exp(-2 * y * times))
        assert_close(path[:, k, k], sigmoid, 1e-13, scale=y)


@pytest.mark.parametrize(
    ("second", "tolerance"),
    [([[0, 0], [1, 1], [0, 1]], 1e-13), ([[1, 0], [1, 1e-4], [1, 1]], 1e-11)],
)
def test_late_times_without_growing_exponentials(second, tolerance):
    """Modes that are not there at first never come; nearly parallel ones part, late.

    The solution in 200 digits, by ``P = e^{Ft} Q_0 (1 + Q_0^T g(F) Q_0)^{-1} Q_0^T e^{Ft}``.
    """
    rates, times = [3, 2, 1], np.array([0.5, 5.0, 20.0, 100.0])
    second = np.array(second, dtype=float)
    found = riccati_path(second.T, second, np.diag([3.0, 2, 1]), 0.0, times)
    with mpmath.workdps(200):
        # In the sums and the differences of both ends, of which the latter are zero at the start.
        start = mpmath.matrix(second) * mpmath.sqrt(2)
        for path, time in zip(found, times, strict=True):
            growth = mpmath.diag([(mpmath.exp(2 * y * time) - 1) / (2 * y) for y in rates])
            ends = mpmath.diag([mpmath.exp(y * time) for y in rates]) * start
            gram = mpmath.eye(2) + start.T * growth * start
            p = ends * mpmath.inverse(gram) * ends.T / 2
            assert_close(path, np.array(p.tolist(), dtype=float), tolerance)
