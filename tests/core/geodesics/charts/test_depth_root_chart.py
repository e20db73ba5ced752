"""Depth-root coordinates: closed forms, what is beyond the boundary, and without ``fast``."""

import numpy as np
import pytest
from scipy import linalg

from dlngeo.core.depth_metric.metric import lower_index
from dlngeo.core.geodesics.charts import depth_root_chart
from dlngeo.core.geodesics.charts.depth_root_chart import DepthRootChart
from dlngeo.core.geodesics.logarithm import dist
from dlngeo.core.geodesics.observable_curves import geodesic
from dlngeo.core.networks.blocks import Blocks
from dlngeo.core.networks.frames import singular_frames
from dlngeo.core.numerics.integration import Status, integrate
from tests.core.brute import assert_close
from tests.core.geodesics.charts.test_chart import start
from tests.core.geodesics.reference_geodesics import lifted_geodesic


def test_without_compiled_loops(monkeypatch):
    """The extra is not needed."""
    chart = DepthRootChart(3, 3, 3, 3)
    states, ends = start(chart, 5), np.ones(5)
    compiled = chart.flow(states, ends, 1e-10)
    monkeypatch.setattr(depth_root_chart, "COMPILED_UP_TO", 0)
    assert_close(chart.flow(states, ends, 1e-10).state, compiled.state, 1e-8)


def test_straight_lines_of_depth_two():
    """In closed form as by integration: points, velocities, the time of the boundary."""
    chart = DepthRootChart(4, 3, 3, 2)
    frames = singular_frames(np.random.default_rng(4).standard_normal((6, 4, 3)), 3)
    core = np.random.default_rng(5).standard_normal((6, 3, 3))
    core = core + core.swapaxes(-1, -2)
    zero = np.zeros((6, 4, 3))
    states = chart.enter(frames, Blocks(core, left_null=zero))
    ends = np.array([0.0, 0.1, 0.2, 0.4, 5.0, 5.0])
    found, expected = (
        chart.flow(states, ends, 1e-12),
        integrate(chart.velocity, states, ends, 1e-12),
    )
    np.testing.assert_array_equal(found.status, expected.status)
    assert_close(found.time, expected.time, 1e-9, 1.0)
    arrived = found.status == Status.ARRIVED
    assert arrived.sum() in range(2, 6)
    assert_close(found.state[arrived], expected.state[arrived], 1e-9, 1.0)


# --- beyond the boundary --------------------------------------------------------------

WAYS = pytest.mark.parametrize("way", ["continue", "cross"])


def speed(matrix: np.ndarray, velocity: np.ndarray, depth: int) -> np.ndarray:
    return np.sqrt(np.sum(velocity * lower_index(matrix, velocity, depth), axis=(-2, -1)))


def crossings(depth: int, count: int = 8) -> tuple[np.ndarray, np.ndarray]:
    """Return matrices, and velocities with which they soon cross ``det X = 0``."""
    rng = np.random.default_rng(5)
    matrix = np.diag([1.3, 0.9, 0.4]) + 0.1 * rng.standard_normal((count, 3, 3))
    velocity = 0.6 * rng.standard_normal((count, 3, 3)) - np.diag([0, 0, 1.6])
    return matrix, velocity * (1.2 * depth**0.5 / speed(matrix, velocity, depth))[:, None, None]


@WAYS
@pytest.mark.parametrize("depth", [1, 2, 3, 4, 10])
@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
def test_singular_values_change_their_signs(scale, depth, way):
    """On straight lines ``λ + t ν``, one after the other, also where they are repeated."""
    left, right = (
        np.linalg.qr(np.random.default_rng(seed).standard_normal((4, 4)))[0] for seed in (0, 1)
    )
    lam, nu = np.array([1.0, 1.0, 0.8, 0.5]), np.array([-0.5, 0.7, -3.0, -2.5])
    velocity = scale * (left * (depth * lam ** (depth - 1) * nu)) @ right
    times = np.array([0.1, 0.22, 0.3, 0.9])
    curve = geodesic(scale * (left * lam**depth) @ right, velocity, depth, on_boundary=way)
    root = lam + times[:, None] * nu
    signs = np.sign(root) if way == "cross" or depth % 2 else 1.0
    expected = scale * (left * (signs * abs(root) ** depth)[:, None, :]) @ right
    assert_close(curve.point(times), expected, 1e-10, abs(expected).max())


@pytest.mark.parametrize("depth", [2, 3, 4])
def test_continued_geodesics_are_those_of_factors(depth):
    """Whose lift crosses in small steps; for even depth the product comes back."""
    matrix = np.array([[1.0, 0.3], [-0.2, 0.4]])
    velocity = np.array([[0.4, -0.5], [0.7, -2.2]])
    curve = geodesic(matrix, velocity, depth, on_boundary="continue")
    # None of the stages of these steps comes near to the boundary.
    expected = lifted_geodesic(matrix, velocity, depth, steps=350)
    found = curve.at(1.0)
    assert np.sign(np.linalg.det(found.point)) == (-1) ** depth
    assert_close(found.point, expected[0], 5e-9, 1.0)
    assert_close(found.velocity, expected[1], 5e-9, 1.0)


