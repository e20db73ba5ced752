"""Conjugate gradients on batches of layers, against dense solutions."""

import numpy as np
import pytest

from dlngeo.core.base.vectors import Layers
from dlngeo.core.numerics.conjugate_gradients import better_solution, conjugate_gradient
from tests.core.brute import assert_close, orthonormal_frame
from tests.core.libraries import ARRAYS

SHAPES = [(2, 3), (3, 1)]
SIZE = 9


def operators(values, rng):
    """Return symmetric matrices with given eigenvalues, shape=[..., 9, 9], as an operator."""
    frame = orthonormal_frame(SIZE, SIZE, rng)
    return frame * np.asarray(values)[..., None, :] @ frame.T


def column(layers):
    rows = [np.asarray(w).reshape(*w.shape[:-2], -1) for w in layers]
    return np.concatenate(rows, axis=-1)


def layers_of(vector, make=np.asarray):
    return [
        make(vector[..., :6].reshape(*vector.shape[:-1], 2, 3)),
        make(vector[..., 6:].reshape(*vector.shape[:-1], 3, 1)),
    ]


def applied(dense, make=np.asarray):
    return lambda layers: layers_of((dense @ column(layers)[..., None])[..., 0], make)


@pytest.mark.parametrize("library", ARRAYS)
@pytest.mark.parametrize("size", [1.0, 30.0, 1e4])
def test_definite_equations_to_round_off(library, size):
    """Every element of a batch stops by itself: the error is at most the residual."""
    rng = np.random.default_rng(0)
    values = np.stack([np.ones(SIZE), np.geomspace(1, size, SIZE), np.full(SIZE, size)])
    dense, b = operators(values, rng), rng.normal(size=(3, SIZE))
    make = ARRAYS[library]
    solution, is_solved = conjugate_gradient(applied(dense, make), layers_of(b, make))
    assert np.asarray(is_solved).all()
    expected = np.linalg.solve(dense, b[..., None])[..., 0]
    # Round-off of both, by the condition number.
    np.testing.assert_allclose(column(solution), expected, rtol=0, atol=2e-15 * (10 + size))
    assert isinstance(solution[0], type(make(0.0)))


def test_semidefinite_equations():
    """Preconditioned, to half the digits, with the right-hand side in the range."""
    rng = np.random.default_rng(1)
    values = np.array([[5.0, 4, 3, 2, 1, 1, 0.5, 0, 0], [1.0] * 4 + [0.1] * 5])
    dense = operators(values, rng)
    b = (dense @ rng.normal(size=(2, SIZE, 1)))[..., 0]

    def precondition(layers):
        return layers_of(column(layers) / np.einsum("...ii->...i", dense))

    solution, is_solved = conjugate_gradient(applied(dense), layers_of(b), precondition)
    assert is_solved.all()
    image = (dense @ column(solution)[..., None])[..., 0]
    assert_close(image, b, 1e-7)


def test_off_the_range_the_best_step_counts():
    """What is off the range stays, and it is said that the equation is not solved."""
    rng = np.random.default_rng(2)
    frame = orthonormal_frame(SIZE - 1, SIZE - 1, rng)
    # Singular to the last bit: a null value of round-off would make the equation solvable.
    dense = np.zeros((SIZE, SIZE))
    dense[1:, 1:] = frame * np.array([5.0, 4, 3, 2, 1, 1, 0.5, 0.2]) @ frame.T
    b = dense @ rng.normal(size=SIZE)
    b[0] = 1e-6
    solution, is_solved = conjugate_gradient(applied(dense), layers_of(b), lambda v: v)
    assert not is_solved
    assert_close(dense @ column(solution), b, 2e-6)


def test_zero():
    solution, is_solved = conjugate_gradient(applied(np.eye(SIZE)), layers_of(np.zeros(SIZE)))
    assert is_solved
    assert not column(solution).any()


def test_the_better_solution_of_each_element():
    first, second = (Layers(layers_of(np.full((2, SIZE), x))) for x in (1.0, 2.0))
    left = layers_of(np.stack([np.ones(SIZE), np.zeros(SIZE)]))
    found = better_solution(first, left, second, layers_of(np.full((2, SIZE), 0.5)))
    np.testing.assert_array_equal(column(found), np.stack([np.full(SIZE, 2.0), np.ones(SIZE)]))
