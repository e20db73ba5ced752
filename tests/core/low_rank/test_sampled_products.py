"""Laws of `dlngeo.core.low_rank.sampled_products` against dense products."""

import numpy as np
import pytest

from dlngeo.core.low_rank import sampled_products as sparse
from dlngeo.core.low_rank.compiled import compiled_sampled_product
from tests.core.brute import assert_close

FUNCTIONS = {
    "public": sparse.sampled_product,
    "numpy": sparse._sampled_product,
    "compiled": compiled_sampled_product,
}
FUNCTION = pytest.mark.parametrize("function", FUNCTIONS.values(), ids=FUNCTIONS)


def factors(rows: int, columns: int, rank: int) -> tuple[np.ndarray, np.ndarray]:
    """Return Gaussian factors."""
    rng = np.random.default_rng(rows + columns + rank)
    return rng.standard_normal((rows, rank)), rng.standard_normal((columns, rank))


def places(counts: list[int], columns: int, seed: int = 0) -> tuple[np.ndarray, ...]:
    """Return starts, columns and rows of entries, drawn with repetition."""
    starts = np.concatenate([[0], np.cumsum(counts)])
    indices = np.random.default_rng(seed).integers(columns, size=starts[-1])
    return starts, indices, np.repeat(np.arange(len(counts)), counts)


@FUNCTION
@pytest.mark.parametrize(
    "counts",
    [[2, 1, 3, 2], [0, 4, 0, 0, 5, 0], [0, 0, 0], [7], [0], [30, 0, 1]],
    ids=str,
)
@pytest.mark.parametrize("rank", [1, 3])
@pytest.mark.parametrize("dtype", [np.int32, np.int64])
def test_entries_of_the_product(function, counts, rank, dtype):
    """Rows may be empty, also the first and the last, and places may repeat."""
    left, right = factors(len(counts), 5, rank)
    starts, indices, rows = places(counts, 5)
    values = function(starts.astype(dtype), indices.astype(dtype), left, right)
    assert values.dtype == float
    assert_close(values, (left @ right.T)[rows, indices], 1e-14)


@FUNCTION
def test_more_than_one_piece(function, monkeypatch):
    """Entries are taken a piece at a time, whose ends fall anywhere in a row."""
    left, right = factors(40, 30, 4)
    starts, indices, rows = places([0, *range(38), 0], 30)
    for piece in (1, 7, len(indices), len(indices) + 1):
        monkeypatch.setattr(sparse, "PIECE", piece)
        values = function(starts, indices, left, right)
        assert_close(values, (left @ right.T)[rows, indices], 1e-14)


@FUNCTION
def test_more_entries_than_a_piece(function):
    """The same at the size of pieces that is used."""
    left, right = factors(300, 200, 2)
    starts, indices, rows = places([0, *([2 * sparse.PIECE // 298 + 3] * 298), 0], 200)
    assert len(indices) > 2 * sparse.PIECE
    values = function(starts, indices, left, right)
    assert_close(values, (left @ right.T)[rows, indices], 1e-14)


def test_factors_of_any_order():
    """Transposed and strided factors serve as well."""
    left, right = factors(6, 5, 3)
    starts, indices, rows = places([2, 0, 3, 1, 0, 4], 5)
    expected = (left @ right.T)[rows, indices]
    strided = np.repeat(left, 2, axis=0)[::2], np.asfortranarray(right)
    assert_close(sparse.sampled_product(starts, indices, *strided), expected, 1e-14)
