"""Laws of `dlngeo.core.balanced.submanifold` against dense projectors and their derivatives."""

import itertools

import numpy as np
import pytest

from dlngeo.core.balanced import basis
from dlngeo.core.balanced import submanifold as bm
from dlngeo.core.networks.balancing import balance
from dlngeo.core.networks.network import infinitesimal_action
from tests.core.brute import (
    NETWORKS,
    Network,
    assert_close,
    derivative,
    flatten,
    moved,
    network,
    random_factors,
    random_motion,
    second_derivative,
    tangent_projector,
    tangent_space,
    unflatten,
    velocity,
)
from tests.core.libraries import (
    autograd_derivative,
    first_derivatives,
    inner,
    like,
)

NETWORK = pytest.mark.parametrize("net", NETWORKS.values(), ids=NETWORKS)


def tangent(net: Network, seed: int):
    """Return a random motion and its velocity."""
    motion = random_motion(net, np.random.default_rng(seed))
    return motion, velocity(net, motion)


def ambient(net: Network, seed: int):
    """Return a random velocity of the factors."""
    return random_factors(net.widths, np.random.default_rng(seed))


# --- dimension and projection ---------------------------------------------------------


@pytest.mark.parametrize("depth", [1, 2, 3, 4])
def test_dimension_is_the_rank_of_the_motions(depth):
    """Dimensions agree with numerical ranks over a grid of widths and all ranks."""
    choices = {1: range(1, 6), 2: range(1, 6), 3: (1, 2, 4), 4: (1, 3)}[depth]
    for widths in itertools.product(choices, repeat=depth + 1):
        for rank in range(1, min(widths) + 1):
            expected = tangent_space(network(widths, rank, [1.6, 1.3, 1.0, 0.8, 0.7])).shape[1]
            assert bm.dimension(widths, rank) == expected
        assert bm.dimension(widths) == bm.dimension(widths, min(widths))


def test_dimension_of_square_networks():
    """Full rank at width ``d``: ``d² + (N-1) d(d-1)/2``."""
    for d, depth in itertools.product(range(1, 7), range(1, 6)):
        assert bm.dimension((d,) * (depth + 1)) == d**2 + (depth - 1) * d * (d - 1) // 2


@NETWORK
def test_projection_is_the_dense_projector(net):
    """The tangent projection agrees with the projector on the span of all motions."""
    vector = ambient(net, 0)
    projected = flatten(bm.tangent_projection(net.factors, vector, net.rank))
    assert_close(projected, tangent_projector(net) @ flatten(vector), 1e-12)


@NETWORK
def test_projection_keeps_velocities(net):
    """Velocities of curves in the manifold are their own projections."""
    _, vector = tangent(net, 1)
    projected = flatten(bm.tangent_projection(net.factors, vector, net.rank))
    assert_close(projected, flatten(vector), 1e-12)


@NETWORK
def test_normal_fields_are_normal(net):
    """Fields ``n_S`` of symmetric matrices have no tangent part."""
    rng = np.random.default_rng(2)
    matrices = tuple(rng.standard_normal((w, w)) for w in net.widths[1:-1])
    symmetric = tuple(m + m.T for m in matrices)
    field = -flatten(infinitesimal_action(symmetric, net.factors))
    expected = [np.zeros(0)]
    ends = [np.zeros((net.widths[0],) * 2), *symmetric, np.zeros((net.widths[-1],) * 2)]
    for p, factor in enumerate(net.factors):
        expected.append(np.ravel(factor @ ends[p] - ends[p + 1] @ factor))
    assert_close(field, np.concatenate(expected), 1e-13)
    assert_close(tangent_projector(net) @ field, 0 * field, 1e-13, scale=10.0)
    projected = bm.tangent_projection(net.factors, unflatten(field, net.factors), net.rank)
    assert_close(flatten(projected), 0 * field, 1e-13, scale=10.0)


# --- second fundamental form ----------------------------------------------------------


@NETWORK
def test_second_fundamental_form(net):
    """``II(V, V') = (dP[V]) V'``, the projector's derivative along a curve."""
    motion, vector = tangent(net, 3)
    _, other = tangent(net, 4)
    change = derivative(lambda t: tangent_projector(moved(net, motion, t)), 2e-3)
    normal = flatten(bm.second_fundamental_form(net.factors, vector, other, net.rank))
    assert_close(normal, change @ flatten(other), 1e-9, scale=1 + np.max(np.abs(normal)))
    mirrored = bm.second_fundamental_form(net.factors, other, vector, net.rank)
    assert_close(flatten(mirrored), normal, 1e-12, scale=1 + np.max(np.abs(normal)))


