"""Laws of `dlngeo.core.networks.network`: observable, moment map, group action."""

import numpy as np
import pytest
import torch
from scipy import linalg

from dlngeo.core.networks import balancing
from dlngeo.core.networks import network as nw
from dlngeo.core.networks.factors import check_widths, default_widths, widths_of
from tests.core.brute import (
    NETWORKS,
    SHAPES,
    assert_close,
    derivative,
    flatten,
    jacobian,
    orbit_velocity,
    product,
    random_factors,
    tangent_projector,
    unflatten,
)

NETWORK = pytest.mark.parametrize("net", NETWORKS.values(), ids=NETWORKS)
WIDTHS = pytest.mark.parametrize("widths", [widths for widths, _ in SHAPES], ids=str)


def hidden_matrices(widths, rng):
    """Return one random matrix for each hidden layer."""
    return tuple(rng.standard_normal((width, width)) for width in widths[1:-1])


# --- the map and its differential -----------------------------------------------------


@WIDTHS
def test_end_to_end(widths):
    """``X = W_N ... W_1``."""
    factors = random_factors(widths, np.random.default_rng(0))
    assert widths_of(factors) == widths
    assert_close(nw.end_to_end(factors), product(factors), 1e-14)


@WIDTHS
def test_differential_and_adjoint_are_the_dense_jacobian(widths):
    """``dφ`` and ``dφ*`` are multiplications with the Jacobian and its transpose."""
    rng = np.random.default_rng(1)
    factors, vector = random_factors(widths, rng), random_factors(widths, rng)
    dense, covector = jacobian(factors), rng.standard_normal((widths[-1], widths[0]))
    assert_close(np.ravel(nw.differential(factors, vector)), dense @ flatten(vector), 1e-13)
    pulled = nw.adjoint_differential(factors, covector)
    assert_close(flatten(pulled), dense.T @ covector.ravel(), 1e-13)


@WIDTHS
def test_differential_is_the_derivative(widths):
    """``dφ_W(V)`` agrees with finite differences of ``φ``."""
    rng = np.random.default_rng(2)
    factors, vector = random_factors(widths, rng), random_factors(widths, rng)
    expected = derivative(
        lambda t: nw.end_to_end([w + t * v for w, v in zip(factors, vector, strict=True)])
    )
    assert_close(nw.differential(factors, vector), expected, 1e-11)


# --- moment map and group -------------------------------------------------------------


@WIDTHS
def test_moment_map(widths):
    """``μ_p = W_{p+1}ᵀ W_{p+1} - W_p W_pᵀ``, none at depth 1."""
    factors = random_factors(widths, np.random.default_rng(3))
    moments = nw.moment_map(factors)
    assert len(moments) == len(factors) - 1
    for p, moment in enumerate(moments):
        after, before = factors[p + 1], factors[p]
        assert_close(moment, after.T @ after - before @ before.T, 1e-14)


@WIDTHS
def test_moment_map_is_conserved(widths):
    """The moment map does not change along the gradient of any loss ``E(φ(W))``."""
    rng = np.random.default_rng(4)
    factors = random_factors(widths, rng)
    gradient = nw.adjoint_differential(factors, rng.standard_normal((widths[-1], widths[0])))

    def along_gradient(t):
        moved = [w + t * g for w, g in zip(factors, gradient, strict=True)]
        return np.concatenate([np.zeros(1), *map(np.ravel, nw.moment_map(moved))])

    assert_close(derivative(along_gradient), 0 * along_gradient(0.0), 1e-10, scale=1.0)


@WIDTHS
def test_group_action(widths):
    """``(g·W)_p = g_p W_p g_{p-1}⁻¹`` keeps ``φ`` and composes."""
    rng = np.random.default_rng(5)
    factors = random_factors(widths, rng)
    g, h = hidden_matrices(widths, rng), hidden_matrices(widths, rng)
    ends = [np.eye(widths[0]), *g, np.eye(widths[-1])]
    acted = nw.act(g, factors)
    for p, factor in enumerate(factors):
        assert_close(acted[p], ends[p + 1] @ factor @ np.linalg.inv(ends[p]), 1e-11)
    assert_close(nw.end_to_end(acted), product(factors), 1e-11)
    composed = nw.act(tuple(a @ b for a, b in zip(g, h, strict=True)), factors)
    assert_close(flatten(nw.act(g, nw.act(h, factors))), flatten(composed), 1e-10)


