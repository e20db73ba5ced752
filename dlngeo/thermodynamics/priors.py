r"""The Gaussian prior of deep linear networks, as a prior of the end-to-end matrix.

Weight decay is the prior ``e^{-η‖W‖²/2}`` of the factors. Three laws of ``X = φ(W)`` come of it,
which differ from depth two on:

- the *profile*, its maximum over each fibre, taken at the balanced points: a Schatten
  quasi-norm, ``e^{-(ηN/2) Σ σ_k^{2/N}}``;
- the law on the *balanced manifold*, which adds the volume of the orbit over ``X``, its entropy;
- the *marginal* of all of parameter space.

References
----------
[LM25]; THEORY 5.
"""

import itertools
from collections.abc import Sequence

import numpy
import scipy.special

from dlngeo.core.base.arrays import Array, namespace
from dlngeo.core.base.checks import (
    generator,
    host_array,
    integer,
    nonnegative,
    positive,
    real_array,
    where,
)
from dlngeo.core.networks.factors import check_depth, check_widths, matrix_shape
from dlngeo.core.networks.frames import singular_frames
from dlngeo.thermodynamics.boltzmann_entropy import entropy
from dlngeo.thermodynamics.volume import log_volume_density


def log_profile_prior(matrix: Array, depth: int, precision: float = 1.0) -> Array:
    r"""Return the logarithm of the largest density of the factors over a matrix.

    .. math:: \max_{φ(W) = X} -\frac{η}{2} \|W\|^2 = -\frac{ηN}{2} \sum_k σ_k^{2/N}

    up to the constant of normalisation, of every shape and rank. The maximum is taken at the
    balanced factors: maximum a posteriori estimates of ``W`` and of ``X`` under this prior agree.

    Parameters
    ----------
    matrix : array-like, shape=[..., m, n]
    depth : int
        Depth ``N``.
    precision : float
        ``η``.

    Returns
    -------
    log_prior : array-like, shape=[...]
    """
    matrix = real_array(matrix, "the matrix")
    depth, precision = check_depth(depth), positive(precision, "the precision of a Gaussian")
    xp = namespace(matrix)
    sigma = singular_frames(matrix, min(matrix_shape(matrix))).sigma
    return -precision * depth / 2 * xp.sum(sigma ** (2 / depth), axis=-1)


def log_balanced_prior(matrix: Array, depth: int, precision: float = 1.0) -> Array:
    r"""Return the logarithm of the density of the law on the balanced manifold.

    The Gaussian restricted to the balanced manifold of square layers, as a law of ``X``:
    ``e^{-(ηN/2) Σ σ_k^{2/N} + S(X)} dvol_g``, with the entropy ``S`` of the orbit; here its density
    against Lebesgue's measure, up to the constant of normalisation.

    Parameters
    ----------
    matrix : array-like, shape=[..., d, d]
        Of full rank.
    depth : int
        Depth ``N``.
    precision : float
        ``η``.

    Returns
    -------
    log_prior : array-like, shape=[...]

    References
    ----------
    [MY25]; [LM25]; THEORY 4, 5.
    """
    volume = log_volume_density(matrix, depth)
    widths = (matrix.shape[-1],) * (check_depth(depth) + 1)
    # Batches of matrices may be as many as there are layers.
    volume = volume + entropy(matrix[..., None, :, :], widths)[..., 0]
    return log_profile_prior(matrix, depth, precision) + volume


