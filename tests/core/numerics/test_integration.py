"""The batched integrators, and the charts in which geodesics are integrated."""

import numpy as np
import pytest
from scipy.integrate import solve_ivp

from dlngeo.core.depth_metric.roots import force, kernels
from dlngeo.core.geodesics import depth_root_chart as depth_root
from dlngeo.core.geodesics.depth_root_chart import DepthRootChart
from dlngeo.core.geodesics.logarithmic_chart import LogarithmicChart
from dlngeo.core.networks.blocks import Blocks, split
from dlngeo.core.networks.frames import singular_frames
from dlngeo.core.numerics.integration import Status, Trajectory, integrate
from tests.core.brute import assert_close

FINITE = [
    DepthRootChart(rows, columns, rank, depth)
    for rows, columns, rank in ((1, 1, 1), (2, 2, 2), (3, 3, 3), (4, 3, 2), (2, 4, 2), (4, 4, 1))
    for depth in (1, 2, 3, 10)
]
NAMES = [f"{c.rows}x{c.columns} rank {c.rank} N={c.depth}" for c in FINITE]


def start(chart: DepthRootChart | LogarithmicChart, size: int, speed: float = 0.3) -> np.ndarray:
    """Return packed states of random geodesics."""
    rng = np.random.default_rng(2)
    rows, columns = (chart.size,) * 2 if isinstance(chart, LogarithmicChart) else chart[:2]
    rank = chart.size if isinstance(chart, LogarithmicChart) else chart.rank
    frames = singular_frames(rng.standard_normal((size, rows, columns)), rank)
    frames = frames._replace(sigma=np.linspace(1.0, 0.5, rank) + 0 * frames.sigma)
    tangent = split(rng.standard_normal((size, rows, columns)), frames.left, frames.right)
    tangent = tangent._replace(both_null=None)
    pace = chart.speed(frames, tangent)[:, None, None] / speed
    scaled = [None if block is None else block / pace for block in tangent]
    return chart.enter(frames, type(tangent)(*scaled))


# --- the integrator ---------------------------------------------------------------------


