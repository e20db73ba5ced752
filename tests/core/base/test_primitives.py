"""The decorator that gives kernels derivative rules of their own."""

import gc
import inspect
import tracemalloc

import autograd
import autograd.numpy as anp
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

from dlngeo.core.base.primitives import primitive, rules_of_gradients
from tests.core.libraries import ARRAYS, first_derivatives, mapped_gradients, second_derivatives

# (x, y) -> (x y, k y²) with derivative rules that are scaled by `factor`: what the
# libraries answer tells whether they use the rules or differentiate the value.


def _jvp(arguments, result, tangents, factor, k):
    (x, y), (dx, dy) = arguments, tangents
    assert np.shape(result[0]) == np.shape(x)
    return factor * (x * dy + y * dx), factor * 2 * k * y * dy


def _vjp(arguments, result, cotangents, factor, k):
    (x, y), (a, b) = arguments, cotangents
    return factor * a * y, factor * (a * x + 2 * k * b * y)


@primitive(static=("factor", "k"), jvp=_jvp, vjp=_vjp)
def pair(x, y, factor, k=5.0):
    """Return a product and a square."""
    return x * y, k * y**2


def pair_sum(factor):
    """Return a scalar function of both results of the primitive."""

    def function(x, y):
        first, second = pair(x, y, factor)
        return (first**2).sum() + (x * second).sum()

    return function


X, Y = np.array([1.0, 2.0, 3.0]), np.array([0.5, -1.0, 2.0])
DX, DY = np.array([0.3, 0.1, -0.4]), np.array([1.0, -0.2, 0.7])


@pytest.mark.parametrize("factor", [1.0, 3.0])
def test_it_is_differentiated_by_its_own_rules(factor):
    """Every route uses the rules, also where these differ from the value's derivative."""
    by_rules = factor * (2 * X * Y * (X * DY + Y * DX) + X * 10 * Y * DY)
    expected = np.sum(by_rules + DX * 5 * Y**2)
    for route, value in first_derivatives(pair_sum(factor), (X, Y), (DX, DY)).items():
        assert value == pytest.approx(expected, rel=1e-14), route


def test_it_has_second_derivatives():
    """Rules made of differentiable operations give second derivatives."""
    # Of Σ x² y² + 5 x y².
    hessian_xy, hessian_yy = 4 * X * Y + 10 * Y, 2 * X**2 + 10 * X
    expected = np.sum(2 * Y**2 * DX * X + hessian_xy * (DX * Y + DY * X) + hessian_yy * DY * Y)
    routes = second_derivatives(pair_sum(1.0), (X, Y), (DX, DY), (X, Y))
    for route, value in routes.items():
        assert value == pytest.approx(expected, rel=1e-14), route


def test_it_maps_over_batches():
    """Mapped gradients are those of the elements."""
    batch = np.stack([X, Y]), np.stack([Y, X])
    expected = 3 * 2 * batch[0] * batch[1] ** 2 + 5 * batch[1] ** 2
    for route, value in mapped_gradients(pair_sum(3.0), batch).items():
        np.testing.assert_allclose(value, expected, rtol=1e-14, err_msg=route)


@pytest.mark.parametrize("library", ARRAYS)
def test_of_plain_arrays_it_is_the_kernel(library):
    """Without tracing the value is computed and no rule is touched."""
    x, y = ARRAYS[library](X), ARRAYS[library](Y)
    for first, second in (pair(x, y, 1.0), pair(x, y=y, factor=1.0, k=5.0)):
        np.testing.assert_array_equal(np.asarray(first), X * Y)
        np.testing.assert_array_equal(np.asarray(second), 5 * Y**2)


def test_it_keeps_name_docstring_and_signature():
    assert pair.__name__ == "pair"
    assert pair.__doc__ == "Return a product and a square."
    assert list(inspect.signature(pair).parameters) == ["x", "y", "factor", "k"]


# --- sequences, static options, broadcasting ---------------------------------------------


def _chain_jvp(arguments, result, tangents, powers):
    layers, weight = arguments
    assert isinstance(layers, tuple)
    moves, change = tangents
    total = change * result[0] / weight
    for layer, move, n in zip(layers, moves, powers, strict=True):
        total = total + n * result[0] * move / layer
    return (total,)


def _chain_vjp(arguments, result, cotangents, powers):
    layers, weight = arguments
    (a,) = cotangents
    pulled = tuple(n * a * result[0] / layer for layer, n in zip(layers, powers, strict=True))
    return pulled, a * result[0] / weight


@primitive(static=("powers",), jvp=_chain_jvp, vjp=_chain_vjp)
def chain(layers, weight, powers):
    """Return ``(w Π_p x_p^{n_p},)``."""
    product = weight
    for layer, n in zip(layers, powers, strict=True):
        product = product * layer**n
    return (product,)


@pytest.mark.parametrize("kind", [tuple, list])
@pytest.mark.parametrize("powers", [(2, 3), [2, 3]])
def test_sequences_of_arrays_and_lists_of_options(kind, powers):
    """Rules take and give a sequence for a sequence; options may be lists."""

    def function(x, y, w):
        return chain(kind((x, y)), weight=w, powers=powers)[0].sum()

    weight = np.array([1.0, -2.0, 0.5])
    value = weight * X**2 * Y**3
    expected = np.sum(value * (2 * DX / X + 3 * DY / Y + X / weight))
    for route, found in first_derivatives(function, (X, Y, weight), (DX, DY, X)).items():
        assert found == pytest.approx(expected, rel=1e-13), route


