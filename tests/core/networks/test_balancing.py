"""Laws of `dlngeo.core.networks.balancing`: sections, and the balanced point of a fibre."""

import math
from typing import Any

import numpy as np
import pytest

from dlngeo.core.networks import balancing
from dlngeo.core.networks import network as nw
from dlngeo.core.networks.factors import widths_of
from tests.core.brute import (
    NETWORKS,
    SHAPES,
    assert_close,
    derivative,
    flatten,
    network,
    product,
    random_factors,
    random_motion,
    second_derivative,
    tangent_projector,
    velocity,
)
from tests.core.libraries import (
    along,
    autograd_derivative,
    first_derivatives,
    inner,
    like,
)

NETWORK = pytest.mark.parametrize("net", NETWORKS.values(), ids=NETWORKS)
STRATUM = pytest.mark.parametrize(("widths", "rank"), SHAPES, ids=str)


@NETWORK
def test_factorize_is_a_section(net):
    """Factors of ``X`` multiply to ``X``, are balanced and have the least norm."""
    factors = balancing.factorize(net.matrix, net.depth, net.widths, net.rank)
    factors = nw.layers_of(factors)
    assert widths_of(factors) == net.widths
    assert_close(product(factors), net.matrix, 1e-13)
    for moment in nw.moment_map(factors):
        assert_close(moment, 0 * moment, 1e-14, scale=np.max(net.core) ** 2)
    assert sum(np.sum(w**2) for w in factors) == pytest.approx(
        net.depth * np.trace(net.core @ net.core), rel=1e-13
    )


def test_factorize_truncates_to_the_rank():
    """A matrix of higher rank gives factors of its best approximation."""
    matrix = np.random.default_rng(8).standard_normal((4, 5))
    left, sigma, right = np.linalg.svd(matrix, full_matrices=False)
    factors = balancing.factorize(matrix, 3, rank=2)
    assert [w.shape for w in factors] == [(4, 5), (4, 4), (4, 4)]
    assert_close(product(factors), left[:, :2] * sigma[:2] @ right[:2], 1e-14)


def test_factorize_gives_one_array_for_equal_widths():
    """Equal widths give a stack, others a tuple, batched alike."""
    rng = np.random.default_rng(9)
    assert balancing.factorize(rng.standard_normal((2, 7, 3, 3)), 4).shape == (2, 7, 4, 3, 3)
    factors = balancing.factorize(rng.standard_normal((2, 7, 3, 4)), 2)
    assert [w.shape for w in factors] == [(2, 7, 3, 4), (2, 7, 3, 3)]


@STRATUM
def test_balance_is_the_least_norm_on_the_fibre(widths, rank):
    """``μ(bal W) = 0``, ``φ`` is kept up to the rank, and ``‖bal W‖² = N Σ σ^{2/N}``."""
    factors = random_factors(widths, np.random.default_rng(10))
    balanced, depth = balancing.balance(factors, rank), len(factors)
    left, sigma, right = np.linalg.svd(product(factors), full_matrices=False)
    condition = sigma[0] / sigma[rank - 1]
    expected = left[:, :rank] * sigma[:rank] @ right[:rank]
    assert_close(product(balanced), expected, 1e-14 * condition)
    for moment in nw.moment_map(balanced):
        assert_close(moment, 0 * moment, 1e-13, scale=sigma[0] ** (2 / depth))
    norm = sum(np.sum(w**2) for w in balanced)
    assert norm == pytest.approx(depth * np.sum(sigma[:rank] ** (2 / depth)), rel=1e-12)


@NETWORK
def test_balance_keeps_balanced_points(net):
    """A balanced point is its own balanced point."""
    balanced = balancing.balance(net.factors, net.rank)
    assert_close(flatten(balanced), flatten(net.factors), 1e-12)


@NETWORK
def test_balance_returns_to_the_fibre_from_the_group_orbit(net):
    """After a change of bases ``bal`` is balanced again, with the same ``φ``."""
    rng = np.random.default_rng(11)
    g = tuple(np.eye(w) + 0.3 * rng.standard_normal((w, w)) for w in net.widths[1:-1])
    balanced = balancing.balance(nw.act(g, net.factors), net.rank)
    assert_close(product(balanced), net.matrix, 1e-11)
    for moment in nw.moment_map(balanced):
        assert_close(moment, 0 * moment, 1e-12, scale=np.max(net.core) ** 2)


