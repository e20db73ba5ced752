"""The kernel of relaxed balanced networks and its geodesics, against dense operators."""

import math

import autograd
import numpy as np
import pytest
import torch
from scipy.integrate import solve_ivp

from dlngeo.core.depth_metric import metric as observables
from dlngeo.core.geodesics import exponential, logarithm, transport
from dlngeo.core.relaxed import geodesics as rg
from dlngeo.core.relaxed import metric as relaxed
from dlngeo.core.relaxed.logarithm import log
from dlngeo.core.relaxed.strings import intrinsic_network
from tests.core.brute import assert_close, derivative, jacobian, product
from tests.core.libraries import (
    ARRAYS,
    along,
    first_derivatives,
    inner,
)
from tests.core.relaxed.test_strings import fitted

# Widths, offsets and rank, with null vectors on either side, of the top level and of others,
# and with ties of the shifts.
NETWORKS = [
    ((3, 3), (), 3),
    ((3, 3, 3), (0.5,), 3),
    ((3, 3, 3), (-0.5,), 3),
    ((2, 2, 4), (0.6,), 2),
    ((2, 2, 4), (-0.6,), 2),
    ((4, 2, 3), (0.7,), 2),
    ((3, 1, 4), (0.7,), 1),
    ((3, 3, 3, 3), (-0.5, 0.5), 3),
    ((3, 2, 2, 4), (0.5, -0.5), 2),
    ((2, 3, 3, 3), (0.5, -0.4), 2),
    ((2, 4, 3), (0.0,), 2),
    ((3, 2, 2, 2, 3), (0.3, -0.6, 0.4), 2),
    ((2, 2, 2, 2, 2, 4), (0.3, -0.6, 0.4, 0.1), 2),
    ((1, 1, 1, 1), (0.5, 0.2), 1),
]
NETWORK = pytest.mark.parametrize(("widths", "offsets", "rank"), NETWORKS)
COMPLETE = [NETWORKS[i] for i in (1, 2, 4, 9)]


def setting(widths, offsets, rank, seed=0, spectrum=None, n=None):
    """Return the network, a matrix of the rank, and a vector."""
    rng = np.random.default_rng(seed)
    batch = () if n is None else (n,)
    frames = [
        np.linalg.qr(rng.normal(size=(*batch, width, rank)))[0] for width in (widths[-1], widths[0])
    ]
    sigma = np.array([1.6, 1.0, 0.6])[:rank] if spectrum is None else spectrum[:rank]
    matrix = frames[0] * sigma @ frames[1].swapaxes(-1, -2)
    network = intrinsic_network(offsets, (widths[-1], widths[0]), widths, rank)
    return network, matrix, rng.normal(size=matrix.shape)


def dense(layers):
    """Return the matrix of ``dφ dφ*``."""
    columns = jacobian(layers)
    return columns @ columns.T


SPECTRA = {
    "generic": np.array([1.6, 1.0, 0.6]),
    "equal": np.ones(3),
    "gap": 1 + 1e-12 * np.arange(3)[::-1],
    "tiny": np.array([1.0, 1e-5, 1e-6]),
}


@NETWORK
@pytest.mark.parametrize("spectrum", SPECTRA.values(), ids=SPECTRA)
def test_sharp_is_the_gram_operator(widths, offsets, rank, spectrum):
    network, matrix, covector = setting(widths, offsets, rank, spectrum=spectrum)
    layers = relaxed.relaxed_layers(matrix, network)
    assert_close(product(layers), matrix, 1e-12)
    expected = (dense(layers) @ covector.ravel()).reshape(covector.shape)
    assert_close(relaxed.raise_index(matrix, covector, network), expected, 1e-11)


@NETWORK
def test_sharp_is_that_of_factors_that_know_no_strings(widths, offsets, rank):
    """Factors that minimisation found: ``dφ dφ*`` is a function of their product."""
    if len(widths) < 3 or rank < min(widths[0], widths[-1]):
        layers = relaxed.relaxed_layers(*setting(widths, offsets, rank)[1::-1])
    else:
        layers, defect = fitted(widths, offsets, 1)
        assert defect < 1e-12
    network, matrix = setting(widths, offsets, rank)[0], product(layers)
    covector = np.random.default_rng(2).normal(size=matrix.shape)
    expected = (dense(layers) @ covector.ravel()).reshape(covector.shape)
    assert_close(relaxed.raise_index(matrix, covector, network), expected, 1e-9)


