"""The neural tangent kernel against Jacobians by PyTorch, and against Hessians."""

import numpy
import pytest
import torch

from dlngeo.core.networks import end_to_end
from dlngeo.losses import LinearRegression
from dlngeo.networks import LinearNetwork, hessian_spectrum, neural_tangent_kernel
from tests.core.brute import assert_close, random_factors

RNG = numpy.random.default_rng(8)


def jacobian(network, inputs):
    """Return the derivatives of all outputs by all weights and biases, shape=[s, m, D]."""
    present = [b for b in network.biases if b is not None]

    def outputs(*arrays):
        values, biases = torch.tensor(inputs), iter(arrays[network.depth :])
        for layer, bias in zip(arrays[: network.depth], network.biases, strict=True):
            values = values @ layer.T
            if bias is not None:
                values = values + next(biases)
        return values

    leaves = tuple(torch.tensor(a) for a in (*network.factors, *present))
    parts = torch.autograd.functional.jacobian(outputs, leaves)
    return torch.cat([part.flatten(2) for part in parts], dim=2).numpy()


@pytest.mark.parametrize("widths", [(3, 2), (2, 4, 3), (4, 3, 1, 2)])
@pytest.mark.parametrize("has_biases", [False, True])
@pytest.mark.parametrize("scale", [1e-3, 1e3])
def test_kernel_is_that_of_the_jacobian(widths, has_biases, scale):
    biases = [scale * RNG.normal(size=width) for width in widths[1:]]
    biases[len(biases) // 2] = None
    factors = [scale * w for w in random_factors(widths, RNG)]
    network = LinearNetwork(factors, biases if has_biases else None)
    inputs, others = RNG.normal(size=(5, widths[0])), RNG.normal(size=(4, widths[0]))
    expected = numpy.einsum("smp,tnp->stmn", jacobian(network, inputs), jacobian(network, others))
    assert_close(neural_tangent_kernel(network, inputs, others), expected, 1e-12)
    itself = neural_tangent_kernel(network, inputs)
    assert_close(itself, neural_tangent_kernel(network, inputs, inputs), 1e-13)


def test_kernel_has_the_spectrum_of_the_hessian():
    """At a global minimum of a regression the nonzero eigenvalues are those of ``Θ / s``."""
    factors, inputs = random_factors((3, 4, 2), RNG), RNG.normal(size=(5, 3))
    loss = LinearRegression(inputs, inputs @ end_to_end(factors).T)
    kernel = neural_tangent_kernel(factors, inputs).swapaxes(1, 2).reshape(10, 10)
    found = hessian_spectrum(factors, loss)
    assert_close(found[:10], numpy.linalg.eigvalsh(kernel)[::-1] / 5, 1e-12)
    assert_close(found[10:], numpy.zeros(10), 1e-12, scale=found[0])


def test_kernel_at_zero():
    """Of two layers at zero the outputs do not move; one layer has the Gram matrix of samples."""
    inputs = RNG.normal(size=(4, 2))
    assert not neural_tangent_kernel(numpy.zeros((2, 2, 2)), inputs).any()
    one = neural_tangent_kernel([numpy.zeros((1, 2))], inputs)[..., 0, 0]
    assert_close(one, inputs @ inputs.T, 1e-13)


@pytest.mark.parametrize("inputs", [numpy.ones(2), numpy.ones((4, 3)), numpy.full((1, 2), "a")])
def test_refused(inputs):
    with pytest.raises(ValueError, match=r"the inputs (must be samples in rows|is of type)"):
        neural_tangent_kernel(numpy.ones((2, 2, 2)), inputs)
