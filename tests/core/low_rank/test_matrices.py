"""Laws of `dlngeo.core.low_rank.matrices` against dense matrices."""

import math
import tracemalloc
from itertools import combinations

import numpy as np
import pytest
import scipy.sparse
import scipy.sparse.linalg

from dlngeo.core.depth_metric.connection import christoffel
from dlngeo.core.depth_metric.metric import lower_index, raise_index
from dlngeo.core.depth_metric.weights import weights_of
from dlngeo.core.geodesics import exponential, logarithm
from dlngeo.core.low_rank import matrices as factored
from dlngeo.core.networks.blocks import Blocks
from dlngeo.core.networks.frames import SingularFrames
from tests.core.brute import assert_close, derivative, product, second_derivative
from tests.core.geodesics.reference_geodesics import reference_geodesic
from tests.core.low_rank.low_rank_matrices import (
    INF,
    POINTS,
    ambient,
    by_turns,
    combined,
    dense,
    depths_at,
    frames_with,
    operator,
    projected,
    random_tangent,
    truncated,
)

CASES = [
    pytest.param(frames, depth, id=f"{name}, N={depth}")
    for name, frames in POINTS.items()
    for depth in depths_at(frames)
]
CASE = pytest.mark.parametrize(("frames", "depth"), CASES)
# Where singular values differ by orders of magnitude, dense matrices lose the small ones.
TAME = pytest.mark.parametrize(
    ("frames", "depth"), [case for case in CASES if "graded" not in str(case.id)]
)
POINT = pytest.mark.parametrize("frames", POINTS.values(), ids=POINTS)


def paired(*spectra: str) -> pytest.MarkDecorator:
    """Parametrise by frames and depth, of which every two properties meet."""
    cases = [pytest.param(frames, depth, id=name) for name, frames, depth in by_turns(spectra)]
    return pytest.mark.parametrize(("frames", "depth"), cases)


def step(frames: SingularFrames, depth: float, size: float, seed: int) -> Blocks:
    """Return a tangent vector of a length in proportion to the smallest value of the factors."""
    vector = random_tangent(frames, seed)
    length = math.sqrt(factored.inner_product(frames, vector, vector, depth))
    least = 1.0 if depth == INF else frames.sigma[-1] ** (1 / depth)
    return combined(size * least / length, vector, 0.0, vector)


def assert_frames(frames: SingularFrames, rank: int):
    """Assert orthonormal columns and positive singular values in descending order."""
    for frame in (frames.left, frames.right):
        assert frame.shape[1] == rank
        assert_close(frame.T @ frame, np.eye(rank), 1e-13)
    assert frames.sigma.shape == (rank,)
    assert (frames.sigma > 0).all()
    assert (np.diff(frames.sigma) <= 0).all()


def assert_tangent(frames: SingularFrames, blocks: Blocks):
    """Assert that null blocks are orthogonal to the frames, and None without null spaces."""
    left, sigma, right = frames
    assert blocks.core.shape == (len(sigma), len(sigma))
    assert blocks.both_null is None
    for frame, block in ((left, blocks.left_null), (right, blocks.right_null)):
        assert (block is None) == (len(frame) == len(sigma))
    if blocks.left_null is not None:
        size = np.max(np.abs(blocks.left_null))
        assert_close(left.T @ blocks.left_null, 0 * blocks.core, 1e-13, size)
    if blocks.right_null is not None:
        size = np.max(np.abs(blocks.right_null))
        assert_close(blocks.right_null @ right, 0 * blocks.core, 1e-13, size)


# --- tangent vectors ------------------------------------------------------------------

KINDS = {
    "array": np.asarray,
    "csr": scipy.sparse.csr_array,
    "csc": scipy.sparse.csc_array,
    "coo": scipy.sparse.coo_array,
    "csr_matrix": scipy.sparse.csr_matrix,
    "operator": scipy.sparse.linalg.aslinearoperator,
}


@POINT
@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_tangent_blocks(frames, kind):
    """Blocks of any kind of matrix are those of the dense projection."""
    rng = np.random.default_rng(0)
    matrix = rng.standard_normal((len(frames.left), len(frames.right)))
    matrix[rng.uniform(size=matrix.shape) < 0.4] = 0.0
    blocks = factored.tangent_blocks(frames, kind(matrix))
    assert_tangent(frames, blocks)
    assert_close(ambient(frames, blocks), projected(frames, matrix), 1e-13)
    assert_close(blocks.core, frames.left.T @ matrix @ frames.right, 1e-13)


