import math

import matplotlib.pyplot
import numpy
import pytest
from matplotlib.figure import Figure

from dlngeo import DepthMetric, FixedRankMatrices
from dlngeo.plotting import plot_geodesic_circles

IDENTITY = numpy.eye(2)
TURN = numpy.array([[0.0, -1.0], [1.0, 0.0]])
DIAGONALS = numpy.array([numpy.diag([1.0, 0.0]), numpy.diag([0.0, 1.0])])


def space_of(depth):
    return FixedRankMatrices(2, 2).equip_with_metric(DepthMetric, depth=depth)


def diagonal(matrices):
    return numpy.diagonal(matrices, axis1=-2, axis2=-1)


def first_column(matrices):
    return matrices[..., :, 0]


def draw(depth, base_point, plane, radii, chart, n_rays=6):
    """Return the rays and the rings that were drawn, arrays of shape=[n_points, 2]."""
    axes = Figure().subplots()
    drawn = plot_geodesic_circles(
        space_of(depth), base_point, plane, radii, chart, n_rays=n_rays, axes=axes
    )
    assert drawn is axes
    curves = [line.get_xydata() for line in axes.lines]
    assert len(curves) == n_rays + len(radii) + 1
    assert numpy.allclose(curves[-1], chart(base_point[None]))
    return curves[:n_rays], curves[n_rays:-1]


@pytest.mark.parametrize("depth", [2, 3, 10, math.inf])
def test_circles_of_diagonal_matrices_are_round_in_depth_root_coordinates(depth):
    radii = [0.1, 0.4]
    rays, rings = draw(depth, numpy.diag([1.0, 0.5]), DIAGONALS, radii, diagonal)

    def root(points):
        if math.isinf(depth):
            return numpy.log(points)
        return math.sqrt(depth) * points ** (1 / depth)

    centre = root(numpy.array([1.0, 0.5]))
    for ring, radius in zip(rings, radii, strict=True):
        assert numpy.allclose(numpy.linalg.norm(root(ring) - centre, axis=-1), radius, rtol=1e-7)
        assert numpy.array_equal(ring[0], ring[-1])
    for k, ray in enumerate(rays):
        steps = root(ray) - centre
        assert numpy.allclose(steps, numpy.linspace(0, 1, len(ray))[:, None] * steps[-1], atol=1e-7)
        assert numpy.isclose(numpy.linalg.norm(steps[-1]), 0.4, rtol=1e-7)
        angle = numpy.arctan2(steps[-1, 1], steps[-1, 0])
        assert numpy.isclose(numpy.exp(1j * angle), numpy.exp(2j * numpy.pi * k / 6), atol=1e-6)


@pytest.mark.parametrize("depth", [2, 3, math.inf])
def test_circles_of_scaled_rotations_are_round_on_the_cone(depth):
    radius = 0.9
    # A plane is no basis: the vectors need not be orthogonal, nor of one length.
    plane = [IDENTITY + TURN, 3 * TURN]
    ring = draw(depth, IDENTITY, plane, [radius], first_column)[1][0]
    z = ring[:, 0] + 1j * ring[:, 1]
    if math.isinf(depth):
        distance = math.sqrt(2) * abs(numpy.log(z))
    else:
        distance = math.sqrt(2 * depth) * abs(z ** (1 / depth) - 1)
    assert numpy.allclose(distance, radius, rtol=1e-7)


def test_circles_are_drawn_at_their_distance():
    base_point, shear = numpy.array([[1.0, 0.2], [0.2, 0.7]]), numpy.array([[0.3, 1.0], [1.0, 0.1]])
    space = space_of(3)

    def chart(matrices):
        return matrices.reshape(*matrices.shape[:-2], 4)[..., [0, 1, 3]]

    axes = Figure().add_subplot(projection="3d")
    plot_geodesic_circles(space, base_point, [IDENTITY, shear], [0.2], chart, n_rays=4, axes=axes)
    a, b, c = numpy.array(axes.lines[4].get_data_3d())[:, ::60]
    ends = numpy.stack([a, b, b, c], axis=-1).reshape(-1, 2, 2)
    assert numpy.allclose(space.metric.dist(base_point, ends), 0.2, rtol=1e-6)


def test_circles_have_gaps_where_geodesics_leave_the_space():
    # Of depth 1, around diag(1, 1/2): a Euclidean circle, and the half plane σ₂ > 0.
    rays, (ring,) = draw(1, numpy.diag([1.0, 0.5]), DIAGONALS, [0.75], diagonal, n_rays=4)
    inside = numpy.isfinite(ring).all(axis=-1)
    assert numpy.isclose(inside.mean(), 1 / 2 + math.asin(0.5 / 0.75) / math.pi, atol=0.01)
    assert (ring[inside] > 0).all()
    assert numpy.isfinite(rays[0]).all()
    down = rays[3]
    assert numpy.isfinite(down[:, 1]).sum() == pytest.approx(201 * 0.5 / 0.75, abs=1.5)


def test_axes_default_to_the_current_ones():
    matplotlib.pyplot.switch_backend("agg")
    figure, axes = matplotlib.pyplot.subplots()
    try:
        drawn = plot_geodesic_circles(space_of(2), IDENTITY, DIAGONALS, [0.1], diagonal)
        assert drawn is axes
    finally:
        matplotlib.pyplot.close(figure)


@pytest.mark.parametrize(
    ("plane", "radii", "message"),
    [
        (DIAGONALS, [], "positive numbers"),
        (DIAGONALS, [0.1, -1], "positive numbers"),
        (DIAGONALS, [math.nan], "positive numbers"),
        (DIAGONALS, [math.inf], "positive numbers"),
        (DIAGONALS, 0.1, "positive numbers"),
        (DIAGONALS[0], [0.1], "two tangent vectors"),
        ([IDENTITY, -2 * IDENTITY], [0.1], "linearly dependent"),
        ([IDENTITY, 0 * IDENTITY], [0.1], "linearly dependent"),
    ],
)
def test_circles_refuse(plane, radii, message):
    with pytest.raises(ValueError, match=message):
        plot_geodesic_circles(space_of(2), IDENTITY, plane, radii, diagonal)
