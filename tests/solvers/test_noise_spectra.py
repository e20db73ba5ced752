"""Spectrum of the diffusion matrix against the matrix itself."""

import numpy as np
import pytest
import torch

from dlngeo.solvers import noise_spectrum

RNG = np.random.default_rng(4)


def covariance(rows):
    return np.cov(rows.reshape(len(rows), -1).T, bias=True).reshape(2 * (rows[0].size,))


@pytest.mark.parametrize("k", [1, 3, 20])
@pytest.mark.parametrize("shape", [(30, 40), (40, 30), (60, 3, 4), (50, 2), (2, 9), (7, 1)])
def test_equal_to_the_eigenpairs_of_the_matrix(shape, k):
    rows = 5 + RNG.normal(size=shape) * np.geomspace(1, 1e-2, shape[-1])
    matrix = covariance(rows)
    result = noise_spectrum(rows, k, rng=0)
    values = np.linalg.eigvalsh(matrix)[::-1]
    count = min(k, len(rows), len(matrix))
    vectors = result.eigenvectors.reshape(count, -1)
    assert result.eigenvectors.shape == (count, *shape[1:])
    np.testing.assert_allclose(result.eigenvalues, values[:count], atol=1e-13 * values[0])
    image = result.eigenvalues[:, None] * vectors
    np.testing.assert_allclose(vectors @ matrix, image, atol=1e-12 * values[0])
    np.testing.assert_allclose(vectors @ vectors.T, np.eye(count), atol=1e-12)
    assert result.trace == pytest.approx(np.trace(matrix), rel=1e-13)
    assert result.effective_rank == pytest.approx(np.trace(matrix) / values[0], rel=1e-12)
    assert result.anisotropy == pytest.approx(values[0] / values.mean(), rel=1e-12)
    np.testing.assert_allclose(result.explained[-1], values[:count].sum() / values.sum())


@pytest.mark.parametrize("scale", [1e-100, 1e-6, 1e6, 1e100])
def test_at_every_scale_and_far_from_zero(scale):
    rows = RNG.normal(size=(50, 60))
    plain = noise_spectrum(rows, 4)
    scaled = noise_spectrum(scale * (rows + 1e3), 4)
    np.testing.assert_allclose(scaled.eigenvalues, scale**2 * plain.eigenvalues, rtol=1e-10)
    assert scaled.effective_rank == pytest.approx(plain.effective_rank, rel=1e-10)


def test_the_iteration_repeats_and_takes_torch():
    rows = RNG.normal(size=(80, 90))
    one, other = (noise_spectrum(array, 3, rng=1) for array in (rows, torch.tensor(rows)))
    np.testing.assert_array_equal(one.eigenvectors, other.eigenvectors)


def test_few_ranks_many_samples():
    """Duplicates leave the spectrum; what is beyond the rank is zero."""
    rows = RNG.normal(size=(30, 2)) @ RNG.normal(size=(2, 50))
    one, twice = noise_spectrum(rows, 5), noise_spectrum(np.concatenate([rows, rows]), 5)
    np.testing.assert_allclose(one.eigenvalues, twice.eigenvalues, atol=1e-12)
    assert one.eigenvalues[2] < 1e-12 < one.eigenvalues[1]
    np.testing.assert_allclose(one.eigenvectors @ one.eigenvectors.T, np.eye(5), atol=1e-12)


@pytest.mark.parametrize("n", [1, 3, 700])
def test_no_noise(n):
    """Equal gradients, whatever their round-off, and a single one."""
    result = noise_spectrum(np.tile(RNG.normal(size=40), (n, 1)) / 3, 4)
    np.testing.assert_array_equal(result.eigenvalues, 0)
    assert (result.trace, result.effective_rank, result.anisotropy) == (0, 0, 1)
    np.testing.assert_array_equal(result.explained, 0)


def test_isotropic_noise():
    result = noise_spectrum(np.concatenate([np.eye(6), -np.eye(6)]), 6)
    assert result.effective_rank == pytest.approx(6)
    assert result.anisotropy == pytest.approx(1)


def test_errors():
    with pytest.raises(ValueError, match="one gradient for each sample"):
        noise_spectrum(np.ones(3))
    with pytest.raises(ValueError, match="one gradient for each sample"):
        noise_spectrum(np.ones((0, 3)))
    with pytest.raises(ValueError, match="NaN or infinite"):
        noise_spectrum(np.array([[1.0, np.nan]]))
    with pytest.raises(ValueError, match="k must be"):
        noise_spectrum(np.ones((2, 3)), 0)
