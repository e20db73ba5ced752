r"""Singular frames of matrices and of balanced factors.

A frame is a matrix with orthonormal columns. In its singular frames a matrix is diagonal
and every kernel acts entry by entry; a matrix splits into four blocks, of which those
towards the null spaces are kept in ambient coordinates, so that no null basis is formed."""

import itertools
from collections.abc import Sequence
from typing import NamedTuple

from dlngeo.core.base.arrays import (
    Array,
    diagonal_matrix,
    eye,
    is_traced,
    namespace,
    round_off,
    transpose,
)
from dlngeo.core.base.checks import in_batch, real_array
from dlngeo.core.networks.blocks import Blocks, join, split


class SingularFrames(NamedTuple):
    """Thin singular value decomposition ``X = left · diag(sigma) · rightᵀ``.

    Attributes
    ----------
    left : array-like, shape=[..., m, r]
    sigma : array-like, shape=[..., r]
        Singular values in descending order.
    right : array-like, shape=[..., n, r]
    """

    left: Array
    sigma: Array
    right: Array

    def with_values(self, values: Array) -> Array:
        """Return the matrix ``left · diag(values) · rightᵀ``."""
        return self.left * values[..., None, :] @ transpose(self.right)

    def split(self, matrix: Array) -> Blocks:
        """Split a matrix, shape=[..., m, n]."""
        return split(matrix, self.left, self.right)

    def join(self, blocks: Blocks) -> Array:
        """Return the matrix of which `split` gives the blocks."""
        return join(blocks, self.left, self.right)


def tangent_at(frames: SingularFrames, core: Array, left_null: Array, right_null: Array) -> Blocks:
    """Return the blocks of a tangent vector, without those of null spaces that there are not."""
    rank = frames.sigma.shape[-1]
    return Blocks(
        core,
        left_null if frames.left.shape[-2] > rank else None,
        right_null if frames.right.shape[-2] > rank else None,
    )


def singular_frames(matrix: Array, rank: int) -> SingularFrames:
    """Return the singular frames of the best approximation of the given rank."""
    xp = namespace(matrix)
    left, sigma, right = xp.linalg.svd(matrix, full_matrices=False)
    return SingularFrames(left[..., :, :rank], sigma[..., :rank], transpose(right[..., :rank, :]))


def frames_of_rank(matrix: Array, rank: int) -> SingularFrames:
    """Return the singular frames of a matrix of at most the given rank.

    Raises
    ------
    ValueError
        If a further singular value exceeds ``ε^{0.4}`` of the first one.
    """
    xp = namespace(matrix)
    every = singular_frames(matrix, min(matrix.shape[-2:]))
    sigma = every.sigma
    if rank < sigma.shape[-1] and not is_traced(sigma):
        bound = round_off(sigma) ** 0.4 * sigma[..., 0]
        is_higher = sigma[..., rank] > bound
        if bool(xp.any(is_higher)):
            raise ValueError(
                f"expected a matrix of rank {rank}, but singular value {rank + 1} is not zero"
                f"{in_batch(is_higher)}: pass the right rank, or truncate the matrix first "
                "(FixedRankMatrices.projection)."
            )
    return SingularFrames(every.left[..., :, :rank], sigma[..., :rank], every.right[..., :, :rank])


def check_positive(singular_values: Array, rank: int) -> None:
    """Raise a ValueError if a singular value among the first ``rank`` is zero."""
    if is_traced(singular_values):
        return
    xp = namespace(singular_values)
    least, most = singular_values[..., rank - 1], singular_values[..., 0]
    is_lower = least <= round_off(singular_values) * most
    if bool(xp.any(is_lower)):
        raise ValueError(
            f"expected rank {rank}, but singular value {rank} is zero to round-off"
            f"{in_batch(is_lower)}: pass a smaller rank."
        )


def exact_frames(matrix: Array, rank: int) -> SingularFrames:
    """Return the singular frames of a matrix of exactly the given rank.

    Raises
    ------
    ValueError
        If the rank is higher (`frames_of_rank`) or lower (`check_positive`).
    """
    frames = frames_of_rank(matrix, rank)
    check_positive(frames.sigma, rank)
    return frames


