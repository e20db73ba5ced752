"""Matrices as one vector, and back: the states that integrators and samplers move."""

from collections.abc import Sequence

from dlngeo.core.base.arrays import Array, namespace

Shape = tuple[int, int]


def pack(matrices: Sequence[Array]) -> Array:
    """Return matrices ``[..., m_i, n_i]`` as one vector, shape=[..., Σ m_i n_i]."""
    xp = namespace(*matrices)
    flat = [xp.reshape(m, (*m.shape[:-2], m.shape[-2] * m.shape[-1])) for m in matrices]
    return xp.concatenate(flat, axis=-1)


def unpack(vector: Array, shapes: Sequence[Shape]) -> tuple[Array, ...]:
    """Return the matrices ``[..., m_i, n_i]`` of which `pack` gave the vector."""
    xp = namespace(vector)
    matrices, start = [], 0
    for rows, columns in shapes:
        piece = vector[..., start : start + rows * columns]
        matrices.append(xp.reshape(piece, (*piece.shape[:-1], rows, columns)))
        start += rows * columns
    return tuple(matrices)
