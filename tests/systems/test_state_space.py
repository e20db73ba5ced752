"""What linear systems are given by, and what is refused."""

import control
import numpy as np
import pytest

from dlngeo import systems as sy
from tests.systems.linear_systems import random_system


@pytest.mark.parametrize("dt", [None, 0, True, 0.1])
def test_state_space(dt):
    """A StateSpace comes back as one, with its time and the names of its signals."""
    A, B, C = random_system(15, dt)
    D = np.ones((3, 2))
    names = {"inputs": ["force", "heat"], "outputs": ["x", "y", "z"]}
    system = control.StateSpace(A, B, C, D, dt, **names)
    expected = sy.balanced_truncation(A, B, C, D, dt, order=4)
    reduced = sy.balanced_truncation(system, order=4)
    assert isinstance(reduced, control.StateSpace)
    assert (reduced.input_labels, reduced.output_labels) == (names["inputs"], names["outputs"])
    assert reduced.dt is dt
    for name in "ABCD":
        np.testing.assert_array_equal(getattr(reduced, name), getattr(expected, name))
    full = sy.balanced_realization(system)
    np.testing.assert_allclose(full(0.3), system(0.3), rtol=1e-9)
    assert sy.balanced_truncation(system, order=0).nstates == 0
    np.testing.assert_array_equal(
        sy.hankel_singular_values(system), sy.hankel_singular_values(A, B, C, dt)
    )
    np.testing.assert_array_equal(
        sy.controllability_gramian(system), sy.controllability_gramian(A, B, dt)
    )
    np.testing.assert_array_equal(
        sy.observability_gramian(system), sy.observability_gramian(A, C, dt)
    )


# --- what is refused -------------------------------------------------------------------

ONE = np.array([[1.0]])


@pytest.mark.parametrize(
    ("A", "dt", "message"),
    [
        ([[0.5, 2], [-2, 0.5]], None, r"eigenvalue 0.5[+-]2j, .* negative real part"),
        ([[0.0, 1], [0, -1]], 0, r"eigenvalue 0\+0j"),
        ([[-1.0, 1], [0, 0.5]], True, r"eigenvalue -1\+0j, .* modulus below 1 \(dt is True\)"),
        ([[-1.0, 1], [0, -3]], 0.1, r"eigenvalue -3"),
    ],
)
def test_unstable_systems(A, dt, message):
    B, C = [[1.0], [1.0]], [[1.0, 1.0]]
    for call in (
        lambda: sy.controllability_gramian(A, B, dt),
        lambda: sy.observability_gramian(A, C, dt),
        lambda: sy.hankel_singular_values(A, B, C, dt),
        lambda: sy.balanced_realization(A, B, C, None, dt),
        lambda: sy.balanced_truncation(A, B, C, dt=dt, order=1),
    ):
        with pytest.raises(ValueError, match=message):
            call()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((np.ones((2, 3)), ONE, ONE), r"shapes \(n, n\)"),
        ((-ONE, np.ones((2, 1)), ONE), r"got \(1, 1\), \(2, 1\)"),
        ((-ONE, ONE, np.ones((1, 2))), r"shapes"),
        ((-ONE, ONE, ONE, np.ones((2, 1))), r"\(p, m\)"),
        ((np.ones((0, 0)), np.ones((0, 1)), np.ones((1, 0))), "at least one state"),
        ((-ONE, np.ones(1), ONE), "B must be a matrix"),
        ((-ONE, ONE * np.nan, ONE), "B holds NaN"),
        ((-ONE, ONE, 1j * ONE), "C is of type complex"),
        ((-ONE, ONE), "matrices of a system"),
        ((-ONE, ONE, ONE, None, -0.1), "dt must be"),
        ((-ONE, ONE, ONE, None, np.nan), "dt must be"),
        ((-ONE, ONE, ONE, None, "s"), "dt must be"),
        ((control.ss(-1, 1, 1, 0), ONE), "pass it alone"),
    ],
)
def test_wrong_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        sy.balanced_realization(*arguments)
