"""The Gram operator of factors that need not be balanced."""

import numpy as np
import pytest

from dlngeo.core.fibres import gram as gm
from tests.core.brute import assert_close, jacobian, random_factors
from tests.core.fibres.fibre_laws import (
    ALL,
    assert_batches,
    assert_first_derivatives,
    assert_same_in_library,
    assert_second_derivatives,
)
from tests.core.libraries import inner, like


@ALL
def test_gram_solve(widths):
    """It solves the dense equation ``J Jᵀ P = C``."""
    rng = np.random.default_rng(3)
    factors, covector = random_factors(widths, rng), rng.standard_normal((widths[-1], widths[0]))
    gram = jacobian(factors) @ jacobian(factors).T
    matrix = (gram @ covector.ravel()).reshape(covector.shape)
    solution = gm.gram_solve(factors, matrix)
    assert_close((gram @ solution.ravel()).reshape(matrix.shape), matrix, 1e-12)


def gram_function(*arrays):
    *layers, matrix = arrays
    (weight,) = like(arrays[0], [np.random.default_rng(30).standard_normal(np.shape(matrix)[-2:])])
    return inner(gm.gram_solve(tuple(layers), matrix), weight)


@pytest.mark.parametrize("widths", [(2, 4, 3, 3), (3, 4, 2)], ids=["depth 3", "depth 2"])
def test_first_derivatives_in_every_library(widths):
    rng = np.random.default_rng(33)
    matrix = rng.standard_normal((widths[-1], widths[0]))
    assert_first_derivatives(gram_function, (*random_factors(widths, rng), matrix))


def test_second_derivatives_in_every_library():
    rng = np.random.default_rng(33)
    matrix = rng.standard_normal((3, 2))
    assert_second_derivatives(gram_function, (*random_factors((2, 4, 3, 3), rng), matrix))


def solve_for_a_layer(factors, vector):
    return gm.gram_solve(factors, vector[..., 0, :, :])


@pytest.mark.parametrize("library", ["torch", "jax"])
def test_iterations_in_every_library(library, monkeypatch):
    monkeypatch.setattr(gm, "DENSE_SIZE", 0)
    assert_same_in_library(solve_for_a_layer, library)


def test_iterations_in_batches(monkeypatch):
    monkeypatch.setattr(gm, "DENSE_SIZE", 0)
    assert_batches(solve_for_a_layer, of_vectors=True)


def test_a_matrix_of_another_shape_is_refused():
    with pytest.raises(ValueError, match="expected a vector of shape"):
        gm.gram_solve((np.eye(3), np.eye(3)), np.ones((2, 3)))
