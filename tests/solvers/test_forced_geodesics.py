"""Motion in the diffusion metric: Newton's equation, energy, friction and its limit."""

from typing import Any

import numpy as np
import pytest
import torch
from geomstats.geometry.euclidean import Euclidean
from scipy.integrate import solve_ivp

from dlngeo.core.networks.network import moment_map
from dlngeo.manifolds import BalancedManifold, DiffusionMetric
from dlngeo.solvers import forced_geodesic
from tests.noisy_losses import waves, waves_by_hand

SIZE = 3
RNG = np.random.default_rng(2)
X, V = RNG.normal(size=(2, SIZE))
LOSSES = waves(5, SIZE)
GRADIENTS, HVP = waves_by_hand(5, SIZE)


def metric_of(scale, **options):
    options = options or {
        "sample_losses": LOSSES,
        "sample_gradients": GRADIENTS,
        "sample_hvp": HVP,
    }
    return Euclidean(SIZE).equip_with_metric(DiffusionMetric, scale=scale, **options).metric


def slope(x):
    return GRADIENTS(x).mean(axis=0)


def test_no_noise_is_newtons_equation():
    result = forced_geodesic(metric_of(0.0), X, V, t_final=3.0, friction=0.4, n_saved=4, rtol=1e-11)

    def newton(_, state):
        return np.concatenate([state[SIZE:], -slope(state[:SIZE]) - 0.4 * state[SIZE:]])

    flow = solve_ivp(
        newton, (0, 3), np.concatenate([X, V]), "DOP853", result.times, rtol=1e-12, atol=1e-13
    )
    assert result.success
    np.testing.assert_allclose(result.points, flow.y[:SIZE].T, atol=1e-9)
    np.testing.assert_allclose(result.velocities, flow.y[SIZE:].T, atol=1e-9)
    geometry = metric_of(0.0).geometry
    np.testing.assert_array_equal(geometry.christoffel(X, V, V), 0)
    np.testing.assert_allclose(geometry.gradient(X), slope(X), rtol=1e-14)


@pytest.mark.parametrize("scale", [0.1, 3.0, 100.0])
def test_energy_is_conserved_without_friction(scale):
    result = forced_geodesic(metric_of(scale), X, V, t_final=5.0, rtol=1e-10)
    assert np.ptp(result.energy) < 1e-8 * abs(result.energy[0])
    assert np.ptp(result.loss) > 1e-2
    coarse = forced_geodesic(metric_of(scale), X, V, t_final=5.0, rtol=1e-5, atol=1e-6)
    assert 1e-10 < np.ptp(coarse.energy) < 1e-3 * coarse.energy[0]
    assert coarse.n_evaluations < result.n_evaluations


def test_friction_takes_energy_at_its_rate():
    """``dE/dt = -γ |ẋ|²_g``, by the trapezoidal rule with Euler and Maclaurin's correction."""
    result = forced_geodesic(
        metric_of(2.0), X, V, t_final=2.0, friction=0.7, n_saved=801, rtol=1e-11
    )
    assert np.all(np.diff(result.energy) < 0)
    work = 0.7 * np.trapezoid(2 * result.kinetic_energy, result.times)
    assert result.energy[0] - result.energy[-1] == pytest.approx(work, rel=1e-5)


def test_without_force_it_is_a_geodesic():
    metric = metric_of(2.0)
    result = forced_geodesic(metric, X, V, t_final=1.0, force=False, n_saved=3, rtol=1e-11)
    np.testing.assert_allclose(result.points[-1], metric.exp(V, X), atol=1e-9)
    assert np.ptp(result.kinetic_energy) < 1e-9


def test_force_and_curvature_balance_the_acceleration():
    """The residual of the equation by differences of the path, with the metric's tensors."""
    metric = metric_of(2.0)
    result = forced_geodesic(
        metric, X, V, t_final=0.004, friction=0.5, n_saved=5, rtol=1e-13, atol=1e-14
    )
    step, v = 0.001, result.velocities
    acceleration = (8 * (v[3] - v[1]) - (v[4] - v[0])) / (12 * step)
    x, v = result.points[2], v[2]
    symbol = np.einsum("kij,i,j->k", metric.christoffels(x), v, v)
    force = np.linalg.solve(metric.metric_matrix(x), slope(x))
    np.testing.assert_allclose(acceleration + symbol + 0.5 * v, -force, atol=1e-8)


