"""The logarithm of the balanced manifold against its exponential."""

import numpy as np
import pytest

from dlngeo.core.geodesics.balanced_curves import balanced_exp
from dlngeo.core.geodesics.balanced_logarithm import balanced_connect, balanced_dist, balanced_log
from tests.core.brute import assert_close, network
from tests.core.geodesics.test_balanced_curves import square_norms, tangent_vectors

SHAPES = [((3, 3, 3), 3), ((2, 4, 3), 2), ((4, 3), 2), ((2, 2, 2, 2), 2)]


@pytest.mark.parametrize(("widths", "rank"), SHAPES, ids=str)
def test_there_and_back(widths, rank):
    """``log(W, exp(W, V)) = V``, and its norm is the distance."""
    net = network(widths, rank)
    vectors = tangent_vectors(net, 2, 0.2, 4)
    ends = balanced_exp(net.factors, vectors, net.rank)
    for found, vector in zip(balanced_log(net.factors, ends, net.rank), vectors, strict=True):
        assert_close(found, vector, 1e-8)
    length = balanced_dist(net.factors, ends, net.rank)
    assert_close(length, square_norms(vectors) ** 0.5, 1e-9)


def test_what_is_not_found_is_told():
    """Opposite determinants: nothing is returned for that pair, and the other stands."""
    point = (np.eye(2), np.eye(2))
    near = 1.1 * np.eye(2)
    ends = np.stack([np.eye(2), near]), np.stack([np.diag([1.0, -1.0]), near])
    connection = balanced_connect(point, ends)
    np.testing.assert_array_equal(connection.is_found, [False, True])
    np.testing.assert_array_equal(np.isnan(connection.length), [True, False])
    for velocity in connection.velocity:
        np.testing.assert_array_equal(np.isnan(velocity).all(axis=(1, 2)), [True, False])
    assert connection.residual[0] > 0.1
    with pytest.raises(RuntimeError, match="no geodesic was found for 1 of 2 pairs"):
        balanced_log(point, ends)
