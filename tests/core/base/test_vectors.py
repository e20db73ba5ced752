"""Tuples of matrices as vectors."""

import numpy as np
import pytest

from dlngeo.core.base.vectors import Layers, orthonormal_pair
from dlngeo.core.networks.blocks import Blocks
from tests.core.libraries import ARRAYS

RNG = np.random.default_rng(0)
SHAPES = [(2, 3), (4, 2)]


def layers(*batch, make=np.array):
    return Layers(make(RNG.normal(size=(*batch, *shape))) for shape in SHAPES)


def flat(vector):
    return np.concatenate([np.asarray(entry).ravel() for entry in vector if entry is not None])


@pytest.mark.parametrize("library", ARRAYS)
def test_operations_are_those_of_one_long_vector(library):
    a, b = (layers(make=ARRAYS[library]) for _ in range(2))
    for found, expected in (
        (a + b, flat(a) + flat(b)),
        (a - b, flat(a) - flat(b)),
        (-a, -flat(a)),
        (2 * a, 2 * flat(a)),
        (a * 3.0, 3 * flat(a)),
        (a / 4, flat(a) / 4),
        (a + tuple(b), flat(a) + flat(b)),
        (a.map(lambda x, y: x * y, b), flat(a) * flat(b)),
    ):
        assert type(found) is Layers
        np.testing.assert_allclose(flat(found), expected, rtol=1e-15)
    np.testing.assert_allclose(float(a.inner(b)), flat(a) @ flat(b))
    np.testing.assert_allclose(float(a.squared_norm()), flat(a) @ flat(a))
    np.testing.assert_allclose(float(a.norm()), np.linalg.norm(flat(a)))


@pytest.mark.parametrize("scale", [1e-200, 1e-160, 1e160, 1e300])
def test_norms_at_extreme_scales(scale):
    """Where squares are out of range norms are not."""
    a = layers(3)
    np.testing.assert_allclose((scale * a).norm(), scale * a.norm(), rtol=1e-14)
    unit, norm = (scale * a).unit()
    np.testing.assert_allclose(norm, scale * a.norm(), rtol=1e-14)
    np.testing.assert_allclose(unit[0], a.unit()[0][0], rtol=1e-14)


def test_scalars_and_arrays_of_numpy_leave_multiples_to_vectors():
    a, factors = layers(5), RNG.normal(size=(5, 1, 1))
    assert type(np.float64(2) * a) is Layers
    found = factors * a
    assert type(found) is Layers
    np.testing.assert_array_equal(found[1], factors * a[1])


def test_entries_that_there_are_not():
    """None stays None, and counts for nothing."""
    a = Blocks(np.ones((2, 2)), None, 2 * np.ones((2, 3)))
    double = a + a
    assert type(double) is Blocks
    assert double.left_null is None
    assert double.both_null is None
    np.testing.assert_array_equal(double.right_null, 4)
    assert a.squared_norm() == 4 + 24


def test_vectors_of_different_lengths_are_refused():
    with pytest.raises(ValueError, match="zip"):
        layers() - (np.ones((2, 3)),)


def test_unit_vectors():
    """Of norm one, and zero where there is nothing to scale."""
    a = layers(3)
    a = a.map(lambda w: w * np.array([1.0, 0.0, 1e-200])[:, None, None])
    unit, norm = a.unit()
    np.testing.assert_allclose(norm[0], np.linalg.norm(flat([w[0] for w in a])))
    np.testing.assert_allclose(unit.norm()[:2], [1, 0])
    assert not any(w[1].any() for w in unit)


def test_orthonormal_pair():
    """A basis of the plane; dependent vectors, to round-off, have none."""
    a, b = layers(4), layers(4)
    b = b.map(lambda v, w: np.stack([v[0], 3 * w[1], 0 * v[2], w[3] + 1e-15 * v[3]]), a)
    x, y, is_plane = orthonormal_pair(a, b)
    assert is_plane.tolist() == [True, False, False, False]
    np.testing.assert_allclose(x.norm(), 1)
    np.testing.assert_allclose([x.inner(y)[0], y.norm()[0]], [0, 1], atol=1e-15)
    basis = np.stack([flat([w[0] for w in v]) for v in (x, y)])
    second = flat([w[0] for w in b])
    np.testing.assert_allclose(basis.T @ (basis @ second), second, atol=1e-14)
