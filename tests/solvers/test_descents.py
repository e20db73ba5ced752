"""Descents of a network: what they start from, and velocities that project to each other."""

import itertools
import math
from typing import Any

import numpy
import pytest
import torch

from dlngeo.core.networks.balancing import factorize
from dlngeo.core.networks.network import differential
from dlngeo.intrinsic import relaxed_balanced
from dlngeo.networks import LinearNetwork
from dlngeo.solvers import LinearRegression
from dlngeo.solvers.descents import DepthDescent, FactorDescent, RelaxedDescent

RNG = numpy.random.default_rng(0)
MATRIX, GRADIENT = RNG.normal(size=(2, 4, 3))
DECAY = 0.3


def velocity_of(descent):
    return descent.velocity(0.0, descent.start, lambda x: GRADIENT)


def downstairs(descent, factors):
    """Return the velocity of the end-to-end matrix upstairs, and that of a descent downstairs."""
    up = FactorDescent(factors, None, DECAY, 0.0)
    velocity = differential(*[up.parameters(v).factors for v in (up.start, velocity_of(up))])
    return velocity, descent.observable(velocity_of(descent))


@pytest.mark.parametrize("depth", [1, 2, 3])
def test_from_balanced_factors_velocities_project(depth):
    descent = DepthDescent(MATRIX, depth, None, DECAY)
    projected, velocity = downstairs(descent, factorize(MATRIX, depth))
    numpy.testing.assert_allclose(projected, velocity, atol=1e-12)


def test_from_relaxed_balanced_factors_velocities_project():
    offsets = [0.5, -0.2]
    descent = RelaxedDescent(MATRIX, offsets, None, None, DECAY)
    factors = relaxed_balanced(MATRIX, offsets)
    projected, velocity = downstairs(descent, factors)
    numpy.testing.assert_allclose(projected, velocity, atol=1e-10)


def test_balancing_leaves_the_end_to_end_matrix():
    factors = tuple(RNG.normal(size=shape) for shape in ((5, 3), (4, 5)))
    plain, balancing = (FactorDescent(factors, None, 0.0, rate) for rate in (0.0, 2.0))
    change = velocity_of(balancing) - velocity_of(plain)
    assert numpy.linalg.norm(change) > 0.1
    assert abs(differential(factors, plain.parameters(change).factors)).max() < 1e-12


def test_what_a_descent_knows():
    factors = factorize(MATRIX, 2)
    up = FactorDescent(factors, None, 0.0, 0.0)
    assert (up.rank, up.widths, up.keeps_rank) == (3, (3, 3, 4), True)
    assert not FactorDescent(factorize(MATRIX, 1), None, 0.0, 0.0).keeps_rank
    unequal = (2 * factors[0], factors[1] / 2)
    assert not FactorDescent(unequal, None, 0.0, 0.0).keeps_rank
    down = DepthDescent(MATRIX, 2, None, DECAY)
    assert (down.rank, down.widths, down.decay, down.keeps_rank) == (3, (3, 3, 4), 2 * DECAY, True)
    assert down.moments(down.parameters(down.start)) is None
    limit = DepthDescent(MATRIX[:3], math.inf, None, DECAY)
    assert (limit.widths, limit.decay) == (None, DECAY)


def test_states_come_back_to_the_rank():
    low = MATRIX[:, :2] @ RNG.normal(size=(2, 3))
    descent = DepthDescent(low, 3, 2, 0.0)
    (near,) = descent.parameters((low + 1e-3 * MATRIX).ravel()).factors
    assert numpy.linalg.matrix_rank(near) == 2
    numpy.testing.assert_allclose(near, low, atol=1e-2)


def test_states_are_given_back_in_kind():
    stack = numpy.stack([numpy.eye(3)] * 2)
    states = numpy.arange(5 * 18.0).reshape(5, 18)
    one = FactorDescent(stack).in_kind(states)
    several = FactorDescent(tuple(stack)).in_kind(states)
    assert one.shape == (5, 2, 3, 3)
    assert isinstance(several, tuple)
    numpy.testing.assert_array_equal(one[:, 1], several[1])
    (down,) = DepthDescent(MATRIX, 2, None, 0.0).in_kind(MATRIX.ravel()[None])
    numpy.testing.assert_array_equal(down, MATRIX)


@pytest.mark.parametrize(
    "biases", [(False, False, False), (True, False, True), (False, True, False)]
)
@pytest.mark.parametrize("widths", [(3, 4, 2, 5), (3, 5), (2, 2)])
def test_forces_are_those_of_autograd(widths, biases):
    """Against PyTorch's derivative of the mean squared error of the outputs."""
    shapes = list(itertools.pairwise(widths))
    factors = [torch.tensor(RNG.normal(size=(m, n)), requires_grad=True) for n, m in shapes]
    offsets = [
        torch.tensor(RNG.normal(size=m), requires_grad=True) if has else None
        for (_, m), has in zip(shapes, biases[: len(shapes)], strict=True)
    ]
    inputs, outputs = RNG.normal(size=(7, widths[0])), RNG.normal(size=(7, widths[-1]))
    values = torch.tensor(inputs)
    for w, b in zip(factors, offsets, strict=True):
        values = torch.nn.functional.linear(values, w, b)
    (((values - torch.tensor(outputs)) ** 2).sum() / 14).backward()
    there = [b for b in offsets if b is not None]
    gradients: list[Any] = [p.grad for p in (*factors, *there)]
    expected = numpy.concatenate([gradient.numpy().ravel() for gradient in gradients])

    arrays = [[p if p is None else p.detach().numpy() for p in ps] for ps in (factors, offsets)]
    descent = FactorDescent(LinearNetwork(*arrays))
    loss = descent.loss(LinearRegression(inputs, outputs))
    force: Any = descent.force(descent.start, loss.gradient)
    numpy.testing.assert_allclose(force, -expected, atol=1e-13 * abs(expected).max())
