"""The depth metric as its users call it; runs under every geomstats backend."""

import math

import geomstats.backend as gs
import pytest

from dlngeo.manifolds import DepthMetric
from tests.manifolds.geomstats.spaces import (
    depth_space,
    near_identity,
)


@pytest.mark.parametrize("depth", [1, 2, 3, 10, math.inf])
def test_depth_metric_and_cometric_are_inverse(depth):
    space = depth_space((3, 3), None, depth)
    points = gs.stack([gs.eye(3), gs.eye(3) + 0.3 * gs.random.normal(size=(3, 3))])
    metric, cometric = space.metric.metric_matrix(points), space.metric.cometric_matrix(points)
    product = metric @ cometric
    assert gs.allclose(product, gs.broadcast_to(gs.eye(9), product.shape), atol=1e-10)
    log_determinant = gs.log(gs.linalg.det(metric))
    assert gs.allclose(space.metric.log_volume_density(points), log_determinant / 2, atol=1e-10)


if gs.has_autodiff():  # the NumPy backend of geomstats has no derivatives

    @pytest.mark.parametrize("depth", [1, 2, 3, math.inf])
    def test_derivative_of_the_metric_at_the_identity(depth):
        space = depth_space((2, 2), None, depth)
        vector = gs.array([[0.3, -1.0], [0.5, 0.2]])
        direction = gs.array([[1.0, 0.4], [-0.7, 0.9]])

        def energy(point):
            return gs.sum(vector * space.metric.riemannian_gradient(vector, point))

        _, gradient = gs.autodiff.value_and_grad(energy)(gs.eye(2))
        step = 1e-4
        difference = (
            energy(gs.eye(2) + step * direction) - energy(gs.eye(2) - step * direction)
        ) / (2 * step)
        assert gs.allclose(gs.sum(gradient * direction), difference, atol=1e-7)


SPACES = [
    pytest.param((3, 3), 3, 1, id="3x3,r=3,N=1"),
    pytest.param((4, 3), 2, 1, id="4x3,r=2,N=1"),
    pytest.param((3, 3), 3, 2, id="3x3,r=3,N=2"),
    pytest.param((3, 3), 2, 3, id="3x3,r=2,N=3"),
    pytest.param((2, 3), 1, 2, id="2x3,r=1,N=2"),
    pytest.param((3, 2), 2, 3, id="3x2,r=2,N=3"),
    pytest.param((2, 2), 2, 10, id="2x2,r=2,N=10"),
    pytest.param((2, 2), 2, math.inf, id="2x2,r=2,N=inf"),
]


EACH_SPACE = pytest.mark.parametrize(("shape", "rank", "depth"), SPACES)


def points_and_vectors(space, count):
    data = near_identity(space)
    points = data.random_point(count)
    return points, data.random_tangent_vec(points)


def square(depth=2):
    """Return a small space, a point, and a vector along which ``λ_2(t) = 1 - t/N²``."""
    space = depth_space((2, 2), 2, depth)
    return space, gs.array([[2.0, 0.0], [0.0, 1.0]]), gs.array([[0.0, 0.0], [0.0, -1 / depth]])


# --- shapes and batches -----------------------------------------------------------------
@EACH_SPACE
def test_shapes(shape, rank, depth):
    space = depth_space(shape, rank, depth)
    metric = space.metric
    times = gs.array([0.0, 0.3, 1.0])
    for count, batch in ((1, ()), (2, (2,))):
        points, vectors = points_and_vectors(space, count)
        ends = metric.exp(vectors, points)
        assert ends.shape == (*batch, *shape)
        assert metric.log(ends, points).shape == (*batch, *shape)
        assert metric.dist(ends, points).shape == batch
        assert metric.squared_dist(ends, points).shape == batch
        for path in (
            metric.geodesic(points, initial_tangent_vec=vectors),
            metric.geodesic(points, end_point=ends),
        ):
            assert path(0.5).shape == (*batch, 1, *shape)
            assert path(times).shape == (*batch, 3, *shape)
            assert path([0.0, 1.0]).shape == (*batch, 2, *shape)
        for along in ({"direction": vectors}, {"end_point": ends}):
            assert metric.parallel_transport(vectors, points, **along).shape == (*batch, *shape)


