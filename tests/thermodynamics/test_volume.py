"""The Riemannian volume of the depth metric, against determinants of dense metrics."""

import math

import numpy as np
import pytest

from dlngeo.core.depth_metric.metric import raise_index
from dlngeo.thermodynamics.volume import log_volume_density
from tests.core.brute import assert_close, jacobian, network, power

FINITE = [1, 2, 3, 10]
DEPTHS = [*FINITE, math.inf]
MATRICES = {
    "random": np.random.default_rng(26).standard_normal((3, 3)),
    "identity": np.eye(3),
    "gap": np.diag([1.0, 1 + 1e-12, 2.0]),
    "number": np.array([[-0.3]]),
}


@pytest.mark.parametrize("depth", FINITE)
@pytest.mark.parametrize("spectrum", ["generic", "equal", "gap"])
@pytest.mark.parametrize("width", [1, 2, 3, 4])
def test_volume_density_is_the_root_of_the_determinant(width, spectrum, depth):
    """``½ log det`` of the dense metric ``(dφ dφ*)⁻¹``."""
    values = [1.3, 1.1, 0.9, 0.8] if spectrum == "generic" else spectrum
    net = network((width,) * (depth + 1), width, values)
    dense = jacobian(net.factors)
    expected = -np.linalg.slogdet(dense @ dense.T)[1] / 2
    assert_close(log_volume_density(net.matrix, depth), expected, 1e-11, scale=10.0)


@pytest.mark.parametrize("matrix", MATRICES.values(), ids=MATRICES)
@pytest.mark.parametrize("depth", DEPTHS)
def test_volume_density_is_that_of_fractional_powers(matrix, depth):
    """``½ log det ⟨E_i, E_j⟩`` over the entries, of the dense metric of every depth."""
    operator = np.zeros((matrix.size, matrix.size))
    pairs: list
    if depth == math.inf:
        nodes, weights = np.polynomial.legendre.leggauss(30)
        pairs = [((1 - s) / 2, (1 + s) / 2, w / 2) for s, w in zip(nodes, weights, strict=True)]
    else:
        pairs = [((depth - p) / depth, (p - 1) / depth, 1.0) for p in range(1, depth + 1)]
    for left, right, weight in pairs:
        rows, columns = power(matrix @ matrix.T, left), power(matrix.T @ matrix, right)
        operator = operator + weight * np.kron(rows, columns)
    gram = np.linalg.inv(operator)
    expected = np.linalg.slogdet(gram)[1] / 2
    assert log_volume_density(matrix, depth) == pytest.approx(expected, abs=1e-11)


def test_volume_density_of_infinite_depth_by_the_metric():
    """``-½ log det`` of the operator ``A_∞`` as a dense matrix."""
    matrix = MATRICES["random"]
    columns = raise_index(matrix, np.eye(9).reshape(9, 3, 3), math.inf).reshape(9, 9)
    expected = -np.linalg.slogdet(columns)[1] / 2
    assert_close(log_volume_density(matrix, math.inf), expected, 1e-12)


@pytest.mark.parametrize("depth", DEPTHS)
@pytest.mark.parametrize("scale", [1e-6, 1e6])
def test_volume_density_scales(depth, scale):
    """The density is homogeneous of degree ``-d²(1 - 1/N)``."""
    matrix = np.random.default_rng(27).standard_normal((3, 3))
    expected = log_volume_density(matrix, depth) - 9 * (1 - 1 / depth) * math.log(scale)
    assert_close(log_volume_density(scale * matrix, depth), expected, 1e-13, scale=100.0)


@pytest.mark.parametrize(
    ("matrix", "depth", "message"),
    [
        (np.ones((3, 2)), 2, r"needs a square matrix, got shape \(3, 2\)"),
        (np.ones((3, 3)), 2, "expected rank 3"),
        (np.ones((3, 3)), math.inf, "expected rank 3"),
        (np.full((3, 3), np.nan), 1, "holds NaN"),
    ],
)
def test_errors(matrix, depth, message):
    with pytest.raises(ValueError, match=message):
        log_volume_density(matrix, depth)
