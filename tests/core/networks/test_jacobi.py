"""Laws of `dlngeo.core.networks.jacobi` against dense tridiagonal matrices."""

import math

import numpy as np
import pytest
from scipy import integrate

from dlngeo.core.networks import jacobi
from tests.core.brute import assert_close, derivative, jacobi_matrix
from tests.core.libraries import ARRAYS

DEPTHS = [1, 2, 3, 4, 10]
VALUES = {
    "generic": (np.array([1.7, 1.1, 0.6]), np.array([2.0, 0.9])),
    "equal": (np.ones(3), np.ones(2)),
    "gap": (np.array([1 + 2e-12, 1 + 1e-12, 1.0]), np.array([1 + 1e-12, 1.0])),
    "wide": (np.array([1e3, 1.0, 1e-3]), np.array([1e2, 1e-2])),
}
PAIRS = pytest.mark.parametrize(("left", "right"), VALUES.values(), ids=VALUES)
DEPTH = pytest.mark.parametrize("depth", DEPTHS)


def dense(function, left, right):
    """Return the array of values of a function of two numbers."""
    return np.array([[function(a, b) for b in right] for a in left])


@PAIRS
@DEPTH
def test_kernel_is_the_determinant(left, right, depth):
    """``r_kl = det T_kl``, entry by entry."""
    expected = dense(lambda a, b: np.linalg.det(jacobi_matrix(a, b, depth)), left, right)
    np.testing.assert_allclose(jacobi.depth_kernel(left, right, depth), expected, rtol=1e-10)


@DEPTH
def test_kernel_at_zero(depth):
    """With one value zero ``r = λ^{2(N-1)}``, and it vanishes between zeros for ``N > 1``."""
    kernel = jacobi.depth_kernel(np.array([0.7, 0.0]), np.array([0.0]), depth)
    assert_close(kernel, [[0.7 ** (2 * depth - 2)], [0.0 if depth > 1 else 1.0]], 1e-15)


@PAIRS
@DEPTH
def test_log_kernel(left, right, depth):
    """``log r_kl`` is the logarithm of the kernel."""
    expected = np.log(jacobi.depth_kernel(left, right, depth))
    np.testing.assert_allclose(jacobi.log_depth_kernel(left, right, depth), expected, atol=1e-13)


@pytest.mark.parametrize("scale", [1e-200, 1e200])
def test_log_kernel_neither_overflows_nor_underflows(scale):
    """``log r`` of equal values is ``(N-1) log λ² + log N`` where ``r`` itself overflows."""
    value = jacobi.log_depth_kernel(np.array([scale]), np.array([scale]), 10)
    assert_close(value, [[18 * math.log(scale) + math.log(10)]], 1e-15)


@PAIRS
@DEPTH
def test_log_kernel_derivative(left, right, depth):
    """The derivative by ``log λ`` agrees with finite differences."""
    expected = derivative(lambda t: jacobi.log_depth_kernel(left * np.exp(t), right, depth))
    slopes = jacobi.log_depth_kernel_derivative(left, right, depth)
    assert_close(slopes, expected, 1e-11, scale=max(depth - 1, 1e-3))
    # The weights of the two sides sum to one.
    mirrored = jacobi.log_depth_kernel_derivative(right, left, depth).T
    assert_close(slopes + mirrored, np.full(slopes.shape, 2.0 * (depth - 1)), 1e-14)


@PAIRS
@DEPTH
def test_log_kernel_curvature(left, right, depth):
    """The second derivative by ``log λ`` agrees with finite differences, minus the mixed one."""
    curvature = jacobi.log_depth_kernel_curvature(left, right, depth)

    def slopes(s, t):
        return jacobi.log_depth_kernel_derivative(left * np.exp(s), right * np.exp(t), depth)

    scale = depth**2
    assert_close(curvature, derivative(lambda t: slopes(t, 0.0)), 1e-11, scale)
    assert_close(-curvature, derivative(lambda t: slopes(0.0, t)), 1e-11, scale)
    # By σ: (∂² - N ∂) / N² by log λ.
    second = jacobi.log_depth_kernel_second_derivative(left, right, depth)
    by_log = curvature - depth * slopes(0.0, 0.0)
    assert_close(depth**2 * second, by_log, 1e-13, scale)


