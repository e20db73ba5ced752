"""Chains of balanced factors, and the schemes of weak order two."""

import contextlib
from itertools import pairwise

import numpy as np
import pytest

from dlngeo.core.networks.balancing import balance
from dlngeo.core.networks.network import end_to_end, moment_map
from dlngeo.sampling.langevin_dynamics.equation import Diverged, Equation
from dlngeo.sampling.langevin_dynamics.factor_steps import (
    FactorEulerMaruyama,
    SecondOrder,
    random_factors,
)
from dlngeo.sampling.langevin_dynamics.matrix_steps import SingularFrames
from tests.core.brute import assert_close
from tests.sampling.generators import Problem
from tests.sampling.langevin_dynamics.steps import (
    KERNELS,
    MOMENTS,
    ORDERS,
    check_moments,
    equation_of,
    local_order,
)
from tests.sampling.langevin_dynamics.test_matrix_steps import free_descent, half_square
from tests.sampling.reference import after_a_step, cubature, matrices, product, replay, rotations

SMALL = [m for m in MOMENTS if sum(np.prod(p) for p in pairwise(m[0])) <= 12]


@pytest.mark.parametrize(("widths", "rank", "lam", "kappa"), MOMENTS)
def test_moments_of_a_step_are_those_of_the_equation(widths, rank, lam, kappa):
    """Of end-to-end matrices, although it is the factors that move."""
    check_moments(widths, rank, lam, "factors", kappa)


@pytest.mark.parametrize("name", ["second-order", "second-order factors"])
@pytest.mark.parametrize(("widths", "rank", "lam", "kappa"), SMALL)
def test_moments_of_a_step_of_second_order(widths, rank, lam, kappa, name):
    check_moments(widths, rank, lam, name, kappa)


@pytest.mark.parametrize("problem", ORDERS, ids=str)
def test_euler_is_of_weak_order_one(problem):
    assert abs(local_order(problem, "factors", 1) - 2) < 0.05


@pytest.mark.parametrize("problem", ORDERS, ids=str)
def test_second_order_is_of_weak_order_two(problem):
    """The error of one step, in the mean of a function, is of the third order."""
    assert abs(local_order(problem, "second-order", 2) - 3) < 0.1


@pytest.mark.parametrize("problem", [ORDERS[0], ORDERS[2], ORDERS[4]], ids=str)
def test_second_order_is_of_weak_order_two_with_vertical_noise(problem):
    assert abs(local_order(problem, "second-order factors", 2) - 3) < 0.1


@pytest.mark.parametrize(
    ("name", "kappa"),
    [("factors", 1.0), ("factors", 0.25), ("factors", 0.0), ("second-order factors", 0.25)],
)
def test_noise_of_factors_has_two_temperatures(name, kappa):
    """``2/β`` along the fibre and ``2κ/β`` across it, in the space of factors."""
    from tests.core import brute

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
    from tests.core import brute

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


@pytest.mark.parametrize("name", ["factors", "second-order", "second-order factors"])
@pytest.mark.parametrize("problem", [ORDERS[1], ORDERS[5]], ids=str)
def test_without_noise_end_to_end_matrices_descend(problem, name):
    """``κ = 0``: vertical noise does the entropy's work, in the mean."""
    kernel_of = KERNELS[name]
    if name == "factors":
        # Only the mean over the noise of one step is deterministic, to first order.
        errors = []
        for step in (1e-3, 5e-4):
            kernel = kernel_of(equation_of(problem, kappa=0.0), step)
            after, weights = after_a_step(kernel, problem.factors(), problem.depth)
            mean = np.einsum("n,nkl->kl", weights, after)
            errors.append(np.linalg.norm(mean - free_descent(problem, step)))
            # And every draw is near the mean: what spreads is of the order of h.
            assert abs(after - mean).max() < 60 * step
        assert 3.7 < errors[0] / errors[1] < 4.3
        return
    expected = free_descent(problem, 0.5)
    errors = []
    for n in (10, 20):
        kernel = kernel_of(equation_of(problem, kappa=0.0), 0.5 / n)
        start = problem.factors() if "factors" in name else problem.point[None]
        state = kernel.init(start)
        for _ in range(n):
            state = kernel.step(state, np.random.default_rng(0))
        errors.append(np.linalg.norm(product(state.layers)[0] - expected))
    # Runge and Kutta's method is of order four, but what is left of vertical noise is random.
    assert errors[1] < 1e-4
    assert errors[0] / errors[1] > (1.5 if "factors" in name else 3)


def start_near_the_boundary(widths, rank, depth, n, rng):
    """Return balanced factors whose least value is small."""
    lam = np.linspace(1.0, 0.3, rank) * np.ones((n, 1))
    lam[:, -1] = 0.15
    frames = [rotations(n, width, rank, rng) for width in widths]
    return tuple(q * lam[:, None, :] @ p.swapaxes(-1, -2) for p, q in pairwise(frames))


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
def test_divergence_is_an_error_of_its_own(scheme, size, rank):
    """Or steps are rejected, where they end with a lower rank to round-off."""
    equation = Equation(lambda x: -size * x**3, (2, 2, 2, 2), rank, 1.0)
    kernel = scheme(equation, 1.0)
    state = kernel.init(tuple(np.diag([1.0, rank - 1.0])[None] for _ in range(3)))
    with np.errstate(all="ignore"), contextlib.suppress(Diverged):
        for _ in range(20):
            state = kernel.step(state, np.random.default_rng(0))
    assert all(np.isfinite(layer).all() for layer in state.layers)


def test_factors_of_an_orbit_are_uniform():
    """Over the given matrices, balanced, with independent uniform hidden frames."""
    rng = np.random.default_rng(6)
    n, widths = 4000, (3, 3, 4, 2)
    lam = np.tile([1.2, 0.6], (n, 1))
    frames = SingularFrames(rotations(n, 2, 2, rng), lam**3, rotations(n, 3, 2, rng))
    layers = random_factors(frames, widths, rng)
    assert tuple(w.shape[-2] for w in layers) == widths[1:]
    assert_close(end_to_end(layers), frames.with_values(lam**3), 1e-12)
    for moment in moment_map(layers):
        assert_close(moment, 0 * moment, 1e-12, scale=1.0)
    for p, width in ((0, 3), (1, 4)):
        # W_p's left frame times Λ, turned back into the right frame of X or of its neighbour.
        gram = layers[p] @ layers[p].swapaxes(-1, -2)
        mean = gram.mean(0)
        expected = (1.2**2 + 0.6**2) / width * np.eye(width)
        assert_close(mean, expected, 0.08)
    # Neighbouring hidden frames are independent: the middle factor has no mean.
    assert abs(layers[1].mean(0)).max() < 5 * 1.2 / np.sqrt(n)


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
    thin = SecondOrder(equation, 0.1, has_vertical_noise=False).init(start)
    assert [w.shape[1:] for w in thin.layers] == [(2, 2)] * 3
    assert_close(end_to_end(thin.layers), start, 1e-12)
