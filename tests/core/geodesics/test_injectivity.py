"""The radius within which geodesics are proved to be the shortest, and what its proof rests on."""

import dataclasses

import numpy as np
import pytest
from scipy.integrate import quad, solve_ivp
from scipy.optimize import brentq

from dlngeo.core.balanced.submanifold import second_fundamental_form, tangent_projection
from dlngeo.core.depth_metric.curvature import sectional_curvature
from dlngeo.core.geodesics.balanced_curves import balanced_exp
from dlngeo.core.geodesics.balanced_logarithm import balanced_connect
from dlngeo.core.geodesics.exponential import exp
from dlngeo.core.geodesics.injectivity import conjugate_radius, injectivity_bound
from dlngeo.core.geodesics.logarithm import connect
from dlngeo.core.geodesics.search.spaces import metric_space
from dlngeo.core.networks.blocks import join
from dlngeo.core.networks.frames import exact_frames
from tests.core.brute import assert_close

INF = np.inf


def matrices(shape, rank: int, depth: float, seed: int) -> np.ndarray:
    """Return matrices of a rank with least root one, near ones and far ones from rotations."""
    rng = np.random.default_rng(seed)
    left, right = (np.linalg.qr(rng.standard_normal((8, d, rank)))[0] for d in shape)
    lam = 1 + np.linspace(0, 2, 8)[:, None] * rng.random((8, rank))
    lam[:, -1] = 1
    power = 1 if depth == INF else depth
    return left * lam[:, None, :] ** power @ np.swapaxes(right, 1, 2)


def vectors(points: np.ndarray, rank: int, depth: float, length, seed: int) -> np.ndarray:
    """Return tangent vectors of a length."""
    frames = exact_frames(points, rank)
    space = metric_space(frames, depth)
    u = np.random.default_rng(seed).standard_normal((len(points), space.dimension))
    u *= np.broadcast_to(length, len(u))[:, None] / np.linalg.norm(u, axis=1, keepdims=True)
    return join(space.unpack(u), frames.left, frames.right)


@pytest.mark.parametrize("depth", [2, 3, 10])
@pytest.mark.parametrize(("shape", "rank"), [((2, 2), 2), ((3, 3), 2), ((2, 3), 2)])
def test_curvatures_of_the_proof(shape, rank, depth):
    """Sectional curvature, largest at rotations, and how factors bend."""
    points = matrices(shape, rank, depth, 1)
    one, other = (vectors(points, rank, depth, 1.0, seed) for seed in (2, 3))
    curvature = sectional_curvature(points, one, other, depth, rank)
    assert curvature.max() <= 0.9 * depth
    root = np.zeros(shape)
    root[:2, :2] = np.eye(2)
    turn, stretch = np.zeros((2, *shape))
    turn[[0, 1], [1, 0]], stretch[[0, 1], [0, 1]] = 1.0, (1.0, -1.0)
    largest = sectional_curvature(root, turn, stretch, depth, rank)
    assert largest == pytest.approx((depth**2 - 1) / (2 * depth))
    rng = np.random.default_rng(4)
    layers = [np.eye(rank, shape[1]), *[np.eye(rank)] * (depth - 2), np.eye(shape[0], rank)]
    for _ in range(20):
        vector = [rng.exponential() ** 4 * rng.standard_normal(w.shape) for w in layers]
        vector = tangent_projection(layers, vector, rank)
        bend = second_fundamental_form(layers, vector, vector, rank)
        square = sum((v**2).sum() for v in vector)
        assert sum((v**2).sum() for v in bend) <= (depth - 1) * square**2


@pytest.mark.parametrize("depth", [1, 2, 3, 10, INF])
@pytest.mark.parametrize(("shape", "rank"), [((2, 2), 2), ((3, 3), 2), ((2, 3), 2)])
def test_logarithms_within_the_radius(shape, rank, depth):
    """They are the velocities, and certified, by the radius alone where there is no bound."""
    if depth == INF and shape != (2, 2):
        return
    points = matrices(shape, rank, depth, 5)
    radius = injectivity_bound(points, depth, rank)
    velocity = vectors(points, rank, depth, 0.999 * radius, 6)
    found = connect(points, exp(points, velocity, depth, rank), depth, rank)
    assert_close(found.velocity, velocity, 1e-7)
    assert_close(found.length, 0.999 * radius, 1e-8)
    assert found.is_certified.all()
    assert (found.radius >= radius * (1 - 1e-12)).all()
    if depth > 1:
        short = dataclasses.replace(found, radius=0 * radius)
        assert not short.is_certified[found.bound < 0.99 * found.length].any()


def test_known_radii():
    """Below the distance of the boundary, and half of a circle of rotations, and not by much."""
    for depth in range(1, 40):
        bound = float(injectivity_bound(8.0 * np.eye(2), depth)) / 8 ** (1 / depth)
        known = min(np.sqrt(depth), np.pi * np.sqrt(2 / depth))
        assert known / 4.5 < bound < known
    assert_close(bound * np.sqrt(depth), injectivity_bound(8.0 * np.eye(2), INF), 0.05)


@pytest.mark.parametrize("depth", [2, 3, 10])
def test_radius_of_the_proof(depth):
    """Conjugate points by Sturm's equation, loops by how far they get, and what is left."""
    edge = np.sqrt(depth)

    def rates(s: float, state: np.ndarray) -> list[float]:
        return [state[1], -0.9 * depth**2 / (edge - s) ** 2 * state[0]]

    bend = np.sqrt(depth - 1) * edge

    def advance(half: float) -> float:
        """Return how far half a loop gets that turns as fast as it can, from its middle."""
        return quad(lambda s: np.cos(bend * np.log1p(s / (edge - half))), 0, half)[0]

    loop = brentq(advance, 0.1 / edge, -edge * np.expm1(-np.pi / bend))
    radius = float(injectivity_bound(np.eye(2), depth))
    angle = np.arcsin(np.sqrt((depth - 1) / 2) * radius / (1 - radius / edge))
    assert radius * (1 + angle / np.sin(angle)) == pytest.approx(loop, rel=1e-6)
    field = solve_ivp(rates, (0, loop), [0.0, 1.0], rtol=1e-9, atol=1e-12)
    assert (field.y[0, 1:] > 0).all()
    near = float(conjugate_radius(np.ones(2), depth))
    assert solve_ivp(rates, (0, near), [0.0, 1.0], rtol=1e-9, atol=1e-12).y[0, -1] == pytest.approx(
        0, abs=1e-6
    )
    layers = [np.eye(2)] * depth
    assert balanced_connect(np.stack(layers), np.stack(layers)).radius == pytest.approx(loop)


def test_factors():
    """Geodesics of balanced factors without hidden layers wider than the rank."""
    layers = np.stack([np.diag([1.5, 1.0])] * 3)
    vector = tangent_projection(layers, np.random.default_rng(7).standard_normal((3, 2, 2)), 2)
    vector = np.stack(vector) / np.linalg.norm(vector)
    near, far = (balanced_exp(layers, length * vector) for length in (1.1, 1.3))
    assert balanced_connect(layers, near).is_certified
    assert not balanced_connect(layers, far).is_certified
    wide = [np.eye(3, 2), np.eye(2, 3)]
    assert balanced_connect(wide, wide, 2).radius == 0