def test_two_levels_on_one_side_are_no_function_of_the_matrix():
    """Widths (1, 2, 3): relaxed balanced factors of one product with different ``dφ dφ*``."""
    turn = np.array([[1.0, 0, 0], [0, 0.6, -0.8], [0, 0.8, 0.6]])
    first, second = np.array([[1.0], [0.0]]), np.array([[1.5**0.5, 0], [0, 0.5**0.5], [0, 0]])
    for layers in ((first, second), (first, turn @ second)):
        moment = layers[1].T @ layers[1] - layers[0] @ layers[0].T
        assert_close(moment, 0.5 * np.eye(2), 1e-15)
    assert_close(turn @ second @ first, second @ first, 1e-15)
    assert abs(dense((first, second)) - dense((first, turn @ second))).max() > 0.3


@NETWORK
def test_flat_and_sharp_are_inverse(widths, offsets, rank):
    network, matrix, covector = setting(widths, offsets, rank)
    projected = observables.tangent_projection(matrix, covector, rank)
    raised = relaxed.raise_index(matrix, covector, network)
    assert_close(relaxed.lower_index(matrix, raised, network), projected, 1e-11)
    lowered = relaxed.lower_index(matrix, covector, network)
    assert_close(relaxed.raise_index(matrix, lowered, network), projected, 1e-11)


@pytest.mark.parametrize("depth", [1, 2, 3, 10])
@pytest.mark.parametrize(("shape", "rank"), [((3, 3), 3), ((2, 4), 2), ((4, 3), 2), ((1, 1), 1)])
@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
def test_zero_offsets_give_the_depth_metric(depth, shape, rank, scale):
    if depth == 1 and rank < min(shape):
        return  # of depth one the rank is no matter of training
    rng = np.random.default_rng(0)
    matrix = scale * rng.normal(size=(shape[0], rank)) @ rng.normal(size=(rank, shape[1]))
    vector = rng.normal(size=shape)
    network = intrinsic_network((0.0,) * (depth - 1), shape, None, rank)
    for ours, theirs in (
        (relaxed.raise_index, observables.raise_index),
        (relaxed.lower_index, observables.lower_index),
    ):
        assert_close(ours(matrix, vector, network), theirs(matrix, vector, depth, rank), 1e-11)


@pytest.mark.parametrize("scale", [1e-3, 1e3])
def test_scales_with_the_offsets(scale):
    """Factors times ``s``: offsets times ``s²``, matrix times ``s^N``, operator ``s^{2(N-1)}``."""
    network, matrix, covector = setting((3, 3, 3, 3), (0.5, -0.2), 3)
    expected = scale**4 * relaxed.raise_index(matrix, covector, network)
    found = relaxed.raise_index(scale**3 * matrix, covector, network.scaled(scale**2))
    assert_close(found, expected, 1e-12)


@pytest.mark.parametrize(("widths", "offsets", "rank"), COMPLETE)
@pytest.mark.parametrize("spectrum", [[1.0, 0.5, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 0.0]])
def test_lower_rank_is_an_ordinary_point_of_a_complete_metric(widths, offsets, rank, spectrum):
    network, matrix, covector = setting(widths, offsets, rank, spectrum=np.array(spectrum))
    assert network.is_complete
    operator = dense(relaxed.relaxed_layers(matrix, network))
    assert np.linalg.eigvalsh(operator)[0] > 0.04
    for kernel, expected in (
        (relaxed.raise_index, operator @ covector.ravel()),
        (relaxed.lower_index, np.linalg.solve(operator, covector.ravel())),
    ):
        assert_close(kernel(matrix, covector, network), expected.reshape(covector.shape), 1e-7)
    # The operator does not jump there.
    near = matrix + 1e-9 * np.random.default_rng(1).normal(size=matrix.shape)
    moved = relaxed.raise_index(near, covector, network)
    assert_close(moved, relaxed.raise_index(matrix, covector, network), 1e-7)


