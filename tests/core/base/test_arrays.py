"""Laws of `dlngeo.core.base.arrays`: namespaces, tracing, and derivative rules."""

import autograd
import autograd.numpy as anp
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

from dlngeo.core.base import arrays, primitives
from tests.core.libraries import ARRAYS, first_derivatives, mapped_gradients, second_derivatives

MATRIX = np.array([[1.0, 2.0], [3.0, 4.0]])


def autograd_seen(function):
    """Return what a function answers about an array that autograd traces."""
    seen = []

    def watched(array):
        seen.append(function(array))
        return anp.sum(array)

    autograd.grad(watched)(MATRIX)
    return seen[0]


def jax_seen(function):
    """Return what a function answers about an array that JAX compiles."""
    seen = []

    def watched(array):
        seen.append(function(array))
        return array

    jax.jit(watched)(MATRIX)
    return seen[0]


@pytest.mark.parametrize("library", ARRAYS)
def test_namespace_is_that_of_the_arguments(library):
    """The namespace of two arrays is the one of their library."""
    array = ARRAYS[library](MATRIX)
    assert library in arrays.namespace(array, array).__name__


def test_namespace_of_traced_values_is_autograd_numpy():
    """An autograd box brings autograd's NumPy, also beside plain arrays."""
    assert autograd_seen(lambda box: arrays.namespace(MATRIX, box)) is anp


def test_namespace_refuses_mixtures():
    """Arrays of two libraries have no common namespace."""
    with pytest.raises(TypeError):
        arrays.namespace(MATRIX, torch.tensor(MATRIX))


@pytest.mark.parametrize("library", ARRAYS)
def test_plain_arrays_are_not_traced(library):
    """Arrays with definite values are not traced."""
    assert not arrays.is_traced(ARRAYS[library](MATRIX))


def test_traced_arrays_are_recognised():
    """Every way of differentiating, compiling or mapping counts as tracing."""
    seen: list = []

    def watch(array):
        seen.append(arrays.is_traced(array))
        return array.sum()

    tensor = torch.tensor(MATRIX)
    watch(torch.tensor(MATRIX, requires_grad=True))
    torch.func.grad(watch)(tensor)
    torch.func.jvp(watch, (tensor,), (tensor,))
    torch.func.vmap(watch)(tensor)
    with torch.autograd.forward_ad.dual_level():
        watch(torch.autograd.forward_ad.make_dual(tensor, tensor))
    jax.grad(watch)(jnp.asarray(MATRIX))
    jax.vmap(watch)(jnp.asarray(MATRIX))
    seen.append(jax_seen(arrays.is_traced))
    seen.append(autograd_seen(arrays.is_traced))
    assert seen == [True] * 9


@pytest.mark.parametrize("library", ARRAYS)
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_real_array_refuses(library, bad):
    """NaN and infinite entries are refused by name."""
    with pytest.raises(ValueError, match="the thing holds NaN or infinite entries"):
        arrays.real_array(ARRAYS[library]([1.0, bad]), "the thing")


def test_real_array_lets_finite_and_traced_arrays_pass():
    """Finite arrays pass, and traced ones, which have no definite values."""
    arrays.real_array(MATRIX, "matrix")
    arrays.real_array(np.zeros((0, 2, 2)), "empty batch")
    jax_seen(lambda array: arrays.real_array(array, "matrix"))


@pytest.mark.parametrize("library", ARRAYS)
def test_matrix_helpers(library):
    """Transpose, symmetric part, identity and diagonal act on the last two axes."""
    batch = ARRAYS[library](np.arange(12.0).reshape(2, 2, 3))
    plain = np.arange(12.0).reshape(2, 2, 3)
    np.testing.assert_array_equal(np.asarray(arrays.transpose(batch)), plain.swapaxes(1, 2))
    square, plain = batch[:, :, :2], plain[:, :, :2]
    expected = (plain + plain.swapaxes(1, 2)) / 2
    np.testing.assert_array_equal(np.asarray(arrays.symmetric_part(square)), expected)
    diagonal = np.asarray(arrays.diagonal_matrix(batch[0]))
    np.testing.assert_array_equal(diagonal, [np.diag([0.0, 1, 2]), np.diag([3.0, 4, 5])])
    np.testing.assert_array_equal(np.asarray(arrays.eye(2, 3, batch)), np.eye(2, 3))


