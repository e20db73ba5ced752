"""Depth-root coordinates: closed forms at depth two, and what the extra ``fast`` leaves alone."""

import numpy as np

from dlngeo.core.geodesics import depth_root_chart
from dlngeo.core.geodesics.depth_root_chart import DepthRootChart
from dlngeo.core.networks.blocks import Blocks
from dlngeo.core.networks.frames import singular_frames
from dlngeo.core.numerics.integration import Status, integrate
from tests.core.brute import assert_close
from tests.core.geodesics.test_charts import start


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