@POINT
def test_moved_blocks(frames):
    """A tangent vector moves by the dense projection on the tangent space elsewhere."""
    vector, size = random_tangent(frames, 1), (len(frames.left), len(frames.right))
    to = frames_with(size, frames.sigma, seed=77)
    blocks = factored.project_blocks(frames, vector, to)
    assert_tangent(to, blocks)
    assert_close(ambient(to, blocks), projected(to, ambient(frames, vector)), 1e-13)
    stayed = factored.project_blocks(frames, vector, frames)
    assert_close(ambient(frames, stayed), ambient(frames, vector), 1e-13)


# --- the metric -----------------------------------------------------------------------


@CASE
def test_raised(frames, depth):
    """The raised covector is ``A_{N,X}(P)``, by dense powers, of its tangent part."""
    covector = random_tangent(frames, 2)
    raised = weights_of(frames.sigma, depth).raise_index(covector)
    assert_tangent(frames, raised)
    expected = operator(frames, ambient(frames, covector), depth)
    assert_close(ambient(frames, raised), expected, 1e-12)
    tolerance = 1e-11 if frames.sigma[-1] > 1e-3 * frames.sigma[0] else 1e-9
    found = raise_index(dense(frames), ambient(frames, covector), depth, len(frames.sigma))
    assert_close(found, expected, tolerance)


@CASE
def test_inner_product(frames, depth):
    """``g(A P, A Q) = tr(Pᵀ A Q)``, where no small weight is divided by."""
    p, q = random_tangent(frames, 3), random_tangent(frames, 4)
    one, two = (weights_of(frames.sigma, depth).raise_index(covector) for covector in (p, q))
    found = factored.inner_product(frames, one, two, depth)
    matrix = operator(frames, ambient(frames, q), depth)
    scale = np.linalg.norm(ambient(frames, p)) * np.linalg.norm(matrix)
    assert_close(found, np.sum(ambient(frames, p) * matrix), 1e-13, scale)


@TAME
def test_inner_product_of_dense_matrices(frames, depth):
    """``g(Z, Z') = tr(Zᵀ Z'^♭)``."""
    a, b = random_tangent(frames, 5), random_tangent(frames, 6)
    lowered = lower_index(dense(frames), ambient(frames, b), depth, len(frames.sigma))
    scale = np.linalg.norm(ambient(frames, a)) * np.linalg.norm(lowered)
    found = factored.inner_product(frames, a, b, depth)
    assert_close(found, np.sum(ambient(frames, a) * lowered), 1e-11, scale)


# --- the retraction -------------------------------------------------------------------


@TAME
def test_retraction_is_of_second_order(frames, depth):
    """Its distance from the geodesic falls as the cube of the step."""
    vector, rank = step(frames, depth, 1.0, 7), len(frames.sigma)
    errors = []
    for time in (0.05, 0.025):
        part = combined(time, vector, 0.0, vector)
        moved = factored.retraction(frames, part, depth)
        assert_frames(moved, rank)
        expected = exponential.exp(dense(frames), ambient(frames, part), depth, rank)
        errors.append(np.linalg.norm(dense(moved) - expected) / frames.sigma[0])
    if depth == 1 and rank == min(len(frames.left), len(frames.right)):
        assert max(errors) < 1e-14  # both are straight lines
    else:
        assert 2.9 < math.log2(errors[0] / errors[1]) < 3.1


@CASE
def test_retraction_by_nothing(frames, depth):
    """The zero vector moves nothing, also where singular values repeat."""
    nothing = combined(0.0, random_tangent(frames, 8), 0.0, random_tangent(frames, 8))
    moved = factored.retraction(frames, nothing, depth)
    assert_frames(moved, len(frames.sigma))
    assert_close(dense(moved), dense(frames), 1e-14)
    assert_close(moved.sigma / frames.sigma, np.ones(len(frames.sigma)), 1e-9)


@CASE
def test_retraction_by_much(frames, depth):
    """Steps of many times the point keep the rank."""
    moved = factored.retraction(frames, step(frames, depth, 5.0, 9), depth)
    assert_frames(moved, len(frames.sigma))
    assert np.isfinite(dense(moved)).all()


