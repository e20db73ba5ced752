"""The operator of the metric at infinite depth, against matrix exponentials and large depths."""

import math

import numpy as np
import pytest
from scipy import linalg

from dlngeo.core.depth_metric import metric as ob
from tests.core.brute import assert_close

INF = math.inf


def random_matrix(shape, seed):
    """Return a Gaussian matrix."""
    return np.random.default_rng(seed).standard_normal(shape)


@pytest.mark.parametrize(
    "matrix",
    [random_matrix((3, 3), 15), np.eye(3), np.diag([1.0, 1 + 1e-12, 2.0]), np.diag([10.0, 1, 0.1])],
    ids=["random", "identity", "gap", "wide"],
)
def test_infinite_depth_is_an_integral_of_exponentials(matrix):
    """``∫ (XXᵀ)^{1-s} P (XᵀX)^s ds`` is a block of the exponential of a block matrix."""
    covector = random_matrix((3, 3), 16)
    left, right = linalg.logm(matrix @ matrix.T).real, linalg.logm(matrix.T @ matrix).real
    block = linalg.expm(np.block([[left, covector], [np.zeros((3, 3)), right]]))
    found = ob.raise_index(matrix, covector, INF)
    assert_close(found, block[:3, 3:], 1e-11)
    assert_close(ob.lower_index(matrix, found, INF), covector, 1e-11)


def test_infinite_depth_is_the_limit():
    """``A_N / N`` tends to ``A_∞`` with an error of order ``1/N``, halved by doubling."""
    matrix, covector = random_matrix((3, 3), 17), random_matrix((3, 3), 18)
    limit = ob.raise_index(matrix, covector, INF)
    coarse, fine = (ob.raise_index(matrix, covector, n) / n for n in (50_000, 100_000))
    assert_close(fine, limit, 1e-4)
    assert_close(2 * fine - coarse, limit, 1e-8)
