"""Passage times between wells, by double integrals, chains and closed forms."""

import math

import numpy as np
import pytest
import scipy.integrate

from dlngeo.thermodynamics.equilibrium import Equilibrium
from dlngeo.thermodynamics.metastability import kramers_time, mean_passage_time
from tests.thermodynamics.spectral_energies import double_well, norm


@pytest.mark.parametrize(
    ("widths", "kappa", "entropic"),
    [((1, 1), 1.0, True), ((1, 1, 1, 1), 1.0, True), ((2, 3, 1, 4), 0.7, True),
     ((2, 3, 1, 4), 0.7, False)],
)  # fmt: skip
def test_passage_time_is_a_double_integral(widths, kappa, entropic):
    """With the density written out; up and down."""
    depth, beta = len(widths) - 1, 6.0
    law = Equilibrium(double_well, widths, rank=1, beta=beta, kappa=kappa, entropic=entropic)
    power = widths[0] + widths[-1] - 2 + entropic * (sum(widths[1:-1]) - depth + 1) / kappa

    def log_density(lam):
        s = lam**depth
        return power * math.log(lam) - beta / kappa * ((s - 1) ** 2 * (s - 3) ** 2 + 0.1 * s)

    def quotient(z, y):
        return math.exp(log_density(z) - log_density(y))

    options = {"epsabs": 0, "epsrel": 1e-9}
    for start, stop in ((0.9, 3.0), (2.9, 1.1)):
        low, high = sorted((start ** (1 / depth), stop ** (1 / depth)))
        inner = (1e-12, lambda y: y) if start < stop else (lambda y: y, 5 ** (1 / depth))
        exact = scipy.integrate.dblquad(quotient, low, high, *inner, **options)[0]
        exact = exact * beta * depth / kappa
        assert mean_passage_time(law, start, stop) == pytest.approx(exact, rel=1e-8)


def test_passage_time_of_brownian_motion_in_a_box():
    """Reflected at zero without a force, ``b² / 2D``, ``D = 1/(βN)``."""
    law = Equilibrium(lambda s: np.where(s[:, 0] > 2**3, np.inf, 0.0), (1,) * 4, beta=5.0)
    found = mean_passage_time(law, 1e-30, 1.0)
    assert found == pytest.approx(5 * 3 / 2, rel=1e-6)


def test_passage_time_by_a_birth_death_chain():
    """Of the smallest of two values: the discrete generator of the mean force."""
    law = Equilibrium(double_well, (2, 2, 2), beta=4.0)
    edges = np.linspace(1e-3, 2.4, 4001)
    lam = (edges[1:] + edges[:-1]) / 2
    density = law.marginal(-1).pdf(lam**2) * 2 * lam
    start, stop = np.searchsorted(lam, [1.0, 3**0.5])
    rates = np.sqrt(density[1:] * density[:-1]) / np.diff(lam) / (4.0 * 2)
    below = np.cumsum(density * np.diff(edges))
    expected = np.sum(below[start:stop] / rates[start:stop])
    assert mean_passage_time(law, 1.0, 3.0) == pytest.approx(expected, rel=2e-3)


@pytest.mark.parametrize("widths", [(1, 1), (1, 1, 1, 1)])
def test_kramers(widths):
    """Kramers' formula is the limit of high barriers, with an error like ``1/β``."""
    errors = []
    for beta in (15.0, 30.0):
        law = Equilibrium(double_well, widths, beta=beta)
        exact = mean_passage_time(law, 0.9, 3.0)
        errors.append(abs(kramers_time(law, 0.9, 3.0) / exact - 1))
    assert errors[1] < 0.03
    assert errors[1] < 0.6 * errors[0]


def test_passage_times_scale():
    """``E(σ/s)``: lengths ``λ`` grow like ``s^{1/N}``, times like their squares."""
    one = Equilibrium(double_well, (1, 1, 1, 1), beta=6.0)
    other = Equilibrium(lambda sigma: double_well(sigma / 7), (1, 1, 1, 1), beta=6.0)
    for time, rtol in ((mean_passage_time, 1e-9), (kramers_time, 1e-3)):
        expected = 7 ** (2 / 3) * time(one, 0.9, 3.0)
        assert time(other, 6.3, 21.0) == pytest.approx(expected, rel=rtol)


def test_kramers_of_the_smallest_of_two():
    law = Equilibrium(double_well, (2, 2, 2), beta=30.0)
    exact = mean_passage_time(law, 0.9, 3.0)
    assert kramers_time(law, 0.9, 3.0) == pytest.approx(exact, rel=0.05)


def test_errors_of_passage_times():
    law = Equilibrium(double_well, (1, 1), beta=4.0)
    with pytest.raises(ValueError, match="singular value to start at must be positive"):
        mean_passage_time(law, 0.0, 1.0)
    with pytest.raises(ValueError, match="below round-off somewhere on the way"):
        mean_passage_time(law, 1.0, 100.0)
    with pytest.raises(ValueError, match="needs a well away from zero and a barrier"):
        kramers_time(law, 0.9, 1.5)
    with pytest.raises(ValueError, match="needs a well away from zero and a barrier"):
        kramers_time(Equilibrium(norm(1), (1, 1), beta=1.0), 0.5, 1.0)