@pytest.mark.parametrize("depth", [2, 3, 4])
def test_continued_geodesics_are_analytic(depth):
    """As if there was no boundary, with an eigenvalue of ``S`` that is negative beyond it."""
    matrix, velocity = crossings(depth)
    found = geodesic(matrix, velocity, depth, on_boundary="continue").at(1.0)
    assert not np.linalg.det(found.point).min() * (-1) ** depth < 0
    curve = geodesic(matrix, velocity, depth)
    assert (curve.at(1.0).status == Status.BOUNDARY).all()
    ahead = integrate(
        lambda state: (curve.chart.velocity(state)[0], np.ones(len(state))),
        curve.start,
        curve.pace,
        1e-12,
    )
    expected = curve.unit[:, None, None] * curve.chart.leave(ahead.state)[0][0]
    assert_close(found.point, expected, 1e-9, 1.0)


def test_positive_matrices_come_back():
    """At depth two ``X(t) = (I + tS) X (I + tS)``, ``SX + XS = Ẋ``, at all times."""
    matrix, velocity = (
        np.diag([1.5, 1.0, 0.5]),
        np.array([[-1, 0.4, 0], [0.4, -1, 0.3], [0, 0.3, 0]]),
    )
    move = linalg.solve_continuous_lyapunov(matrix, velocity)
    times = np.linspace(-1, 6, 8)
    step = np.eye(3) + times[:, None, None] * move
    assert np.linalg.eigvalsh(step).min() < -0.1
    found = geodesic(matrix, velocity, 2, on_boundary="continue").point(times)
    assert_close(found, step @ matrix @ step, 1e-9, 1.0)


@WAYS
@pytest.mark.parametrize("depth", [2, 3, 4])
def test_beyond_the_boundary_speed_is_kept_and_time_adds(depth, way):
    """And a geodesic that turns back comes back."""
    matrix, velocity = crossings(depth)
    curve = geodesic(matrix, velocity, depth, on_boundary=way)
    middle, end = curve.at(0.7), curve.at(1.0)
    is_across = np.linalg.det(end.point) < 0
    assert is_across.all() if way == "cross" or depth % 2 else not is_across.any()
    assert_close(
        speed(end.point, end.velocity, depth), np.full(len(matrix), 1.2 * depth**0.5), 1e-8
    )
    later = geodesic(middle.point, middle.velocity, depth, on_boundary=way).at(0.3)
    assert_close(later.point, end.point, 1e-8, 1.0)
    assert_close(later.velocity, end.velocity, 1e-7, 1.0)
    back = geodesic(end.point, -end.velocity, depth, on_boundary=way)
    assert_close(back.point(1.0), matrix, 1e-8, 1.0)
    assert_close(curve.point(-1.0), geodesic(matrix, -velocity, depth).point(1.0), 1e-9, 1.0)


@WAYS
@pytest.mark.parametrize("depth", [2, 3, 4])
def test_at_the_boundary_length_is_stationary(depth, way):
    """Fermat's principle: ways through other points of the boundary are longer."""
    matrix = np.diag([1.3, 0.9, 0.05]) + 0.02 * np.random.default_rng(3).standard_normal((3, 3))
    velocity = 0.3 * np.random.default_rng(4).standard_normal((3, 3)) - np.diag([0, 0, 0.5])
    velocity *= 0.6 / speed(matrix, velocity, depth)
    time = geodesic(matrix, velocity, depth).at(9.0).end
    end = geodesic(matrix, velocity, depth, on_boundary=way).point(2 * time)
    left, values, right = np.linalg.svd(geodesic(matrix, velocity, depth).point(0.999999 * time))
    left[:, 2] *= np.linalg.det(left) * np.linalg.det(right)
    rng = np.random.default_rng(6)
    turns, stretches = rng.standard_normal((2, 4, 3, 3)), rng.standard_normal((4, 3))
    steps = np.array([-1e-3, 0.0, 1e-3])[:, None, None, None]
    turned = [
        linalg.expm(steps * (turn - turn.swapaxes(-1, -2))) @ frame
        for turn, frame in zip(turns, (left, right.T), strict=True)
    ]
    near = values + steps[..., 0] * stretches
    near[..., 2] = 1e-12
    far = near * np.array([1, 1, np.sign(np.linalg.det(end))])
    sides = [turned[0] * v[..., None, :] @ turned[1].swapaxes(-1, -2) for v in (near, far)]
    before, here, after = dist(matrix, sides[0], depth) + dist(sides[1], end, depth)
    curvature = (before + after - 2 * here) / 1e-6
    assert (curvature > 1).all()
    assert (abs(after - before) / 2e-3 < 1e-5 * curvature).all()


def test_where_no_geodesic_goes_on():
    """Where two values vanish at once, and towards the null spaces of other shapes and ranks."""
    with pytest.raises(ValueError, match=r"ends at time 0.33\d*: it reached the boundary"):
        geodesic(np.eye(3), -9 * np.eye(3), 3, on_boundary="cross").point(1.0)
    column = np.array([[1.0], [0.5]])
    for matrix, depth, rank in ((column, 2, 1), (column @ column.T, 1, 1)):
        curve = geodesic(matrix, -3 * matrix, depth, rank, on_boundary="continue")
        assert curve.at(1.0).status == Status.BOUNDARY
    flat = geodesic(column, -3 * column, 1, on_boundary="continue")
    assert_close(flat.point(1.0), -2 * column, 1e-12)
