"""The Metropolis scheme: proposals, detailed balance, exact laws at long steps."""

import numpy as np
import pytest

from dlngeo.sampling.langevin_dynamics.equation import Equation
from dlngeo.sampling.langevin_dynamics.metropolis import Metropolis
from tests.sampling.generators import Problem
from tests.sampling.langevin_dynamics.steps import (
    MOMENTS,
    ORDERS,
    check_moments,
    equation_of,
    half_square,
    local_order,
    orientation,
)
from tests.sampling.reference import SpectralLaw, matrices, matrix_of, replay


@pytest.mark.parametrize(("widths", "rank", "lam", "kappa"), MOMENTS)
def test_moments_of_proposals_are_those_of_the_equation(widths, rank, lam, kappa):
    check_moments(widths, rank, lam, "metropolis", kappa)


@pytest.mark.parametrize("problem", ORDERS, ids=str)
def test_proposals_are_of_weak_order_one(problem):
    """Which makes the rate of rejection small of a higher order than a random walk's."""
    assert abs(local_order(problem, "metropolis", 1) - 2) < 0.05


class Pair:
    """Proposals of a problem in the chart, with densities by finite differences."""

    def __init__(self, problem, step):
        self.problem, self.step = problem, step
        self.kernel = Metropolis(equation_of(problem), step)

    def coordinates_of(self, matrix):
        """Return entries, or first column and first row."""
        if self.problem.rank == 2:
            return matrix.reshape(*matrix.shape[:-2], 4)
        return np.concatenate([matrix[..., :, 0], matrix[..., 0, 1:]], axis=-1)

    def proposals(self, coordinates, draws):
        """Return the coordinates of proposals from a point, all accepted."""
        matrix = np.asarray(self.problem.matrix(coordinates))
        state = self.kernel.init((np.repeat(matrix[None], len(draws), axis=0),))
        after = self.kernel.step(state, replay(self._normals(state, draws), 1e-300))
        return self.coordinates_of(matrix_of(after, self.problem.depth))

    def _normals(self, state, draws):
        """Return what the kernel draws, of which the part along frames is thrown away."""
        rank = self.problem.rank
        parts, used = [draws[:, : rank * rank].reshape(-1, rank, rank)], rank * rank
        for frame in (state.left, state.right):
            size = frame.shape[-2]
            if size > rank:
                # In a fixed basis of the complement of the frame at this point.
                basis = np.linalg.svd(frame[0])[0][:, rank:]
                count = (size - rank) * rank
                inner = draws[:, used : used + count].reshape(-1, size - rank, rank)
                parts.append(basis @ inner)
                used += count
        return np.concatenate([part.reshape(len(draws), -1) for part in parts], axis=1)

    def draw_for(self, source, target):
        """Return the normals that lead from one point to another, by Newton's method."""
        draw, reach = np.zeros(len(source)), 1.0
        error = self.proposals(source, draw[None])[0] - target
        for _ in range(40):
            step = np.linalg.solve(self.jacobian(source, draw), error)
            trial = draw - reach * step
            moved = self.proposals(source, trial[None])[0] - target
            if np.linalg.norm(moved) < np.linalg.norm(error):
                draw, error, reach = trial, moved, min(1.0, 2 * reach)
            else:
                reach /= 2
            if np.linalg.norm(error) < 1e-12:
                break
        assert np.linalg.norm(error) < 1e-11
        return draw

    def jacobian(self, source, draw):
        size = len(draw)
        units = 1e-4 * np.concatenate(
            [np.eye(size), -np.eye(size), 2 * np.eye(size), -2 * np.eye(size)]
        )
        p, m, pp, mm = np.split(self.proposals(source, draw + units), 4)
        return ((8 * (p - m) - (pp - mm)) / 12e-4).T

    def log_flow(self, source, target):
        """Return the logarithm of the target density times that of the proposal."""
        problem = self.problem
        draw = self.draw_for(source, target)
        matrix = np.asarray(problem.matrix(source))
        log_density = problem.entropy(matrix) - problem.beta * problem.energy(matrix)
        volume = np.linalg.slogdet(problem.metric(source))[1] / 2
        jacobian = np.linalg.slogdet(self.jacobian(source, draw))[1]
        return log_density / problem.kappa + volume - draw @ draw / 2 - jacobian, draw

    def log_acceptance(self, source, draw):
        """Return the logarithm of the kernel's ratio, by bisection over the uniform number."""
        matrix = np.asarray(self.problem.matrix(source))[None]
        state = self.kernel.init((matrix,))
        low, high = -60.0, 0.0
        for _ in range(60):
            middle = (low + high) / 2
            draws = replay(self._normals(state, draw[None]), np.exp(middle))
            is_accepted = self.kernel.step(state, draws).n_accepted[0] == 1
            low, high = (middle, high) if is_accepted else (low, middle)
        return (low + high) / 2


BALANCED = [
    *[
        Problem((2,) * (depth + 1), 2, kappa=kappa)
        for depth in (1, 2, 3, 5)
        for kappa in (1.0, 0.4)
    ],
    Problem((2, 4, 2, 2), 2),
    Problem((1, 1, 1, 2), 1),
    Problem((2, 3, 3), 1, kappa=0.5),
    Problem((2, 2), 1),
]


