r"""Factors of a network: how they are kept, and the checks that they pass.

A deep linear network of depth ``N`` and widths ``(d_0, ..., d_N)`` has factors ``W_p`` of
shape ``(d_p, d_{p-1})``, kept in the order in which data flow, ``factors[0] = W_1``. Where
all widths are equal they may be one array of shape ``[..., N, d, d]``; otherwise they are a
tuple of arrays of shapes ``[..., d_p, d_{p-1}]``. Every function takes both and answers in
kind. An object with ``factors`` and ``biases``, as `dlngeo.networks.LinearNetwork`, serves as its
factors, if no hidden layer has a bias.
"""

import itertools
import math
from collections.abc import Sequence
from typing import Any

from dlngeo.core.base.arrays import Array, in_precision_of, namespace
from dlngeo.core.base.checks import (
    alike,
    check_batches,
    integer,
    real_array,
    several,
    shown,
)
from dlngeo.core.base.scales import Exponent, at_scale

_MOST_LAYERS = 100_000
"""Depth beyond which kernels, which are sums over the layers, take too long."""

_MOST_ENTRIES = 2**30
"""Number of entries of all factors beyond which they do not fit into memory."""

Factors = Any
"""Factors of a network: an array ``[..., N, d, d]``, a sequence of ``N`` matrices, or a network."""


def is_network(factors: Factors) -> bool:
    """Tell whether factors are those of an object, which may have biases beside them."""
    return hasattr(factors, "factors") and getattr(factors, "biases", None) is not None


def is_stack(factors: Factors) -> bool:
    """Tell whether factors are one array."""
    return not (isinstance(factors, (tuple, list)) or is_network(factors))


def parameters_of(network: Any) -> tuple[Array, ...]:
    """Return ``W_1, b_1, ..., W_N, b_N`` of a network, without the biases that are None."""
    pairs = zip(network.factors, network.biases, strict=True)
    return tuple(array for pair in pairs for array in pair if array is not None)


def _without_biases(network: Any) -> tuple[Array, ...]:
    """Return the factors of a network; a ValueError if a hidden layer has a bias."""
    for p, bias in enumerate(network.biases[:-1], start=1):
        if bias is not None:
            raise ValueError(
                f"hidden layer {p} has a bias, and this is a function of factors alone: take the "
                "network's with_output_bias(), of the same outputs, or its factors."
            )
    return network.factors


def matrices_of(factors: Factors, name: str = "factor") -> tuple[Array, ...]:
    """Return a stack or a sequence of finite matrices as a tuple.

    Raises
    ------
    ValueError
        If they are not matrices, or an entry is NaN or infinite.
    """
    if is_network(factors):
        factors = _without_biases(factors)
    if isinstance(factors, (tuple, list)):
        matrices = tuple(factors)
    else:
        stack = real_array(factors, f"the array of {name}s")
        if stack.ndim < 3:
            raise ValueError(
                f"{name}s as one array must have shape [..., N, d, d], got "
                f"{tuple(stack.shape)}: give a tuple of matrices instead "
                "(of a flat point, BalancedManifold.to_factors)."
            )
        return tuple(stack[..., p, :, :] for p in range(stack.shape[-3]))
    if not matrices:
        return ()
    matrices = alike([real_array(m, f"{name} {p}") for p, m in enumerate(matrices, start=1)])
    for p, matrix in enumerate(matrices, start=1):
        if matrix.ndim < 2:
            raise ValueError(f"{name} {p} must be a matrix, got shape {tuple(matrix.shape)}.")
    check_batches(matrices, f"the {name}s")
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
                f"data flow, W_1 first; got shapes {shown(shapes)}."
            )
    return layers


def checked_matrix(
    matrix: Array, shape: tuple[int, ...], like: Array, name: str = "the vector"
) -> Array:
    """Return a tangent vector or covector in the precision of its point, or of its first factor.

    Raises
    ------
    TypeError, ValueError
        If it is of another library, has another shape than ``[..., m, n]``, leading axes that do
        not broadcast, or entries that are NaN or infinite.
    """
    matrix = real_array(matrix, name)
    if tuple(matrix.shape[-2:]) != tuple(shape):
        raise ValueError(
            f"expected a vector of shape [..., {shape[0]}, {shape[1]}], got {tuple(matrix.shape)}."
        )
    check_batches((like, matrix), f"the point and {name}")
    return in_precision_of(like, matrix)


def vector_at(layers: Sequence[Array], vector: Factors) -> tuple[Array, ...]:
    """Return a vector at factors, a matrix for each layer, in their precision.

    Raises
    ------
    TypeError, ValueError
        If it is of another library, has other shapes than the factors, leading axes that do not
        broadcast, or entries that are NaN or infinite.
    """
    matrices = layers_of(vector)
    expected = [tuple(layer.shape[-2:]) for layer in layers]
    came = [tuple(v.shape[-2:]) for v in matrices]
    if expected != came:
        raise ValueError(f"expected matrices of shapes {expected}, one a layer, got {came}.")
    check_batches((layers[0], matrices[0]), "factors and vectors")
    return tuple(in_precision_of(layers[0], matrix) for matrix in matrices)


