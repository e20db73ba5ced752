"""Adaptive rules over boxes, against integrals that are known."""

import math

import numpy as np
import pytest
import scipy.integrate

from dlngeo.thermodynamics.cubature import Boxes, integrate, rule, support

DIMENSIONS = pytest.mark.parametrize("size", [1, 2, 3])


def cubature(function, lower, upper, rtol=1e-9):
    return integrate(function, *support(function, np.array(lower), np.array(upper)), rtol)


def normal(centres, widths, mass=1.0):
    """Return the logarithm of a product of normal densities, of some mass."""
    centres, widths = np.broadcast_arrays(centres, widths)
    constant = math.log(mass) - np.log(widths).sum() - len(widths) / 2 * math.log(2 * math.pi)
    return lambda y: constant - ((y - centres) ** 2 / (2 * widths**2)).sum(axis=-1)


@pytest.mark.parametrize("order", [6, 13])
def test_rule_is_exact_for_polynomials(order):
    """Of degree ``2n - 1``, on ``[0, 1]``, and not of the next."""
    nodes, weights = rule(order)
    for degree in range(2 * order):
        assert weights @ nodes**degree == pytest.approx(1 / (degree + 1), rel=1e-13)
    error = weights @ (2 * nodes - 1) ** (2 * order) - 1 / (2 * order + 1)
    assert abs(error) > 1e-9


def test_halved_boxes_fill_their_place():
    boxes = Boxes(np.array([[0.0, 1.0], [2.0, 3.0]]), np.array([[1.0, 2.0], [4.0, 8.0]]))
    halves = boxes.halve(np.array([[True, True], [False, True]]))
    found = sorted(zip(halves.lower.tolist(), halves.width.tolist(), strict=True))
    assert found == [
        ([0.0, 1.0], [0.5, 1.0]),
        ([0.0, 2.0], [0.5, 1.0]),
        ([0.5, 1.0], [0.5, 1.0]),
        ([0.5, 2.0], [0.5, 1.0]),
        ([2.0, 3.0], [4.0, 4.0]),
        ([2.0, 7.0], [4.0, 4.0]),
    ]
    grid = boxes.points(np.array([0.0, 0.5]))[1]
    assert grid.tolist() == [[2.0, 3.0], [2.0, 7.0], [4.0, 3.0], [4.0, 7.0]]


@pytest.mark.parametrize(("size", "width"), [(1, 1.0), (1, 1e-6), (2, 1e-3), (2, 1e-6), (3, 1e-6)])
def test_normal_wells_of_every_width(size, width):
    """A well ``10^-8`` times as wide as the box has its mass, its mean and its variance."""
    centres, widths = 5 + np.arange(size) / 7, width * (1 + np.arange(size))
    found = cubature(normal(centres, widths, 3.0), [-60.0] * size, [80.0] * size)
    assert found.log_integral == pytest.approx(math.log(3), abs=1e-8)
    assert found.error < 1e-8
    assert found.masses.sum() == pytest.approx(1, abs=1e-12)
    np.testing.assert_allclose(found.mean(lambda y: (y - centres) / widths), 0, atol=1e-7)
    np.testing.assert_allclose(found.mean(lambda y: ((y - centres) / widths) ** 2), 1, rtol=1e-7)


@DIMENSIONS
def test_narrow_wells_far_apart_have_their_shares(size):
    """Along each axis two wells ``10^-5`` wide, of unequal mass: ``2^r`` wells in all."""
    wells, scale = (-9.3, 11.1), 2e-4

    def along_axis(y):
        return -(((y - wells[0]) * (y - wells[1]) / scale) ** 2) / 2 + 0.05 * y

    found = cubature(lambda y: along_axis(y).sum(axis=-1), [-20.0] * size, [20.0] * size, 1e-8)
    masses = [
        scipy.integrate.quad(lambda y: math.exp(along_axis(y)), w - 2e-4, w + 2e-4, points=[w])[0]
        for w in wells
    ]
    assert found.log_integral == pytest.approx(size * math.log(sum(masses)), abs=1e-7)
    share = masses[0] / sum(masses)
    assert share == pytest.approx(0.265, abs=0.01)
    np.testing.assert_allclose(found.mean(lambda y: y < 0), share, rtol=1e-7)


@DIMENSIONS
def test_mass_at_the_ends_and_walls_within(size):
    """Exponentials from the end of the box to a wall: products of ``(1 - e^{-a c}) / a``."""
    rates, wall = 2.0 + np.arange(size), 0.7

    def function(y):
        inside = (y < wall).all(axis=-1)
        return np.where(inside, -(rates * y).sum(axis=-1), -np.inf)

    # Halves of the boxes end at the wall.
    found = cubature(function, [0.0] * size, [5.6] * size)
    exact = np.log(-np.expm1(-rates * wall) / rates).sum()
    assert found.log_integral == pytest.approx(exact, abs=1e-9)


def test_a_coupled_law():
    """``e^{-(x² + y²)/2 - c x y}`` over a quadrant, whose share is an arcus sine."""
    coupling = 0.9
    found = cubature(
        lambda y: -(y[..., 0] ** 2 + y[..., 1] ** 2 + 2 * coupling * y[..., 0] * y[..., 1]) / 2,
        [0.0, 0.0],
        [12.0, 12.0],
    )
    whole = 2 * math.pi / math.sqrt(1 - coupling**2)
    share = 0.25 + math.asin(-coupling) / (2 * math.pi)
    assert found.log_integral == pytest.approx(math.log(share * whole), abs=1e-9)


@pytest.mark.parametrize("rtol", [1e-3, 1e-6])
def test_the_error_of_a_step_is_told(rtol):
    """Where the function jumps the estimate is of the size of the error, and as was asked."""

    def function(y):
        return np.where(y[..., 0] < 0.3, 0.0, 1.0) - y[..., 0] ** 2

    found = cubature(function, [-20.0], [20.0], rtol)
    erf = math.erf(0.3)
    exact = math.log(math.sqrt(math.pi) * (1 + erf + math.e * (1 - erf)) / 2)
    assert 1e-14 < abs(math.expm1(found.log_integral - exact)) < 10 * found.error <= 10 * rtol


def test_no_mass_has_no_peak():
    _, peak = support(lambda y: np.full(y.shape[:-1], -np.inf), np.zeros(1), np.ones(1))
    assert peak == -math.inf


def test_a_rough_function_is_refused():
    """Wells without number are not searched for ever."""
    with pytest.raises(ValueError, match="too rough to integrate"):
        support(lambda y: 1e3 * np.sin(1e6 * y[..., 0]), np.array([0.0]), np.array([40.0]))


@pytest.mark.parametrize(
    "function",
    [
        lambda y: -((1e15 * (y - 0.3)) ** 2),
        lambda y: abs(y - 0.3) ** -3.0,
        lambda y: 1e40 * np.sin(y),
    ],
    ids=["a narrow well", "a pole", "a high barrier"],
)
@pytest.mark.parametrize("size", [1, 2])
def test_wells_that_are_not_resolved_are_refused(function, size):
    """The width of a well is to be a trillionth of the box at least, that of a pole is none."""
    with np.errstate(divide="ignore"), pytest.raises(ValueError, match="than double precision"):
        cubature(lambda y: function(y).sum(axis=-1), [0.0] * size, [20.0] * size)
