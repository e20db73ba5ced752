"""Matchings of the singular triples of two matrices."""

import itertools

import numpy as np

from dlngeo.core.geodesics.search.matchings import matchings
from dlngeo.core.networks.frames import exact_frames
from tests.core.brute import assert_close
from tests.core.geodesics.search.test_turns import pairs


def test_matchings():
    """All of them where they are few; determinants of frames agree where there is no null space."""
    for shape, number in [((2, 2), 4), ((2, 4), 4), ((4, 4), 8)]:
        x, y = (exact_frames(matrix, 2) for matrix in pairs(shape, 2, 5))
        found = matchings(x, y, 3)
        np.testing.assert_array_equal(np.bincount(found.pair), number)
        every = {(tuple(o), tuple(s)) for o, s in zip(found.order, found.sign, strict=True)}
        assert every <= set(
            itertools.product([(0, 1), (1, 0)], itertools.product([1.0, -1.0], repeat=2))
        )
        matched = found.match(y)
        assert_close(matched.with_values(matched.sigma), y.with_values(y.sigma)[found.pair], 1e-12)
        if shape[0] == 2:
            turned = np.linalg.det(x.left[found.pair]) * np.linalg.det(matched.left)
            assert_close(turned, np.ones(len(turned)), 1e-12)
