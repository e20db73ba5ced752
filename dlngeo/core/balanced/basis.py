r"""The orthonormal basis of the tangent space of the balanced manifold.

Horizontal vectors are geometric progressions over the layers, and vertical ones standing
waves: the Jacobi matrices ``T_kl`` are diagonalised by the sine transform ([MY25] Thm 5).
"""

from collections.abc import Sequence

from dlngeo.core.base.arrays import Array, namespace, transpose
from dlngeo.core.base.checks import check_range
from dlngeo.core.base.scales import at_unit_scale
from dlngeo.core.networks.factors import Factors, in_kind, layers_of
from dlngeo.core.networks.frames import BalancedFrames, balanced_frames, complement
from dlngeo.core.networks.jacobi import depth_kernel, jacobi_eigenpairs


def tangent_basis(factors: Factors, rank: int | None = None) -> tuple[Factors, Factors]:
    r"""Return the orthonormal basis of ``T_W M_r``, horizontal and vertical vectors apart.

    In frames, with ``k, l ≤ r``:

    - horizontal: ``V_p ∝ λ_k^{N-p} λ_l^{p-1} E_kl``, normalised over ``p``, and the null
      vectors at ``p = 0, N``;
    - vertical, for ``k < l`` and ``j = 1, ..., N-1``, with ``a_p = sin(πjp/N)``: the entry
      ``(k, l)`` of ``V_p`` is ``a_p λ_l - λ_k a_{p-1}`` and ``(l, k)`` is
      ``-a_p λ_k + λ_l a_{p-1}``, of squared norm
      ``N (λ_k² + λ_l² - 2 λ_k λ_l cos(πj/N))``; and for every null vector ``i`` of a
      hidden layer and ``k`` the entries ``1/√2`` at ``(i, k)`` of ``V_p`` and ``(k, i)``
      of ``V_{p+1}``.

    Parameters
    ----------
    factors : array-like, shape=[..., N, d, d], or sequence of shape=[..., d_p, d_{p-1}]
        Balanced factors.
    rank : int, optional
        Rank of the factors, ``min(widths)`` by default.

    Returns
    -------
    horizontal : like factors, with a first axis of length ``r (d_0 + d_N - r)``
    vertical : like factors, with a first axis for the rest of the dimension

    References
    ----------
    [MY25] Thm 5; THEORY 2.
    """
    layers = layers_of(factors)
    layers, _ = at_unit_scale(2 * len(layers), layers)
    balanced = balanced_frames(layers, rank)
    horizontal = _horizontal_coordinates(balanced) + _null_vectors(balanced, (0, balanced.depth))
    vertical = _vertical_coordinates(balanced) + _null_vectors(balanced, range(1, balanced.depth))
    return (
        _stack_basis(horizontal, factors),
        _stack_basis(vertical, factors),
    )


def _stack_basis(vectors: list[list[Array]], factors: Factors) -> Factors:
    layers = layers_of(factors)
    xp = namespace(*layers)
    stacked = [
        xp.stack([vector[p] for vector in vectors], 0)
        if vectors
        else xp.zeros_like(layer)[None][:0]
        for p, layer in enumerate(layers)
    ]
    return in_kind(stacked, factors)


def _outer(balanced: BalancedFrames, p: int, k: int, l: int, weight: Array) -> Array:
    """Return ``weight · q_k q_lᵀ`` in layer ``p``."""
    left, right = balanced.frames[p][..., :, k], balanced.frames[p - 1][..., :, l]
    return weight[..., None, None] * left[..., :, None] * right[..., None, :]


def _horizontal_coordinates(balanced: BalancedFrames) -> list[list[Array]]:
    depth, lam = balanced.depth, balanced.lam
    norm = depth_kernel(lam, lam, depth) ** 0.5
    check_range(norm, divides=True)
    vectors = []
    for k in range(lam.shape[-1]):
        for l in range(lam.shape[-1]):
            a, b = lam[..., k], lam[..., l]
            weights = [a ** (depth - p) * b ** (p - 1) for p in range(1, depth + 1)]
            vectors.append(
                [
                    _outer(balanced, p, k, l, weight / norm[..., k, l])
                    for p, weight in enumerate(weights, start=1)
                ]
            )
    return vectors


def _vertical_coordinates(balanced: BalancedFrames) -> list[list[Array]]:
    depth, lam = balanced.depth, balanced.lam
    if depth == 1:
        return []
    values, modes = jacobi_eigenpairs(lam, lam, depth)
    vectors = []
    for j in range(depth - 1):
        a = [0.0, *[float(mode) for mode in modes[j]], 0.0]
        for k in range(lam.shape[-1]):
            for l in range(k + 1, lam.shape[-1]):
                norm = (2 * values[..., j, k, l]) ** 0.5
                x, y = lam[..., k] / norm, lam[..., l] / norm
                vectors.append(
                    [
                        _outer(balanced, p, k, l, a[p] * y - a[p - 1] * x)
                        + _outer(balanced, p, l, k, a[p - 1] * y - a[p] * x)
                        for p in range(1, depth + 1)
                    ]
                )
    return vectors


def _null_vectors(balanced: BalancedFrames, hidden: Sequence[int]) -> list[list[Array]]:
    depth, lam = balanced.depth, balanced.lam
    xp = namespace(lam)
    zeros = [
        xp.zeros_like(after @ transpose(before))
        for before, after in zip(balanced.frames[:-1], balanced.frames[1:], strict=True)
    ]
    vectors = []
    for p in hidden:
        null = complement(balanced.frames[p])
        share = 1.0 if p in (0, depth) else 0.5**0.5
        for i in range(null.shape[-1]):
            for k in range(lam.shape[-1]):
                vector = list(zeros)
                if p > 0:
                    vector[p - 1] = share * (
                        null[..., :, i, None] * balanced.frames[p - 1][..., None, :, k]
                    )
                if p < depth:
                    vector[p] = share * (
                        balanced.frames[p + 1][..., :, k, None] * null[..., None, :, i]
                    )
                vectors.append(vector)
    return vectors