@pytest.mark.parametrize("library", ARRAYS)
def test_identity_has_the_type_of_its_model(library):
    """The identity has the library and the floating type of an array."""
    model = ARRAYS[library](MATRIX.astype(np.float32))
    identity = arrays.eye(2, 2, model)
    assert type(identity) is type(model)
    assert identity.dtype == model.dtype


# (x, y) -> (x y, k y²) with derivative rules that are scaled by `factor`: what the
# libraries answer tells whether they use the rules or differentiate the value.
def _value(x, y, factor, k):
    return x * y, k * y**2


def _jvp(arrays, result, tangents, factor, k):
    (x, y), (dx, dy) = arrays, tangents
    assert np.shape(result[0]) == np.shape(x)
    return factor * (x * dy + y * dx), factor * 2 * k * y * dy


def _vjp(arrays, result, cotangents, factor, k):
    (x, y), (a, b) = arrays, cotangents
    return factor * a * y, factor * (a * x + 2 * k * b * y)


PAIR = primitives.Primitive(_value, _jvp, _vjp)


def pair_sum(factor):
    """Return a scalar function of both results of the primitive."""

    def function(x, y):
        first, second = PAIR(x, y, factor=factor, k=5.0)
        return (first**2).sum() + (x * second).sum()

    return function


X, Y = np.array([1.0, 2.0, 3.0]), np.array([0.5, -1.0, 2.0])
DX, DY = np.array([0.3, 0.1, -0.4]), np.array([1.0, -0.2, 0.7])


@pytest.mark.parametrize("factor", [1.0, 3.0])
def test_primitive_is_differentiated_by_its_own_rules(factor):
    """Every route uses the rules, also where these differ from the value's derivative."""
    by_rules = factor * (2 * X * Y * (X * DY + Y * DX) + X * 10 * Y * DY)
    expected = np.sum(by_rules + DX * 5 * Y**2)
    for route, value in first_derivatives(pair_sum(factor), (X, Y), (DX, DY)).items():
        assert value == pytest.approx(expected, rel=1e-14), route


def test_primitive_has_second_derivatives():
    """Rules made of differentiable operations give second derivatives."""
    # Of Σ x² y² + 5 x y².
    hessian_xy, hessian_yy = 4 * X * Y + 10 * Y, 2 * X**2 + 10 * X
    expected = np.sum(2 * Y**2 * DX * X + hessian_xy * (DX * Y + DY * X) + hessian_yy * DY * Y)
    routes = second_derivatives(pair_sum(1.0), (X, Y), (DX, DY), (X, Y))
    for route, value in routes.items():
        assert value == pytest.approx(expected, rel=1e-14), route


def test_primitive_maps_over_batches():
    """Mapped gradients are those of the elements."""
    batch = np.stack([X, Y]), np.stack([Y, X])
    expected = 3 * 2 * batch[0] * batch[1] ** 2 + 5 * batch[1] ** 2
    for route, value in mapped_gradients(pair_sum(3.0), batch).items():
        np.testing.assert_allclose(value, expected, rtol=1e-14, err_msg=route)


@pytest.mark.parametrize("library", ARRAYS)
def test_primitive_of_plain_arrays_is_its_value(library):
    """Without tracing the value is computed and no rule is touched."""
    x, y = ARRAYS[library](X), ARRAYS[library](Y)
    first, second = PAIR(x, y, factor=1.0, k=5.0)
    np.testing.assert_array_equal(np.asarray(first), X * Y)
    np.testing.assert_array_equal(np.asarray(second), 5 * Y**2)
