"""Long chains of Mici's samplers: every system has the law of the quadrature, and tells errors.

Minutes long: ``make statistics``.
"""

import numpy as np
import pytest

from dlngeo.sampling import BalancedSystem, DepthRootSystem, ObservableSystem
from tests.sampling.laws import (
    MatrixEnergy,
    SpectralEnergy,
    deviations,
    lam_moments,
    make,
    matrix_means,
    roots_of,
    sample,
    second_moments,
    signed_moments,
    spectral_means,
)

DRAWS = {BalancedSystem: 1500, DepthRootSystem: 4000, ObservableSystem: 700}
EVERY = pytest.mark.parametrize("kind", DRAWS, ids=lambda kind: kind.__name__)
DEPTHS = pytest.mark.parametrize("depth", [2, 3])
BETA = 2.0
CHANCE = 5.0
"""Standard errors that none of some 300 moments is off by chance, whatever the LAPACK: at four one
is in every fiftieth run."""


@EVERY
@DEPTHS
def test_spectral_law_and_its_entropy(kind, depth):
    """The law without the entropy is excluded."""
    energy = SpectralEnergy(depth, (1.0, 2.0))
    observables, _ = sample(make(kind, energy, 2, depth, BETA), DRAWS[kind], seed=11)
    draws = lam_moments(roots_of(observables, depth))
    assert abs(deviations(draws, spectral_means(energy, BETA, lam_moments))).max() < CHANCE
    without = spectral_means(energy, BETA, lam_moments, entropy=False)
    assert abs(deviations(draws, without)).max() > CHANCE


@EVERY
@DEPTHS
@pytest.mark.parametrize("linear", [None, [[0.6, -0.3], [0.2, 0.9]]], ids=["even", "odd"])
@pytest.mark.parametrize("determinant", [None, "negative"])
def test_moments_of_matrices(kind, depth, linear, determinant):
    """An energy that changes of signs keep, and one that tells the components apart."""
    energy = MatrixEnergy(linear)
    system = make(kind, energy, 2, depth, BETA, determinant)
    observables, _ = sample(system, DRAWS[kind], seed=12)
    signs, statistics = ((-1,), second_moments) if determinant else ((1, -1), signed_moments)
    expected = matrix_means(energy, depth, BETA, statistics, signs)
    assert abs(deviations(statistics(observables), expected)).max() < CHANCE


@EVERY
def test_width_three(kind):
    depth, energy = 3, SpectralEnergy(3, (1.0, 1.5, 2.0))
    observables, _ = sample(make(kind, energy, 3, depth, BETA), DRAWS[kind] // 2, 13, width=3)
    expected = spectral_means(energy, BETA, lam_moments, width=3, count=40)
    assert abs(deviations(lam_moments(roots_of(observables, depth)), expected)).max() < CHANCE


@pytest.mark.parametrize("widths", [(3, 2, 2, 4), (2, 2, 3), (4, 2, 2, 2)], ids=str)
def test_rectangular_networks(widths):
    """``ρ`` gains ``Π_k λ_k^{Σ (d_p - r)}``; without it the law is excluded."""
    depth, surplus = len(widths) - 1, widths[0] + widths[-1] - 4
    energy = SpectralEnergy(depth, (1.0, 2.0))
    system = BalancedSystem(energy, energy.gradient, widths, BETA)
    observables, _ = sample(system, 1000, seed=14)
    draws = lam_moments(roots_of(observables, depth)[..., :2])
    expected = spectral_means(energy, BETA, lam_moments, surplus=surplus)
    assert abs(deviations(draws, expected)).max() < CHANCE
    assert abs(deviations(draws, spectral_means(energy, BETA, lam_moments))).max() > CHANCE


@DEPTHS
def test_both_components_of_a_spectral_law_are_alike(depth):
    energy = SpectralEnergy(depth, (1.0, 2.0))
    both = [
        lam_moments(
            roots_of(
                sample(make(DepthRootSystem, energy, 2, depth, BETA, name), 2000, 15)[0], depth
            )
        )
        for name in ("positive", "negative")
    ]
    expected = spectral_means(energy, BETA, lam_moments)
    assert all(np.max(abs(deviations(draws, expected))) < CHANCE for draws in both)
