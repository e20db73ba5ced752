"""DeepFixedRank against pymanopt's diagnostics and manifolds, dense matrices and known minima."""

import math

import autograd.numpy as anp
import jax.numpy as jnp
import numpy as np
import pymanopt
import pytest
import scipy.sparse
import torch
from pymanopt.manifolds import Euclidean, FixedRankEmbedded, Product
from pymanopt.optimizers import ConjugateGradient

from dlngeo.core.depth_metric.metric import lower_index, raise_index, tangent_projection
from dlngeo.core.networks.network import end_to_end
from dlngeo.manifolds import BalancedFactors, DeepFixedRank
from dlngeo.manifolds.pymanopt.deep_fixed_rank import FactoredPoint, FactoredTangent
from tests.core.brute import assert_close
from tests.core.low_rank.low_rank_matrices import frames_with
from tests.manifolds.pymanopt.pymanopt_suite import (
    assert_laws,
    assert_minimised,
    assert_quadratic,
    hessian_defects,
    retraction_slope,
    taylor_slope,
)

INF = math.inf
SHAPES = [(5, 4, 2), (3, 6, 1), (4, 4, 4), (5, 3, 3), (6, 6, 3)]
DEPTHS = [1, 2, 3, 10, INF]
MANIFOLDS = [
    pytest.param(m, n, r, depth, id=f"{m}x{n}, rank {r}, N={depth}")
    for m, n, r in SHAPES
    for depth in DEPTHS
    if depth != INF or m == n == r
]
EACH = pytest.mark.parametrize(("m", "n", "rank", "depth"), MANIFOLDS)
SHAPE = pytest.mark.parametrize(("m", "n", "rank"), SHAPES)
SOME = pytest.mark.parametrize(
    ("m", "n", "rank", "depth"), [(5, 4, 2, 1), (5, 4, 2, 3), (4, 4, 4, 2), (4, 4, 4, INF)]
)

VALUES = {
    "distinct": np.array([1.7, 1.2, 0.8, 0.5]),
    "repeated": np.array([1.2, 1.2, 0.7, 0.7]),
    "equal": np.ones(4),
}


def point_with(manifold, values):
    """Return frames, the same for the same shape, with the given singular values."""
    values = np.asarray(values, dtype=float)[: manifold.rank]
    u, s, v = frames_with((manifold.m, manifold.n), values, seed=manifold.m)
    return FactoredPoint(u, s, v.T)


def unit_length(manifold, point):
    """Return a length on the scale of the distance from the boundary."""
    return 1.0 if manifold.depth == INF else float(point.s[-1]) ** (1 / manifold.depth)


def matrix_of(point):
    u, s, vt = point
    return u @ np.diag(s) @ vt


def vector_of(point, vector):
    (u, _, vt), (up, core, vp) = point, vector
    return u @ core @ vt + up @ vt + u @ vp.T


def gaussian(*shape):
    """Return a Gaussian array, the same for the same shape."""
    return np.random.default_rng(0).standard_normal(shape)


def sines(manifold, decorator=pymanopt.function.autograd, library=anp):
    """Return the problem of ``Σ C ∘ sin(X + D)``, a function of the product."""
    weights, shift = gaussian(2, manifold.m, manifold.n)
    if library is torch:
        weights, shift = torch.tensor(weights), torch.tensor(shift)

    @decorator(manifold)
    def cost(u, s, vt):
        return (weights * library.sin((u * s) @ vt + shift)).sum()

    return pymanopt.Problem(manifold, cost)


def approximation(manifold, target, decorator=pymanopt.function.autograd):
    """Return the problem of the nearest matrix of the rank."""

    @decorator(manifold)
    def cost(u, s, vt):
        return (((u * s) @ vt - target) ** 2).sum() / 2

    return pymanopt.Problem(manifold, cost)


def target_and_minimum(manifold):
    """Return a matrix and half its squared distance from those of the rank."""
    size = (manifold.m, manifold.n)
    left, right = (np.linalg.qr(gaussian(k, min(size)))[0] for k in size)
    values = np.linspace(2.0, 1.0, min(size))
    values[manifold.rank :] = 0.2
    return left * values @ right.T, float(np.sum(values[manifold.rank :] ** 2) / 2)


