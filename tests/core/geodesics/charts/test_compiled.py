"""Compiled loops against the integrator and the chart in NumPy."""

import numpy as np
import pytest

from dlngeo.core.base import optional
from dlngeo.core.geodesics.charts.depth_root_chart import DepthRootChart
from dlngeo.core.numerics.integration import Status, Trajectory, integrate
from tests.core.brute import assert_close
from tests.core.geodesics.charts.test_chart import FINITE, INFINITE, NAMES, start

DEEP = {f"N={depth}": DepthRootChart(3, 3, 3, depth) for depth in (45, 1000)}
CHARTS = {**dict(zip(NAMES, FINITE, strict=True)), **DEEP, "N=inf": INFINITE}


@pytest.mark.parametrize("chart", CHARTS.values(), ids=CHARTS)
def test_compiled_loops_do_the_same(chart):
    """States, times, errors and numbers of steps, boundary included."""
    states = start(chart, 40)
    ends = np.linspace(0.0, 6.0, 40)
    tolerance = np.full(40, 1e-9)
    expected = integrate(chart.velocity, states, ends, tolerance)
    module = "dlngeo.core.geodesics.charts.compiled"
    compiled = optional.compiled_loop(module, "integrate_geodesics")
    assert compiled is not None
    shape = (3, 3, 3, 0)
    if chart is not INFINITE:
        shape = (chart.rows, chart.columns, chart.rank, chart.depth)
    found = Trajectory(*compiled(states, ends, tolerance, 10_000, shape))
    np.testing.assert_array_equal(found.status, expected.status)
    assert {Status.ARRIVED, Status.BOUNDARY} >= set(found.status.tolist())
    assert_close(found.time, expected.time, 1e-7, 1.0)
    arrived = found.status == Status.ARRIVED
    assert_close(found.state[arrived], expected.state[arrived], 1e-7, 1.0)
    assert np.mean(found.n_steps[arrived] == expected.n_steps[arrived]) > 0.8