@EACH_SPACE
def test_batches_broadcast(shape, rank, depth):
    space = depth_space(shape, rank, depth)
    metric = space.metric
    points, vectors = points_and_vectors(space, 3)
    one, ends = points[0], metric.exp(vectors, points)
    vectors_at_one = space.to_tangent(vectors, one)
    grid = metric.dist(points[:, None], ends[None])
    assert grid.shape == (3, 3)
    logs, images = metric.log(ends, one), metric.exp(vectors_at_one, one)
    moved = metric.parallel_transport(vectors_at_one, one, direction=vectors_at_one[0])
    for k in range(3):
        assert gs.allclose(logs[k], metric.log(ends[k], one), atol=1e-9)
        assert gs.allclose(images[k], metric.exp(vectors_at_one[k], one), atol=1e-9)
        expected = metric.parallel_transport(vectors_at_one[k], one, direction=vectors_at_one[0])
        assert gs.allclose(moved[k], expected, atol=1e-9)
        for l in range(3):
            assert gs.allclose(grid[k, l], metric.dist(points[k], ends[l]), atol=1e-9)


@EACH_SPACE
def test_both_ways_of_giving_a_geodesic_agree(shape, rank, depth):
    space = depth_space(shape, rank, depth)
    metric = space.metric
    points, vectors = points_and_vectors(space, 2)
    ends = metric.exp(vectors, points)
    times = gs.array([-0.2, 0.0, 0.4, 1.0])
    by_vector = metric.geodesic(points, initial_tangent_vec=vectors)(times)
    by_end = metric.geodesic(points, end_point=ends)(times)
    assert gs.allclose(by_vector, by_end, atol=1e-8)
    assert gs.allclose(by_vector[:, 1], points, atol=1e-9)
    assert gs.allclose(by_vector[:, 3], ends, atol=1e-9)
    assert gs.allclose(by_vector[:, 2], metric.exp(0.4 * vectors, points), atol=1e-9)
    carried = near_identity(space).random_tangent_vec(points)
    moved = metric.parallel_transport(carried, points, direction=vectors)
    assert gs.allclose(moved, metric.parallel_transport(carried, points, end_point=ends), atol=1e-8)
    # The velocity is parallel, and turns round at the end.
    moved = metric.parallel_transport(vectors, points, direction=vectors)
    assert gs.allclose(moved, -metric.log(points, ends), atol=1e-8)


# --- errors -----------------------------------------------------------------------------
def test_exactly_one_way_of_giving_a_geodesic():
    space, point, vector = square()
    with pytest.raises(ValueError, match="give one"):
        space.metric.geodesic(point)
    with pytest.raises(ValueError, match="give one"):
        space.metric.geodesic(point, point, vector)
    with pytest.raises(ValueError, match="give one"):
        space.metric.parallel_transport(vector, point)
    with pytest.raises(ValueError, match="give one"):
        space.metric.parallel_transport(vector, point, direction=vector, end_point=point)


