"""Euler and Maruyama's scheme: moments, order, laws and the boundary, of matrices and factors."""

import numpy as np
import pytest

from dlngeo.sampling.langevin_dynamics import matrix_steps
from dlngeo.sampling.langevin_dynamics.equation import Equation
from dlngeo.sampling.langevin_dynamics.euler_maruyama import EulerMaruyama
from tests.core.brute import assert_close
from tests.sampling.langevin_dynamics.steps import (
    MOMENTS,
    ORDERS,
    check_moments,
    equation_of,
    free_descent,
    half_square,
    local_order,
    orientation,
)
from tests.sampling.reference import SpectralLaw, matrices, matrix_of

# --- one step -------------------------------------------------------------------------


@pytest.mark.parametrize(("widths", "rank", "lam", "kappa"), MOMENTS)
@pytest.mark.parametrize("is_compiled", [True, False], ids=["compiled", "plain"])
def test_moments_of_a_step_are_those_of_the_equation(
    widths, rank, lam, kappa, is_compiled, monkeypatch
):
    """Drift and covariance in a ``g``-orthonormal frame, by cubature over the noise."""
    if not is_compiled:
        monkeypatch.setattr(matrix_steps, "COMPILED_UP_TO", 0)
    check_moments(widths, rank, lam, "observables", kappa)


@pytest.mark.parametrize(("widths", "rank", "lam", "kappa"), MOMENTS)
def test_moments_of_a_step_of_factors(widths, rank, lam, kappa):
    """Of end-to-end matrices, although it is the factors that move."""
    check_moments(widths, rank, lam, "factors", kappa)


@pytest.mark.parametrize("problem", ORDERS, ids=str)
def test_weak_order_is_one(problem):
    """The error of one step, in the mean of a function, is of the second order."""
    assert abs(local_order(problem, "observables", 1) - 2) < 0.05


@pytest.mark.parametrize("problem", ORDERS, ids=str)
def test_weak_order_of_factors_is_one(problem):
    assert abs(local_order(problem, "factors", 1) - 2) < 0.05


# --- laws -----------------------------------------------------------------------------


@pytest.mark.parametrize("determinant", [None, "positive"])
def test_one_value_is_half_normal(determinant):
    """``d = 1``: the volume is flat; the chain crosses, or the wall reflects it."""
    depth, beta, n = 3, 2.0, 2000
    energy, gradient = half_square(depth)
    law = SpectralLaw((1,) * (depth + 1), 1, energy, beta)
    rng = np.random.default_rng(0)
    assert_close(law.mean(lambda lam: lam[..., 0]), np.sqrt(2 / (np.pi * depth * beta)), 1e-9)
    equation = Equation(gradient, (1,) * (depth + 1), 1, beta, determinant=determinant)
    kernel = EulerMaruyama(equation, 0.01)
    state = kernel.init((np.full((n, 1, 1), 1.0),))
    for _ in range(500):
        state = kernel.step(state, rng)
    assert max(map(abs, law.scores(state.lam).values())) < 4.5
    share = (matrix_of(state, depth) > 0).mean()
    if determinant is None:
        assert not state.n_reflections.any()
        assert abs(share - 0.5) < 4.5 * np.sqrt(0.25 / n)
    else:
        assert state.n_reflections.mean() > 5
        assert share == 1


@pytest.mark.parametrize(("depth", "beta", "kappa"), [(3, 3.0, 1.0), (2, 2.0, 0.5)])
def test_law_is_that_of_quadrature_with_entropy(depth, beta, kappa):
    """And without the entropy it is another, by far more than the error of the mean.

    Other shapes and faces are in `tests.statistics.test_langevin`.
    """
    widths, rank, n = (2,) * (depth + 1), 2, 2000
    energy, gradient = half_square(depth)
    law = SpectralLaw(widths, rank, energy, beta, kappa)
    rng = np.random.default_rng(1)
    kernel = EulerMaruyama(Equation(gradient, widths, rank, beta, kappa), 0.01)
    state = kernel.init((matrices(np.tile([1.0, 0.7], (n, 1)), depth, 2, 2, rng),))
    for _ in range(300):
        state = kernel.step(state, rng)
    lam = np.sort(state.lam, axis=-1)[:, ::-1]
    assert max(map(abs, law.scores(lam).values())) < 4.5
    bare = SpectralLaw(widths, rank, energy, beta, kappa, has_entropy=False)
    assert max(map(abs, bare.scores(lam).values())) > 10


# --- temperatures ---------------------------------------------------------------------


@pytest.mark.parametrize("problem", ORDERS[:2] + ORDERS[3:6], ids=str)
def test_without_noise_it_descends_the_free_energy(problem):
    """``κ = 0``, with Euler's order one."""
    expected = free_descent(problem, 0.5)
    errors = []
    for n in (50, 100, 200):
        kernel = EulerMaruyama(equation_of(problem, kappa=0.0), 0.5 / n)
        state = kernel.init((problem.point[None],))
        for _ in range(n):
            state = kernel.step(state, np.random.default_rng(0))
        errors.append(np.linalg.norm(matrix_of(state, problem.depth)[0] - expected))
    assert errors[-1] < 0.02
    assert 1.85 < errors[0] / errors[1] < 2.15
    assert 1.85 < errors[1] / errors[2] < 2.15


# --- the boundary ---------------------------------------------------------------------


@pytest.mark.parametrize("depth", [1, 2, 3, 5, 10])
@pytest.mark.parametrize(
    ("rows", "columns", "rank"), [(1, 1, 1), (2, 2, 2), (3, 3, 3), (3, 2, 2), (3, 3, 1), (9, 9, 9)]
)
@pytest.mark.parametrize("determinant", [None, "positive"])
def test_chains_at_the_boundary(depth, rows, columns, rank, determinant):
    """Near rank loss, with hot noise and a gradient that is infinite at the boundary."""
    n = 50
    rng = np.random.default_rng(2)
    widths = (columns, *[min(rows, columns)] * (depth - 1), rows)
    _, gradient = half_square(depth)
    lam = np.linspace(1.0, 0.05, rank) * np.ones((n, 1))
    lam[:, -1] = 1e-3
    start = matrices(lam, depth, rows, columns, rng)
    equation = Equation(gradient, widths, rank, beta=0.5, determinant=determinant)
    kernel = EulerMaruyama(equation, 0.1)
    state = kernel.init((start,))
    # Of the frames: at depth ten det X itself is lost in round-off.
    before = orientation(state) if rows == columns == rank else None
    for _ in range(100):
        state = kernel.step(state, rng)
        assert np.isfinite(state.lam).all()
        assert (state.lam > 0).all()
    for frame in (state.left, state.right):
        assert_close(frame.swapaxes(-1, -2) @ frame, np.eye(rank) + np.zeros((n, 1, 1)), 1e-9)
    if rows == columns == rank:
        assert state.n_reflections.any() == (determinant is not None)
        assert (orientation(state) == before).all() == (determinant is not None)
    else:
        assert state.n_reflections.sum() == 0


def test_steps_without_bound_are_rejected():
    """No decomposition sees what is not finite."""
    for rows, columns in ((2, 2), (9, 9), (3, 2)):
        equation = Equation(lambda x: -1e200 * x**3, (columns, columns, rows), columns, 1.0)
        kernel = EulerMaruyama(equation, 1.0)
        state = kernel.init((np.ones((3, 1, 1)) * np.eye(rows, columns),))
        with np.errstate(all="ignore"):
            for _ in range(6):
                state = kernel.step(state, np.random.default_rng(0))
        assert (state.n_stuck > 0).all()
        assert all(np.isfinite(part).all() for part in state)
