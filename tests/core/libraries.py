"""Array libraries, and every route by which they differentiate a scalar function."""

from collections.abc import Callable, Sequence
from typing import Any

import autograd
import jax
import jax.numpy as jnp
import numpy as np
import torch

ARRAYS: dict[str, Callable] = {"numpy": np.array, "torch": torch.tensor, "jax": jnp.array}

Function = Callable[..., Any]
Arrays = Sequence[np.ndarray]


def like(model: Any, constants: Arrays) -> tuple:
    """Return constant arrays in the library of a model."""
    library = type(model).__module__.partition(".")[0]
    return tuple(map(ARRAYS.get("jax" if "jax" in library else library, np.array), constants))


def total(array: Any) -> Any:
    """Return the sum of all entries, in any library."""
    return array.sum() if hasattr(array, "sum") else autograd.numpy.sum(array)


def inner(one: Any, other: Any) -> Any:
    """Return the sum of products of the entries of arrays or of tuples of arrays."""
    if isinstance(one, tuple):
        return sum(inner(a, b) for a, b in zip(one, other, strict=True))
    return total(one * other)


def along(function: Function, point: Arrays, direction: Arrays) -> Callable[[float], float]:
    """Return the function on a straight line."""
    return lambda t: float(function(*(a + t * d for a, d in zip(point, direction, strict=True))))


def autograd_derivative(function: Function, point: Arrays, direction: Arrays) -> Any:
    """Return the directional derivative by autograd, itself differentiable."""
    gradient = autograd.grad(lambda arrays: function(*arrays))(tuple(point))
    return sum(total(g * d) for g, d in zip(gradient, direction, strict=True))


def first_derivatives(function: Function, point: Arrays, direction: Arrays) -> dict[str, float]:
    """Return a directional derivative by every route of every library."""
    routes = {"autograd": autograd_derivative(function, point, direction)}
    leaves = [torch.tensor(a, requires_grad=True) for a in point]
    function(*leaves).backward()
    routes["torch backward"] = sum(
        float((leaf.grad * torch.tensor(d)).sum())
        for leaf, d in zip(leaves, direction, strict=True)
        if leaf.grad is not None
    )
    tensors, tensor_directions = (
        tuple(map(torch.tensor, point)),
        tuple(map(torch.tensor, direction)),
    )
    routes["torch jvp"] = torch.func.jvp(function, tensors, tensor_directions)[1]
    arrays, array_directions = tuple(map(jnp.asarray, point)), tuple(map(jnp.asarray, direction))
    gradient = jax.grad(function, range(len(point)))(*arrays)
    routes["jax grad"] = sum((g * d).sum() for g, d in zip(gradient, array_directions, strict=True))
    routes["jax jvp"] = jax.jvp(function, arrays, array_directions)[1]
    return {name: float(value) for name, value in routes.items()}


def second_derivatives(function: Function, point: Arrays, one: Arrays, other: Arrays) -> dict:
    """Return a mixed second derivative by every library."""
    routes = {}

    def slope(*arrays):
        return autograd_derivative(function, arrays, one)

    routes["autograd"] = autograd_derivative(slope, point, other)
    argnums = tuple(range(len(point)))
    for name, module, make in (("torch", torch.func, torch.tensor), ("jax", jax, jnp.asarray)):
        arrays, first, second = (tuple(map(make, arrays)) for arrays in (point, one, other))
        gradient = module.grad(function, argnums)
        change = module.jvp(gradient, arrays, first)[1]
        routes[f"{name} forward over reverse"] = sum(
            (c * d).sum() for c, d in zip(change, second, strict=True)
        )
    leaves = tuple(torch.tensor(a, requires_grad=True) for a in point)
    gradients = torch.autograd.grad(function(*leaves), leaves, create_graph=True)
    contracted = torch.stack(
        [(g * torch.tensor(d)).sum() for g, d in zip(gradients, one, strict=True)]
    ).sum()
    twice = torch.autograd.grad(contracted, leaves)
    routes["torch backward twice"] = sum(
        (g * torch.tensor(d)).sum() for g, d in zip(twice, other, strict=True)
    )
    return {name: float(value) for name, value in routes.items()}


def mapped_gradients(function: Function, batch: Arrays) -> dict[str, np.ndarray]:
    """Return gradients by the first argument over a batch of points, mapped and compiled."""
    tensors, arrays = tuple(map(torch.tensor, batch)), tuple(map(jnp.asarray, batch))
    return {
        "torch vmap": torch.func.vmap(torch.func.grad(function))(*tensors).numpy(),
        "jax vmap jit": np.asarray(jax.jit(jax.vmap(jax.grad(function)))(*arrays)),
    }
