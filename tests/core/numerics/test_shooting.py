"""Shooting on problems whose ends are known functions."""

from collections.abc import Iterator

import numpy as np

from dlngeo.core.numerics.shooting import CONVERGED, Aim, Attempt, Found, search, shoot


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


def aim_at_squares(goals: np.ndarray, part: float = 1.0) -> Aim:
    """Return the aim ``u² = goal``, from the Jacobian at one."""

    def miss(index: np.ndarray, u: np.ndarray, _: np.ndarray) -> np.ndarray:
        return u**2 - goals[index]

    return Aim(miss, np.full((len(goals), 1, 1), 0.5), part)


def test_search_keeps_the_shortest_and_tells_what_is_lost():
    """Each strategy sees what none before has joined; ``u² = -1`` has no solution."""
    goals, seen = np.array([[1.0], [4.0], [-1.0]]), []

    def first_pair(found: Found) -> Iterator[Attempt]:
        seen.append(found.missing.tolist())
        yield Attempt(found.missing[:1], np.array([[1.2]]), [aim_at_squares(goals[:1])])

    def everything(found: Found) -> Iterator[Attempt]:
        lost = found.missing
        seen.append(lost.tolist())
        for start in (-1.9, 1.9):
            yield Attempt(lost, np.full((len(lost), 1), start), [aim_at_squares(goals[lost])])

    found = search(3, 1, [first_pair, everything, everything])
    assert seen == [[0, 1, 2], [1, 2], [2]]
    np.testing.assert_array_equal(found.is_found, [True, True, False])
    np.testing.assert_allclose(abs(found.velocity[:2, 0]), [1, 2], rtol=1e-10)
    assert np.isnan(found.velocity[2, 0])
    assert found.residual[:2].max() <= CONVERGED
    assert 1 - 1e-6 <= found.residual[2] < np.inf


def test_continuation_takes_the_guess_along():
    """From aim to aim it grows in proportion to the part of the way."""
    goal, starts = np.array([[9.0]]), []

    def solve(miss, start: np.ndarray, inverse: np.ndarray) -> tuple:
        starts.append(float(start[0, 0]))
        return shoot(miss, start, inverse)

    def in_stages(found: Found) -> Iterator[Attempt]:
        aims = (aim_at_squares(part**2 * goal, part) for part in (0.25, 0.5, 1.0))
        yield Attempt(found.missing, np.array([[3.2]]), aims)

    found = search(1, 1, [in_stages], solve)
    np.testing.assert_allclose(starts, [0.8, 1.5, 3.0], rtol=1e-9)
    assert abs(found.velocity[0, 0] - 3) < 1e-9
