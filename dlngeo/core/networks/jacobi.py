r"""The Jacobi matrices of a balanced network: the one kernel under everything.

For a pair of singular values ``λ_k, λ_l`` of the factors let ``T_kl`` be the
``(N-1) × (N-1)`` tridiagonal Toeplitz matrix with diagonal ``λ_k² + λ_l²`` and
off-diagonal ``-λ_k λ_l``. It is the Gram matrix of the vertical fields of the balanced
manifold and of its normal fields, and its determinant

.. math:: r_{kl} = \det T_{kl} = \sum_{p=1}^{N} λ_k^{2(N-p)} λ_l^{2(p-1)}

is the weight of the entry ``(k, l)`` in the depth metric ([MY25] Thm 4; THEORY 2).
Everything here is evaluated as a sum of positive terms: there is no cancellation at
``λ_k = λ_l``.
"""

import math

from dlngeo.core.base.arrays import Array, namespace
from dlngeo.core.networks.power_differences import (
    GeometricLaw,
    doublings,
    first_difference,
    geometric_law,
)


def depth_kernel(left: Array, right: Array, depth: int) -> Array:
    r"""Return ``r_kl``, the determinant of ``T_kl``.

    .. math:: r_{kl} = \sum_{p=1}^{N} λ_k^{2(N-p)} μ_l^{2(p-1)}

    Parameters
    ----------
    left, right : array-like, shape=[..., m], shape=[..., n]
        Singular values ``λ`` and ``μ`` of the factors; zeros are allowed.
    depth : int
        Depth ``N``.

    Returns
    -------
    kernel : array-like, shape=[..., m, n]

    References
    ----------
    [MY25] Thm 4; THEORY 2.
    """
    return first_difference(left[..., :, None] ** 2, right[..., None, :] ** 2, depth)


def depth_kernels(left: Array, right: Array, depth: int) -> list[Array]:
    """Return `depth_kernel` of the depths ``1, ..., N``, each from the one before."""
    xp = namespace(left, right)
    row, column = left[..., :, None] ** 2, right[..., None, :] ** 2
    power = xp.ones_like(row * column)
    kernels = [power]
    for _ in range(depth - 1):
        power = power * column
        kernels.append(kernels[-1] * row + power)
    return kernels


def log_depth_kernel(left: Array, right: Array, depth: int) -> Array:
    r"""Return ``log r_kl``, without overflow or underflow at any scale and depth.

    With ``ρ`` the smaller of ``λ_k², μ_l²`` over the larger one ``m``,
    ``log r_kl = (N-1) log m + log Σ_{j<N} ρ^j``.

    Parameters and shapes as in `depth_kernel`; the values must be positive.

    References
    ----------
    [MY25] Thm 4; THEORY 2, 4.
    """
    xp = namespace(left, right)
    return log_pair_kernel(xp.log(left)[..., :, None], xp.log(right)[..., None, :], depth)


def log_pair_kernel(log_left: Array, log_right: Array, depth: int) -> Array:
    """Return `log_depth_kernel` of pairs, from ``log λ`` and ``log μ`` of one shape."""
    xp = namespace(log_left, log_right)
    gap = 2 * (log_left - log_right)
    larger = log_left + log_right + xp.abs(gap) / 2
    ratio = xp.exp(-xp.abs(gap))
    geometric = first_difference(xp.ones_like(ratio), ratio, depth)
    return (depth - 1) * larger + xp.log(geometric)


def log_depth_kernel_derivative(left: Array, right: Array, depth: int) -> Array:
    r"""Return the derivative of ``log r_kl`` by ``log λ_k``.

    It is ``2 Σ_p (N-p) w_p`` with the positive weights
    ``w_p = λ_k^{2(N-p)} μ_l^{2(p-1)} / r_kl`` that sum to one: twice a mean.

    Parameters and shapes as in `log_depth_kernel`.

    References
    ----------
    THEORY 4 (own derivation, free of the cancellation of the two-term form).
    """
    xp = namespace(left, right)
    gap, law = _law_of_layers(left, right, depth)
    return 2 * xp.where(gap > 0, depth - 1 - law.mean, law.mean)


def log_depth_kernel_curvature(left: Array, right: Array, depth: int) -> Array:
    r"""Return the second derivative of ``log r_kl`` by ``log λ_k``.

    It is four times the variance of ``p`` under the weights of
    `log_depth_kernel_derivative`, and minus the mixed derivative by ``log λ_k`` and
    ``log μ_l``.

    Parameters and shapes as in `log_depth_kernel`.

    References
    ----------
    Own derivation.
    """
    _, law = _law_of_layers(left, right, depth)
    return 4 * law.variance


