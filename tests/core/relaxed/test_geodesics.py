"""Geodesics of relaxed balanced networks, against Hamilton's equations and closed forms."""

import math

import autograd
import numpy as np
import pytest
from scipy.integrate import solve_ivp

from dlngeo.core.depth_metric import metric as observables
from dlngeo.core.geodesics import exponential, logarithm, transport
from dlngeo.core.relaxed import geodesics as rg
from dlngeo.core.relaxed import metric as relaxed
from dlngeo.core.relaxed.logarithm import log
from dlngeo.core.relaxed.strings import intrinsic_network
from tests.core.brute import assert_close
from tests.core.libraries import inner
from tests.core.relaxed.relaxed_networks import NETWORK, start


@pytest.mark.parametrize(
    ("widths", "offsets"), [((3, 3, 3), (0.5,)), ((2, 2, 4), (0.6,)), ((2, 3, 3, 3), (0.5, -0.4))]
)
def test_geodesics_obey_hamiltons_equations(widths, offsets):
    """``H = ½⟨P, dφ dφ*(P)⟩`` differentiated by autograd, integrated by SciPy."""
    network, matrix, velocity = start(widths, offsets, min(widths))

    def hamiltonian(x, p):
        return inner(p, relaxed.raise_index(x, p, network)) / 2

    slope = autograd.grad(hamiltonian, 0)

    def field(_, state):
        x, p = state.reshape(2, *matrix.shape)
        return np.concatenate([relaxed.raise_index(x, p, network).ravel(), -slope(x, p).ravel()])

    initial = np.concatenate(
        [matrix.ravel(), relaxed.lower_index(matrix, velocity, network).ravel()]
    )
    run = solve_ivp(field, (0, 1), initial, method="DOP853", rtol=1e-11, atol=1e-12)
    expected = run.y[: matrix.size, -1].reshape(matrix.shape)
    assert_close(rg.geodesic(matrix, velocity, network).point(1.0), expected, 1e-8)


@NETWORK
def test_geodesics_have_constant_speed_and_are_stationary(widths, offsets, rank):
    network, matrix, velocity = start(widths, offsets, rank)
    times, step = np.linspace(0, 1, 9), 1e-3
    points = rg.geodesic(matrix, velocity, network).point(
        np.concatenate([times, times - step, times + step])
    )
    here, back, ahead = points.reshape(3, 9, *matrix.shape)
    rates = (ahead - back) / (2 * step)
    squares = np.sum(rates * relaxed.lower_index(here, rates, network), axis=(-2, -1))
    np.testing.assert_allclose(squares, squares[0], rtol=1e-5)
    back_again = rg.geodesic(here[-1], -rates[-1], network).point(1.0)
    assert_close(back_again, matrix, 1e-4)


@pytest.mark.parametrize(
    ("widths", "rank", "scale"),
    [
        ((3, 3, 3), 3, 1.0),
        ((3, 3, 3), 3, 1e-3),
        ((3, 2, 4), 2, 1.0),
        ((3, 2, 4), 2, 1e3),
        ((2, 2, 2, 2), 2, 1e3),
    ],
)
def test_without_offsets_they_are_those_of_the_depth_metric(widths, rank, scale):
    depth = len(widths) - 1
    network, matrix, velocity = start(widths, (0.0,) * (depth - 1), rank, n=2)
    matrix, velocity = scale * matrix, scale * velocity
    end = exponential.exp(matrix, velocity, depth, rank)
    assert_close(rg.geodesic(matrix, velocity, network).point(1.0), end, 1e-9)
    vector = observables.tangent_projection(matrix, np.cos(matrix), rank)
    expected = transport.parallel_transport(matrix, velocity, vector, depth, rank)
    assert_close(rg.parallel_transport(matrix, velocity, vector, network), expected, 1e-8)
    expected = logarithm.log(matrix, end, depth, rank)
    assert_close(log(matrix, end, network), expected, 1e-8)


@NETWORK
def test_transport_is_an_isometry_and_carries_the_velocity(widths, offsets, rank):
    network, matrix, velocity = start(widths, offsets, rank)
    vector = relaxed.raise_index(matrix, np.cos(matrix), network)
    end = rg.geodesic(matrix, velocity, network).point(1.0)
    carried = rg.parallel_transport(matrix, velocity, np.stack([vector, velocity]), network)

    def gram(x, vectors):
        return np.array(
            [[inner(a, relaxed.lower_index(x, b, network)) for b in vectors] for a in vectors]
        )

    assert_close(gram(end, carried), gram(matrix, [vector, velocity]), 1e-8)
    step = 1e-4
    before, after = rg.geodesic(matrix, velocity, network).point(np.array([1 - step, 1 + step]))
    assert_close(carried[1], (after - before) / (2 * step), 1e-6)


def test_complete_metrics_have_no_boundary():
    """With one factor at the top a geodesic crosses ``det X = 0``; balanced ones end there."""
    velocity = np.diag([-3.0, 0.5])
    network = intrinsic_network((1.0,), (2, 2))
    points = rg.geodesic(np.eye(2), velocity, network).point(np.array([0.3, 1.0]))
    assert np.linalg.det(points[0]) > 0 > np.linalg.det(points[1])
    # One that ends at a singular matrix.
    singular, away = np.diag([1.0, 0.0]), np.array([[0.1, 0.2], [-0.1, 0.4]])
    before, after = rg.geodesic(singular, away, network).point(np.array([1.0, 1.0 + 1e-3]))
    back = log(before, singular, network)
    assert np.linalg.norm(back) < 2
    assert_close(rg.geodesic(before, back, network).point(1.0), singular, 1e-8)
    assert inner(back, after - before) < 0
    found = log(np.eye(2), points[1], network)
    assert_close(rg.geodesic(np.eye(2), found, network).point(1.0), points[1], 1e-9)
    for offsets in ((0.0,), (0.5, -0.5)):
        bound = intrinsic_network(offsets, (2, 2))
        with pytest.raises(ValueError, match="a singular value"):
            rg.geodesic(np.eye(2), velocity, bound).point(1.0)
        lost = rg.geodesic(np.eye(2), velocity, bound, on_boundary="nan").point(
            np.array([0.1, 1.0])
        )
        assert np.isfinite(lost[0]).all()
        assert np.isnan(lost[1]).all()


def test_geodesic_along_a_diagonal_in_closed_form():
    """``N = 2`` and one mode: the arc of the hyperbola ``w_2² - w_1² = c`` has constant speed."""
    offset, sigma, rate = 0.5, 0.8, 0.7
    network = intrinsic_network((offset,), (1, 1))

    def length(end):
        # The arc of the hyperbola between two products w_1 w_2, by quadrature.
        nodes, weights = np.polynomial.legendre.leggauss(60)
        x = sigma + (end - sigma) * (nodes + 1) / 2
        level = offset / 2 + np.sqrt(offset**2 / 4 + x**2)
        speed = 1 / np.sqrt(2 * level - offset)
        return math.copysign(1, end - sigma) * abs(end - sigma) / 2 * np.sum(weights * speed)

    end = rg.geodesic(np.array([[sigma]]), np.array([[rate]]), network).point(1.0)[0, 0]
    assert length(end) == pytest.approx(rate * (4 * (sigma**2 + offset**2 / 4)) ** -0.25, rel=1e-9)
