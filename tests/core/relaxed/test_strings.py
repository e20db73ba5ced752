"""Which relaxed balanced networks there are, against constructions and minimisation."""

import itertools
import math

import numpy as np
import pytest

from dlngeo.core.relaxed.metric import relaxed_layers
from dlngeo.core.relaxed.strings import intrinsic_network, relaxed_network
from tests.core.brute import assert_close, product
from tests.core.relaxed.relaxed_networks import fitted, misfit

GRID = [
    (widths, offsets)
    for depth, choices in ((1, (1, 2, 3)), (2, (1, 2, 3)), (3, (1, 2, 3)), (4, (1, 3)))
    for widths in itertools.product(choices, repeat=depth + 1)
    for offsets in itertools.product((-0.5, 0.0, 0.5), repeat=depth - 1)
]


def test_strings_fill_the_layers():
    """Whole and other strings use up every layer, and their factors have the offsets and ``X``."""
    rng, n_networks = np.random.default_rng(0), 0
    for widths, offsets in GRID:
        for rank in range(1, min(widths) + 1):
            try:
                network = relaxed_network(offsets, widths, rank)
            except ValueError:
                continue
            n_networks += 1
            for p, width in enumerate(widths):
                through = [s.number for s in network.strings if s.first <= p <= s.last]
                assert rank + sum(through) == width
            matrix = rng.normal(size=(widths[-1], rank)) @ rng.normal(size=(rank, widths[0]))
            layers = relaxed_layers(matrix, network)
            assert_close(product(layers), matrix, 1e-12)
            if len(layers) > 1:
                assert abs(misfit(layers, offsets)).max() < 1e-12 * (1 + abs(matrix).max() ** 2)
    assert n_networks > 400


@pytest.mark.parametrize(
    ("widths", "offsets"),
    [
        (widths, offsets)
        for depth in (2, 3)
        for widths in itertools.product((1, 2), repeat=depth + 1)
        for offsets in itertools.product((-0.7, 0.4), repeat=depth - 1)
    ],
)
def test_condition_is_necessary_and_sufficient(widths, offsets):
    """Least squares reach the offsets where the strings say that factors exist, and only there."""
    try:
        relaxed_network(offsets, widths)
        exists = True
    except ValueError:
        exists = False
    defects = [fitted(widths, offsets, seed)[1] for seed in range(2)]
    assert exists == (min(defects) < 1e-6), defects
    assert exists or min(defects) > 0.05


def test_simple_condition_is_not_enough():
    """``c_p > 0 ⇒ d_p ≤ d_{p+1}``, ``c_p < 0 ⇒ d_p ≤ d_{p-1}`` misses what shifts add up to."""
    with pytest.raises(ValueError, match="layer 3 has only 1"):
        relaxed_network((1.0, 0.0), (2, 2, 2, 1))


def test_equal_shifts_are_equal_to_round_off():
    """``0.1 + 0.2 - 0.3`` is no shift of its own."""
    network = relaxed_network((0.1, 0.2, -0.3), (2, 2, 2, 2, 2))
    assert network.shifts[0] == network.shifts[3] == 0.0
    assert not intrinsic_network((0.1, 0.2, -0.3), (2, 2)).left_levels


@pytest.mark.parametrize("scale", [1e-12, 1e-6, 1.0, 1e6, 1e100])
@pytest.mark.parametrize(
    "offsets",
    [(), (0.0,) * 9, (1.0, -0.3), (1e-9, 1e-3, 5.0), (1e6,), (0.2,) * 8, (-1.0, 1.0), (-1e-15,)],
)
def test_squares_multiply_to_the_singular_value(offsets, scale):
    """``Π_p (m_k - τ_p) = σ_k²``, to the round-off of ``log σ``, and all of them positive."""
    network = relaxed_network(offsets, (3,) * (len(offsets) + 2))
    sigma = scale * np.array([1.7, 1.0, 1e-3])
    squares = np.stack(network.squares(sigma))
    assert (squares > 0).all()
    np.testing.assert_allclose(
        np.sqrt(squares).prod(axis=0), sigma, rtol=1e-14 + 1e-15 * abs(math.log(scale))
    )
    if offsets:
        steps = squares[1:] - squares[:-1]
        expected = np.array(offsets)[:, None] + 0 * steps
        np.testing.assert_allclose(steps, expected, atol=1e-14 * squares.max())


def test_no_singular_value_but_zero():
    network = relaxed_network((0.5, -0.2), (2, 2, 2, 2))
    squares = network.squares(np.zeros(2))
    np.testing.assert_allclose(np.array(squares)[:, 0], [0.0, 0.5, 0.3], atol=1e-16)


@pytest.mark.parametrize(
    ("offsets", "widths", "rank", "message"),
    [
        ((0.5,), (2, 3, 2), None, "layer 2 has only 2. Widen layer 2"),
        ((-0.5,), (2, 3, 3), None, "layer 0 has only 2"),
        ((0.5, 0.5), (2, 2, 2), None, "1 hidden layers"),
        ((math.nan,), (2, 2, 2), None, "finite"),
        (0.5, (2, 2, 2), None, r"sequence of N-1 numbers.*\(0.5,\)"),
        ((None,), (2, 2, 2), None, "sequence of N-1 numbers"),
        ((0.5,), (2, 0, 2), None, "positive integers"),
        ((0.5,), (2, 2, 2), 3, "rank"),
    ],
)
def test_networks_that_there_are_not(offsets, widths, rank, message):
    with pytest.raises(ValueError, match=message):
        relaxed_network(offsets, widths, rank)


@pytest.mark.parametrize(
    ("offsets", "shape", "widths", "rank", "message"),
    [
        ((0.5,), (3, 1), (1, 2, 3), None, r"on the left of X .* different m \(0, 0.5\)"),
        ((-0.5,), (1, 3), (3, 2, 1), None, r"on the right of X .* different m \(-0.5, 0\)"),
        ((0.5,), (3, 3), (3, 3, 3), 2, "leaves the matrices of rank 2"),
        ((), (3, 3), None, 2, "DepthMetric"),
        (0.5, (3, 3), None, None, "sequence of N-1 numbers"),
        ((0.5,), (3, 3), (3, 3, 4), None, "widths from 3 to 3"),
    ],
)
def test_networks_without_an_intrinsic_metric(offsets, shape, widths, rank, message):
    with pytest.raises(ValueError, match=message):
        intrinsic_network(offsets, shape, widths, rank)
