"""Hessian products against second derivatives by PyTorch."""

from typing import Any

import numpy
import pytest

from dlngeo.losses import LinearRegression, MatrixCompletion, MatrixSensing
from dlngeo.networks import LinearNetwork, hessian_product
from tests.core.brute import assert_close, flatten, random_factors
from tests.networks.torch_hessian import torch_hessian

RNG = numpy.random.default_rng(5)


def regression(columns, rows, samples=7):
    return LinearRegression(RNG.normal(size=(samples, columns)), RNG.normal(size=(samples, rows)))


@pytest.mark.parametrize("widths", [(3, 2), (4, 1, 3), (2, 3, 4, 3), (2,) * 11])
@pytest.mark.parametrize("samples", [1, 7])
def test_products_of_a_regression(widths, samples):
    factors = random_factors(widths, RNG)
    loss = regression(widths[0], widths[-1], samples)
    vector = random_factors(widths, RNG)
    product = hessian_product(factors, loss, vector)
    expected = torch_hessian(factors, loss) @ flatten(vector)
    assert_close(flatten(product), expected, 1e-12)


@pytest.mark.parametrize("loss", [lambda x: (x**4).sum(), lambda x: (x.T @ x).det()])
def test_products_of_a_function(loss):
    factors, vector = (random_factors((2, 4, 3), RNG) for _ in range(2))
    product = hessian_product(factors, loss, vector)
    assert_close(flatten(product), torch_hessian(factors, loss) @ flatten(vector), 1e-12)


@pytest.mark.parametrize("with_bias", [(True, True, True), (False, True, False), (True,)])
def test_biases_are_parameters(with_bias):
    widths = (3, 4, 2, 3)[: len(with_bias) + 1]
    biases, moved = (
        [RNG.normal(size=d) if b else None for d, b in zip(widths[1:], with_bias, strict=True)]
        for _ in range(2)
    )
    network = LinearNetwork(random_factors(widths, RNG), biases)
    vector = LinearNetwork(random_factors(widths, RNG), moved)
    loss = regression(widths[0], widths[-1])
    product = hessian_product(network, loss, vector)
    entries = flatten([*vector.factors, *(b for b in moved if b is not None)])
    came = flatten([*product.factors, *(b for b in product.biases if b is not None)])
    assert_close(came, torch_hessian(network, loss) @ entries, 1e-12)
    assert [b is None for b in product.biases] == [b is None for b in biases]


def test_functions_of_the_affine_map():
    """Of a network with biases other losses are functions of the matrix ``(X b)``."""
    network = LinearNetwork(random_factors((2, 3, 2), RNG), [None, RNG.normal(size=2)])
    loss = regression(2, 2)
    vector = LinearNetwork(random_factors((2, 3, 2), RNG), [None, RNG.normal(size=2)])
    affine = loss.with_intercept
    sensing = MatrixSensing(
        numpy.einsum("sn,mk->smkn", affine.inputs, numpy.eye(2)).reshape(-1, 2, 3) / 7**0.5,
        loss.outputs.ravel() / 7**0.5,
    )
    by_function = hessian_product(network, sensing, vector)
    by_loss = hessian_product(network, loss, vector)
    for one, other in zip(by_function.factors, by_loss.factors, strict=True):
        numpy.testing.assert_allclose(one, other, rtol=1e-12)


def test_answers_in_kind():
    stack, loss = RNG.normal(size=(3, 2, 2)), regression(2, 2)
    as_stack = hessian_product(stack, loss, stack)
    as_tuple = hessian_product(tuple(stack), loss, tuple(stack))
    as_network = hessian_product(LinearNetwork(stack), loss, stack)
    assert isinstance(as_stack, numpy.ndarray)
    assert isinstance(as_tuple, tuple)
    for p, layer in enumerate(as_stack):
        numpy.testing.assert_array_equal(layer, as_tuple[p])
        numpy.testing.assert_array_equal(layer, as_network.factors[p])


WIDTHS = (2, 3, 2)
FACTORS = random_factors(WIDTHS, RNG)
LOSS = regression(2, 2)
AFFINE = LinearNetwork(FACTORS, [None, numpy.ones(2)])


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((FACTORS, regression(3, 2), FACTORS), r"matrices of shape \(2, 3\), got \(2, 2\)"),
        ((FACTORS, LOSS, FACTORS[:1]), "expected matrices of shapes"),
        ((FACTORS, LOSS, LinearNetwork(FACTORS, [numpy.ones(3), None])), "layer 1 has no bias"),
        ((FACTORS, 3.0, FACTORS), "the loss.* must be a function"),
        (
            (AFFINE, MatrixCompletion(numpy.eye(2), numpy.eye(2) > 0), AFFINE),
            "in which the biases of the network do not enter: give a LinearRegression",
        ),
        ((AFFINE, lambda x: (x @ numpy.eye(2)).sum(), AFFINE), r"affine map \(X b\), .* \(2, 3\)"),
        (([1e300 * numpy.eye(2)] * 2, LOSS, [numpy.eye(2)] * 2), "overflows"),
    ],
)
def test_refused(arguments: Any, message):
    with pytest.raises(ValueError, match=message):
        hessian_product(*arguments)
