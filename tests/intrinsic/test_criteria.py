"""Intrinsic properties: against dense matrices, and on networks whose properties are known."""

from functools import partial
from itertools import pairwise

import autograd
import autograd.numpy as anp
import numpy as np
import pytest
from scipy.integrate import solve_ivp

from dlngeo.core.networks.balancing import balance
from dlngeo.intrinsic import (
    SmoothMap,
    conservation_laws,
    intrinsic_metric,
    intrinsic_metric_derivative,
    intrinsic_properties,
)
from tests.intrinsic.networks import linear_map, path_incidence, size

WIDTHS = [(2, 2, 2), (3, 3, 3, 3), (2, 3, 2), (3, 2, 3), (2, 1, 3, 2)]
ALL = pytest.mark.parametrize("widths", WIDTHS, ids=str)


def relu_map(widths, bias):
    """Return the path-lifting, path by path."""
    incidence = path_incidence(widths, bias) > 0

    def phi(theta):
        return anp.array([anp.prod(theta[row]) for row in incidence])

    return phi


def flat(factors):
    return np.concatenate([w.ravel() for w in factors])


def balanced_point(widths, rng):
    shapes = [(b, a) for a, b in pairwise(widths)]
    return flat(balance(tuple(rng.normal(size=shape) for shape in shapes)))


def dense_metric(phi, theta):
    jacobian = autograd.jacobian(phi)(theta)
    return jacobian @ jacobian.T


@ALL
@pytest.mark.parametrize("given", [False, True])
def test_metric_and_its_derivative(widths, given):
    phi = linear_map(widths)
    rng = np.random.default_rng(0)
    theta, xi = rng.normal(size=(2, size(widths)))
    source = SmoothMap(jacobian=autograd.jacobian(phi)) if given else phi
    metric = intrinsic_metric(source, theta)
    identity = np.eye(metric.shape[0])
    np.testing.assert_allclose(metric @ identity, dense_metric(phi, theta), atol=1e-12)
    step = 1e-5
    change = (dense_metric(phi, theta + step * xi) - dense_metric(phi, theta - step * xi)) / (
        2 * step
    )
    derivative = intrinsic_metric_derivative(source, theta, xi)
    np.testing.assert_allclose(derivative @ identity, change, atol=1e-7 * abs(change).max())
    np.testing.assert_allclose(derivative.T @ identity, change, atol=1e-7 * abs(change).max())
    none = intrinsic_metric_derivative(source, theta, 0 * xi)
    assert not (none @ identity).any()


def test_metric_of_a_large_map_is_not_formed():
    widths = (300, 2, 300)
    theta = np.random.default_rng(0).normal(size=size(widths))
    metric = intrinsic_metric(linear_map(widths), theta)
    assert metric.shape == (90_000, 90_000)
    w, v = theta[:600].reshape(2, 300), theta[600:].reshape(300, 2)
    covector = np.random.default_rng(1).normal(size=(300, 300))
    expected = v @ v.T @ covector + covector @ w.T @ w
    np.testing.assert_allclose(metric @ covector.ravel(), expected.ravel(), atol=1e-9)


@ALL
def test_linear_networks_off_balance(widths):
    """Ranks as counted exactly; not recoverable, and the kernel criterion fails."""
    theta = np.random.default_rng(0).normal(size=size(widths))
    laws = conservation_laws(widths)
    phi = linear_map(widths)
    report = intrinsic_properties(phi, laws.known, theta)
    assert report.n_parameters == laws.n_parameters
    assert report.rank_laws == laws.n_known
    assert report.rank_phi == np.linalg.matrix_rank(autograd.jacobian(phi)(theta))
    assert report.involutive == (laws.lie_algebra_dimension == report.rank_phi)
    assert report.recoverable == (report.rank_joint == laws.n_parameters)
    if widths == (2, 1, 3, 2):
        return
    assert [report.recoverable, report.keeps_metric, report.involutive] == [False] * 3
    xi = report.direction
    assert xi is not None
    assert np.linalg.norm(xi) == pytest.approx(1, rel=1e-7)
    for function in (phi, laws.known):
        np.testing.assert_allclose(autograd.jacobian(function)(theta) @ xi, 0, atol=1e-10)
    change = intrinsic_metric_derivative(phi, theta, xi) @ np.eye(report_size(phi, theta))
    assert np.linalg.norm(change) > 0.01 * np.linalg.norm(dense_metric(phi, theta))
    assert "criterion fails" in report.status
    # The bracket is off the span of the fields, and inside the level set of the laws.
    np.testing.assert_allclose(autograd.jacobian(phi)(theta) @ report.bracket, 0, atol=1e-9)
    np.testing.assert_allclose(autograd.jacobian(laws.known)(theta) @ report.bracket, 0, atol=1e-9)


