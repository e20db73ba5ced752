"""Laws of `dlngeo.core.networks.frames`: blocks, balanced frames, polar factor, kernel solve."""

from collections.abc import Callable

import numpy as np
import pytest
from scipy import linalg

from dlngeo.core.networks import blocks, equations, frames
from tests.core.brute import NETWORKS, assert_close, derivative, network, product
from tests.core.libraries import ARRAYS, along, first_derivatives, inner, second_derivatives

NETWORK = pytest.mark.parametrize("net", NETWORKS.values(), ids=NETWORKS)


def random_frame(width, rank, rng):
    """Return a random frame."""
    return np.linalg.qr(rng.standard_normal((width, rank)))[0]


@pytest.mark.parametrize(("m", "n", "r"), [(3, 3, 3), (4, 3, 3), (3, 5, 3), (4, 5, 2), (2, 2, 1)])
def test_split_and_join(m, n, r):
    """`join` undoes `split`, and the blocks are the four products with the projectors."""
    rng = np.random.default_rng(0)
    left, right = random_frame(m, r, rng), random_frame(n, r, rng)
    matrix = rng.standard_normal((6, m, n))
    parts = blocks.split(matrix, left, right)
    assert_close(blocks.join(parts, left, right), matrix, 1e-14)
    left_null, right_null = np.eye(m) - left @ left.T, np.eye(n) - right @ right.T
    expected = blocks.Blocks(
        left.T @ matrix @ right,
        left_null @ matrix @ right if m > r else None,
        left.T @ matrix @ right_null if n > r else None,
        left_null @ matrix @ right_null if m > r and n > r else None,
    )
    for block, by_hand in zip(parts, expected, strict=True):
        assert (block is None) == (by_hand is None)
        if by_hand is not None:
            assert_close(block, by_hand, 1e-14, scale=1.0)


def test_scaled_weighs_blocks_and_drops_the_part_between_null_spaces():
    """Core weights act entry by entry, null weights by frame vector."""
    rng = np.random.default_rng(1)
    left, right = random_frame(4, 2, rng), random_frame(5, 2, rng)
    parts = blocks.split(rng.standard_normal((4, 5)), left, right)
    core, null = np.array([[1.0, 2.0], [3.0, 4.0]]), np.array([5.0, 6.0])
    assert parts.left_null is not None
    weighted = parts.scaled(core, null)
    assert_close(weighted.core, core * parts.core, 1e-15)
    assert_close(weighted.left_null, parts.left_null @ np.diag(null), 1e-15)
    assert_close(weighted.right_null, np.diag(null) @ parts.right_null, 1e-15)
    assert weighted.both_null is None


@pytest.mark.parametrize(("m", "n"), [(4, 3), (3, 5), (3, 3)])
@pytest.mark.parametrize("r", [1, 2, 3])
def test_singular_frames_give_the_best_approximation(m, n, r):
    """Frames are orthonormal, and the error is the tail of the singular values."""
    matrix = np.random.default_rng(2).standard_normal((6, m, n))
    left, sigma, right = frames.singular_frames(matrix, r)
    assert_close(left.swapaxes(1, 2) @ left, np.broadcast_to(np.eye(r), (6, r, r)), 1e-14)
    assert_close(right.swapaxes(1, 2) @ right, np.broadcast_to(np.eye(r), (6, r, r)), 1e-14)
    error = matrix - left * sigma[:, None, :] @ right.swapaxes(1, 2)
    tail = np.linalg.svd(matrix, compute_uv=False)[:, r:]
    assert_close(np.sum(error**2, axis=(1, 2)), np.sum(tail**2, axis=1), 1e-13, scale=10.0)
    assert np.all(np.diff(sigma, axis=-1) <= 0)


def test_check_positive():
    """A zero among the first values is refused, with the remedy."""
    frames.check_positive(np.array([[1.0, 1e-12], [2.0, 1.0]]), 2)
    frames.check_positive(np.array([1.0, 0.0]), 1)
    frames.check_positive(np.zeros((0, 2)), 2)
    with pytest.raises(ValueError, match="singular value 2 is zero to round-off: pass a smaller"):
        frames.check_positive(np.array([[1.0, 1e-17], [2.0, 1.0]]), 2)


@NETWORK
def test_balanced_frames_diagonalise_every_factor(net):
    """``W_p = Q_p Λ Q_{p-1}ᵀ`` with orthonormal frames, also at repeated values."""
    found = frames.balanced_frames(net.factors, net.rank)
    assert found.depth == net.depth
    assert_close(found.lam, np.sort(np.diag(net.core))[::-1], 1e-14)
    for frame in found.frames:
        assert_close(frame.T @ frame, np.eye(net.rank), 1e-14)
    for p, factor in enumerate(net.factors):
        rebuilt = found.frames[p + 1] * found.lam @ found.frames[p].T
        assert_close(rebuilt, factor, 1e-13)
    rebuilt = found.frames[-1] * found.lam**net.depth @ found.frames[0].T
    assert_close(rebuilt, product(net.factors), 1e-13)


