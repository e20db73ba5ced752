"""Depth-root coordinates ``Y = Q Λ Oᵀ`` of matrices ``X = Q Λ^N Oᵀ``."""

import numpy

from dlngeo.core.base.arrays import symmetric_part, transpose
from dlngeo.core.networks.frames import singular_frames
from dlngeo.core.networks.power_differences import first_difference, mixed_difference


def depth_root(matrix: numpy.ndarray, depth: int) -> numpy.ndarray:
    """Return ``Y`` of square matrices, shape=[..., d, d]."""
    frames = singular_frames(matrix, matrix.shape[-1])
    return frames.with_values(frames.sigma ** (1 / depth))


def kernels(lam: numpy.ndarray, depth: int) -> tuple[numpy.ndarray, ...]:
    """Return ``λ_k + λ_l``, ``g_kl`` and ``h_kl``."""
    row, column = lam[..., :, None], lam[..., None, :]
    sums = row + column
    return sums, (row**depth + column**depth) / sums, first_difference(row, column, depth)


def force(lam: numpy.ndarray, a: numpy.ndarray, b: numpy.ndarray, depth: int) -> numpy.ndarray:
    r"""Return ``Σ_m B_klm (a_km a_lm - b_km b_lm)``.

    .. math:: B_{klm} = \frac{g_{km} h_{lm} - g_{lm} h_{km}}{λ_k - λ_l}
              = \frac{2 λ_m (λ_k λ_l - λ_m^2)}{(λ_k + λ_m)(λ_l + λ_m)} E_{klm}, \quad
          E_{klm} = \sum_{0 < n = N-1, N-3, ...} (λ_k λ_l λ_m^2)^{(N-1-n)/2}
                h^{(n)}_{km} h^{(n)}_{lm},

    a quotient of differences in closed form (own derivation): the derivative of ``H`` by
    ``S`` with the kernel of the symmetric part, or minus that of the skew part. ``E`` is
    `mixed_difference`; for matrices that are large beside the depth the sum over ``n`` is cheaper,
    by products of matrices. As ``B`` is symmetric in ``k`` and ``l``, it is enough to multiply
    ``a + b`` by ``(a - b)ᵀ``.

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
    sums = row + column
    plus, minus = (a + b) / sums, transpose(a - b) / sums
    # Exactly zero for m = k, where at the boundary ``a`` is infinite.
    gaps = (row - column) * sums
    by_terms = depth <= max(12, lam.shape[-1] ** 2 / 4)
    half, diagonal = (_force_by_terms if by_terms else _force_by_doubling)(
        lam, plus, minus, gaps, depth
    )
    every = numpy.arange(lam.shape[-1])
    half[..., every, every] = diagonal
    return half + transpose(half)


def _force_by_terms(
    lam: numpy.ndarray, plus: numpy.ndarray, minus: numpy.ndarray, gaps: numpy.ndarray, depth: int
) -> tuple[numpy.ndarray, numpy.ndarray]:
    """Return half the force with any diagonal, and the diagonal, by Horner's scheme."""
    row, column = lam[..., :, None], lam[..., None, :]
    powers = row ** numpy.arange(depth)
    half, diagonal = numpy.zeros_like(plus), numpy.zeros_like(lam)
    for n in range(1 + depth % 2, depth, 2):
        ratio = powers[..., :n] @ transpose(powers[..., n - 1 :: -1])
        left, right = ratio * plus, powers[..., depth - n, None] * ratio * minus
        half = row * column * (half + left @ right) - left @ (row * row * right)
        diagonal = lam**2 * diagonal + numpy.sum(gaps * left * transpose(right), axis=-1)
    return half, diagonal


def _force_by_doubling(
    lam: numpy.ndarray, plus: numpy.ndarray, minus: numpy.ndarray, gaps: numpy.ndarray, depth: int
) -> tuple[numpy.ndarray, numpy.ndarray]:
    """Return what `_force_by_terms` does, from the differences for all triples."""
    mixed = mixed_difference(lam, depth)
    left, right = lam[..., None, :] * plus, transpose(minus)
    terms = mixed * left[..., :, None, :] * right[..., None, :, :]
    products = (lam[..., :, None] * lam[..., None, :])[..., None]
    half = numpy.sum((products - lam[..., None, None, :] ** 2) * terms, axis=-1)
    diagonal = numpy.einsum("...km,...kkm->...k", gaps, terms)
    return half, diagonal


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
