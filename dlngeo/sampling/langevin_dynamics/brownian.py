r"""Brownian motion and Langevin drift of the depth metric, in depth-root coordinates.

For ``X = Q Λ^N Oᵀ`` these are ``Y = Q Λ Oᵀ``. There the cometric of the depth metric is nearly
flat,

.. math:: \tfrac12 \sum_{kl} (α_{kl} S_{kl}^2 + K_{kl}^2 / α_{kl}) + \text{null entries}, \quad
          α_{kl} = \frac{σ_k + σ_l}{h_{N-1}(λ_k, λ_l) (λ_k + λ_l)} ∈ [1/N, 1],

in the symmetric and the skew part of the core and with weight one on the entries towards the
null spaces, and the Riemannian volume is a constant multiple of that of Frobenius' metric: its
coefficients stay bounded up to the boundary, where a singular value vanishes. What follows is in
the frames of ``Y``; all stochastic equations are Itô's.
"""

import math

import numpy

from dlngeo.core.base.arrays import off_diagonal, symmetric_part
from dlngeo.core.depth_metric.roots import cometric, kernels, weigh
from dlngeo.core.networks.blocks import Blocks
from dlngeo.core.networks.jacobi import log_depth_kernel_derivative


def descent(lam: numpy.ndarray, slope: Blocks, depth: int) -> Blocks:
    r"""Return the velocity ``Ẏ`` of the gradient flow ``Ẋ = -A_{N,X}(∇E)``.

    .. math:: \dot Y_{kl} = -(g_{kl} \, \mathrm{sym} + h_{kl} \, \mathrm{skew}) G_{kl}, \quad
              \dot Y_{⊥k} = -λ_k^{N-1} G_{⊥k}

    Parameters
    ----------
    lam : array, shape=[..., r]
        Singular values ``λ`` of ``Y``.
    slope : Blocks
        Euclidean gradient ``G = ∇E(X)``, split in the frames.
    depth : int

    Returns
    -------
    velocity : Blocks

    References
    ----------
    THEORY 3, 4 (own derivation).
    """
    _, g, h = kernels(lam, depth)
    return slope._replace(core=-weigh(slope.core, g, h)).scaled(1.0, -(lam ** (depth - 1)))


def brownian_drift(lam: numpy.ndarray, depth: int) -> numpy.ndarray:
    r"""Return what pairs of singular values give to ``Δ_g Y``, a diagonal matrix in frames.

    The Itô drift of ``dY`` for the generator ``Δ_g`` has the entries

    .. math:: b_k = -\sum_{l≠k} \Big[ \frac{(λ_k - λ_l) \sum_{0<j<N} h_{j-1} h_{N-j-1}}
                     {N h_{N-1} (λ_k + λ_l)}
              + \frac{1/α_{kl} - 1/N}{λ_k + λ_l} \Big]
              - \Big(1 - \frac1N\Big) \frac{(d_0 - r) + (d_N - r)}{λ_k},

    of which the first term is ``(1/N - α_kl)/(λ_k - λ_l)`` without its cancellation. The last
    one, unbounded at the boundary, is left to `radial_step`.

    Parameters
    ----------
    lam : array, shape=[..., r]
    depth : int

    Returns
    -------
    drift : array, shape=[..., r]

    References
    ----------
    THEORY 4 (own derivation): the difference of ``Δ_g λ_k`` and of the second-order
    perturbation of ``λ_k`` by the noise of the entries off the diagonal.
    """
    sums, g, h = kernels(lam, depth)
    gap = lam[..., :, None] - lam[..., None, :]
    skew = h / g - 1 / depth
    terms = (gap * _mixed_sums(lam, depth) / (depth * h) + skew) / sums
    return -numpy.sum(off_diagonal(terms), axis=-1)


def _mixed_sums(lam: numpy.ndarray, depth: int) -> numpy.ndarray:
    """Return ``Σ_{0<j<N} h_{j-1}(λ_k, λ_l) h_{N-j-1}(λ_k, λ_l)``."""
    total = numpy.zeros_like(lam[..., :, None] * lam[..., None, :])
    powers = lam[..., :, None] ** numpy.arange(depth)
    # h_{j-1} h_{N-j-1} has the coefficient min(i, N-2-i, j-1, N-j-1) + 1 at λ_k^i λ_l^{N-2-i}.
    for i in range(depth - 1):
        weight = sum(min(i, depth - 2 - i, j - 1, depth - j - 1) + 1 for j in range(1, depth))
        total = total + weight * powers[..., i, None] * powers[..., None, :, depth - 2 - i]
    return total


def entropic_drift(lam: numpy.ndarray, depth: int) -> numpy.ndarray:
    r"""Return what pairs of singular values give to ``grad S``, a diagonal matrix in frames.

    .. math:: \frac1N \Big[ \tfrac12 \sum_{l≠k} \frac{∂ \log r_{kl}}{∂ λ_k}
              + \frac1{λ_k} \sum_{p=1}^{N-1} (d_p - r) \Big]

    The last term, unbounded at the boundary, is left to `radial_step`.

    Parameters
    ----------
    lam : array, shape=[..., r]
    depth : int

    Returns
    -------
    drift : array, shape=[..., r]

    References
    ----------
    [MY25]; THEORY 4.
    """
    slopes = off_diagonal(log_depth_kernel_derivative(lam, lam, depth))
    return numpy.sum(slopes, axis=-1) / (2 * depth * lam)


