"""The method of Ninomiya and Ninomiya: moments, order, descent."""

import numpy as np
import pytest

from dlngeo.sampling.langevin_dynamics import matrix_steps
from tests.sampling.langevin_dynamics.steps import (
    KERNELS,
    ORDERS,
    SMALL,
    check_moments,
    equation_of,
    free_descent,
    local_order,
    start_of,
)
from tests.sampling.reference import matrix_of


@pytest.mark.parametrize("name", ["second-order", "second-order factors"])
@pytest.mark.parametrize(("widths", "rank", "lam", "kappa"), SMALL)
def test_moments_of_a_step_of_second_order(widths, rank, lam, kappa, name):
    check_moments(widths, rank, lam, name, kappa)


@pytest.mark.parametrize("problem", ORDERS, ids=str)
@pytest.mark.parametrize("is_compiled", [True, False], ids=["compiled", "plain"])
def test_second_order_is_of_weak_order_two(problem, is_compiled, monkeypatch):
    """The error of one step, in the mean of a function, is of the third order."""
    if not is_compiled:
        monkeypatch.setattr(matrix_steps, "COMPILED_UP_TO", 0)
    assert abs(local_order(problem, "second-order", 2) - 3) < 0.1


@pytest.mark.parametrize("problem", ORDERS[:2], ids=str)
def test_second_order_is_of_weak_order_two_with_vertical_noise(problem):
    assert abs(local_order(problem, "second-order factors", 2) - 3) < 0.1


@pytest.mark.parametrize("name", ["second-order", "second-order factors"])
@pytest.mark.parametrize("problem", [ORDERS[1], ORDERS[5]], ids=str)
def test_without_noise_end_to_end_matrices_descend(problem, name):
    """``κ = 0``: with order two, also of factors, whose vertical noise is none of the matrix."""
    expected = free_descent(problem, 0.5)
    errors = []
    for n in (20, 40):
        kernel = KERNELS[name](equation_of(problem, kappa=0.0), 0.5 / n)
        start = start_of(problem, name)
        state = kernel.init(start)
        for _ in range(n):
            state = kernel.step(state, np.random.default_rng(0))
        errors.append(np.linalg.norm(matrix_of(state, problem.depth)[0] - expected))
    assert errors[1] < 1e-3
    assert 3.7 < errors[0] / errors[1] < 4.3
