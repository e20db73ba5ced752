"""Matrices in vector coordinates: Christoffel symbols, and geomstats' Brownian motion."""

import geomstats.backend as gs
import numpy
import pytest
from geomstats.distributions.brownian_motion import BrownianMotion

from dlngeo.core.networks.jacobi import depth_kernel
from dlngeo.manifolds import Entries, FixedRankMatrices
from tests.manifolds.geomstats.spaces import depth_space, numbers

CASES = pytest.mark.parametrize(
    ("shape", "depth"),
    [((2, 2), 1), ((2, 2), 2), ((2, 2), 3), ((3, 3), 3), ((2, 3), 3), ((2, 2), float("inf"))],
    ids=str,
)
MATRIX = numpy.array([[1.2, 0.3, -0.2], [-0.4, 0.8, 0.5], [0.1, 0.6, 1.5]])


def entries_of(shape, depth):
    return Entries(depth_space(shape, None, depth))


def point_of(entries):
    rows, columns = entries.space.shape
    return entries.from_matrices(gs.array(MATRIX[:rows, :columns]))


@CASES
def test_christoffel_symbols_are_those_of_the_metric(shape, depth):
    entries = entries_of(shape, depth)
    point, step = point_of(entries), 1e-5
    slopes = []
    for move in step * gs.eye(entries.dim):
        ends = [numbers(entries.metric.metric_matrix(point + s * move)) for s in (1, -1)]
        slopes.append((ends[0] - ends[1]) / (2 * step))
    slope = numpy.stack(slopes, axis=-1)  # ∂_k g_ij
    lowered = (slope.swapaxes(1, 2) + slope - numpy.moveaxis(slope, -1, 0)) / 2
    expected = numpy.linalg.solve(
        numbers(entries.metric.metric_matrix(point)), lowered.reshape(entries.dim, -1)
    ).reshape(lowered.shape)
    found = numbers(entries.metric.christoffels(point))
    numpy.testing.assert_allclose(found, expected, atol=1e-7 * abs(expected).max() + 1e-9)
    both = numbers(entries.metric.metric_matrix(point) @ entries.metric.cometric_matrix(point))
    numpy.testing.assert_allclose(both, numpy.eye(entries.dim), atol=1e-10)


def test_points_and_batches():
    entries = entries_of((2, 3), 2)
    assert (entries.dim, entries.shape, entries.intrinsic) == (6, (6,), True)
    points = entries.random_point(4)
    assert points.shape == (4, 6)
    assert gs.all(entries.belongs(points))
    assert not gs.any(entries.belongs(0 * points))
    assert not gs.any(entries.belongs(points[..., :5]))
    assert gs.all(entries.is_tangent(points, points))
    assert gs.allclose(entries.to_tangent(points, points), points)
    assert gs.all(entries.belongs(entries.projection(0 * points)))
    symbols = entries.metric.christoffels(points)
    assert symbols.shape == (4, 6, 6, 6)
    assert gs.allclose(symbols[1], entries.metric.christoffels(points[1]))


def test_refused_spaces():
    with pytest.raises(ValueError, match="full rank"):
        Entries(FixedRankMatrices(3, 3, rank=2))
    with pytest.raises(ValueError, match="DepthMetric"):
        Entries(FixedRankMatrices(2, 2, equip=False))
    with pytest.raises(ValueError, match="FixedRankMatrices"):
        Entries(entries_of((2, 2), 2))


