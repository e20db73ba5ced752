"""Turns against differences, closed forms and the geodesics to which they shrink."""

import numpy as np
import pytest

from dlngeo.core.depth_metric.metric import lower_index
from dlngeo.core.geodesics.logarithm import dist
from dlngeo.core.geodesics.search.spaces import metric_space
from dlngeo.core.geodesics.search.turns import shortest_turns
from dlngeo.core.networks.frames import exact_frames
from tests.core.brute import assert_close

INF = np.inf
SPACES = [((3, 3), 3, 3), ((3, 3), 3, INF), ((3, 3), 2, 2), ((2, 4), 2, 10), ((4, 3), 1, 1)]


def pairs(shape, rank, count, seed=0):
    """Return pairs of Gaussian matrices of a rank that a path joins."""
    rng = np.random.default_rng(seed)
    left = rng.standard_normal((2, count, shape[0], rank))
    right = rng.standard_normal((2, count, rank, shape[1]))
    one, other = left @ right
    if shape[0] == shape[1] == rank:
        other[:, 0] *= (np.linalg.slogdet(one)[0] * np.linalg.slogdet(other)[0])[:, None]
    return one, other


def turns_of(x, y, rank, depth):
    start, end = (metric_space(exact_frames(matrix, rank), depth) for matrix in (x, y))
    return shortest_turns(start, end, depth)


@pytest.mark.parametrize(("shape", "rank", "depth"), SPACES)
def test_turns_join_the_matrices(shape, rank, depth):
    """They have the velocities and lengths of which differences tell."""
    x, y = pairs(shape, rank, 6)
    pair, length, _, turns = turns_of(x, y, rank, depth)
    assert set(pair) == set(range(6))

    def point(part):
        frames = turns.at(part)
        return frames.with_values(frames.sigma)

    assert_close(point(0.0), x[pair], 1e-12)
    assert_close(point(1.0), y[pair], 1e-10)
    parts, step = (np.arange(8) + 0.5) / 8, 1e-5
    for part, velocity in zip(parts, turns.velocities(parts), strict=True):
        difference = (point(part + step) - point(part - step)) / (2 * step)
        covector = lower_index(point(part), difference, depth, rank)
        speed = np.sum(difference * covector, axis=(1, 2)) ** 0.5
        assert_close(np.linalg.norm(velocity, axis=-1), speed, 1e-6)
    speeds = np.linalg.norm(turns.velocities(parts), axis=-1)
    assert_close(length, speeds.mean(axis=0), 1e-12)


@pytest.mark.parametrize("depth", [2, 3, 30])
def test_no_geodesic_is_longer_than_a_turn(depth):
    x, y = pairs((2, 2), 2, 8, 1)
    pair, length, _, _ = turns_of(x, y, 2, depth)
    assert np.all(dist(x, y, depth)[pair] <= length * (1 + 1e-9))


def test_geodesics_unroll_on_their_length():
    """At rank one turns are geodesics."""
    x, y = pairs((3, 2), 1, 20)
    _, length, _, turns = turns_of(x, y, 1, 4)
    assert_close(turns.unrolled(), length, 3e-3)


@pytest.mark.parametrize(("shape", "rank", "depth"), [*SPACES, ((2, 4), 2, 2), ((3, 3), 3, 1)])
def test_near_turns_unroll_on_the_distance(shape, rank, depth):
    """The length of a turn is off by the second order in the distance, that by the fourth."""
    x, _ = pairs(shape, rank, 6)
    frames = exact_frames(x, rank)
    rng, size = np.random.default_rng(1), 0.02
    left, right = (
        frame * np.sqrt(frames.sigma)[:, None] + size * rng.standard_normal(frame.shape)
        for frame in frames[::2]
    )
    y = left @ right.swapaxes(1, 2)
    pair, length, _, turns = turns_of(x, y, rank, depth)
    first = np.diff(pair, prepend=-1) > 0
    expected = dist(x, y, depth, rank)
    assert_close(turns.unrolled()[first], expected, 1e-5)
    if rank > 1:
        assert np.max(length[first] / expected) > 1 + 1e-5
