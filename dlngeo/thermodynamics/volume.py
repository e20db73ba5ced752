"""Riemannian volume of the depth metric."""

import math

from dlngeo.core.base.arrays import Array, namespace
from dlngeo.core.base.checks import real_array
from dlngeo.core.base.primitives import primitive, rules_of_gradients
from dlngeo.core.depth_metric.metric import check_observable
from dlngeo.core.networks.frames import check_positive, singular_frames
from dlngeo.core.networks.jacobi import log_log_mean_kernel, log_mean_kernel_derivative
from dlngeo.thermodynamics.boltzmann_entropy import entropy, log_orthogonal_volume


@primitive()
def _limit_gradient(matrix: Array) -> Array:
    frames = singular_frames(matrix, matrix.shape[-1])
    derivative = log_mean_kernel_derivative(frames.sigma, frames.sigma)
    return frames.with_values(-namespace(matrix).sum(derivative, axis=-1) / frames.sigma)


@primitive(**rules_of_gradients(lambda matrix: (_limit_gradient(matrix),)))
def _limit_volume(matrix: Array) -> Array:
    sigma = singular_frames(matrix, matrix.shape[-1]).sigma
    check_positive(sigma, matrix.shape[-1])
    return -namespace(matrix).sum(log_log_mean_kernel(sigma, sigma), axis=(-2, -1)) / 2


def log_volume_density(matrix: Array, depth: float) -> Array:
    r"""Return the logarithm of the density of the volume of ``g^N`` against Lebesgue's.

    .. math:: -\tfrac12 \sum_k \log(N σ_k^{2-2/N}) - \sum_{k<l} \log r_{kl}

    Parameters
    ----------
    matrix : array-like, shape=[..., d, d]
        Square matrix of full rank.
    depth : int or inf
        Depth ``N``.

    Returns
    -------
    log_density : array-like, shape=[...]

    Raises
    ------
    ValueError
        If the matrix is not square and of full rank.

    References
    ----------
    [MY25]; THEORY 3.
    """
    matrix = real_array(matrix, "the matrix")
    rank = check_observable(matrix, depth)
    if matrix.shape[-2] != matrix.shape[-1]:
        raise ValueError(
            "the volume density against Lebesgue's measure needs a square matrix, got shape "
            f"{tuple(matrix.shape[-2:])}: rectangular matrices of a rank are no open set."
        )
    xp = namespace(matrix)
    if depth == math.inf:
        return _limit_volume(matrix)
    # ½ Σ_{k<l} log r_kl is the entropy without its constant; batches may be of N matrices.
    depth = int(depth)
    orbits = entropy(matrix[..., None, :, :], (rank,) * (depth + 1))[..., 0]
    pairs = orbits - (depth - 1) * log_orthogonal_volume(rank)
    log_determinant = xp.linalg.slogdet(matrix)[1]
    diagonal = rank * math.log(depth) + (2 - 2 / depth) * log_determinant
    return -diagonal / 2 - 2 * pairs
