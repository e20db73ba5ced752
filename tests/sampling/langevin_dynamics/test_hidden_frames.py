"""Chains of factors: temperatures, drift, what follows at the boundary, starts."""

import itertools

import numpy as np
import pytest

from dlngeo.core.networks.balancing import balance
from dlngeo.core.networks.network import end_to_end, moment_map
from dlngeo.sampling.langevin_dynamics.equation import Equation
from dlngeo.sampling.langevin_dynamics.euler_maruyama import EulerMaruyama
from dlngeo.sampling.langevin_dynamics.hidden_frames import FactorKernel
from tests.core import brute
from tests.core.brute import assert_close
from tests.sampling.generators import Problem
from tests.sampling.langevin_dynamics.steps import (
    KERNELS,
    equation_of,
    half_square,
    start_near_the_boundary,
)
from tests.sampling.reference import (
    cubature,
    layers,
    matrix_of,
    normals_of_a_step,
    repeated,
    replay,
)


def factors_after_a_step(name, net, beta, kappa, step):
    """Return factors after a step without energy, one row for each, and weights of their means."""
    equation = Equation(
        np.zeros_like, net.widths, net.rank, beta, kappa, energy=lambda x: np.zeros(len(x))
    )
    kernel = KERNELS[name](equation, step)
    start = tuple(w[None] for w in net.factors)
    nodes, weights = cubature(normals_of_a_step(kernel, kernel.init(start)))
    state = kernel.step(kernel.init(repeated(start, len(nodes))), replay(nodes))
    after = kernel.factors(state)
    moved = [(a - b).reshape(len(nodes), -1) for a, b in zip(after, start, strict=True)]
    return np.concatenate(moved, axis=1), weights


NETWORKS = [((2, 3, 2), 2), ((2, 2, 2, 2), 2), ((3, 2, 2), 2), ((2, 3, 2), 1)]


@pytest.mark.parametrize(("widths", "rank"), NETWORKS)
@pytest.mark.parametrize(
    ("name", "kappa"),
    [("factors", 1.0), ("factors", 0.25), ("factors", 0.0), ("second-order factors", 0.25)],
)
def test_noise_of_factors_has_two_temperatures(name, kappa, widths, rank):
    """``2/β`` along the fibre and ``2κ/β`` across it, in the space of factors."""
    net = brute.network(widths, rank)
    beta, step = 1.3, 1e-7
    moved, weights = factors_after_a_step(name, net, beta, kappa, step)
    covariance = np.einsum("n,ni,nj->ij", weights, moved, moved) / step
    vertical, horizontal = brute.vertical_projector(net), brute.horizontal_projector(net)
    assert_close(covariance, 2 / beta * (vertical + kappa * horizontal), 1e-4)


@pytest.mark.parametrize(("widths", "rank"), [((2, 3, 1), 1), ((2, 2, 2, 2), 2), ((3, 3, 2), 1)])
@pytest.mark.parametrize("name", ["factors", "second-order factors", "metropolis factors"])
def test_every_scheme_moves_factors_alike(name, widths, rank):
    """The Itô drift ``(tr_v II + κ tr_h II)/β`` of factors, by brute force.

    The second fundamental form along a unit vector is the normal acceleration of a curve on the
    manifold: of the balanced network that is nearest to a straight line.
    """
    net = brute.network(widths, rank)
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
    moved, weights = factors_after_a_step(name, net, beta, kappa, step)
    assert_close(weights @ moved / step, expected, 1e-3)


