"""Logarithms of rotations against exponentials."""

import numpy as np
import pytest
from scipy import linalg

from dlngeo.core.numerics.rotations import rotation_log
from tests.core.brute import assert_close


@pytest.mark.parametrize("size", [1, 2, 3, 5])
def test_logarithms_of_rotations(size):
    rng = np.random.default_rng(size)
    skew = rng.standard_normal((20, size, size))
    skew = skew - skew.swapaxes(1, 2)
    # The principal one has eigenvalues up to π.
    skew *= (3.1 / np.maximum(np.linalg.norm(skew, 2, axis=(1, 2)), 1e-9))[:, None, None]
    skew *= rng.uniform(0, 1, (20, 1, 1))
    assert_close(rotation_log(linalg.expm(skew)), skew, 1e-10, 1.0)


def test_half_turns_have_logarithms():
    frame = np.linalg.qr(np.random.default_rng(0).standard_normal((5, 5)))[0]
    for signs in ([-1, -1, 1, 1, 1], [-1, -1, -1, -1, 1], [1, 1, 1, 1, 1]):
        rotation = frame * np.array(signs) @ frame.T
        skew = rotation_log(rotation)
        assert_close(skew, -skew.T, 1e-12, 1.0)
        assert_close(linalg.expm(skew), rotation, 1e-12, 1.0)
        assert np.linalg.norm(skew) == pytest.approx(np.pi * signs.count(-1) ** 0.5)