CALLS = {
    "exp": lambda metric, a, b: metric.exp(a, b),
    "log": lambda metric, a, b: metric.log(a, b),
    "dist": lambda metric, a, b: metric.dist(a, b),
    "squared_dist": lambda metric, a, b: metric.squared_dist(a, b),
    "geodesic": lambda metric, a, b: metric.geodesic(b, initial_tangent_vec=a),
    "geodesic_to": lambda metric, a, b: metric.geodesic(b, end_point=a),
    "transport": lambda metric, a, b: metric.parallel_transport(a, b, direction=0.1 * b),
    "transport_along": lambda metric, a, b: metric.parallel_transport(b, b, direction=a),
    "transport_to": lambda metric, a, b: metric.parallel_transport(b, b, end_point=a),
}


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_arguments_are_judged(call):
    space, point, _ = square()
    good = 0.1 * gs.eye(2) + 0 * point
    call(space.metric, good, point)
    for first, second in ((gs.eye(3), point), (good, gs.eye(3)), (gs.ones((2,)), point)):
        with pytest.raises(ValueError, match="shape"):
            call(space.metric, first, second)
    for bad in (math.nan, math.inf):
        for first, second in ((bad * gs.ones((2, 2)), point), (good, bad * gs.ones((2, 2)))):
            with pytest.raises(ValueError, match="NaN"):
                call(space.metric, first, second)
    with pytest.raises(ValueError, match="rank"):
        call(space.metric, good, gs.array([[1.0, 0.0], [0.0, 0.0]]))


@pytest.mark.parametrize("depth", [1, 2, 3])
def test_the_boundary_is_named_with_its_time(depth):
    space, point, vector = square(depth)
    metric, end = space.metric, depth**2
    with pytest.raises(ValueError, match=f"ends at time {end}: it reached the boundary"):
        metric.geodesic(point, initial_tangent_vec=vector)(2.0 * end)
    with pytest.raises(ValueError, match=r"ends at time 0\.5: it reached the boundary"):
        metric.exp(2 * end * vector, point)
    lost = metric.exp(2 * end * vector, point, on_boundary="nan")
    assert gs.all(gs.isnan(lost))
    path = metric.geodesic(point, initial_tangent_vec=vector, on_boundary="nan")
    positions = path(gs.array([0.5 * end, 2.0 * end]))
    expected = gs.array([[2.0, 0.0], [0.0, 0.5**depth]])
    assert gs.allclose(positions[0], expected, atol=1e-9)
    assert gs.all(gs.isnan(positions[1]))
    for way, sign in (("continue", (-1.0) ** depth), ("cross", -1.0)):
        beyond = metric.exp(2 * end * vector, point, on_boundary=way)
        assert gs.allclose(beyond, gs.array([[2.0, 0.0], [0.0, sign]]), atol=1e-9)
    with pytest.raises(ValueError, match='"raise", "nan", "continue" or "cross"'):
        metric.exp(vector, point, on_boundary="stop")


def test_no_geodesic_joins_opposite_determinants():
    space, point, _ = square()
    mirrored = gs.array([[2.0, 0.0], [0.0, -1.0]])
    for call in (
        lambda: space.metric.log(mirrored, point),
        lambda: space.metric.dist(mirrored, point),
        lambda: space.metric.geodesic(point, end_point=mirrored),
        lambda: space.metric.parallel_transport(point, point, end_point=mirrored),
    ):
        with pytest.raises(ValueError, match="opposite signs"):
            call()


def test_a_metric_knows_what_to_do_at_the_boundary():
    """Infinite distances, or the completed space: its methods go one way."""
    space, point, vector = square(2)
    mirrored = gs.array([[2.0, 0.0], [0.0, -1.0]])
    space.equip_with_metric(DepthMetric, depth=2, on_boundary="nan")
    assert gs.all(space.metric.dist(mirrored, point) == math.inf)
    assert gs.all(gs.isnan(space.metric.log(mirrored, point)))
    assert gs.all(gs.isnan(space.metric.exp(8.0 * vector, point)))
    space.equip_with_metric(DepthMetric, depth=2, on_boundary="cross")
    metric = space.metric
    log = metric.log(mirrored, point)
    assert gs.allclose(metric.exp(log, point), mirrored, atol=1e-8)
    assert gs.allclose(metric.norm(log, point), metric.dist(mirrored, point))
    moved = metric.parallel_transport(log, point, end_point=mirrored)
    assert gs.allclose(moved, -metric.log(point, mirrored), atol=1e-7)
    part = metric.geodesic(point, end_point=mirrored)(0.75)[0]
    assert gs.allclose(metric.dist(point, part), 3 * metric.dist(part, mirrored), atol=1e-8)
    with pytest.raises(ValueError, match="raise, nan, cross, got 'continue'"):
        space.equip_with_metric(DepthMetric, depth=2, on_boundary="continue")


