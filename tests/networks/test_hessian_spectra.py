"""Spectra against PyTorch's Hessians, closed forms against both, and steps against descent."""

from typing import Any

import numpy
import pytest

import dlngeo
from dlngeo.core.base.vectors import Layers
from dlngeo.core.networks import adjoint_differential
from dlngeo.losses import Factorization, LinearRegression
from dlngeo.networks import (
    LinearNetwork,
    hessian_spectra,
    hessian_spectrum,
    largest_step,
    lowest_curvature,
    minimum_spectrum,
    sharpness,
)
from tests.core.brute import assert_close, random_factors
from tests.networks.torch_hessian import torch_hessian

RNG = numpy.random.default_rng(6)
SHAPES = [((3, 2), 2), ((3, 4, 2), 2), ((4, 3, 3, 3), 2), ((2,) * 11, 2), ((3,) * 11, 1)]


def regression(columns, rows, samples=8):
    return LinearRegression(RNG.normal(size=(samples, columns)), RNG.normal(size=(samples, rows)))


@pytest.mark.parametrize("widths", [(3, 2), (3, 4, 2), (4, 3, 3, 3), (2,) * 11])
@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
def test_extremes_are_those_of_pytorch(widths, scale):
    factors = [scale ** (1 / (len(widths) - 1)) * w for w in random_factors(widths, RNG)]
    loss = regression(widths[0], widths[-1])
    expected = numpy.linalg.eigvalsh(torch_hessian(factors, loss))
    size = abs(expected).max()
    assert sharpness(factors, loss) == pytest.approx(expected[-1], abs=1e-10 * size)
    assert lowest_curvature(factors, loss) == pytest.approx(expected[0], abs=1e-10 * size)
    assert_close(hessian_spectrum(factors, loss), expected[::-1], 1e-12)


def test_biases_sharpen():
    """Parameters more, be they zero, are rows and columns more of the Hessian."""
    network = LinearNetwork(random_factors((3, 4, 2), RNG), [numpy.zeros(4), None])
    loss = LinearRegression(RNG.normal(size=(8, 3)) + 1, RNG.normal(size=(8, 2)))
    expected = numpy.linalg.eigvalsh(torch_hessian(network, loss))
    assert sharpness(network, loss) == pytest.approx(expected[-1], rel=1e-10)
    assert sharpness(network.factors, loss) < 0.99 * expected[-1]


@pytest.mark.parametrize(
    ("depth", "lowest", "highest"), [(1, 1.0, 1.0), (2, -3.0, 3.0), (3, 0.0, 0.0)]
)
def test_zero_networks(depth, lowest, highest):
    """A saddle of depth two, and a point without curvature at higher depths."""
    factors, loss = numpy.zeros((depth, 2, 2)), Factorization(numpy.diag([3.0, 1.0]))
    assert lowest_curvature(factors, loss) == pytest.approx(lowest, rel=1e-10)
    assert sharpness(factors, loss) == pytest.approx(highest, rel=1e-10)


def test_maxima_have_no_positive_curvature():
    factors = random_factors((2, 2), RNG)
    assert sharpness(factors, lambda x: -(x**2).sum()) == pytest.approx(-2.0, rel=1e-10)


@pytest.mark.parametrize(("widths", "rank"), SHAPES)
@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
def test_balanced_minima_in_closed_form(widths, rank, scale):
    depth, size = len(widths) - 1, (widths[-1], widths[0])
    matrix = scale * RNG.normal(size=(size[0], rank)) @ RNG.normal(size=(rank, size[1]))
    factors = dlngeo.factorize(matrix, depth, widths=widths, rank=rank)
    inputs = RNG.normal(size=(9, size[1]))
    loss = LinearRegression(inputs, inputs @ matrix.T)
    for loss_here, moment in ((Factorization(matrix), None), (loss, inputs.T @ inputs / 9)):
        exact = minimum_spectrum(matrix, depth, moment)
        found = hessian_spectrum(factors, loss_here)
        padded = numpy.zeros(max(len(exact), len(found)))
        padded[: len(exact)] = exact
        assert_close(found, padded[: len(found)], 1e-11)
        assert abs(padded[len(found) :]).max(initial=0) <= 1e-12 * exact[0]
    top = depth * numpy.linalg.norm(matrix, 2) ** (2 - 2 / depth)
    assert sharpness(factors, Factorization(matrix)) == pytest.approx(top, rel=1e-11)