def test_balanced_frames_of_ill_conditioned_factors():
    """Frames stay orthonormal at a condition number of 1e6 per factor."""
    net = network((3, 3, 3, 3, 3), 3, [1e3, 1.0, 1e-3])
    found = frames.balanced_frames(net.factors)
    for p, factor in enumerate(net.factors):
        assert_close(found.frames[p].T @ found.frames[p], np.eye(3), 1e-14)
        assert_close(found.frames[p + 1] * found.lam @ found.frames[p].T, factor, 1e-9)


def test_balanced_frames_of_batches():
    """A batch is the stack of its elements."""
    nets = [network((4, 3, 5, 4), 2, seed=seed) for seed in range(4)]
    batch = [np.stack([net.factors[p] for net in nets]).reshape(2, 2, *w.shape)
             for p, w in enumerate(nets[0].factors)]  # fmt: skip
    found = frames.balanced_frames(batch, 2)
    assert found.lam.shape == (2, 2, 2)
    for p, factor in enumerate(batch):
        after, before = found.frames[p + 1], found.frames[p]
        assert_close(after * found.lam[..., None, :] @ before.swapaxes(-1, -2), factor, 1e-14)


def test_balanced_frames_refuse_unbalanced_factors():
    """Factors off balance, or of another rank, are refused with the remedy."""
    net = network((3, 3, 3), 3)
    first, second = net.factors
    tilted = (2 * first, second / 2)
    with pytest.raises(ValueError, match="balance the factors first"):
        frames.balanced_frames(tilted)
    nearly = (first * (1 + 1e-5), second / (1 + 1e-5))
    with pytest.raises(ValueError, match=r"factor 2 is off by .*e-0[56] of its norm"):
        frames.balanced_frames(nearly)
    frames.balanced_frames((first * (1 + 1e-9), second / (1 + 1e-9)))
    with pytest.raises(ValueError, match="expected a matrix of rank 2"):
        frames.balanced_frames(net.factors, 2)
    low = network((3, 3, 3), 2)
    with pytest.raises(ValueError, match="expected rank 3, but singular value 3 is zero"):
        frames.balanced_frames(low.factors, 3)
    with pytest.raises(ValueError, match="factor 2 holds NaN"):
        frames.balanced_frames((first, second * np.nan))


POLAR_POINTS = {
    "generic": np.random.default_rng(3).standard_normal((4, 3)),
    "square": np.random.default_rng(4).standard_normal((3, 3)),
    "identity": np.eye(3),
    "gap": np.diag([1.0, 1 + 1e-12, 2.0]),
    "frame": np.eye(4, 3),
}


@pytest.mark.parametrize("matrix", POLAR_POINTS.values(), ids=POLAR_POINTS)
def test_polar_factor(matrix):
    """The value agrees with SciPy's polar decomposition."""
    assert_close(equations.polar_factor(matrix), linalg.polar(matrix)[0], 1e-14)


@pytest.mark.parametrize("matrix", POLAR_POINTS.values(), ids=POLAR_POINTS)
def test_polar_factor_derivatives(matrix):
    """First and second derivatives in every library agree with finite differences."""
    rng = np.random.default_rng(5)
    point = (matrix, rng.standard_normal(matrix.shape))
    one, other = ((rng.standard_normal(matrix.shape), 0 * matrix) for _ in range(2))

    def function(y, weight):
        return inner(equations.polar_factor(y) ** 2, weight)

    expected = derivative(along(function, point, one))
    for route, value in first_derivatives(function, point, one).items():
        assert value == pytest.approx(expected, rel=1e-8), route

    def slope(y, weight):
        return first_derivative(function, (y, weight), one)

    expected = derivative(along(slope, point, other))
    for route, value in second_derivatives(function, point, one, other).items():
        assert value == pytest.approx(expected, rel=1e-8), route


def first_derivative(function, point, direction):
    """Return the derivative along a direction by finite differences."""
    return derivative(along(function, point, direction))


def psd(values, rng):
    """Return a symmetric matrix with given eigenvalues and random eigenvectors."""
    frame = random_frame(len(values), len(values), rng)
    return frame * values @ frame.T


KERNEL_POINTS = {
    "generic": ([2.0, 1.0, 0.5], [1.5, 0.7]),
    "equal": ([1.0, 1.0, 1.0], [1.0, 1.0]),
    "gap": ([1.0, 1 + 1e-12, 1.0], [1.0, 1 - 1e-12]),
}


def operator(left, right, matrix, depth):
    """Return ``Σ_p L^{N-p} Z R^{p-1}``."""
    powers = np.linalg.matrix_power
    terms = range(1, depth + 1)
    return sum(powers(left, depth - p) @ matrix @ powers(right, p - 1) for p in terms)


