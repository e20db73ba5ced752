"""Laws of the charts in which geodesics are integrated."""

import numpy as np
import pytest

from dlngeo.core.geodesics.charts.chart import ObservableChart
from dlngeo.core.geodesics.charts.depth_root_chart import DepthRootChart
from dlngeo.core.geodesics.charts.logarithmic_chart import LogarithmicChart
from dlngeo.core.geodesics.charts.straight_chart import StraightChart
from dlngeo.core.networks.blocks import split
from dlngeo.core.networks.frames import singular_frames
from tests.core.brute import assert_close

FINITE = [
    DepthRootChart(rows, columns, rank, depth)
    for rows, columns, rank in ((1, 1, 1), (2, 2, 2), (3, 3, 3), (4, 3, 2), (2, 4, 2), (4, 4, 1))
    for depth in (1, 2, 3, 10)
]
NAMES = [f"{c.rows}x{c.columns} rank {c.rank} N={c.depth}" for c in FINITE]


INFINITE = LogarithmicChart(3)
CHART = pytest.mark.parametrize(
    "chart",
    [*FINITE, INFINITE, StraightChart(3, 3), StraightChart(2, 4)],
    ids=[*NAMES, "N=inf", "straight 3x3", "straight 2x4"],
)


def start(chart: ObservableChart, size: int, speed: float = 0.3) -> np.ndarray:
    """Return states of random geodesics."""
    rng = np.random.default_rng(2)
    if isinstance(chart, LogarithmicChart):
        rows = columns = rank = chart.size
    else:
        assert isinstance(chart, DepthRootChart | StraightChart)
        rows, columns = chart.rows, chart.columns
        rank = chart.rank if isinstance(chart, DepthRootChart) else min(rows, columns)
    frames = singular_frames(rng.standard_normal((size, rows, columns)), rank)
    frames = frames._replace(sigma=np.linspace(1.0, 0.5, rank) + 0 * frames.sigma)
    tangent = split(rng.standard_normal((size, rows, columns)), frames.left, frames.right)
    tangent = tangent._replace(both_null=None)
    pace = chart.speed(frames, tangent)[:, None, None] / speed
    return chart.enter(frames, tangent / pace)


@CHART
def test_entering_and_leaving(chart):
    """What `decompose` returns enters again as the same matrix and velocity."""
    states = chart.flow(start(chart, 6), np.full(6, 0.7), 1e-10).state
    frames, tangent = chart.decompose(states)
    again = chart.enter(frames, tangent)
    for before, after in zip(chart.leave(states), chart.leave(again), strict=True):
        assert_close(after, before, 1e-12)
    assert_close(chart.speed(frames, tangent), np.full(6, 0.3), 1e-8)


@CHART
def test_short_displacements_pull_back(chart):
    """The straight line of the chart to a near point is a geodesic to first order."""
    states, step = start(chart, 4), 1e-5
    near = chart.flow(states, np.full(4, step), 1e-12).state
    source, tangent = chart.decompose(states)
    target, _ = chart.decompose(near)
    pulled = chart.pull_back(chart.displacement(states, target), source, target)
    for one, other in zip(pulled, tangent, strict=True):
        if one is not None and other is not None:
            assert_close(-one / step, other, 1e-3, 1.0)


@CHART
def test_reversing(chart):
    """Points stay, velocities change their sign, and the geodesic returns."""
    states = start(chart, 4)
    point, velocity = chart.leave(states)
    again, opposite = chart.leave(chart.reverse(states))
    assert_close(again, point, 1e-13)
    assert_close(opposite, np.negative(velocity), 1e-13)
    there = chart.flow(states, np.full(4, 0.7), 1e-12).state
    back = chart.flow(chart.reverse(there), np.full(4, 0.7), 1e-12).state
    assert_close(chart.leave(back)[0], point, 1e-9)
