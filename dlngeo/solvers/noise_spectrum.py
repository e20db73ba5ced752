"""Spectrum of the diffusion matrix, from per-sample gradients and never from the matrix."""

from dataclasses import dataclass

import numpy
from scipy.sparse.linalg import LinearOperator, svds

from dlngeo.core.arrays import Array, real_array, to_numpy


@dataclass(frozen=True, eq=False)
class NoiseSpectrum:
    """Leading eigenpairs of the diffusion matrix ``D``.

    Attributes
    ----------
    eigenvalues : array, shape=[k]
        In descending order.
    eigenvectors : array, shape=[k, *point_shape]
        Orthonormal, one in each row; of an eigenvalue zero, arbitrary.
    trace : float
        ``tr D``, over all eigenvalues.
    dimension : int
        Number of parameters.
    """

    eigenvalues: Array
    eigenvectors: Array
    trace: float
    dimension: int

    @property
    def explained(self) -> Array:
        """Share of the trace in the first one, two, ... eigenvalues, shape=[k]; 0 without noise."""
        return self.eigenvalues.cumsum() / (self.trace or 1.0)

    @property
    def effective_rank(self) -> float:
        """``tr D / λ_1``, from 1 to the rank; zero without noise."""
        largest = float(self.eigenvalues[0])
        return self.trace / largest if largest else 0.0

    @property
    def anisotropy(self) -> float:
        """``λ_1`` over the mean eigenvalue: 1 for isotropic noise, the dimension for rank one."""
        return self.dimension / self.effective_rank if self.trace else 1.0


def noise_spectrum(
    sample_gradients: Array, k: int = 20, rng: numpy.random.Generator | int | None = None
) -> NoiseSpectrum:
    r"""Return the leading eigenpairs of the covariance of per-sample gradients.

    .. math:: D = \frac1n \sum_s ∇f_s ∇f_s^T - ∇f ∇f^T

    They are singular values, squared, and right singular vectors of the centred gradients over
    ``√n``, by SciPy's Lanczos iteration with products alone.

    Parameters
    ----------
    sample_gradients : array-like, shape=[n, *point_shape]
        ``∇f_s`` at one point, as `SampleLosses.matrix` gives them.
    k : int
        Number of eigenpairs, at least one; fewer are there if ``min(n, D)`` is smaller.
    rng : numpy.random.Generator or int, optional
        For the start of the iteration.

    Returns
    -------
    spectrum : NoiseSpectrum
        In NumPy arrays.

    Raises
    ------
    ValueError
        If there is no sample or no parameter, or a gradient is NaN or infinite.

    References
    ----------
    [FCS20]; THEORY 7.
    """
    rows = to_numpy(real_array(sample_gradients, "the gradients of the samples"))
    if rows.ndim < 2 or rows.size == 0:
        raise ValueError(
            "sample_gradients must hold one gradient for each sample, an array of shape "
            f"[n, *point_shape], got {rows.shape}."
        )
    if not k >= 1:
        raise ValueError(f"k must be at least one, got {k}.")
    shape = rows.shape[1:]
    rows = rows.reshape(len(rows), -1)
    n, size = rows.shape
    mean = rows.mean(axis=0)
    # What round-off leaves of equal gradients is no noise.
    trace = sum(float(numpy.sum((row - mean) ** 2)) for row in rows) / n
    floor = (4 * numpy.finfo(float).eps) ** 2 * float(numpy.sum(mean**2))
    trace = trace if trace > floor else 0.0
    count = min(k, n, size)
    if not trace:
        values, vectors = numpy.zeros(count), numpy.eye(count, size)
    else:
        values, vectors = _leading(rows, mean, count, numpy.random.default_rng(rng))
    return NoiseSpectrum(values**2 / n, vectors.reshape(count, *shape), trace, size)


def _leading(
    rows: numpy.ndarray, mean: numpy.ndarray, count: int, rng: numpy.random.Generator
) -> tuple[numpy.ndarray, numpy.ndarray]:
    """Return the largest singular values of the centred rows, and their right vectors."""
    if 2 * count >= min(rows.shape):
        _, values, vectors = numpy.linalg.svd(rows - mean, full_matrices=False)
        return values[:count], vectors[:count]
    # In units in which the products of Lanczos neither overflow nor underflow.
    unit = abs(rows).max()
    centred = LinearOperator(
        rows.shape,
        matvec=lambda v: (rows @ v - mean @ v) / unit,
        rmatvec=lambda w: (w @ rows - w.sum() * mean) / unit,
        dtype=float,
    )
    _, values, vectors = svds(centred, k=count, rng=rng)
    order = numpy.argsort(values)[::-1]
    return unit * values[order], vectors[order]
