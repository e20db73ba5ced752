"""Counts of conservation laws: against naive brackets, incidence matrices, flows and Jacobians."""

import numpy as np
import pytest

from dlngeo.intrinsic import conservation_laws, conservation_laws_of, network_polynomials
from dlngeo.intrinsic.conservation import laws as laws_module
from dlngeo.intrinsic.conservation.network_laws import scalar_parts
from dlngeo.intrinsic.conservation.polynomials import symbols_and_polynomials
from tests.intrinsic.networks import naive_lie_dimension, path_incidence, random_networks, size

PUBLISHED = {
    (2, 2, 2): (8, 3, 5),
    (5, 3, 2): (21, 6, 15),
    (3, 4, 2, 4): (28, 13, 15),
    (2, 2, 5, 2, 4): (32, 20, 12),
}


@pytest.mark.parametrize("widths", PUBLISHED, ids=str)
def test_published_counts(widths):
    laws = conservation_laws(widths)
    counts = laws.n_parameters, laws.n_laws, laws.lie_algebra_dimension
    assert counts == PUBLISHED[widths]
    assert laws.complete
    assert laws.is_proved
    assert laws.n_known == laws.n_laws


@pytest.mark.parametrize(
    ("widths", "bias"),
    [
        ((3, 2), False),
        ((2, 1), True),
        ((1, 1, 1), False),
        ((1, 1, 1), True),
        ((2, 2, 1), False),
        ((1, 3, 1), False),
        ((2, 1, 2), False),
        ((2, 2, 2), False),
        ((1, 2, 1), True),
        ((1, 1, 1, 2), False),
        ((1, 1, 1, 1), True),
        ((1, 2, 2, 1), False),
        ((1, 2, 2, 2), False),
        ((2, 1, 2, 2, 1), False),
    ],
    ids=str,
)
def test_naive_brackets(widths, bias):
    """Expanded in full by SymPy; the general route of polynomials agrees too."""
    phi, variables = network_polynomials(widths, "linear", bias)
    polynomials = symbols_and_polynomials(phi, variables)[1]
    dimension = naive_lie_dimension(polynomials)
    laws = conservation_laws(widths, "linear", bias)
    assert laws.lie_algebra_dimension == dimension
    assert laws.n_parameters == len(variables) == size(widths, bias)
    general = conservation_laws_of(phi, variables)
    assert general.lie_algebra_dimension == dimension
    assert general.n_laws == laws.n_laws
    assert not general.complete or laws.n_laws == 0


@pytest.mark.parametrize("bias", [False, True])
def test_random_linear_networks(bias):
    """Known laws are complete, but for networks with a scalar-to-scalar part."""
    n_exceptions = 0
    for widths in random_networks(220, depths=[2, 3, 4], widest=5):
        laws = conservation_laws(widths, bias=bias)
        assert laws.is_proved, widths
        assert laws.n_laws == laws.n_parameters - laws.lie_algebra_dimension
        further = 0 if bias else sum(count for _, count in scalar_parts(widths))
        assert laws.n_laws == laws.n_known + further, widths
        assert laws.complete == (further == 0)
        assert ("scalar-to-scalar part" in laws.status) == (further > 0)
        n_exceptions += further > 0
    assert n_exceptions == (0 if bias else 9)


@pytest.mark.parametrize("bias", [False, True])
def test_random_relu_networks(bias):
    """The rank of paths against parameters is that of ``∂φ``, where no parameter is zero."""
    for widths in random_networks(50, depths=[1, 2, 3, 4], widest=6, seed=2):
        incidence = path_incidence(widths, bias)
        rank = np.linalg.matrix_rank(incidence.T @ incidence)
        laws = conservation_laws(widths, "relu", bias)
        assert laws.n_parameters == incidence.shape[1]
        assert laws.lie_algebra_dimension == rank, widths
        assert laws.n_laws == laws.n_known == laws.n_parameters - rank == sum(widths[1:-1])
        assert laws.complete


@pytest.mark.parametrize(
    ("widths", "n_laws", "n_known"),
    [
        ((1, 1, 1, 1), 2, 2),
        ((1, 2, 1), 3, 3),
        ((1, 2, 2, 1), 7, 6),
        ((1, 3, 3, 1), 14, 12),
        ((1, 4, 4, 4, 1), 39, 30),
        ((5, 1, 4, 5, 1), 29, 26),
        ((3, 1, 2, 2, 1, 2, 2, 2, 1, 3), 21, 18),
    ],
    ids=str,
)
def test_scalar_networks(widths, n_laws, n_known):
    laws = conservation_laws(widths)
    assert (laws.n_laws, laws.n_known) == (n_laws, n_known)
    assert laws.complete == (n_laws == n_known)
    if widths[0] == widths[-1] == 1:
        assert laws.n_laws == laws.n_parameters - 1
        assert laws.lie_algebra_dimension == 1


def test_large_networks_follow_from_theorems():
    deep = conservation_laws((784, 64, 32, 10), "relu", bias=True)
    assert deep.n_parameters == 784 * 64 + 64 + 64 * 32 + 32 + 320 + 10
    assert (deep.n_laws, deep.complete, deep.is_proved) == (96, True, True)
    wide = conservation_laws((784, 64, 10))
    assert (wide.n_laws, wide.complete) == (64 * 65 // 2, True)
    assert conservation_laws((1000, 1000)).n_laws == 0


def test_theorem_of_depth_two_is_what_is_computed(monkeypatch):
    networks = random_networks(30, depths=[2], widest=6, seed=4)
    computed = [conservation_laws(widths) for widths in networks]
    monkeypatch.setattr(laws_module, "LARGEST", -1)
    for widths, laws in zip(networks, computed, strict=True):
        assert conservation_laws(widths).lie_algebra_dimension == laws.lie_algebra_dimension


NETWORKS: dict[str, tuple] = {
    "zero": ((2, 0, 2), {}, "positive"),
    "negative": ((2, -1), {}, "positive"),
    "one": ((3,), {}, "at least two"),
    "none": ((), {}, "at least two"),
    "number": (3, {}, "positive integers"),
    "text": ("2,2", {}, "positive integers"),
    "fraction": ((2, 2.5), {}, "integers"),
    "NaN": ((2, float("nan")), {}, "integers"),
    "kind": ((2, 2), {"kind": "tanh"}, "linear, relu"),
    "large": ((200, 200, 200, 200), {}, "too large"),
}


@pytest.mark.parametrize("case", NETWORKS)
def test_refused_networks(case):
    widths, options, message = NETWORKS[case]
    with pytest.raises(ValueError, match=message):
        conservation_laws(widths, **options)
