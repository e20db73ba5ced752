r"""Losses ``E(X)`` of the end-to-end matrix, with their gradients.

Each is a function of arrays of shape ``[..., m, n]`` and batched over the leading axes.
``loss(X)`` is the value, shape=[...], and ``loss.gradient(X)`` the Euclidean gradient,
shape=[..., m, n]. They are made of array operations only, so NumPy, autograd, PyTorch and
JAX arrays all serve, if data and argument are of one library.
"""

from dataclasses import dataclass

from dlngeo.core.arrays import Array, namespace, real_array, transpose


def _check_matrix(array: Array, name: str, ndim: int = 2) -> None:
    real_array(array, name)
    if array.ndim != ndim:
        raise ValueError(f"{name} must have {ndim} axes, got shape {tuple(array.shape)}.")


def _check_argument(matrix: Array, shape: tuple[int, ...]) -> None:
    if tuple(matrix.shape[-2:]) != shape:
        raise ValueError(
            f"this loss is a function of matrices of shape {shape}, got {tuple(matrix.shape)}."
        )


@dataclass(frozen=True, eq=False)
class Factorization:
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

    def __call__(self, matrix: Array) -> Array:
        xp = namespace(matrix, self.target)
        return xp.sum(self.gradient(matrix) ** 2, axis=(-2, -1)) / 2

    def gradient(self, matrix: Array) -> Array:
        _check_argument(matrix, tuple(self.target.shape))
        return matrix - self.target


@dataclass(frozen=True, eq=False)
class MatrixCompletion:
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
        object.__setattr__(self, "observed", observed)

    def __call__(self, matrix: Array) -> Array:
        xp = namespace(matrix, self.observed)
        return xp.sum(self.gradient(matrix) ** 2, axis=(-2, -1)) / 2

    def gradient(self, matrix: Array) -> Array:
        _check_argument(matrix, tuple(self.observed.shape))
        return (matrix - self.observed) * self.mask


@dataclass(frozen=True, eq=False)
class LinearRegression:
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

    def _residual(self, matrix: Array) -> Array:
        """Return ``X x_i - y_i`` in rows."""
        _check_argument(matrix, (self.outputs.shape[1], self.inputs.shape[1]))
        return self.inputs @ transpose(matrix) - self.outputs

    def __call__(self, matrix: Array) -> Array:
        residual = self._residual(matrix)
        squares = namespace(residual).sum(residual**2, axis=(-2, -1))
        return squares / (2 * self.inputs.shape[0])

    def gradient(self, matrix: Array) -> Array:
        return transpose(self._residual(matrix)) @ self.inputs / self.inputs.shape[0]


@dataclass(frozen=True, eq=False)
class MatrixSensing:
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

    def _residual(self, matrix: Array) -> Array:
        """Return ``⟨A_i, X⟩ - b_i``, shape=[..., k]."""
        _check_argument(matrix, tuple(self.sensors.shape[-2:]))
        xp = namespace(matrix, self.sensors)
        return xp.einsum("kmn,...mn->...k", self.sensors, matrix) - self.measurements

    def __call__(self, matrix: Array) -> Array:
        residual = self._residual(matrix)
        return namespace(residual).sum(residual**2, axis=-1) / 2

    def gradient(self, matrix: Array) -> Array:
        residual = self._residual(matrix)
        return namespace(residual).einsum("...k,kmn->...mn", residual, self.sensors)
