r"""Factors of a network: how they are kept, and the checks that they pass.

A deep linear network of depth ``N`` and widths ``(d_0, ..., d_N)`` has factors ``W_p`` of
shape ``(d_p, d_{p-1})``, kept in the order in which data flow, ``factors[0] = W_1``. Where
all widths are equal they may be one array of shape ``[..., N, d, d]``; otherwise they are a
tuple of arrays of shapes ``[..., d_p, d_{p-1}]``. Every function takes both and answers in
kind.
"""

from collections.abc import Sequence
from typing import Any

from dlngeo.core.base.arrays import Array, namespace
from dlngeo.core.base.checks import real_array

Factors = Any
"""Factors of a network: an array ``[..., N, d, d]`` or a sequence of ``N`` matrices."""


def matrices_of(factors: Factors, name: str = "factor") -> tuple[Array, ...]:
    """Return a stack or a sequence of finite matrices as a tuple.

    Raises
    ------
    ValueError
        If they are not matrices, or an entry is NaN or infinite.
    """
    if isinstance(factors, (tuple, list)):
        matrices = tuple(factors)
    else:
        namespace(factors)  # a TypeError for what is no array
        if factors.ndim < 3:
            raise ValueError(
                f"{name}s as one array must have shape [..., N, d, d], got "
                f"{tuple(factors.shape)}: give a tuple of matrices instead "
                "(of a flat point, BalancedManifold.to_factors)."
            )
        matrices = tuple(factors[..., p, :, :] for p in range(factors.shape[-3]))
    matrices = tuple(real_array(m, f"{name} {p}") for p, m in enumerate(matrices, start=1))
    for p, matrix in enumerate(matrices, start=1):
        if matrix.ndim < 2:
            raise ValueError(f"{name} {p} must be a matrix, got shape {tuple(matrix.shape)}.")
    return matrices


def layers_of(factors: Factors) -> tuple[Array, ...]:
    """Return the factors as a tuple of matrices, one for each layer.

    Raises
    ------
    ValueError
        If the shapes are not those of a network, or an entry is NaN or infinite.
    """
    layers = matrices_of(factors)
    if not layers:
        raise ValueError("a network needs at least one factor, got none.")
    shapes = [tuple(layer.shape) for layer in layers]
    for p in range(1, len(shapes)):
        if shapes[p][-1] != shapes[p - 1][-2]:
            raise ValueError(
                f"the widths do not chain: factor {p} has {shapes[p - 1][-2]} rows, but "
                f"factor {p + 1} has {shapes[p][-1]} columns. Factors are ordered as "
                f"data flow, W_1 first; got shapes {shapes}."
            )
    return layers


def checked_matrix(matrix: Array, rows: int, columns: int) -> Array:
    """Return a tangent vector or covector, or raise if it does not fit ``rows × columns``."""
    matrix = real_array(matrix, "the vector")
    if tuple(matrix.shape[-2:]) != (rows, columns):
        raise ValueError(
            f"expected a vector of shape [..., {rows}, {columns}], got {tuple(matrix.shape)}."
        )
    return matrix


def check_same_shapes(layers: Sequence[Array], vector: Sequence[Array]) -> None:
    """Raise a ValueError if a vector does not have the shapes of the factors."""
    expected = [tuple(layer.shape[-2:]) for layer in layers]
    came = [tuple(v.shape[-2:]) for v in vector]
    if expected != came:
        raise ValueError(f"expected matrices of shapes {expected}, one a layer, got {came}.")


def in_kind(layers: Sequence[Array], factors: Factors) -> Factors:
    """Return layers as one array if the given factors are one, else as a tuple."""
    if isinstance(factors, (tuple, list)):
        return tuple(layers)
    return namespace(*layers).stack(list(layers), -3)


def widths_of(factors: Factors) -> tuple[int, ...]:
    """Return the widths ``(d_0, ..., d_N)``."""
    layers = layers_of(factors)
    return (layers[0].shape[-1], *(layer.shape[-2] for layer in layers))


def check_widths(widths: Sequence[int], rank: int | None = None) -> tuple[tuple[int, ...], int]:
    """Return checked widths and rank; ``rank=None`` means full, ``min(widths)``.

    Raises
    ------
    ValueError
        If there are fewer than two widths, one is not positive, or the rank is not
        between one and the smallest width.
    """
    widths = tuple(widths)
    if len(widths) < 2 or not all(w >= 1 and float(w).is_integer() for w in widths):
        raise ValueError(f"widths must be at least two positive integers, got {widths}.")
    widths = tuple(int(width) for width in widths)
    if rank is None:
        rank = min(widths)
    if not (1 <= rank <= min(widths) and float(rank).is_integer()):
        raise ValueError(
            f"the rank must be an integer between 1 and the smallest width {min(widths)}, "
            f"got {rank}."
        )
    return widths, int(rank)


def default_widths(rows: int, columns: int, depth: float) -> tuple[int, ...]:
    """Return the widths of a network whose hidden layers are ``min(rows, columns)`` wide."""
    if not (depth >= 1 and float(depth).is_integer()):
        raise ValueError(f"the depth must be a positive integer, got {depth}.")
    return (columns, *[min(rows, columns)] * (int(depth) - 1), rows)


def network_shape(
    matrix: Array,
    depth: float,
    widths: Sequence[int] | None = None,
    rank: int | None = None,
) -> tuple[tuple[int, ...], int]:
    """Return checked widths and rank of a network of the given depth over a matrix."""
    if matrix.ndim < 2:
        raise ValueError(f"expected a matrix, got shape {tuple(matrix.shape)}.")
    rows, columns = matrix.shape[-2:]
    default = default_widths(rows, columns, depth)
    widths, rank = check_widths(default if widths is None else widths, rank)
    if (widths[0], widths[-1], len(widths)) != (columns, rows, len(default)):
        raise ValueError(
            f"a matrix of shape ({rows}, {columns}) and depth {depth} need {depth + 1} widths "
            f"from {columns} to {rows}, in the order in which data flow; got {widths}."
        )
    return widths, rank
