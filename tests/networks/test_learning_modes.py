"""Strengths of modes against their integrated equation and integrals of many digits."""

import mpmath
import numpy as np
import pytest
from scipy.integrate import solve_ivp

from dlngeo.networks.learning_modes import mode_strengths

STRENGTHS = {
    "below": (0.1, 1.0),
    "far below": (1e-12, 1.0),
    "above": (5.0, 1.0),
    "far above": (1.0, 1e-12),
    "of the other sign": (0.5, -1.0),
    "of a small other sign": (1.0, -1e-12),
    "zero": (0.7, 0.0),
    "near": (1e-6, 1.1e-6),
    "large": (1e6, 3e6),
}


@pytest.mark.parametrize("depth", [3, 4, 10, 30])
@pytest.mark.parametrize("case", STRENGTHS)
def test_strengths_follow_their_flow(case, depth):
    """In units of the larger of both, for the roots ``λ``, ``λ' = λ^{N-1} (y - λ^N)``."""
    start, target = STRENGTHS[case]
    unit = max(start, abs(target))
    times = np.array([0, 1e-9, 0.1, 1.0, 10.0, 100.0])
    flow = solve_ivp(
        lambda _, root: root ** (depth - 1) * (target / unit - root**depth),
        (0, times[-1]), [(start / unit) ** (1 / depth)], "DOP853", times,
        rtol=3e-14, atol=1e-18,
    )  # fmt: skip
    found = mode_strengths(
        np.array([start]), np.array([target]), depth, times / unit ** (2 - 2 / depth)
    )
    np.testing.assert_allclose(found[:, 0], unit * flow.y[0] ** depth, rtol=2e-11)


@pytest.mark.parametrize("depth", [3, 10])
@pytest.mark.parametrize(
    ("start", "end", "target"),
    [
        (1e-3, 1 - 1e-9, 1.0),
        (0.3, 0.499, 1.0),
        (8.0, 1.25, 1.0),
        (3.0, 2.01, 1.0),
        (2.0, 1e-9, -1.0),
    ],
)
def test_times_are_integrals(start, end, target, depth):
    with mpmath.workdps(30):
        time = mpmath.quad(
            lambda s: 1 / (depth * s ** (2 - mpmath.mpf(2) / depth) * (target - s)),
            [start, *np.geomspace(start, end, 12)[1:-1], end],
        )
    found = mode_strengths(np.array([start]), np.array([target]), depth, np.array([float(time)]))
    np.testing.assert_allclose(found, end, rtol=1e-12)


@pytest.mark.parametrize("case", STRENGTHS)
def test_late_times(case):
    """A target of the same sign is reached, zero else, without a warning."""
    start, target = STRENGTHS[case]
    found = mode_strengths(np.array([start]), np.array([target]), 5, np.array([1e250]))
    np.testing.assert_allclose(found, max(target, 0), rtol=1e-15, atol=1e-100)
