r"""Losses ``E(X)`` of the end-to-end matrix, with their gradients.

Each is a linear least squares problem,

.. math:: E(X) = \frac{c}{2} \|𝓐(X) - b\|^2, \quad ∇E(X) = c \, 𝓐^*(𝓐(X) - b), \quad
          ∇^2 E[Z] = c \, 𝓐^* 𝓐(Z).

``loss(X)`` is the value, shape=[...], and ``loss.gradient(X)`` the Euclidean gradient,
shape=[..., m, n], at matrices ``X`` of shape ``[..., m, n]``. All but the sparse one are made of
array operations only, so NumPy, autograd, PyTorch and JAX arrays serve, if data and argument
are of one library.
"""

import abc
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy
import scipy.sparse

from dlngeo.core.base.arrays import Array, namespace, transpose
from dlngeo.core.base.checks import alike, float_array, host_array, index_array, integer, real_array
from dlngeo.core.base.functions import ReturningLike, ReturningNumbers, function
from dlngeo.core.low_rank.sampled_products import sampled_product
from dlngeo.core.numerics.derivatives import Differentiated

_MOST_ROWS = 2**27
"""Number of rows or columns beyond which the places of sparse entries do not fit into memory."""


def _check_data(array: Array, name: str, ndim: int = 2) -> Array:
    array = real_array(array, name)
    if array.ndim != ndim or 0 in array.shape:
        raise ValueError(
            f"{name} must have {ndim} axes and at least one entry, got shape {tuple(array.shape)}."
        )
    return array


class LeastSquares(abc.ABC):
    r"""Loss ``E(X) = (c/2) ‖𝓐(X) - b‖²`` with a linear map ``𝓐`` of matrices.

    Attributes
    ----------
    shape : tuple of int
        Shape ``(m, n)`` of the matrices.
    data : array-like
        Measurements ``b``.
    weight : float
        ``c``.
    """

    shape: tuple[int, int]
    data: Array
    weight: float = 1.0

    def _set(self, **attributes: Any) -> None:
        """Set attributes of a frozen dataclass that follow from its fields."""
        for name, value in attributes.items():
            object.__setattr__(self, name, value)

    @abc.abstractmethod
    def _measure(self, matrix: Array) -> Array:
        """Return ``𝓐(X)``."""

    def adjoint(self, measurements: Array) -> Any:
        """Return ``𝓐*(y)``: an array, or a sparse one; ``y`` itself, of entries in their places."""
        return measurements

    def measure(self, matrix: Array) -> Array:
        """Return the measurements ``𝓐(X)`` of matrices, shape=[..., m, n]."""
        matrix, _ = alike((float_array(matrix, "the matrix"), self.data))
        if tuple(matrix.shape[-2:]) != self.shape:
            raise ValueError(
                f"this loss is a function of matrices of shape {self.shape}, got "
                f"{tuple(matrix.shape)}."
            )
        return self._measure(matrix)

    def measure_product(self, left: Array, right: Array) -> Array:
        """Return ``𝓐(L Rᵀ)`` for factors of shapes ``(m, k)`` and ``(n, k)``."""
        return self._measure(left @ transpose(right))

    def value(self, residual: Array) -> Array:
        """Return the loss, given ``𝓐(X) - b``."""
        xp = namespace(residual)
        return self.weight / 2 * xp.sum(residual**2, axis=tuple(range(-self.data.ndim, 0)))

    def __call__(self, matrix: Array) -> Array:
        """Return ``E(X)``."""
        return self.value(self.measure(matrix) - self.data)

    def gradient(self, matrix: Array) -> Array:
        """Return ``∇E(X)``."""
        return self.pull(self.measure(matrix) - self.data)

    def pull(self, residual: Array) -> Any:
        """Return the gradient ``c 𝓐*(y)`` of a residual, as `adjoint` does."""
        return self.adjoint(residual if self.weight == 1 else self.weight * residual)


@dataclass(frozen=True, eq=False)
class Factorization(LeastSquares):
    r"""Squared distance to a matrix.

    .. math:: E(X) = \tfrac12 \|X - T\|^2, \quad ∇E(X) = X - T

    Parameters
    ----------
    target : array-like, shape=[m, n]

    Raises
    ------
    ValueError
        If the target is no matrix or has entries that are NaN or infinite.
    """

    target: Array

    def __post_init__(self) -> None:
        target = _check_data(self.target, "the target")
        self._set(target=target, shape=tuple(target.shape), data=target)

    def _measure(self, matrix: Array) -> Array:
        return matrix


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


