"""Geodesics of the diffusion metric, against SciPy's integration in charts and great circles."""

import numpy as np
import torch
from scipy.integrate import solve_ivp

from dlngeo.core.gradient_noise import geodesics
from dlngeo.core.gradient_noise.diffusion import DiffusionGeometry
from dlngeo.core.gradient_noise.samples import SampleLosses
from tests.core.gradient_noise.charts import CHART, UnitSphere
from tests.noisy_losses import waves

MOVE, FIELD = np.array([0.5, 0.3]), np.array([-0.4, 1.0])


def in_chart(chart, time):
    """Return the end of a geodesic in coordinates, and a parallel field there."""

    def rates(_, state):
        q, *vectors = state.reshape(3, 2)
        symbols = chart.christoffels(q)
        return np.concatenate(
            [vectors[0], *(-np.einsum("kij,i,j->k", symbols, vectors[0], v) for v in vectors)]
        )

    state = np.concatenate([chart.start, MOVE, FIELD])
    run = solve_ivp(rates, (0, time), state, "DOP853", rtol=1e-9, atol=1e-10)
    q, _, field = run.y[:, -1].reshape(3, 2)
    return chart.place(q), chart.frame(q) @ field


@CHART
def test_geodesics_and_transport_are_those_in_coordinates(chart):
    x, frame = chart.place(chart.start), chart.frame(chart.start)
    end, field = in_chart(chart, 1.0)
    velocity = frame @ MOVE
    np.testing.assert_allclose(geodesics.exp(chart.geometry, x, velocity), end, atol=1e-8)
    found = geodesics.parallel_transport(chart.geometry, x, velocity, frame @ FIELD)
    np.testing.assert_allclose(found, field, atol=1e-8)
    back, _ = in_chart(chart, -0.5)
    points = geodesics.positions(chart.geometry, x, velocity, np.array([1.0, -0.5, 0.0]))
    np.testing.assert_allclose(points, [end, back, x], atol=1e-8)


@CHART
def test_logarithm_inverts_the_exponential(chart):
    x, velocity = chart.place(chart.start), chart.frame(chart.start) @ MOVE
    end = geodesics.exp(chart.geometry, x, velocity)
    np.testing.assert_allclose(geodesics.log(chart.geometry, x, end), velocity, atol=1e-9)
    assert not geodesics.log(chart.geometry, x, x).any()


def test_without_noise_they_are_great_circles():
    """In batches, with many vectors along one geodesic."""
    geometry = DiffusionGeometry(SampleLosses((3,), waves(4, 3)), 0.0, UnitSphere())
    x, velocity, field = np.eye(3)[:2], np.array([[0, 0, 1.2], [0.7, 0, 0]]), np.ones((4, 2, 3))
    field = UnitSphere().project(x, field * np.arange(4)[:, None, None])
    speed = np.linalg.norm(velocity, axis=-1, keepdims=True)
    unit, end = velocity / speed, np.cos(speed) * x + np.sin(speed) * velocity / speed
    np.testing.assert_allclose(geodesics.exp(geometry, x, velocity), end, atol=1e-10)
    np.testing.assert_allclose(geodesics.log(geometry, x, end), velocity, atol=1e-9)
    along = np.sum(field * unit, axis=-1, keepdims=True)
    expected = field + along * (np.cos(speed) * unit - np.sin(speed) * x - unit)
    found = geodesics.parallel_transport(geometry, x, velocity, field)
    np.testing.assert_allclose(found, expected, atol=1e-9)


def test_results_are_in_kind():
    geometry = DiffusionGeometry(SampleLosses((3,), waves(4, 3, 0, torch, torch.tensor)), 0.5)
    x, velocity = torch.tensor([0.1, 0.4, -0.2]), torch.tensor([0.5, 0.2, 0.1])
    plain = DiffusionGeometry(SampleLosses((3,), waves(4, 3)), 0.5)
    expected = geodesics.exp(plain, x.numpy().astype(float), velocity.numpy().astype(float))
    double = geodesics.exp(geometry, x.double(), velocity.double())
    assert double.dtype == torch.float64
    np.testing.assert_allclose(double, expected, atol=1e-10)
