"""Derivatives of the exponential, by every library that can."""

import autograd
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

from dlngeo.core.depth_metric.connection import christoffel
from dlngeo.core.depth_metric.metric import tangent_projection
from dlngeo.core.geodesics.exponential import exp
from tests.core.brute import assert_close
from tests.core.libraries import like

CASES = [
    ((3, 3), 3, 1),
    ((2, 2), 2, 2),
    ((3, 3), 3, 3),
    ((2, 3), 2, 3),
    ((4, 3), 2, 2),
    ((3, 3), 1, 1),
    ((2, 2), 2, np.inf),
]


def curve(matrix: np.ndarray, direction: np.ndarray, rank: int, t: float) -> np.ndarray:
    """Return matrices of the rank along a curve with the given first velocity."""
    left, sigma, right = np.linalg.svd(matrix + t * direction)
    return left[:, :rank] * sigma[:rank] @ right[:rank]


def slope(values, step: float = 1e-3) -> float:
    """Return the derivative at zero by central differences of fourth order."""
    return (8 * (values(step) - values(-step)) - values(2 * step) + values(-2 * step)) / (12 * step)


def problem(shape: tuple[int, int], rank: int) -> list[np.ndarray]:
    """Return a point, a short velocity, and tangent directions."""
    rng = np.random.default_rng(8)
    left, right = np.eye(shape[0], rank), np.eye(rank, shape[1])
    matrix = (left + 0.2 * rng.standard_normal(left.shape)) @ right
    return [
        matrix,
        *[
            scale * tangent_projection(matrix, rng.standard_normal(shape), rank)
            for scale in (0.2, 1.0, 1.0)
        ],
    ]


def gradients(function, *arrays: np.ndarray) -> dict:
    """Return gradients by all arguments, of every library."""
    leaves = [torch.tensor(array, requires_grad=True) for array in arrays]
    function(*leaves).backward()
    everything = tuple(range(len(arrays)))
    return {
        "autograd": autograd.grad(lambda pair: function(*pair))(arrays),
        "torch": [leaf.grad for leaf in leaves],
        "jax": jax.grad(function, everything)(*map(jnp.asarray, arrays)),
    }


@pytest.mark.parametrize(("shape", "rank", "depth"), CASES)
def test_exponential(shape, rank, depth):
    """By point and by velocity, along the manifold; ``X = I``-like points included."""
    matrix, velocity, one, other = problem(shape, rank)
    weight = np.random.default_rng(9).standard_normal(shape)

    def total(x, z):
        return (exp(x, z, depth, rank) * like(x, (weight,))[0]).sum()

    by_point = slope(lambda t: total(curve(matrix, one, rank, t), velocity))
    by_velocity = slope(lambda t: total(matrix, velocity + t * other))
    for found in gradients(total, matrix, velocity).values():
        assert_close(np.sum(np.asarray(found[0]) * one), by_point, 1e-7, 1.0)
        assert_close(np.sum(np.asarray(found[1]) * other), by_velocity, 1e-7, 1.0)


@pytest.mark.parametrize(("shape", "rank", "depth"), CASES)
def test_christoffel_symbols_are_the_acceleration(shape, rank, depth):
    """``Ẍ = -Γ(Ẋ, Ẋ)`` along geodesics, and the symbols are symmetric."""
    matrix, velocity, other, _ = problem(shape, rank)
    middle = exp(matrix, 0 * velocity, depth, rank)
    ring = [exp(matrix, t * velocity, depth, rank) for t in (-0.02, -0.01, 0.01, 0.02)]
    second = (16 * (ring[1] + ring[2]) - ring[0] - ring[3] - 30 * middle) / 0.0012
    assert_close(-christoffel(matrix, velocity, velocity, depth, rank), second, 1e-6, 1.0)
    symbols = christoffel(matrix, velocity, other, depth, rank)
    assert_close(christoffel(matrix, other, velocity, depth, rank), symbols, 1e-12, 1.0)


def test_second_derivatives_are_refused():
    """And what cannot run on the host: no silent zeros."""

    def total(x):
        return exp(x, 0.1 * x, 2).sum()

    point = jnp.eye(2)
    with pytest.raises(NotImplementedError, match="derivative"):
        jax.hessian(total)(point)
    with pytest.raises(NotImplementedError, match="host"):
        jax.jit(total)(point)
