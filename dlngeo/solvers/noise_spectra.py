"""Spectrum of the diffusion matrix, from per-sample gradients and never from the matrix."""

from dataclasses import dataclass

import numpy
from scipy.sparse.linalg import svds

from dlngeo.core.base.arrays import Array, to_numpy
from dlngeo.core.base.checks import generator, integer, real_array
from dlngeo.core.base.scales import at_scale, at_unit_scale


@dataclass(frozen=True, eq=False)
class NoiseSpectrum:
    """Leading eigenpairs of the diffusion matrix ``D``.

    Attributes
    ----------
    eigenvalues : array, shape=[k]
        In descending order, to round-off of the first.
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
    k, random = integer(k, "k"), generator(rng)
    n, shape = len(rows), rows.shape[1:]
    rows = rows.reshape(n, -1)
    rows, exponent = at_unit_scale(2, rows)
    # Equal gradients first, so that they leave no round-off that looks like noise.
    rows = rows - rows[0]
    rows -= rows.mean(axis=0)
    # The iteration stops early among numbers that are tiny.
    unit = abs(rows).max() or 1.0
    rows /= unit
    count = min(k, *rows.shape)
    if not rows.any():
        values, vectors = numpy.zeros(count), numpy.eye(count, rows.shape[1])
    elif 2 * count >= min(rows.shape):
        _, values, vectors = numpy.linalg.svd(rows, full_matrices=False)
    else:
        start = random.standard_normal(min(rows.shape))
        _, values, vectors = svds(rows, k=count, v0=start)
        values, vectors = values[::-1], vectors[::-1]
    eigenvalues, trace = unit**2 / n * values[:count] ** 2, unit**2 / n * numpy.sum(rows**2)
    return NoiseSpectrum(
        eigenvalues=at_scale(eigenvalues, 2 * exponent, "the spectrum", axes=1),
        eigenvectors=vectors[:count].reshape(count, *shape),
        trace=float(at_scale(trace, 2 * exponent, "the trace", axes=0)),
        dimension=rows.shape[1],
    )