def test_the_direction_is_that_of_largest_change():
    phi, laws = linear_map((2, 3, 2)), conservation_laws((2, 3, 2)).known
    theta = np.random.default_rng(0).normal(size=12)
    report = intrinsic_properties(phi, laws, theta)
    both = np.vstack([autograd.jacobian(function)(theta) for function in (phi, laws)])
    kernel = np.linalg.svd(both)[2][report.rank_joint :]
    assert len(kernel) == 2

    def change(xi):
        derivative = intrinsic_metric_derivative(phi, theta, xi) @ np.eye(4)
        return np.linalg.norm(derivative)

    angles = np.linspace(0, np.pi, 200)
    changes = [change(np.cos(a) * kernel[0] + np.sin(a) * kernel[1]) for a in angles]
    np.testing.assert_allclose(change(report.direction), max(changes), rtol=1e-3)
    assert min(changes) < 0.9 * max(changes)
    scale = np.linalg.norm(dense_metric(phi, theta)) / np.linalg.norm(theta)
    np.testing.assert_allclose(report.metric_change, change(report.direction) / scale)


def report_size(phi, theta):
    return len(phi(theta))


@ALL
def test_balanced_linear_networks_keep_the_metric(widths):
    theta = balanced_point(widths, np.random.default_rng(1))
    report = intrinsic_properties(linear_map(widths), conservation_laws(widths).known, theta)
    assert report.keeps_metric
    assert report.metric_change < 1e-12
    if widths != (2, 1, 3, 2):
        assert not report.recoverable
        assert "holds here" in report.status


def test_relaxed_balanced_networks_keep_the_metric():
    """``W_2ᵀ W_2 - W_1 W_1ᵀ = c I``, by the square root of a Gram matrix."""
    rng = np.random.default_rng(2)
    first = rng.normal(size=(3, 3))
    values, vectors = np.linalg.eigh(first @ first.T)
    orthogonal = np.linalg.qr(rng.normal(size=(4, 3)))[0]
    second = orthogonal @ np.diag(np.sqrt(values + 0.7)) @ vectors.T
    laws = conservation_laws((3, 3, 4)).known
    report = intrinsic_properties(linear_map((3, 3, 4)), laws, flat([first, second]))
    assert report.keeps_metric
    bent = second @ np.diag([1.0, 1.0, 1.01])
    report = intrinsic_properties(linear_map((3, 3, 4)), laws, flat([first, bent]))
    assert not report.keeps_metric
    assert 1e-5 < report.metric_change < 0.1


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("widths", [(2, 2, 1), (1, 1, 1, 1), (2, 3, 2, 2)], ids=str)
def test_relu_networks_are_recoverable(widths, bias):
    laws = conservation_laws(widths, "relu", bias)
    theta = np.random.default_rng(0).normal(size=laws.n_parameters)
    report = intrinsic_properties(relu_map(widths, bias), laws.known, theta)
    assert report.recoverable
    assert report.keeps_metric
    assert report.involutive
    assert report.direction is report.bracket is None
    assert report.rank_phi == laws.lie_algebra_dimension
    assert "intrinsic" in report.status


@pytest.mark.parametrize("widths", [(2, 2, 2), (3, 2, 3), (2, 3, 2)], ids=str)
def test_the_criterion_is_what_trajectories_do(widths):
    """Where it fails, two points of equal ``φ`` and ``h`` have flows of different ``φ``."""
    phi, laws = linear_map(widths), conservation_laws(widths).known
    theta = np.random.default_rng(3).normal(size=size(widths))
    xi = intrinsic_properties(phi, laws, theta).direction
    assert xi is not None

    def both(point):
        return anp.concatenate([phi(point), laws(point)])

    def slope(function, point):
        return autograd.jacobian(function)(point)

    # Move along the common level set, and back onto it by Newton's method.
    other = theta + 0.3 * xi
    for _ in range(30):
        other = other - np.linalg.pinv(slope(both, other), rcond=1e-9) @ (both(other) - both(theta))
    np.testing.assert_allclose(both(other), both(theta), atol=1e-12)
    assert np.linalg.norm(other - theta) > 0.1
    target = np.random.default_rng(4).normal(size=len(phi(theta)))
    ends = [
        solve_ivp(lambda _, t: -slope(phi, t).T @ (phi(t) - target), (0, 0.3), start, rtol=1e-10).y[
            :, -1
        ]
        for start in (theta, other)
    ]
    assert np.linalg.norm(phi(ends[0]) - phi(ends[1])) > 1e-3


