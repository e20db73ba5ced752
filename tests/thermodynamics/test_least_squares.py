"""Equilibrium of least squares: the Gaussian at depth one, and integrals over frames by grids."""

import numpy
import pytest

from dlngeo.thermodynamics import LeastSquaresEquilibrium
from dlngeo.thermodynamics.least_squares import spherical_cumulants
from dlngeo.thermodynamics.spectral_volume import log_spectral_volume

TARGET = numpy.array([[1.8, 0.4], [-0.3, 0.6]])


def overlaps(sigma, target, count=240):
    """Return ``tr(U Σ Vᵀ Yᵀ)`` on a grid of ``O(2) × O(2)``."""
    angle = 2 * numpy.pi * numpy.arange(count) / count
    cos, sin = numpy.cos(angle), numpy.sin(angle)
    turn = numpy.stack([cos, -sin, sin, cos], axis=-1).reshape(-1, 2, 2)
    signs = numpy.array([[1.0, 1.0], [1.0, -1.0]])
    matrices = numpy.einsum("aij,sj,blj->sabil", turn, signs * sigma, turn)
    return (matrices * target).sum(axis=(-2, -1)).ravel()


def weighted_cumulants(values, time):
    top = (time * values).max()
    weights = numpy.exp(time * values - top)
    mean = (weights * values).mean() / weights.mean()
    variance = (weights * (values - mean) ** 2).mean() / weights.mean()
    return numpy.log(weights.mean()) + top, mean, variance


@pytest.mark.parametrize("time", [0.0, 1e-6, 0.7, 9.0])
@pytest.mark.parametrize("sigma", [[1.3, 0.6], [1.0, 1.0], [1.0, 1e-6], [1.0]], ids=str)
def test_frames_of_two_by_two_matrices(time, sigma):
    values = numpy.linalg.svd(TARGET, compute_uv=False)
    full = numpy.append(sigma, [0.0] * (2 - len(sigma)))
    found = spherical_cumulants(numpy.array(sigma), values, 2, time)
    expected = weighted_cumulants(overlaps(full, TARGET), time)
    numpy.testing.assert_allclose(found, expected, rtol=1e-10, atol=1e-13)


@pytest.mark.parametrize("larger", [1, 2, 3, 10])
@pytest.mark.parametrize("size", [1e-6, 1.0, 30.0])
def test_frames_of_rows(larger, size):
    """Of a unit vector's first coordinate, with the density ``(1 - x²)^{(n-3)/2}``."""
    if larger == 1:
        values = numpy.array([1.0, -1.0])
    else:
        # Nodes in the angle, where the density is a power of the sine.
        angle = (numpy.arange(40_000) + 0.5) * numpy.pi / 40_000
        values = numpy.cos(angle)
    weights = numpy.ones(len(values)) if larger == 1 else numpy.sin(angle) ** (larger - 2)
    tilted = weights * numpy.exp(size * (values - 1))
    mean = (tilted * values).sum() / tilted.sum()
    variance = (tilted * (values - mean) ** 2).sum() / tilted.sum()
    log = numpy.log(tilted.sum() / weights.sum()) + size
    found = spherical_cumulants(numpy.array([0.5]), numpy.array([2.0]), larger, size)
    numpy.testing.assert_allclose(found, (log, mean, variance), rtol=1e-7, atol=1e-12)


def test_large_arguments_are_continued():
    """The series in ``1/z`` meets what is before it."""
    for larger in (1, 2, 3, 7):
        below, above = (
            spherical_cumulants(numpy.array([1.0]), numpy.array([1.0]), larger, z)
            for z in (0.9999999e5, 1.0000001e5)
        )
        assert above.log - below.log == pytest.approx(2e-2 * below.mean, rel=1e-6)
        assert above.mean == pytest.approx(below.mean, rel=1e-11)
        if larger > 1:
            assert above.variance == pytest.approx(below.variance, rel=1e-4)
    far = spherical_cumulants(numpy.array([1e30, 1.0]), numpy.array([1.0, 0.5]), 2, 1.0)
    assert numpy.isfinite(far).all()


