"""Hessians of losses: their own, and by the library whose arrays a function takes."""

import autograd.numpy as anp
import numpy
import pytest
import torch

from dlngeo.losses import LinearRegression, MatrixSensing
from dlngeo.losses.gradients import with_hessian
from tests.core.libraries import jnp

RNG = numpy.random.default_rng(2)
X, Z = RNG.normal(size=(2, 3, 2))
CUBIC = (lambda x: anp.sum(x**3), 6 * X * Z)
LINEAR = (lambda x: anp.sum(2 * x), 0 * X)
MIXED = (lambda x: torch.linalg.norm(x.T @ x) ** 2, 4 * (Z @ X.T @ X + X @ (Z.T @ X + X.T @ Z)))


class OwnGradient:
    def __call__(self, x):
        return (x**3).sum()

    def gradient(self, x):
        return 3 * x**2


@pytest.mark.parametrize(
    ("loss", "expected"),
    [
        CUBIC,
        LINEAR,
        MIXED,
        (lambda x: jnp.sum(x**3), 6 * X * Z),
        (lambda x: torch.sum(2 * x), 0 * X),
        (OwnGradient(), 6 * X * Z),
    ],
)
def test_hessian_by_the_library_of_the_function(loss, expected):
    _, hessian = with_hessian(loss)
    numpy.testing.assert_allclose(hessian(X, Z), expected, atol=1e-12)


def test_own_hessian_is_taken():
    class Loss(OwnGradient):
        def hessian_product(self, x, z):
            return 7 * z

    numpy.testing.assert_array_equal(with_hessian(Loss())[1](X, Z), 7 * Z)


@pytest.mark.parametrize("samples", [3, 9])
def test_regression_by_second_moment_and_by_samples(samples):
    """Of many samples their second moment, of few the samples."""
    inputs, outputs = RNG.normal(size=(samples, 4)), RNG.normal(size=(samples, 2))
    sensors = numpy.einsum("sn,mk->smkn", inputs, numpy.eye(2)).reshape(-1, 2, 4)
    same = MatrixSensing(sensors / samples**0.5, outputs.ravel() / samples**0.5)
    loss = LinearRegression(inputs, outputs)
    vector = RNG.normal(size=(2, 4))
    numpy.testing.assert_allclose(
        loss.hessian_product(vector, vector), same.hessian_product(vector, vector), rtol=1e-12
    )
    with pytest.raises(ValueError, match=r"matrices of shape \(2, 4\)"):
        loss.hessian_product(vector, vector.T)


def test_intercept_is_a_column():
    inputs, outputs = RNG.normal(size=(5, 3)), RNG.normal(size=(5, 2))
    weights, bias = RNG.normal(size=(2, 3)), RNG.normal(size=2)
    loss = LinearRegression(inputs, outputs).with_intercept
    expected = ((inputs @ weights.T + bias - outputs) ** 2).sum() / 10
    assert float(loss(numpy.column_stack([weights, bias]))) == pytest.approx(expected, rel=1e-14)


def test_functions_that_cannot_be_differentiated_are_told():
    class Opaque(OwnGradient):
        def gradient(self, x):
            return 3 * numpy.array([[float(entry) ** 2 for entry in row] for row in x])

    _, hessian = with_hessian(Opaque())
    with pytest.raises(ValueError, match=r"give the loss a method hessian_product"):
        hessian(X, Z)
