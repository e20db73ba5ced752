"""Matrices as one vector, and back."""

import numpy as np
import pytest

from dlngeo.core.base.packing import pack, unpack
from tests.core.libraries import ARRAYS

SHAPES = [(2, 3), (1, 2), (3, 3)]


@pytest.mark.parametrize("library", ARRAYS)
@pytest.mark.parametrize("batch", [(), (4,), (2, 0)], ids=str)
def test_unpack_undoes_pack(library, batch):
    rng = np.random.default_rng(0)
    plain = [rng.normal(size=(*batch, *shape)) for shape in SHAPES]
    vector = pack([ARRAYS[library](matrix) for matrix in plain])
    assert tuple(vector.shape) == (*batch, 17)
    rows = [
        matrix.reshape(*batch, shape[0] * shape[1])
        for matrix, shape in zip(plain, SHAPES, strict=True)
    ]
    np.testing.assert_array_equal(np.asarray(vector), np.concatenate(rows, axis=-1))
    for back, matrix in zip(unpack(vector, SHAPES), plain, strict=True):
        np.testing.assert_array_equal(np.asarray(back), matrix)