def log_marginal_prior(value: Array, depth: int, precision: float = 1.0) -> Array:
    r"""Return the logarithm of the density of a product of one or two Gaussian numbers.

    The marginal prior of networks of width one: ``e^{-ηx²/2}`` for one layer,
    ``(η/π) K_0(η|x|)`` for two, normalised. Of others see `sample_marginal_prior`.

    Parameters
    ----------
    value : array, shape=[...]
        Numbers ``x``.
    depth : int
        1 or 2.
    precision : float
        ``η``.

    Returns
    -------
    log_prior : array, shape=[...]
    """
    precision = positive(precision, "the precision of a Gaussian")
    depth = check_depth(depth)
    size = abs(host_array(value, "the array of values"))
    if depth == 1:
        return numpy.log(precision / (2 * numpy.pi)) / 2 - precision * size**2 / 2
    if depth == 2:
        # Of K_0 scaled by its exponential decay, which does not underflow.
        scaled = scipy.special.k0e(precision * size)
        return numpy.log(precision / numpy.pi) + numpy.log(scaled) - precision * size
    raise ValueError(
        f"the marginal prior is known for width one and depths 1 and 2, got depth {depth}: sample "
        "it (sample_marginal_prior)."
    )


def sample_marginal_prior(
    widths: Sequence[int],
    n_samples: int,
    precision: float = 1.0,
    *,
    seed: int | numpy.random.Generator | None = None,
) -> Array:
    """Sample end-to-end matrices of networks with Gaussian factors of variance ``1/η``.

    Parameters
    ----------
    widths : sequence of int
        Widths ``(d_0, ..., d_N)``.
    n_samples : int
    precision : float
        ``η``.
    seed : int or numpy.random.Generator, optional

    Returns
    -------
    matrices : array, shape=[n_samples, d_N, d_0]
    """
    widths, _ = check_widths(widths)
    precision = positive(precision, "the precision of a Gaussian")
    n_samples = integer(n_samples, "n_samples")
    rng = generator(seed, "seed")
    product: Array = numpy.eye(widths[0])
    for before, after in itertools.pairwise(widths):
        layer = rng.normal(scale=precision**-0.5, size=(n_samples, after, before))
        product = layer @ product
    return product


def shrinkage(singular_values: Array, depth: int, strength: float) -> Array:
    r"""Return the singular values of the maximum a posteriori estimate from a noisy matrix.

    The minimum ``X`` of ``½‖X - Y‖² - log(profile prior)`` has the frames of ``Y``, and singular
    values

    .. math:: \operatorname{argmin}_{x ≥ 0} \tfrac12 (x - y)^2 + \frac{ηN}{2} x^{2/N}:

    ridge regression ``y/(1 + η)`` at depth one, soft thresholding ``(y - η)_+`` at depth two; from
    depth three on small values go to zero and large ones hardly shrink. The same is the global
    minimum of a deep linear network with weight decay ``η``.

    Parameters
    ----------
    singular_values : array, shape=[...]
        ``y``, not negative.
    depth : int
        Depth ``N``.
    strength : float
        ``η``, times the variance of the noise; not negative.

    Returns
    -------
    shrunk : array, shape=[...]

    Raises
    ------
    ValueError
        If a value or the strength is negative or NaN, or the depth is no positive integer.
    """
    y, strength = host_array(singular_values, "singular values"), nonnegative(strength, "strength")
    if not (y >= 0).all():
        raise ValueError(f"singular values must not be negative, got {where(y < 0)}.")
    depth = check_depth(depth)
    if depth == 1:
        return y / (1 + strength)
    if depth == 2:
        return numpy.maximum(y - strength, 0)
    if strength == 0:
        return y
    power = 1 - 2 / depth
    # Where the cost begins to be convex; its slope falls before and rises after.
    turn = (strength * power) ** (1 / (1 + power))
    has_root = y > turn + strength * turn**-power
    x = numpy.where(has_root, y, 2 * turn)
    target = numpy.where(has_root, y, x + strength * x**-power)
    # Newton's method falls monotonically to the largest root of a convex function.
    for _ in range(60):
        step = (x - target + strength * x**-power) / (1 - strength * power * x ** (-power - 1))
        x = x - step
        if (abs(step) <= 1e-15 * x).all():
            break
    is_better = (x - y) ** 2 + strength * depth * x ** (2 / depth) < y**2
    return numpy.where(has_root & is_better, x, 0.0)