# --- pymanopt's diagnostics and the laws of its manifolds ---------------------------------


@EACH
def test_laws(m, n, rank, depth):
    """Dimension, norms, exp, log, dist, pair_mean, transport and zero vectors fit together."""
    manifold = DeepFixedRank(m, n, rank, depth)
    point = point_with(manifold, VALUES["distinct"])
    assert_laws(manifold, point, 0.3 * unit_length(manifold, point))


def assert_taylor(problem, point, size):
    """Assert that Taylor errors fall like ``t²`` and ``t³`` in one of three directions.

    In the others the next derivative may nearly vanish, and the slope is no whole number.
    """
    manifold = problem.manifold
    size *= unit_length(manifold, point)
    vectors = [size * manifold.random_tangent_vector(point) for _ in range(3)]
    for order in (1, 2):
        slopes = [taylor_slope(problem, point, vector, order) for vector in vectors]
        assert np.min(np.abs(np.subtract(slopes, order + 1))) < 0.05, slopes
    assert max(hessian_defects(problem, point)) < 1e-10


@pytest.mark.parametrize(
    ("m", "n", "rank", "depth", "spectrum"),
    # By turns: every two of shape, depth and spectrum meet.
    [
        (*shape, depth, list(VALUES)[(i + j) % 3])
        for i, shape in enumerate(SHAPES)
        for j, depth in enumerate(DEPTHS)
        if depth != INF or len(set(shape)) == 1
    ],
)
def test_derivatives_of_a_function_of_the_product(m, n, rank, depth, spectrum):
    """Gradient and Hessian are those of the cost, also where singular values repeat."""
    manifold = DeepFixedRank(m, n, rank, depth)
    assert_taylor(sines(manifold), point_with(manifold, VALUES[spectrum]), 0.5)


@EACH
def test_derivatives_of_a_function_of_the_decomposition(m, n, rank, depth):
    """The same for a cost of squared entries of the frames, which no signs change."""
    manifold = DeepFixedRank(m, n, rank, depth)
    point = point_with(manifold, VALUES["distinct"])
    weights = [gaussian(*np.shape(array)) for array in point]

    @pymanopt.function.autograd(manifold)
    def cost(u, s, vt):
        total = anp.sum(weights[0] * u**2 * s) + anp.sum(weights[1] * anp.sin(3 * s))
        return total + anp.sum(weights[2] * vt**2) + total**2 / 10

    assert_taylor(pymanopt.Problem(manifold, cost), point, 0.1)


@EACH
def test_retraction_is_of_second_order(m, n, rank, depth):
    """Its distance from the exponential falls like ``t³``."""
    manifold = DeepFixedRank(m, n, rank, depth)
    point = point_with(manifold, VALUES["distinct"])
    vector = 0.1 * unit_length(manifold, point) * manifold.random_tangent_vector(point)
    if depth == 1 and rank == min(m, n):
        end, expected = manifold.retraction(point, vector), manifold.exp(point, vector)
        assert_close(matrix_of(end), matrix_of(expected), 1e-9)
    else:
        assert 2.9 < retraction_slope(manifold, point, vector) < 3.1


@pytest.mark.parametrize("depth", [1, 2, 3, 10, INF])
def test_one_number(depth):
    """The smallest manifold is a half line, with coordinate ``√N x^{1/N}`` or ``log x``."""
    manifold = DeepFixedRank(1, 1, 1, depth)
    a, b = point_with(manifold, [0.4]), point_with(manifold, [1.9])
    b = FactoredPoint(a.u, b.s, a.vt)
    ends = [np.log(x.s[0]) if depth == INF else depth**0.5 * x.s[0] ** (1 / depth) for x in (a, b)]
    assert_close(manifold.dist(a, b), ends[1] - ends[0], 1e-9)
    middle = manifold.pair_mean(a, b)
    assert_close(manifold.dist(a, middle), (ends[1] - ends[0]) / 2, 1e-9)
    moved = manifold.retraction(a, manifold.log(a, b) / 100)
    expected = manifold.exp(a, manifold.log(a, b) / 100)
    assert_close(matrix_of(moved), matrix_of(expected), 1e-5)
    problem = approximation(manifold, matrix_of(b))
    assert_quadratic(problem, a, 0.0)


