"""Compiled loop for entries of a product of thin matrices; needs Numba (extra ``fast``)."""

import numpy
from numba import njit


@njit(cache=True, fastmath={"reassoc", "contract"})
def compiled_sampled_product(starts, indices, left, right):
    """See `dlngeo.core.low_rank.sampled_products.sampled_product`."""
    values = numpy.empty(indices.size)
    for i in range(starts.size - 1):
        row = left[i]
        for e in range(starts[i], starts[i + 1]):
            column = right[indices[e]]
            total = 0.0
            for k in range(row.size):
                total += row[k] * column[k]
            values[e] = total
    return values
