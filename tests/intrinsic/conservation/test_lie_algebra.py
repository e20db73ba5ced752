"""Lie algebras of gradient fields: series of transported covectors, and dimensions."""

import autograd
import autograd.numpy as np
import pytest

from dlngeo.intrinsic import conservation_laws
from dlngeo.intrinsic.conservation.finite_field import PRIMES
from dlngeo.intrinsic.conservation.lie_algebra import lie_dimension, network_chain, pairings
from tests.intrinsic.networks import forward, random_networks, size


@pytest.mark.parametrize("bias", [False, True])
def test_without_an_upper_bound_the_dimension_is_the_same(bias):
    """Saturation alone, which knows nothing of laws."""
    for widths in random_networks(40, depths=[1, 2, 3], widest=3, seed=1):
        found = lie_dimension(network_chain(widths, bias))
        dimension = conservation_laws(widths, bias=bias).lie_algebra_dimension
        assert found.dimension == dimension, widths
        assert found.is_proved == (dimension in (1, size(widths, bias)))


@pytest.mark.parametrize("bias", [False, True])
def test_the_first_coefficients_are_products_with_the_gradients(bias):
    """Against the Jacobian by autograd, in small integers."""
    widths, prime, rng = (2, 3, 2), PRIMES[0], np.random.default_rng(0)
    n_parameters = size(widths, bias)
    point, covectors = rng.integers(5, size=n_parameters), rng.integers(5, size=(4, n_parameters))

    def phi(theta):
        matrix, shift = forward(theta, widths, bias)
        return (np.hstack([matrix, shift[:, None]]) if bias else matrix).ravel()

    gradients = autograd.jacobian(phi)(1.0 * point)
    found = pairings(network_chain(widths, bias), prime, point, covectors)
    assert (found == covectors @ gradients.T).all()
