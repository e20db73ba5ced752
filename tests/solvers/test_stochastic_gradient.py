"""Descent by minibatches and its stochastic differential equation."""

from typing import Any

import numpy as np
import pytest
import torch

from dlngeo.solvers import SampleLosses, sgd, sgd_diffusion
from tests.solvers.least_squares_samples import SAMPLES, SIZE, A, B, N, X, gradients

COVARIANCE = np.cov(gradients(X).T, bias=True)
MODELS = pytest.mark.parametrize("model", [sgd, sgd_diffusion])


@MODELS
@pytest.mark.parametrize(
    ("batch_size", "replacement"), [(1, True), (3, True), (3, False), (8, True)]
)
def test_mean_and_covariance_of_one_step(model, batch_size, replacement):
    """Both models have the moments of the theory, within five standard errors."""
    rate, paths = 0.1, 6_000
    result = model(
        SAMPLES,
        X,
        learning_rate=rate,
        batch_size=batch_size,
        n_steps=1,
        replacement=replacement,
        n_paths=paths,
        n_saved=2,
        rng=0,
    )
    moves = result.points[1] - X
    factor = 1.0 if replacement else (N - batch_size) / (N - 1)
    expected = rate**2 / batch_size * factor * COVARIANCE
    size = np.trace(expected)
    np.testing.assert_allclose(
        moves.mean(axis=0), -rate * gradients(X).mean(axis=0), atol=5 * np.sqrt(size / paths)
    )
    # The fourth moment of the rarest sample is far from Gaussian.
    np.testing.assert_allclose(np.cov(moves.T), expected, atol=10 * size / np.sqrt(paths))
    np.testing.assert_allclose(result.spread[1], np.trace(np.cov(moves.T)), rtol=1e-12)


@MODELS
def test_a_full_batch_is_gradient_descent(model):
    result = model(
        SAMPLES, X, learning_rate=0.1, batch_size=N, n_steps=3, replacement=False, n_paths=2, rng=0
    )
    x = X
    for k in range(4):
        np.testing.assert_allclose(result.points[k], [x, x], atol=1e-14)
        x = x - 0.1 * gradients(x).mean(axis=0)
    np.testing.assert_allclose(result.times, 0.1 * np.arange(4))


def test_moments_of_the_linear_equation():
    """For least squares they obey linear recursions, which the ensembles follow."""
    rate, batch, steps, paths = 0.1, 2, 30, 1_500
    outer = A[:, :, None] * A[:, None, :]
    mean, second = X, np.outer(X, X)
    for _ in range(steps):
        # E[(x - ηg)(x - ηg)ᵀ] over x and over the batch.
        per_sample = [
            o @ second @ o - b * (o @ np.outer(mean, a) + np.outer(a, mean) @ o) + b**2 * o
            for o, a, b in zip(outer, A, B, strict=True)
        ]
        h, c = outer.mean(axis=0), (B[:, None] * A).mean(axis=0)
        drift = h @ second - np.outer(c, mean)
        full = h @ second @ h - h @ np.outer(mean, c) - np.outer(c, mean) @ h + np.outer(c, c)
        noise = np.mean(per_sample, axis=0) - full
        second = second - rate * (drift + drift.T) + rate**2 * (full + noise / batch)
        mean = mean - rate * (h @ mean - c)
    covariance = second - np.outer(mean, mean)
    for model in (sgd, sgd_diffusion):
        result = model(
            SAMPLES, X, learning_rate=rate, batch_size=batch, n_steps=steps, n_paths=paths, rng=1
        )
        error = np.sqrt(np.trace(covariance) / paths)
        np.testing.assert_allclose(result.mean[-1], mean, atol=4 * error)
        np.testing.assert_allclose(
            np.cov(result.points[-1].T), covariance, atol=6 * np.trace(covariance) / np.sqrt(paths)
        )


def test_seeds_and_libraries():
    options: dict[str, Any] = {"learning_rate": 0.1, "batch_size": 2, "n_steps": 4, "n_paths": 2}
    losses = SampleLosses((SIZE,), lambda x: (torch.tensor(A) @ x - torch.tensor(B)) ** 2 / 2)
    for model in (sgd, sgd_diffusion):
        first = model(SAMPLES, X, rng=3, **options)
        np.testing.assert_array_equal(first.points, model(SAMPLES, X, rng=3, **options).points)
        assert abs(first.points - model(SAMPLES, X, rng=4, **options).points).max() > 1e-3
        tensor = model(losses, torch.tensor(X), rng=3, **options)
        np.testing.assert_allclose(tensor.points, first.points, atol=1e-12)


def test_a_batch_costs_what_it_holds():
    asked = []

    def counted(x, indices):
        asked.append(len(indices))
        return gradients(x, indices)

    samples = SampleLosses((SIZE,), gradients=counted, n_samples=N)
    sgd(samples, X, learning_rate=0.1, batch_size=2, n_steps=5, rng=0)
    assert asked == [2] * 5


@MODELS
def test_one_sample_has_no_noise(model):
    samples = SampleLosses((SIZE,), gradients=lambda x: x[None])
    result = model(samples, X, learning_rate=0.1, batch_size=1, n_steps=2, replacement=False)
    np.testing.assert_allclose(result.points[-1, 0], 0.81 * X, rtol=1e-14)


@MODELS
def test_runs_that_end_early(model):
    quartic = SampleLosses((SIZE,), gradients=lambda x: np.stack([4 * x**3, 3 * x**3]))
    options: dict[str, Any] = {"batch_size": 1, "n_steps": 50, "rng": 0}
    result = model(quartic, 10 * X, learning_rate=1.0, **options)
    assert not result.success
    assert "Lower the learning rate" in result.status
    assert np.isfinite(result.points).all()
    calls = iter(range(7))

    def interrupted(x):
        if next(calls, None) is None:
            raise KeyboardInterrupt
        return gradients(x)

    result = model(SampleLosses((SIZE,), gradients=interrupted), X, learning_rate=0.1, **options)
    assert result.interrupted
    assert "start again" in result.status


def test_errors():
    good: dict[str, Any] = {"learning_rate": 0.1, "batch_size": 2, "n_steps": 3}
    for bad, match in (
        ({"learning_rate": 0.0}, "learning_rate"),
        ({"batch_size": 0}, "batch"),
        ({"batch_size": 6, "replacement": False}, "at most all 5"),
        ({"n_steps": 0}, "n_steps"),
        ({"n_paths": 0}, "n_paths"),
    ):
        for model in (sgd, sgd_diffusion):
            with pytest.raises(ValueError, match=match):
                model(SAMPLES, X, **{**good, **bad})
    with pytest.raises(ValueError, match="substeps"):
        sgd_diffusion(SAMPLES, X, substeps=0, **good)
    with pytest.raises(ValueError, match="shape"):
        sgd(SAMPLES, np.ones(3), **good)
    broken = SampleLosses((SIZE,), gradients=lambda x: np.full((3, SIZE), np.nan))
    with pytest.raises(ValueError, match="NaN"):
        sgd(broken, X, **good)