class BalancedFrames(NamedTuple):
    """Frames in which balanced factors are diagonal, ``W_p = Q_p Λ Q_{p-1}ᵀ``.

    Attributes
    ----------
    frames : tuple of array-like, shape=[..., d_p, r]
        ``Q_0, ..., Q_N``.
    lam : array-like, shape=[..., r]
        Singular values ``λ`` of every factor, in descending order.
    """

    frames: tuple[Array, ...]
    lam: Array

    @property
    def depth(self) -> int:
        """Number of factors."""
        return len(self.frames) - 1

    @property
    def layers(self) -> list[Array]:
        """The factors ``Q_p Λ Q_{p-1}ᵀ``."""
        lam = self.lam[..., None, :]
        return [q * lam @ transpose(before) for before, q in itertools.pairwise(self.frames)]

    def split(self, vector: Sequence[Array]) -> list[Blocks]:
        """Split a velocity of the factors, layer by layer."""
        pairs = zip(vector, self.frames[1:], self.frames[:-1], strict=True)
        return [split(v, left, right) for v, left, right in pairs]

    def join(self, blocks: Sequence[Blocks]) -> list[Array]:
        """Join the blocks of a velocity of the factors, layer by layer."""
        pairs = zip(blocks, self.frames[1:], self.frames[:-1], strict=True)
        return [join(block, left, right) for block, left, right in pairs]


def balanced_frames(layers: Sequence[Array], rank: int | None = None) -> BalancedFrames:
    """Return the frames of balanced factors, consistent also at repeated values.

    One singular value decomposition of ``W_1`` is carried through the layers by
    ``Q_p = W_p Q_{p-1} Λ^{-1}``. Gram and Schmidt remove from each column what round-off
    put there along those of larger singular values.

    Raises
    ------
    ValueError
        If the factors are not balanced or not of the given rank: if they differ from
        ``Q_p Λ Q_{p-1}ᵀ`` by more than ``ε^{0.4}`` of their norm.
    """
    first = layers[0]
    if rank is None:
        rank = min(first.shape[-1], *[layer.shape[-2] for layer in layers])
    for p, layer in enumerate(layers, start=1):
        real_array(layer, f"factor {p}")
    try:
        left, lam, right = exact_frames(first, rank)
    except ValueError as error:
        raise ValueError(
            f"expected balanced factors of rank {rank}, but of the first one: {error}"
        ) from error
    frames = [right, left]
    images = []
    for layer in layers[1:]:
        images.append(layer @ frames[-1])
        frames.append(_orthonormal(images[-1] / lam[..., None, :]))
    result = BalancedFrames(tuple(frames), lam)
    if not is_traced(*layers):
        _check_balanced(layers, images, result)
    return result


def _orthonormal(columns: Array) -> Array:
    """Return what Gram and Schmidt make of nearly orthonormal columns."""
    xp = namespace(columns)
    rank = columns.shape[-1]
    defect = transpose(columns) @ columns - eye(rank, rank, columns)
    if is_traced(columns) or bool(xp.any(xp.abs(defect) > round_off(columns) ** 0.5)):
        frame, triangle = xp.linalg.qr(columns)
        is_flipped = xp.einsum("...ii->...i", triangle)[..., None, :] < 0
        return xp.where(is_flipped, -frame, frame)
    # To first order the triangular factor is I + triu(defect), with half the diagonal; what
    # it leaves out is round-off.
    own = diagonal_matrix(xp.einsum("...ii->...i", defect)) / 2
    return columns - columns @ (xp.triu(defect) - own)


def _check_balanced(
    layers: Sequence[Array], images: Sequence[Array], balanced: BalancedFrames
) -> None:
    """Check ``W_p = Q_p Λ Q_{p-1}ᵀ`` from ``p = 2`` on, given the images ``W_p Q_{p-1}``."""
    xp = namespace(*layers)
    # In units of the largest singular value, so that squares stay in range.
    unit = balanced.lam[..., :1, None]
    lam = balanced.lam[..., None, :] / unit
    scale = xp.sum(lam**2, axis=(-2, -1))
    for p, (layer, image) in enumerate(zip(layers[1:], images, strict=True), start=2):
        layer, image = layer / unit, image / unit
        within = image - balanced.frames[p] * lam
        outside = _squared_norm(layer) - _squared_norm(image)
        defect = (xp.abs(outside) + _squared_norm(within)) / scale
        is_off = ~(defect <= round_off(layer) ** 0.8)
        if bool(xp.any(is_off)):
            raise ValueError(
                f"expected balanced factors of rank {balanced.lam.shape[-1]}, but factor {p} "
                f"is off by {float(xp.max(defect)) ** 0.5:.1e} of its norm{in_batch(is_off)}: "
                "balance the factors first (dlngeo.core.networks.balancing.balance), or pass the "
                "right rank."
            )


def _squared_norm(matrix: Array) -> Array:
    return namespace(matrix).sum(matrix**2, axis=(-2, -1))


def complement(frame: Array) -> Array:
    """Return an orthonormal basis of the orthogonal complement, shape=[..., d, d - r]."""
    xp = namespace(frame)
    width, rank = frame.shape[-2:]
    if width == rank:
        return frame[..., :, :0]
    return xp.linalg.qr(frame, mode="complete")[0][..., :, rank:]