# --- FixedRankEmbedded, and what dense matrices say -----------------------------------


@SHAPE
def test_depth_one_is_fixed_rank_embedded(m, n, rank):
    """Same metric, projection, retraction, transport and gradient as pymanopt's own manifold."""
    ours, theirs = DeepFixedRank(m, n, rank, 1), FixedRankEmbedded(m, n, rank)
    assert ours.dim == theirs.dim
    assert ours.point_layout == theirs.point_layout
    point, other = theirs.random_point(), theirs.random_point()
    a, b = (theirs.random_tangent_vector(point) for _ in range(2))
    assert_close(ours.inner_product(point, a, b), theirs.inner_product(point, a, b), 1e-13, 1.0)
    assert_close(ours.norm(point, a), theirs.norm(point, a), 1e-13)
    matrix, factors = gaussian(m, n), [gaussian(m, 3), np.diag([1.0, 2, -1]), gaussian(n, 3)]
    derivative = [gaussian(*array.shape) for array in point]
    for found, expected in (
        (ours.projection(point, matrix), theirs.projection(point, matrix)),
        (ours.projection(point, factors), theirs.projection(point, factors)),
        (ours.to_tangent_space(point, a), theirs.to_tangent_space(point, a)),
        (ours.zero_vector(point), theirs.zero_vector(point)),
        (ours.transport(point, other, a), theirs.transport(point, other, a)),
        (
            ours.euclidean_to_riemannian_gradient(point, derivative),
            theirs.euclidean_to_riemannian_gradient(point, derivative),
        ),
    ):
        size = max(np.max(abs(block)) for block in expected)
        for block, other_block in zip(found, expected, strict=True):
            assert_close(block, other_block, 1e-11, size)
    for time in (0.01, 0.1, 1.0):
        end, expected = (M.retraction(point, time * a) for M in (ours, theirs))
        assert_close(matrix_of(end), matrix_of(expected), 1e-12)


@EACH
def test_metric_and_gradient_of_dense_matrices(m, n, rank, depth):
    """Inner product and gradient are those of `dlngeo.core.depth_metric.metric` on the product."""
    manifold = DeepFixedRank(m, n, rank, depth)
    point, matrix = point_with(manifold, VALUES["repeated"]), gaussian(m, n)
    x = matrix_of(point)
    a, b = (manifold.random_tangent_vector(point) for _ in range(2))
    expected = np.sum(vector_of(point, a) * lower_index(x, vector_of(point, b), depth, rank))
    assert_close(manifold.inner_product(point, a, b), expected, 1e-11, 1.0)
    expected = tangent_projection(x, matrix, rank)
    assert_close(vector_of(point, manifold.projection(point, matrix)), expected, 1e-12)
    factors = gaussian(m, 3), gaussian(3, 2), gaussian(n, 2)
    expected = tangent_projection(x, factors[0] @ factors[1] @ factors[2].T, rank)
    assert_close(vector_of(point, manifold.projection(point, factors)), expected, 1e-12)
    for kind in (np.asarray, scipy.sparse.csr_array, scipy.sparse.linalg.aslinearoperator):
        found = manifold.euclidean_to_riemannian_gradient(point, kind(matrix))
        assert_close(vector_of(point, found), raise_index(x, matrix, depth, rank), 1e-12)
    moved = vector_of(point, a)
    for block, expected in zip(manifold.projection(point, moved), a, strict=True):
        assert_close(block, expected, 1e-12, np.max(abs(moved)))
    u, s, vt = point
    u_dot, s_dot, vt_dot = manifold.embedding(point, a)
    assert_close(u_dot * s @ vt + u * s_dot @ vt + u * s @ vt_dot, moved, 1e-12)


