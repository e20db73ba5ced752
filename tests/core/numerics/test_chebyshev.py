"""The Runge–Kutta–Chebyshev method: order, stability, what is between steps, its end."""

import numpy
import pytest
from scipy.integrate import solve_ivp

from dlngeo.core.numerics.chebyshev import STABLE, RungeKuttaChebyshev, _coefficients

RATES = numpy.array([0.0, 1.0, 1e3, 1e6])


def relax(time, state):
    """``ẋ = -λ (x - sin t)``."""
    return -RATES * (state - numpy.sin(time))


def exact(time):
    slow = RATES * (RATES * numpy.sin(time) - numpy.cos(time)) / (1 + RATES**2)
    return slow + (1 + RATES / (1 + RATES**2)) * numpy.exp(-RATES * time)


def integrate(velocity, end, start, tolerance, **options):
    return solve_ivp(
        velocity, (0, end), start, RungeKuttaChebyshev, rtol=tolerance, atol=tolerance, **options
    )


def polynomial(n_stages, z):
    """Return what a step makes of 1 where ``ẋ = z x``."""
    first, *rest = _coefficients(n_stages)
    before, now = numpy.ones_like(z), 1 + first * z
    for _, mu, nu, mu_h, gamma_h in rest:
        before, now = now, (1 - mu - nu) + mu * now + nu * before + mu_h * z * now + gamma_h * z
    return now


@pytest.mark.parametrize("n_stages", [2, 3, 10, 100, 3000])
def test_a_step_is_stable_and_of_second_order(n_stages):
    rates = -numpy.linspace(0, STABLE * (n_stages**2 - 1), 5001)
    assert abs(polynomial(n_stages, rates)).max() < 1 + 1e-9
    # Beyond it is not.
    beyond = numpy.array([-1.01 * STABLE * (n_stages**2 - 1) - 1])
    assert abs(polynomial(n_stages, beyond)).max() > 1
    z = numpy.array([0.02, 0.01])
    gap = abs(polynomial(n_stages, z) - numpy.exp(z))
    assert numpy.log2(gap[0] / gap[1]) == pytest.approx(3, abs=0.1)


@pytest.mark.parametrize("tolerance", [1e-3, 1e-6])
def test_a_stiff_problem(tolerance):
    """Times are told to stages, and the error is what was asked for."""
    path = integrate(relax, 2.0, numpy.ones(4), tolerance, t_eval=numpy.linspace(0, 2, 7))
    assert path.success
    expected = numpy.stack([exact(t) for t in path.t], axis=1)
    numpy.testing.assert_allclose(path.y, expected, atol=5 * tolerance)
    # Others need 2e6 / 6 steps of twelve evaluations.
    assert path.nfev < 60_000


def test_a_diffusion():
    """Of 300 numbers, ``ẋ = Δx``, against its eigenvectors."""
    n = 300
    places = numpy.arange(1, n + 1) / (n + 1)

    def diffuse(time, state):
        return (n + 1) ** 2 * numpy.diff(state, 2, prepend=0, append=0)

    path = integrate(diffuse, 0.1, numpy.sin(numpy.pi * places), 1e-6)
    rate = (2 * (n + 1) * numpy.sin(numpy.pi / 2 / (n + 1))) ** 2
    expected = numpy.exp(-0.1 * rate) * numpy.sin(numpy.pi * places)
    numpy.testing.assert_allclose(path.y[:, -1], expected, atol=1e-5)
    assert path.nfev < 4_000  # 9e4 rates, which others pass in at most six a step


def test_backwards_and_at_rest():
    path = solve_ivp(lambda t, x: x, (1, 0), [1.0], RungeKuttaChebyshev, rtol=1e-8, atol=1e-8)
    assert path.y[0, -1] == pytest.approx(numpy.exp(-1), abs=1e-6)
    still = integrate(lambda t, x: 0 * x, 1e6, numpy.ones(3), 1e-6)
    assert still.success
    numpy.testing.assert_array_equal(still.y[:, -1], 1.0)
    assert still.nfev < 100


def test_where_there_is_no_velocity_steps_shrink_to_nothing():
    path = integrate(lambda t, x: -x if x[0] > 0.5 else 0 * x + numpy.nan, 9.0, [1.0], 1e-6)
    assert not path.success
    assert "step size" in path.message
    assert path.t[-1] == pytest.approx(numpy.log(2), abs=1e-3)