def test_lower_rank_is_refused_where_it_is_none():
    """A null vector of another level than the top makes the lower rank ambiguous."""
    network, matrix, vector = setting((2, 2, 4), (0.6,), 2, spectrum=np.array([1.0, 0.0]))
    assert network.is_smooth
    assert not network.is_complete
    with pytest.raises(ValueError, match="expected rank 2"):
        relaxed.raise_index(matrix, vector, network)
    tied = intrinsic_network((0.5, -0.5), (2, 2))
    assert not tied.is_complete
    relaxed.raise_index(np.diag([1.0, 0.0]), np.eye(2), tied)
    with pytest.raises(ValueError, match="expected rank 2"):
        relaxed.lower_index(np.diag([1.0, 0.0]), np.eye(2), tied)


def test_batches_broadcast():
    network, matrix, covector = setting((2, 2, 4), (-0.6,), 2, n=3)
    for kernel in (relaxed.raise_index, relaxed.lower_index):
        batch, shared = kernel(matrix, covector, network), kernel(matrix[0], covector, network)
        for i in range(3):
            assert_close(batch[i], kernel(matrix[i], covector[i], network), 1e-12)
            assert_close(shared[i], kernel(matrix[0], covector[i], network), 1e-12)


@pytest.mark.parametrize("library", ARRAYS)
def test_libraries_agree(library):
    network, matrix, covector = setting((2, 2, 4), (-0.6,), 2)
    for kernel in (relaxed.raise_index, relaxed.lower_index):
        expected = kernel(matrix, covector, network)
        found = kernel(ARRAYS[library](matrix), ARRAYS[library](covector), network)
        assert_close(np.asarray(found), expected, 1e-13)
    single = relaxed.raise_index(
        torch.tensor(matrix, dtype=torch.float32), torch.ones((4, 2)), network
    )
    assert single.dtype == torch.float32


# --- derivatives ----------------------------------------------------------------------

FUNCTIONS = {
    f"{kernel.__name__} {offsets}": (
        lambda x, p, c, kernel=kernel, offsets=offsets: inner(
            kernel(x, p, intrinsic_network(offsets, (3, 3))), c
        )
    )
    for kernel in (relaxed.raise_index, relaxed.lower_index)
    for offsets in ((0.5,), (0.4, -0.2))
}


def arguments(matrix, seed=29):
    rng = np.random.default_rng(seed)
    directions = rng.standard_normal((2, 3, 3, 3)) / 3
    return (matrix, *rng.standard_normal((2, 3, 3))), tuple(directions[0]), tuple(directions[1])


@pytest.mark.parametrize("name", FUNCTIONS)
def test_first_derivatives_at_a_singular_matrix(name):
    point, direction, _ = arguments(np.diag([1.0, 0.5, 0.0]))
    expected = derivative(along(FUNCTIONS[name], point, direction), 1e-3)
    for route, value in first_derivatives(FUNCTIONS[name], point, direction).items():
        assert value == pytest.approx(expected, rel=2e-7), route


def test_derivatives_below_full_rank():
    """Those of the gradient exist, those of ``flat`` are refused, not NaN."""
    network, matrix, covector = setting((4, 2, 3), (0.7,), 2)
    with pytest.raises(NotImplementedError):
        autograd.grad(lambda x: inner(relaxed.lower_index(x, covector, network), covector))(matrix)
    tangent = relaxed.raise_index(matrix, covector, network)
    slope = autograd.grad(lambda x: inner(relaxed.raise_index(x, covector, network), covector))(
        matrix
    )
    path = rg.geodesic(matrix, tangent, network).point(np.array([-1e-4, 1e-4]))
    ahead, back = (inner(relaxed.raise_index(x, covector, network), covector) for x in path[::-1])
    assert inner(slope, tangent) == pytest.approx((ahead - back) / 2e-4, rel=1e-6)


# --- geodesics ------------------------------------------------------------------------


def start(widths, offsets, rank, size=0.4, n=None):
    network, matrix, covector = setting(widths, offsets, rank, n=n)
    velocity = relaxed.raise_index(matrix, covector, network)
    return network, matrix, size * velocity / np.linalg.norm(velocity)


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


@pytest.mark.parametrize(("widths", "rank"), [((3, 3, 3), 3), ((3, 2, 4), 2), ((2, 2, 2, 2), 2)])
@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e3])
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
