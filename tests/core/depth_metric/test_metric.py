"""Laws of `dlngeo.core.depth_metric.metric`: the operator ``A_{N,X}`` and its inverse."""

import math

import autograd
import numpy as np
import pytest
from scipy import linalg

from dlngeo.core.depth_metric import metric as ob
from dlngeo.core.networks.balancing import balance
from dlngeo.thermodynamics.boltzmann_entropy import entropy
from tests.core.brute import (
    NETWORKS,
    Network,
    assert_close,
    derivative,
    jacobian,
    network,
    power,
    random_motion,
    tangent_projector,
    velocity,
)
from tests.core.libraries import (
    along,
    autograd_derivative,
    first_derivatives,
    inner,
)

NETWORK = pytest.mark.parametrize("net", NETWORKS.values(), ids=NETWORKS)
INF = math.inf
DEPTHS = [1, 2, 3, 10, INF]
FINITE = [1, 2, 3, 10]


def image(net: Network, seed: int) -> np.ndarray:
    """Return a random tangent vector at the matrix of a network."""
    vector = velocity(net, random_motion(net, np.random.default_rng(seed)))
    return (jacobian(net.factors) @ np.concatenate([v.ravel() for v in vector])).reshape(
        net.matrix.shape
    )


def random_matrix(shape, seed):
    """Return a Gaussian matrix."""
    return np.random.default_rng(seed).standard_normal(shape)


def operator(matrix, covector, depth):
    """Return ``Σ_p (XXᵀ)^{(N-p)/N} P (XᵀX)^{(p-1)/N}`` with dense powers."""
    rows, columns = matrix @ matrix.T, matrix.T @ matrix
    return sum(
        power(rows, (depth - p) / depth) @ covector @ power(columns, (p - 1) / depth)
        for p in range(1, depth + 1)
    )


# --- sharp and flat -------------------------------------------------------------------


@NETWORK
def test_raise_index_is_the_gram_operator_of_the_network(net):
    """``A_{N,X}(P) = dφ P_T dφ*(P)`` for the network over ``X``."""
    covector = random_matrix(net.matrix.shape, 0)
    dense = jacobian(net.factors)
    expected = (dense @ tangent_projector(net) @ dense.T @ covector.ravel()).reshape(covector.shape)
    assert_close(ob.raise_index(net.matrix, covector, net.depth, net.rank), expected, 1e-11)


@pytest.mark.parametrize("shape", [(3, 3), (2, 4), (4, 2), (1, 3), (1, 1)], ids=str)
@pytest.mark.parametrize("depth", FINITE)
def test_raise_index_is_the_sum_of_powers(shape, depth):
    """At full rank ``A_{N,X}`` is the sum of fractional powers, of SciPy where it has them."""
    matrix, covector = random_matrix(shape, 1), random_matrix(shape, 2)
    found = ob.raise_index(matrix, covector, depth)
    assert_close(found, operator(matrix, covector, depth), 1e-11)
    if shape == (3, 3):
        rows, columns = matrix @ matrix.T, matrix.T @ matrix
        root = linalg.fractional_matrix_power
        expected = sum(
            root(rows, (depth - p) / depth) @ covector @ root(columns, (p - 1) / depth)
            for p in range(1, depth + 1)
        )
        assert_close(found, expected, 1e-11)


def test_raise_index_of_depth_one_is_the_identity():
    """``N = 1`` is the Frobenius metric."""
    matrix, covector = random_matrix((3, 4), 3), random_matrix((3, 4), 4)
    assert_close(ob.raise_index(matrix, covector, 1), covector, 1e-15)
    assert_close(ob.lower_index(matrix, covector, 1), covector, 1e-15)


@NETWORK
def test_lower_index_is_the_pseudo_inverse(net):
    """``A⁻¹`` on the tangent space is the pseudo-inverse of the Gram operator."""
    vector, dense = image(net, 5), jacobian(net.factors)
    gram = dense @ tangent_projector(net) @ dense.T
    expected = (np.linalg.pinv(gram, rcond=1e-9) @ vector.ravel()).reshape(vector.shape)
    assert_close(ob.lower_index(net.matrix, vector, net.depth, net.rank), expected, 1e-10)


@NETWORK
def test_raising_and_lowering_are_inverse(net):
    """``♯♭ = ♭♯ =`` the tangent projection."""
    vector, depth, rank = random_matrix(net.matrix.shape, 6), net.depth, net.rank
    expected = ob.tangent_projection(net.matrix, vector, rank)
    lowered = ob.lower_index(net.matrix, vector, depth, rank)
    assert_close(ob.raise_index(net.matrix, lowered, depth, rank), expected, 1e-12)
    raised = ob.raise_index(net.matrix, vector, depth, rank)
    assert_close(ob.lower_index(net.matrix, raised, depth, rank), expected, 1e-12)