@pytest.mark.parametrize("kappa", [1.0, 0.5])
@pytest.mark.parametrize("target", [TARGET, numpy.eye(2), numpy.ones((1, 3)), numpy.zeros((2, 1))])
def test_depth_one_is_gaussian(target, kappa):
    rows, columns = target.shape
    beta, size = 3.0, rows * columns
    law = LeastSquaresEquilibrium(target, (columns, rows), beta=beta, kappa=kappa)
    expected = size / 2 * numpy.log(2 * numpy.pi * kappa / beta)
    assert law.log_partition == pytest.approx(expected, abs=1e-9)
    assert law.mean_energy == pytest.approx(size * kappa / beta / 2, rel=1e-8)
    assert law.heat_capacity == pytest.approx(size * kappa / 2, rel=1e-7)
    assert law.entropy == pytest.approx(expected + size / 2, abs=1e-7)
    squares = law.mean(lambda sigma: (sigma**2).sum(axis=-1))
    assert squares == pytest.approx((target**2).sum() + size * kappa / beta, rel=1e-8)


@pytest.mark.parametrize(("widths", "rank", "kappa"), [((2, 2, 2, 2), 2, 1.0), ((2, 3, 2), 1, 0.5)])
def test_deep_networks(widths, rank, kappa):
    """Against grids over ``λ`` and over both frames, and differences by ``β``."""
    beta, step, depth = 4.0, 1e-4, len(widths) - 1
    laws = [
        LeastSquaresEquilibrium(TARGET, widths, rank, beta=beta + shift, kappa=kappa)
        for shift in (-step, 0.0, step)
    ]
    nodes, weights = numpy.polynomial.legendre.leggauss(23)
    fractions, weights = (nodes + 1) / 2, weights / 2
    top = 2.4 ** (1 / depth) * 1.25
    if rank == 1:
        lam, measure = top * fractions[:, None], top * weights
    else:
        first, share = (
            a.ravel() for a in numpy.meshgrid(top * fractions, fractions, indexing="ij")
        )
        lam = numpy.stack([first, first * share], axis=-1)
        measure = numpy.outer(top * weights, weights).ravel() * first
    volume = numpy.exp(log_spectral_volume(lam, widths, kappa))
    total, energy = 0.0, 0.0
    for sigma, mass in zip(lam**depth, measure * volume, strict=True):
        full = numpy.append(sigma, [0.0] * (2 - rank))
        costs = ((full**2).sum() + (TARGET**2).sum()) / 2 - overlaps(full, TARGET, 48)
        densities = numpy.exp(-beta / kappa * costs)
        total += mass * densities.mean()
        energy += mass * (costs * densities).mean()
    law = laws[1]
    assert law.log_partition == pytest.approx(numpy.log(total), abs=1e-6)
    assert law.mean_energy == pytest.approx(energy / total, rel=1e-6)
    slope = (laws[2].log_partition - laws[0].log_partition) / (2 * step)
    assert law.mean_energy == pytest.approx(-kappa * slope, rel=1e-6)
    bend = (laws[2].mean_energy - laws[0].mean_energy) / (2 * step)
    assert law.heat_capacity == pytest.approx(-(beta**2) * bend, rel=1e-5)


def test_a_further_energy_of_singular_values():
    """``½‖X - Y‖² + a/2 ‖X‖²`` is a Gaussian around ``Y/(1 + a)``."""
    beta, weight = 3.0, 0.7
    law = LeastSquaresEquilibrium(
        TARGET, (2, 2), beta=beta, spectral=lambda sigma: weight / 2 * (sigma**2).sum(axis=-1)
    )
    least = weight / (1 + weight) * (TARGET**2).sum() / 2
    expected = 2 * numpy.log(2 * numpy.pi / (beta * (1 + weight))) - beta * least
    assert law.log_partition == pytest.approx(expected, abs=1e-9)
    assert law.mean_energy == pytest.approx(least + 2 / beta, rel=1e-8)
    assert law.heat_capacity == pytest.approx(2, rel=1e-7)


def test_refusals():
    with pytest.raises(ValueError, match=r"target of shape \(2, 2\), got \(3, 3\)"):
        LeastSquaresEquilibrium(numpy.eye(3), (2, 2), beta=1.0)
    with pytest.raises(ValueError, match="one row, one column and 2 × 2"):
        LeastSquaresEquilibrium(numpy.eye(3), (3, 3), beta=1.0)
    with pytest.raises(ValueError, match="NaN"):
        LeastSquaresEquilibrium(numpy.nan * numpy.eye(2), (2, 2), beta=1.0)
    with pytest.raises(ValueError, match="beta must be positive"):
        LeastSquaresEquilibrium(numpy.eye(2), (2, 2), beta=0.0)
