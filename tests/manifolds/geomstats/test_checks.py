"""How points and vectors are judged; runs under every geomstats backend."""

import math

import geomstats.backend as gs
import pytest

from dlngeo.manifolds.geomstats import checks
from tests.manifolds.geomstats.spaces import depth_space


def test_shapes():
    checks.check_shape(gs.ones((5, 2, 3)), (2, 3))
    with pytest.raises(ValueError, match=r"expected an array of shape \[..., 2, 3\], got \(3, 2\)"):
        checks.check_shape(gs.ones((3, 2)), (2, 3))
    with pytest.raises(ValueError, match="the point holds NaN"):
        checks.check_shape(math.nan * gs.ones((2, 3)), (2, 3))


def test_a_geodesic_is_given_in_one_way():
    metric = depth_space((2, 2), None, 2).metric
    point, velocity = gs.eye(2), gs.array([[0.1, 0.2], [0.0, 0.3]])
    end = metric.exp(velocity, point)
    assert checks.velocity_of(metric, point, None, velocity) is velocity
    assert gs.allclose(checks.velocity_of(metric, point, end, None), velocity, atol=1e-9)
    for given in ((end, velocity), (None, None)):
        with pytest.raises(ValueError, match="give one"):
            checks.velocity_of(metric, point, *given)


def test_ranks():
    """The last value counts absolutely, the next relative to the largest, where that is large."""
    values = gs.array([[2e3, 1.0, 1e-6], [1e-2, 1e-3, 1e-6], [1.0, 1e-9, 0.0], [1.0, 1.0, 1e-2]])
    matrices = gs.vec_to_diag(values)
    is_of_rank, scale = checks.judge_rank(matrices, 2, 1e-8)
    assert [bool(value) for value in is_of_rank] == [True, False, False, False]
    assert gs.allclose(scale, gs.array([2e3, 1.0, 1.0, 1.0]))
    is_full, _ = checks.judge_rank(matrices, 3, 1e-8)
    assert [bool(value) for value in is_full] == [True, True, False, True]


def test_points_that_are_not_finite_become_zeros():
    points = gs.array([[1.0, 2.0], [math.nan, 1.0], [0.0, math.inf]])
    is_finite, kept = checks.finite_points(points, 1)
    assert [bool(value) for value in is_finite] == [True, False, False]
    assert gs.allclose(kept, gs.array([[1.0, 2.0], [0.0, 0.0], [0.0, 0.0]]))
    _, whole = checks.finite_points(gs.array([[1, 2]]), 1)
    assert gs.is_floating(whole)


def test_parts_are_small_in_proportion_to_their_vector():
    vector = gs.array([[[1e6, 0.0], [0.0, 1.0]], [[1e-4, 0.0], [0.0, -1e-3]]])
    assert gs.allclose(checks.largest_entry(vector, 2), gs.array([1e6, 1e-3]))
    part = 1e-4 * gs.ones((2, 2, 2))
    assert [bool(value) for value in checks.is_small(part, vector, 1e-9, 2)] == [True, False]
    assert bool(checks.is_small(1e-6 * part[1], vector[1], 1e-9, 2))