@POINT
def test_retraction_of_depth_one_is_the_nearest_matrix(frames):
    """It is the truncated singular value decomposition of ``X + Z``."""
    vector = step(frames, 1, 0.5, 10)
    expected = truncated(dense(frames) + ambient(frames, vector), len(frames.sigma))
    assert_close(dense(factored.retraction(frames, vector, 1)), expected, 1e-13)


@pytest.mark.parametrize("depth", [1, 2, 3])
def test_retraction_with_degenerate_blocks(depth):
    """Null blocks may have dependent columns, and null spaces fewer dimensions than those."""
    frames = frames_with((4, 5), np.array([1.5, 1.0, 0.5]), seed=3)
    vector = step(frames, depth, 0.5, 11)
    assert vector.left_null is not None
    assert vector.right_null is not None
    for blocks in (
        vector,
        vector._replace(left_null=0 * vector.left_null),
        vector._replace(right_null=vector.right_null[:1] * np.array([[1.0], [2.0], [0.0]])),
    ):
        moved = factored.retraction(frames, blocks, depth)
        assert_frames(moved, 3)
        if depth == 1:
            expected = truncated(dense(frames) + ambient(frames, blocks), 3)
            assert_close(dense(moved), expected, 1e-13)


@pytest.mark.parametrize("depth", [1, 2, 3])
@pytest.mark.parametrize("reach", [[0.0, 1.0], [1.0, 1.0]], ids=["lower rank", "zero"])
def test_retraction_to_the_boundary(depth, reach):
    """A step that ends where singular values vanish stays on the manifold."""
    sigma = np.array([4.0, 1.0])
    frames = SingularFrames(np.eye(3, 2), sigma, np.eye(4, 2))
    nothing = np.zeros((3, 2)), np.zeros((2, 4))
    blocks = Blocks(-depth * np.diag(sigma * np.array(reach)), *nothing)
    moved = factored.retraction(frames, blocks, depth)
    assert_frames(moved, 2)
    assert np.min(moved.sigma) < 1e-15 * sigma[0]
    assert np.isfinite(factored.inner_product(moved, blocks, blocks, depth))


# --- the Hessian ----------------------------------------------------------------------


class Cost:
    """``F(X) = Σ C ∘ sin(X/s + D)``, a cost without symmetries at the scale of a point."""

    def __init__(self, frames: SingularFrames):
        rng = np.random.default_rng(12)
        self.weights, self.shift = rng.standard_normal((2, len(frames.left), len(frames.right)))
        self.scale = frames.sigma[0]

    def __call__(self, matrix: np.ndarray) -> float:
        return float(np.sum(self.weights * np.sin(matrix / self.scale + self.shift)))

    def gradient(self, matrix: np.ndarray) -> np.ndarray:
        return self.weights * np.cos(matrix / self.scale + self.shift) / self.scale

    def second(self, matrix: np.ndarray, vector: np.ndarray) -> np.ndarray:
        curved = self.weights * np.sin(matrix / self.scale + self.shift)
        return -curved * vector / self.scale**2


def hessian_of(cost: Cost, frames: SingularFrames, vector: Blocks, depth: float) -> Blocks:
    """Return the Hessian of the package."""
    matrix = dense(frames)
    gradient, second = cost.gradient(matrix), cost.second(matrix, ambient(frames, vector))
    embedded = factored.embedded_hessian(frames, gradient, second, vector)
    covector = factored.tangent_blocks(frames, gradient)
    return factored.riemannian_hessian(frames, covector, embedded, vector, depth)


def layers_over(frames: SingularFrames, depth: int) -> list[np.ndarray]:
    """Return balanced factors ``Λ Vᵀ, Λ, ..., Λ, U Λ``."""
    root = np.diag(frames.sigma ** (1 / depth))
    return [root @ frames.right.T, *[root] * (depth - 2), frames.left @ root]


def lift(frames: SingularFrames, covector: Blocks, depth: int) -> list[np.ndarray]:
    """Return ``dφ*(P)`` at these factors, the horizontal lift of ``A(P)``."""
    layers = layers_over(frames, depth)
    ends = np.eye(len(frames.right)), np.eye(len(frames.left))
    return [
        product([*layers[p + 1 :], ends[1]]).T
        @ ambient(frames, covector)
        @ product([ends[0], *layers[:p]]).T
        for p in range(depth)
    ]


