"""The search for shortest geodesics: what it makes of one that is not."""

import numpy as np
import pytest

from dlngeo.core.geodesics.logarithm import dist
from dlngeo.core.geodesics.search.turn_search import turn_search
from dlngeo.core.networks.frames import exact_frames
from dlngeo.core.numerics.shooting import Attempt, search


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
    diagonal = [Attempt(np.zeros(1, dtype=int), start, [ways.aim(*ways[:2])])]
    found = search(1, ways.source.dimension, [lambda _: diagonal])
    assert found.length[0] == pytest.approx(expected, rel=1e-9)
    found = search(1, ways.source.dimension, [lambda _: diagonal, ways.off_saddles])
    assert found.length[0] < 0.999 * expected
    assert found.length[0] == pytest.approx(dist(x, y, depth), rel=1e-8)
