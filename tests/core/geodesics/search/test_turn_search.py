"""The search for shortest geodesics: hard pairs, shortened turns, and what it makes of saddles."""

import numpy as np
import pytest

from dlngeo.core.geodesics.exponential import exp
from dlngeo.core.geodesics.logarithm import connect, dist
from dlngeo.core.geodesics.search.turn_search import turn_search
from dlngeo.core.networks.frames import exact_frames
from dlngeo.core.numerics.shooting import Attempt, norms, search
from tests.core.brute import assert_close
from tests.core.geodesics.search.test_turns import pairs

# Shape, rank, depth, number of Gaussian pairs of which the last one is hard, and the length of the
# shortest geodesic to which shooting from all turns and many other starts leads.
HARD = [
    ((4, 3), 2, 2, 24, 30, 3.6187622796),
    ((3, 3), 3, 30, 70, 100, 1.1554221646),
    ((3, 3), 2, 1, 1, 120, 6.676260288196),
    ((3, 3), 2, 1, 22, 120, 5.951806706576),
    ((3, 3), 2, 2, 112, 150, 2.987628226677),
]


@pytest.mark.parametrize(("shape", "rank", "depth", "place", "count", "length"), HARD)
def test_hard_pairs(shape, rank, depth, place, count, length):
    """From the first turn a longer geodesic is found, or none."""
    x, y = (a[place - 1 : place] for a in pairs(shape, rank, count, 7))
    for one, other in ((x, y), (y, x)):
        found = connect(one, other, depth, rank)
        assert found.length == pytest.approx(length, rel=1e-8)
        assert_close(exp(one, found.velocity, depth, rank), other, 1e-8)


@pytest.mark.parametrize(("shape", "rank", "depth"), [((2, 2), 2, 3), ((3, 3), 2, 4)])
def test_shortened_turns_are_near_geodesics(shape, rank, depth):
    """Birkhoff's process leads from the turn to the geodesic that is shorter."""
    x, y = pairs(shape, rank, 8, 1)
    frames = [exact_frames(a, rank) for a in (x, y)]
    unit = frames[0].sigma[:, :1]
    here, there = (f._replace(sigma=f.sigma / unit) for f in frames)
    ways = turn_search(here, there, depth)
    found = ways.search()
    first = ways.candidates.rank == 0
    error, before = (
        norms(u - found.velocity) / found.length
        for u in (ways._shortened(first), ways.candidates.velocity[first])
    )
    assert np.median(error) < 0.5 * np.median(before)


@pytest.mark.parametrize("depth", [3, 4, np.inf])
def test_saddles_are_left(depth):
    """The diagonal between values that change places has a conjugate point, and a shorter way."""
    x, y = np.diag([1.0, 0.01]), np.diag([0.01, 1.0])
    ways = turn_search(exact_frames(x[None], 2), exact_frames(y[None], 2), depth)
    if depth == np.inf:
        flat = np.diag([np.log(0.01), -np.log(0.01)])
        velocity, expected = x @ flat, np.linalg.norm(flat)
    else:
        root, end = x ** (1 / depth), y ** (1 / depth)
        velocity = depth * root ** (depth - 1) * (end - root)
        expected = np.sqrt(depth) * np.linalg.norm(end - root)
    start = ways.source.pack(ways.source.frames.split(velocity[None]))
    diagonal = [Attempt(np.zeros(1, dtype=int), start, [ways.shots.aim(*ways[:2])])]
    found = search(1, ways.source.dimension, [lambda _: diagonal])
    assert found.length[0] == pytest.approx(expected, rel=1e-9)
    found = search(1, ways.source.dimension, [lambda _: diagonal, ways.off_saddles])
    assert found.length[0] < 0.999 * expected
    assert found.length[0] == pytest.approx(dist(x, y, depth), rel=1e-8)