@PAIRS
def test_log_mean_kernel_is_the_integral(left, right):
    """The kernel of infinite depth is ``∫ σ^{2(1-s)} τ^{2s} ds``."""

    def integral(a, b):
        return integrate.quad(
            lambda s: a ** (2 - 2 * s) * b ** (2 * s), 0, 1, epsabs=0, epsrel=1e-12
        )[0]

    expected = dense(integral, left, right)
    np.testing.assert_allclose(jacobi.log_mean_kernel(left, right), expected, rtol=1e-11)


@PAIRS
def test_log_mean_kernel_is_the_limit_of_the_depth(left, right):
    """``r_kl (σ_k σ_l)^{1/N} / N`` is its midpoint rule, off by the factor ``x / sinh x``."""
    depth = 2000
    kernel = jacobi.depth_kernel(left ** (1 / depth), right ** (1 / depth), depth) / depth
    x = (np.log(left)[:, None] - np.log(right)) / depth
    midpoint = kernel * (left[:, None] * right) ** (1 / depth)
    expected = jacobi.log_mean_kernel(left, right) * (1 - x**2 / 6 + 7 * x**4 / 360)
    np.testing.assert_allclose(midpoint, expected, rtol=1e-11)
    assert np.max(x**2) < 1e-4


@PAIRS
@DEPTH
def test_solve(left, right, depth):
    """``T_kl x = b`` for every pair, against dense solves."""
    rng = np.random.default_rng(0)
    b = rng.standard_normal((depth - 1, len(left), len(right)))
    solution = jacobi.jacobi_solve(left, right, b)
    assert solution.shape == b.shape
    for pair in np.ndindex(len(left), len(right)):
        matrix = jacobi_matrix(left[pair[0]], right[pair[1]], depth)
        expected = np.linalg.solve(matrix, b[:, *pair]) if depth > 1 else b[:, *pair]
        assert_close(solution[:, *pair], expected, 1e-12)


def test_solve_broadcasts():
    """One spectrum serves a batch of right-hand sides, and a batch of spectra one of them."""
    rng = np.random.default_rng(1)
    left, right = rng.uniform(0.5, 2, (5, 3)), rng.uniform(0.5, 2, (5, 2))
    b = rng.standard_normal((4, 5, 3, 3, 2))
    solution = jacobi.jacobi_solve(left, right, b)
    for i, j in np.ndindex(4, 5):
        assert_close(solution[i, j], jacobi.jacobi_solve(left[j], right[j], b[i, j]), 1e-15)
    assert jacobi.jacobi_solve(left, right, b[0, 0]).shape == (5, 3, 3, 2)


@pytest.mark.parametrize("depth", [2, 3, 4, 5, 10, 37, 200])
@pytest.mark.parametrize(
    ("left", "right"), [(1.0, 0.7), (0.6, 1.0), (1.0, 1.0), (1.0, 1 - 1e-12), (1e-3, 1e-4)]
)
def test_form_of_geometric_sources(left, right, depth):
    """``uᵀ T⁻¹ v`` and the last entry of ``T⁻¹ u`` by dense solves; unit vectors among sources."""
    p = np.arange(1, depth)
    sources = np.array([[0.9, 0.5], [1.0, 1.0], [0.2, 1.0], [0.0, 1.0], [1.0, 0.0]])
    vectors = np.array([a ** (depth - 1.0 - p) * b ** (p - 1.0) for a, b in sources])
    solved = np.linalg.solve(jacobi_matrix(left, right, depth), vectors.T)
    a, b = sources.T
    form, end = jacobi.jacobi_form(
        np.array(left), np.array(right), (a[:, None], b[:, None]), (a, b), depth
    )
    np.testing.assert_allclose(form, vectors @ solved, rtol=1e-12)
    np.testing.assert_allclose(end[:, 0], solved[-1], rtol=1e-11)