def in_kind(layers: Sequence[Array], factors: Factors) -> Factors:
    """Return layers as one array if the given factors are one, else as a tuple."""
    if is_stack(factors):
        return namespace(*layers).stack(list(layers), -3)
    return tuple(layers)


def result_in_kind(layers: Sequence[Array], factors: Factors, exponent: Exponent = 0) -> Factors:
    """Return ``2^k`` times layers, `in_kind`; errors as in `at_scale`."""
    return in_kind(at_scale(list(layers), exponent, "the result"), factors)


def widths_of(factors: Factors) -> tuple[int, ...]:
    """Return the widths ``(d_0, ..., d_N)``."""
    layers = layers_of(factors)
    return (layers[0].shape[-1], *(layer.shape[-2] for layer in layers))


def check_widths(widths: Sequence[int], rank: int | None = None) -> tuple[tuple[int, ...], int]:
    """Return checked widths and rank; ``rank=None`` means full, ``min(widths)``.

    Raises
    ------
    ValueError
        If there are fewer than two widths, one is not positive, the factors have too many
        entries, or the rank is not between one and the smallest width.
    """
    try:
        check_depth(max(len(widths) - 1, 1))
        checked = tuple(integer(width, "a width") for width in widths)
    except (TypeError, ValueError):
        checked = ()
    if len(checked) < 2:
        raise ValueError(
            "widths must be at least two positive integers (d_0, ..., d_N), in the order in which "
            f"data flow, and at most {_MOST_LAYERS}; got {widths!s:.99}."
        )
    if sum(a * b for a, b in itertools.pairwise(checked)) > _MOST_ENTRIES:
        raise ValueError(
            f"factors of the widths {shown(checked)} have more than {_MOST_ENTRIES} entries: they "
            "do not fit into memory."
        )
    return checked, check_rank(rank, min(checked))


def check_rank(rank: int | None, most: int) -> int:
    """Return a rank up to the smallest width; None means full."""
    if rank is None:
        return most
    try:
        checked = integer(rank, "the rank")
    except ValueError:
        checked = 0
    if 1 <= checked <= most:
        return checked
    raise ValueError(
        f"the rank must be an integer between 1 and the smallest width {most}, got {shown(rank)}."
    )


def check_shape(shape: Sequence[int]) -> tuple[int, int]:
    """Return the checked numbers of rows and columns of a matrix; errors as in `check_widths`."""
    checked = several(shape, "the shape", integer)
    if len(checked) != 2:
        raise ValueError(f"the shape of a matrix is of two integers (m, n), got {shape!s:.99}.")
    return checked[0], checked[1]


def check_depth(depth: float) -> int:
    """Return a finite depth.

    Raises
    ------
    ValueError
        If it is no integer between 1 and 100 000.
    """
    return integer(depth, "the depth", most=_MOST_LAYERS)


def is_infinite(depth: Any) -> bool:
    """Tell if a depth is infinity, of whatever was given for it."""
    return isinstance(depth, float) and depth == math.inf


def default_widths(rows: int, columns: int, depth: float) -> tuple[int, ...]:
    """Return the widths of a network whose hidden layers are ``min(rows, columns)`` wide."""
    rows, columns = check_shape((rows, columns))
    return (columns, *[min(rows, columns)] * (check_depth(depth) - 1), rows)


def network_shape(
    matrix: Array,
    depth: float,
    widths: Sequence[int] | None = None,
    rank: int | None = None,
) -> tuple[tuple[int, ...], int]:
    """Return checked widths and rank of a network of the given depth over a matrix."""
    rows, columns = matrix_shape(matrix)
    default = default_widths(rows, columns, depth)
    widths, rank = check_widths(default if widths is None else widths, rank)
    if (widths[0], widths[-1], len(widths)) != (columns, rows, len(default)):
        raise ValueError(
            f"a matrix of shape ({rows}, {columns}) and depth {depth} need {depth + 1} widths "
            f"from {columns} to {rows}, in the order in which data flow; got {widths}."
        )
    return widths, rank


def matrix_shape(matrix: Array) -> tuple[int, int]:
    """Return the shape of a matrix, without its leading axes.

    Raises
    ------
    ValueError
        If it has fewer than two axes, or no rows or columns.
    """
    shape = tuple(matrix.shape)
    if len(shape) < 2 or 0 in shape[-2:]:
        raise ValueError(f"expected a matrix, got shape {shape}.")
    return shape[-2], shape[-1]
