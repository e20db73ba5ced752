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


SIGNS = {"positive": 1, "negative": -1}


@pytest.mark.parametrize("determinant", SIGNS)
def test_components_belong_by_the_sign_of_the_determinant(determinant):
    """At every scale, where the determinant itself is no number any more."""
    space = FixedRankMatrices(3, 3, determinant=determinant)
    points = gs.random.normal(size=(20, 3, 3))
    signs = gs.linalg.det(points) * SIGNS[determinant]
    assert space.dim == 9
    assert gs.all(space.belongs(points) == (signs > 0))
    assert gs.all(FixedRankMatrices(3, 3).belongs(points))
    wide = FixedRankMatrices(100, 100, determinant=determinant)
    mirror = gs.eye(100) * gs.array([1.0] * 99 + [-1.0])
    for scale in (1e-6, 1e6):
        found = wide.belongs(scale * gs.stack([gs.eye(100), mirror]), atol=1e-9)
        assert list(found) == [determinant == "positive", determinant == "negative"]


@pytest.mark.parametrize("determinant", SIGNS)
def test_projection_on_a_component(determinant):
    """Points of it rest; others are reflected at the nearest matrix of its boundary."""
    space = FixedRankMatrices(3, 3, determinant=determinant)
    points = gs.random.normal(size=(20, 3, 3))
    inside = space.belongs(points)
    nearest = space.projection(points)
    assert gs.all(space.belongs(nearest))
    assert gs.allclose(nearest[inside], points[inside])
    distance = gs.linalg.norm(nearest - points, axis=(-2, -1))
    least = gs.linalg.svd(points, compute_uv=False)[:, -1]
    assert gs.allclose(distance[~inside], 2 * least[~inside])
    middle = gs.linalg.svd((nearest + points)[~inside] / 2, compute_uv=False)
    assert gs.allclose(middle[:, -1], gs.zeros(len(middle)))
    assert space.belongs(space.projection(gs.zeros((3, 3))))


@pytest.mark.parametrize("bound", [1e-6, 1.0, 1e6])
@pytest.mark.parametrize("determinant", SIGNS)
def test_random_points_of_a_component_fill_a_ball(determinant, bound):
    space = FixedRankMatrices(2, 2, determinant=determinant)
    gs.random.seed(0)
    points = space.random_point(400, bound=bound)
    assert space.random_point(bound=bound).shape == (2, 2)
    assert gs.all(space.belongs(points, atol=1e-3 * bound))
    centre = gs.eye(2) * gs.array([bound, bound * SIGNS[determinant]])
    radius = gs.linalg.norm(points - centre, axis=(-2, -1)) / (bound / 2)
    # Of a uniform law in four dimensions the fourth powers are uniform.
    assert gs.all(radius < 1)
    assert abs(float(gs.mean(radius**4)) - 0.5) < 0.05
    assert gs.all(abs(gs.mean(points, axis=0) - centre) < 0.05 * bound)


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
        (lambda: FixedRankMatrices(3, 3, determinant="plus"), "'positive', .* got 'plus'"),
        (
            lambda: FixedRankMatrices(3, 4, determinant="positive"),
            "3 x 4 matrices of rank 3 are one space",
        ),
        (
            lambda: FixedRankMatrices(3, 3, 2, determinant="negative"),
            "3 x 3 matrices of rank 2 are one space",
        ),
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