@pytest.mark.parametrize("library", ["autograd", "torch", "jax"])
def test_cotangents_of_what_was_broadcast_are_summed(library):
    """A point that serves a batch has the sum of the batch's gradients."""
    batch = np.stack([X, 2 * X])

    def function(x, y, w):
        return chain((x, y), w, (1, 1))[0].sum()

    arrays = batch, Y, np.ones((1, 3))
    if library == "autograd":
        found = autograd.grad(function, (0, 1, 2))(*arrays)
    elif library == "jax":
        found = jax.grad(function, (0, 1, 2))(*map(jnp.asarray, arrays))
    else:
        leaves = [torch.tensor(a, requires_grad=True) for a in arrays]
        found = torch.autograd.grad(function(*leaves), leaves)
    expected = np.stack([Y, Y]), batch.sum(axis=0), (batch * Y).sum(axis=0, keepdims=True)
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(np.asarray(one), other, rtol=1e-14)


@pytest.mark.parametrize("library", ["autograd", "jax", "torch"])
def test_libraries_keep_nothing_of_options(library):
    """Kernels with ever other options do not fill the memory."""

    def function(x, k):
        return pair(x, x, 1.0, k)[1].sum()

    def gradient(k):
        if library == "autograd":
            return autograd.grad(function)(X, k)
        if library == "jax":
            return jax.grad(function)(jnp.asarray(X), k)
        leaf = torch.tensor(X, requires_grad=True)
        function(leaf, k).backward()
        return leaf.grad

    def grow(start, count):
        for k in range(start, start + count):
            np.testing.assert_allclose(np.asarray(gradient(float(k))), 2 * k * X)
        gc.collect()
        return tracemalloc.get_traced_memory()[0]

    tracemalloc.start()
    before = grow(0, 50)
    kept = (grow(50, 200) - before) / 200
    tracemalloc.stop()
    assert kept < 1000


# --- rules -------------------------------------------------------------------------------


@primitive()
def without_rules(x):
    return x**2


def test_a_derivative_without_a_rule_is_refused():
    """By every route, instead of that of the value."""
    with pytest.raises(NotImplementedError, match="derivative is not implemented"):
        autograd.grad(lambda x: anp.sum(without_rules(x)))(X)
    with pytest.raises(NotImplementedError, match="derivative is not implemented"):
        without_rules(torch.tensor(X, requires_grad=True)).sum().backward()
    with pytest.raises(NotImplementedError, match="derivative is not implemented"):
        jax.grad(lambda x: without_rules(x).sum())(jnp.asarray(X))
    np.testing.assert_allclose(jax.jit(without_rules)(X), X**2)


@primitive(static=("k",), **rules_of_gradients(lambda a, b, k: (2 * k * a, 0 * a + 3 * b**2)))
def energy(a, b, k):
    return (k * a**2 + b**3).sum(axis=(-2, -1)) if a.ndim == 2 else (k * a**2 + b**3).sum((1, 2))


def test_rules_of_gradients():
    """Numbers that depend on matrices, by their gradients."""
    rng = np.random.default_rng(0)
    point, direction = (tuple(rng.normal(size=(2, 2, 3))) for _ in range(2))
    (a, b), (da, db) = point, direction
    expected = np.sum(4 * a * da + 3 * b**2 * db)
    for route, value in first_derivatives(
        lambda a, b: energy(a, b, k=2.0), point, direction
    ).items():
        assert value == pytest.approx(expected, rel=1e-13), route
    batch = rng.normal(size=(2, 4, 2, 3))
    for route, found in mapped_gradients(lambda a, b: energy(a, b, k=2.0), tuple(batch)).items():
        np.testing.assert_allclose(found, 4 * batch[0], rtol=1e-13, err_msg=route)


# --- solutions of linear equations -------------------------------------------------------


def _scale_jvp(arguments, result, tangents):
    (scale, _), (change, moved) = arguments, tangents
    return solve(scale, moved - change * result)


def _scale_vjp(arguments, result, cotangent):
    pulled = solve(arguments[0], cotangent)
    return -pulled * result, pulled


@primitive(jvp=_scale_jvp, vjp=_scale_vjp, operator=lambda arguments: lambda x: arguments[0] * x)
def solve(scale, right_hand_side):
    return right_hand_side / scale


def test_solutions_are_differentiated_twice_in_every_library():
    """JAX by its own rule of linear solves, others by the rules given."""

    def function(x, y):
        return (solve(x, y) ** 2).sum()

    first = np.sum(2 * Y * DY / X**2 - 2 * Y**2 * DX / X**3)
    for route, value in first_derivatives(function, (X, Y), (DX, DY)).items():
        assert value == pytest.approx(first, rel=1e-13), route
    terms = 6 * Y**2 / X**4 * DX * X - 4 * Y / X**3 * (DX * Y + DY * X) + 2 / X**2 * DY * Y
    for route, value in second_derivatives(function, (X, Y), (DX, DY), (X, Y)).items():
        assert value == pytest.approx(np.sum(terms), rel=1e-12), route