# --- derivatives ------------------------------------------------------------------------
def test_results_are_of_the_backend():
    space, point, vector = square()
    metric, kind = space.metric, type(gs.eye(2))
    end = metric.exp(vector, point)
    path = metric.geodesic(point, initial_tangent_vec=vector)
    transported = metric.parallel_transport(vector, point, direction=vector)
    for result in (end, metric.log(end, point), path(0.5), path(gs.array([0.5])), transported):
        assert type(result) is kind
        assert result.dtype == point.dtype
    assert gs.allclose(metric.dist(end, point) ** 2, metric.squared_dist(end, point), atol=1e-12)


def rate(function):
    """Return the derivative of a function of time at zero, by differences of fourth order."""
    h = 1e-3
    near, far = (function(k * h) - function(-k * h) for k in (1, 2))
    return (8 * near - far) / (12 * h)


def curve(space, point, velocity):
    """Return a curve of matrices of a rank, with a position and a velocity at time zero."""
    return lambda t: space.projection(point + t * velocity)


# The NumPy backend differentiates nothing.
if gs.has_autodiff():

    def slopes(function, point, directions):
        """Return the derivatives of a function along directions by automatic differentiation."""
        gradient = gs.autodiff.value_and_grad(function, point_ndims=2)(point)[1]
        return gs.stack([gs.sum(gradient * v) for v in directions])

    @EACH_SPACE
    def test_derivatives_of_exp(shape, rank, depth):
        space = depth_space(shape, rank, depth)
        point, vector = points_and_vectors(space, 1)
        weight = gs.random.normal(size=shape)
        tangents = [space.random_tangent_vec(point) for _ in range(3)]

        def by_vector(v):
            return gs.sum(weight * space.metric.exp(v, point))

        expected = gs.stack([rate(lambda t, v=v: by_vector(vector + t * v)) for v in tangents])
        assert gs.allclose(slopes(by_vector, vector, tangents), expected, atol=1e-7)

        def by_point(x, v):
            return gs.sum(weight * space.metric.exp(v, x))

        for velocity in tangents:
            # The vector stays tangent while the point moves: both derivatives at once.
            moved = curve(space, point, velocity)
            whole = rate(
                lambda t, moved=moved: by_point(moved(t), space.to_tangent(vector, moved(t)))
            )
            turned = rate(lambda t, moved=moved: space.to_tangent(vector, moved(t)))
            parts = slopes(lambda x: by_point(x, vector), point, [velocity])
            parts = parts + slopes(by_vector, vector, [turned])
            assert gs.allclose(parts, whole, atol=1e-7)

    @EACH_SPACE
    def test_derivatives_of_squared_dist(shape, rank, depth):
        space = depth_space(shape, rank, depth)
        point, vector = points_and_vectors(space, 1)
        other = space.metric.exp(vector, point)
        velocity = space.random_tangent_vec(point)
        moved = curve(space, point, velocity)

        def to_other(x):
            return space.metric.squared_dist(x, other)

        def from_other(x):
            return space.metric.squared_dist(other, x)

        expected = rate(lambda t: to_other(moved(t)))
        assert gs.allclose(slopes(to_other, point, [velocity]), expected, atol=1e-7)
        assert gs.allclose(slopes(from_other, point, [velocity]), expected, atol=1e-7)


