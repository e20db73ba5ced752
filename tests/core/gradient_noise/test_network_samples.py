"""Samples on a deep linear network: derivatives, where their noise lies, and what it does."""

import itertools
from typing import Any

import numpy as np
import pytest
import torch

from dlngeo.core.depth_metric.submersion import horizontal_lift, vertical_projection
from dlngeo.core.networks.balancing import balance
from dlngeo.core.networks.network import adjoint_differential, differential, end_to_end, moment_map
from dlngeo.manifolds import BalancedManifold, DepthMetric, DiffusionMetric, FixedRankMatrices
from dlngeo.solvers import LinearRegression, NetworkSamples, sgd, sgd_diffusion

WIDTHS = [(3, 2), (2, 2, 2), (3, 2, 4), (1, 1, 1, 1), (2, 3, 1, 2), (2,) * 11]


def data_of(widths, n=5, seed=0, scale=1.0, array=np.array):
    rng = np.random.default_rng(seed)
    inputs, outputs = rng.normal(size=(n, widths[0])), rng.normal(size=(n, widths[-1]))
    data = NetworkSamples(array(inputs), array(outputs), widths)
    return data, scale * rng.normal(size=data.point_shape)


def factors_of(point, widths):
    """Cut a point into factors by hand."""
    if point.ndim == 3:
        return tuple(point)
    cuts = np.cumsum([a * b for a, b in itertools.pairwise(widths)])[:-1]
    shapes = [(b, a) for a, b in itertools.pairwise(widths)]
    return tuple(p.reshape(s) for p, s in zip(np.split(point, cuts), shapes, strict=True))


def balanced_factors(widths, rank):
    """Return generic balanced factors, in random frames, of singular values from 0.7 to 1.5."""
    rng = np.random.default_rng(6)
    frames = [np.linalg.qr(rng.normal(size=(w, rank)))[0] for w in widths]
    root = np.linspace(1.5, 0.7, rank) ** (1 / (len(widths) - 1))
    return tuple(after * root @ before.T for before, after in itertools.pairwise(frames))


def joined(factors, shape):
    return np.concatenate([f.ravel() for f in factors]).reshape(shape)


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
@pytest.mark.parametrize("widths", WIDTHS)
def test_losses_and_gradients_are_those_of_the_map(widths, scale):
    data, point = data_of(widths, scale=scale if len(widths) < 11 else 1.0)
    factors = factors_of(point, widths)
    end = end_to_end(factors)
    regression = LinearRegression(data.inputs, data.outputs)
    np.testing.assert_allclose(data.losses(point).mean(), regression(end), rtol=1e-13)
    for s, row in enumerate(data.gradients(point)):
        single = LinearRegression(data.inputs[s : s + 1], data.outputs[s : s + 1])
        exact = joined(adjoint_differential(factors, single.gradient(end)), data.point_shape)
        np.testing.assert_allclose(row, exact, rtol=1e-11, atol=1e-13 * abs(exact).max())


@pytest.mark.parametrize("widths", WIDTHS)
def test_derivatives_are_those_of_automatic_differentiation(widths):
    torch_data, point = data_of(widths, array=torch.tensor)
    data, _ = data_of(widths)
    x, v = torch.tensor(point), np.random.default_rng(1).normal(size=point.shape)
    gradients = torch.func.jacrev(torch_data.losses)
    np.testing.assert_allclose(data.gradients(point), gradients(x), atol=1e-11)
    products = torch.func.jvp(gradients, (x,), (torch.tensor(v),))[1]
    np.testing.assert_allclose(data.hvp(point, v), products, atol=1e-10)
    np.testing.assert_allclose(torch_data.hvp(x, torch.tensor(v)), products, atol=1e-10)
    some = np.array([3, 0, 3])
    for one, every in (
        (data.losses(point, some), data.losses(point)),
        (data.gradients(point, some), data.gradients(point)),
        (data.hvp(point, v, some), data.hvp(point, v)),
    ):
        np.testing.assert_allclose(one, every[some], rtol=1e-12)
    np.testing.assert_allclose(
        data.samples.subset(some).values(x.numpy().ravel()), data.losses(point, some)
    )