def bent(frames: SingularFrames, covector: Blocks, other: Blocks, depth: int) -> np.ndarray:
    """Return ``D²φ(V, V')`` of the lifts of ``A(P)`` and ``A(P')``."""
    if depth == 1:
        one, two = ambient(frames, covector), ambient(frames, other)
        if one.shape[0] == len(frames.sigma) or one.shape[1] == len(frames.sigma):
            return 0 * one
        inverse = frames.right / frames.sigma @ frames.left.T
        bend = one @ inverse @ two + two @ inverse @ one
        return bend - projected(frames, bend)
    lifts, bend = [lift(frames, p, depth) for p in (covector, other)], 0.0
    for p, q in combinations(range(depth), 2):
        for first, second in (lifts, lifts[::-1]):
            mixed = layers_over(frames, depth)
            mixed[p], mixed[q] = first[p], second[q]
            bend = bend + product(mixed)
    return bend


@pytest.mark.parametrize(("frames", "depth"), [case for case in CASES if case.values[1] != INF])
def test_hessian_of_finite_depth(frames, depth):
    """``g(Hess[Z], Z') = ⟨H[Z], Z'⟩ + ⟨G, D²φ(V, V')⟩`` with lifts to dense factors."""
    cost, matrix = Cost(frames), dense(frames)
    covectors = [random_tangent(frames, seed) for seed in (13, 14, 15)]
    vectors = [weights_of(frames.sigma, depth).raise_index(covector) for covector in covectors]
    for one, covector in zip(vectors, covectors, strict=True):
        result = hessian_of(cost, frames, one, depth)
        assert_tangent(frames, result)
        second = cost.second(matrix, ambient(frames, one))
        for two, other in zip(vectors, covectors, strict=True):
            terms = second * ambient(frames, two)
            terms = terms + cost.gradient(matrix) * bent(frames, covector, other, depth)
            found = factored.inner_product(frames, result, two, depth)
            assert_close(found, np.sum(terms), 1e-12, np.sum(abs(terms)))


SEEN = [c for c in CASES if any(name in str(c.id) for name in ("generic", "repeated", "equal"))]


@paired("generic", "repeated", "equal")
def test_hessian_along_geodesics(frames, depth):
    """``g(Hess[Z], Z')`` is the polarised second derivative of the cost along geodesics."""
    cost, rank = Cost(frames), len(frames.sigma)

    def second(vector: Blocks) -> float:
        motion = ambient(frames, vector)

        def along(time: float) -> float:
            if depth < 10 or depth == INF:
                return cost(reference_geodesic(dense(frames), time * motion, depth, rank)[0])
            return cost(exponential.exp(dense(frames), time * motion, depth, rank))

        return float(second_derivative(along, 0.05))

    one, two = (step(frames, depth, 1.0, seed) for seed in (16, 17))
    both = second(combined(0.5, one, 0.5, two)) - second(combined(0.5, one, -0.5, two))
    found = factored.inner_product(frames, hessian_of(cost, frames, one, depth), two, depth)
    own = factored.inner_product(frames, hessian_of(cost, frames, one, depth), one, depth)
    expected = second(one)
    assert_close(own, expected, 1e-6, max(abs(expected), 0.1))
    assert_close(found, both, 1e-6, max(abs(expected), 0.1))


@pytest.mark.parametrize("depth", [2, 3, 10, INF])
@pytest.mark.parametrize("spectrum", ["generic", "repeated", "equal", "small", "large"])
def test_hessian_is_the_covariant_derivative(spectrum, depth):
    """``Hess[Z] = ∇_Z grad F``, the gradient by finite differences of dense matrices."""
    frames = POINTS[f"4x4, rank 4, {spectrum}"]
    cost, vector = Cost(frames), step(frames, depth, 1.0, 18)
    matrix, motion = dense(frames), ambient(frames, vector)

    def gradient(time: float) -> np.ndarray:
        return raise_index(matrix + time * motion, cost.gradient(matrix + time * motion), depth)

    expected = derivative(gradient, 5e-3) + christoffel(matrix, motion, gradient(0.0), depth)
    found = ambient(frames, hessian_of(cost, frames, vector, depth))
    assert_close(found, expected, 1e-9)


