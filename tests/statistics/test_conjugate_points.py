"""Shortest geodesics have no conjugate points: the logarithm finds none that has."""

import numpy as np
import pytest

from dlngeo.core.geodesics.conjugate_points import conjugate_times
from dlngeo.core.geodesics.logarithm import connect

CASES = [
    ((2, 2), 2, 2, 100),
    ((2, 2), 2, 10, 60),
    ((2, 2), 2, np.inf, 20),
    ((3, 3), 3, 3, 60),
    ((3, 3), 2, 2, 30),
    ((2, 5), 2, 3, 60),
    ((3, 3), 1, 3, 60),
    ((4, 4), 4, 2, 20),
]


@pytest.mark.parametrize(("shape", "rank", "depth", "count"), CASES, ids=str)
def test_no_conjugate_points(shape, rank, depth, count):
    rng = np.random.default_rng([*shape, rank])
    left = rng.standard_normal((2, count, shape[0], rank))
    right = rng.standard_normal((2, count, rank, shape[1]))
    x, y = left @ right
    if shape[0] == shape[1] == rank:
        y[:, 0] *= (np.linalg.slogdet(x)[0] * np.linalg.slogdet(y)[0])[:, None]
    found = connect(x, y, depth, rank)
    is_found = found.is_found
    assert is_found.mean() > 0.9
    times = conjugate_times(x[is_found], found.velocity[is_found], depth, rank)
    assert (times >= 1).all()