@pytest.mark.parametrize("widths", WIDTHS[1:])
def test_one_step_changes_the_moment_map_to_second_order_alone(widths):
    """``μ(W - ηG) = μ(W) + η² μ(G)``, in steps as they come from SGD, at unbalanced factors."""
    data, point = data_of(widths)
    path = sgd(data.samples, point, learning_rate=0.3, batch_size=2, n_steps=1, rng=3)
    before, after = (factors_of(p[0], widths) for p in path.points)
    gradient = [(b - a) / 0.3 for b, a in zip(before, after, strict=True)]
    for old, new, step in zip(*map(moment_map, (before, after, gradient)), strict=True):
        np.testing.assert_allclose(new - old, 0.09 * step, atol=1e-12 * abs(new).max())


@pytest.mark.parametrize("replacement", [True, False])
@pytest.mark.parametrize("batch", [1, 2, 4])
@pytest.mark.parametrize("widths", [(2, 2, 2), (3, 2, 4), (2, 3, 1, 2)])
def test_the_expected_step_is_the_mean_over_all_batches(widths, batch, replacement):
    data, point = data_of(widths, n=4)
    draw = itertools.product if replacement else itertools.combinations
    batches = draw(range(4), **({"repeat": batch} if replacement else {"r": batch}))
    rows, moved = data.gradients(point), []
    for chosen in batches:
        end = factors_of(point - 0.2 * rows[list(chosen)].mean(axis=0), widths)
        moved.append(moment_map(end))
    start = moment_map(factors_of(point, widths))
    change = data.moment_step(point, learning_rate=0.2, batch_size=batch, replacement=replacement)
    assert len(change) == len(widths) - 2
    for p, (one, before) in enumerate(zip(change, start, strict=True)):
        np.testing.assert_allclose(one, np.mean([m[p] for m in moved], axis=0) - before, atol=1e-13)


def test_a_full_batch_is_descent_and_one_layer_has_no_moments():
    data, point = data_of((3, 2, 4))
    mean = factors_of(data.gradients(point).mean(axis=0), (3, 2, 4))
    for step in ({"batch_size": np.inf}, {"batch_size": 5, "replacement": False}):
        (change,) = data.moment_step(point, learning_rate=0.5, **step)
        np.testing.assert_allclose(change, 0.25 * moment_map(mean)[0], atol=1e-14)
    data, point = data_of((2, 2))
    assert data.moment_step(point, learning_rate=1.0, batch_size=1).shape == (0, 2, 2)
    for options in ({"batch_size": 0}, {"batch_size": 6, "replacement": False}):
        with pytest.raises(ValueError, match="a batch holds"):
            data.moment_step(point, learning_rate=1.0, **options)


def test_in_the_stochastic_equation_the_moment_map_has_no_martingale_part():
    """Every path of noise takes the same: spread over paths falls faster than the mean drift."""
    data, _ = data_of((2, 3, 2), n=6)
    point = joined(balance(factors_of(data_of((2, 3, 2))[1], (2, 3, 2))), (12,))
    steps = 200
    options: dict[str, Any] = {"learning_rate": 2e-3, "batch_size": 1, "n_steps": steps}
    options |= {"n_saved": steps + 1, "n_paths": 60, "rng": 0}
    path = sgd_diffusion(data.samples, point, **options)
    moments = [moment_map(factors_of(p, (2, 3, 2)))[0] for p in path.points[-1]]
    drift = np.mean(
        [
            sum(
                data.moment_step(path.points[k, i], learning_rate=2e-3, batch_size=1)[0]
                for k in range(steps)
            )
            for i in range(8)
        ],
        axis=0,
    )
    np.testing.assert_allclose(np.mean(moments, axis=0), drift, atol=0.1 * abs(drift).max())
    spread = np.std(moments, axis=0).max()
    position = np.std(path.points[-1], axis=0).max()
    assert spread < 0.02 * position