@pytest.mark.parametrize("depth", [1, 2, 3])
@pytest.mark.parametrize("values", ["repeated", "equal"])
def test_gradient_where_singular_values_repeat(depth, values):
    """It is exact where that of FixedRankEmbedded is infinite or NaN."""
    manifold = DeepFixedRank(5, 4, 3, depth)
    point = point_with(manifold, VALUES[values])
    problem = sines(manifold)
    slope = problem.euclidean_gradient(point)
    with np.errstate(all="ignore"):
        broken = FixedRankEmbedded(5, 4, 3).euclidean_to_riemannian_gradient(point, slope)
    u, s, vt = point
    by_matrix = slope[0] / s @ vt + u @ (slope[2].T / s).T
    by_matrix -= u @ (u.T @ slope[0] / s) @ vt
    expected = raise_index(matrix_of(point), by_matrix, depth, 3)
    assert_close(vector_of(point, problem.riemannian_gradient(point)), expected, 1e-12)
    difference = vector_of(point, broken) - tangent_projection(matrix_of(point), by_matrix, 3)
    assert not np.max(abs(difference)) < 1e-3


@pytest.mark.parametrize("depth", [2, 3])
def test_the_submersion(depth):
    """Gradients are as long as those of balanced factors over the point."""
    manifold, factors = DeepFixedRank(4, 4, 4, depth), BalancedFactors((4,) * (depth + 1))
    layers = factors.random_point()
    matrix = np.asarray(end_to_end(layers))
    u, s, vt = np.linalg.svd(matrix)
    target = gaussian(4, 4)

    @pymanopt.function.autograd(factors)
    def cost(*layers):
        product = layers[0]
        for layer in layers[1:]:
            product = layer @ product
        return anp.sum((product - target) ** 2) / 2

    upstairs = pymanopt.Problem(factors, cost).riemannian_gradient(layers)
    downstairs = approximation(manifold, target).riemannian_gradient((u, s, vt))
    lengths = factors.norm(layers, upstairs), manifold.norm((u, s, vt), downstairs)
    assert_close(*lengths, 1e-10)


# --- libraries and optimisers -----------------------------------------------------------

LIBRARIES = {
    "autograd": (pymanopt.function.autograd, anp),
    "pytorch": (pymanopt.function.pytorch, torch),
    "jax": (pymanopt.function.jax, jnp),
}


@SOME
@pytest.mark.parametrize("library", LIBRARIES)
def test_libraries(m, n, rank, depth, library):
    """Costs of each library have the same derivatives, at repeated singular values too."""
    decorator, numbers = LIBRARIES[library]
    manifold = DeepFixedRank(m, n, rank, depth)
    for values in (VALUES["distinct"], VALUES["equal"]):
        point = point_with(manifold, values)
        vector = manifold.random_tangent_vector(point)
        expected, problem = sines(manifold), sines(manifold, decorator, numbers)
        for found, other in (
            (problem.riemannian_gradient(point), expected.riemannian_gradient(point)),
            (
                problem.riemannian_hessian(point, vector),
                expected.riemannian_hessian(point, vector),
            ),
        ):
            assert_close(vector_of(point, found), vector_of(point, other), 1e-12)


@EACH
def test_optimisers_reach_the_nearest_matrix(m, n, rank, depth):
    """Of a rank it is the truncated decomposition; trust regions end quadratically."""
    manifold = DeepFixedRank(m, n, rank, depth)
    target, minimum = target_and_minimum(manifold)
    problem = approximation(manifold, target)
    start = point_with(manifold, 1.5 * VALUES["equal"])
    if depth == 10:
        assert_quadratic(problem, start, minimum)
    else:
        assert_minimised(problem, start, minimum)


@pytest.mark.parametrize("depth", [1, 2, 3, INF])
def test_minimum_with_repeated_singular_values(depth):
    """Trust regions end quadratically at the identity too."""
    manifold = DeepFixedRank(4, 4, 4, depth)
    assert_quadratic(
        approximation(manifold, np.eye(4)), point_with(manifold, [2, 1.5, 1, 0.5]), 0.0
    )


