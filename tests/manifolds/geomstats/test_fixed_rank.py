"""Matrices of fixed rank; runs under every geomstats backend."""

import math

import geomstats.backend as gs
import pytest
from geomstats.geometry.spd_matrices import SPDMatrices

from dlngeo.manifolds import (
    DepthMetric,
    FixedRankMatrices,
)
from tests.manifolds.geomstats.spaces import (
    depth_space,
)


def test_normal_vectors_are_not_tangent():
    space = FixedRankMatrices(3, 4, rank=2)
    point, vector = space.random_point(), gs.random.normal(size=(3, 4))
    normal = vector - space.to_tangent(vector, point)
    assert not space.is_tangent(normal, point, atol=1e-8)
    assert not space.is_tangent(gs.ones((4, 3)), point)


def test_projection_of_a_deficient_matrix_is_in_the_manifold():
    space = FixedRankMatrices(3, 3, rank=2)
    assert space.belongs(space.projection(gs.zeros((3, 3))))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda s, x: s.metric.inner_product(x, x, gs.ones((4, 3))),
            r"\[..., 3, 4\], got \(4, 3\)",
        ),
        (lambda s, x: s.projection(gs.ones((4, 3))), r"\[..., 3, 4\], got \(4, 3\)"),
        (lambda s, x: s.projection(math.nan * x), "the point holds NaN"),
        (lambda s, x: s.to_tangent(x, gs.ones((4, 3))), r"\[..., 3, 4\], got \(4, 3\)"),
    ],
)
def test_fixed_rank_matrices_know_their_shape(call, message):
    space = FixedRankMatrices(3, 4, rank=2)
    with pytest.raises(ValueError, match=message):
        call(space, space.random_point())


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: FixedRankMatrices(3, 4, rank=4), "between 1 and the smallest width 3"),
        (lambda: depth_space((3, 4), None, 0), "got 0"),
        (lambda: FixedRankMatrices(3, 4).equip_with_metric(DepthMetric, depth=1.5), "got 1.5"),
        (lambda: SPDMatrices(3).equip_with_metric(DepthMetric, depth=2), "FixedRankMatrices"),
        (
            lambda: depth_space((3, 4), None, math.inf),
            "square matrices of full rank",
        ),
    ],
)
def test_errors_say_what_came_and_what_to_do(make, message):
    with pytest.raises(ValueError, match=message):
        make()