@WIDTHS
def test_infinitesimal_action(widths):
    """``ξ_a`` is the derivative of the action of ``exp(t a)``, and in the kernel of ``dφ``."""
    rng = np.random.default_rng(6)
    factors, a = random_factors(widths, rng), hidden_matrices(widths, rng)
    field = nw.infinitesimal_action(a, factors)
    expected = derivative(
        lambda t: flatten(nw.act(tuple(linalg.expm(t * element) for element in a), factors))
    )
    assert_close(flatten(field), expected, 1e-10)
    assert_close(jacobian(factors) @ flatten(field), np.zeros(widths[0] * widths[-1]), 1e-12, 10.0)


@NETWORK
def test_orthogonal_group_keeps_balance(net):
    """Orthogonal group elements keep the moment map zero."""
    rng = np.random.default_rng(7)
    g = tuple(np.linalg.qr(matrix)[0] for matrix in hidden_matrices(net.widths, rng))
    moments = nw.moment_map(nw.act(g, net.factors))
    assert all(np.max(np.abs(moment)) < 1e-14 * np.max(net.core) ** 2 for moment in moments)


# --- libraries, shapes, errors --------------------------------------------------------


def test_empty_batch():
    """A batch of no networks is balanced to a batch of none."""
    assert balancing.balance(np.zeros((0, 3, 2, 2))).shape == (0, 3, 2, 2)
    assert nw.end_to_end(np.zeros((0, 3, 2, 2))).shape == (0, 2, 2)
    assert balancing.factorize(np.zeros((0, 2, 2)), 3).shape == (0, 3, 2, 2)


ONES = np.ones((3, 3))
BAD_CALLS = {
    "a matrix is no stack": (lambda: nw.end_to_end(ONES), r"must have shape \[\.\.\., N, d, d\]"),
    "a vector is no factor": (lambda: nw.end_to_end([ONES, np.ones(3)]), "factor 2 must be a mat"),
    "no factors": (lambda: nw.end_to_end([]), "at least one factor"),
    "widths do not chain": (
        lambda: nw.end_to_end([np.ones((2, 3)), ONES]),
        "factor 1 has 2 rows, but factor 2 has 3 columns.*W_1 first",
    ),
    "NaN": (lambda: nw.end_to_end([ONES, ONES * np.nan]), "factor 2 holds NaN"),
    "infinity": (lambda: balancing.balance([ONES, ONES * np.inf]), "factor 2 holds NaN or inf"),
    "NaN in the matrix": (lambda: balancing.factorize(ONES * np.nan, 3), "the matrix holds NaN"),
    "no matrix": (
        lambda: balancing.factorize(np.ones(3), 3),
        r"expected a matrix, got shape \(3,\)",
    ),
    "widths of another matrix": (
        lambda: balancing.factorize(ONES, 2, (4, 3, 3)),
        r"depth 2 need 3 widths from 3 to 3.*got \(4, 3, 3\)",
    ),
    "too few widths": (lambda: balancing.factorize(ONES, 3, (3, 3, 3)), "need 4 widths"),
    "width zero": (lambda: balancing.factorize(ONES, 2, (3, 0, 3)), "positive integers"),
    "rank above a hidden width": (
        lambda: balancing.factorize(ONES, 2, (3, 2, 3), rank=3),
        "between 1 and the smallest width 2, got 3",
    ),
    "rank zero": (lambda: balancing.factorize(ONES, 2, rank=0), "between 1 and .*, got 0"),
    "rank above the width": (lambda: balancing.balance([ONES, ONES], 4), "smallest width 3, got 4"),
    "rank-deficient product": (
        lambda: balancing.balance([ONES, ONES]),
        "expected rank 3, but singular value 3 is zero .* pass a smaller rank",
    ),
    "group element of other widths": (
        lambda: nw.act([np.eye(2)], [ONES, ONES]),
        r"group element needs square matrices of the hidden widths \[3\]",
    ),
    "too many algebra elements": (
        lambda: nw.infinitesimal_action([ONES, ONES], [ONES, ONES]),
        r"algebra element needs square matrices .* got shapes \[\(3, 3\), \(3, 3\)\]",
    ),
}


