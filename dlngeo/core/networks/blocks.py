"""Blocks of a matrix in singular frames: a vector, with the operations of one."""

from typing import NamedTuple

from dlngeo.core.base.arrays import Array, transpose
from dlngeo.core.base.vectors import VectorOperations


class _Blocks(NamedTuple):
    core: Array
    left_null: Array | None = None
    right_null: Array | None = None
    both_null: Array | None = None


class Blocks(VectorOperations, _Blocks):  # type: ignore[misc]
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
        ``(I - Q Qᵀ) A (I - R Rᵀ)``; None if either is square, and for tangent vectors.
    """

    __slots__ = ()

    def scaled(self, core: Array, null: Array) -> "Blocks":
        """Multiply the core entrywise, and the null blocks by one weight for each frame vector.

        The part between the null spaces is dropped.
        """
        left, right = self.left_null, self.right_null
        return Blocks(
            self.core * core,
            None if left is None else left * null[..., None, :],
            None if right is None else null[..., :, None] * right,
        )

    def tangent(self) -> "Blocks":
        """Return the blocks without the part between the null spaces."""
        return Blocks(*self[:3])

    def transposed(self) -> "Blocks":
        """Return the blocks of the transposed matrix."""
        flipped = Blocks(self.core, self.right_null, self.left_null, self.both_null)
        return flipped.map(transpose)


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
