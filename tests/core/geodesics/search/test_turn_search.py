"""The search for the shortest geodesic, where the shortest turn does not lead to it."""

import numpy as np
import pytest

from dlngeo.core.geodesics.exponential import exp
from dlngeo.core.geodesics.logarithm import connect
from dlngeo.core.geodesics.search.turn_search import turn_search
from dlngeo.core.networks.frames import exact_frames
from dlngeo.core.numerics.shooting import norms
from tests.core.brute import assert_close
from tests.core.geodesics.search.test_turns import pairs

# Shape, rank, depth, number of Gaussian pairs of which the last one is hard, and the length of the
# shortest geodesic to which shooting from all turns and many other starts leads.
HARD = [
    ((4, 3), 2, 2, 24, 30, 3.6187622796),
    ((3, 3), 3, 30, 70, 100, 1.1554221646),
]


@pytest.mark.parametrize(("shape", "rank", "depth", "place", "count", "length"), HARD)
def test_hard_pairs(shape, rank, depth, place, count, length):
    """From the first turn a longer geodesic is found, or none."""
    x, y = (a[place - 1 : place] for a in pairs(shape, rank, count, 7))
    for one, other in ((x, y), (y, x)):
        found = connect(one, other, depth, rank)
        assert found.length == pytest.approx(length, rel=1e-8)
        assert_close(exp(one, found.velocity, depth, rank), other, 1e-8)


@pytest.mark.parametrize(("shape", "rank", "depth"), [((2, 2), 2, 3), ((3, 3), 2, 2)])
def test_shortened_turns_are_near_geodesics(shape, rank, depth):
    """Birkhoff's process leads from the turn to the geodesic that is shorter."""
    x, y = pairs(shape, rank, 8, 1)
    frames = [exact_frames(a, rank) for a in (x, y)]
    unit = frames[0].sigma[:, :1]
    here, there = (f._replace(sigma=f.sigma / unit) for f in frames)
    search = turn_search(here, there, depth)
    found = search.search()
    pair, _, velocity, turns = search.candidates
    first = np.flatnonzero(search.candidates.rank == 0)
    guess = search._shorten(pair[first], turns.take(first))
    error, before = (norms(u - found.velocity) / found.length for u in (guess, velocity[first]))
    assert np.median(error) < 0.5 * np.median(before)