def log_depth_kernel_second_derivative(left: Array, right: Array, depth: int) -> Array:
    r"""Return ``σ_k² ∂² log r_kl / ∂σ_k²``, the second derivative by ``σ = λ^N``.

    With ``j = N - p`` and the weights of `log_depth_kernel_derivative` it is ``4 Var j / N²
    - 2 E j / N``. Where ``λ_k`` is the smaller one they are joined, as for depth 2
    they cancel to first order.

    Parameters and shapes as in `log_depth_kernel`.

    References
    ----------
    Own derivation.
    """
    xp = namespace(left, right)
    gap, law = _law_of_layers(left, right, depth)
    shift = xp.where(gap > 0, depth * (2 * law.mean - depth + 1), xp.zeros_like(gap))
    return 2 * (shift - law.excess) / depth**2


def _law_of_layers(left: Array, right: Array, depth: int) -> tuple[Array, GeometricLaw]:
    """Return the log ratio of squares, and the law of weights ``ρ^j`` of the smaller one."""
    xp = namespace(left, right)
    gap = 2 * (xp.log(left)[..., :, None] - xp.log(right)[..., None, :])
    return gap, geometric_law(xp.exp(-xp.abs(gap)), depth)


def log_mean_kernel(left: Array, right: Array) -> Array:
    r"""Return the limit of ``r_kl / N`` for infinite depth at fixed ``σ = λ^N``.

    .. math:: \int_0^1 σ_k^{2(1-s)} τ_l^{2s} ds
              = \frac{σ_k^2 - τ_l^2}{2 \log(σ_k/τ_l)}

    the logarithmic mean of the squares, continuous at ``σ_k = τ_l``.

    Parameters
    ----------
    left, right : array-like, shape=[..., m], shape=[..., n]
        Positive singular values ``σ`` and ``τ`` of the end-to-end matrix.

    Returns
    -------
    kernel : array-like, shape=[..., m, n]

    References
    ----------
    [CMV22]; THEORY 3.
    """
    xp = namespace(left, right)
    return xp.exp(log_log_mean_kernel(left, right))


def log_log_mean_kernel(left: Array, right: Array) -> Array:
    r"""Return the logarithm of `log_mean_kernel`, without overflow at any scale.

    With ``x = log(σ_k/τ_l)`` it is ``log σ_k + log τ_l + log(sinh x / x)``.

    Parameters and shapes as in `log_mean_kernel`.

    References
    ----------
    THEORY 3.
    """
    xp = namespace(left, right)
    left, right = xp.log(left)[..., :, None], xp.log(right)[..., None, :]
    gap = xp.abs(left - right)
    # sinh(x)/x = e^x (1 - e^{-2x}) / 2x has no cancellation, and is one at zero.
    safe = xp.where(gap == 0, xp.ones_like(gap), gap)
    growth = safe + xp.log(-xp.expm1(-2 * safe) / (2 * safe))
    return left + right + xp.where(gap == 0, xp.zeros_like(gap), growth)


def log_mean_kernel_derivative(left: Array, right: Array) -> Array:
    r"""Return the derivative of the logarithm of `log_mean_kernel` by ``log σ_k``.

    It is ``1 + L(x)``, ``x = log(σ_k/τ_l)``, with Langevin's function
    ``L(x) = coth x - 1/x``, by its series near zero.

    Parameters and shapes as in `log_mean_kernel`.

    References
    ----------
    Own derivation.
    """
    xp = namespace(left, right)
    gap = xp.log(left)[..., :, None] - xp.log(right)[..., None, :]
    is_small = xp.abs(gap) < 0.1
    safe = xp.where(is_small, xp.ones_like(gap), gap)
    square = gap**2
    series = gap / 3 * (1 - square / 15 * (1 - square / 10.5 * (1 - square / 10)))
    return 1 + xp.where(is_small, series, 1 / xp.tanh(safe) - 1 / safe)


def jacobi_solve(left: Array, right: Array, right_hand_side: Array) -> Array:
    r"""Solve ``T_kl x = b`` for every pair ``(k, l)`` at once.

    Gaussian elimination without pivoting, which the diagonal dominance
    ``λ_k² + μ_l² ≥ 2 λ_k μ_l`` makes stable. The pivots are the ratios of the kernels
    ``r_kl`` of consecutive depths.

    Parameters
    ----------
    left, right : array-like, shape=[..., m], shape=[..., n]
        Positive singular values of the factors.
    right_hand_side : array-like, shape=[..., N-1, m, n]

    Returns
    -------
    solution : array-like, shape=[..., N-1, m, n]

    References
    ----------
    [MY25] Lemma on Jacobi matrices; THEORY 2.
    """
    xp = namespace(left, right, right_hand_side)
    size = right_hand_side.shape[-3]
    if size == 0:
        return right_hand_side
    left, right = left[..., :, None], right[..., None, :]
    larger = xp.where(left > right, left, right)
    # In units of the larger of the two the diagonal is 1 + ρ² and the off-diagonal -ρ, and
    # the pivots are ratios of the geometric sums Σ_{j<p} ρ^{2j}: no overflow at any scale.
    off = (left / larger) * (right / larger)
    right_hand_side = right_hand_side / larger[..., None, :, :] / larger[..., None, :, :]
    rows: list[Array] = []
    pivots: list[Array] = []
    kernel = power = xp.ones_like(off)
    for p in range(size):
        power = power * off**2
        following = kernel + power
        pivots.append(following / kernel)
        kernel = following
        row = right_hand_side[..., p, :, :]
        rows.append(row if p == 0 else row + off / pivots[p - 1] * rows[p - 1])
    solution = [rows[-1] / pivots[-1]]
    for p in reversed(range(size - 1)):
        solution.append((rows[p] + off * solution[-1]) / pivots[p])
    return xp.stack(solution[::-1], -3)


