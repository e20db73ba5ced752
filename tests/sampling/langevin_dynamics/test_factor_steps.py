"""What kernels of factors share: temperatures, drift, the boundary, starts."""

import numpy as np
import pytest

from dlngeo.core.networks.balancing import balance
from dlngeo.core.networks.network import end_to_end, moment_map
from dlngeo.sampling.langevin_dynamics.equation import Equation
from dlngeo.sampling.langevin_dynamics.euler_maruyama import FactorEulerMaruyama
from dlngeo.sampling.langevin_dynamics.second_order import HorizontalSecondOrder, SecondOrder
from tests.core import brute
from tests.core.brute import assert_close
from tests.sampling.generators import Problem
from tests.sampling.langevin_dynamics.steps import (
    KERNELS,
    equation_of,
    half_square,
    start_near_the_boundary,
)
from tests.sampling.reference import cubature, matrices, replay


@pytest.mark.parametrize(
    ("name", "kappa"),
    [("factors", 1.0), ("factors", 0.25), ("factors", 0.0), ("second-order factors", 0.25)],
)
def test_noise_of_factors_has_two_temperatures(name, kappa):
    """``2/β`` along the fibre and ``2κ/β`` across it, in the space of factors."""
    net = brute.network((2, 3, 2), 2)
    beta, step = 1.3, 1e-7
    equation = Equation(lambda x: 0 * x, net.widths, net.rank, beta, kappa)
    kernel = KERNELS[name](equation, step)
    start = tuple(w[None] for w in net.factors)
    size = sum(w.size for w in start) * (1 if name == "factors" else 4)
    nodes, weights = cubature(size)
    state = kernel.init(tuple(np.repeat(w, len(nodes), axis=0) for w in start))
    after = kernel.step(state, replay(nodes)).layers
    moved = np.concatenate(
        [(a - b).reshape(len(nodes), -1) for a, b in zip(after, start, strict=True)], axis=1
    )
    covariance = np.einsum("n,ni,nj->ij", weights, moved, moved) / step
    vertical, horizontal = brute.vertical_projector(net), brute.horizontal_projector(net)
    assert_close(covariance, 2 / beta * (vertical + kappa * horizontal), 1e-4)


@pytest.mark.parametrize("name", ["factors", "second-order factors"])
def test_both_schemes_move_factors_alike(name):
    """The Itô drift ``(tr_v II + κ tr_h II)/β`` of factors, by brute force.

    The second fundamental form along a unit vector is the normal acceleration of a curve on the
    manifold: of the balanced network that is nearest to a straight line.
    """
    net = brute.network((2, 3, 1), 1)
    beta, kappa, step = 1.3, 0.4, 1e-6
    normal = np.eye(sum(w.size for w in net.factors)) - brute.tangent_projector(net)

    def form(vector):
        move = brute.unflatten(vector, net.factors)

        def curve(time):
            pairs = zip(net.factors, move, strict=True)
            return brute.flatten(balance(tuple(w + time * v for w, v in pairs), net.rank))

        return normal @ brute.second_derivative(curve)

    def trace(projector):
        values, vectors = np.linalg.eigh(projector)
        return sum(form(v) for v in vectors.T[values > 0.5])

    expected = trace(brute.vertical_projector(net))
    expected = (expected + kappa * trace(brute.horizontal_projector(net))) / beta
    equation = Equation(lambda x: 0 * x, net.widths, net.rank, beta, kappa)
    kernel = KERNELS[name](equation, step)
    start = tuple(w[None] for w in net.factors)
    nodes, weights = cubature(sum(w.size for w in start) * (1 if name == "factors" else 4))
    state = kernel.init(tuple(np.repeat(w, len(nodes), axis=0) for w in start))
    after = kernel.step(state, replay(nodes)).layers
    mean = brute.flatten(
        [np.einsum("n,nkl->kl", weights, a - b) for a, b in zip(after, start, strict=True)]
    )
    assert_close(mean / step, expected, 1e-3)