@dataclass(frozen=True, eq=False)
class LinearRegression(LeastSquares):
    r"""Mean squared error of a linear map.

    .. math:: E(X) = \frac{1}{2s} \sum_{i=1}^{s} \|y_i - X x_i\|^2, \quad
              ∇E(X) = \frac1s \sum_i (X x_i - y_i) x_i^T

    Parameters
    ----------
    inputs : array-like, shape=[s, n]
        Samples ``x_i`` in rows, as in scikit-learn.
    outputs : array-like, shape=[s, m]
        Samples ``y_i`` in rows.

    Raises
    ------
    ValueError
        If the numbers of samples differ or are zero, or an entry is NaN or infinite.

    References
    ----------
    [ACH18]; [BRTW22]
    """

    inputs: Array
    outputs: Array

    def __post_init__(self) -> None:
        inputs, outputs = alike(
            (_check_data(self.inputs, "the inputs"), _check_data(self.outputs, "the outputs"))
        )
        samples = inputs.shape[0], outputs.shape[0]
        if samples[0] != samples[1]:
            raise ValueError(
                "inputs and outputs hold one sample in each row and need the same positive "
                f"number of rows, got {samples[0]} and {samples[1]}."
            )
        shape = outputs.shape[1], inputs.shape[1]
        self._set(inputs=inputs, outputs=outputs, shape=shape, data=outputs, weight=1 / samples[0])

    def _measure(self, matrix: Array) -> Array:
        inputs, matrix = alike((self.inputs, matrix))
        return inputs @ transpose(matrix)

    def measure_product(self, left: Array, right: Array) -> Array:
        return (self.inputs @ right) @ transpose(left)

    def adjoint(self, measurements: Array) -> Array:
        measurements, inputs = alike((measurements, self.inputs))
        return transpose(measurements) @ inputs


@dataclass(frozen=True, eq=False)
class MatrixSensing(LeastSquares):
    r"""Squared error of linear measurements of a matrix.

    .. math:: E(X) = \tfrac12 \sum_{i=1}^{k} (\langle A_i, X\rangle - b_i)^2, \quad
              ∇E(X) = \sum_i (\langle A_i, X\rangle - b_i) A_i

    Parameters
    ----------
    sensors : array-like, shape=[k, m, n]
        Matrices ``A_i``.
    measurements : array-like, shape=[k]
        Numbers ``b_i``.

    Raises
    ------
    ValueError
        If there is not one measurement for each sensor, or an entry is NaN or infinite.
    """

    sensors: Array
    measurements: Array

    def __post_init__(self) -> None:
        sensors, measurements = alike(
            (
                _check_data(self.sensors, "the sensors", ndim=3),
                _check_data(self.measurements, "the measurements", ndim=1),
            )
        )
        if sensors.shape[0] != measurements.shape[0]:
            raise ValueError(
                "each sensor needs one measurement, got "
                f"{sensors.shape[0]} sensors and {measurements.shape[0]} measurements."
            )
        shape = tuple(sensors.shape[-2:])
        self._set(sensors=sensors, measurements=measurements, shape=shape, data=measurements)

    def _measure(self, matrix: Array) -> Array:
        sensors, matrix = alike((self.sensors, matrix))
        return namespace(matrix, sensors).einsum("kmn,...mn->...k", sensors, matrix)

    def adjoint(self, measurements: Array) -> Array:
        measurements, sensors = alike((measurements, self.sensors))
        return namespace(measurements, sensors).einsum("...k,kmn->...mn", measurements, sensors)


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
        residual = self.measure(matrix) - self.data
        if residual.ndim == 1:
            return self.pull(residual).toarray()
        slope = numpy.zeros(matrix.shape)
        places: Any = (..., self._rows, self._indices)
        numpy.add.at(slope, places, residual)
        return slope


_UNTRACED = (
    "autograd could not differentiate the loss: write it with autograd.numpy in place of numpy, "
    "with PyTorch or JAX, or give its gradient (gradient=)."
)


def with_gradient(loss: Any, gradient: Callable | None) -> tuple[Any, ReturningLike]:
    """Return a loss, and the gradient that was given, its own, or that by its library."""
    if gradient is None:
        loss = function(loss, "the loss, unless there is a gradient,")
        if not hasattr(loss, "gradient"):
            loss = Differentiated(loss, _UNTRACED)
        gradient = loss.gradient
    value = None if loss is None else ReturningNumbers(function(loss, "the loss"), "the loss")
    return value, ReturningLike(function(gradient, "the gradient"), "the gradient of the loss")


def check_start(loss: Callable | None, slope: Callable, matrix: Array) -> None:
    """Raise a ValueError if a loss or its gradient do not serve at the start of a flow."""
    value = 0.0 if loss is None else loss(matrix)
    if not (numpy.isfinite(slope(matrix)).all() and math.isfinite(value)):
        raise ValueError(
            "loss or gradient are not finite at the start: they must be finite there; correct "
            "them, or start elsewhere."
        )
