"""Laws of all kernels: libraries, batches, scales, strides, and derivatives of every order."""

import math
from typing import Any

import autograd
import numpy as np
import pytest

from tests.core.brute import assert_close, derivative
from tests.core.kernels import (
    FACTOR_KERNELS,
    KERNELS,
    POINTS,
    SIZE,
    arguments_at,
    direction_of,
)
from tests.core.libraries import (
    ARRAYS,
    along,
    autograd_derivative,
    first_derivatives,
    inner,
    like,
    mapped_gradients,
    second_derivatives,
)

KERNEL = pytest.mark.parametrize("name", KERNELS)
# Numbers of derivatives, of the kernels that have laws of them.
ORDERS = {name: kernel.orders for name, kernel in KERNELS.items() if kernel.orders is not None}
DIFFERENTIABLE = [name for name, orders in ORDERS.items() if orders >= 1]
# Every kernel at one of the points, every route at all of them: not all with all.
PAIRS = [(name, list(POINTS)[i % len(POINTS)]) for i, name in enumerate(DIFFERENTIABLE)]


def parts_of(result: Any) -> tuple:
    """Return a result as a tuple of arrays."""
    return result if isinstance(result, tuple) else (result,)


def ordinary(seed: int = 0, batch: tuple[int, ...] = ()) -> np.ndarray:
    """Return well-conditioned matrices."""
    noise = np.random.default_rng(seed).standard_normal((*batch, SIZE, SIZE))
    return np.diag([1.5, 1.0, 0.7]) + 0.2 * noise


def assert_parts_close(found: Any, expected: Any, tolerance: float) -> None:
    """Assert equality of all parts, relative to the largest entry of any."""
    found, expected = parts_of(found), parts_of(expected)
    scale = max(float(np.max(np.abs(part), initial=0.0)) for part in expected)
    for one, other in zip(found, expected, strict=True):
        assert_close(np.asarray(one), np.asarray(other), tolerance, scale)


def contracted(name: str) -> Any:
    """Return the kernel's value against fixed weights: a number."""

    def function(*arrays: Any) -> Any:
        parts = parts_of(KERNELS[name].call(*arrays))
        rng = np.random.default_rng(3)
        shapes = [tuple(part.shape) if len(part.shape) >= 2 else () for part in parts]
        weights = like(arrays[0], [rng.standard_normal(shape) for shape in shapes])
        return inner(parts, weights)

    return function


# --- values -----------------------------------------------------------------------------


@KERNEL
@pytest.mark.parametrize("library", ["torch", "jax"])
def test_every_library_gives_the_same_values(name, library):
    """NumPy, PyTorch and JAX give the same values, and float32 stays float32."""
    kernel = KERNELS[name]
    arrays = arguments_at(kernel, ordinary())
    expected = kernel.call(*arrays)
    found = kernel.call(*map(ARRAYS[library], arrays))
    for part in parts_of(found):
        assert isinstance(part, type(ARRAYS[library](0.0)))
    assert_parts_close(found, expected, 1e-11)
    # Of JAX every third kernel, since each is compiled anew.
    makes: list = [np.array]
    if library == "torch" or list(KERNELS).index(name) % 3 == 0:
        makes.append(ARRAYS[library])
    for make in makes:
        single = kernel.call(*[make(array.astype(np.float32)) for array in arrays])
        assert {str(part.dtype).rpartition(".")[2] for part in parts_of(single)} == {"float32"}
        assert_parts_close(single, expected, 1e-4)


@KERNEL
def test_batches(name):
    """A batch is the stack of its elements, also an empty one; one point serves many vectors."""
    kernel = KERNELS[name]
    points = [ordinary(seed, (2, 4)) for seed in range(kernel.points)]
    rng = np.random.default_rng(9)
    vectors = [rng.standard_normal((2, 4, SIZE, SIZE)) for _ in range(kernel.vectors)]
    batch = parts_of(kernel.call(*points, *vectors))
    shared = parts_of(kernel.call(*[x[0, 0] for x in points], *vectors))
    for i, j in np.ndindex(2, 4):
        arrays = [x[i, j] for x in points], [v[i, j] for v in vectors]
        single = kernel.call(*arrays[0], *arrays[1])
        assert_parts_close(tuple(part[i, j] for part in batch), single, 1e-11)
        if kernel.vectors:
            single = kernel.call(*[x[0, 0] for x in points], *arrays[1])
            assert_parts_close(tuple(part[i, j] for part in shared), single, 1e-11)
    empty = parts_of(kernel.call(*[x[:0] for x in points], *[v[:0] for v in vectors]))
    assert [part.shape for part in empty] == [(0, *part.shape[1:]) for part in batch]