@NETWORK
def test_tangent_projection_of_observables(net):
    """The projection drops the part between the null spaces, and keeps all images of ``dφ``."""
    vector = random_matrix((7, *net.matrix.shape), 7)
    left, _, right = np.linalg.svd(net.matrix)
    rows, columns = left[:, net.rank :], right[net.rank :].T
    both = rows @ (rows.T @ vector @ columns) @ columns.T
    assert_close(ob.tangent_projection(net.matrix, vector, net.rank), vector - both, 1e-12)
    tangent = image(net, 8)
    assert_close(ob.tangent_projection(net.matrix, tangent, net.rank), tangent, 1e-12)


@pytest.mark.parametrize("depth", DEPTHS)
def test_invariance(depth):
    """``A_{QXRᵀ}(QPRᵀ) = Q A_X(P) Rᵀ`` and ``A_{Xᵀ}(Pᵀ) = A_X(P)ᵀ``."""
    matrix, covector, q, r = (random_matrix((3, 3), seed) for seed in range(9, 13))
    q, r = np.linalg.qr(q)[0], np.linalg.qr(r)[0]
    for kernel in (ob.raise_index, ob.lower_index):
        value = kernel(matrix, covector, depth)
        assert_close(kernel(q @ matrix @ r.T, q @ covector @ r.T, depth), q @ value @ r.T, 1e-11)
        assert_close(kernel(matrix.T, covector.T, depth), value.T, 1e-11)


def test_depth_two_is_twice_bures_wasserstein():
    """On symmetric positive matrices ``Z^♭`` solves ``S L + L S = Z``."""
    root, tangent = random_matrix((4, 4), 13), random_matrix((4, 4), 14)
    spd, tangent = root @ root.T + np.eye(4), tangent + tangent.T
    lyapunov = linalg.solve_continuous_lyapunov(spd, tangent)
    assert_close(ob.lower_index(spd, tangent, 2), lyapunov, 1e-13)
    # The Bures–Wasserstein metric is tr(L Z) / 2.
    bures_wasserstein = np.trace(lyapunov @ tangent) / 2
    metric = np.sum(ob.lower_index(spd, tangent, 2) * tangent)
    assert metric == pytest.approx(2 * bures_wasserstein, rel=1e-13)


@pytest.mark.parametrize("depth", FINITE)
def test_metric_is_flat_on_singular_values(depth):
    """Along diagonal matrices the metric is ``N Σ dλ²``."""
    lam, change = np.array([1.5, 1.0, 0.4]), np.array([0.3, -1.0, 0.8])
    matrix = np.diag(lam**depth)
    tangent = np.diag(depth * lam ** (depth - 1) * change)
    metric = np.sum(ob.lower_index(matrix, tangent, depth) * tangent)
    assert metric == pytest.approx(depth * np.sum(change**2), rel=1e-13)


# --- hard points ----------------------------------------------------------------------


@pytest.mark.parametrize("depth", DEPTHS)
@pytest.mark.parametrize("scale", [1e-6, 1e6])
def test_scales(depth, scale):
    """``A`` is homogeneous of degree ``2 - 2/N``, at every scale, relatively."""
    matrix, covector = random_matrix((3, 3), 19), random_matrix((3, 3), 20)
    weight = scale ** (2 - 2 / depth)
    expected = weight * ob.raise_index(matrix, covector, depth)
    assert_close(ob.raise_index(scale * matrix, covector, depth), expected, 1e-12)
    expected = ob.lower_index(matrix, covector, depth) / weight
    assert_close(ob.lower_index(scale * matrix, covector, depth), expected, 1e-11)


@pytest.mark.parametrize("depth", FINITE)
def test_raise_index_at_singular_matrices(depth):
    """``A_X`` is defined at singular ``X`` too, where the entries of null pairs vanish."""
    matrix, covector = np.diag([2.0, 1.0, 0.0]), random_matrix((3, 3), 21)
    assert_close(ob.raise_index(matrix, covector, depth), operator(matrix, covector, depth), 1e-13)
    assert_close(
        ob.raise_index(0 * matrix, covector, depth), covector if depth == 1 else 0 * covector, 1e-15
    )


