"""Laws of `dlngeo.core.base.arrays`: namespaces, tracing, helpers."""

import autograd
import autograd.numpy as anp
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

from dlngeo.core.base import arrays
from tests.core.libraries import ARRAYS

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


@pytest.mark.parametrize("library", ARRAYS)
def test_quotient_is_zero_where_the_divisor_is(library):
    """Not infinite, and not NaN, of zero and of other numbers."""
    array, divisor = ARRAYS[library]([1.0, 0.0, 6.0]), ARRAYS[library]([0.0, 0.0, 3.0])
    np.testing.assert_array_equal(np.asarray(arrays.quotient(array, divisor)), [0.0, 0.0, 2.0])


@pytest.mark.parametrize("library", ARRAYS)
def test_to_and_from_numpy(library):
    """There in double precision, and back in the library and type of a model."""
    model = ARRAYS[library](MATRIX.astype(np.float32))
    host = arrays.to_numpy(model)
    assert type(host) is np.ndarray
    assert host.dtype == np.float64
    back = arrays.from_numpy(host, model)
    assert type(back) is type(model)
    assert back.dtype == model.dtype
    assert "float" in str(arrays.from_numpy(host, ARRAYS[library]([1, 2])).dtype)


def test_to_numpy_refuses_what_has_no_values():
    with pytest.raises(NotImplementedError, match="runs on the host"):
        jax_seen(arrays.to_numpy)
    with pytest.raises(NotImplementedError, match="runs on the host"):
        arrays.to_numpy(torch.ones(2, requires_grad=True))


def test_eigh_of_wild_matrices_is_nan():
    """The others of a batch keep their eigenvalues."""
    matrix = np.stack([np.diag([1.0, 2.0]), np.full((2, 2), np.inf)])
    lam, frame = arrays.eigh(matrix)
    np.testing.assert_array_equal(lam, [[1.0, 2.0], [np.nan, np.nan]])
    np.testing.assert_allclose(frame[0] * lam[0] @ frame[0].T, matrix[0])
