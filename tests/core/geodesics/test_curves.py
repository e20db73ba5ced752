"""What geodesics of every geometry share: times, units, signs, batches, what has ended."""

from dataclasses import dataclass

import numpy as np
import pytest

from dlngeo.core.base import packing
from dlngeo.core.geodesics.charts.chart import Chart
from dlngeo.core.geodesics.curves import FieldAxes, Geodesic
from dlngeo.core.numerics.integration import Status
from tests.core.brute import assert_close


@dataclass(frozen=True)
class HalfPlane(Chart):
    """Straight lines in the half plane of a positive first coordinate."""

    def velocity(self, state):
        _, velocity = packing.unpack(state, [(1, 2)] * 2)
        return packing.pack([velocity, 0 * velocity]), state[:, 0]

    def reverse(self, state):
        point, velocity = packing.unpack(state, [(1, 2)] * 2)
        return packing.pack([point, -velocity])

    def leave(self, state):
        point, velocity = packing.unpack(state, [(1, 2)] * 2)
        return [point], [velocity]


UNIT = np.array([[2.0, 3.0, 5.0], [1.0, 10.0, 0.1]])
PACE = np.array([[1.0, 2.0, 0.0], [0.5, 4.0, 1.0]])


def lines(on_boundary: str = "raise") -> Geodesic:
    """Return lines ``u (1 - p t, p t)`` of units ``u`` and paces ``p``."""
    start = np.broadcast_to([1.0, 0.0, -1.0, 1.0], (2, 3, 4))
    return Geodesic(HalfPlane(), start, UNIT, PACE, lambda matrices: matrices[0], on_boundary)


def test_times_units_and_paces():
    """Points and velocities at times of both signs, behind the axes of the batch."""
    times = np.array([0.2, -3.0, 0.0])
    curve = lines()
    way = PACE[..., None] * times
    expected = UNIT[..., None, None] * np.stack([1 - way, way], axis=-1)
    found = curve.at(times)
    assert_close(found.point[..., 0, :], expected, 1e-12)
    slope = (UNIT * PACE)[..., None, None, None] * np.array([-1.0, 1.0])
    # At rest a velocity is zero, whatever the state says.
    assert_close(found.velocity, np.broadcast_to(slope, (2, 3, 3, 1, 2)), 1e-12)
    assert found.status.shape == found.end.shape == found.error.shape == (2, 3, 3)
    assert_close(found.end, np.broadcast_to(times, (2, 3, 3)), 0)
    assert_close(curve(0.2), found.point[:, :, 0], 1e-12)
    assert_close(curve.velocity(-3.0), found.velocity[:, :, 1], 1e-12)
    assert curve.at(0.2).status.shape == (2, 3)
    assert_close(curve.point(np.array([])), np.zeros((2, 3, 0, 1, 2)), 0)


def test_what_has_ended():
    """A line ends at the time one over its pace: an error that tells, or NaN."""
    found = lines().at(np.array([0.1, 1.5]))
    is_lost = np.stack([np.zeros((2, 3), bool), PACE * 1.5 >= 1], axis=-1)
    np.testing.assert_array_equal(found.status, np.where(is_lost, Status.BOUNDARY, Status.ARRIVED))
    np.testing.assert_array_equal(np.isnan(found.point).all(axis=(-2, -1)), is_lost)
    np.testing.assert_array_equal(np.isnan(found.velocity).any(axis=(-2, -1)), is_lost)
    assert_close(found.end[is_lost], 1 / PACE[is_lost[..., 1]], 1e-9)
    with pytest.raises(ValueError, match=r"ends at time 1 \(4 of 6, .* \[0, 0\]\): it reached"):
        lines().point(1.5)
    with pytest.raises(ValueError, match=r"ends at time 1 \(4 of 6, the first at index \[0, 0\]"):
        lines().arrive()
    _, factor = lines("nan").arrive()
    np.testing.assert_array_equal(factor[..., 0, 0, 0], np.where(PACE >= 1, np.nan, 1.0))


@pytest.mark.parametrize("times", [np.eye(2), np.nan, np.array([0.0, np.inf])])
def test_times_are_numbers(times):
    with pytest.raises(ValueError, match=r"times must be|array of times holds"):
        lines().point(times)


def test_other_words_are_refused():
    with pytest.raises(ValueError, match='"raise" or "nan"'):
        lines("cross")


def test_axes_of_fields():
    """Axes in front of those of the points count fields; what is gathered is scattered again."""
    points = [np.zeros((3, 1, 2, 2)), np.zeros((4, 2, 2))]
    field = np.random.default_rng(0).standard_normal((5, 6, 3, 1, 2, 3))
    axes = FieldAxes.of(points, [field])
    assert (axes.fields, axes.batch) == ((5, 6), (3, 4))
    gathered = axes.gather(field)
    assert gathered.shape == (3, 4, 30, 2, 3)
    assert_close(gathered[2, 3, 17], field[2, 5, 2, 0], 0)
    assert_close(axes.scatter(gathered), np.broadcast_to(field, (5, 6, 3, 4, 2, 3)), 0)
    assert axes.spread(points[1]).shape == (3, 4, 2, 2)
