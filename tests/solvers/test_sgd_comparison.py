"""Descent by minibatches beside its stochastic equation and the gradient flow."""

import numpy as np
import pytest

from dlngeo.solvers import SampleLosses, compare_sgd
from dlngeo.solvers.sgd_comparison import _covariance_gap
from tests.solvers.least_squares_samples import SAMPLES, SIZE, A, B, X


def test_comparison_by_step_size():
    """The spread is of first order in the step size, and so is what both means keep apart."""
    rates = [0.2, 0.05]
    result = compare_sgd(
        SAMPLES, X, learning_rates=rates, batch_size=1, t_final=2.0, n_paths=800, rng=0
    )
    assert result.success
    assert 2.5 < result.spread_sgd[0] / result.spread_sgd[1] < 6.5
    assert 2.5 < result.spread_sde[0] / result.spread_sde[1] < 6.5
    # Least squares have linear drift: the mean of descent is exactly Euler's method.
    h, c = (A[:, :, None] * A[:, None, :]).mean(axis=0), (B[:, None] * A).mean(axis=0)
    best = np.linalg.solve(h, c)
    values, vectors = np.linalg.eigh(h)
    exact = best + vectors @ (np.exp(-2 * values) * (vectors.T @ (X - best)))
    np.testing.assert_allclose(result.flow, exact, atol=1e-8)
    for k, rate in enumerate(rates):
        euler = X
        for _ in range(round(2 / rate)):
            euler = euler - rate * (h @ euler - c)
        error = np.sqrt(result.spread_sgd[k] / 800)
        np.testing.assert_allclose(result.mean_sgd[k], euler, atol=4 * error)
        assert result.flow_gap[k] == pytest.approx(
            np.linalg.norm(result.mean_sgd[k] - exact), abs=1e-8
        )
    assert result.mean_gap[1] < 0.5 * result.mean_gap[0]
    assert result.covariance_gap[1] < result.covariance_gap[0]


def test_the_flow_shows_its_progress_too(capsys):
    for progress in (False, True):
        compare_sgd(
            SAMPLES, X, learning_rates=[0.5], batch_size=1, t_final=1.0, n_paths=2, rng=0,
            progress=progress,
        )  # fmt: skip
        error = capsys.readouterr().err
        assert all((name in error) == progress for name in ("gradient flow", "SGD", "SDE"))


def test_covariance_gap_is_that_of_the_matrices():
    reference, points = np.random.default_rng(5).normal(size=(2, 7, 3))
    expected = np.linalg.norm(np.cov(reference.T) - np.cov(points.T))
    assert _covariance_gap(reference, points) == pytest.approx(
        expected / np.linalg.norm(np.cov(reference.T)), rel=1e-12
    )


def test_a_path_that_leaves_all_bounds_ends_the_comparison():
    """The rates before it stay."""
    quartic = SampleLosses((SIZE,), gradients=lambda x: np.stack([4 * x**3, 3 * x**3]))
    comparison = compare_sgd(
        quartic, X, learning_rates=[0.1, 3.0], batch_size=1, t_final=30.0, n_paths=2, rng=0
    )
    assert not comparison.success
    assert len(comparison.mean_gap) == 1
