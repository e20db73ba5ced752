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
from dlngeo.core.base.checks import real_array
from dlngeo.core.low_rank.sampled_products import sampled_product


def _check_matrix(array: Array, name: str, ndim: int = 2) -> None:
    real_array(array, name)
    if array.ndim != ndim:
        raise ValueError(f"{name} must have {ndim} axes, got shape {tuple(array.shape)}.")


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
        _check_matrix(self.target, "the target")
        self._set(shape=tuple(self.target.shape), data=self.target)

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
        xp = namespace(self.observed, self.mask)
        if self.observed.ndim != 2 or tuple(self.observed.shape) != tuple(self.mask.shape):
            raise ValueError(
                "observed matrix and mask must be matrices of one shape, got "
                f"{tuple(self.observed.shape)} and {tuple(self.mask.shape)}."
            )
        if self.mask.dtype != xp.bool:
            raise ValueError(f"the mask must be boolean, got {self.mask.dtype}: compare it to 0.")
        if not bool(xp.any(self.mask)):
            raise ValueError("the mask is empty: at least one entry must be observed.")
        observed = xp.where(self.mask, self.observed, xp.zeros_like(self.observed))
        real_array(observed, "the observed matrix, inside the mask,")
        self._set(observed=observed, shape=tuple(observed.shape), data=observed)

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
        _check_matrix(self.inputs, "the inputs")
        _check_matrix(self.outputs, "the outputs")
        samples = self.inputs.shape[0], self.outputs.shape[0]
        if samples[0] != samples[1] or samples[0] == 0:
            raise ValueError(
                "inputs and outputs hold one sample in each row and need the same positive "
                f"number of rows, got {samples[0]} and {samples[1]}."
            )
        shape = self.outputs.shape[1], self.inputs.shape[1]
        self._set(shape=shape, data=self.outputs, weight=1 / samples[0])

    def _measure(self, matrix: Array) -> Array:
        return self.inputs @ transpose(matrix)

    def measure_product(self, left: Array, right: Array) -> Array:
        return (self.inputs @ right) @ transpose(left)

    def adjoint(self, measurements: Array) -> Array:
        return transpose(measurements) @ self.inputs


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
        _check_matrix(self.sensors, "the sensors", ndim=3)
        _check_matrix(self.measurements, "the measurements", ndim=1)
        if self.sensors.shape[0] != self.measurements.shape[0]:
            raise ValueError(
                "each sensor needs one measurement, got "
                f"{self.sensors.shape[0]} sensors and {self.measurements.shape[0]} measurements."
            )
        self._set(shape=tuple(self.sensors.shape[-2:]), data=self.measurements)

    def _measure(self, matrix: Array) -> Array:
        return namespace(matrix, self.sensors).einsum("kmn,...mn->...k", self.sensors, matrix)

    def adjoint(self, measurements: Array) -> Array:
        xp = namespace(measurements, self.sensors)
        return xp.einsum("...k,kmn->...mn", measurements, self.sensors)


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
        or a value is NaN or infinite.

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
        rows, columns = numpy.asarray(rows), numpy.asarray(columns)
        values = numpy.asarray(values, dtype=float)
        if not (rows.shape == columns.shape == values.shape and rows.ndim == 1 and rows.size):
            raise ValueError(
                "rows, columns and values must be three lists of one positive length, got shapes "
                f"{rows.shape}, {columns.shape} and {values.shape}."
            )
        if not (rows.dtype.kind in "iu" and columns.dtype.kind in "iu"):
            raise ValueError(
                f"rows and columns must be integers, got {rows.dtype} and {columns.dtype}."
            )
        if not numpy.isfinite(values).all():
            raise ValueError(
                f"{int((~numpy.isfinite(values)).sum())} of the {values.size} values are NaN or "
                "infinite: leave these entries out."
            )
        least = int(rows.max()) + 1, int(columns.max()) + 1
        if shape is None:
            shape = least
        if min(rows.min(), columns.min()) < 0 or least[0] > shape[0] or least[1] > shape[1]:
            raise ValueError(
                f"positions must lie within the shape {tuple(shape)}, counted from zero; got "
                f"rows from {rows.min()} to {rows.max()} and columns from {columns.min()} to "
                f"{columns.max()}."
            )
        # In the order of compressed rows, so that residuals are the entries of a sparse array.
        order = numpy.lexsort((columns, rows))
        starts = numpy.searchsorted(rows[order], numpy.arange(shape[0] + 1))
        self.shape = int(shape[0]), int(shape[1])
        self.data = values[order]
        self._indices = columns[order].astype(numpy.int32)
        self._starts = starts.astype(numpy.int32)

    def _measure(self, matrix: Array) -> Array:
        rows = numpy.repeat(numpy.arange(self.shape[0]), numpy.diff(self._starts))
        return matrix[..., rows, self._indices]

    def measure_product(self, left: Array, right: Array) -> Array:
        return sampled_product(self._starts, self._indices, left, right)

    def adjoint(self, measurements: Array) -> Any:
        return scipy.sparse.csr_array((measurements, self._indices, self._starts), self.shape)

    def gradient(self, matrix: Array) -> Array:
        return super().gradient(matrix).toarray()


def gradient_of(loss: Any, gradient: Callable | None) -> Callable:
    """Return the gradient that was given, the loss's own, or autograd's."""
    if gradient is not None:
        return gradient
    if hasattr(loss, "gradient"):
        return loss.gradient
    if not callable(loss):
        raise ValueError(f"give a loss or a gradient that can be called, got {loss!r}.")
    import autograd

    differentiated = autograd.grad(loss)

    def slope(matrix: Array) -> Array:
        try:
            return differentiated(matrix)
        except TypeError as error:
            raise ValueError(
                "autograd could not differentiate the loss: it must return one number, and be "
                f"written with autograd.numpy; or give its gradient (gradient=). ({error})"
            ) from error

    return slope


def check_start(loss: Callable | None, slope: Callable, matrix: Array, name: str) -> None:
    """Raise a ValueError if a loss or its gradient do not serve at the start of a flow."""
    covector = numpy.asarray(slope(matrix))
    if covector.shape != matrix.shape:
        raise ValueError(
            f"the gradient must have the shape {matrix.shape} of {name}, got {covector.shape}."
        )
    is_finite = bool(numpy.isfinite(covector).all())
    if not is_finite or (loss is not None and not math.isfinite(loss(matrix))):
        raise ValueError(
            "loss or gradient are not finite at the start: they must be finite there; correct "
            "them, or start elsewhere."
        )
