"""Passes through layers: against products of dense matrices and their derivatives."""

import autograd
import numpy
import pytest

from tests.intrinsic.relu_graphs import NAMES, network_called, normal

close = numpy.testing.assert_allclose


@pytest.mark.parametrize("name", NAMES)
def test_an_open_pass_is_linear_in_the_inputs(name):
    network = network_called(name)
    matrices = network.matrices(network.edge_vector(normal(network.n_parameters)))
    inputs = normal(2, network.n_inputs, seed=1)
    both = network.forward(matrices, numpy.stack([*inputs, inputs.sum(axis=0), 0 * inputs[0]]))[-1]
    close(both[0] + both[1], both[2] + both[3], atol=1e-12)


@pytest.mark.parametrize("name", NAMES)
def test_the_pass_backward_is_the_derivative(name):
    network = network_called(name)
    theta, inputs = normal(network.n_parameters), normal(3, network.n_inputs, seed=1)

    def outputs(parameters):
        return network.forward(network.matrices(network.edge_vector(parameters)), inputs)[-1]

    matrices = network.matrices(network.edge_vector(theta))
    values = network.forward(matrices, inputs)
    cotangents = normal(*values[-1].shape, seed=2)
    gradient = network.by_edges(values, network.backward(matrices, cotangents))
    close(gradient, autograd.grad(lambda p: (cotangents * outputs(p)).sum())(theta), atol=1e-12)


@pytest.mark.parametrize("name", NAMES)
def test_tangents_are_differences(name):
    network = network_called(name)
    theta, change = normal(2, network.n_parameters)
    inputs, step = normal(3, network.n_inputs, seed=1), 1e-6
    ahead, behind, at = (
        network.matrices(network.edge_vector(theta + s * step * change)) for s in (1, -1, 0)
    )
    changes = network.matrices(network.edge_vector(theta + change) - network.edge_vector(theta))
    values = network.forward(at, inputs)
    adjoints = network.backward(at, numpy.ones_like(values[-1]))
    passes = zip(network.forward(ahead, inputs), network.forward(behind, inputs), strict=True)
    slopes = [(a - b) / (2 * step) for a, b in passes]
    for found, slope in zip(network.tangents(at, changes, values), slopes, strict=True):
        close(found, slope, atol=1e-6)
    bent = network.adjoint_tangents(at, changes, adjoints)
    backs = (network.backward(m, numpy.ones_like(values[-1])) for m in (ahead, behind))
    for found, a, b in zip(bent, *backs, strict=True):
        if found is not None and a is not None and b is not None:
            close(found, (a - b) / (2 * step), atol=1e-6)


def test_what_is_on_no_path_of_weights_is_dead():
    network = network_called("no bias")
    theta = normal(network.n_parameters)
    assert not network.dead(theta).any()
    assert network.dead(0 * theta)[network.offsets[2] :].all()