@NETWORK
def test_second_fundamental_form_is_the_normal_acceleration(net):
    """The normal part of the acceleration of any curve is ``II(Ẇ, Ẇ)``."""
    motion, vector = tangent(net, 5)
    acceleration = second_derivative(lambda t: flatten(moved(net, motion, t).factors))
    expected = acceleration - tangent_projector(net) @ acceleration
    normal = flatten(bm.second_fundamental_form(net.factors, vector, vector, net.rank))
    assert_close(normal, expected, 1e-9, scale=1 + np.max(np.abs(acceleration)))


@NETWORK
def test_balance_accelerates_by_the_second_fundamental_form(net):
    """``d²/dt² bal(W + tV) = II(V, V)`` at ``t = 0``, all of it."""
    _, vector = tangent(net, 6)
    vector = tuple(v / np.linalg.norm(flatten(vector)) for v in vector)
    acceleration = second_derivative(
        lambda t: flatten(
            balance([w + t * v for w, v in zip(net.factors, vector, strict=True)], net.rank)
        )
    )
    normal = flatten(bm.second_fundamental_form(net.factors, vector, vector, net.rank))
    assert_close(acceleration, normal, 1e-9, scale=1 + np.max(np.abs(normal)))


@NETWORK
def test_weingarten_map(net):
    """``S_n(V) = P (dP[V]) n``, and ``⟨S_n(V), Y⟩ = ⟨n, II(V, Y)⟩``."""
    motion, vector = tangent(net, 7)
    _, other = tangent(net, 8)
    projector = tangent_projector(net)
    normal = flatten(ambient(net, 9))
    normal = normal - projector @ normal
    change = derivative(lambda t: tangent_projector(moved(net, motion, t)), 2e-3)
    field = unflatten(normal, net.factors)
    mapped = flatten(bm.weingarten_map(net.factors, vector, field, net.rank))
    scale = 1 + np.max(np.abs(mapped))
    assert_close(mapped, projector @ change @ normal, 1e-9, scale)
    form = flatten(bm.second_fundamental_form(net.factors, vector, other, net.rank))
    assert_close(mapped @ flatten(other), normal @ form, 1e-12, scale=scale**2 * 10)


def test_mean_curvature_of_many_layers():
    """Rank one, square: the moments are those of the null spaces; ``λ^{2N}`` underflows."""
    depth, lam = 1000, 0.6
    layers = np.zeros((depth, 3, 3))
    layers[:, 0, 0] = lam
    moments = np.zeros(depth - 1)
    moments[0], moments[-1] = -1.0, 1.0
    laplacian = 2 * np.eye(depth - 1) - np.eye(depth - 1, k=1) - np.eye(depth - 1, k=-1)
    s = np.linalg.solve(laplacian, moments) / lam**2
    expected = lam * np.diff(np.concatenate([[0.0], s, [0.0]]))
    found = bm.mean_curvature(layers, 1)
    assert_close(found[:, 0, 0], expected, 1e-12)


@NETWORK
def test_mean_curvature_is_the_trace(net):
    """``H = Σ II(e, e)`` over an orthonormal basis that is not the package's."""
    total = np.zeros(sum(w.size for w in net.factors))
    for vector in tangent_space(net).T:
        layers = unflatten(vector, net.factors)
        total += flatten(bm.second_fundamental_form(net.factors, layers, layers, net.rank))
    mean = flatten(bm.mean_curvature(net.factors, net.rank))
    assert_close(mean, total, 1e-11, scale=1 + np.max(np.abs(total)))


@pytest.mark.parametrize("widths", [(3, 3, 3), (4, 2, 4), (3, 5, 3), (1, 1, 1)], ids=str)
def test_two_layers_of_equal_ends_are_minimal(widths):
    """``H = 0`` for ``N = 2`` and ``d_0 = d_2``, and not otherwise."""
    mean = flatten(bm.mean_curvature(network(widths, min(widths)).factors))
    assert_close(mean, 0 * mean, 1e-14, scale=1.0)
    wider = (*widths[:2], widths[2] + 1)
    assert np.max(np.abs(flatten(bm.mean_curvature(network(wider, 1).factors, 1)))) > 0.1


# --- scales and batches ---------------------------------------------------------------


