"""What the metrics of end-to-end matrices share; runs under every geomstats backend."""

import math

import geomstats.backend as gs
import pytest
from geomstats.geometry.spd_matrices import SPDMatrices

from dlngeo.manifolds import DepthMetric, RelaxedDepthMetric
from tests.manifolds.geomstats.spaces import depth_space, every_vector, flat, relaxed_space

SPACES = {
    "depth 1": lambda: depth_space((3, 3), 3, 1),
    "depth 4": lambda: depth_space((3, 3), 3, 4),
    "infinite depth": lambda: depth_space((3, 3), 3, math.inf),
    "depth 1, low rank": lambda: depth_space((4, 5), 2, 1),
    "depth 3, low rank": lambda: depth_space((4, 5), 2, 3),
    "depth 2, wide": lambda: depth_space((4, 5), 4, 2),
    "relaxed": lambda: relaxed_space((3, 3), None, offsets=(0.5,)),
    "relaxed, low rank": lambda: relaxed_space((3, 4), 2, offsets=(0.4, -0.2)),
    "relaxed, tall": lambda: relaxed_space((4, 2), None, offsets=(-0.5,), widths=(2, 2, 4)),
    "relaxed, wide layers": lambda: relaxed_space(
        (3, 3), 2, offsets=(0.5, -0.5), widths=(3, 3, 3, 3)
    ),
    "multiple": lambda: multiple(depth_space((3, 2), 2, 3), 5.0),
}
SPACE = pytest.mark.parametrize("name", SPACES)


def multiple(space, factor):
    space.metric = factor * space.metric
    return space


@SPACE
def test_gradient_represents_the_differential(name):
    space = SPACES[name]()
    point, euclidean = space.random_point(3), gs.random.normal(size=(3, *space.shape))
    tangent = space.random_tangent_vec(point)
    gradient = space.metric.riemannian_gradient(euclidean, point)
    assert gs.all(space.is_tangent(gradient, point, atol=1e-9))
    assert gs.allclose(
        space.metric.inner_product(gradient, tangent, point),
        gs.sum(euclidean * tangent, axis=(-2, -1)),
    )
    assert gs.allclose(
        space.metric.inner_coproduct(euclidean, euclidean, point),
        space.metric.squared_norm(gradient, point),
    )
    lowered = space.metric.flat(gradient, point)
    assert gs.allclose(lowered, space.to_tangent(euclidean, point), atol=1e-9)


@SPACE
def test_matrices_of_metric_and_cometric(name):
    """Those of the operators, inverse on tangent vectors; normal ones have no length."""
    space = SPACES[name]()
    point = space.random_point(2)
    metric, cometric = space.metric.metric_matrix(point), space.metric.cometric_matrix(point)
    assert gs.allclose(metric, gs.transpose(metric, (0, 2, 1)), atol=1e-9)
    vectors = every_vector(space)
    tangent = gs.stack([flat(space, space.to_tangent(vectors, x)) for x in point])
    assert gs.allclose(metric @ cometric, tangent, atol=1e-8)
    normal = gs.eye(len(vectors)) - tangent
    assert gs.allclose(normal @ metric, gs.zeros_like(metric), atol=1e-9)
    vector, covector = gs.random.normal(size=(2, 2, *space.shape))
    for matrix, operator, argument in (
        (metric, space.metric.flat, vector),
        (cometric, space.metric.riemannian_gradient, covector),
    ):
        expected = flat(space, operator(argument, point))
        assert gs.allclose(gs.einsum("bij,bj->bi", matrix, flat(space, argument)), expected)


def test_multiples_of_the_metric():
    metric = relaxed_space((2, 2), None, offsets=(0.5,)).metric
    point, vector = gs.eye(2), gs.array([[1.0, 2.0], [0.0, -1.0]])
    double = 2.0 * metric
    assert gs.allclose(double.flat(vector, point), 2 * metric.flat(vector, point))
    lowered = double.flat(vector, point)
    assert gs.allclose(double.riemannian_gradient(lowered, point), vector)


@pytest.mark.parametrize(
    ("metric", "options"), [(DepthMetric, {"depth": 2}), (RelaxedDepthMetric, {"offsets": ()})]
)
def test_other_spaces_are_refused(metric, options):
    with pytest.raises(ValueError, match=r"lives on FixedRankMatrices\(m, n, rank\), got SPD"):
        SPDMatrices(3).equip_with_metric(metric, **options)


@SPACE
def test_points_of_another_shape_are_refused(name):
    metric = SPACES[name]().metric
    for method in (metric.metric_matrix, metric.cometric_matrix):
        with pytest.raises(ValueError, match=r"expected an array of shape \[..., .*got \(6, 6\)"):
            method(gs.eye(6))
