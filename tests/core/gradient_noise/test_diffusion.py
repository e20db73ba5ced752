"""The diffusion metric and its restriction, against tensors by differentiation in charts."""

import autograd
import numpy as np
import pytest

from dlngeo.core.gradient_noise import graph_metric
from dlngeo.core.gradient_noise.diffusion import DiffusionGeometry
from dlngeo.core.gradient_noise.samples import SampleLosses
from tests.core.gradient_noise.charts import CHART, chart_of
from tests.noisy_losses import waves, waves_by_hand

RNG = np.random.default_rng(0)
A, B, C = RNG.normal(size=(3, 2))


def at_start(chart):
    """Return geometry, point, differential and the map of coordinate vectors to vectors."""
    frame = chart.frame(chart.start)
    x = chart.place(chart.start)
    return chart.geometry, x, chart.geometry.differential(x), lambda a: frame @ a


@CHART
def test_metric_and_gradient(chart):
    _, x, differential, lift = at_start(chart)
    metric = chart.metric(chart.start)
    found = graph_metric.inner_product(differential, lift(A), lift(B))
    assert found == pytest.approx(A @ metric @ B, rel=1e-12)
    slope = autograd.grad(chart.loss)(chart.start)
    found = chart.geometry.gradient(x)
    np.testing.assert_allclose(found, lift(np.linalg.solve(metric, slope)), atol=1e-13)


@CHART
def test_connection(chart):
    """``∇_u v = dv(u) + Γ(u, v)`` of fields that are constant in the chart."""
    geometry, x, _, lift = at_start(chart)
    bend = autograd.jacobian(lambda q: chart.frame(q) @ B)(chart.start) @ A
    expected = lift(np.einsum("kij,i,j->k", chart.christoffels(chart.start), A, B))
    found = bend + geometry.christoffel(x, lift(A), lift(B))
    np.testing.assert_allclose(found, expected, atol=1e-12)


@CHART
def test_hessian_of_the_loss(chart):
    """``Hess f(a, b) = ∂²f(a, b) - Γ^k(a, b) ∂_k f``."""
    geometry, x, differential, lift = at_start(chart)
    hessian = autograd.hessian(chart.loss)(chart.start)
    slope = autograd.grad(chart.loss)(chart.start)
    hessian = hessian - np.einsum("kij,k->ij", chart.christoffels(chart.start), slope)
    found = graph_metric.inner_product(differential, geometry.hessian(x, lift(A)), lift(B))
    assert found == pytest.approx(A @ hessian @ B, rel=1e-11)


@CHART
def test_curvature(chart):
    geometry, x, _, lift = at_start(chart)
    metric = chart.metric(chart.start)
    rotated = np.einsum("lkij,i,j,k->l", chart.riemann(chart.start), A, B, C)
    found = geometry.curvature(x, *map(lift, (A, B, C)))
    np.testing.assert_allclose(found, lift(rotated), atol=1e-10)
    area = (A @ metric @ A) * (B @ metric @ B) - (A @ metric @ B) ** 2
    rotated = np.einsum("lkij,i,j,k->l", chart.riemann(chart.start), A, B, B)
    expected = rotated @ metric @ A / area
    assert geometry.sectional_curvature(x, lift(A), lift(B)) == pytest.approx(expected, rel=1e-10)
    assert geometry.sectional_curvature(x, lift(A), -2 * lift(A)) == 0


def test_hessians_are_second_derivatives_of_the_heights():
    chart = chart_of("plane")
    losses, scale = chart.geometry.samples.losses, chart.geometry.scale
    x = chart.place(chart.start)
    second = autograd.jacobian(autograd.jacobian(losses))(x)
    expected = (scale / len(second)) ** 0.5 * (second - second.mean(axis=0))
    np.testing.assert_allclose(chart.geometry.hessians(x), expected, atol=1e-13)


@pytest.mark.parametrize("by_hand", [False, True])
@pytest.mark.parametrize("shape", [(5, 90), (90, 5), (70, 80)])
def test_large_and_small_ways_agree(shape, by_hand, monkeypatch):
    """The same geometry with matrices, with their products, and by differentiation alone."""
    n, size = shape
    given = waves_by_hand(n, size) if by_hand else ()
    geometry = DiffusionGeometry(SampleLosses((size,), waves(n, size), *given), 2.0)
    rng = np.random.default_rng(0)
    x, a, b, c = rng.normal(size=(4, 2, size))
    results = []
    for direct in (0, 1000):
        monkeypatch.setattr(graph_metric, "DIRECT", direct)
        assert isinstance(geometry.differential(x), graph_metric.Products) == (direct == 0)
        results.append(
            [
                geometry.christoffel(x, a, b),
                geometry.curvature(x, a, b, c),
                geometry.sectional_curvature(x, a, b),
                geometry.gradient(x),
            ]
        )
    for by_products, direct in zip(*results, strict=True):
        np.testing.assert_allclose(by_products, direct, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("scale", [0.0, 0.5])
def test_diffusion_is_the_covariance_of_the_gradients(scale):
    samples = SampleLosses((3,), waves(8, 3))
    x, v = np.random.default_rng(0).normal(size=(2, 4, 3))
    found = DiffusionGeometry(samples, scale).diffusion(x, v)
    for point, vector, image in zip(x, v, found, strict=True):
        covariance = np.cov(samples.matrix(point).T, bias=True)
        np.testing.assert_allclose(image, covariance @ vector, atol=1e-14)
