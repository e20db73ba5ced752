"""Blocks of a tangent vector in singular frames."""

from collections.abc import Sequence
from typing import NamedTuple

from dlngeo.core.base.arrays import Array, transpose


class Blocks(NamedTuple):
    """Blocks of a matrix in frames ``Q`` (left) and ``R`` (right) of rank ``r``.

    Attributes
    ----------
    core : array-like, shape=[..., r, r]
        ``Qᵀ A R``.
    left_null : array-like, shape=[..., m, r], or None
        ``(I - Q Qᵀ) A R``; None if ``Q`` is square.
    right_null : array-like, shape=[..., r, n], or None
        ``Qᵀ A (I - R Rᵀ)``; None if ``R`` is square.
    both_null : array-like, shape=[..., m, n], or None
        ``(I - Q Qᵀ) A (I - R Rᵀ)``; None if either is square.
    """

    core: Array
    left_null: Array | None = None
    right_null: Array | None = None
    both_null: Array | None = None


def split(matrix: Array, left: Array, right: Array) -> Blocks:
    """Split a matrix ``[..., m, n]`` in the frames ``[..., m, r]`` and ``[..., n, r]``."""
    rows = transpose(left) @ matrix
    core = rows @ right
    left_null = right_null = both_null = None
    if right.shape[-2] > right.shape[-1]:
        right_null = rows - core @ transpose(right)
    if left.shape[-2] > left.shape[-1]:
        left_null = matrix @ right - left @ core
        if right_null is not None:
            both_null = matrix - left @ rows - left_null @ transpose(right)
    return Blocks(core, left_null, right_null, both_null)


def join(blocks: Blocks, left: Array, right: Array) -> Array:
    """Return the matrix of which `split` gives the blocks."""
    columns = left @ blocks.core
    if blocks.left_null is not None:
        columns = columns + blocks.left_null
    matrix = columns @ transpose(right)
    if blocks.right_null is not None:
        matrix = matrix + left @ blocks.right_null
    if blocks.both_null is not None:
        matrix = matrix + blocks.both_null
    return matrix


def scaled(blocks: Blocks, core: Array, null: Array) -> Blocks:
    """Multiply the core entrywise, and the null blocks by one weight for each frame vector.

    The part between the null spaces is dropped.
    """
    left, right = blocks.left_null, blocks.right_null
    return Blocks(
        blocks.core * core,
        None if left is None else left * null[..., None, :],
        None if right is None else null[..., :, None] * right,
    )


def transposed(blocks: Blocks) -> Blocks:
    """Return the blocks of the transposed matrix."""
    flipped = (blocks.core, blocks.right_null, blocks.left_null, blocks.both_null)
    return Blocks(*[None if block is None else transpose(block) for block in flipped])


def _without_both_null(blocks: Sequence[Blocks]) -> list[Blocks]:
    return [Blocks(b.core, b.left_null, b.right_null) for b in blocks]
