"""Jacobi fields of forced geodesics against nearby solutions, and their laws."""

from typing import Any

import numpy as np
import pytest
import torch
from geomstats.geometry.euclidean import Euclidean
from scipy.linalg import expm

from dlngeo.core.gradient_noise.diffusion import DiffusionGeometry
from dlngeo.manifolds import BalancedManifold, DiffusionMetric
from dlngeo.solvers import NetworkSamples, forced_geodesic, geodesic_deviation
from tests.noisy_losses import quadratics, waves, waves_by_hand

SIZE = 3
RNG = np.random.default_rng(5)
X, V = RNG.normal(size=(2, SIZE))
Y, K = RNG.normal(size=(2, 2, SIZE))
GRADIENTS, HVP = waves_by_hand(5, SIZE)
OPTIONS: dict[str, Any] = {"n_saved": 3, "rtol": 1e-11}


def metric_of(scale, gradients=GRADIENTS, hvp=HVP):
    space = Euclidean(SIZE)
    space.equip_with_metric(
        DiffusionMetric, scale=scale, sample_gradients=gradients, sample_hvp=hvp
    )
    return space.metric


def balanced_metric(widths, rank=None, of_network=True):
    rng = np.random.default_rng(1)
    space = BalancedManifold(widths=widths, rank=rank)
    if of_network:
        inputs, outputs = rng.normal(size=(6, widths[0])), rng.normal(size=(6, widths[-1]))
        data = NetworkSamples(inputs, outputs, widths)
        gradients, hvp = data.gradients, data.hvp
    else:  # gradients that are not tangent
        gradients, hvp = quadratics(4, space.shape)
    space.equip_with_metric(DiffusionMetric, scale=0.7, sample_gradients=gradients, sample_hvp=hvp)
    point = space.projection(rng.normal(size=space.shape))
    v, *fields = space.to_tangent(rng.normal(size=(5, *point.shape)), point)
    return space, point, v, np.stack(fields[:2]), np.stack(fields[2:])


@pytest.mark.parametrize(
    ("friction", "force", "scale"),
    [(0.0, True, 2.0), (0.7, True, 20.0), (0.0, False, 2.0), (0.5, True, 0.0)],
)
def test_equal_to_differences_of_nearby_solutions(friction, force, scale):
    metric = metric_of(scale)
    motion: dict[str, Any] = {"t_final": 1.0, "friction": friction, "force": force}
    result = geodesic_deviation(metric, X, V, deviation=Y, rate=K, **motion, **OPTIONS)
    assert result.success
    alone = forced_geodesic(metric, X, V, **motion, **OPTIONS)
    np.testing.assert_allclose(result.points, alone.points, atol=1e-9)
    np.testing.assert_allclose(result.velocities, alone.velocities, atol=1e-9)
    h = 1e-4
    for i in range(2):
        turned = K[i] - metric.christoffel_action(V, Y[i], X)
        one, other = (
            forced_geodesic(metric, X + s * Y[i], V + s * turned, **motion, **OPTIONS)
            for s in (h, -h)
        )
        moved = (one.points - other.points) / (2 * h)
        np.testing.assert_allclose(result.deviations[:, i], moved, atol=1e-6)
        speed = (one.velocities[-1] - other.velocities[-1]) / (2 * h)
        x, v = result.points[-1], result.velocities[-1]
        covariant = speed + metric.christoffel_action(v, moved[-1], x)
        np.testing.assert_allclose(result.rates[-1, i], covariant, atol=1e-6)
        lengths = metric.squared_norm(result.deviations[:, i], result.points) ** 0.5
        np.testing.assert_allclose(result.lengths[:, i], lengths, rtol=1e-12)


@pytest.mark.parametrize(
    ("widths", "rank", "of_network"),
    [((3, 2, 3), None, True), ((2, 2, 2), 1, False), ((2, 3, 1), None, False)],
)
def test_on_balanced_factors(widths, rank, of_network):
    space, point, v, fields, rates = balanced_metric(widths, rank, of_network)
    motion: dict[str, Any] = {"t_final": 0.2, "friction": 0.5}
    result = geodesic_deviation(
        space.metric, point, v, deviation=fields, rate=rates, **motion, **OPTIONS
    )
    h = 1e-4
    for y, k, got in zip(fields, rates, result.deviations[-1], strict=True):
        turned, ends = k - space.metric.christoffel_action(v, y, point), []
        for s in (h, -h):
            start = space.projection(point + s * y)
            move = space.to_tangent(v + s * turned, start)
            ends.append(forced_geodesic(space.metric, start, move, **motion, **OPTIONS).points[-1])
        np.testing.assert_allclose(got, (ends[0] - ends[1]) / (2 * h), atol=2e-6)


@pytest.mark.parametrize("friction", [0.0, 0.8])
def test_the_symplectic_form_decays_with_friction_alone(friction):
    """``⟨Y, ∇Z⟩ - ⟨Z, ∇Y⟩`` goes as ``e^{-γt}``: ``R`` and the Hessian are symmetric."""
    metric = metric_of(5.0)
    result = geodesic_deviation(
        metric, X, V, deviation=Y, rate=K, t_final=2.0, friction=friction, **OPTIONS
    )
    (y, z), (dy, dz) = (np.moveaxis(a, 1, 0) for a in (result.deviations, result.rates))
    x = result.points
    form = metric.inner_product(y, dz, x) - metric.inner_product(z, dy, x)
    np.testing.assert_allclose(form, form[0] * np.exp(-friction * result.times), rtol=1e-8)


