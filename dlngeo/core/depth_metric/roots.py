"""Depth-root coordinates ``Y = Q Λ Oᵀ`` of matrices ``X = Q Λ^N Oᵀ``."""

import numpy

from dlngeo.core.base.arrays import symmetric_part, transpose
from dlngeo.core.networks.frames import singular_frames


def depth_root(matrix: numpy.ndarray, depth: int) -> numpy.ndarray:
    """Return ``Y`` of square matrices, shape=[..., d, d]."""
    frames = singular_frames(matrix, matrix.shape[-1])
    return frames.with_values(frames.sigma ** (1 / depth))


def kernels(lam: numpy.ndarray, depth: int) -> tuple[numpy.ndarray, ...]:
    """Return ``λ_k + λ_l``, ``g_kl`` and ``h_kl``."""
    powers = lam[..., :, None] ** numpy.arange(depth + 1)
    sums = lam[..., :, None] + lam[..., None, :]
    sigma = powers[..., depth]
    g = (sigma[..., :, None] + sigma[..., None, :]) / sums
    h = powers[..., :depth] @ transpose(powers[..., depth - 1 :: -1])
    return sums, g, h


def force(lam: numpy.ndarray, a: numpy.ndarray, b: numpy.ndarray, depth: int) -> numpy.ndarray:
    r"""Return ``Σ_m B_klm (a_km a_lm - b_km b_lm)``.

    .. math:: B_{klm} = \frac{g_{km} h_{lm} - g_{lm} h_{km}}{λ_k - λ_l}
              = 2 (λ_k λ_l - λ_m^2) \sum_{0 < n = N-1, N-3, ...}
                (λ_k λ_l)^{(N-1-n)/2} \, λ_m^{N-n} \, G^n_{km} G^n_{lm}, \quad
          G^n_{kl} = \sum_{i+j=n-1} \frac{λ_k^i λ_l^j}{λ_k + λ_l},

    a quotient of differences in closed form (own derivation): the derivative of ``H`` by
    ``S`` with the kernel of the symmetric part, or minus that of the skew part. As ``B`` is
    symmetric in ``k`` and ``l``, it is enough to multiply ``a + b`` by ``(a - b)ᵀ``.

    Parameters
    ----------
    lam : array, shape=[..., r]
    a, b : array, shape=[..., r, r]
        Symmetric part and skew part of ``Uᵀ A_{N,X}^{-1}(Ẋ) V``.
    depth : int

    Returns
    -------
    force : array, shape=[..., r, r]
    """
    row, column = lam[..., :, None], lam[..., None, :]
    powers = row ** numpy.arange(depth)
    sums, product = row + column, row * column
    plus, minus = a + b, transpose(a - b)
    half, diagonal = numpy.zeros_like(plus), numpy.zeros_like(lam)
    # Exactly zero for m = k, where at the boundary ``a`` is infinite.
    gaps = (row - column) * sums
    # Horner's scheme in λ_k λ_l.
    for n in range(1 + depth % 2, depth, 2):
        ratio = powers[..., :n] @ transpose(powers[..., n - 1 :: -1]) / sums
        left, right = ratio * plus, powers[..., depth - n, None] * ratio * minus
        half = product * (half + left @ right) - left @ (row * row * right)
        diagonal = lam**2 * diagonal + numpy.sum(gaps * left * transpose(right), axis=-1)
    every = numpy.arange(lam.shape[-1])
    half[..., every, every] = diagonal
    return half + transpose(half)


def cometric(lam: numpy.ndarray, depth: int) -> numpy.ndarray:
    r"""Return ``α_kl``, the cometric on symmetric entries; on skew ones it is ``1/α_kl``.

    References
    ----------
    THEORY 3 (own derivation).
    """
    _, g, h = kernels(lam, depth)
    return g / h


def weigh(core: numpy.ndarray, symmetric: numpy.ndarray, skew: numpy.ndarray) -> numpy.ndarray:
    """Multiply the symmetric part of a core by weights, and the skew part by others."""
    even = symmetric_part(core)
    return symmetric * even + skew * (core - even)
