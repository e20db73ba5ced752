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


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@LIBRARY
def test_functions_get_arrays_of_their_library(library, dtype):
    """And are differentiated by it, of one point or of a batch."""
    xp, seen = LIBRARIES[library], []
    matrix = ARRAYS[library](np.diag([1.0, 2.0, 3.0, 4.0]))
    if library == "torch":
        matrix = matrix.to(getattr(torch, dtype))

    def function(x):
        seen.append(type(x))
        return xp.sum(xp.sin(x @ matrix), **{"dim" if library == "torch" else "axis": -1})

    tolerance = 1e-14 if library != "torch" or dtype == "float64" else 1e-6
    for x in (X, np.stack([X, U, V])):
        own = dv.Differentiated(function, "")
        scaled = x * [1.0, 2.0, 3.0, 4.0]
        np.testing.assert_allclose(own(x), np.sin(scaled).sum(axis=-1), rtol=0, atol=10 * tolerance)
        slope = np.cos(scaled) * [1.0, 2.0, 3.0, 4.0]
        np.testing.assert_allclose(own.gradient(x), slope, rtol=0, atol=10 * tolerance)
        assert type(own.gradient(x)) is np.ndarray
    if library == "torch":
        assert seen[-1] is torch.Tensor


def test_functions_with_parameters_that_are_trained():
    """Which keep their gradients to themselves."""
    module = torch.nn.Linear(SIZE, 1)
    own = dv.Differentiated(lambda x: module(x)[..., 0] ** 2, "")
    points = np.stack([X, U])
    weight, bias = (p.detach().numpy() for p in (module.weight[0], module.bias))
    np.testing.assert_allclose(own(points), (points @ weight + bias) ** 2, rtol=1e-5)
    expected = 2 * (points @ weight + bias)[:, None] * weight
    np.testing.assert_allclose(own.gradient(points), expected, rtol=1e-5)
    assert module.weight.grad is None


def test_the_library_of_another_array_comes_first():
    seen = []

    def function(x):
        seen.append(x)
        return (x**2).sum()

    like = torch.zeros(3, dtype=torch.float32)
    np.testing.assert_allclose(dv.Differentiated(function, "", like).gradient(X), 2 * X, rtol=1e-6)
    assert all(x.dtype == torch.float32 for x in seen)


def test_what_a_function_raises_of_every_array_passes():
    with pytest.raises(ZeroDivisionError):
        dv.Differentiated(lambda x: 1 / 0, "")(X)
    with pytest.raises(ValueError, match="write it with autograd"):
        dv.Differentiated(lambda x: np.array(float(x.sum())), "write it with autograd").gradient(X)
