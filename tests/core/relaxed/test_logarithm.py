"""The logarithm of relaxed balanced networks against their exponential."""

import numpy as np
import pytest

from dlngeo.core.relaxed import geodesics as rg
from dlngeo.core.relaxed.logarithm import log
from dlngeo.core.relaxed.strings import intrinsic_network
from tests.core.brute import assert_close
from tests.core.relaxed.relaxed_networks import NETWORK, start


@NETWORK
@pytest.mark.parametrize("scale", [1.0, 1e3])
def test_logarithm_inverts_the_exponential(widths, offsets, rank, scale):
    network, matrix, velocity = start(widths, offsets, rank)
    network = network.scaled(scale ** (2 / len(network.shifts)))
    matrix, velocity = scale * matrix, scale * velocity
    end = rg.geodesic(matrix, velocity, network).point(1.0)
    assert_close(log(matrix, end, network), velocity, 1e-8)


def test_no_geodesic_is_an_error():
    with pytest.raises(ValueError, match="opposite signs"):
        log(np.eye(2), np.diag([1.0, -1.0]), intrinsic_network((0.5, -0.5), (2, 2)))
