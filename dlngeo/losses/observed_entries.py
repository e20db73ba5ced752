r"""Squared distance to the entries of a matrix that were observed: completion."""

from dataclasses import dataclass
from typing import Any

import numpy
import scipy.sparse

from dlngeo.core.base.arrays import Array, namespace
from dlngeo.core.base.checks import float_array, host_array, index_array, integer, real_array
from dlngeo.core.low_rank.sampled_products import sampled_product
from dlngeo.losses.linear_measurements import LeastSquares

_MOST_ROWS = 2**27
"""Number of rows or columns beyond which the places of sparse entries do not fit into memory."""


@dataclass(frozen=True, eq=False)
class MatrixCompletion(LeastSquares):
    r"""Squared distance to the entries of a matrix that were observed.

    .. math:: E(X) = \tfrac12 \sum_{(i,j) ∈ Ω} (X_{ij} - Y_{ij})^2, \quad
              ∇E(X) = P_Ω(X - Y)

    Parameters
    ----------
    observed : array-like, shape=[m, n]
        Matrix ``Y``. What it holds outside the mask, NaN too, does not count: it is
        replaced by zero.
    mask : array-like of bool, shape=[m, n]
        Where the entries were observed, ``Ω``.

    Raises
    ------
    ValueError
        If the shapes differ, the mask is empty or not boolean, or an observed entry is NaN
        or infinite.

    References
    ----------
    [CMV22]
    """

    observed: Array
    mask: Array

    def __post_init__(self) -> None:
        observed = float_array(self.observed, "the observed matrix")
        xp = namespace(observed, self.mask)
        if observed.ndim != 2 or tuple(observed.shape) != tuple(self.mask.shape):
            raise ValueError(
                "observed matrix and mask must be matrices of one shape, got "
                f"{tuple(observed.shape)} and {tuple(self.mask.shape)}."
            )
        if self.mask.dtype != xp.bool:
            raise ValueError(f"the mask must be boolean, got {self.mask.dtype}: compare it to 0.")
        mask = xp.asarray(self.mask)
        if not bool(xp.any(mask)):
            raise ValueError("the mask is empty: at least one entry must be observed.")
        observed = xp.where(mask, observed, xp.zeros_like(observed))
        observed = real_array(observed, "the observed matrix, inside the mask,")
        self._set(observed=observed, mask=mask, shape=tuple(observed.shape), data=observed)

    def _measure(self, matrix: Array) -> Array:
        return matrix * self.mask


def _check_shape(shape: Any) -> tuple[int, int]:
    try:
        m, n = (integer(size, "a side", most=_MOST_ROWS) for size in shape)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"the shape must be two positive integers up to {_MOST_ROWS}, got {shape!r}: number "
            "rows and columns one after the other (numpy.unique, return_inverse=True)."
        ) from error
    return m, n


class SparseMatrixCompletion(LeastSquares):
    r"""Squared distance to observed entries that are given one by one.

    .. math:: E(X) = \tfrac12 \sum_e (X_{i_e j_e} - y_e)^2

    For large matrices of which few entries are known: gradients are sparse. An entry that is
    given twice counts twice, and rows and columns without entries do no harm.

    Parameters
    ----------
    rows, columns : array of int, shape=[k]
        Positions ``(i_e, j_e)``, from zero.
    values : array, shape=[k]
        Entries ``y_e``.
    shape : tuple of int, optional
        Shape ``(m, n)``; just large enough by default.

    Raises
    ------
    ValueError
        If there are no entries, the lengths differ, a position is no integer within the shape,
        the shape is too large, or a value is NaN or infinite.

    References
    ----------
    [CMV22]
    """

    def __init__(
        self,
        rows: Array,
        columns: Array,
        values: Array,
        shape: tuple[int, int] | None = None,
    ):
        bounds = (_MOST_ROWS, _MOST_ROWS) if shape is None else _check_shape(shape)
        rows = index_array(rows, "rows", bounds[0])
        columns = index_array(columns, "columns", bounds[1])
        values = host_array(values, "the array of values")
        if not (rows.shape == columns.shape == values.shape and rows.size):
            raise ValueError(
                "rows, columns and values must be three lists of one positive length, got shapes "
                f"{rows.shape}, {columns.shape} and {values.shape}."
            )
        if shape is None:
            bounds = int(rows.max()) + 1, int(columns.max()) + 1
        # In the order of compressed rows, so that residuals are the entries of a sparse array.
        order = numpy.lexsort((columns, rows))
        starts = numpy.searchsorted(rows[order], numpy.arange(bounds[0] + 1))
        self.shape = bounds
        self.data = values[order]
        # Of the types of SciPy's sparse arrays: the checked shape fits into the first one.
        self._indices = columns[order].astype(numpy.int32)
        self._starts = starts.astype(numpy.int32 if len(rows) < 2**31 else numpy.int64)

    @property
    def _rows(self) -> numpy.ndarray:
        return numpy.repeat(numpy.arange(self.shape[0]), numpy.diff(self._starts))

    def _measure(self, matrix: Array) -> Array:
        return matrix[..., self._rows, self._indices]

    def measure_product(self, left: Array, right: Array) -> Array:
        return sampled_product(self._starts, self._indices, left, right)

    def adjoint(self, measurements: Array) -> Any:
        return scipy.sparse.csr_array((measurements, self._indices, self._starts), self.shape)

    def gradient(self, matrix: Array) -> Array:
        return self._dense(self.measure(matrix) - self.data)

    def hessian_product(self, matrix: Array, vector: Array) -> Array:
        return self._dense(self.measure(vector))

    def _dense(self, residual: Array) -> Array:
        """Return what `pull` does as arrays, of batches too."""
        if residual.ndim == 1:
            return self.pull(residual).toarray()
        matrices = numpy.zeros((*residual.shape[:-1], *self.shape))
        places: Any = (..., self._rows, self._indices)
        numpy.add.at(matrices, places, residual)
        return matrices
