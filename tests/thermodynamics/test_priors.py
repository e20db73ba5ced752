"""The Gaussian prior of networks, as laws of the end-to-end matrix."""

import itertools

import mpmath
import numpy
import pytest
import scipy.integrate
from scipy.optimize import minimize_scalar

from dlngeo.core.networks.balancing import balance
from dlngeo.core.networks.network import end_to_end
from dlngeo.solvers import Factorization, learning_flow
from dlngeo.thermodynamics.priors import (
    log_balanced_prior,
    log_marginal_prior,
    log_profile_prior,
    sample_marginal_prior,
    shrinkage,
)


@pytest.mark.parametrize("widths", [(4, 4, 4), (3, 5, 4, 2), (2, 3), (4, 4, 4, 4, 4, 4)])
def test_profile_is_the_maximum_over_the_fibre(widths):
    rng = numpy.random.default_rng(0)
    factors = tuple(
        rng.normal(size=(after, before)) for before, after in itertools.pairwise(widths)
    )
    depth, matrix = len(factors), end_to_end(factors)
    best = -0.7 / 2 * sum(numpy.sum(layer**2) for layer in balance(factors))
    assert log_profile_prior(matrix, depth, 0.7) == pytest.approx(best, rel=1e-12)
    # Other points of the fibre: hidden layers in other bases.
    for _ in range(20):
        changes = [numpy.eye(widths[0])]
        changes += [numpy.eye(d) + 0.3 * rng.normal(size=(d, d)) for d in widths[1:-1]]
        changes += [numpy.eye(widths[-1])]
        others = [
            g @ layer @ numpy.linalg.inv(h)
            for layer, h, g in zip(balance(factors), changes[:-1], changes[1:], strict=True)
        ]
        numpy.testing.assert_allclose(end_to_end(tuple(others)), matrix, atol=1e-9)
        assert -0.7 / 2 * sum(numpy.sum(layer**2) for layer in others) <= best + 1e-12


@pytest.mark.parametrize("depth", [1, 2, 3, 5])
def test_balanced_law_of_numbers(depth):
    """A network of numbers: the Gaussian on ``|w_p| = λ``, with the length ``√N dλ``."""
    eta = 1.3

    def prior(x):
        return float(numpy.exp(log_balanced_prior(numpy.array([[x]]), depth, eta)))

    def mean(f):
        # In λ, in which the density is regular at zero.
        def part(power):
            def integrand(lam):
                x = lam**depth
                return f(x) ** power * prior(x) * depth * lam ** (depth - 1)

            return scipy.integrate.quad(integrand, 1e-9, 20, epsabs=0, epsrel=1e-10, limit=200)[0]

        return part(1) / part(0)

    def exact(f):
        def part(power):
            def integrand(lam):
                return f(lam**depth) ** power * numpy.exp(-eta * depth * lam**2 / 2)

            return scipy.integrate.quad(integrand, 0, 20, epsabs=0, epsrel=1e-10, limit=200)[0]

        return part(1) / part(0)

    assert mean(lambda x: x) == pytest.approx(exact(lambda x: x), rel=1e-6)
    assert mean(numpy.cos) == pytest.approx(exact(numpy.cos), rel=1e-6)


@pytest.mark.parametrize("depth", [1, 2])
@pytest.mark.parametrize("precision", [0.5, 3.0])
def test_marginal_of_numbers(depth, precision):
    """Against the integral over the other factor, and against samples."""

    def exact(x):
        if depth == 1:
            return mpmath.sqrt(precision / (2 * mpmath.pi)) * mpmath.exp(-precision * x**2 / 2)
        return mpmath.quad(
            lambda w: (
                2
                * precision
                / (2 * mpmath.pi)
                / w
                * mpmath.exp(-precision / 2 * (w**2 + (x / w) ** 2))
            ),
            [0, mpmath.sqrt(x), 10 * (1 + x)],
        )

    for x in (0.1, 0.7, 2.5):
        expected = float(mpmath.log(exact(mpmath.mpf(x))))
        assert float(log_marginal_prior(x, depth, precision)) == pytest.approx(expected, rel=1e-9)
        assert log_marginal_prior(-x, depth, precision) == log_marginal_prior(x, depth, precision)
    samples = sample_marginal_prior((1,) * (depth + 1), 200_000, precision, seed=0).ravel()
    edges = numpy.array([0.1, 0.5, 1.5])
    for low, high in itertools.pairwise(edges):
        part = scipy.integrate.quad(
            lambda x: numpy.exp(log_marginal_prior(x, depth, precision)), low, high
        )[0]
        found = numpy.mean((samples > low) & (samples < high))
        assert abs(found - part) < 4 * (part / len(samples)) ** 0.5


