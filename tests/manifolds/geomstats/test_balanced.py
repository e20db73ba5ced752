"""The balanced manifold and its metric; runs under every geomstats backend."""

import math

import geomstats.backend as gs
import numpy as np
import pytest

from dlngeo.core.networks.network import end_to_end
from dlngeo.manifolds import (
    BalancedManifold,
    DepthMetric,
    FixedRankMatrices,
    OrbitAction,
)
from tests.manifolds.geomstats.spaces import (
    depth_space,
    flat,
    numbers,
)


@pytest.mark.parametrize(("widths", "rank"), [((3, 3, 3), 3), ((4, 3, 5, 4), 2)])
def test_tangent_basis_is_orthonormal_and_splits_by_the_bundle(widths, rank):
    space = BalancedManifold(widths=widths, rank=rank)
    space.equip_with_group_action(OrbitAction(space))
    base = space.equip_with_quotient()
    point = space.random_point()
    basis = space.tangent_basis(point)
    gram = flat(space, basis) @ gs.transpose(flat(space, basis))
    assert gs.allclose(gram, gs.eye(space.dim), atol=1e-12)
    assert gs.all(space.fiber_bundle.is_horizontal(basis[: base.dim], point, atol=1e-12))
    assert gs.all(space.fiber_bundle.is_vertical(basis[base.dim :], point, atol=1e-12))


def test_mean_curvature_is_the_trace_of_the_second_fundamental_form():
    space = BalancedManifold(widths=(4, 3, 5, 4), rank=2)
    point = space.random_point()
    basis = space.tangent_basis(point)
    trace = gs.sum(space.second_fundamental_form(basis, basis, point), axis=0)
    assert gs.allclose(trace, space.mean_curvature_vector(point), atol=1e-11)
    assert not space.is_tangent(trace, point, atol=1e-6)


def test_random_points_are_reproducible():
    space = BalancedManifold(depth=2, width=3)
    gs.random.seed(3)
    first = space.random_point(2)
    gs.random.seed(3)
    assert gs.all(first == space.random_point(2))


def test_retraction_is_of_second_order():
    space = BalancedManifold(widths=(4, 3, 5, 4), rank=2)
    point = space.random_point()
    vector = space.random_tangent_vec(point)
    curved = space.second_fundamental_form(vector, vector, point)

    def defect(t):
        ahead = space.retraction(t * vector, point) - point - t * vector
        return gs.linalg.norm(flat(space, ahead - t**2 / 2 * curved))

    slope = math.log(defect(2e-3) / defect(1e-3)) / math.log(2)
    assert 2.9 < slope < 3.1


def test_gradient_on_the_balanced_manifold_is_tangent():
    space = BalancedManifold(depth=3, width=3)
    point, vector = space.random_point(2), gs.random.normal(size=(2, 3, 3, 3))
    gradient = space.metric.riemannian_gradient(vector, point)
    assert gs.all(space.is_tangent(gradient, point, atol=1e-10))


def test_many_vectors_at_one_point_and_one_vector_at_many_points():
    space = BalancedManifold(depth=3, width=3)
    point, points = space.random_point(), space.random_point(4)
    vectors = space.random_tangent_vec(point, n_samples=4)
    assert vectors.shape == (4, 3, 3, 3)
    assert space.metric.inner_product(vectors, vectors[0], point).shape == (4,)
    assert space.metric.inner_product(vectors[0], vectors[0], points).shape == (4,)
    assert space.to_tangent(vectors[0], points).shape == (4, 3, 3, 3)
    assert space.is_tangent(vectors, point, atol=1e-10).shape == (4,)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: BalancedManifold(depth=2), "either an integer depth and a width"),
        (lambda: BalancedManifold(depth=0, width=2), "depth=0"),
        (lambda: BalancedManifold(depth=2.5, width=2), "depth=2.5"),
        (lambda: BalancedManifold(depth=3, widths=(2, 2)), "leave out depth=3"),
        (lambda: BalancedManifold(widths=(3, 2), rank=3), "between 1 and the smallest width 2"),
        (lambda: BalancedManifold(widths=(3, 0)), "positive integers"),
        (
            lambda: BalancedManifold(depth=2, width=2).to_tangent(
                gs.ones((2, 2, 2)),
                gs.ones((2, 2, 2))
                + gs.eye(2) * gs.ones((2, 1, 1)) * gs.reshape(gs.array([1.0, 2.0]), (2, 1, 1)),
            ),
            "balance the factors first",
        ),
        (
            lambda: BalancedManifold(depth=2, width=2).to_tangent(
                gs.ones((2, 3, 3)), BalancedManifold(depth=2, width=2).random_point()
            ),
            r"expected an array of shape \[..., 2, 2, 2\], got \(2, 3, 3\)",
        ),
    ],
)
def test_errors_say_what_came_and_what_to_do(make, message):
    with pytest.raises(ValueError, match=message):
        make()


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