@pytest.mark.parametrize("scale", [1e-6, 1e6])
@pytest.mark.parametrize("name", [k for k, v in KERNELS.items() if not math.isnan(v.degree)])
def test_scales(name, scale):
    """Kernels are homogeneous in their points, at every scale, relatively."""
    kernel = KERNELS[name]
    arrays = arguments_at(kernel, ordinary())
    scaled = [scale * x for x in arrays[: kernel.points]]
    found = kernel.call(*scaled, *arrays[kernel.points :])
    expected = tuple(scale**kernel.degree * part for part in parts_of(kernel.call(*arrays)))
    assert_parts_close(found, expected, 1e-11)


@KERNEL
def test_strides_do_not_matter(name):
    """Views that are not contiguous give what their copies give."""
    kernel = KERNELS[name]
    arrays = arguments_at(kernel, ordinary())
    views = [np.repeat(array.T, 2, axis=1)[:, ::2].T for array in arrays]
    assert not any(view.flags.c_contiguous for view in views)
    assert_parts_close(kernel.call(*views), kernel.call(*arrays), 1e-12)


@pytest.mark.parametrize("name", FACTOR_KERNELS)
def test_stacks_and_tuples(name):
    """A stack is answered by a stack, a tuple or list by a tuple, with the same values."""
    kernel = FACTOR_KERNELS[name]
    stack = np.stack([ordinary(seed, (2,)) for seed in range(3)], axis=-3)
    vector = np.stack([ordinary(seed, (2,)) for seed in range(3, 6)], axis=-3)
    found = kernel(stack, vector)
    assert isinstance(found, np.ndarray)
    layers, moves = (tuple(w[:, p] for p in range(3)) for w in (stack, vector))
    parts = kernel(layers, moves)
    assert isinstance(parts, tuple)
    assert_close(np.stack(parts, axis=-3), found, 1e-13)


# --- derivatives ------------------------------------------------------------------------


@pytest.mark.parametrize("point", POINTS)
@pytest.mark.parametrize("name", DIFFERENTIABLE)
def test_first_derivatives(name, point):
    """By all arguments they agree with finite differences, also where singular values meet."""
    kernel, function = KERNELS[name], contracted(name)
    arrays, direction = arguments_at(kernel, POINTS[point]), direction_of(kernel, 5)
    expected = derivative(along(function, arrays, direction), 1e-3)
    found = autograd_derivative(function, arrays, direction)
    assert found == pytest.approx(expected, rel=2e-8)


@pytest.mark.parametrize(("name", "point"), PAIRS)
def test_first_derivatives_by_every_route(name, point):
    """Forwards and backwards, PyTorch and JAX give the derivatives of autograd."""
    kernel, function = KERNELS[name], contracted(name)
    arrays, direction = arguments_at(kernel, POINTS[point]), direction_of(kernel, 5)
    routes = first_derivatives(function, arrays, direction)
    for route, value in routes.items():
        assert value == pytest.approx(routes["autograd"], rel=1e-9), route


@pytest.mark.parametrize("name", [k for k in DIFFERENTIABLE if ORDERS[k] >= 2])
def test_second_derivatives(name):
    """At equal singular values, by every library, they agree with differences of first ones."""
    kernel, function = KERNELS[name], contracted(name)
    arrays = arguments_at(kernel, POINTS["identity"])
    one, other = direction_of(kernel, 6), direction_of(kernel, 7)

    def slope(time: float) -> Any:
        moved = [a + time * d for a, d in zip(arrays, other, strict=True)]
        return autograd_derivative(function, moved, one)

    expected = derivative(slope)
    for route, value in second_derivatives(function, arrays, one, other).items():
        assert value == pytest.approx(expected, rel=2e-8), route


@pytest.mark.parametrize("name", DIFFERENTIABLE)
def test_mapped_gradients(name):
    """Gradients mapped over a batch, and compiled, are those of the elements."""
    kernel, function = KERNELS[name], contracted(name)
    points = [arguments_at(kernel, matrix, seed) for seed, matrix in enumerate(POINTS.values())]
    batch = tuple(np.stack(arrays) for arrays in zip(*points, strict=True))
    expected = [autograd.grad(function)(*arrays) for arrays in points]
    for route, value in mapped_gradients(function, batch).items():
        assert_close(value, np.stack(expected), 1e-10), route


@pytest.mark.parametrize("name", [k for k, orders in ORDERS.items() if orders < math.inf])
def test_derivatives_that_are_not_there_are_refused(name):
    """One derivative more than there are raises, instead of giving NaN."""
    kernel = KERNELS[name]
    arrays = arguments_at(kernel, ordinary())
    function = contracted(name)
    for seed in range(int(ORDERS[name])):
        direction = direction_of(kernel, seed)

        def function(*arrays: Any, function=function, direction=direction) -> Any:
            return autograd_derivative(function, arrays, direction)

    with pytest.raises(NotImplementedError, match="derivative is not implemented"):
        autograd.grad(function)(*arrays)
