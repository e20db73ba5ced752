"""The metric of relaxed balanced networks, against dense operators."""

import autograd
import numpy as np
import pytest
import torch

from dlngeo.core.depth_metric import metric as observables
from dlngeo.core.relaxed import geodesics as rg
from dlngeo.core.relaxed import metric as relaxed
from dlngeo.core.relaxed.strings import intrinsic_network
from tests.core.brute import assert_close, derivative, jacobian, product
from tests.core.libraries import (
    ARRAYS,
    along,
    autograd_derivative,
    first_derivatives,
    inner,
)
from tests.core.relaxed.relaxed_networks import NETWORK, NETWORKS, fitted, setting

COMPLETE = [NETWORKS[i] for i in (1, 2, 4, 9)]


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


EVERY_ROUTE = ["raise_index (0.5,)", "lower_index (0.4, -0.2)"]


def arguments(matrix, seed=29):
    rng = np.random.default_rng(seed)
    directions = rng.standard_normal((2, 3, 3, 3)) / 3
    return (matrix, *rng.standard_normal((2, 3, 3))), tuple(directions[0]), tuple(directions[1])


@pytest.mark.parametrize("name", FUNCTIONS)
def test_first_derivatives_at_a_singular_matrix(name):
    point, direction, _ = arguments(np.diag([1.0, 0.5, 0.0]))
    expected = derivative(along(FUNCTIONS[name], point, direction), 1e-3)
    found = autograd_derivative(FUNCTIONS[name], point, direction)
    assert found == pytest.approx(expected, rel=2e-7)
    if name in EVERY_ROUTE:
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