def test_marginal_far_out_does_not_underflow():
    assert numpy.isfinite(log_marginal_prior(1e5, 2, 1.0))


def test_samples():
    samples = sample_marginal_prior((3, 5, 2), 50_000, 4.0, seed=1)
    assert samples.shape == (50_000, 2, 3)
    # Of variance d_1 / η^2, entries uncorrelated.
    covariance = numpy.cov(samples.reshape(-1, 6).T)
    numpy.testing.assert_allclose(covariance, 5 / 16 * numpy.eye(6), atol=0.01)
    again = sample_marginal_prior((3, 5, 2), 50_000, 4.0, seed=1)
    numpy.testing.assert_array_equal(samples, again)


@pytest.mark.parametrize("depth", [1, 2, 3, 4, 10])
@pytest.mark.parametrize("strength", [1e-6, 0.01, 0.3, 2.0, 1e6])
def test_shrinkage_is_the_minimum(depth, strength):
    values = numpy.abs(numpy.random.default_rng(0).normal(size=30)) * 3 * max(1, strength)
    grid = numpy.concatenate([[0], numpy.geomspace(1e-12, 1, 20001)])
    for y, x in zip(values, shrinkage(values, depth, strength), strict=True):

        def cost(t, y=y):
            return (t - y) ** 2 / 2 + strength * depth / 2 * t ** (2 / depth)

        best = grid[numpy.argmin(cost(grid * y))] * y
        if best > 0:
            found = minimize_scalar(cost, bounds=(0.9 * best, min(y, 1.1 * best)), method="bounded")
            best = found.x if found.fun < cost(best) else best
        assert cost(x) <= cost(best) * (1 + 1e-9)
        if best > 0:
            assert x == pytest.approx(best, rel=1e-3)


@pytest.mark.parametrize("depth", [1, 2, 3])
def test_shrinkage_is_what_weight_decay_learns(depth):
    """The flow of a network with weight decay ends at the shrunk singular values."""
    rng = numpy.random.default_rng(0)
    u, v = (numpy.linalg.qr(rng.normal(size=(3, 3)))[0] for _ in range(2))
    values = numpy.array([4.0, 3.0, 2.0])
    target, decay = u * values @ v.T, 0.3
    factors = tuple(numpy.eye(3) + 0.1 * rng.normal(size=(3, 3)) for _ in range(depth))
    start = (factors[0] @ v.T, *factors[1:])
    start = (*start[:-1], u @ start[-1])
    flow = learning_flow(Factorization(target), start, t_final=200.0, weight_decay=decay, n_saved=2)
    found = flow.singular_values[-1]
    numpy.testing.assert_allclose(found, shrinkage(values, depth, decay), rtol=1e-5)


def test_refusals():
    with pytest.raises(ValueError, match="must not be negative, got 1 of 2"):
        shrinkage(numpy.array([1.0, -1.0]), 3, 0.1)
    with pytest.raises(ValueError, match="holds NaN"):
        shrinkage(numpy.array([1.0, numpy.nan]), 3, 0.1)
    with pytest.raises(ValueError, match="strength must be at least zero"):
        shrinkage(numpy.ones(2), 3, -0.1)
    with pytest.raises(ValueError, match="positive integer"):
        shrinkage(numpy.ones(2), 0, 0.1)
    with pytest.raises(ValueError, match="precision"):
        log_profile_prior(numpy.eye(2), 2, -1.0)
    with pytest.raises(ValueError, match="sample"):
        log_marginal_prior(1.0, 3)
    with pytest.raises(ValueError, match="NaN"):
        log_profile_prior(numpy.full((2, 2), numpy.nan), 2)
