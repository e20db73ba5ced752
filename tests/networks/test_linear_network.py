"""The network as an object: outputs, biases, and where it serves as its factors."""

import autograd
import numpy
import pytest
from scipy.integrate import solve_ivp

import dlngeo
from dlngeo.networks import LinearNetwork

RNG = numpy.random.default_rng(0)
WIDTHS = (3, 4, 5, 2)
FACTORS = tuple(RNG.normal(size=shape) for shape in zip(WIDTHS[1:], WIDTHS[:-1], strict=True))
BIASES = tuple(RNG.normal(size=width) for width in WIDTHS[1:])


def test_outputs_are_those_of_matrix_and_bias():
    network = LinearNetwork(FACTORS, (BIASES[0], None, BIASES[2]))
    inputs = RNG.normal(size=(7, 3))
    expected = network(inputs)
    for same in (network, network.with_output_bias()):
        numpy.testing.assert_allclose(same(inputs), expected, rtol=1e-12)
        numpy.testing.assert_allclose(
            inputs @ same.matrix.T + same.bias, expected, rtol=1e-12, atol=1e-12
        )


def test_gradient_flow_with_biases_keeps_its_moment_map():
    inputs, outputs = RNG.normal(size=(6, 3)), RNG.normal(size=(6, 2))
    start = LinearNetwork(FACTORS, BIASES)
    sizes = [a.size for a in (*start.factors, *start.biases)]

    def parts(vector):
        arrays = autograd.numpy.split(vector, numpy.cumsum(sizes)[:-1])
        shapes = [a.shape for a in (*start.factors, *start.biases)]
        return [a.reshape(shape) for a, shape in zip(arrays, shapes, strict=True)]

    def loss(vector):
        *layers, b1, b2, b3 = parts(vector)
        values = inputs
        for layer, bias in zip(layers, (b1, b2, b3), strict=True):
            values = values @ layer.T + bias
        return autograd.numpy.sum((values - outputs) ** 2) / 50

    vector = numpy.concatenate([a.ravel() for a in (*start.factors, *start.biases)])
    slope = autograd.grad(loss)
    end = solve_ivp(lambda t, v: -slope(v), (0, 1), vector, rtol=1e-10, atol=1e-10).y[:, -1]
    *layers, b1, b2, b3 = parts(end)
    moved = LinearNetwork(layers, (b1, b2, b3))
    before, after = dlngeo.moment_map(start), dlngeo.moment_map(moved)
    for kept, value in zip(before, after, strict=True):
        numpy.testing.assert_allclose(value, kept, atol=1e-7)
    assert abs(moved.matrix - start.matrix).max() > 0.1


def test_network_serves_as_its_factors():
    network = LinearNetwork(FACTORS, (None, None, BIASES[2]))
    numpy.testing.assert_array_equal(dlngeo.end_to_end(network), dlngeo.end_to_end(FACTORS))
    assert dlngeo.network_entropy(network, 2) == dlngeo.network_entropy(FACTORS, 2)
    assert isinstance(dlngeo.balance(network), tuple)
    stack = LinearNetwork(numpy.stack([numpy.eye(2)] * 3))
    assert stack.depth == 3


def test_hidden_bias_is_not_forgotten():
    network = LinearNetwork(FACTORS, BIASES)
    with pytest.raises(ValueError, match=r"hidden layer 1 has a bias.*with_output_bias"):
        dlngeo.network_entropy(network, 2)


@pytest.mark.parametrize(
    ("factors", "biases", "message"),
    [
        (FACTORS, BIASES[:2], "a bias or None for each of 3 layers, got 2"),
        (FACTORS, (BIASES[1], None, None), r"bias 1 must have shape \(4,\)"),
        (numpy.zeros((2, 3, 4, 4)), None, "expected one network"),
        (FACTORS[::-1], None, "the widths do not chain"),
    ],
)
def test_what_does_not_fit_is_refused(factors, biases, message):
    with pytest.raises(ValueError, match=message):
        LinearNetwork(factors, biases)
