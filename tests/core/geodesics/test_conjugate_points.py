"""Conjugate points against closed forms, a scalar equation, and differences of ``exp``."""

import numpy as np
import pytest
from scipy.integrate import solve_ivp

from dlngeo.core.depth_metric.curvature import sectional_curvature
from dlngeo.core.depth_metric.metric import lower_index
from dlngeo.core.geodesics.conjugate_points import conjugate_times
from dlngeo.core.geodesics.exponential import exp
from dlngeo.core.geodesics.logarithm import connect
from tests.core.brute import assert_close

INF = np.inf
SWAP = np.array([[0.0, 1.0], [1.0, 0.0]])


def along_sphere(rows: int, depth: int, angle: float) -> tuple[np.ndarray, np.ndarray]:
    """Return rank one, whose left vector turns as the chord of the cone to ``e^{i angle}``."""
    chord = np.exp(1j * angle) - 1
    velocity = np.zeros((rows, rows))
    velocity[0, 0], velocity[1, 0] = depth * chord.real, np.sqrt(depth) * chord.imag
    point = np.zeros((rows, rows))
    point[0, 0] = 1.0
    return point, velocity


def through_the_diagonal(depth: float, t: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """Return a place on a geodesic where two singular values change theirs, and the velocity."""
    if depth == INF:
        values = np.exp([2 - 4 * t, 4 * t - 2])
        return np.diag(values), np.diag(values * [-4, 4])
    speed = np.array([-1.8, 1.8])
    lam = np.array([1.9, 0.1]) + t * speed
    return np.diag(lam**depth), np.diag(depth * lam ** (depth - 1) * speed)


def least_stretch(matrix, velocity, depth: float, way: str = "raise") -> float:
    """Return the least singular value of the differential of ``exp``, by differences."""
    units = np.eye(4).reshape(4, 2, 2) * 1e-4
    ahead, behind = (exp(matrix, velocity + s * units, depth, on_boundary=way) for s in (1, -1))
    return np.linalg.svd((ahead - behind).reshape(4, 4) / 2e-4, compute_uv=False)[-1]


@pytest.mark.parametrize(("rows", "depth"), [(2, 2), (4, 3), (3, 5)])
def test_rank_one(rows, depth):
    """On a cone over spheres of radius ``N^{-1/2}``, as often as the sphere has directions."""
    end = min(1.2 * np.pi / np.sqrt(depth), 3.0)
    matrix, velocity = along_sphere(rows, depth, end)
    chord, across = np.exp(1j * end) - 1, np.exp(-1j * np.pi / np.sqrt(depth))
    expected = -across.imag / (chord * across).imag
    found = conjugate_times(matrix, velocity, depth, 1)
    assert found.shape == (rows - 2,)
    assert_close(found, expected + 0 * found, 1e-8)
    assert conjugate_times(matrix, 0.9 * expected * velocity, depth, 1).size == 0


@pytest.mark.parametrize("depth", [2, 3, INF])
def test_full_rank(depth):
    """Where values change places in the plane, frames turn by ``j'' = -K j``."""
    matrix, velocity = through_the_diagonal(depth)
    square = np.sum(velocity * lower_index(matrix, velocity, depth))

    def rates(t: float, state: np.ndarray) -> list[float]:
        point, along = through_the_diagonal(depth, t)
        return [
            state[1],
            -float(sectional_curvature(point, along, SWAP, depth)) * square * state[0],
        ]

    def is_back(t: float, state: np.ndarray) -> float:
        return state[0] if t > 0.1 else 1.0

    flow = solve_ivp(rates, (0, 1), [0.0, 1.0], rtol=1e-8, atol=1e-10, events=is_back)
    assert_close(conjugate_times(matrix, velocity, depth), flow.t_events[0], 1e-6, 1.0)
    assert len(flow.t_events[0]) == (depth > 2)


def test_differential_is_singular():
    """That of the exponential, by differences, and at no time before."""
    matrix, velocity = through_the_diagonal(3)
    (time,) = conjugate_times(matrix, velocity, 3)

    assert least_stretch(matrix, time * velocity, 3) < 1e-6
    for t in (0.9 * time, 1.1 * time):
        assert least_stretch(matrix, t * velocity, 3) > 1e-2


def test_geodesics_that_are_not_shortest_are_told():
    """On the diagonal there is a conjugate point, on the shortest geodesic there is none."""
    x, y = np.diag([10.0, 0.1]), np.diag([0.1, 10.0])
    ends = x ** (1 / 4), y ** (1 / 4)
    diagonal = 4 * ends[0] ** 3 * (ends[1] - ends[0])
    assert_close(exp(x, diagonal, 4), y, 1e-9)
    shortest = connect(x, y, 4).velocity
    times = conjugate_times(x, np.stack([diagonal, shortest, 0 * x]), 4)
    np.testing.assert_array_equal(times < 1, [[True], [False], [False]])


def test_isometries():
    """Times are free of scale, turns and transposition, and batches are their elements."""
    matrix, velocity = through_the_diagonal(3)
    expected = conjugate_times(matrix, velocity, 3)
    turned = np.array([[0.6, -0.8], [0.8, 0.6]])
    matrices, velocities = (
        np.stack([1e-6 * array, 1e6 * array, turned @ array.T]) for array in (matrix, velocity)
    )
    assert_close(conjugate_times(matrices, velocities, 3), np.tile(expected, (3, 1)), 1e-8)


def test_boundary_is_told():
    """An error that names the time, or NaN."""
    matrix, velocity = np.eye(2), np.diag([-6.0, 1.0])
    with pytest.raises(ValueError, match="ends at time"):
        conjugate_times(matrix, velocity, 2)
    times = conjugate_times(matrix, np.stack([velocity, matrix]), 2, on_boundary="nan")
    np.testing.assert_array_equal(times, [[np.nan], [np.inf]])


@pytest.mark.parametrize("way", ["continue", "cross"])
def test_beyond_the_boundary(way):
    """The differential is singular there, too; the boundary is crossed at half of the time."""
    matrix, velocity = np.eye(2), -6 * np.diag([0.3, 1.0])
    (time,) = conjugate_times(matrix, velocity, 3, on_boundary=way)
    assert 0.5 < time < 1
    assert least_stretch(matrix, time * velocity, 3, way) < 1e-5
    assert least_stretch(matrix, 0.9 * time * velocity, 3, way) > 1e-2