def test_product_of_manifolds():
    """DeepFixedRank is a factor of pymanopt's Product beside others."""
    inner = DeepFixedRank(4, 3, 2, 3)
    manifold = Product([inner, Euclidean(3)])
    target, minimum = target_and_minimum(inner)
    shift = np.array([1.0, -2.0, 0.5])

    @pymanopt.function.autograd(manifold)
    def cost(u, s, vt, b):
        return anp.sum(((u * s) @ vt - target) ** 2) / 2 + anp.sum((b - shift) ** 2) / 2

    problem = pymanopt.Problem(manifold, cost)
    point = [point_with(inner, VALUES["distinct"]), np.zeros(3)]
    vector = 0.5 * manifold.random_tangent_vector(point)
    end = manifold.exp(point, vector)
    assert_close(manifold.dist(point, end), manifold.norm(point, vector), 1e-8)
    gradient = problem.riemannian_gradient(point)
    own = approximation(inner, target).riemannian_gradient(point[0])
    assert_close(vector_of(point[0], gradient[0]), vector_of(point[0], own), 1e-13)
    result = ConjugateGradient(verbosity=0, min_gradient_norm=1e-6).run(
        problem, initial_point=point
    )
    assert_close(result.cost, minimum, 1e-9, 1.0)
    assert_close(result.point[1], shift, 1e-5)


# --- points, vectors and errors ---------------------------------------------------------


@EACH
def test_random_points_and_vectors(m, n, rank, depth):
    """They are seeded by NumPy's global generator, and have the shapes that are stated."""
    manifold = DeepFixedRank(m, n, rank, depth)
    drawn = []
    for seed in (1, 1, 2):
        np.random.seed(seed)  # noqa: NPY002
        point = manifold.random_point()
        drawn.append((point, manifold.random_tangent_vector(point)))
    (point, vector), (again, vector_again), (other, _) = drawn
    for a, b in zip((*point, *vector), (*again, *vector_again), strict=True):
        np.testing.assert_array_equal(a, b)
    assert np.max(abs(matrix_of(point) - matrix_of(other))) > 1e-6
    assert [a.shape for a in point] == [(m, rank), (rank,), (rank, n)]
    assert [a.shape for a in vector] == [(m, rank), (rank, rank), (n, rank)]
    assert_close(point.u.T @ point.u, np.eye(rank), 1e-13)
    assert_close(point.vt @ point.vt.T, np.eye(rank), 1e-13)
    assert (np.diff(point.s) <= 0).all()
    assert (point.s > 0).all()
    assert abs(point.u.T @ vector.Up).max() < 1e-12 * max(1.0, abs(vector.Up).max())
    assert abs(point.vt @ vector.Vp).max() < 1e-12 * max(1.0, abs(vector.Vp).max())
    assert_close(manifold.norm(point, vector), 1.0, 1e-12)


@pytest.mark.parametrize("depth", [1, 2, 10])
def test_random_vectors_are_uniform(depth):
    """In orthonormal coordinates their second moments are equal."""
    manifold = DeepFixedRank(3, 4, 2, depth)
    point = point_with(manifold, [1.5, 0.3])
    vectors = [manifold.random_tangent_vector(point) for _ in range(4000)]
    parts = [np.array(part) for part in zip(*vectors, strict=True)]
    lengths = []
    for index, part in enumerate(parts):
        blocks = [np.zeros_like(p) for p in parts]
        blocks[index] = part
        lengths += [
            manifold.inner_product(point, v, v)
            for v in map(FactoredTangent._make, zip(*blocks, strict=True))
        ]
    shares = np.reshape(lengths, (3, -1)).mean(axis=1)
    assert_close(shares, np.array([2, 4, 4]) / manifold.dim, 0.05)


@EACH
def test_pair_mean_is_the_middle(m, n, rank, depth):
    """It lies half way on the geodesic, whichever point is first."""
    manifold = DeepFixedRank(m, n, rank, depth)
    point = point_with(manifold, VALUES["distinct"])
    vector = 0.5 * unit_length(manifold, point) * manifold.random_tangent_vector(point)
    end = manifold.exp(point, vector)
    expected = matrix_of(manifold.exp(point, vector / 2))
    assert_close(matrix_of(manifold.pair_mean(point, end)), expected, 1e-8)
    assert_close(matrix_of(manifold.pair_mean(end, point)), expected, 1e-8)