def test_the_overdamped_limit():
    """From rest, in the time ``t / γ``, paths come near to the gradient flow as ``1/γ²``."""
    metric = metric_of(2.0)
    limit = forced_geodesic(metric, X, t_final=1.0, friction=np.inf, n_saved=3, rtol=1e-11)

    def flow(_, x):
        return -np.linalg.solve(metric.metric_matrix(x), slope(x))

    exact = solve_ivp(flow, (0, 1), X, "DOP853", rtol=1e-11, atol=1e-12).y[:, -1]
    np.testing.assert_allclose(limit.points[-1], exact, atol=1e-9)
    assert not limit.kinetic_energy.any()
    np.testing.assert_allclose(limit.velocities[0], flow(0, X), atol=1e-12)
    frictions = np.array([15.0, 30.0, 60.0])
    gaps = [
        np.linalg.norm(
            forced_geodesic(metric, X, t_final=g, friction=g, n_saved=2, rtol=1e-9).points[-1]
            - exact
        )
        for g in frictions
    ]
    rates = -np.diff(np.log(gaps)) / np.diff(np.log(frictions))
    np.testing.assert_allclose(rates, 2, atol=0.1)


def test_balanced_factors_stay_balanced():
    inputs, outputs = RNG.normal(size=(2, 4, 2))

    def losses(w):
        return ((inputs @ w[0].T @ w[1].T - outputs) ** 2).sum(axis=1) / 2

    space = BalancedManifold(depth=2, width=2)
    space.equip_with_metric(DiffusionMetric, sample_losses=losses, scale=0.5)
    start = space.projection(RNG.normal(size=(2, 2, 2)))
    move = space.to_tangent(RNG.normal(size=(2, 2, 2)), start)
    result = forced_geodesic(space.metric, start, move, t_final=0.5, n_saved=5)
    assert abs(moment_map(result.points)).max() < 1e-12
    assert np.ptp(result.energy) < 1e-7
    # At infinite friction and no noise it is the learning flow, which keeps the balance itself.
    space.equip_with_metric(DiffusionMetric, sample_losses=losses, scale=0.0)
    flow = forced_geodesic(space.metric, start, t_final=0.5, friction=np.inf, n_saved=2)
    plain = forced_geodesic(
        Euclidean(8)
        .equip_with_metric(
            DiffusionMetric, sample_losses=lambda x: losses(x.reshape(2, 2, 2)), scale=0.0
        )
        .metric,
        start.ravel(),
        t_final=0.5,
        friction=np.inf,
        n_saved=2,
    )
    np.testing.assert_allclose(flow.points[-1].ravel(), plain.points[-1], atol=1e-8)


def test_pytorch_points_and_derivatives_by_hand():
    losses = waves(5, SIZE, 0, torch, torch.tensor)
    options: dict[str, Any] = {"t_final": 1.0, "n_saved": 2}
    expected = forced_geodesic(metric_of(2.0, sample_losses=LOSSES), X, V, **options)
    tensor = forced_geodesic(
        metric_of(2.0, sample_losses=losses), torch.tensor(X), torch.tensor(V), **options
    )
    assert type(tensor.points) is np.ndarray
    by_hand = forced_geodesic(
        metric_of(2.0, sample_gradients=GRADIENTS, sample_hvp=HVP), X, V, **options
    )
    assert by_hand.loss is None
    assert by_hand.energy is None
    for other in (tensor, by_hand):
        np.testing.assert_allclose(other.points, expected.points, atol=1e-8)


def test_paths_that_end_early():
    calls = iter(range(500))

    def interrupted(x, v):
        if next(calls, 0) == 300:
            raise KeyboardInterrupt
        return HVP(x, v)

    metric = metric_of(2.0, sample_gradients=GRADIENTS, sample_hvp=interrupted)
    result = forced_geodesic(metric, X, V, t_final=1e3)
    assert result.interrupted
    assert not result.success
    assert "start again" in result.status


def test_errors():
    metric = metric_of(1.0)
    for options, match in (
        ({"friction": -1.0}, "friction"),
        ({"friction": float("nan")}, "friction"),
        ({"t_final": 0.0}, "t_final"),
        ({"method": "Euler"}, "method"),
        ({"velocity": np.ones(2)}, r"shape \(3,\)"),
        ({"velocity": V, "friction": np.inf}, "leave out velocity"),
        ({"force": False, "friction": np.inf}, "leave out velocity"),
        ({"velocity": V * np.nan}, "NaN"),
    ):
        with pytest.raises(ValueError, match=match):
            forced_geodesic(metric, X, **{"t_final": 1.0, **options})
    broken = metric_of(1.0, sample_losses=lambda x: x * np.nan)
    with pytest.raises(ValueError, match="NaN or infinite"):
        forced_geodesic(broken, X, t_final=1.0)
