"""Polar factors and solutions of ``Σ_p L^{N-p} Z R^{p-1} = E``."""

import numpy as np
import pytest
from scipy import linalg

from dlngeo.core.networks import equations
from tests.core.brute import assert_close, derivative, orthonormal_frame
from tests.core.libraries import along, first_derivatives, inner, like, second_derivatives

POLAR_POINTS = {
    "generic": np.random.default_rng(3).standard_normal((4, 3)),
    "square": np.random.default_rng(4).standard_normal((3, 3)),
    "identity": np.eye(3),
    "gap": np.diag([1.0, 1 + 1e-12, 2.0]),
    "frame": np.eye(4, 3),
}
TALL = {name: POLAR_POINTS[name] for name in ("generic", "frame")}


@pytest.mark.parametrize("matrix", POLAR_POINTS.values(), ids=POLAR_POINTS)
def test_polar_factor(matrix):
    """The value agrees with SciPy's polar decomposition."""
    assert_close(equations.polar_factor(matrix), linalg.polar(matrix)[0], 1e-14)


@pytest.mark.parametrize("matrix", TALL.values(), ids=TALL)
def test_polar_factor_derivatives(matrix):
    """Of tall matrices first and second ones in every library agree with finite differences."""
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
    frame = orthonormal_frame(len(values), len(values), rng)
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


def test_kernel_solve_of_depth_one_is_the_identity():
    """Its derivative too, by every route."""
    eye, matrix, change = np.eye(2), np.ones((2, 2)), np.array([[1.0, 2.0], [3.0, 5.0]])

    def function(matrix):
        left = like(matrix, (eye,))[0]
        return inner(equations.kernel_solve(left, left, matrix, depth=1, rank=2) ** 2, matrix)

    for route, value in first_derivatives(function, (matrix,), (change,)).items():
        assert value == pytest.approx(3 * np.sum(change)), route