def test_components_are_told_apart_at_once():
    space = BalancedManifold(depth=2, width=2)
    one = space.from_factors((gs.eye(2), gs.eye(2)))
    flip = gs.array([[1.0, 0.0], [0.0, -1.0]])
    for other in ((gs.eye(2), flip), (flip, flip)):
        other = space.from_factors(other)
        for method in (space.metric.log, space.metric.dist):
            with pytest.raises(ValueError, match=r"factor \d has determinants of opposite signs"):
                method(other, one)


@pytest.mark.parametrize("t", [0.21, 0.3, 0.5, 1.0])
def test_geodesics_aimed_at_the_boundary_do_not_come_out_of_it(t):
    """With null spaces the frames turn at once at a near miss, any way that round-off says."""
    space = BalancedManifold(widths=(2, 4, 3), rank=2)
    for seed in range(5):
        gs.random.seed(seed)
        point = space.random_point()
        matrix = end_to_end(space.to_factors(point))
        observables = depth_space((3, 2), 1, 3)
        matrix = observables.projection(matrix)
        for metric, start, factor in ((space.metric, point, -5), (observables.metric, matrix, -15)):
            with pytest.raises(ValueError, match=r"boundary|round-off") as info:
                metric.geodesic(start, initial_tangent_vec=factor * start)(t)
            assert boundary_time(info) == pytest.approx(0.2, rel=1e-5)


@pytest.mark.parametrize("determinant", ["positive", "negative"])
@pytest.mark.parametrize(("widths", "rank"), [((2, 2, 2), 2), ((2, 3, 2, 2), 2), ((3, 2, 2, 4), 2)])
def test_one_component(widths, rank, determinant):
    """All random points are of it, near each other, and projections lead there."""
    space = BalancedManifold(widths=widths, rank=rank, determinant=determinant)
    every = BalancedManifold(widths=widths, rank=rank)
    gs.random.seed(4)
    points = space.random_point(6, bound=8.0)
    assert gs.all(space.belongs(points))
    size = 8.0 ** (1 / space.depth)
    distances = space.metric.dist(points[:1], points[1:])
    assert gs.all(distances < 1.9 * size)
    others = every.random_point(20)
    is_inside = space.belongs(others)
    assert 0 < gs.sum(gs.cast(is_inside, int)) < 20
    moved = space.projection(others)
    assert gs.all(space.belongs(moved))
    assert gs.allclose(moved[is_inside], others[is_inside], atol=1e-9)
    before, after = (end_to_end(every.to_factors(point)) for point in (others, moved))
    values = [gs.linalg.svd(matrix, compute_uv=False) for matrix in (before, after)]
    assert gs.allclose(*values, atol=1e-9)


def test_wrong_components():
    with pytest.raises(ValueError, match="leave out determinant"):
        BalancedManifold(widths=(3, 2, 3), rank=2, determinant="positive")
    with pytest.raises(ValueError, match=r"'positive', .* got"):
        BalancedManifold(depth=2, width=2, determinant="plus")