@pytest.mark.parametrize("widths", [(3, 4, 2), (3, 3, 4, 3)])
def test_balanced_minima_are_the_flattest(widths):
    """Of all factors of a matrix, on whitened data."""
    factors = random_factors(widths, RNG)
    matrix = dlngeo.end_to_end(factors)
    loss, least = Factorization(matrix), minimum_spectrum(matrix, len(factors))[0]
    assert sharpness(factors, loss) > 1.01 * least
    assert sharpness(dlngeo.balance(factors), loss) == pytest.approx(least, rel=1e-10)


def test_repeated_singular_values():
    exact = minimum_spectrum(2 * numpy.eye(3), 2)
    numpy.testing.assert_allclose(exact, numpy.full(9, 4.0), rtol=1e-14)


MINIMA = {
    "two numbers": (numpy.full((1, 1), 4.0), numpy.full((1, 1), 0.25)),
    "three layers": random_factors((3, 3, 4, 2), numpy.random.default_rng(1)),
}


@pytest.mark.parametrize("name", MINIMA)
@pytest.mark.parametrize("momentum", [0.0, 0.9])
@pytest.mark.parametrize("part", [0.9, 1.05, 1.5])
def test_descent_at_parts_of_the_largest_step(part, momentum, name):
    """Below it descent settles at the minimum near its start; above it leaves, for a flatter one.

    With much momentum it leaves for good at once.
    """
    minimum, rng = Layers(MINIMA[name]), numpy.random.default_rng(0)
    matrix = dlngeo.end_to_end(minimum)
    inputs = rng.normal(size=(9, matrix.shape[1]))
    loss = LinearRegression(inputs, inputs @ matrix.T)
    step = part * largest_step(minimum, loss, momentum)
    factors = minimum.map(lambda w: w + 1e-4 * rng.normal(size=w.shape))
    velocity, farthest = 0 * factors, 0.0
    for _ in range(1000):
        gradient = adjoint_differential(factors, loss.gradient(dlngeo.end_to_end(factors)))
        velocity = momentum * velocity - step * Layers(gradient)
        factors = factors + velocity
        farthest = max(farthest, float((factors - minimum).norm()))
        if farthest > 1e3:
            break
    if part < 1:
        assert farthest < 1e-3
        assert loss(dlngeo.end_to_end(factors)) < 1e-12
    elif momentum and part == 1.5:
        assert farthest > 1e3
    else:
        assert farthest > 0.05
        assert loss(dlngeo.end_to_end(factors)) < 1e-12
        assert sharpness(factors, loss) < 0.95 * sharpness(minimum, loss)


def test_steps_without_positive_curvature():
    assert largest_step(numpy.zeros((3, 2, 2)), Factorization(numpy.eye(2))) == numpy.inf


TARGET = Factorization(numpy.eye(2))


@pytest.mark.filterwarnings("ignore:overflow:RuntimeWarning")
@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: largest_step(numpy.ones((2, 2, 2)), TARGET, 1.0), "momentum must be below 1"),
        (lambda: largest_step(numpy.ones((2, 2, 2)), TARGET, -1.0), "momentum must be at least"),
        (lambda: minimum_spectrum(numpy.eye(2), 2, numpy.eye(3)), r"shape \(2, 2\), got \(3, 3\)"),
        (lambda: minimum_spectrum(numpy.eye(2), 2, [[1.0, 2], [0, 1]]), "not symmetric"),
        (lambda: minimum_spectrum(numpy.eye(2), 2, -numpy.eye(2)), "a negative eigenvalue"),
        (lambda: minimum_spectrum(1e300 * numpy.eye(2), 10), "the spectrum overflows"),
        (lambda: minimum_spectrum(numpy.ones((2, 2, 2)), 2), r"expected a matrix \[m, n\]"),
        (lambda: minimum_spectrum(numpy.eye(2), 0), "the depth must be a positive integer"),
        (
            lambda: hessian_spectrum(numpy.zeros((2, 50, 50)), Factorization(numpy.eye(50))),
            "5000 parameters has too many eigenvalues",
        ),
    ],
)
def test_refused(call: Any, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_lanczos_that_does_not_converge_is_told(monkeypatch):
    monkeypatch.setattr(hessian_spectra, "MOST_STEPS", 5)
    values = numpy.linspace(1, 2, 400)
    loss = LinearRegression(20 * numpy.diag(values), numpy.zeros((400, 1)))
    with pytest.raises(ValueError, match="Lanczos has not converged after 5 Hessian products"):
        sharpness([numpy.zeros((1, 400))], loss)
