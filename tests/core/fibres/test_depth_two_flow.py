"""The flow of the squared moment map at depth two, against the linear Hamiltonian system."""

import mpmath
import numpy as np
import pytest

from dlngeo.core.fibres.depth_two_flow import metric_flow, polar_flow
from dlngeo.core.fibres.kempf_ness_function import kempf_ness_gradient, limit_metrics
from dlngeo.core.networks.network import moment_map
from tests.core.brute import (
    assert_close,
    derivative,
    flatten,
    orbit_velocity,
    product,
    random_factors,
)


def precise_metric(factors, time):
    """Return ``V U⁻¹`` of the linear Hamiltonian system, in 600 digits."""
    with mpmath.workdps(600):
        first, second = (mpmath.matrix(w.tolist()) for w in factors)
        g, h = second.T * second, first * first.T
        d = g.rows
        system = mpmath.zeros(2 * d)
        system[:d, d:], system[d:, :d] = 2 * h, 2 * g
        flow = mpmath.expm(mpmath.mpf(time) * system)
        both = flow * mpmath.matrix(np.vstack([np.eye(d), np.eye(d)]).tolist())
        metric = both[d:, :] * both[:d, :] ** -1
        return np.array(metric.tolist(), dtype=float)


@pytest.mark.parametrize("widths", [(3, 3, 3), (3, 5, 2), (4, 2, 3), (1, 1, 1)], ids=str)
@pytest.mark.parametrize("time", [0.0, 1e-3, 0.7, 30.0])
def test_metric_flow(widths, time):
    """The exponential in 600 digits agrees, at times where ``cosh`` needs 200 of them."""
    rng = np.random.default_rng(17)
    factors = random_factors(widths, rng)
    low = (factors[0] @ np.diag([0.0, *[1.0] * (widths[0] - 1)]), factors[1])
    for start in (factors, low, (factors[0], 0 * factors[1]), (0 * factors[0], factors[1])):
        found = metric_flow(start, time)
        assert_close(found.metric, precise_metric(start, time), 1e-10)
        assert_close(found.metric @ found.inverse, np.eye(widths[1]), 1e-9)


def test_metric_flow_ends_at_the_limit():
    """At infinite time it is `limit_metrics`; times broadcast."""
    factors = random_factors((3, 3, 3), np.random.default_rng(18))
    end = metric_flow(factors, np.inf)
    assert_close(end.metric, limit_metrics(factors)[0], 1e-11)
    times = np.array([0.0, 0.5, 2.0])
    many = metric_flow(factors, times)
    for i, time in enumerate(times):
        assert_close(many.metric[i], metric_flow(factors, time).metric, 1e-13)


def test_metric_flow_obeys_the_riccati_equation():
    """``Ṗ = 2 (G - P H P) = -4 grad Ψ(P)``."""
    factors = random_factors((3, 4, 2), np.random.default_rng(19))
    metric = metric_flow(factors, 0.3).metric
    change = derivative(lambda t: metric_flow(factors, 0.3 + t).metric, 1e-3)
    g, h = factors[1].T @ factors[1], factors[0] @ factors[0].T
    assert_close(change, 2 * (g - metric @ h @ metric), 1e-8)
    (gradient,) = kempf_ness_gradient(factors, (metric,))
    assert_close(change, -4 * gradient, 1e-8)


@pytest.mark.parametrize("widths", [(3, 3, 3), (3, 5, 2), (4, 2, 3)], ids=str)
def test_polar_flow_turns_to_the_flow_of_the_moment_map(widths):
    """``d/dt (R P^{1/2}·W) = ξ_μ`` at ``R = I``: the rotation rate is right."""
    factors = random_factors(widths, np.random.default_rng(20))
    now = polar_flow(factors, 0.4)
    change = derivative(lambda t: flatten(polar_flow(factors, 0.4 + t).factors), 1e-3)
    turned = orbit_velocity([now.turning], now.factors)
    (moment,) = moment_map(now.factors)
    expected = orbit_velocity([moment], now.factors)
    assert_close(now.turning, -now.turning.T, 1e-14, scale=1.0)
    assert_close(change + flatten(turned), flatten(expected), 1e-7)
    assert_close(product(now.factors), product(factors), 1e-12)


def test_another_depth_is_refused():
    with pytest.raises(ValueError, match="depth 2, got 1"):
        metric_flow((np.ones((3, 3)),), 1.0)