def test_along_a_geodesic_the_tangent_part_is_linear():
    metric = metric_of(5.0)
    result = geodesic_deviation(
        metric, X, V, deviation=Y[0], rate=K[0], t_final=2.0, force=False, **OPTIONS
    )
    assert result.deviations.shape == (3, SIZE)
    assert result.lengths.shape == (3,)
    along = metric.inner_product(result.deviations, result.velocities, result.points)
    slope = metric.inner_product(K[0], V, X)
    np.testing.assert_allclose(along, along[0] + slope * result.times, rtol=1e-8)


def test_without_noise_it_is_the_linear_equation_of_the_hessian():
    gradients, hvp = quadratics(4, (SIZE,))
    hessian = np.stack([hvp(X, e).mean(axis=0) for e in np.eye(SIZE)])
    result = geodesic_deviation(
        metric_of(0.0, gradients, hvp), X, V, deviation=Y, rate=K, t_final=2.0, **OPTIONS
    )
    system = np.block([[np.zeros((3, 3)), np.eye(3)], [-hessian, np.zeros((3, 3))]])
    exact = np.concatenate([Y, K], axis=1) @ expm(2 * system).T
    np.testing.assert_allclose(result.deviations[-1], exact[:, :SIZE], atol=1e-8)
    np.testing.assert_allclose(result.rates[-1], exact[:, SIZE:], atol=1e-8)


@pytest.mark.parametrize("scale", [1e-6, 2.0, 1e3])
def test_hessian_of_the_loss_is_the_derivative_of_its_gradient(scale):
    """With automatic differentiation; and symmetric."""
    space = Euclidean(SIZE)
    space.equip_with_metric(DiffusionMetric, sample_losses=waves(5, SIZE), scale=scale)
    metric, h = space.metric, 1e-5
    geometry = metric.geometry
    hessian = geometry.hessian(X, Y)
    moved = (geometry.gradient(X + h * Y) - geometry.gradient(X - h * Y)) / (2 * h)
    moved = moved + metric.christoffel_action(Y, geometry.gradient(X), X)
    np.testing.assert_allclose(hessian, moved, atol=1e-8)
    one, other = (metric.inner_product(hessian[i], Y[1 - i], X) for i in range(2))
    assert one == pytest.approx(other, rel=1e-11)


def test_pytorch_points_on_a_network_of_pytorch():
    rng = np.random.default_rng(3)
    inputs, outputs, x, y = (rng.normal(size=s) for s in ((4, 2), (4, 2), (2, 2, 2), (3, 2, 2, 2)))
    results = []
    for array in (np.array, torch.tensor):
        data = NetworkSamples(array(inputs), array(outputs), (2, 2, 2))
        metric = metric_of(0.5)
        metric.geometry = DiffusionGeometry(data.samples, 0.5)
        options: dict[str, Any] = {"deviation": array(y), "t_final": 0.5}
        results.append(geodesic_deviation(metric, array(x), **options, **OPTIONS))
    for name in ("points", "deviations", "rates", "lengths"):
        one, other = (getattr(result, name) for result in results)
        assert type(other) is np.ndarray
        np.testing.assert_allclose(one, other, atol=1e-9)


def test_a_path_that_ends():
    """A constant force drives the particle to where gradients cease to be finite."""
    space = Euclidean(1)
    space.equip_with_metric(
        DiffusionMetric,
        scale=1.0,
        sample_gradients=lambda x: np.where(x > 0, 1.0, np.nan) * np.ones((2, 1)),
        sample_hvp=lambda _, v: 0 * v + np.zeros((2, 1)),
    )
    result = geodesic_deviation(
        space.metric, np.ones(1), deviation=np.ones(1), t_final=3.0, n_saved=4
    )
    assert not result.success
    assert "cease to be finite" in result.status
    assert len(result.times) == len(result.lengths) < 4


def test_errors():
    metric = metric_of(1.0)
    options: dict[str, Any] = {"deviation": Y, "t_final": 1.0}
    with pytest.raises(ValueError, match="first order"):
        geodesic_deviation(metric, X, friction=np.inf, **options)
    with pytest.raises(ValueError, match="one shape"):
        geodesic_deviation(metric, X, rate=K[0], **options)
    with pytest.raises(ValueError, match="one shape"):
        geodesic_deviation(metric, X, deviation=Y[:, :2], t_final=1.0)
    with pytest.raises(ValueError, match="one point"):
        geodesic_deviation(metric, X[:2], **options)
    with pytest.raises(ValueError, match="the deviation"):
        geodesic_deviation(metric, X, deviation=np.full(SIZE, np.nan), t_final=1.0)
    nan = metric_of(1.0, lambda x: np.full((2, SIZE), np.nan))
    with pytest.raises(ValueError, match="NaN or infinite"):
        geodesic_deviation(nan, X, **options)
