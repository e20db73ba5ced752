"""Derivatives along vectors and covectors by every library, against closed forms."""

import autograd.numpy as anp
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from autograd.scipy.special import expit

from dlngeo.core.numerics import derivatives as dv
from tests.core.libraries import ARRAYS

LIBRARIES = {"numpy": anp, "torch": torch, "jax": jnp}
LIBRARY = pytest.mark.parametrize("library", LIBRARIES)
SHAPES = pytest.mark.parametrize("n", [1, 3, 30])
SIZE = 4
X, U, V = np.random.default_rng(0).normal(size=(3, SIZE))


def setting(library, n):
    """Return ``F = sin(A x)`` in a library, and its matrix ``A``."""
    a = np.random.default_rng(1).normal(size=(n, SIZE))
    matrix, xp = ARRAYS[library](a), LIBRARIES[library]
    return (lambda x: xp.sin(matrix @ x)), a


@LIBRARY
@SHAPES
def test_first_derivatives(library, n):
    function, a = setting(library, n)
    w = np.random.default_rng(2).normal(size=n)
    x, v, covector = map(ARRAYS[library], (X, V, w))
    exact = np.cos(a @ X)[:, None] * a
    for found, expected in (
        (dv.push(function, x, v), exact @ V),
        (dv.pull(function, x, covector), w @ exact),
        (dv.jacobian(function, x, n), exact),
    ):
        assert isinstance(found, type(x))
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-14)


@LIBRARY
@SHAPES
def test_they_nest(library, n):
    """Second derivatives are a push of a push, or a pull of a push."""
    function, a = setting(library, n)
    w = np.random.default_rng(2).normal(size=n)
    x, u, v, covector = map(ARRAYS[library], (X, U, V, w))
    exact = -np.sin(a @ X)[:, None, None] * a[:, :, None] * a[:, None, :]

    def slope(y):
        return dv.push(function, y, u)

    np.testing.assert_allclose(dv.push(slope, x, v), exact @ V @ U, rtol=0, atol=1e-13)
    found = dv.pull(slope, x, covector)
    np.testing.assert_allclose(found, np.einsum("sij,s,j", exact, w, U), rtol=0, atol=1e-13)


def test_push_without_a_forward_rule():
    """autograd has none for the logistic function; two reverse passes serve."""
    expected = expit(X) * (1 - expit(X)) * V
    np.testing.assert_allclose(dv.push(expit, X, V), expected, rtol=1e-14)


def test_jacobian_of_no_values():
    assert dv.jacobian(lambda x: x[:0], X, 0).shape == (0, SIZE)


@pytest.mark.parametrize(
    "function",
    [
        lambda x: np.dot(np.ones((2, SIZE)), x),
        lambda x: np.einsum("i,i->i", x, x),
        lambda x: np.array([float(x[0]), 1.0]),
        lambda x: np.array([x[0], x[1]]),
    ],
)
def test_functions_that_autograd_cannot_follow_are_refused(function):
    guarded = dv.guard_tracing(function, "write it with autograd")
    assert guarded(X).shape == function(X).shape
    with pytest.raises(ValueError, match="write it with autograd"):
        dv.push(guarded, X, V)


def test_errors_of_plain_arguments_pass():
    guarded = dv.guard_tracing(lambda x: x + None, "write it with autograd")
    with pytest.raises(TypeError):
        guarded(X)
