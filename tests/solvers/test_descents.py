"""Descents of a network: what they start from, and velocities that project to each other."""

import math

import numpy
import pytest

from dlngeo.core.base.vectors import Layers
from dlngeo.core.networks.balancing import factorize
from dlngeo.core.networks.network import differential
from dlngeo.intrinsic import relaxed_balanced
from dlngeo.solvers.descents import DepthDescent, FactorDescent, RelaxedDescent

RNG = numpy.random.default_rng(0)
MATRIX, GRADIENT = RNG.normal(size=(2, 4, 3))
DECAY = 0.3


def downstairs(descent, factors):
    """Return the velocity of the end-to-end matrix upstairs, and that of a descent downstairs."""
    up = FactorDescent(factors, None, DECAY, 0.0)
    velocity = differential(up.start, up.velocity(0.0, up.start, GRADIENT))
    return velocity, descent.velocity(0.0, descent.start, GRADIENT)[0]


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
    change = balancing.velocity(0.0, balancing.start, GRADIENT)
    change -= plain.velocity(0.0, plain.start, GRADIENT)
    assert change.norm() > 0.1
    assert abs(differential(factors, change)).max() < 1e-12


def test_what_a_descent_knows():
    factors = factorize(MATRIX, 2)
    up = FactorDescent(factors, None, 0.0, 0.0)
    assert (up.rank, up.widths, up.keeps_rank) == (3, (3, 3, 4), True)
    assert not FactorDescent(factorize(MATRIX, 1), None, 0.0, 0.0).keeps_rank
    unequal = (2 * factors[0], factors[1] / 2)
    assert not FactorDescent(unequal, None, 0.0, 0.0).keeps_rank
    down = DepthDescent(MATRIX, 2, None, DECAY)
    assert (down.rank, down.widths, down.decay, down.keeps_rank) == (3, (3, 3, 4), 2 * DECAY, True)
    assert down.moments(down.start) is None
    limit = DepthDescent(MATRIX[:3], math.inf, None, DECAY)
    assert (limit.widths, limit.decay) == (None, DECAY)


def test_states_come_back_to_the_rank():
    low = MATRIX[:, :2] @ RNG.normal(size=(2, 3))
    descent = DepthDescent(low, 3, 2, 0.0)
    (near,) = descent.nearest(Layers([low + 1e-3 * MATRIX]))
    assert numpy.linalg.matrix_rank(near) == 2
    numpy.testing.assert_allclose(near, low, atol=1e-2)


def test_states_are_given_back_in_kind():
    stack = numpy.stack([numpy.eye(3)] * 2)
    states = Layers([numpy.ones((5, 3, 3))] * 2)
    assert FactorDescent(stack, None, 0.0, 0.0).in_kind(states).shape == (5, 2, 3, 3)
    assert isinstance(FactorDescent(tuple(stack), None, 0.0, 0.0).in_kind(states), tuple)
    assert DepthDescent(MATRIX, 2, None, 0.0).in_kind(Layers([MATRIX])) is MATRIX
