"""Blocks of a matrix in singular frames."""

import numpy as np
import pytest

from dlngeo.core.networks import blocks
from tests.core.brute import assert_close, orthonormal_frame


@pytest.mark.parametrize(("m", "n", "r"), [(3, 3, 3), (4, 3, 3), (3, 5, 3), (4, 5, 2), (2, 2, 1)])
def test_split_and_join(m, n, r):
    """`join` undoes `split`, and the blocks are the four products with the projectors."""
    rng = np.random.default_rng(0)
    left, right = orthonormal_frame(m, r, rng), orthonormal_frame(n, r, rng)
    matrix = rng.standard_normal((6, m, n))
    parts = blocks.split(matrix, left, right)
    assert_close(blocks.join(parts, left, right), matrix, 1e-14)
    left_null, right_null = np.eye(m) - left @ left.T, np.eye(n) - right @ right.T
    expected = blocks.Blocks(
        left.T @ matrix @ right,
        left_null @ matrix @ right if m > r else None,
        left.T @ matrix @ right_null if n > r else None,
        left_null @ matrix @ right_null if m > r and n > r else None,
    )
    for block, by_hand in zip(parts, expected, strict=True):
        assert (block is None) == (by_hand is None)
        if by_hand is not None:
            assert_close(block, by_hand, 1e-14, scale=1.0)


def test_scaled_weighs_blocks_and_drops_the_part_between_null_spaces():
    """Core weights act entry by entry, null weights by frame vector."""
    rng = np.random.default_rng(1)
    left, right = orthonormal_frame(4, 2, rng), orthonormal_frame(5, 2, rng)
    parts = blocks.split(rng.standard_normal((4, 5)), left, right)
    core, null = np.array([[1.0, 2.0], [3.0, 4.0]]), np.array([5.0, 6.0])
    assert parts.left_null is not None
    weighted = parts.scaled(core, null)
    assert_close(weighted.core, core * parts.core, 1e-15)
    assert_close(weighted.left_null, parts.left_null @ np.diag(null), 1e-15)
    assert_close(weighted.right_null, np.diag(null) @ parts.right_null, 1e-15)
    assert weighted.both_null is None


def test_tangent_and_transposed_blocks():
    """Tangent blocks have none between the null spaces; the transposed matrix swaps the others."""
    rng = np.random.default_rng(2)
    left, right = orthonormal_frame(4, 2, rng), orthonormal_frame(5, 2, rng)
    matrix = rng.standard_normal((3, 4, 5))
    parts = blocks.split(matrix, left, right)
    tangent = blocks.join(parts.tangent(), left, right)
    between = (np.eye(4) - left @ left.T) @ matrix @ (np.eye(5) - right @ right.T)
    assert_close(tangent, matrix - between, 1e-14)
    flipped = blocks.join(parts.transposed(), right, left)
    assert_close(flipped, matrix.swapaxes(-1, -2), 1e-14)
    assert_close(parts.squared_norm()[0], np.sum(matrix[0] ** 2), 1e-13)
