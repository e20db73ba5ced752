"""The Kempf–Ness function: derivatives along geodesics, minimum, certificate, Schatten norms."""

from itertools import pairwise

import numpy as np
import pytest
from scipy import linalg, optimize

from dlngeo.core.fibres import kempf_ness_function as kn
from dlngeo.core.networks import balancing
from dlngeo.core.networks import network as nw
from tests.core.brute import (
    assert_close,
    derivative,
    flatten,
    power,
    product,
    random_factors,
    second_derivative,
    unflatten,
)
from tests.core.fibres.fibre_laws import (
    ALL,
    DEEP,
    assert_first_derivatives,
    elements_of,
)
from tests.core.libraries import inner, like

THIN = pytest.mark.parametrize(
    "widths", [(3, 3, 3), (3, 3, 3, 3), (4, 2, 3), (3, 2, 2, 4)], ids=str
)


def metrics_of(widths, rng):
    """Return random positive definite matrices of the hidden widths."""
    return tuple(linalg.expm(0.4 * (a + a.T)) for a in elements_of(widths, rng))


@DEEP
def test_kempf_ness_is_half_the_squared_norm_on_the_orbit(widths):
    """``Ψ(gᵀ g) = ½ ‖g·W‖²``."""
    rng = np.random.default_rng(12)
    factors, g = random_factors(widths, rng), elements_of(widths, rng)
    expected = np.sum(flatten(nw.act(g, factors)) ** 2) / 2
    assert_close(kn.kempf_ness(factors, tuple(a.T @ a for a in g)), expected, 1e-9)


@DEEP
def test_kempf_ness_along_geodesics(widths):
    """Gradient and second derivative along ``h^{1/2} e^{tS} h^{1/2}``, which is convex."""
    rng = np.random.default_rng(13)
    factors, metrics = random_factors(widths, rng), metrics_of(widths, rng)
    roots = [power(h, 0.5) for h in metrics]
    moves = [a + a.T for a in elements_of(widths, rng)]

    def energy(t):
        curve = [r @ linalg.expm(t * s) @ r for r, s in zip(roots, moves, strict=True)]
        return kn.kempf_ness(factors, tuple(curve))

    velocity = tuple(r @ s @ r for r, s in zip(roots, moves, strict=True))
    gradient = kn.kempf_ness_gradient(factors, metrics)
    slope = sum(
        np.trace(np.linalg.solve(h, g) @ np.linalg.solve(h, v))
        for h, g, v in zip(metrics, gradient, velocity, strict=True)
    )
    assert_close(slope, derivative(energy, 1e-3), 1e-7, scale=abs(energy(0.0)))
    second = kn.kempf_ness_hessian(factors, metrics, velocity)
    assert second >= 0
    assert_close(second, second_derivative(energy, 1e-3), 1e-5)


@THIN
def test_limit_metrics_are_the_minimum(widths):
    """Any ``g`` with ``gᵀ g = P`` balances, and a minimiser of SciPy finds ``P``."""
    rng = np.random.default_rng(14)
    factors = random_factors(widths, rng)
    metrics = kn.limit_metrics(factors)
    roots = tuple(np.linalg.cholesky(h).T for h in metrics)
    balanced = nw.act(roots, factors)
    for before, after in pairwise(balanced):
        assert_close(after.T @ after, before @ before.T, 1e-9)
    expected = widths[1:-1]

    def energy(vector):
        logs = unflatten(vector, metrics)
        return kn.kempf_ness(factors, tuple(linalg.expm(a + a.T) for a in logs))

    start = np.concatenate([np.zeros(width**2) for width in expected])
    found = optimize.minimize(energy, start, method="BFGS", options={"gtol": 1e-8})
    for a, metric in zip(unflatten(found.x, metrics), metrics, strict=True):
        assert_close(linalg.expm(a + a.T), metric, 1e-4)
    assert_close(found.fun, kn.certificate(factors).minimum / 2, 1e-8)
    assert_close(found.fun, kn.kempf_ness(factors, metrics), 1e-8)