@pytest.mark.parametrize("problem", BALANCED, ids=str)
def test_acceptance_is_that_of_detailed_balance(problem):
    r"""``π(x) q(x, y) a(x, y) = π(y) q(y, x) a(y, x)``, all densities in the chart."""
    pair = Pair(problem, 0.05 if problem.depth < 5 else 0.02)
    rng = np.random.default_rng(4)
    source = np.asarray(problem.coordinates, dtype=float)
    for _ in range(3):
        target = pair.proposals(source, rng.standard_normal((1, len(source))))[0]
        forth, draw = pair.log_flow(source, target)
        back, draw_back = pair.log_flow(target, source)
        ratio = back - forth
        assert abs(pair.log_acceptance(source, draw) - min(ratio, 0.0)) < 1e-7
        assert abs(pair.log_acceptance(target, draw_back) - min(-ratio, 0.0)) < 1e-7


@pytest.mark.parametrize(
    ("widths", "rank", "beta", "kappa", "step"),
    [
        ((1, 1, 1, 1), 1, 2.0, 1.0, 0.4),
        ((2, 2, 2), 2, 3.0, 1.0, 0.4),
        ((2, 2, 2, 2), 2, 3.0, 0.5, 0.4),
    ],
)
@pytest.mark.parametrize("determinant", [None, "positive"])
def test_law_is_exact_at_long_steps(widths, rank, beta, kappa, step, determinant):
    """Where Euler's scheme is far off; of values alike on both components, and on one."""
    depth, n = len(widths) - 1, 2500
    energy, gradient = half_square(depth)
    law = SpectralLaw(widths, rank, energy, beta, kappa)
    rng = np.random.default_rng(9)
    equation = Equation(
        gradient,
        widths,
        rank,
        beta,
        kappa,
        energy=lambda x: energy(np.linalg.svd(x, compute_uv=False) ** (1 / depth)),
        determinant=determinant,
    )
    start = np.tile(1.1 - 0.4 * np.arange(rank), (n, 1))
    kernel = Metropolis(equation, step)
    state = kernel.init((matrices(start, depth, widths[-1], widths[0], rng),))
    before = orientation(state)
    for _ in range(60):
        state = kernel.step(state, rng)
    assert 0.35 < state.n_accepted.mean() / 60 < 0.99
    stayed = (orientation(state) == before).mean()
    if determinant is None:
        assert not state.n_rejected.any()
        assert abs(stayed - 0.5) < 4.5 * np.sqrt(0.25 / n)
    else:
        assert state.n_rejected.any()
        assert stayed == 1
    lam = np.sort(state.lam, axis=-1)[:, ::-1]
    assert max(map(abs, law.scores(lam).values())) < 4.5


@pytest.mark.parametrize("depth", [1, 2, 3, 10])
@pytest.mark.parametrize(("rows", "columns", "rank"), [(2, 2, 2), (3, 2, 2), (3, 3, 1)])
@pytest.mark.parametrize("determinant", [None, "positive"])
def test_chains_at_the_boundary(depth, rows, columns, rank, determinant):
    """Near rank loss, with hot noise and a gradient that is infinite at the boundary."""
    n = 50
    rng = np.random.default_rng(2)
    widths = (columns, *[min(rows, columns)] * (depth - 1), rows)
    energy, gradient = half_square(depth)
    equation = Equation(
        gradient,
        widths,
        rank,
        beta=0.5,
        energy=lambda x: energy(np.linalg.svd(x, compute_uv=False)[:, :rank] ** (1 / depth)),
        determinant=determinant,
    )
    kernel = Metropolis(equation, 0.3)
    lam = np.ones((n, rank))
    lam[:, -1] = 1e-3
    state = kernel.init((matrices(lam, depth, rows, columns, rng),))
    before = orientation(state) if rows == columns == rank else None
    for _ in range(60):
        previous, state = state, kernel.step(state, rng)
        is_lost = state.n_rejected > previous.n_rejected
        assert (state.n_accepted[is_lost] == previous.n_accepted[is_lost]).all()
        assert (state.lam[is_lost] == previous.lam[is_lost]).all()
        assert np.isfinite(state.lam).all()
        assert (state.lam > 0).all()
        assert np.isfinite(state.energy + state.entropy).all()
    assert state.n_accepted.mean() > 5
    if before is not None:
        assert state.n_rejected.any() == (determinant is not None)
        assert (orientation(state) == before).all() == (determinant is not None)


def test_walls_of_infinite_energy_hold():
    """Nor is a gradient asked for behind them."""
    asked = []

    def gradient(x):
        asked.append(np.linalg.norm(x, axis=(1, 2)).max())
        return x

    def energy(x):
        norm = np.linalg.norm(x, axis=(1, 2))
        return np.where(norm < 2, norm**2 / 2, np.where(norm < 2.5, np.inf, np.nan))

    kernel = Metropolis(Equation(gradient, (2, 2, 2), 2, 0.5, energy=energy), 0.3)
    state = kernel.init((np.tile(np.eye(2), (200, 1, 1)),))
    rng = np.random.default_rng(0)
    for _ in range(30):
        state = kernel.step(state, rng)
        assert np.linalg.norm(matrix_of(state, 2), axis=(1, 2)).max() < 2
    assert max(asked) < 2
    with pytest.raises(ValueError, match="not finite at every initial state"):
        kernel.init((3 * np.ones((1, 1, 1)) * np.eye(2),))