@pytest.mark.parametrize(("call", "message"), BAD_CALLS.values(), ids=BAD_CALLS)
def test_errors(call, message):
    """Wrong arguments raise a ValueError that says what came and what to do."""
    with pytest.raises(ValueError, match=message):
        call()


@NETWORK
def test_skew_fields_are_tangent(net):
    """Vertical fields of skew matrices are tangent to the balanced manifold."""
    rng = np.random.default_rng(25)
    a = tuple(m - m.T for m in hidden_matrices(net.widths, rng))
    field = nw.infinitesimal_action(a, net.factors)
    assert_close(flatten(field), flatten(orbit_velocity(a, net.factors)), 1e-13)
    assert_close(tangent_projector(net) @ flatten(field), flatten(field), 1e-12)
    assert len(unflatten(flatten(field), net.factors)) == net.depth


@pytest.mark.filterwarnings("ignore:overflow:RuntimeWarning", "ignore:invalid:RuntimeWarning")
def test_overflow_is_told_where():
    """Of finite factors a product may leave the range: never an infinite result."""
    factors = np.full((4, 2, 3, 3), 1.0)
    factors[2] = 1e200
    with pytest.raises(ValueError, match=r"is out of range .* index \[2\]\): .* of size 1e400"):
        nw.end_to_end(factors)
    factors[2, 1] = 1.0
    with pytest.raises(ValueError, match=r"the result is out of range .* index \[2\]"):
        nw.moment_map(factors)


def test_factors_that_do_not_fit_each_other():
    with pytest.raises(ValueError, match="leading axes of the factors must broadcast"):
        nw.end_to_end((np.ones((3, 2, 2)), np.ones((4, 2, 2))))
    with pytest.raises(TypeError, match="arrays of one library"):
        nw.end_to_end((np.eye(2), torch.eye(2)))
    mixed = nw.end_to_end((torch.eye(2), torch.eye(2, dtype=torch.float64)))
    assert mixed.dtype == torch.float64


@pytest.mark.parametrize(
    ("widths", "message"),
    [
        (3, "at least two positive integers"),
        ("33", "at least two positive integers"),
        ((3, True), "at least two positive integers"),
        ((3, None), "at least two positive integers"),
        ((10**5, 10**9), "do not fit into memory"),
        ((10**5, 10**5), "do not fit into memory"),
    ],
)
def test_widths_are_refused_before_anything_is_allocated(widths, message):
    with pytest.raises(ValueError, match=message):
        check_widths(widths)


@pytest.mark.parametrize("rank", [0, 4, 1.5, True, "2", np.nan, 2**70])
def test_ranks(rank):
    with pytest.raises(ValueError, match=r"the rank must be an integer between 1 and .* 3, got"):
        check_widths((3, 3), rank)


@pytest.mark.parametrize("depth", [0, 1.5, True, "2", None, 10**9, 2**70, np.inf])
def test_depths(depth):
    with pytest.raises(ValueError, match="the depth must be a positive integer"):
        default_widths(3, 3, depth)


@pytest.mark.parametrize("size", [1.0, 1e-3, 1e200])
def test_many_layers_near_one_size_are_no_loss(size):
    """Of ten thousand residual layers each is about the identity, in units of its own or not."""
    generator = np.random.default_rng(0).normal(size=(3, 3))
    layers = np.broadcast_to(np.eye(3) + generator / 10_000, (10_000, 3, 3)).copy()
    layers[0], layers[1] = layers[0] * size, layers[1] / size
    expected = np.linalg.matrix_power(layers[2], 10_000)
    np.testing.assert_allclose(nw.end_to_end(layers), expected, rtol=1e-10)