@NETWORK
def test_balance_differentiates_to_the_projector(net):
    """The differential of ``bal`` at a balanced point is the tangent projector."""
    vector = random_factors(net.widths, np.random.default_rng(12))

    def curve(t):
        moved = [w + t * v for w, v in zip(net.factors, vector, strict=True)]
        return flatten(balancing.balance(moved, net.rank))

    assert_close(derivative(curve, 2e-3), tangent_projector(net) @ flatten(vector), 1e-9)


@NETWORK
def test_balance_is_a_second_order_retraction(net):
    """The acceleration of ``bal(W + tV)`` is normal."""
    motion = random_motion(net, np.random.default_rng(13))
    vector = velocity(net, motion)
    vector = tuple(v / np.linalg.norm(flatten(vector)) for v in vector)

    def curve(t):
        moved = [w + t * v for w, v in zip(net.factors, vector, strict=True)]
        return flatten(balancing.balance(moved, net.rank))

    acceleration = second_derivative(curve)
    tangent = tangent_projector(net) @ acceleration
    assert_close(tangent, 0 * tangent, 1e-9, scale=1 + np.max(np.abs(acceleration)))


@STRATUM
@pytest.mark.parametrize("scale", [1e-6, 1e6])
def test_balance_scales(widths, rank, scale):
    """``bal`` is homogeneous of degree one at every scale, relatively."""
    factors = random_factors(widths, np.random.default_rng(14))
    expected = scale * flatten(balancing.balance(factors, rank))
    found = flatten(balancing.balance([scale * w for w in factors], rank))
    assert_close(found, expected, 1e-9)


def test_balance_of_hugely_unequal_layers():
    """One factor a million times larger than another is no obstacle."""
    first, middle, last = random_factors((3, 3, 3, 3), np.random.default_rng(15))
    factors = (1e6 * first, middle, 1e-6 * last)
    balanced = balancing.balance(factors)
    assert_close(product(balanced), product(factors), 1e-12)
    for moment in nw.moment_map(balanced):
        assert_close(moment, 0 * moment, 1e-13, scale=1.0)


@STRATUM
@pytest.mark.parametrize("scale", [1e-120, 1e120])
def test_balance_where_products_are_out_of_range(widths, rank, scale):
    """``bal(cW) = c bal(W)``, in a batch with factors of other scales."""
    factors = random_factors(widths, np.random.default_rng(10))
    scales = np.array([scale, 1.0, 3.0])[:, None, None]
    found = balancing.balance([scales * w for w in factors], rank)
    for one, expected in zip(found, balancing.balance(factors, rank), strict=True):
        assert_close(one / scales, np.broadcast_to(expected, one.shape), 1e-8)


@pytest.mark.parametrize("widths", [(3, 3, 3), (3, 4, 2, 3), (4, 3, 5, 4)], ids=str)
def test_derivatives_of_balance_below_full_rank(widths):
    """At factors of rank 2 first and second derivatives are right in every ambient direction."""
    rng = np.random.default_rng(19)
    net = network(widths, 2)
    weight = random_factors(widths, rng)
    one, other = (tuple(w / 3 for w in random_factors(widths, rng)) for _ in range(2))

    def function(*layers):
        cubes = tuple(w**3 for w in balancing.balance(layers, 2))
        return inner(cubes, like(layers[0], weight))

    def slope(t):
        moved = [w + t * d for w, d in zip(net.factors, other, strict=True)]
        return derivative(along(function, moved, one))

    expected, second = slope(0.0), derivative(slope)
    found = autograd_derivative(function, net.factors, one)
    assert found == pytest.approx(expected, rel=1e-9)
    found = autograd_derivative(
        lambda *layers: autograd_derivative(function, layers, one), net.factors, other
    )
    assert found == pytest.approx(second, rel=1e-8)
    if widths == (3, 3, 3):
        for route, value in first_derivatives(function, net.factors, one).items():
            assert value == pytest.approx(expected, rel=1e-9), route


BAD_DEPTHS: Any = [0, 1.5, math.inf, math.nan]


@pytest.mark.parametrize("depth", BAD_DEPTHS)
def test_depths_must_be_positive_integers(depth):
    """A depth that is no positive integer is refused, and named."""
    with pytest.raises(ValueError, match=f"depth must be a positive integer, got {depth}"):
        balancing.factorize(np.ones((3, 3)), depth)