def pendulum(states: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    angle, speed = states.T
    return np.stack([speed, -np.sin(angle)], axis=1), np.ones(len(states))


@pytest.mark.parametrize("tolerance", [1e-6, 1e-9, 1e-12])
def test_every_element_keeps_its_tolerance(tolerance):
    """Fast and slow pendula in one batch, against SciPy at round-off."""
    states = np.array([[1.0, 0.0], [3.0, 0.0], [0.1, 2.5], [0.0, 0.0]])
    ends = np.array([5.0, 20.0, 0.0, 3.0])
    result = integrate(pendulum, states, ends, tolerance)
    for k, (state, end) in enumerate(zip(states, ends, strict=True)):
        exact = solve_ivp(
            lambda t, y: pendulum(y[None])[0][0], (0, end), state, "DOP853", rtol=1e-13, atol=1e-13
        ).y[:, -1]
        assert_close(result.state[k], exact, 2e3 * tolerance, 1.0)
    assert (result.status == Status.ARRIVED).all()
    np.testing.assert_array_equal(result.time, ends)
    assert result.n_steps[1] > result.n_steps[0] > result.n_steps[2] == 0
    assert np.all(result.error[[0, 1]] < 100 * tolerance)


def test_order_eight():
    """Twice the number of steps, by 2^8 the tolerance: 2^8 to 2^9 the error."""
    state, end = np.array([[1.0, 0.0]]), np.array([8.0])
    steps = [int(integrate(pendulum, state, end, 10.0**-k).n_steps[0]) for k in (6, 12)]
    assert 10 ** (6 / 9) < steps[1] / steps[0] < 10 ** (6 / 7)


def test_no_short_step_at_the_end():
    """The last two of the steps, of twelve stages each, are equal."""
    times = []

    def clock(states: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        times.append(states[0, 2])
        velocity, gap = pendulum(states[:, :2])
        return np.concatenate([velocity, np.ones((1, 1))], axis=1), gap

    for end in (3.0, 5.0, 8.0):
        times.clear()
        integrate(clock, np.array([[1.0, 0.0, 0.0]]), np.array([end]), 1e-9)
        steps = np.diff(times[12::12])
        assert steps[-1] == pytest.approx(steps[-2], rel=1e-12)


def test_boundary_is_located():
    """The gap ``1 - t²/9`` vanishes at three: the time of an accepted step just before."""

    def field(states: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return np.ones_like(states), 1 - states[:, 0] ** 2 / 9

    result = integrate(field, np.zeros((2, 1)), np.array([2.0, 8.0]), 1e-8)
    assert result.status.tolist() == [Status.ARRIVED, Status.BOUNDARY]
    assert result.time[1] == pytest.approx(3.0, abs=1e-12)
    assert result.state[1, 0] == pytest.approx(3.0, abs=1e-12)


def test_blow_up_stalls():
    """``ẏ = y²`` has no solution beyond ``t = 1``; the others of the batch arrive."""

    def field(states: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return states**2, np.ones(len(states))

    result = integrate(field, np.array([[1.0], [0.1]]), np.array([2.0, 2.0]), 1e-10)
    assert result.status.tolist() == [Status.STALLED, Status.ARRIVED]
    assert result.time[0] == pytest.approx(1.0, abs=1e-9)
    assert result.state[1, 0] == pytest.approx(0.125, rel=1e-9)


# --- compiled loops ---------------------------------------------------------------------


@pytest.mark.parametrize("chart", FINITE, ids=NAMES)
def test_compiled_loops_do_the_same(chart):
    """States, times, errors and numbers of steps, boundary included."""
    states = start(chart, 40)
    ends = np.linspace(0.0, 6.0, 40)
    tolerance = np.full(40, 1e-9)
    expected = integrate(chart.velocity, states, ends, tolerance)
    assert depth_root.integrate_depth_root is not None
    arguments = (states, ends, tolerance, 10_000, tuple(chart))
    found = Trajectory(*depth_root.integrate_depth_root(*arguments))
    np.testing.assert_array_equal(found.status, expected.status)
    assert {Status.ARRIVED, Status.BOUNDARY} >= set(found.status.tolist())
    assert_close(found.time, expected.time, 1e-7, 1.0)
    arrived = found.status == Status.ARRIVED
    assert_close(found.state[arrived], expected.state[arrived], 1e-7, 1.0)
    assert np.mean(found.n_steps[arrived] == expected.n_steps[arrived]) > 0.8


def test_without_compiled_loops(monkeypatch):
    """The extra is not needed."""
    chart = DepthRootChart(3, 3, 3, 3)
    states, ends = start(chart, 5), np.ones(5)
    compiled = chart.flow(states, ends, 1e-10)
    monkeypatch.setattr(depth_root, "integrate_depth_root", None)
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


# --- the charts -------------------------------------------------------------------------


@pytest.mark.parametrize("depth", [1, 2, 3, 4, 10])
@pytest.mark.parametrize("lam", [[1.3, 0.9, 0.4], [1.0, 1.0, 1.0], [1.0, 1.0 + 1e-7, 1e-3]])
def test_force_is_a_quotient_of_differences(lam, depth):
    """``B_klm`` in exact arithmetic, where coinciding values are moved apart by 1e-40."""
    from mpmath import mp, mpf

    with mp.workdps(120):
        values = [mpf(x) + mpf(10) ** -40 * k for k, x in enumerate(lam)]

        def g(x, y):
            return (x**depth + y**depth) / (x + y)

        def h(x, y):
            return sum(x**i * y ** (depth - 1 - i) for i in range(depth))

        def b(k, l, m):
            x, y, z = values[k], values[l], values[m]
            if k == l:
                y = y + mpf(10) ** -40
            return (g(x, z) * h(y, z) - g(y, z) * h(x, z)) / (x - y)

        index = range(3)
        exact = np.array([[[float(b(k, l, m)) for m in index] for l in index] for k in index])
    scale = max(np.abs(exact).max(), depth)
    for m in index:
        ones = np.zeros((3, 3))
        ones[:, m] = 1.0
        assert_close(force(np.array(lam), ones, 0 * ones, depth), exact[:, :, m], 1e-14, scale)
        assert_close(force(np.array(lam), 0 * ones, ones, depth), -exact[:, :, m], 1e-14, scale)


@pytest.mark.parametrize("depth", [1, 2, 3, 10])
def test_kernels_bound_the_metric(depth):
    """``1/N ≤ g/h ≤ 1``: the metric of the chart is near the flat one at any values."""
    lam = np.array([1.0, 0.3, 1e-3, 1e-9])
    _, g, h = kernels(lam, depth)
    assert np.all(g / h <= 1 + 1e-15)
    assert np.all(g / h >= 1 / depth - 1e-15)


@pytest.mark.parametrize("chart", [*FINITE, LogarithmicChart(3)], ids=[*NAMES, "N=inf"])
def test_entering_and_leaving(chart):
    """What `opened` returns enters again as the same matrix and velocity."""
    states = chart.flow(start(chart, 6), np.full(6, 0.7), 1e-10).state
    frames, tangent = chart.opened(states)
    again = chart.enter(frames, tangent)
    for one, other in zip(chart.leave(states), chart.leave(again), strict=True):
        assert_close(other, one, 1e-12)
    assert_close(chart.speed(frames, tangent), np.full(6, 0.3), 1e-8)


@pytest.mark.parametrize("chart", [*FINITE, LogarithmicChart(3)], ids=[*NAMES, "N=inf"])
def test_short_displacements_pull_back(chart):
    """The straight line of the chart to a near point is a geodesic to first order."""
    states, step = start(chart, 4), 1e-5
    near = chart.flow(states, np.full(4, step), 1e-12).state
    source, tangent = chart.opened(states)
    target, _ = chart.opened(near)
    pulled = chart.pull_back(chart.displacement(states, target), source, target)
    for one, other in zip(pulled, tangent, strict=True):
        if one is not None and other is not None:
            assert_close(-one / step, other, 1e-3, 1.0)
