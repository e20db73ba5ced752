"""The metric of relaxed balanced networks as its users meet it, under every geomstats backend."""

import geomstats.backend as gs
import pytest

from tests.manifolds.geomstats.spaces import depth_space, relaxed_space

SPACES = [
    ((3, 3), None, {"offsets": (0.5,)}),
    ((3, 4), 2, {"offsets": (0.4, -0.2)}),
    ((4, 2), None, {"offsets": (-0.5,), "widths": (2, 2, 4)}),
    ((3, 3), 2, {"offsets": (0.5, -0.5), "widths": (3, 3, 3, 3)}),
]
SPACE = pytest.mark.parametrize(("shape", "rank", "options"), SPACES)


@SPACE
def test_exponential_logarithm_and_transport(shape, rank, options):
    space = relaxed_space(shape, rank, **options)
    point = space.random_point(2)
    vector = space.random_tangent_vec(point)
    vector = 0.1 * vector / space.metric.norm(vector, point)[:, None, None]
    end = space.metric.exp(vector, point)
    assert gs.allclose(space.metric.log(end, point), vector, atol=1e-8)
    assert gs.allclose(space.metric.dist(point, end), 0.1 * gs.ones(2), atol=1e-8)
    path = space.metric.geodesic(point, end_point=end)
    assert gs.allclose(path(gs.array([0.0, 1.0]))[:, 1], end, atol=1e-8)
    carried = space.metric.parallel_transport(vector, point, end_point=end)
    assert gs.allclose(-space.metric.log(point, end), carried, atol=1e-7)


@pytest.mark.parametrize(("shape", "rank", "depth"), [((3, 3), 3, 3), ((3, 4), 2, 2)])
def test_zero_offsets_are_the_depth_metric(shape, rank, depth):
    relaxed = relaxed_space(shape, rank, offsets=(0.0,) * (depth - 1))
    space = depth_space(shape, rank, depth)
    assert relaxed.metric.depth == depth
    point = space.random_point(2)
    vector = space.random_tangent_vec(point)
    vector = 0.1 * vector / space.metric.norm(vector, point)[:, None, None]
    assert gs.allclose(relaxed.metric.flat(vector, point), space.metric.flat(vector, point))
    ours = relaxed.metric.exp(vector, point)
    assert gs.allclose(ours, space.metric.exp(vector, point), atol=1e-9)


def test_a_complete_metric_at_the_zero_matrix():
    """Where one factor alone is at the top, lower rank is an ordinary point."""
    metric = relaxed_space((2, 2), None, offsets=(0.5,)).metric
    assert metric.network.is_complete
    zero, vector = gs.zeros((2, 2)), gs.array([[1.0, 2.0], [0.0, -1.0]])
    # W_2 = √c I and W_1 = 0: dφ dφ*(P) = W_2 W_2ᵀ P = c P.
    assert gs.allclose(metric.riemannian_gradient(vector, zero), 0.5 * vector)
    assert gs.allclose(metric.squared_norm(vector, zero), gs.array(12.0))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: relaxed_space((2, 2), None, offsets=0.5), "sequence of N-1 numbers"),
        (lambda: relaxed_space((3, 1), None, offsets=(0.5,), widths=(1, 2, 3)), "not of X"),
        (lambda: relaxed_space((3, 3), 2, offsets=(0.5,), widths=(3, 3, 3)), "leaves"),
        (lambda: relaxed_space((2, 3), None, offsets=(0.5,), widths=(2, 2, 3)), "widths from 3"),
        (lambda: relaxed_space((2, 2), None, offsets=(0.5,), widths=(2, 3, 2)), "Widen layer 2"),
        (
            lambda: relaxed_space((2, 2), None, offsets=(0.5,)).metric.flat(gs.eye(2), gs.eye(3)),
            r"\[..., 2, 2\], got \(3, 3\)",
        ),
    ],
)
def test_errors_say_why(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_curvature_is_refused():
    metric, eye = relaxed_space((2, 2), None, offsets=(0.5,)).metric, gs.eye(2)
    with pytest.raises(NotImplementedError, match="DepthMetric"):
        metric.sectional_curvature(eye, eye, eye)
    with pytest.raises(NotImplementedError, match="DepthMetric"):
        metric.curvature(eye, eye, eye, eye)
