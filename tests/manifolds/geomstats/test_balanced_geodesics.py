"""Geodesics of `BalancedMetric` as a user calls them, and their projection to `DepthMetric`."""

import geomstats.backend as gs
import numpy as np
import pytest

from dlngeo.core.geodesics.balanced_logarithm import balanced_connect
from dlngeo.core.networks.network import end_to_end
from dlngeo.manifolds import BalancedManifold, DepthMetric, FixedRankMatrices, OrbitAction

SPACES = {
    "(3,3,3,3)": {"depth": 3, "width": 3},
    "(2,4,3) rank 2": {"widths": (2, 4, 3), "rank": 2},
    "(3,3,3) rank 2": {"depth": 2, "width": 3, "rank": 2},
    "(4,3) rank 2": {"widths": (4, 3), "rank": 2},
}


@pytest.fixture(params=list(SPACES.values()), ids=list(SPACES))
def space(request):
    return BalancedManifold(**request.param)


def points_and_vectors(space: BalancedManifold, count: int) -> tuple:
    gs.random.seed(3)
    points = space.random_point(count)
    vectors = space.to_tangent(gs.random.normal(size=points.shape), points)
    return points, vectors * gs.reshape(
        0.3 / space.metric.norm(vectors, points), (-1, *[1] * space.point_ndim)
    )


def numbers(array) -> np.ndarray:
    return np.asarray(array.detach() if hasattr(array, "detach") else array)


def test_there_and_back(space):
    points, vectors = points_and_vectors(space, 3)
    ends = space.metric.exp(vectors, points)
    assert gs.all(space.belongs(ends, atol=1e-9))
    np.testing.assert_allclose(
        numbers(space.metric.log(ends, points)), numbers(vectors), rtol=0, atol=1e-9
    )
    np.testing.assert_allclose(numbers(space.metric.dist(points, ends)), 0.3, rtol=1e-9)
    np.testing.assert_allclose(numbers(space.metric.squared_dist(points, ends)), 0.09, rtol=1e-9)


def test_paths_and_transport(space):
    """Shapes as in geomstats, both ways of giving a geodesic, velocities go with it."""
    points, vectors = points_and_vectors(space, 2)
    metric, shape = space.metric, space.shape
    path = metric.geodesic(points, initial_tangent_vec=vectors)
    assert path(gs.array([0.0, 0.5, 1.0])).shape == (2, 3, *shape)
    assert metric.geodesic(points[0], initial_tangent_vec=vectors[0])(0.5).shape == (1, *shape)
    ends = metric.exp(vectors, points)
    other = metric.geodesic(points, end_point=ends)
    np.testing.assert_allclose(
        numbers(other(gs.array([0.3]))), numbers(path(gs.array([0.3]))), rtol=0, atol=1e-9
    )
    moved = metric.parallel_transport(vectors, points, direction=vectors)
    again = metric.parallel_transport(vectors, points, end_point=ends)
    back = -metric.log(points, ends)
    np.testing.assert_allclose(numbers(moved), numbers(back), rtol=0, atol=1e-8)
    np.testing.assert_allclose(numbers(again), numbers(back), rtol=0, atol=1e-8)


def test_horizontal_geodesics_project(space):
    """To geodesics of the depth metric: the submersion is Riemannian."""
    space.equip_with_group_action(OrbitAction(space))
    space.equip_with_quotient()
    points, vectors = points_and_vectors(space, 2)
    bundle = space.fiber_bundle
    vectors = bundle.horizontal_projection(vectors, points)
    base = FixedRankMatrices(space.widths[-1], space.widths[0], rank=space.rank, equip=False)
    base.equip_with_metric(DepthMetric, depth=space.depth)
    below = base.metric.exp(
        bundle.tangent_riemannian_submersion(vectors, points),
        bundle.riemannian_submersion(points),
    )
    above = bundle.riemannian_submersion(space.metric.exp(vectors, points))
    np.testing.assert_allclose(numbers(above), numbers(below), rtol=0, atol=1e-9)


def boundary_time(info) -> float:
    return float(str(info.value).split("time ")[1].split(":")[0])


def test_errors(space):
    points, vectors = points_and_vectors(space, 2)
    metric = space.metric
    with pytest.raises(ValueError, match="end point"):
        metric.geodesic(points)
    with pytest.raises(ValueError, match="end point"):
        metric.parallel_transport(vectors, points, direction=vectors, end_point=points)
    with pytest.raises(ValueError, match="shape"):
        metric.exp(vectors[..., :-1], points)
    with pytest.raises(ValueError, match="boundary") as info:
        metric.exp(-5 * points[0], points[0])
    assert boundary_time(info) == pytest.approx(0.2, rel=1e-3)
    assert np.isnan(numbers(metric.exp(-5 * points[0], points[0], on_boundary="nan"))).all()


def test_what_is_not_found_is_told():
    """Opposite determinants: nothing is returned for them."""
    space = BalancedManifold(depth=2, width=2)
    one = space.from_factors((gs.eye(2), gs.eye(2)))
    flip = gs.array([[1.0, 0.0], [0.0, -1.0]])
    other = space.from_factors((gs.eye(2), flip))
    connection = balanced_connect(space.to_factors(one), space.to_factors(other))
    assert not connection.is_found
    assert np.isnan(numbers(connection.length))
    with pytest.raises(RuntimeError, match="no geodesic"):
        space.metric.log(other, one)


@pytest.mark.parametrize("t", [0.21, 0.3, 0.5, 1.0])
def test_geodesics_aimed_at_the_boundary_do_not_come_out_of_it(t):
    """With null spaces the frames turn at once at a near miss, any way that round-off says."""
    space = BalancedManifold(widths=(2, 4, 3), rank=2)
    for seed in range(5):
        gs.random.seed(seed)
        point = space.random_point()
        matrix = end_to_end(space.to_factors(point))
        observables = FixedRankMatrices(3, 2, rank=1).equip_with_metric(DepthMetric, depth=3)
        matrix = observables.projection(matrix)
        for metric, start, factor in ((space.metric, point, -5), (observables.metric, matrix, -15)):
            with pytest.raises(ValueError, match=r"boundary|round-off") as info:
                metric.geodesic(start, initial_tangent_vec=factor * start)(t)
            assert boundary_time(info) == pytest.approx(0.2, rel=1e-5)