@CASES
def test_brownian_step_has_the_drift_of_half_the_laplacian(shape, depth, monkeypatch):
    """Without noise: against ``½ div grad``, and ``½ Q diag((N-1) λ^{N-2}) Oᵀ`` (THEORY 4)."""
    entries = entries_of(shape, depth)
    point = point_of(entries)
    monkeypatch.setattr(gs.random, "normal", lambda size: gs.zeros(size))
    moved = BrownianMotion(entries)._step(1.0, point) - point
    # ½ Δ_g x^k = ½ ρ^{-1} ∂_j (ρ g^{jk}), with the volume density ρ.
    step, expected = 1e-5, 0.0
    for j, move in enumerate(step * gs.eye(entries.dim)):
        flux = []
        for sign in (1, -1):
            metric = numbers(entries.metric.metric_matrix(point + sign * move))
            density = numpy.sqrt(numpy.linalg.det(metric))
            flux.append(density * numpy.linalg.inv(metric)[j])
        expected = expected + (flux[0] - flux[1]) / (2 * step)
    metric = numbers(entries.metric.metric_matrix(point))
    expected = expected / (2 * numpy.sqrt(numpy.linalg.det(metric)))
    numpy.testing.assert_allclose(numbers(moved), expected, atol=1e-7 * abs(expected).max() + 1e-8)
    rows, columns = shape
    if rows == columns and depth < float("inf"):
        left, sigma, right = numpy.linalg.svd(MATRIX[:rows, :columns])
        values = (depth - 1) * sigma ** (1 - 2 / depth)
        ito = (left * values / 2) @ right
        numpy.testing.assert_allclose(numbers(entries.to_matrices(moved)), ito, atol=1e-10)


def test_brownian_increments_have_the_covariance_of_the_cometric():
    entries = entries_of((2, 2), 3)
    point = point_of(entries)
    gs.random.seed(0)
    count, step = 2000, 1e-3
    batch = gs.stack([point] * count)
    increments = numbers(BrownianMotion(entries)._step(step, batch) - batch)
    found = numpy.cov(increments.T) / step
    expected = numbers(entries.metric.cometric_matrix(point))
    diagonal = numpy.diag(expected)
    error = numpy.sqrt((diagonal[:, None] * diagonal + expected**2) / count)
    assert (abs(found - expected) < 4.5 * error).all()
    # Noise g instead of the square root of its inverse, and its square, are told apart.
    for planted in (numpy.linalg.inv(expected), expected @ expected):
        assert (abs(found - planted) > 5 * error).any()


def ito_moments(start, time, n_steps, *, has_drift):
    """Return moments of many solutions of the equation in singular frames (THEORY 4), β = 2."""
    rng, step = numpy.random.default_rng(2), time / n_steps
    matrix = numpy.repeat(start[None], 20_000, axis=0)
    for _ in range(n_steps):
        left, sigma, right = numpy.linalg.svd(matrix)
        lam = sigma ** (1 / 3)
        noise = numpy.sqrt(step * depth_kernel(lam, lam, 3)) * rng.normal(size=matrix.shape)
        drift = lam[..., None, :] * numpy.eye(2) if has_drift else 0.0  # ½ (N - 1) λ^{N-2}
        matrix = matrix + left @ (step * drift + noise) @ right
    return moments(matrix)


def moments(matrix):
    sigma = numpy.linalg.svd(matrix, compute_uv=False)
    flat = matrix.reshape(-1, 4)
    trace = flat[:, :1] + flat[:, 3:]
    return numpy.concatenate([flat, flat**2, trace, sigma, sigma ** (1 / 3)], axis=-1)


def test_brownian_law_is_that_of_the_ito_equation():
    entries = entries_of((2, 2), 3)
    gs.random.seed(1)
    start, time, n_steps = gs.array([0.9, 0.2, -0.1, 0.7]), 0.06, 8
    # The path begins with its start, so that it takes one step less.
    path = BrownianMotion(entries).sample_path(time, n_steps, gs.stack([start] * 2000))
    found = moments(numbers(entries.to_matrices(path[-1])))
    reached = (n_steps - 1) / n_steps * time
    deviations = []
    for has_drift in (True, False):
        start_matrix = numbers(entries.to_matrices(start))
        expected = ito_moments(start_matrix, reached, n_steps - 1, has_drift=has_drift)
        error = found.var(axis=0) / len(found) + expected.var(axis=0) / len(expected)
        difference = found.mean(axis=0) - expected.mean(axis=0)
        deviations.append(abs(difference / numpy.sqrt(error)).max())
    assert deviations[0] < 4
    assert deviations[1] > 5