def radial_step(lam: numpy.ndarray, strength: float) -> numpy.ndarray:
    """Return how far ``λ' = c/λ`` moves in a time, ``√(λ² + 2c t) - λ``; at most to zero.

    Parameters
    ----------
    lam : array, shape=[..., r]
    strength : float
        ``c t``.
    """
    return numpy.sqrt(numpy.maximum(lam**2 + 2 * strength, 0)) - lam


def noise(lam: numpy.ndarray, depth: int, normals: Blocks) -> Blocks:
    r"""Return Gaussian noise of ``Y`` with covariance the cometric, from standard normals.

    The entry ``(k, l)`` is ``√(α/2) s + √(1/(2α)) a`` with ``s, a`` the sum and the difference
    of the normals ``ξ_kl, ξ_lk`` over ``√2``; on the diagonal ``√(1/N) ξ_kk``; towards the null
    spaces the normals themselves.

    Parameters
    ----------
    lam : array, shape=[..., r]
    depth : int
    normals : Blocks
        A standard normal matrix, split in the frames.

    References
    ----------
    THEORY 4.
    """
    root = numpy.sqrt(cometric(lam, depth))
    symmetric = symmetric_part(normals.core)
    core = root * symmetric + (normals.core - symmetric) / root
    return normals.tangent()._replace(core=core)


def surplus_turns(
    lam: numpy.ndarray, depth: int, normals: numpy.ndarray
) -> tuple[numpy.ndarray, numpy.ndarray]:
    r"""Return the turns of the frames that noise of ``Y`` contains beyond ``1/√N`` of normals.

    With ``S, K`` the symmetric and the skew part of the normals

    .. math:: L_{kl}, R_{kl} = \frac{(\sqrt{α_{kl}} - \sqrt{1/N}) S_{kl}}{λ_l - λ_k}
              ± \frac{(\sqrt{1/α_{kl}} - \sqrt{1/N}) K_{kl}}{λ_k + λ_l},

    regular where singular values meet. ``L Λ - Λ R`` with ``1/√N`` of the normals is the `noise`;
    but as turns they keep ``λ``, and what moves ``λ`` is then Brownian motion of a flat space:

    .. math:: Δ_g = \tfrac1N Δ_Y + \text{squares of turns}.

    Parameters
    ----------
    lam : array, shape=[..., r]
    depth : int
    normals : array, shape=[..., r, r]
        Core of a standard normal matrix.

    Returns
    -------
    left, right : array, shape=[..., r, r]
        Skew: the frames turn by ``Q L`` and ``O R``.

    References
    ----------
    Own derivation.
    """
    sums, g, h = kernels(lam, depth)
    gap = lam[..., None, :] - lam[..., :, None]
    root, flat = numpy.sqrt(g / h), math.sqrt(1 / depth)
    symmetric = symmetric_part(normals)
    common = gap * _mixed_sums(lam, depth) / (depth * h * sums * (root + flat)) * symmetric
    opposite = (1 / root - flat) / sums * (normals - symmetric)
    return common + opposite, common - opposite


def turn_deviations(lam: numpy.ndarray, depth: int) -> tuple[numpy.ndarray, numpy.ndarray]:
    r"""Return the deviations of independent turns of the frames, in ``Δ_g = Δ_Y/N + ...``.

    .. math:: \sqrt{\frac{α_{kl} - 1/N}{2 (λ_k - λ_l)^2}}, \quad
              \sqrt{\frac{1/α_{kl} - 1/N}{2 (λ_k + λ_l)^2}}

    of turns of both frames by the same angle, and by opposite ones; the first one without its
    quotient of differences, as in `surplus_turns`.

    Parameters
    ----------
    lam : array, shape=[..., r]
    depth : int

    Returns
    -------
    common, opposite : array, shape=[..., r, r]

    References
    ----------
    THEORY 4 (own derivation).
    """
    sums, g, h = kernels(lam, depth)
    common = _mixed_sums(lam, depth) / (2 * depth * h * sums)
    opposite = (h / g - 1 / depth) / (2 * sums**2)
    return numpy.sqrt(common), numpy.sqrt(numpy.maximum(opposite, 0))


def log_noise_density(lam: numpy.ndarray, depth: int, noise: Blocks) -> numpy.ndarray:
    """Return the logarithm of the density of `noise`, up to a constant, shape=[...].

    The constant is the same everywhere: the determinant of the cometric is one for each pair
    of entries and ``1/N`` on the diagonal.
    """
    alpha = cometric(lam, depth)
    symmetric = symmetric_part(noise.core)
    skew = noise.core - symmetric
    total = numpy.sum(symmetric**2 / alpha + alpha * skew**2, axis=(-2, -1))
    for null in (noise.left_null, noise.right_null):
        if null is not None:
            total = total + numpy.sum(null**2, axis=(-2, -1))
    return -total / 2