@pytest.mark.parametrize(
    ("widths", "rank"), [((2, 2, 2), 2), ((3, 2, 4), 2), ((3, 3, 2, 3), 1), ((2,) * 11, 2)]
)
def test_noise_is_horizontal_and_the_metric_is_that_of_the_quotient(widths, rank):
    """``g_ε`` of horizontal lifts is the depth metric plus the noise of the convex loss."""
    data, _ = data_of(widths)
    space = BalancedManifold(widths=widths, rank=rank)
    factors = balanced_factors(widths, rank)
    point = joined(factors, data.point_shape)
    rows = data.gradients(point)
    for row in rows:
        vertical = vertical_projection(factors, factors_of(row, widths), rank)
        assert max(abs(v).max() for v in vertical) < 1e-12 * abs(row).max()
        np.testing.assert_allclose(space.to_tangent(row, point), row, atol=1e-12 * abs(row).max())
    space.equip_with_metric(
        DiffusionMetric, sample_gradients=data.gradients, sample_hvp=data.hvp, scale=0.6
    )
    end = end_to_end(factors)
    below = FixedRankMatrices(widths[-1], widths[0], rank=rank)
    below.equip_with_metric(DepthMetric, depth=len(widths) - 1)
    rng = np.random.default_rng(2)
    a, b = below.to_tangent(rng.normal(size=(2, *end.shape)), end)
    lifts = [joined(horizontal_lift(factors, z, rank), point.shape) for z in (a, b)]
    residuals = data.inputs @ end.T - data.outputs
    slopes = [np.einsum("si,ij,sj->s", residuals, z, data.inputs) for z in (a, b)]
    noise = np.cov(slopes[0], slopes[1], bias=True)[0, 1]
    expected = below.metric.inner_product(a, b, end) + 0.6 * noise
    assert space.metric.inner_product(*lifts, point) == pytest.approx(expected, rel=1e-9)
    tangent = space.to_tangent(rng.normal(size=point.shape), point)
    vertical = vertical_projection(factors, factors_of(tangent, widths), rank)
    vertical = joined(vertical, point.shape)
    size = np.sum(rows**2) / len(rows)
    np.testing.assert_allclose(space.metric.diffusion(vertical, point) / size, 0, atol=1e-13)
    assert abs(space.metric.inner_product(vertical, lifts[0], point)) < 1e-10
    moved = differential(factors, factors_of(vertical, widths))
    np.testing.assert_allclose(moved, 0, atol=1e-12)


@pytest.mark.parametrize("widths", [(2, 2, 2), (3, 2, 2), (2, 2, 2, 2), (3, 2, 3, 2, 2)])
def test_white_noise_breaks_balance_but_in_the_middle(widths):
    """At a minimum, whitened inputs and isotropic errors that do not depend on them."""
    signs = np.array([1.0, -1.0])
    inputs = np.concatenate([np.sqrt(widths[0]) * s * np.eye(widths[0]) for s in signs])
    errors = np.concatenate([0.3 * np.sqrt(widths[-1]) * s * np.eye(widths[-1]) for s in signs])
    pairs = np.array(list(itertools.product(range(len(inputs)), range(len(errors)))))
    inputs, errors = inputs[pairs[:, 0]], errors[pairs[:, 1]]
    factors = balanced_factors(widths, min(widths))
    end = end_to_end(factors)
    data = NetworkSamples(inputs, inputs @ end.T + errors, widths)
    point = joined(factors, data.point_shape)
    np.testing.assert_allclose(data.gradients(point).mean(axis=0), 0, atol=1e-12)
    change = data.moment_step(point, learning_rate=0.1, batch_size=2)
    for p, got in enumerate(change, start=1):
        before, after = np.eye(widths[0]), np.eye(widths[-1])
        for w in factors[: p - 1]:
            before = w @ before
        for w in reversed(factors[p + 1 :]):
            after = after @ w
        here, beyond = factors[p - 1] @ before, after @ factors[p]
        exact = np.sum(after**2) * here @ here.T - np.sum(before**2) * beyond.T @ beyond
        np.testing.assert_allclose(got, 0.1**2 / 2 * 0.09 * exact, atol=1e-12)
        depth = len(widths) - 1
        is_middle = 2 * p == depth and (depth > 2 or widths[0] == widths[-1])
        assert (abs(exact).max() < 1e-10) == is_middle


def test_errors():
    with pytest.raises(ValueError, match="inputs hold"):
        NetworkSamples(np.ones((4, 2)), np.ones((4, 2)), (3, 2))
    with pytest.raises(ValueError, match="outputs hold"):
        NetworkSamples(np.ones((4, 3)), np.ones(4), (3, 2))
    with pytest.raises(ValueError, match="as many"):
        NetworkSamples(np.ones((4, 3)), np.ones((5, 2)), (3, 2))
    with pytest.raises(ValueError, match="NaN or infinite"):
        NetworkSamples(np.full((4, 3), np.nan), np.ones((4, 2)), (3, 2))
    with pytest.raises(ValueError, match="at least two"):
        NetworkSamples(np.ones((4, 3)), np.ones((4, 2)), (3,))