def test_frobenius_at_a_point():
    involutive = intrinsic_properties(
        lambda t: anp.array([t[0] + t[1] ** 2, t[2]]), lambda t: t[:0], np.array([0.3, 0.4, 0.5])
    )
    assert involutive.involutive
    assert not involutive.recoverable
    contact = intrinsic_properties(
        lambda t: anp.array([t[0], t[1] + t[0] * t[2]]), lambda t: t[:0], np.array([0.3, 0.4, 0.5])
    )
    assert not contact.involutive
    # [∂_0, ∂_1 + x_0 ∂_2 + x_2 ∂_0] = ∂_2, up to the sign and the span.
    assert contact.rank_phi == 2
    normal = np.cross([1, 0, 0], [0.5, 1, 0.3])
    np.testing.assert_allclose(abs(contact.bracket @ normal / np.linalg.norm(normal)), 1)


def test_units_of_the_laws_do_not_matter():
    laws, theta = conservation_laws((2, 2, 2)).known, np.random.default_rng(0).normal(size=8)
    for unit in (1e-12, 1e12):
        scaled = partial(lambda unit, t: unit * laws(t), unit)
        report = intrinsic_properties(linear_map((2, 2, 2)), scaled, theta)
        assert (report.rank_laws, report.rank_joint) == (3, 7)


@pytest.mark.parametrize("scale", [1e-6, 1e6])
def test_scales(scale):
    theta = scale * np.random.default_rng(0).normal(size=8)
    report = intrinsic_properties(linear_map((2, 2, 2)), conservation_laws((2, 2, 2)).known, theta)
    assert (report.rank_phi, report.rank_laws, report.rank_joint) == (4, 3, 7)
    assert not report.keeps_metric
    unit = intrinsic_properties(
        linear_map((2, 2, 2)), conservation_laws((2, 2, 2)).known, theta / scale
    )
    np.testing.assert_allclose(report.metric_change, unit.metric_change, rtol=1e-6)


def test_given_jacobians():
    phi, laws = linear_map((2, 2, 2)), conservation_laws((2, 2, 2)).known
    theta = np.random.default_rng(0).normal(size=8)
    given = [SmoothMap(jacobian=autograd.jacobian(function)) for function in (phi, laws)]
    one, other = (intrinsic_properties(f, h, theta) for f, h in ((phi, laws), given))
    assert other.tolerance == 1e-6
    assert (other.rank_joint, other.keeps_metric) == (one.rank_joint, one.keeps_metric)
    np.testing.assert_allclose(other.metric_change, one.metric_change, rtol=1e-7)
    balanced = balanced_point((2, 2, 2), np.random.default_rng(1))
    assert intrinsic_properties(given[0], given[1], balanced).keeps_metric


@pytest.mark.parametrize(
    "phi",
    [
        lambda t: np.outer(t, t),
        lambda t: np.array([t[0] * t[1], t[1]]),
        lambda t: [t[0] * t[1]],
        lambda t: float(t[0]),
        lambda t: np.asarray(t, dtype=float),
    ],
    ids=["outer", "array", "list", "float", "cast"],
)
def test_what_autograd_cannot_follow_is_refused(phi):
    point = np.array([0.3, 0.7])
    for first, second in ((phi, lambda t: 0 * t[:1]), (lambda t: 0 * t[:1], phi)):
        with pytest.raises(ValueError, match="autograd cannot follow"):
            intrinsic_properties(first, second, point)
    with pytest.raises(ValueError, match="autograd cannot follow"):
        _ = intrinsic_metric(phi, point) @ np.ones(np.size(phi(point)))


def test_errors_of_the_map_are_its_own():
    with pytest.raises(TypeError, match="unsupported operand"):
        intrinsic_properties(lambda t: t + None, lambda t: t, np.ones(2))


def test_refused():
    phi, laws = linear_map((2, 2, 2)), conservation_laws((2, 2, 2)).known
    theta = np.random.default_rng(0).normal(size=8)
    with pytest.raises(ValueError, match="not conserved"):
        intrinsic_properties(phi, lambda t: t**2, theta)
    with pytest.raises(ValueError, match="tolerance"):
        intrinsic_properties(phi, laws, theta, tolerance=0.0)
    with pytest.raises(ValueError, match="NaN"):
        intrinsic_properties(phi, laws, np.full(8, np.nan))
    with pytest.raises(ValueError, match="vector of the parameters"):
        intrinsic_properties(phi, laws, theta.reshape(2, 4))
    with pytest.raises(ValueError, match="vector of 8"):
        intrinsic_metric_derivative(phi, theta, np.ones(3))
    with pytest.raises(ValueError, match="Jacobian"):
        SmoothMap()
    with pytest.raises(ValueError, match="not finite"):
        intrinsic_properties(SmoothMap(jacobian=lambda t: np.full((1, 8), np.inf)), laws, theta)