@pytest.mark.parametrize(("values", "others"), KERNEL_POINTS.values(), ids=KERNEL_POINTS)
@pytest.mark.parametrize("depth", [1, 2, 3, 10])
def test_kernel_solve_solves_its_equation(values, others, depth):
    """``Σ_p L^{N-p} Z R^{p-1} = E``."""
    rng = np.random.default_rng(6)
    left, right = psd(np.array(values), rng), psd(np.array(others), rng)
    matrix = rng.standard_normal((5, len(values), len(others)))
    found = equations.kernel_solve(left, right, operator(left, right, matrix, depth), depth=depth,
                                rank=2)  # fmt: skip
    if depth == 1 or len(values) == 2:
        assert_close(found, matrix, 1e-12)


@pytest.mark.parametrize("depth", [2, 3, 10])
def test_kernel_solve_below_full_rank(depth):
    """Below full rank the equation holds off the null spaces, and nothing is between them."""
    rng = np.random.default_rng(7)
    left, right = psd(np.array([1.0, 0.5, 0.0, 0.0]), rng), psd(np.array([1.3, 0.8, 0.0]), rng)
    matrix = rng.standard_normal((4, 3))
    found = equations.kernel_solve(left, right, matrix, depth=depth, rank=2)
    left_null, right_null = linalg.null_space(left), linalg.null_space(right)
    both = left_null @ (left_null.T @ matrix @ right_null) @ right_null.T
    assert_close(operator(left, right, found, depth), matrix - both, 1e-12)
    assert_close(
        left_null.T @ found @ right_null, np.zeros((2, 1)), 1e-14, scale=np.max(np.abs(found))
    )


def test_kernel_solve_of_depth_two_is_sylvester():
    """Depth 2 is the Sylvester equation."""
    rng = np.random.default_rng(8)
    left, right = psd(np.array([1.0, 0.5, 2.0]), rng), psd(np.array([1.3, 0.8, 0.1]), rng)
    matrix = rng.standard_normal((3, 3))
    found = equations.kernel_solve(left, right, matrix, depth=2, rank=3)
    assert_close(found, linalg.solve_sylvester(left, right, matrix), 1e-13)


@pytest.mark.parametrize("depth", [2, 3])
def test_kernel_solve_with_equal_sides_differentiates_a_root(depth):
    """With ``L = R = S^{1/N}`` the solution is the derivative of ``S ↦ S^{1/N}``."""
    rng = np.random.default_rng(9)
    matrix = psd(np.array([1.0, 1.0, 2.0]), rng)
    change = rng.standard_normal((3, 3))
    change = change + change.T
    root = linalg.fractional_matrix_power(matrix, 1 / depth)
    expected = derivative(lambda t: linalg.fractional_matrix_power(matrix + t * change, 1 / depth))
    assert_close(equations.kernel_solve(root, root, change, depth=depth, rank=3), expected, 1e-9)


@pytest.mark.parametrize("name", KERNEL_POINTS)
@pytest.mark.parametrize("depth", [2, 4])
def test_kernel_solve_derivatives(name, depth):
    """First and second derivatives by all three arguments agree with finite differences."""
    rng = np.random.default_rng(10)
    values, others = (np.array(v)[:2] for v in KERNEL_POINTS[name])
    weight = rng.standard_normal((2, 2))

    def symmetric():
        change = rng.standard_normal((2, 2))
        return change + change.T

    point = (psd(values, rng), psd(others, rng), rng.standard_normal((2, 2)), weight)
    one, other = (
        (symmetric(), symmetric(), rng.standard_normal((2, 2)), 0 * weight) for _ in range(2)
    )

    def function(left, right, matrix, weight):
        return inner(equations.kernel_solve(left, right, matrix, depth=depth, rank=2) ** 2, weight)

    expected = derivative(along(function, point, one))
    for route, value in first_derivatives(function, point, one).items():
        assert value == pytest.approx(expected, rel=1e-8), route

    def slope(*arrays):
        return first_derivative(function, arrays, one)

    expected = derivative(along(slope, point, other))
    for route, value in second_derivatives(function, point, one, other).items():
        assert value == pytest.approx(expected, rel=1e-7), route


@pytest.mark.parametrize("library", ["torch", "jax"])
def test_every_library_gives_the_same_values(library):
    """NumPy, PyTorch and JAX give the same values, and float32 stays float32."""
    net = network((3, 3, 3, 3), 2)
    cases: list[tuple[Callable, tuple]] = [
        (lambda *layers: frames.balanced_frames(layers, 2).lam, net.factors),
        (equations.polar_factor, (POLAR_POINTS["generic"],)),
        (
            lambda s, e: equations.kernel_solve(s, s, e, depth=3, rank=3),
            (np.diag([1.0, 2, 2]),) * 2,
        ),
    ]
    for function, arguments in cases:
        expected = function(*arguments)
        assert_close(function(*map(ARRAYS[library], arguments)), expected, 1e-14)
        for make in (np.array, ARRAYS[library]):
            single = function(*[make(a.astype(np.float32)) for a in arguments])
            assert "float32" in str(single.dtype)
            assert_close(single, expected, 1e-5)
