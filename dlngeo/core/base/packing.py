"""Matrices as one vector, and back: the states that integrators and samplers move."""

import math
from collections.abc import Sequence
from typing import Any

import numpy

from dlngeo.core.base.arrays import Array, namespace

Shape = tuple[int, int]


def pack(matrices: Sequence[Array]) -> Array:
    """Return matrices ``[..., m_i, n_i]`` as one vector, shape=[..., Σ m_i n_i]."""
    xp = namespace(*matrices)
    flat = [m.reshape((*m.shape[:-2], m.shape[-2] * m.shape[-1])) for m in matrices]
    return xp.concatenate(flat, axis=-1)


def unpack(vector: Array, shapes: Sequence[Shape]) -> tuple[Array, ...]:
    """Return the matrices ``[..., m_i, n_i]`` of which `pack` gave the vector."""
    matrices, start = [], 0
    for rows, columns in shapes:
        piece = vector[..., start : start + rows * columns]
        matrices.append(piece.reshape((*piece.shape[:-1], rows, columns)))
        start += rows * columns
    return tuple(matrices)


def flatten_batch(
    *matrices: numpy.ndarray,
) -> tuple[tuple[int, ...], tuple[numpy.ndarray, ...]]:
    """Return the batch shape that matrices share, and the matrices ``[b, m_i, n_i]``."""
    batch = numpy.broadcast_shapes(*[m.shape[:-2] for m in matrices])
    flat = [numpy.broadcast_to(m, (*batch, *m.shape[-2:])) for m in matrices]
    return batch, tuple(m.reshape(math.prod(batch), *m.shape[-2:]) for m in flat)


def take(arrays: Any, index: Any) -> Any:
    """Index every array of a tuple, also of named and nested ones; None stays."""
    if not isinstance(arrays, tuple):
        return None if arrays is None else arrays[index]
    items = [take(array, index) for array in arrays]
    return arrays._make(items) if hasattr(arrays, "_make") else tuple(items)
