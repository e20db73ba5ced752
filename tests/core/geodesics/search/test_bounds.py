"""Lower bounds against lengths, and where they are attained."""

import numpy as np
import pytest

from dlngeo.core.geodesics.logarithm import connect
from dlngeo.core.geodesics.search.bounds import lower_bound
from dlngeo.core.networks.frames import exact_frames
from tests.core.brute import assert_close
from tests.core.geodesics.search.test_turns import pairs, turns_of

INF = np.inf
SPACES = [
    (shape, rank, depth)
    for shape, rank, depths in [
        ((3, 3), 3, (1, 2, 3, 10, 30, INF)),
        ((4, 3), 2, (1, 2, 5)),
        ((2, 5), 2, (2, 10)),
        ((3, 2), 1, (1, 4)),
    ]
    for depth in depths
]


@pytest.mark.parametrize(("shape", "rank", "depth"), SPACES)
def test_no_explicit_curve_is_shorter(shape, rank, depth):
    """Many turns, at many scales of the singular values."""
    rng = np.random.default_rng(0)
    x, y = pairs(shape, rank, 20)
    x, y = (a * np.exp(rng.standard_normal((20, 1, shape[1]))) for a in (x, y))
    bound = lower_bound(exact_frames(x, rank), exact_frames(y, rank), depth)
    pair, _, _, turns = turns_of(x, y, rank, depth)
    parts = (np.arange(400) + 0.5) / 400
    length = np.linalg.norm(turns.velocities(parts), axis=-1).mean(axis=0)
    assert np.all(bound[pair] <= length * (1 + 1e-3))
    back = lower_bound(exact_frames(y, rank), exact_frames(x, rank), depth)
    assert_close(back, bound, 1e-12)


def test_bounds_near_lengths():
    """The lengths of geodesics are above, at depth two by a few per cent."""
    x, y = pairs((3, 3), 3, 10, 4)
    for depth, share in [(2, 0.9), (3, 0.5), (30, 0.3)]:
        connection = connect(x, y, depth)
        ratio = connection.bound / connection.length
        assert ratio.max() <= 1 + 1e-9
        assert ratio.min() >= share
        assert not connection.is_certified.any()


ROTATION = np.array([[np.cos(2.0), -np.sin(2.0)], [np.sin(2.0), np.cos(2.0)]])
MIXED = np.array([[2.0, 0.3], [0.3, 0.7]])
CERTAIN = {
    "in order": (np.diag([3.0, 1.0]), np.diag([5.0, 0.1]), (1, 2, 3, 30, INF)),
    "rotation": (np.eye(2), 2 * ROTATION, (1, 2, 3, 30)),
    "rotation, scaled in the limit": (np.eye(2), 2 * ROTATION, (INF,)),
    "near": (MIXED, MIXED + 1e-6 * ROTATION, (1,)),
    "rank one": (np.outer([1.0, 2.0], [1.0, 0.0]), np.outer([1.0, -2.0], [1.0, 3.0]), (1, 2, 7)),
    "positive": (MIXED, np.diag([3.0, 1.0]), (2,)),
}


@pytest.mark.parametrize(("x", "y", "depths"), CERTAIN.values(), ids=CERTAIN)
def test_certified(x, y, depths):
    """Where bounds are attained, geodesics are proved to be the shortest."""
    rank = np.linalg.matrix_rank(x)
    for depth in depths:
        connection = connect(x, y, depth, int(rank))
        assert connection.is_found
        assert connection.bound == pytest.approx(connection.length, rel=1e-9)
        assert connection.is_certified
        assert connection.number >= 1