@DEEP
@pytest.mark.parametrize("exponent", [0.5, 1.0, 2.0, 3.0])
def test_balanced_factors_minimise_schatten_norms(widths, exponent):
    """The minimum is ``N Σ σ^{q/N}``, taken by `balance`, and no other point is below."""
    rng = np.random.default_rng(15)
    factors = random_factors(widths, rng)
    balanced = balancing.balance(factors)
    sigma = np.linalg.svd(product(factors), compute_uv=False)[: min(widths)]
    depth = len(factors)
    least = depth * np.sum(sigma ** (exponent / depth))
    found = kn.schatten_minimum(product(factors), depth, exponent, min(widths))
    assert_close(found, least, 1e-12)
    # Layers wider than the rank have zeros for singular values, to round-off.
    assert_close(kn.schatten_norm(balanced, exponent), least, 1e-14 ** min(exponent, 0.7) * 10)
    for scale in (1e-2, 0.3):
        g = [linalg.expm(scale * a) for a in elements_of(widths, rng)]
        assert kn.schatten_norm(nw.act(tuple(g), balanced), exponent) > least
    values = [np.linalg.svd(w, compute_uv=False) for w in factors]
    expected = sum(np.sum(v**exponent) for v in values)
    assert_close(kn.schatten_norm(factors, exponent), expected, 1e-12)


@ALL
def test_certificate(widths):
    """Moment map, norm, minimum and gap; zero at balanced factors."""
    factors = random_factors(widths, np.random.default_rng(16))
    found = kn.certificate(factors)
    moments = [b.T @ b - a @ a.T for a, b in pairwise(factors)]
    assert_close(found.moment_map_norm, sum(np.sum(m**2) for m in moments) ** 0.5, 1e-13)
    assert_close(found.squared_norm, np.sum(flatten(factors) ** 2), 1e-13)
    assert_close(found.gap, found.squared_norm - found.minimum, 1e-13)
    end = kn.certificate(balancing.balance(factors))
    assert end.moment_map_norm < 1e-12 * end.squared_norm
    assert abs(end.gap) < 1e-12 * end.squared_norm
    assert_close(end.minimum, found.minimum, 1e-12)


# --- libraries, errors ----------------------------------------------------------------


def energy_function(*arrays):
    half = (len(arrays) + 1) // 2
    layers, metrics = arrays[:half], arrays[half:]
    sym = tuple(h @ h.swapaxes(-1, -2) for h in metrics)
    return kn.kempf_ness(layers, sym) + kn.kempf_ness_hessian(layers, sym, sym)


def limit_function(*arrays):
    rng = np.random.default_rng(32)
    weights = like(arrays[0], [rng.standard_normal((3, 3)) for _ in arrays[1:]])
    return inner(tuple(kn.limit_metrics(arrays)), tuple(weights))


SQUARE = random_factors((3, 3, 3, 3), np.random.default_rng(33))
CASES = {
    "energy": (energy_function, (*SQUARE, *(np.eye(3) + 0.1 * w for w in SQUARE[1:]))),
    "limit": (limit_function, SQUARE),
}


@pytest.mark.parametrize(("function", "point"), CASES.values(), ids=CASES)
def test_first_derivatives_in_every_library(function, point):
    assert_first_derivatives(function, point)


def test_depth_one():
    """At depth 1 there is no group, and every matrix is balanced."""
    stack = np.random.default_rng(38).standard_normal((1, 3, 3))
    assert kn.limit_metrics(stack).shape == (0, 3, 3)
    assert kn.certificate(stack).moment_map_norm == 0


ONES = np.ones((3, 3))
PAIR = (np.eye(3), np.eye(3))
BAD_CALLS = {
    "wide layers": (lambda: kn.limit_metrics((ONES[:, :2], ONES[:2])), "outside the orbit"),
    "singular": (lambda: kn.limit_metrics((ONES, ONES)), "zero to round-off"),
    "exponent": (lambda: kn.schatten_norm(PAIR, 0.0), "positive and finite"),
    "metrics": (lambda: kn.kempf_ness(PAIR, (ONES, ONES)), "hidden widths"),
}


@pytest.mark.parametrize("name", BAD_CALLS)
def test_errors_say_what_to_do(name):
    """Every bad call is a ValueError that says what was expected."""
    call, message = BAD_CALLS[name]
    with pytest.raises(ValueError, match=message):
        call()