Source = tuple[Array, Array]
"""The ``a`` and ``b`` of a right-hand side ``a^{N-1-p} b^{p-1}``, ``p = 1, ..., N-1``."""


def jacobi_form(
    left: Array, right: Array, source: Source, other: Source, depth: int
) -> tuple[Array, Array]:
    r"""Return ``uᵀ T_kl^{-1} v`` of geometric ``u`` and ``v``, and the last entry of ``T^{-1} u``.

    By doubling, as sums over the layers in `dlngeo.core.networks.power_differences`: with the layer
    between two networks of depths ``n`` and ``m`` eliminated last, in units of ``λ_k²`` for ``λ_k ≥
    μ_l``, ``ρ = μ_l / λ_k``, ``K^{(n)} = \sum_{j<n} ρ^{2j}``,

    .. math:: Q^{(n+m)} = (aa')^m Q^{(n)} + (bb')^n Q^{(m)}
                  + \frac{K^{(n)} K^{(m)}}{K^{(n+m)}} ς ς', \quad
              ς = a^{m-1} b^{n-1} + a^m R^{(n)} + b^n L^{(m)},

    where ``L, R`` are ``ρ`` times the first and the last entry of ``T^{-1} u``. All terms are
    positive.

    Parameters
    ----------
    left, right : array-like
        Positive singular values ``λ_k, μ_l``.
    source, other : pair of array-like
        ``a, b`` of ``u``, and of ``v``, not negative; all shapes broadcast.
    depth : int
        Depth ``N ≥ 2``.

    Returns
    -------
    form, end : array-like

    References
    ----------
    THEORY 2 (own derivation).
    """
    xp = namespace(left, right, *source, *other)
    larger = xp.where(left > right, left + 0 * right, right + 0 * left)
    off = (left / larger) * (right / larger)
    kernel = 1 + off**2
    form = 1 / kernel + 0 * (source[0] * other[0])
    sources, end = (source, other), off * form
    ends = [(end, end)] * 2
    for reached, doubles in doublings(depth):
        powers = [(a**reached, b**reached) for a, b in sources]
        gain = off**reached / kernel
        following = kernel * (1 + off ** (2 * reached)) if doubles else 1 + off**2 * kernel
        share = kernel * (kernel if doubles else 1) / following
        middles = []
        for index, ((a, b), (by_a, by_b), (first, last)) in enumerate(
            zip(sources, powers, ends, strict=True)
        ):
            if doubles:
                middle = (a * b) ** (reached - 1) + by_a * last + by_b * first
                ends[index] = (
                    by_a * first + gain * share * middle,
                    by_b * last + gain * share * middle,
                )
            else:
                middle = b ** (reached - 1) + a * last
                ends[index] = (a * first + gain * share * middle, off * share * middle)
            middles.append(middle)
        if doubles:
            grown = powers[0][0] * powers[1][0] + powers[0][1] * powers[1][1]
        else:
            grown = source[0] * other[0]
        form = grown * form + share * middles[0] * middles[1]
        kernel = following
    return form / larger / larger, ends[0][1] / off / larger / larger


def jacobi_eigenpairs(left: Array, right: Array, depth: int) -> tuple[Array, Array]:
    r"""Return the eigenvalues and eigenvectors of every ``T_kl``.

    .. math:: T_{kl} v_j = \left((λ_k - μ_l)^2 + 4 λ_k μ_l \sin^2\frac{πj}{2N}\right) v_j,
              \quad v_j(p) = \sqrt{2/N}\,\sin\frac{πjp}{N}

    Parameters
    ----------
    left, right : array-like, shape=[..., m], shape=[..., n]
        Singular values of the factors.
    depth : int
        Depth ``N ≥ 2``.

    Returns
    -------
    eigenvalues : array-like, shape=[..., N-1, m, n]
    eigenvectors : array-like, shape=[N-1, N-1]
        Row ``j - 1`` holds ``v_j``: the discrete sine transform, the same for all pairs.

    References
    ----------
    [MY25] (Chebyshev polynomials); THEORY 2.
    """
    xp = namespace(left, right)
    left, right = left[..., :, None], right[..., None, :]
    eigenvalues = [
        (left - right) ** 2 + 4 * left * right * math.sin(math.pi * j / (2 * depth)) ** 2
        for j in range(1, depth)
    ]
    eigenvectors = [
        [math.sqrt(2 / depth) * math.sin(math.pi * j * p / depth) for p in range(1, depth)]
        for j in range(1, depth)
    ]
    return xp.stack(eigenvalues, -3), xp.asarray(eigenvectors, dtype=left.dtype)