# --- what geomstats builds on them ------------------------------------------------------
@EACH_SPACE
def test_distances_of_all_pairs(shape, rank, depth):
    space = depth_space(shape, rank, depth)
    points = near_identity(space).random_point(4)
    pairwise = space.metric.dist_pairwise(points)
    assert gs.allclose(space.metric.dist_broadcast(points[:3], points), pairwise[:3], atol=1e-9)
    assert gs.allclose(space.metric.dist_broadcast(points[0], points), pairwise[0], atol=1e-9)
    assert gs.allclose(space.metric.diameter(points), gs.amax(pairwise), atol=1e-9)
    nearest = space.metric.closest_neighbor_index(points[0], points[1:])
    assert nearest == gs.argmin(pairwise[0, 1:])


@EACH_SPACE
@pytest.mark.parametrize(("scheme", "order"), [("pole", 2), ("schild", 1)])
def test_ladders_approach_parallel_transport(scheme, order, shape, rank, depth):
    """geomstats' ladders go by `exp` and `log` alone."""
    space = depth_space(shape, rank, depth)
    metric = space.metric
    point, direction = points_and_vectors(space, 1)
    vector = near_identity(space).random_tangent_vec(point)
    expected = metric.parallel_transport(vector, point, direction=direction)
    defects = []
    for n_rungs in (2, 4):
        ladder = metric.ladder_parallel_transport(
            vector, point, direction, n_rungs=n_rungs, scheme=scheme, alpha=2
        )
        assert gs.allclose(ladder["end_point"], metric.exp(direction, point), atol=1e-8)
        moved = ladder["transported_tangent_vec"]
        defects.append(float(gs.linalg.norm(moved - expected)))
    # On flat spaces they are exact.
    assert defects[1] < 1e-9 or defects[0] / defects[1] > 0.8 * 2**order


@pytest.mark.parametrize("depth", [1, 2, 3, math.inf])
def test_unit_vectors_and_normal_bases(depth):
    space = depth_space((2, 2), 2, depth)
    point = near_identity(space).random_point()
    vectors = space.metric.random_unit_tangent_vec(point, n_vectors=3)
    assert gs.allclose(space.metric.norm(vectors, point), gs.ones(3), atol=1e-12)
    ends = space.metric.exp(0.2 * vectors, point)
    assert gs.allclose(space.metric.dist(point, ends), 0.2 * gs.ones(3), atol=1e-9)
    basis = gs.reshape(gs.eye(4), (4, 2, 2))
    normal = space.metric.normal_basis(basis, point)
    ends = space.metric.exp(0.2 * normal, point)
    assert gs.allclose(space.metric.dist(point, ends), 0.2 * gs.ones(4), atol=1e-9)


def test_all_pairs_of_points():
    """`dist_pairwise`, as geomstats calls it and with a progress bar, is `dist` of every pair."""
    metric = depth_space((2, 3), None, 3).metric
    points = gs.random.normal(size=(4, 2, 3))
    expected = metric.dist(points[:, None], points[None])
    for options in ({"n_jobs": 2}, {"progress": True}):
        assert gs.allclose(metric.dist_pairwise(points, **options), expected, atol=1e-9)


def test_how_far_geodesics_are_shortest():
    """Radii and conjugate points, of every element of a batch, and of the backend."""
    space = depth_space((2, 2), None, 3)
    points = gs.stack([gs.eye(2), 8.0 * gs.eye(2)])
    radius = space.metric.injectivity_bound(points)
    assert gs.allclose(radius[1], 2 * radius[0])
    swap = gs.array([[1.9**3, 0.0], [0.0, 0.1**3]])
    velocity = gs.array([[-3 * 1.9**2 * 1.8, 0.0], [0.0, 3 * 0.1**2 * 1.8]])
    times = space.metric.conjugate_times(gs.stack([velocity, 0.5 * velocity]), swap)
    assert tuple(times.shape) == (2, 1)
    assert gs.all((times < 1) == gs.array([[True], [False]]))
    assert type(times) is type(radius) is type(points)