@pytest.mark.parametrize("scale", [1e-6, 1e6])
@pytest.mark.parametrize("shape", [((3,) * 11, 3), ((4, 3, 5, 4), 2)], ids=str)
def test_scales(shape, scale):
    """Projections do not depend on the scale; curvatures scale with its inverse."""
    net = network(*shape)
    scaled = [scale * w for w in net.factors]
    _, vector = tangent(net, 11)
    expected = flatten(bm.tangent_projection(net.factors, ambient(net, 12), net.rank))
    found = flatten(bm.tangent_projection(scaled, ambient(net, 12), net.rank))
    assert_close(found, expected, 1e-12)
    for kernel in (
        lambda w: bm.second_fundamental_form(w, vector, vector, net.rank),
        lambda w: bm.weingarten_map(w, vector, ambient(net, 13), net.rank),
        lambda w: bm.mean_curvature(w, net.rank),
    ):
        assert_close(scale * flatten(kernel(scaled)), flatten(kernel(net.factors)), 1e-11)


# --- derivatives ----------------------------------------------------------------------


@pytest.mark.parametrize("shape", [((3, 3, 3), 2), ((4, 3, 5, 4), 2), ((4, 3), 2)], ids=str)
def test_first_derivatives_along_the_manifold(shape):
    """At every rank the projection is differentiated rightly along balanced curves."""
    net = network(*shape)
    motion, direction = tangent(net, 19)
    vector, weight = ambient(net, 20), ambient(net, 21)

    def function(*layers):
        projection = bm.tangent_projection(layers, like(layers[0], vector), net.rank)
        return inner(projection, like(layers[0], weight))

    expected = derivative(lambda t: function(*moved(net, motion, t).factors))
    found = autograd_derivative(function, net.factors, direction)
    assert found == pytest.approx(expected, rel=1e-9)
    if shape == ((3, 3, 3), 2):
        for route, value in first_derivatives(function, net.factors, direction).items():
            assert value == pytest.approx(expected, rel=1e-9), route


# --- libraries and errors -------------------------------------------------------------


FIRST, SECOND = network((3, 3, 3), 3).factors
BAD_CALLS = {
    "unbalanced": (
        lambda: bm.tangent_projection((2 * FIRST, SECOND), (FIRST, SECOND)),
        r"expected balanced factors of rank 3, .* balance the factors first",
    ),
    "unbalanced, curvature": (lambda: bm.mean_curvature((2 * FIRST, SECOND)), "balance the fact"),
    "unbalanced, basis": (lambda: basis.tangent_basis((2 * FIRST, SECOND)), "balance the factors"),
    "wrong rank": (
        lambda: bm.second_fundamental_form((FIRST, SECOND), (FIRST,) * 2, (FIRST,) * 2, 2),
        "pass the right rank",
    ),
    "rank-deficient": (
        lambda: bm.mean_curvature(network((3, 3, 3), 2).factors),
        "expected rank 3, but singular value 3 is zero to round-off: pass a smaller rank",
    ),
    "vector of another shape": (
        lambda: bm.tangent_projection((FIRST, SECOND), (FIRST, np.ones((4, 3)))),
        r"expected .* \[\(3, 3\), \(3, 3\)\].* got \[\(3, 3\), \(4, 3\)\]",
    ),
    "vector of another length": (
        lambda: bm.tangent_projection((FIRST, SECOND), (FIRST,)),
        r"expected .* got \[\(3, 3\)\]",
    ),
    "NaN in the vector": (
        lambda: bm.tangent_projection((FIRST, SECOND), (FIRST, SECOND * np.nan)),
        "holds NaN",
    ),
    "NaN in the factors": (lambda: bm.mean_curvature((FIRST, SECOND * np.nan)), "factor 2 holds"),
    "rank above the widths": (lambda: bm.dimension((3, 2), 3), "smallest width 2, got 3"),
    "one width": (lambda: bm.dimension((3,)), "at least two positive integers"),
}


@pytest.mark.parametrize(("call", "message"), BAD_CALLS.values(), ids=BAD_CALLS)
def test_errors(call, message):
    """Wrong arguments raise a ValueError that says what came and what to do."""
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize("scale", [1e-150, 1e-6, 1e6, 1e150])
@pytest.mark.parametrize("depth", [2, 10])
def test_projection_does_not_see_the_scale(scale, depth):
    """Tangent spaces are those of the scaled point, also where squares overflow."""
    point = balance(random_factors((3,) * (depth + 1), np.random.default_rng(5)))
    vector = random_factors((3,) * (depth + 1), np.random.default_rng(6))
    expected = bm.tangent_projection(point, vector)
    for found, wanted in zip(
        bm.tangent_projection([scale * w for w in point], vector), expected, strict=True
    ):
        assert_close(found, wanted, 1e-12)