@pytest.mark.parametrize("depth", DEPTHS)
def test_batches_and_broadcasting(depth):
    """A batch is a stack of results; one point serves many vectors."""
    matrix, covector = random_matrix((2, 4, 3, 3), 22), random_matrix((2, 4, 3, 3), 23)
    for kernel in (ob.raise_index, ob.lower_index):
        batch, shared = kernel(matrix, covector, depth), kernel(matrix[0, 0], covector, depth)
        for i, j in np.ndindex(2, 4):
            assert_close(batch[i, j], kernel(matrix[i, j], covector[i, j], depth), 1e-11)
            assert_close(shared[i, j], kernel(matrix[0, 0], covector[i, j], depth), 1e-11)
        assert kernel(matrix[:0], covector[:0], depth).shape == (0, 4, 3, 3)


def test_noncontiguous_arrays():
    """Strides do not matter."""
    matrix, covector = random_matrix((3, 8), 24)[:, ::2], random_matrix((4, 3), 25).T
    expected = ob.raise_index(np.ascontiguousarray(matrix), np.ascontiguousarray(covector), 3)
    assert_close(ob.raise_index(matrix, covector, 3), expected, 1e-14)


# --- derivatives ----------------------------------------------------------------------

LOW_RANK = {
    "raise 1": lambda x, p: ob.raise_index(x, p, 1, 2),
    "raise 3": lambda x, p: ob.raise_index(x, p, 3, 2),
    "lower 1": lambda x, p: ob.lower_index(x, p, 1, 2),
    "lower 2": lambda x, p: ob.lower_index(x, p, 2, 2),
    "lower 3": lambda x, p: ob.lower_index(x, p, 3, 2),
    "lower 2 of tangents": lambda x, p: ob.lower_index(x, ob.tangent_projection(x, p, 2), 2, 2),
    "lower 3 of tangents": lambda x, p: ob.lower_index(x, ob.tangent_projection(x, p, 2), 3, 2),
    "projection": lambda x, p: ob.tangent_projection(x, p, 2),
}
EVERY_ROUTE = ["lower 1", "lower 3 of tangents"]


@pytest.mark.parametrize("name", LOW_RANK)
@pytest.mark.parametrize("spectrum", ["generic", "equal"])
def test_derivatives_below_full_rank(name, spectrum):
    """Along ``X = A Bᵀ`` of rank 2 first and second derivatives are right."""
    net = network((3, 3), 2, spectrum)
    rng = np.random.default_rng(31)
    left, right = net.frames[1] @ net.core, net.frames[0]
    point = (left, right, *rng.standard_normal((2, 3, 3)))
    directions = (
        (*rng.standard_normal((2, 3, 2)) / 3, *rng.standard_normal((2, 3, 3)) / 3) for _ in range(2)
    )
    one, other = directions

    def function(a, b, p, c):
        return inner(LOW_RANK[name](a @ b.swapaxes(-1, -2), p), c)

    def slope(*arrays):
        return derivative(along(function, arrays, one), 2e-3)

    def autograd_slope(*arrays):
        return autograd_derivative(function, arrays, one)

    expected = slope(*point)
    assert autograd_slope(*point) == pytest.approx(expected, rel=1e-9)
    second = derivative(along(slope, point, other))
    assert autograd_derivative(autograd_slope, point, other) == pytest.approx(second, rel=1e-7)
    if name in EVERY_ROUTE:
        for route, value in first_derivatives(function, point, one).items():
            assert value == pytest.approx(expected, rel=1e-9), route


# --- libraries and errors -------------------------------------------------------------

CASES = {
    "raise": lambda x, p: ob.raise_index(x, p, 3),
    "raise rank 2": lambda x, p: ob.raise_index(x, p, 3, 2),
    "raise inf": lambda x, p: ob.raise_index(x, p, INF),
    "lower": lambda x, p: ob.lower_index(x, p, 3),
    "lower rank 2": lambda x, p: ob.lower_index(x, p, 3, 2),
    "lower inf": lambda x, p: ob.lower_index(x, p, INF),
    "projection": lambda x, p: ob.tangent_projection(x, p, 2),
}


def case_arrays(name):
    """Return a matrix of the rank that the case asks for, and another."""
    rank = 2 if "rank 2" in name or name == "projection" else 3
    return network((3, 3), rank).matrix, random_matrix((3, 3), 33)


@pytest.mark.parametrize("name", CASES)
def test_traced_values_are_the_plain_ones(name):
    """The form that is differentiated has the same value as the fast form."""
    values = []

    def watched(x, p):
        result = CASES[name](x, p)
        values.append(result)
        return inner(result, result) if getattr(result, "ndim", 0) else result

    arrays = case_arrays(name)
    autograd_derivative(watched, arrays, arrays)
    expected = CASES[name](*arrays)
    traced = getattr(values[0], "_value", values[0])
    assert_close(getattr(traced, "_value", traced), expected, 1e-12)