@PAIRS
@pytest.mark.parametrize("depth", [2, 3, 10])
def test_eigenpairs(left, right, depth):
    """Eigenvalues agree with dense ones, and the sine transform diagonalises every ``T_kl``."""
    values, vectors = jacobi.jacobi_eigenpairs(left, right, depth)
    assert_close(vectors @ vectors.T, np.eye(depth - 1), 1e-14)
    for pair in np.ndindex(len(left), len(right)):
        matrix, found = jacobi_matrix(left[pair[0]], right[pair[1]], depth), values[:, *pair]
        assert_close(np.sort(found), np.linalg.eigvalsh(matrix), 1e-14)
        assert_close(vectors @ matrix @ vectors.T, np.diag(found), 1e-14)


def test_least_eigenvalue_has_no_cancellation():
    """At equal values the least eigenvalue is ``4 λ² sin²(π/2N)`` to round-off."""
    values, _ = jacobi.jacobi_eigenpairs(np.ones(1), np.ones(1), 1000)
    assert values[0, 0, 0] == pytest.approx(4 * math.sin(math.pi / 2000) ** 2, rel=1e-15)


KERNELS = {
    "depth_kernel": lambda a, b: jacobi.depth_kernel(a, b, 3),
    "log_depth_kernel": lambda a, b: jacobi.log_depth_kernel(a, b, 3),
    "log_depth_kernel_derivative": lambda a, b: jacobi.log_depth_kernel_derivative(a, b, 3),
    "log_depth_kernel_curvature": lambda a, b: jacobi.log_depth_kernel_curvature(a, b, 3),
    "log_depth_kernel_second_derivative": (
        lambda a, b: jacobi.log_depth_kernel_second_derivative(a, b, 3)
    ),
    "log_mean_kernel": jacobi.log_mean_kernel,
    "jacobi_solve": lambda a, b: jacobi.jacobi_solve(a, b, a[None, :, None] * b[None, None, :]),
    "eigenvalues": lambda a, b: jacobi.jacobi_eigenpairs(a, b, 3)[0],
    "eigenvectors": lambda a, b: jacobi.jacobi_eigenpairs(a, b, 3)[1],
}


@pytest.mark.parametrize("name", KERNELS)
@pytest.mark.parametrize("library", ["torch", "jax"])
def test_every_library_gives_the_same_values(name, library):
    """NumPy, PyTorch and JAX give the same values, and float32 stays float32."""
    left, right = VALUES["generic"]
    expected = KERNELS[name](left, right)
    make = ARRAYS[library]
    assert_close(KERNELS[name](make(left), make(right)), expected, 1e-14)
    for make in (np.array, ARRAYS[library]):
        single = KERNELS[name](make(left.astype(np.float32)), make(right.astype(np.float32)))
        assert "float32" in str(single.dtype)
        assert_close(single, expected, 1e-6)


def test_log_mean_at_every_scale():
    """The logarithm of the logarithmic mean does not overflow, and equals its integral."""
    left, right = np.array([1e-200, 1.0, 1e200]), np.array([1e-180, 1.0])
    found = jacobi.log_log_mean_kernel(left, right)
    assert np.isfinite(found).all()
    # Far apart the mean of x² and y² tends to max² / (2 log(max/min)).
    expected = 400 * np.log(10) - np.log(2 * 380 * np.log(10))
    assert found[2, 0] == pytest.approx(expected, rel=1e-12)
    assert found[1, 1] == 0.0


@pytest.mark.parametrize("gap", [0.0, 1e-12, 1e-3, 0.0999, 0.1001, 1.0, 20.0])
def test_derivative_of_the_log_mean(gap):
    """The slope is that of the logarithm of the kernel, across the switch to the series."""
    right = np.array([1.3])

    def logarithm(t):
        return jacobi.log_log_mean_kernel(1.3 * np.exp(np.array([gap + t])), right)

    found = jacobi.log_mean_kernel_derivative(1.3 * np.exp(np.array([gap])), right)
    assert_close(found, derivative(logarithm, 1e-2), 1e-10)
