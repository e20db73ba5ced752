"""Laws of equilibrium, by other integrals."""

import itertools
import math

import numpy as np
import pytest
import scipy.stats

from dlngeo.core.balanced.submanifold import dimension
from dlngeo.thermodynamics.boltzmann_entropy import spectral_entropy
from dlngeo.thermodynamics.equilibrium import Equilibrium, thermodynamic_curves
from dlngeo.thermodynamics.spectral_volume import log_spectral_volume
from tests.thermodynamics.spectral_energies import SHAPES, double_well, norm, tilted

# --- the density and the partition function -------------------------------------------


@pytest.mark.parametrize(("widths", "rank"), SHAPES)
def test_density_is_that_of_theory(widths, rank):
    """Ratios of ``ρ e^{-βE}`` with ``ρ`` written out, which is squared at ``κ = 1/2``."""
    depth, beta = len(widths) - 1, 0.7
    lam = np.array([[1.7, 0.9, 0.4], [1.3, 1.1, 0.2]])[:, :rank]

    def rho(power_of_orbits):
        hidden = sum(d - rank for d in widths[1:-1])
        ends = widths[0] + widths[-1] - 2 * rank
        total = np.prod(lam ** (ends + hidden * power_of_orbits), axis=-1)
        for k, l in itertools.combinations(range(rank), 2):
            near = lam[:, k] ** 2 - lam[:, l] ** 2
            far = lam[:, k] ** (2 * depth) - lam[:, l] ** (2 * depth)
            total = total * near * (far / near) ** (power_of_orbits / 2)
        return total

    for kappa, entropic, power in ((1.0, True, 1.0), (0.5, True, 2.0), (1.0, False, 0.0)):
        if rank == 3 and kappa != 1:
            continue
        law = Equilibrium(tilted, widths, rank, beta=beta, kappa=kappa, entropic=entropic)
        expected = np.log(rho(power)) - beta / kappa * tilted(lam**depth)
        found = law.log_density(lam)
        assert np.ptp(found - expected) < 1e-10


@pytest.mark.parametrize("beta", [1.0, 5.0])
def test_partition_function_by_monte_carlo(beta):
    """In all of parameter space, by the coarea formula: ``∫ δ(μ(W)) |dμ| e^{-β‖W‖²/2} dW``.

    Given ``W_1`` the density of ``μ`` at zero is that of Wishart's law of ``W_2ᵀ W_2`` at
    ``W_1 W_1ᵀ``; symmetric matrices have their Frobenius metric.
    """
    count = 40_000
    first = np.random.default_rng(0).standard_normal((count, 2, 2)) / beta**0.5
    gram = first @ first.swapaxes(1, 2)
    wishart = scipy.stats.wishart(2, np.eye(2) / beta).pdf(np.moveaxis(gram, 0, -1)) / 2**0.5
    basis = np.array([[[1, 0], [0, 0]], [[0, 0], [0, 1]], [[0, 1], [1, 0]]])
    basis = basis / np.sqrt([1, 1, 2])[:, None, None]
    # The balanced W_2 = W_1ᵀ, and dμ(V) = 2 sym(W_2ᵀ V_2 - V_1 W_1ᵀ) along the basis.
    lifted = 2 * (basis @ first[:, None]).reshape(count, 3, 4)
    lifted = np.concatenate([lifted, lifted], axis=-1)
    jacobians = np.sqrt(np.linalg.det(lifted @ lifted.swapaxes(1, 2)))
    values = wishart * jacobians * (2 * math.pi / beta) ** 4
    mean, error = values.mean(), values.std() / count**0.5
    exact = math.exp(Equilibrium(norm(2), (2, 2, 2), beta=beta).log_partition)
    assert error < 0.01 * exact
    assert abs(mean - exact) < 4 * error


# --- closed forms ---------------------------------------------------------------------


@pytest.mark.parametrize("beta", [1e-3, 1.0, 1e3])
@pytest.mark.parametrize(("rows", "columns"), [(1, 1), (2, 2), (2, 4)])
def test_gaussian_integral_at_depth_one(rows, columns, beta):
    """``Z = (2π/β)^{mn/2}``: every constant is right."""
    law = Equilibrium(norm(1), (columns, rows), beta=beta)
    exact = rows * columns / 2 * math.log(2 * math.pi / beta)
    assert law.log_partition == pytest.approx(exact, abs=1e-9)
    assert law.error < 1e-9


def test_gaussian_integral_of_rank_three():
    law = Equilibrium(norm(1), (3, 3), beta=2.0)
    assert law.log_partition == pytest.approx(4.5 * math.log(math.pi), abs=1e-8)
    assert law.mean_energy == pytest.approx(9 / 4, rel=1e-8)


