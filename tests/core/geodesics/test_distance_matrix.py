"""Distances between all pairs, against one pair at a time."""

import numpy as np
import pytest

from dlngeo.core.geodesics.distance_matrix import dist_pairwise
from dlngeo.core.geodesics.logarithm import dist
from tests.core.brute import assert_close


def points(count, shape=(2, 3), seed=0):
    return np.random.default_rng(seed).standard_normal((count, *shape))


def test_all_pairs_once():
    x = points(6)
    counts: list[int] = []
    found = dist_pairwise(x, 3, advance=counts.append)
    assert sum(counts) == 15
    assert_close(found, dist(x[:, None], x[None], 3), 1e-10)
    np.testing.assert_array_equal(found, found.T)
    np.testing.assert_array_equal(np.diag(found), 0)


def test_few_points():
    for count in (0, 1):
        np.testing.assert_array_equal(dist_pairwise(points(count), 2), np.zeros((count, count)))


def test_what_is_not_found_is_nan():
    """At depth one the straight line between these matrices crosses ``det X = 0`` twice."""
    x = np.stack([np.diag([1.0, 1.0]), np.diag([-1.0, -0.5]), np.diag([2.0, 1.0])])
    found = dist_pairwise(x, 1)
    assert np.isnan(found[0, 1])
    assert found[0, 2] == pytest.approx(1.0)


def test_errors():
    with pytest.raises(ValueError, match="list of matrices"):
        dist_pairwise(np.eye(2), 2)
    with pytest.raises(ValueError, match="determinant"):
        dist_pairwise(np.stack([np.eye(2), np.diag([1.0, -1.0])]), 2)
