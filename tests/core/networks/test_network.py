"""Laws of `dlngeo.core.networks.network`: observable, moment map, group action, balancing."""

import math
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from scipy import linalg

from dlngeo.core.networks import balancing
from dlngeo.core.networks import network as nw
from dlngeo.core.networks.factors import widths_of
from tests.core.brute import (
    NETWORKS,
    SHAPES,
    assert_close,
    derivative,
    flatten,
    jacobian,
    network,
    orbit_velocity,
    product,
    random_factors,
    random_motion,
    second_derivative,
    tangent_projector,
    unflatten,
    velocity,
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

NETWORK = pytest.mark.parametrize("net", NETWORKS.values(), ids=NETWORKS)
WIDTHS = pytest.mark.parametrize("widths", [widths for widths, _ in SHAPES], ids=str)
STRATUM = pytest.mark.parametrize(("widths", "rank"), SHAPES, ids=str)


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


# --- factorize ------------------------------------------------------------------------


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


# --- balance --------------------------------------------------------------------------


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


# --- derivatives ----------------------------------------------------------------------

POINTS = {
    "identity": np.eye(3),
    "gap": np.diag([1.0, 1 + 1e-12, 2.0]),
    "random": np.random.default_rng(16).standard_normal((3, 3)),
}
POINT = pytest.mark.parametrize("matrix", POINTS.values(), ids=POINTS)


def balance_one_layer(first, second, third, weight):
    """Return a weighted sum of the cubes of a balanced layer, which depends on the frames."""
    return inner(balancing.balance((first, second, third))[1] ** 3, weight)


def invariant_of_factors(matrix, tangent, weight):
    """Return ``⟨weight, dφ dφ*(tangent)⟩`` at factors of a matrix."""
    factors = balancing.factorize(matrix, 3)
    return inner(nw.differential(factors, nw.adjoint_differential(factors, tangent)), weight)


FUNCTIONS = pytest.mark.parametrize(
    ("function", "n_others"),
    [(balance_one_layer, 3), (invariant_of_factors, 2)],
    ids=["balance", "factorize"],
)


def arguments(matrix, n_others, seed=17):
    """Return a point, with other random arguments, and two directions."""
    rng = np.random.default_rng(seed)
    point = (matrix, *rng.standard_normal((n_others, 3, 3)))
    directions = rng.standard_normal((2, n_others + 1, 3, 3)) / 3
    return point, tuple(directions[0]), tuple(directions[1])


@POINT
@FUNCTIONS
def test_first_derivatives(function, n_others, matrix):
    """Derivatives in every library agree with finite differences."""
    point, direction, _ = arguments(matrix, n_others)
    expected = derivative(along(function, point, direction))
    for route, value in first_derivatives(function, point, direction).items():
        assert value == pytest.approx(expected, rel=1e-9), route


@FUNCTIONS
def test_second_derivatives(function, n_others):
    """Second derivatives at ``X = I`` in every library agree with finite differences."""
    point, one, other = arguments(np.eye(3), n_others)
    expected = derivative(
        lambda t: autograd_derivative(
            function, [a + t * d for a, d in zip(point, other, strict=True)], one
        )
    )
    for route, value in second_derivatives(function, point, one, other).items():
        assert value == pytest.approx(expected, rel=1e-9), route


def test_second_derivative_of_balance_at_equal_layers():
    """The acceleration of ``bal`` at ``W = (I, I, I)`` under autodiff is the finite difference."""
    rng = np.random.default_rng(18)
    point = (*np.stack([np.eye(3)] * 3), rng.standard_normal((3, 3)))
    one = (*rng.standard_normal((3, 3, 3)) / 3, np.zeros((3, 3)))
    expected = second_derivative(along(balance_one_layer, point, one))
    for route, value in second_derivatives(balance_one_layer, point, one, one).items():
        assert value == pytest.approx(expected, rel=1e-9), route


@FUNCTIONS
def test_mapped_gradients(function, n_others):
    """Gradients mapped over a batch, and compiled, are those of the elements."""
    points = [arguments(matrix, n_others, seed)[0] for seed, matrix in enumerate(POINTS.values())]
    batch = tuple(np.stack(arrays) for arrays in zip(*points, strict=True))
    direction = arguments(np.eye(3), n_others)[1][0]
    still = [np.zeros((3, 3))] * n_others
    expected = [autograd_derivative(function, point, (direction, *still)) for point in points]
    for route, value in mapped_gradients(function, batch).items():
        assert_close(np.sum(value * direction, axis=(1, 2)), expected, 1e-12), route


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


# --- libraries, shapes, errors --------------------------------------------------------

CASES = {
    "end_to_end": lambda *w: nw.end_to_end(w),
    "differential": lambda *w: nw.differential(w, w),
    "adjoint_differential": lambda *w: nw.adjoint_differential(w, nw.end_to_end(w)),
    "moment_map": lambda *w: nw.moment_map(w),
    "infinitesimal_action": lambda *w: nw.infinitesimal_action(nw.moment_map(w), w),
    "act": lambda *w: nw.act([a @ a.T + b.T @ b for a, b in pairwise(w)], w),
    "factorize": lambda *w: balancing.factorize(nw.end_to_end(w), 3, rank=2)[1],
    "balance": lambda *w: balancing.balance(w),
    "balance rank 2": lambda *w: balancing.balance(w, 2),
}


def layers_in(result):
    """Return a result as a tuple of arrays."""
    return result if isinstance(result, tuple) else (result,)


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("library", ["torch", "jax"])
def test_every_library_gives_the_same_values(name, library):
    """NumPy, PyTorch and JAX give the same values, and float32 stays float32."""
    factors = random_factors((3, 3, 3, 3), np.random.default_rng(20))
    expected = flatten(layers_in(CASES[name](*factors)))
    found = layers_in(CASES[name](*map(ARRAYS[library], factors)))
    assert_close(flatten(found), expected, 1e-11)
    for make in (np.array, ARRAYS[library]):
        single = layers_in(CASES[name](*[make(w.astype(np.float32)) for w in factors]))
        assert {str(w.dtype).rpartition(".")[2] for w in single} == {"float32"}
        assert_close(flatten(single), expected, 1e-3)


@pytest.mark.parametrize("name", ["end_to_end", "moment_map", "balance", "act"])
def test_stacks_and_batches(name):
    """A stack of equal widths and a batch give what the single layers give."""
    rng = np.random.default_rng(21)
    stack = rng.standard_normal((2, 5, 3, 4, 4))
    kernel = {
        "end_to_end": nw.end_to_end,
        "moment_map": nw.moment_map,
        "balance": balancing.balance,
        "act": lambda w: nw.act(stack[0, 0, :2], w),
    }[name]
    result = kernel(stack)
    assert result.shape[:2] == (2, 5)
    for i, j in np.ndindex(2, 5):
        single = layers_in(kernel(tuple(stack[i, j])))
        assert_close(result[i, j].ravel(), flatten(single), 1e-11)


def test_one_point_broadcasts_with_many_vectors():
    """One point serves a batch of vectors and of covectors."""
    rng = np.random.default_rng(22)
    factors = random_factors((4, 3, 5), rng)
    vectors = tuple(rng.standard_normal((6, *w.shape)) for w in factors)
    images = nw.differential(factors, vectors)
    covectors = rng.standard_normal((6, 5, 4))
    pulled = nw.adjoint_differential(factors, covectors)
    for i in range(6):
        assert_close(images[i], nw.differential(factors, [v[i] for v in vectors]), 1e-14)
        single = nw.adjoint_differential(factors, covectors[i])
        assert_close(flatten([p[i] for p in pulled]), flatten(single), 1e-14)


def test_noncontiguous_layers():
    """Strides do not matter."""
    stack = np.random.default_rng(23).standard_normal((3, 4, 8))[..., ::2].swapaxes(-1, -2)
    assert_close(balancing.balance(stack), balancing.balance(np.ascontiguousarray(stack)), 1e-13)


def test_empty_batch():
    """A batch of no networks is balanced to a batch of none."""
    assert balancing.balance(np.zeros((0, 3, 2, 2))).shape == (0, 3, 2, 2)
    assert nw.end_to_end(np.zeros((0, 3, 2, 2))).shape == (0, 2, 2)
    assert balancing.factorize(np.zeros((0, 2, 2)), 3).shape == (0, 3, 2, 2)


ONES = np.ones((3, 3))
BAD_DEPTHS: Any = [0, 1.5, math.inf, math.nan]
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


def test_in_kind():
    """Sequences are answered by tuples, stacks by stacks."""
    rng = np.random.default_rng(24)
    stack = rng.standard_normal((3, 2, 2))
    assert isinstance(balancing.balance(list(stack)), tuple)
    assert isinstance(balancing.balance(stack), np.ndarray)
    assert nw.moment_map(stack[:1]).shape == (0, 2, 2)
    assert nw.moment_map((stack[0],)) == ()


@NETWORK
def test_skew_fields_are_tangent(net):
    """Vertical fields of skew matrices are tangent to the balanced manifold."""
    rng = np.random.default_rng(25)
    a = tuple(m - m.T for m in hidden_matrices(net.widths, rng))
    field = nw.infinitesimal_action(a, net.factors)
    assert_close(flatten(field), flatten(orbit_velocity(a, net.factors)), 1e-13)
    assert_close(tangent_projector(net) @ flatten(field), flatten(field), 1e-12)
    assert len(unflatten(flatten(field), net.factors)) == net.depth


@pytest.mark.parametrize("depth", BAD_DEPTHS)
def test_depths_must_be_positive_integers(depth):
    """A depth that is no positive integer is refused, and named."""
    with pytest.raises(ValueError, match=f"depth must be a positive integer, got {depth}"):
        balancing.factorize(ONES, depth)