@pytest.mark.parametrize("beta", [1e-3, 1e3])
@pytest.mark.parametrize(
    ("widths", "rank"), [((1,) * 11, 1), ((2, 2, 2), 2), ((2,) * 11, 2), ((3, 2, 4, 3), 2)]
)
def test_equipartition(widths, rank, beta):
    """``M`` is a cone of dimension ``D``: ``⟨½‖W‖²⟩ = D/2β``, ``C = D/2``, ``Z ∝ β^{-D/2}``."""
    energy, size = norm(len(widths) - 1), dimension(widths, rank)
    law = Equilibrium(energy, widths, rank, beta=beta)
    assert law.mean_energy == pytest.approx(size / (2 * beta), rel=1e-9)
    assert law.heat_capacity == pytest.approx(size / 2, rel=1e-8)
    unit = Equilibrium(energy, widths, rank, beta=1.0).log_partition
    assert law.log_partition == pytest.approx(unit - size / 2 * math.log(beta), abs=1e-9)


# --- other integrals ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("widths", "kappa", "entropic"),
    [((2, 2, 2, 2), 1.0, True), ((2, 3, 4, 2), 0.3, True), ((2, 3, 2), 4.0, True),
     ((2, 2, 2, 2), 1.0, False)],
)  # fmt: skip
def test_two_values_by_another_rule(widths, kappa, entropic):
    """Partition function, means and the law of each value, in ``λ_1`` and ``λ_2/λ_1``."""
    depth, beta = len(widths) - 1, 1.3
    law = Equilibrium(tilted, widths, beta=beta, kappa=kappa, entropic=entropic)
    nodes, weights = np.polynomial.legendre.leggauss(12)

    def composite(end):
        # Of the fourth root: at κ ≠ 1 the density is a fractional power at zero.
        edges = np.linspace(0, 1, 41)
        width = np.diff(edges)[:, None]
        root = (edges[:-1, None] + width * (nodes + 1) / 2).ravel()
        return end * root**4, end * 4 * root**3 * (width * weights / 2).ravel()

    def integral(f, largest=2.6, smallest=np.inf):
        parts = []
        for start, end in ((0, min(largest, smallest)), (smallest, largest)):
            if end <= start:
                continue
            x, wx = composite(end - start)
            u, wu = composite(1.0)
            lam = np.stack(np.broadcast_arrays(x[:, None] + start, u), axis=-1)
            top = np.minimum(lam[..., 0], smallest)
            lam[..., 1] *= top
            volume = log_spectral_volume(lam, widths, kappa, entropic=entropic)
            sigma = lam**depth
            exponent = volume - beta / kappa * tilted(sigma) - law.log_partition
            parts.append(wx @ (f(sigma) * np.exp(exponent) * top) @ wu)
        return sum(parts)

    def one(sigma):
        return 1.0

    assert integral(one) == pytest.approx(1, abs=1e-9)
    mean = law.mean(lambda sigma: sigma)
    for k in range(2):
        assert mean[k] == pytest.approx(integral(lambda s, k=k: s[..., k]), rel=1e-9)
    assert law.mean_energy == pytest.approx(integral(tilted), rel=1e-9)
    below = integral(one, smallest=0.7)
    assert law.marginal(-1).cdf(0.7**depth) == pytest.approx(below, abs=1e-8)
    below = integral(one, largest=1.1)
    assert law.marginal(0).cdf(1.1**depth) == pytest.approx(below, abs=1e-8)


def test_entropy_shifts_the_law():
    """The numbers of THEORY 4, with the entropy and without."""
    for depth, entropic, expected in (
        (2, True, (0.744, 0.089)), (2, False, (0.595, 0.072)), (3, True, (0.521, 0.028)),
    ):  # fmt: skip
        law = Equilibrium(norm(depth), (2,) * (depth + 1), beta=3.0, entropic=entropic)
        np.testing.assert_allclose(law.mean(lambda sigma: sigma), expected, atol=5e-4)


# --- thermodynamics -------------------------------------------------------------------


@pytest.mark.parametrize("kappa", [1.0, 0.4])
@pytest.mark.parametrize("widths", [(1, 1, 2), (2, 2, 3, 2)])
def test_derivatives_by_temperature(widths, kappa):
    """``κ d log Z/dβ = -⟨E⟩`` and ``C = -β² d⟨E⟩/dβ``."""
    step = 1e-3

    def at(beta):
        return Equilibrium(double_well, widths, beta=beta, kappa=kappa)

    law, ups, downs = at(1.5), [at(1.5 + k * step) for k in (1, 2)], [
        at(1.5 - k * step) for k in (1, 2)
    ]  # fmt: skip

    def slope(name):
        one, two = (
            getattr(up, name) - getattr(down, name) for up, down in zip(ups, downs, strict=True)
        )
        return (8 * one - two) / (12 * step)

    assert -kappa * slope("log_partition") == pytest.approx(law.mean_energy, rel=1e-8)
    assert -(1.5**2) * slope("mean_energy") == pytest.approx(law.heat_capacity, rel=1e-8)
    # Of F = -(κ/β) log Z and of the Gibbs entropy.
    assert law.free_energy == pytest.approx(-kappa / 1.5 * law.log_partition, rel=1e-14)
    if kappa == 1:
        assert law.entropy == pytest.approx(1.5**2 * slope("free_energy"), rel=1e-8)