@CASE
def test_hessian_is_symmetric_and_linear(frames, depth):
    """It is a self-adjoint operator on the tangent space."""
    cost = Cost(frames)
    one, two = (step(frames, depth, 1.0, seed) for seed in (19, 20))
    results = [hessian_of(cost, frames, vector, depth) for vector in (one, two)]
    pairs = [
        factored.inner_product(frames, results[0], two, depth),
        factored.inner_product(frames, one, results[1], depth),
    ]
    lengths = [factored.inner_product(frames, x, x, depth) for x in (*results, one, two)]
    assert_close(pairs[0], pairs[1], 1e-11, math.sqrt(lengths[0] * lengths[3]))
    both = hessian_of(cost, frames, combined(0.7, one, -1.3, two), depth)
    rest = combined(1.0, both, -1.0, combined(0.7, results[0], -1.3, results[1]))
    assert factored.inner_product(frames, rest, rest, depth) < 1e-22 * (lengths[0] + lengths[1])


# --- geodesics ------------------------------------------------------------------------


@TAME
def test_exp(frames, depth):
    """It is the exponential of dense matrices."""
    vector, rank = step(frames, depth, 0.5, 21), len(frames.sigma)
    moved = factored.exp(frames, vector, depth)
    assert_frames(moved, rank)
    expected = exponential.exp(dense(frames), ambient(frames, vector), depth, rank)
    assert_close(dense(moved), expected, 1e-10)


@pytest.mark.parametrize(("frames", "depth"), [c for c in SEEN if c.values[1] != 10])
def test_exp_of_reference(frames, depth):
    """It is what a dense integration of another kind gives."""
    vector, rank = step(frames, depth, 0.5, 22), len(frames.sigma)
    expected = reference_geodesic(dense(frames), ambient(frames, vector), depth, rank)[0]
    assert_close(dense(factored.exp(frames, vector, depth)), expected, 1e-9)


@paired("generic", "repeated", "equal", "small", "large")
def test_log_and_dist(frames, depth):
    """They are those of dense matrices, invert the exponential and measure its velocity."""
    vector, rank = step(frames, depth, 0.5, 23), len(frames.sigma)
    other = factored.exp(frames, vector, depth)
    found = factored.log(frames, other, depth)
    assert_tangent(frames, found)
    assert_close(ambient(frames, found), ambient(frames, vector), 1e-8)
    expected = logarithm.log(dense(frames), dense(other), depth, rank)
    assert_close(ambient(frames, found), expected, 1e-8)
    length = math.sqrt(factored.inner_product(frames, vector, vector, depth))
    assert_close(factored.dist(frames, other, depth), length, 1e-9)
    assert_close(factored.dist(other, frames, depth), length, 1e-9)
    expected = logarithm.dist(dense(frames), dense(other), depth, rank)
    assert_close(factored.dist(frames, other, depth), expected, 1e-9)


@POINT
def test_dist_from_itself(frames):
    """It is zero."""
    for depth in depths_at(frames):
        unit = frames.sigma[0] ** (1 if depth == INF else 1 / depth)
        assert factored.dist(frames, frames, depth) <= 1e-7 * unit


# --- large matrices -------------------------------------------------------------------

LARGE = (1000, 800)


@pytest.mark.parametrize("depth", [1, 2, 3, 10])
def test_no_large_array_is_formed(depth):
    """Each operation on 1000 × 800 matrices of rank 3 takes a small part of their memory."""
    frames = frames_with(LARGE, np.array([1.6, 1.0, 0.7]), seed=5)
    matrix = scipy.sparse.random_array(LARGE, density=0.001, rng=0).tocsr()
    vector = step(frames, depth, 0.5, 24)
    gradient = factored.tangent_blocks(frames, matrix)
    other = factored.exp(frames, vector, depth)
    operations = {
        "tangent_blocks": lambda: factored.tangent_blocks(frames, matrix),
        "project_blocks": lambda: factored.project_blocks(frames, vector, other),
        "inner_product": lambda: factored.inner_product(frames, vector, gradient, depth),
        "raised": lambda: weights_of(frames.sigma, depth).raise_index(gradient),
        "retraction": lambda: factored.retraction(frames, vector, depth),
        "embedded_hessian": lambda: factored.embedded_hessian(frames, matrix, matrix, vector),
        "hessian": lambda: factored.riemannian_hessian(frames, gradient, gradient, vector, depth),
        "exp": lambda: factored.exp(frames, vector, depth),
        "log": lambda: factored.log(frames, other, depth),
        "dist": lambda: factored.dist(frames, other, depth),
    }
    for name, operation in operations.items():
        tracemalloc.start()
        operation()
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 0.2 * 8 * LARGE[0] * LARGE[1], (name, peak)
    found = factored.log(frames, other, depth)
    for block, expected in zip(found[:3], vector[:3], strict=True):
        assert_close(block, expected, 1e-7)
