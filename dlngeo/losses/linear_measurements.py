r"""Least squares in a linear map ``𝓐`` of the end-to-end matrix.

.. math:: E(X) = \frac{c}{2} \|𝓐(X) - b\|^2, \quad ∇E(X) = c \, 𝓐^*(𝓐(X) - b), \quad
          ∇^2 E[Z] = c \, 𝓐^* 𝓐(Z).
"""

import abc
import functools
from dataclasses import dataclass
from typing import Any

from dlngeo.core.base.arrays import Array, namespace, transpose
from dlngeo.core.base.checks import alike, float_array, real_array


def check_data(array: Array, name: str, ndim: int = 2) -> Array:
    """Return data of a loss; a ValueError if they have other axes or no entry."""
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

    def _checked(self, matrix: Array) -> Array:
        matrix, _ = alike((float_array(matrix, "the matrix"), self.data))
        if tuple(matrix.shape[-2:]) != self.shape:
            raise ValueError(
                f"this loss is a function of matrices of shape {self.shape}, got "
                f"{tuple(matrix.shape)}."
            )
        return matrix

    def measure(self, matrix: Array) -> Array:
        """Return the measurements ``𝓐(X)`` of matrices, shape=[..., m, n]."""
        return self._measure(self._checked(matrix))

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

    def hessian_product(self, matrix: Array, vector: Array) -> Array:
        """Return ``∇²E(X)[Z] = c 𝓐*𝓐(Z)``, whatever ``X`` is."""
        return self.pull(self.measure(vector))

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
        target = check_data(self.target, "the target")
        self._set(target=target, shape=tuple(target.shape), data=target)

    def _measure(self, matrix: Array) -> Array:
        return matrix


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
            (check_data(self.inputs, "the inputs"), check_data(self.outputs, "the outputs"))
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

    @functools.cached_property
    def with_intercept(self) -> "LinearRegression":
        """The same loss of affine maps ``(X b)``, shape=[m, n+1]: a column of ones more."""
        xp = namespace(self.inputs)
        ones = xp.ones_like(self.inputs[:, :1])
        return LinearRegression(xp.concatenate([self.inputs, ones], axis=1), self.outputs)

    @functools.cached_property
    def second_moment(self) -> Array:
        """``Σ_xx = (1/s) Σ_i x_i x_iᵀ``, shape=[n, n]."""
        return self.weight * (transpose(self.inputs) @ self.inputs)

    def hessian_product(self, matrix: Array, vector: Array) -> Array:
        samples, columns = self.inputs.shape
        if samples < columns:
            return super().hessian_product(matrix, vector)
        vector, second_moment = alike((self._checked(vector), self.second_moment))
        return vector @ second_moment

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
                check_data(self.sensors, "the sensors", ndim=3),
                check_data(self.measurements, "the measurements", ndim=1),
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