def test_vector_arithmetic():
    """Points and vectors add, scale and unpack as pymanopt's do, NumPy numbers included."""
    manifold = DeepFixedRank(4, 3, 2, 2)
    point = manifold.random_point()
    a, b = (manifold.random_tangent_vector(point) for _ in range(2))
    total = np.float64(2.0) * a - b / np.float64(4.0) + -a * 0.5
    assert isinstance(total, FactoredTangent)
    for found, x, y in zip(total, a, b, strict=True):
        assert_close(found, 1.5 * x - y / 4, 1e-14)
    assert total.M is total[1]
    assert isinstance(manifold.embedding(point, a), FactoredPoint)
    assert "depth 2" in str(manifold)


REFUSED = {
    "rank too high": ((4, 3, 4, 2), "rank"),
    "rank zero": ((4, 3, 0, 2), "rank"),
    "no rows": ((0, 3, 1, 2), "width"),
    "depth zero": ((4, 3, 2, 0), "depth"),
    "depth a half": ((4, 3, 2, 0.5), "depth"),
    "infinite depth of rectangles": ((4, 3, 3, INF), "square matrices of full rank"),
    "infinite depth of low rank": ((4, 4, 3, INF), "square matrices of full rank"),
}


@pytest.mark.parametrize(("arguments", "message"), REFUSED.values(), ids=REFUSED)
def test_refused_manifolds(arguments, message):
    """Rank and depth must exist for the shape."""
    with pytest.raises(ValueError, match=message):
        DeepFixedRank(*arguments)


def test_refused_points():
    """Points of other shapes are named, with those that were expected."""
    manifold = DeepFixedRank(4, 3, 2, 2)
    u, s, vt = manifold.random_point()
    vector = manifold.random_tangent_vector((u, s, vt))
    expected = r"expected a point .* \[\(4, 2\), \(2,\), \(2, 3\)\]"
    for point in ((u, s, vt.T), (u[:3], s, vt), (u, np.diag(s), vt), (u[:, :1], s[:1], vt[:1])):
        with pytest.raises(ValueError, match=expected):
            manifold.norm(point, vector)
        with pytest.raises(ValueError, match=expected):
            manifold.retraction(point, vector)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_refused_gradients(bad):
    """Gradients that are not finite are refused, in arrays and in matrices."""
    manifold = DeepFixedRank(4, 3, 2, 2)
    point = manifold.random_point()
    for gradient in (
        np.full((4, 3), bad),
        scipy.sparse.csr_array(np.full((4, 3), bad)),
        [np.full(np.shape(array), bad) for array in point],
        [np.zeros((4, 2)), np.array([0.0, bad]), np.zeros((2, 3))],
        [np.full((4, 2), bad), np.zeros(2), np.zeros((2, 3))],
    ):
        with np.errstate(all="ignore"), pytest.raises(ValueError, match="NaN or infinite"):
            manifold.euclidean_to_riemannian_gradient(point, gradient)


def test_refused_costs():
    """A cost of the frames is refused where singular values repeat, with the reason."""
    manifold = DeepFixedRank(4, 3, 2, 2)

    @pymanopt.function.autograd(manifold)
    def cost(u, s, vt):
        return anp.sum(u[0] ** 2 * np.array([1.0, 2.0]))

    point = point_with(manifold, VALUES["equal"])
    with pytest.raises(ValueError, match="not a function of the product"):
        pymanopt.Problem(manifold, cost).riemannian_gradient(point)


def test_the_boundary():
    """The exponential names when a geodesic ends; the retraction goes on."""
    manifold = DeepFixedRank(2, 2, 2, 2)
    point = FactoredPoint(np.eye(2), np.array([1.0, 0.5]), np.eye(2))
    vector = manifold.projection(point, -3 * np.diag([1.0, 0.5]))
    with pytest.raises(ValueError, match="ends at time"):
        manifold.exp(point, vector)
    moved = manifold.retraction(point, vector)
    assert (moved.s > 0).all()