@pytest.mark.parametrize("depth", [1, 2, 3, 5, 10])
@pytest.mark.parametrize("name", ["factors", "second-order factors"])
@pytest.mark.parametrize(
    ("width", "end", "rank"), [(1, 1, 1), (2, 2, 2), (3, 3, 3), (3, 2, 2), (3, 3, 1)]
)
@pytest.mark.parametrize("determinant", [None, "positive"])
def test_chains_stay_balanced_and_of_their_rank(depth, name, width, end, rank, determinant):
    """With hot noise and a gradient that is infinite at the boundary; no step is rejected."""
    rng = np.random.default_rng(3)
    widths = (*[width] * depth, end)
    _, gradient = half_square(depth)
    equation = Equation(gradient, widths, rank, beta=1.0, determinant=determinant)
    kernel = KERNELS[name](equation, 0.05)
    start = start_near_the_boundary(widths, rank, depth, 20, rng)
    state = kernel.init(start)
    matrix = matrix_of(state, depth)
    assert_close(matrix, end_to_end(start), 1e-12)
    for _ in range(30):
        state = kernel.step(state, rng)
    root = kernel.kernel.root(state.matrices)
    for frame in (root.left, *state.hidden, root.right):
        assert_close(frame.swapaxes(-1, -2) @ frame, np.eye(rank) + np.zeros((20, 1, 1)), 1e-12)
    after = kernel.factors(state)
    assert_close(end_to_end(after), matrix_of(state, depth), 1e-11)
    assert tuple(w.shape[1:] for w in after) == tuple(w.shape[1:] for w in start)
    scale = max(float(abs(w).max()) for w in after) ** 2
    for moment in moment_map(after):
        assert_close(moment, 0 * moment, 1e-12, scale=scale)
    counts = kernel.counts(state)
    assert not counts["n_rejected"].any()
    if width == end == rank:
        # At depth ten det X itself is lost in round-off: of the frames.
        signs = np.linalg.slogdet(root.left)[0] * np.linalg.slogdet(root.right)[0]
        before = kernel.kernel.root(kernel.init(start).matrices)
        signs *= np.linalg.slogdet(before.left)[0] * np.linalg.slogdet(before.right)[0]
        assert (signs > 0).all() == (determinant == "positive")
        assert counts["n_reflections"].any() == (determinant == "positive")
    else:
        assert not counts["n_reflections"].any()


@pytest.mark.parametrize("depth", [2, 3])
def test_hidden_frames_forget_their_start(depth):
    """The law of each orbit is uniform, also without horizontal noise."""
    n, widths = 1000, (2,) * depth + (3,)
    rng = np.random.default_rng(0)
    left, right = np.eye(3)[:, :2], np.eye(2)
    lam = np.tile([1.0, 0.5], (n, 1))
    hidden = [np.tile(np.eye(2), (n, 1, 1))] * (depth - 1)
    frames = [np.tile(right, (n, 1, 1)), *hidden, np.tile(left, (n, 1, 1))]
    start = tuple(q * lam[:, None, :] @ p.swapaxes(-1, -2) for p, q in itertools.pairwise(frames))
    kernel = FactorKernel(EulerMaruyama(Equation(lambda x: x, widths, 2, 1.0, kappa=0.0), 0.2))
    state = kernel.init(start)
    for _ in range(120):
        state = kernel.step(state, rng)
    for frame in state.hidden:
        assert abs(frame.mean(axis=0)).max() < 4.5 * np.sqrt(0.5 / n)
        # Both entries of a column of a uniform rotation are as large in the mean.
        assert abs((frame**2).mean(axis=0) - 0.5).max() < 4.5 * np.sqrt(1 / 8 / n)


def test_schemes_agree_on_the_start():
    """Frames of balanced factors are those of their layers, and the layers come back."""
    rng = np.random.default_rng(7)
    problem = Problem((2, 3, 2, 2), 2)
    start = balance(tuple(rng.standard_normal((3, *w.shape[1:])) for w in problem.factors()), 2)
    equation = equation_of(problem)
    for name in ("factors", "second-order factors", "metropolis factors"):
        kernel = KERNELS[name](equation, 0.1)
        again = kernel.factors(kernel.init(start))
        for a, b in zip(again, start, strict=True):
            assert_close(a, b, 1e-12)


@pytest.mark.parametrize("name", ["factors", "second-order factors", "metropolis factors"])
@pytest.mark.parametrize("size", [1e3, 1e40, 1e100, 1e200])
@pytest.mark.parametrize("rank", [1, 2])
def test_steps_without_bound_are_rejected(name, size, rank):
    """And the factors stay finite."""
    equation = Equation(
        lambda x: -size * x**3, (2, 2, 2, 2), rank, 1.0,
        energy=lambda x: -size * np.sum(x**4, axis=(1, 2)) / 4,
    )  # fmt: skip
    kernel = KERNELS[name](equation, 1.0)
    lam = np.ones((1, rank))
    state = kernel.init(layers(lam, (2, 2, 2, 2), np.random.default_rng(0)))
    with np.errstate(all="ignore"):
        for _ in range(20):
            state = kernel.step(state, np.random.default_rng(0))
        after = kernel.factors(state)
    assert all(np.isfinite(layer).all() for layer in after)
    assert kernel.counts(state)["n_rejected"].all() or "metropolis" in name
