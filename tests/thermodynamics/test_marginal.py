"""The law of one singular value, against exact laws, samples and other integrals."""

import math

import numpy as np
import pytest
import scipy.stats

from dlngeo.thermodynamics.equilibrium import Equilibrium
from tests.thermodynamics.spectral_energies import norm


@pytest.mark.parametrize("depth", [1, 2, 3, 10])
def test_half_normal_law_of_numbers(depth):
    """``d = 1``: ``λ`` is half normal, over ``2^N`` rays with the length ``√N dλ``."""
    beta = 3.0
    law = Equilibrium(norm(depth), (1,) * (depth + 1), beta=beta)
    exact = scipy.stats.halfnorm(scale=(beta * depth) ** -0.5)
    rays = depth * math.log(2) + math.log(math.pi / (2 * beta)) / 2
    assert law.log_partition == pytest.approx(rays, abs=1e-12)
    marginal = law.marginal()
    lam = np.array([1e-9, 0.01, 0.3, 0.7, 1.5])
    np.testing.assert_allclose(marginal.cdf(lam**depth), exact.cdf(lam), rtol=1e-10, atol=1e-16)
    np.testing.assert_allclose(marginal.survival(lam**depth), exact.sf(lam), rtol=1e-10, atol=1e-16)
    slope = depth * lam ** (depth - 1)
    np.testing.assert_allclose(marginal.pdf(lam**depth) * slope, exact.pdf(lam), rtol=1e-10)
    probabilities = np.array([1e-3, 0.5, 0.999])
    roots = marginal.quantile(probabilities) ** (1 / depth)
    np.testing.assert_allclose(roots, exact.ppf(probabilities), rtol=1e-9)


def test_three_values_by_samples():
    """Singular values of Gaussian matrices: the law of each, by Kolmogorov and Smirnov."""
    law = Equilibrium(norm(1), (3, 3), beta=1.0)
    matrices = np.random.default_rng(1).standard_normal((5_000, 3, 3))
    values = np.linalg.svd(matrices, compute_uv=False)
    for index in range(3):
        marginal = law.marginal(index)
        assert scipy.stats.kstest(values[:, index], marginal.cdf).pvalue > 1e-3
    # The smallest has a density that is not zero at zero, and a mean that is known to samples.
    means = law.mean(lambda sigma: sigma)
    errors = values.std(axis=0) / len(values) ** 0.5
    assert np.all(abs(values.mean(axis=0) - means) < 4 * errors)


def test_three_values_far_apart():
    """Wells of width ``w`` at three scales: normal laws, whichever is asked first."""
    centres, width = np.array([1e3, 1.0, 1e-3]), 1e-3
    law = Equilibrium(
        lambda s: np.sum((s / centres - 1) ** 2, axis=-1) / (2 * width**2), (3, 3), beta=1.0
    )
    for k in (1, 2):
        found = law.marginal(k).quantile([0.1, 0.5, 0.9])
        expected = centres[k] * scipy.stats.norm(1, width).ppf([0.1, 0.5, 0.9])
        np.testing.assert_allclose(found, expected, rtol=0.02 * width)


@pytest.mark.parametrize("depth", [1, 3, 10])
def test_narrow_wells_are_both_found(depth):
    """Two wells ``10^-4`` wide: their masses are as ``dλ/dσ``, ``σ^{1/N - 1}``."""
    law = Equilibrium(
        lambda s: 1e4 * np.sum((s - 1) ** 2 * (s - 3) ** 2, axis=-1),
        (1,) * (depth + 1),
        beta=1e3,
    )
    assert law.marginal().cdf(2.0) == pytest.approx(1 / (1 + 3 ** (1 / depth - 1)), rel=1e-6)


def test_errors_of_marginals():
    law = Equilibrium(norm(2), (1, 1, 1), beta=1.0)
    with pytest.raises(ValueError, match="index of one of 1 values, got 1"):
        law.marginal(1)
    with pytest.raises(ValueError, match="between 0 and 1"):
        law.marginal().quantile([0.5, 1.5])