@pytest.mark.parametrize("depth", [1, 2, 3, 5, 10])
@pytest.mark.parametrize("scheme", [FactorEulerMaruyama, SecondOrder])
@pytest.mark.parametrize(
    ("width", "end", "rank"), [(1, 1, 1), (2, 2, 2), (3, 3, 3), (3, 2, 2), (3, 3, 1)]
)
def test_chains_stay_balanced_and_of_their_rank(depth, scheme, width, end, rank):
    """With hot noise and a gradient that is infinite at the boundary."""
    rng = np.random.default_rng(3)
    widths = (*[width] * depth, end)
    n, n_steps = (20, 30) if scheme is FactorEulerMaruyama else (8, 5)
    _, gradient = half_square(depth)
    kernel = scheme(Equation(gradient, widths, rank, beta=1.0), 0.05)
    state = kernel.init(start_near_the_boundary(widths, rank, depth, n, rng))
    is_open = width == end == rank
    before = np.linalg.slogdet(end_to_end(state.layers))[0] if is_open else None
    for _ in range(n_steps):
        state = kernel.step(state, rng)
        matrix = end_to_end(state.layers)
        assert np.isfinite(matrix).all()
        sigma = np.linalg.svd(matrix, compute_uv=False)
        assert (sigma[:, rank - 1] > 1e-14 * sigma[:, 0]).all()
        assert (sigma[:, rank:] < 1e-12 * sigma[:, :1]).all()
        if is_open:
            assert (np.linalg.slogdet(matrix)[0] == before).all()
    scale = max(float(abs(w).max()) for w in state.layers) ** 2
    for moment in moment_map(state.layers):
        assert_close(moment, 0 * moment, 1e-6, scale=scale)
    if is_open and scheme is FactorEulerMaruyama and (depth % 2 or width > 1):
        # At an even depth a value passes through zero with the same product.
        assert state.n_reflections.sum() + state.n_rejected.sum() > 0
    elif not is_open:
        assert state.n_reflections.sum() == 0


def test_a_reflection_is_the_orthogonal_one():
    """Of the last factor, in the left vector of the least value: the rest of ``X`` stays."""
    layers = tuple(np.diag([1.0, 0.5])[None] for _ in range(3))
    equation = Equation(lambda x: 0 * x, (2,) * 4, 2, beta=2.0)
    kernel = FactorEulerMaruyama(equation, 0.01)
    push = np.zeros((1, 12))
    push[0, [3, 7, 11]] = -9.0  # of all (2, 2) entries: λ_2 falls by 0.9
    after = kernel.step(kernel.init(layers), replay(push))
    assert after.n_reflections.tolist() == [1]
    assert after.n_rejected.tolist() == [0]
    assert_close(end_to_end(after.layers)[0], np.diag([1.0, 0.4**3]), 1e-12)
    # At an even depth the product does not see the sign.
    equation = Equation(lambda x: 0 * x, (2,) * 3, 2, beta=2.0)
    kernel = FactorEulerMaruyama(equation, 0.01)
    after = kernel.step(kernel.init(layers[:2]), replay(push[:, :8]))
    assert after.n_reflections.tolist() == [0]
    assert_close(end_to_end(after.layers)[0], np.diag([1.0, 0.4**2]), 1e-12)


def test_what_round_off_hides_is_rejected():
    """The chain stays where it was, and counts it."""
    depth = 10
    widths = (2,) * (depth + 1)
    rng = np.random.default_rng(0)
    layers = tuple(np.tile(np.diag([1.0, 0.0445]), (30, 1, 1)) for _ in range(depth))
    for scheme in (FactorEulerMaruyama, SecondOrder):
        kernel = scheme(Equation(lambda x: 0 * x, widths, 2, beta=20.0), 0.002)
        state = kernel.init(layers)
        after = kernel.step(state, rng)
        stayed = after.n_rejected == 1
        assert 0 < stayed.sum() < 30
        for a, b in zip(after.layers, state.layers, strict=True):
            assert_close(a[stayed], b[stayed], 1e-6)
            assert (abs(a[~stayed] - b[~stayed]).max(axis=(1, 2)) > 1e-4).all()


@pytest.mark.parametrize("scheme", [FactorEulerMaruyama, SecondOrder])
@pytest.mark.parametrize("size", [1e3, 1e40, 1e100, 1e200])
@pytest.mark.parametrize("rank", [1, 2])
def test_steps_without_bound_are_rejected(scheme, size, rank):
    """As are those that end with a lower rank to round-off."""
    equation = Equation(lambda x: -size * x**3, (2, 2, 2, 2), rank, 1.0)
    kernel = scheme(equation, 1.0)
    state = kernel.init(tuple(np.diag([1.0, rank - 1.0])[None] for _ in range(3)))
    with np.errstate(all="ignore"):
        for _ in range(20):
            state = kernel.step(state, np.random.default_rng(0))
    assert all(np.isfinite(layer).all() for layer in state.layers)
    assert state.n_rejected.all()


def test_schemes_agree_on_the_start():
    """Factors are balanced first; matrices are factorised as narrow as can be."""
    rng = np.random.default_rng(7)
    problem = Problem((2, 3, 2, 2), 2)
    layers = tuple(rng.standard_normal((3, *w.shape[1:])) for w in problem.factors())
    equation = equation_of(problem)
    for kernel in (FactorEulerMaruyama(equation, 0.1), SecondOrder(equation, 0.1)):
        state = kernel.init(layers)
        for a, b in zip(state.layers, balance(layers, 2), strict=True):
            assert_close(a, b, 1e-12)
    start = matrices(np.ones((3, 2)), 3, 2, 2, rng)
    thin = HorizontalSecondOrder(equation, 0.1).init((start,))
    assert [w.shape[1:] for w in thin.layers] == [(2, 2)] * 3
    assert_close(end_to_end(thin.layers), start, 1e-12)
