"""Entries of a product of thin matrices, at the places of a sparse array."""

import numpy

from dlngeo.core.base.optional import compiled_loop

PIECE = 1 << 16
"""Number of entries at a time, such that they stay in the cache."""


def sampled_product(
    starts: numpy.ndarray, indices: numpy.ndarray, left: numpy.ndarray, right: numpy.ndarray
) -> numpy.ndarray:
    """Return the entries of ``L Rᵀ`` at the places of a sparse array of compressed rows.

    Parameters
    ----------
    starts : array of int, shape=[m + 1]
        Where each row begins, ``indptr`` of SciPy.
    indices : array of int, shape=[k]
        Columns.
    left, right : array, shape=[m, r], shape=[n, r]

    Returns
    -------
    values : array, shape=[k]
    """
    loop = compiled_loop("dlngeo.core.low_rank.compiled", "compiled_sampled_product")
    if loop is None:
        return _sampled_product(starts, indices, left, right)
    return loop(starts, indices, numpy.ascontiguousarray(left), numpy.ascontiguousarray(right))


def _sampled_product(
    starts: numpy.ndarray, indices: numpy.ndarray, left: numpy.ndarray, right: numpy.ndarray
) -> numpy.ndarray:
    rows = numpy.repeat(numpy.arange(len(starts) - 1), numpy.diff(starts))
    values = numpy.empty(len(indices))
    for start in range(0, len(indices), PIECE):
        piece = slice(start, start + PIECE)
        numpy.einsum("ek,ek->e", left[rows[piece]], right[indices[piece]], out=values[piece])
    return values