@pytest.mark.parametrize(("kappa", "entropic"), [(1.0, True), (0.4, True), (2.0, False)])
def test_gibbs_entropy(kappa, entropic):
    """``-∫ p log p`` over ``λ``, the frames and the orbit, which are uniform."""
    widths = (2, 3, 2)
    law = Equilibrium(tilted, widths, beta=2.0, kappa=kappa, entropic=entropic)

    def log_volume(sigma):
        return log_spectral_volume(sigma**0.5, widths, entropic=entropic)

    expected = -law.mean(lambda sigma: law.log_density(sigma**0.5) - log_volume(sigma))
    assert law.entropy == pytest.approx(expected, rel=1e-8)


def test_slow_noise_finds_the_minimum_of_free_energy():
    """``κ → 0``: the free energy is the least ``E - S/β``."""
    law = Equilibrium(double_well, (1, 4, 1), beta=2.0, kappa=1e-4)
    sigma = np.linspace(0.5, 4, 20_001)[:, None]
    least = np.min(double_well(sigma) - spectral_entropy(sigma, (1, 4, 1)) / 2)
    assert law.free_energy == pytest.approx(least, abs=1e-3)


def test_curves():
    curves = thermodynamic_curves(norm(3), (2,) * 4, [0.5, 1.0, 2.0])
    size = dimension((2,) * 4)
    np.testing.assert_allclose(curves.mean_energy, size / 2 / curves.beta, rtol=1e-9)
    np.testing.assert_allclose(curves.heat_capacity, size / 2, rtol=1e-9)
    # Of a cone, S(β) = S(1) - (D/2) log β.
    shifts = np.diff(curves.entropy)
    np.testing.assert_allclose(shifts, -size / 2 * math.log(2), rtol=1e-8)


# --- hard energies --------------------------------------------------------------------


@pytest.mark.parametrize("scale", [1e-6, 1e6])
@pytest.mark.parametrize("widths", [(1, 1, 1, 1), (2, 3, 2)])
def test_scales(widths, scale):
    """``E(σ/s)``: a change of unit, which ``Z`` and quantiles know exactly."""
    depth = len(widths) - 1
    one = Equilibrium(double_well, widths, beta=2.0)
    other = Equilibrium(lambda sigma: double_well(sigma / scale), widths, beta=2.0)
    shift = dimension(widths) / depth * math.log(scale)
    assert other.log_partition == pytest.approx(one.log_partition + shift, abs=1e-9)
    probabilities = np.array([0.01, 0.5, 0.99])
    np.testing.assert_allclose(
        other.marginal(-1).quantile(probabilities),
        scale * one.marginal(-1).quantile(probabilities),
        rtol=1e-5,
    )


def test_walls_and_kinks():
    """Infinite energies bar a region; the error of a kink is told."""
    law = Equilibrium(lambda s: np.where(s[:, 0] > 2, np.inf, s[:, 0]), (1, 1), beta=1.0)
    assert law.log_partition == pytest.approx(math.log(2 * (1 - math.exp(-2))), abs=1e-9)
    assert law.mean_energy == pytest.approx(1 - 2 / (math.e**2 - 1), rel=1e-9)
    kink = Equilibrium(lambda s: abs(s[:, 0] - 1), (1, 1), beta=1.0)
    exact = math.log(2 * (2 - math.exp(-1)))
    assert abs(kink.log_partition - exact) < 1e-9


BAD = {
    "not confining": (lambda s: 0 * s[:, 0], {}, "does not confine"),
    "power law": (lambda s: np.log1p(s[:, 0]), {"beta": 0.9}, "does not confine"),
    "unbounded below": (lambda s: s[:, 0] - np.sqrt(s[:, 0]) * 3 - s[:, 0] ** 2, {}, "confine"),
    "attracting zero": (lambda s: 2 * np.log(s[:, 0]) + s[:, 0], {}, "falls towards zero"),
    "NaN": (lambda s: np.where(s[:, 0] > 1, np.nan, s[:, 0]), {}, "NaN or -inf at the singular"),
    "-inf": (lambda s: np.where(s[:, 0] > 1, -np.inf, s[:, 0]), {}, "NaN or -inf at the singular"),
    "nowhere": (lambda s: s[:, 0] + np.inf, {}, r"\+inf at all"),
    "shape": (lambda s: s, {}, r"to shape \[p\], got"),
    "number": (lambda s: 1.0, {}, r"to shape \[p\], got"),
    "beta": (norm(1), {"beta": 0.0}, "beta must be positive and finite, got 0.0"),
    "NaN beta": (norm(1), {"beta": math.nan}, "beta must be positive and finite, got nan"),
    "kappa": (norm(1), {"kappa": 0.0}, "kappa must be positive and finite, got 0.0"),
    "rank": (norm(1), {"widths": (5, 5)}, "at most 4 singular values, got rank 5"),
}


@pytest.mark.parametrize(("energy", "options", "message"), BAD.values(), ids=BAD)
def test_errors(energy, options, message):
    with pytest.raises(ValueError, match=message):
        Equilibrium(energy, **{"widths": (1, 1), "beta": 1.0, **options})