ONES, EYE = np.ones((3, 3)), np.eye(3)
BAD_CALLS = {
    "a higher rank": (lambda: ob.raise_index(EYE, ONES, 3, 2), "expected a matrix of rank 2, but"),
    "a higher rank, lowered": (
        lambda: ob.lower_index(EYE, ONES, 3, 2),
        "singular value 3 is not zero",
    ),
    "a higher rank, traced": (
        lambda: autograd_derivative(lambda x: ob.raise_index(x, ONES, 3, 2).sum(), [EYE], [ONES]),
        "singular value 3 is not zero",
    ),
    "out of range": (lambda: ob.lower_index(1e-300 * EYE, ONES, 3), "out of range"),
    "another shape": (lambda: ob.lower_index(EYE, np.ones((2, 3)), 3), r"shape \[..., 3, 3\], got"),
    "complex numbers": (lambda: ob.raise_index(EYE, 1j * ONES, 3), "is of type complex128"),
    "a vector": (
        lambda: ob.raise_index(np.ones(3), ONES, 2),
        r"expected a matrix, got shape \(3,\)",
    ),
    "depth zero": (lambda: ob.raise_index(EYE, ONES, 0), "depth must be a positive integer.*0"),
    "depth not whole": (
        lambda: ob.lower_index(EYE, ONES, 1.5),
        "depth must be a positive integer.*1.5",
    ),
    "negative infinite depth": (lambda: ob.lower_index(EYE, ONES, -INF), "positive integer"),
    "NaN depth": (lambda: ob.lower_index(EYE, ONES, math.nan), "positive integer"),
    "rank above the width": (lambda: ob.raise_index(EYE, ONES, 2, 4), "smallest width 3, got 4"),
    "rank zero": (lambda: ob.raise_index(EYE, ONES, 2, 0), "between 1 and .*, got 0"),
    "NaN in the point": (lambda: ob.raise_index(EYE * np.nan, ONES, 2), "the matrix holds NaN"),
    "NaN in the vector": (lambda: ob.raise_index(EYE, ONES * np.nan, 2), "holds NaN"),
    "NaN in the tangent": (lambda: ob.lower_index(EYE, ONES * np.nan, 2), "holds NaN"),
    "rank-deficient": (
        lambda: ob.lower_index(ONES, ONES, 2),
        "expected rank 3, .* pass a smaller rank",
    ),
    "rank-deficient, rank 2": (
        lambda: ob.lower_index(ONES, ONES, 2, 2),
        "expected rank 2, but sing",
    ),
    "rank-deficient, infinite depth": (
        lambda: ob.raise_index(ONES, ONES, INF),
        "expected rank 3, but",
    ),
    "infinite depth, rectangular": (
        lambda: ob.raise_index(np.ones((3, 2)), np.ones((3, 2)), INF),
        r"square matrices of full rank only, got shape \(3, 2\) and rank 2: use a finite depth",
    ),
    "infinite depth, low rank": (
        lambda: ob.lower_index(EYE, ONES, INF, 2),
        r"square matrices of full rank only, got shape \(3, 3\) and rank 2",
    ),
}


@pytest.mark.parametrize(("call", "message"), BAD_CALLS.values(), ids=BAD_CALLS)
def test_errors(call, message):
    """Wrong arguments raise a ValueError that says what came and what to do."""
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize("kernel", [ob.raise_index, ob.lower_index])
def test_second_derivative_at_infinite_depth_is_refused(kernel):
    """The metric of infinite depth has first derivatives only."""

    def first(x):
        return inner(autograd.grad(lambda y: inner(kernel(y, ONES, INF), ONES))(x), ONES)

    with pytest.raises(NotImplementedError, match="derivative is not implemented"):
        autograd.grad(first)(EYE)


def test_integers_serve_as_floats():
    """Whole numbers, as in ``np.diag([3, 2, 1])``, give what the same floats give."""
    whole = np.diag([3, 2, 1])
    for kernel in (ob.raise_index, ob.lower_index):
        assert_close(kernel(whole, whole, 3), kernel(1.0 * whole, 1.0 * whole, 3), 0)
    assert entropy(whole, 4 * (3,)) == entropy(1.0 * whole, 4 * (3,))
    assert_close(balance((whole, whole)), balance((1.0 * whole, 1.0 * whole)), 0)
