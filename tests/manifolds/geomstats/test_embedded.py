"""What the spaces share, as their users meet it; runs under every geomstats backend."""

import itertools
import math

import geomstats.backend as gs
import pytest
from geomstats.geometry.hypersphere import Hypersphere
from geomstats.geometry.product_manifold import ProductManifold
from geomstats.geometry.spd_matrices import SPDMatrices

from dlngeo.manifolds import (
    BalancedManifold,
    BalancedMetric,
    FixedRankMatrices,
)
from tests.manifolds.geomstats.spaces import (
    depth_space,
    every_vector,
    flat,
)

WIDTHS = [
    widths
    for n in (2, 3, 4)
    for widths in itertools.product((1, 2, 4), repeat=n)
    if widths <= widths[::-1]
]


def numerical_rank(matrix):
    return int(gs.sum(gs.linalg.svd(matrix, compute_uv=False) > 1e-9))


@pytest.mark.parametrize("widths", WIDTHS)
def test_dimension_of_balanced_manifold_is_rank_of_its_tangent_projector(widths):
    for rank in range(1, min(widths) + 1):
        space = BalancedManifold(widths=widths, rank=rank)
        point = space.random_point()
        ambient = gs.eye(space.embedding_space.dim)
        vectors = gs.reshape(ambient, (-1, *space.shape))
        assert space.dim == numerical_rank(flat(space, space.to_tangent(vectors, point)))


@pytest.mark.parametrize(("m", "n"), [(1, 1), (1, 3), (3, 3), (4, 2), (3, 5)])
def test_dimension_of_fixed_rank_matrices_is_rank_of_their_tangent_projector(m, n):
    for rank in range(1, min(m, n) + 1):
        space = FixedRankMatrices(m, n, rank=rank)
        vectors = every_vector(space)
        tangent = space.to_tangent(vectors, space.random_point())
        assert space.dim == numerical_rank(flat(space, tangent))


def test_belongs_knows_strangers():
    space = BalancedManifold(depth=2, width=3, rank=2)
    point = space.random_point()
    assert space.belongs(point, atol=1e-10)
    assert not space.belongs(1.1 * point + gs.ones(space.shape), atol=1e-10)
    assert not space.belongs(BalancedManifold(depth=2, width=3).random_point(), atol=1e-10)
    assert not space.belongs(BalancedManifold(depth=2, width=3, rank=1).random_point(), atol=1e-10)
    assert not space.belongs(math.nan * point)
    assert not space.belongs(gs.ones((2, 2, 2)))
    assert not space.belongs(gs.array([[[1, 0, 0], [0, 1, 0], [0, 0, 1]]] * 2))
    assert BalancedManifold(depth=2, width=2).belongs(gs.array([[[1, 0], [0, 2]]] * 2))
    matrices = FixedRankMatrices(3, 4, rank=2)
    matrix = matrices.random_point()
    assert matrices.belongs(matrix, atol=1e-10)
    assert not matrices.belongs(FixedRankMatrices(3, 4).random_point(), atol=1e-10)
    assert not matrices.belongs(0 * matrix, atol=1e-10)
    assert not matrices.belongs(math.nan * matrix)


@pytest.mark.parametrize(
    "space", [BalancedManifold(depth=2, width=3, rank=2), FixedRankMatrices(3, 4, rank=2)]
)
def test_points_are_judged_one_by_one(space):
    points = gs.stack([space.random_point(), math.nan * space.random_point(), space.random_point()])
    assert [bool(value) for value in space.belongs(points, atol=1e-9)] == [True, False, True]
    assert not space.belongs(math.inf * points[0])


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e6])
@pytest.mark.parametrize(
    "space", [BalancedManifold(widths=(4, 3, 5, 4), rank=2), FixedRankMatrices(4, 5, rank=2)]
)
def test_tolerances_grow_with_the_numbers(space, scale):
    point = space.random_point(3, bound=scale)
    vector = space.to_tangent(scale * gs.random.normal(size=point.shape), point)
    assert gs.all(space.belongs(point, atol=1e-12))
    assert gs.all(space.is_tangent(vector, point, atol=1e-12))
    assert gs.all(space.belongs(space.projection(point), atol=1e-12))


def test_default_metrics():
    assert isinstance(BalancedManifold(depth=2, width=2).metric, BalancedMetric)
    space = FixedRankMatrices(2, 3)
    point, vector = space.random_point(), gs.random.normal(size=(2, 3))
    assert gs.allclose(space.metric.squared_norm(vector, point), gs.sum(vector**2))


@pytest.mark.parametrize("ours", ["balanced", "matrices", "flat"])
def test_product_with_spaces_of_geomstats(ours):
    space = {
        "balanced": lambda: BalancedManifold(depth=2, width=2),
        "flat": lambda: BalancedManifold(widths=(2, 3, 2), rank=2),
        "matrices": lambda: depth_space((3, 3), None, 3),
    }[ours]()
    product = ProductManifold([space, Hypersphere(2), SPDMatrices(3)])
    assert product.dim == space.dim + 2 + 6
    point = product.random_point(4)
    vector = product.random_tangent_vec(point)
    assert gs.all(product.belongs(point, atol=1e-9))
    assert gs.all(product.is_tangent(vector, point, atol=1e-9))
    parts = zip(
        product.factors,
        product.project_from_product(vector),
        product.project_from_product(point),
        strict=True,
    )
    total = sum(factor.metric.squared_norm(v, x) for factor, v, x in parts)
    assert gs.allclose(product.metric.squared_norm(vector, point), total)
