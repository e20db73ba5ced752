r"""Geometry of the balanced manifold ``M_r`` as a submanifold of parameter space.

``M_r`` is the set of factors with zero moment map and end-to-end matrix of rank ``r``,
``W_p = Q_p Λ Q_{p-1}ᵀ``. In the frames ``Q`` a velocity of the factors has, layer by
layer, a core and three blocks towards the null spaces; everything below is a solve with
the Jacobi matrices on the core, and a division by ``λ²`` on the blocks.
"""

import itertools
from collections.abc import Sequence

from dlngeo.core.arrays import Array, Primitive, eye, namespace, transpose
from dlngeo.core.frames import BalancedFrames, Blocks, balanced_frames, join
from dlngeo.core.jacobi import depth_kernel, jacobi_eigenpairs, jacobi_solve
from dlngeo.core.network import (
    Factors,
    check_same_shapes,
    check_widths,
    in_kind,
    infinitesimal_action,
    layers_of,
)


def dimension(widths: Sequence[int], rank: int | None = None) -> int:
    r"""Return the dimension of the balanced manifold.

    .. math:: \dim M_r = \sum_{p=0}^{N} \left(d_p r - r(r+1)/2\right) + r

    Raises
    ------
    ValueError
        If the rank does not fit the widths.

    References
    ----------
    [MY25]; THEORY 2.
    """
    widths, rank = check_widths(widths, rank)
    return sum(width * rank - rank * (rank + 1) // 2 for width in widths) + rank


def _moments_in_frames(
    balanced: BalancedFrames, vector: Sequence[Blocks], other: Sequence[Blocks]
) -> tuple[Array, list[Array | None]]:
    """Return ``sym(V_{p+1}ᵀ V'_{p+1} - V_p V'_pᵀ)`` in frames, for ``p = 1, ..., N-1``.

    The result is the core ``[..., N-1, r, r]`` and, where the layer is wider than the
    rank, the block ``(⊥, r)``, which of the symmetric matrix tells the other too. The
    part between the null spaces does not count: its Jacobi matrix is zero.
    """
    xp = namespace(vector[0].core, other[0].core)
    cores, nulls = [], []
    for p in range(balanced.depth - 1):
        after = _gram(transposed(vector[p + 1]), transposed(other[p + 1]))
        before = _gram(vector[p], other[p])
        cores.append(after[0] - before[0])
        nulls.append(None if after[1] is None else after[1] - before[1])
    return xp.stack(cores, -3), nulls


def transposed(blocks: Blocks) -> Blocks:
    """Return the blocks of the transposed matrix."""
    flipped = (blocks.core, blocks.right_null, blocks.left_null, blocks.both_null)
    return Blocks(*[None if block is None else transpose(block) for block in flipped])


def _gram(a: Blocks, b: Blocks) -> tuple[Array, Array | None]:
    """Return core and ``(⊥, r)`` block of ``sym(A Bᵀ)``."""
    core = a.core @ transpose(b.core)
    if a.right_null is not None:
        core = core + a.right_null @ transpose(b.right_null)
    core = (core + transpose(core)) / 2
    if a.left_null is None:
        return core, None
    null = a.left_null @ transpose(b.core) + b.left_null @ transpose(a.core)
    if a.both_null is not None:
        null = null + a.both_null @ transpose(b.right_null)
        null = null + b.both_null @ transpose(a.right_null)
    return core, null / 2


def _solve_moments(
    balanced: BalancedFrames, cores: Array, nulls: Sequence[Array | None]
) -> list[Array]:
    """Solve ``T S = c`` for symmetric ``S_p``, and return them in ambient coordinates."""
    lam = balanced.lam
    solved = jacobi_solve(lam, lam, cores)
    matrices = []
    for p, null in enumerate(nulls):
        frame = balanced.frames[p + 1]
        matrix = frame @ solved[..., p, :, :] @ transpose(frame)
        if null is not None:
            strip = null / lam[..., None, :] ** 2 @ transpose(frame)
            matrix = matrix + strip + transpose(strip)
        matrices.append(matrix)
    return matrices


def normal_field(symmetric: Factors, factors: Factors) -> Factors:
    r"""Return the normal vector ``n_S = (W_p S_{p-1} - S_p W_p)_p``, ``S_0 = S_N = 0``.

    Parameters
    ----------
    symmetric : array-like, shape=[..., N-1, d, d], or sequence of shape=[..., d_p, d_p]
        Symmetric matrices ``S``.
    factors : array-like, shape=[..., N, d, d], or sequence of shape=[..., d_p, d_{p-1}]

    Returns
    -------
    normal : like factors

    References
    ----------
    [MY25]; THEORY 2.
    """
    field = infinitesimal_action(symmetric, factors)
    return in_kind([-layer for layer in layers_of(field)], factors)


def _without_both_null(blocks: Sequence[Blocks]) -> list[Blocks]:
    return [Blocks(b.core, b.left_null, b.right_null) for b in blocks]


def _project(balanced: BalancedFrames, vector: Sequence[Array]) -> list[Array]:
    lam, depth = balanced.lam, balanced.depth
    blocks = balanced.split(vector)
    xp = namespace(*vector, lam)
    # Core: subtract Λ S_{p-1} - S_p Λ with T S = dμ(V) / 2.
    cores = [block.core for block in blocks]
    if depth > 1:
        moments = []
        for before, after in itertools.pairwise(cores):
            change = lam[..., :, None] * after - before * lam[..., None, :]
            moments.append((change + transpose(change)) / 2)
        solved = jacobi_solve(lam, lam, xp.stack(moments, -3))
        for p in range(depth - 1):
            symmetric = solved[..., p, :, :]
            cores[p] = cores[p] + symmetric * lam[..., None, :]
            cores[p + 1] = cores[p + 1] - lam[..., :, None] * symmetric
    # Null blocks: the two at a hidden layer agree, and none is between null spaces.
    left = [block.left_null for block in blocks]
    right = [block.right_null for block in blocks]
    for p in range(depth - 1):
        if left[p] is not None:
            left[p] = (left[p] + transpose(right[p + 1])) / 2
            right[p + 1] = transpose(left[p])
    return balanced.join([Blocks(*block) for block in zip(cores, left, right, strict=True)])


def _pack(layers: Sequence[Array], vector: Sequence[Array]) -> tuple[Array, ...]:
    return (*layers, *vector)


def _projection_value(*arrays: Array, rank: int) -> tuple[Array, ...]:
    depth = len(arrays) // 2
    return tuple(_project(balanced_frames(arrays[:depth], rank), arrays[depth:]))


def _projection_jvp(arrays: tuple, result: tuple, tangents: tuple, rank: int) -> tuple:
    # dP[Ẇ] V = II(Ẇ, P V) + S_{V - PV}(Ẇ), with II the second fundamental form and S the
    # Weingarten map.
    depth = len(arrays) // 2
    layers, vector = arrays[:depth], arrays[depth:]
    velocity, change = tangents[:depth], tangents[depth:]
    normal = _difference(vector, result)
    parts = (
        tangent_projection(layers, change, rank),
        second_fundamental_form(layers, velocity, result, rank),
        weingarten_map(layers, velocity, normal, rank),
    )
    return tuple(sum(part) for part in zip(*parts, strict=True))


def _projection_vjp(arrays: tuple, result: tuple, cotangents: tuple, rank: int) -> tuple:
    depth = len(arrays) // 2
    layers, vector = arrays[:depth], arrays[depth:]
    pulled = tangent_projection(layers, cotangents, rank)
    by_layers = [
        a + b
        for a, b in zip(
            weingarten_map(layers, result, _difference(cotangents, pulled), rank),
            weingarten_map(layers, pulled, _difference(vector, result), rank),
            strict=True,
        )
    ]
    return _pack(by_layers, pulled)


def _difference(vector: Sequence[Array], other: Sequence[Array]) -> tuple[Array, ...]:
    return tuple(a - b for a, b in zip(vector, other, strict=True))


_projection = Primitive(_projection_value, _projection_jvp, _projection_vjp)


def tangent_projection(factors: Factors, vector: Factors, rank: int | None = None) -> Factors:
    r"""Project a velocity of the factors orthogonally on the tangent space ``T_W M_r``.

    In frames a tangent vector has the core ``A_p Λ + Λ̇ - Λ A_{p-1}``, the null blocks
    ``B_p Λ`` and ``Λ B_{p-1}ᵀ``, and nothing between the null spaces. The normal part of
    the core is ``Λ S_{p-1} - S_p Λ`` with ``T S = dμ(V) / 2``.

    Parameters
    ----------
    factors : array-like, shape=[..., N, d, d], or sequence of shape=[..., d_p, d_{p-1}]
        Balanced factors ``W``.
    vector : the same shapes
        Velocity ``V``.
    rank : int, optional
        Rank of the factors, ``min(widths)`` by default.

    Returns
    -------
    tangent_vec : like factors

    Raises
    ------
    ValueError
        If the factors are not balanced of this rank.

    References
    ----------
    [MY25]; THEORY 2.
    """
    layers, vector = layers_of(factors), layers_of(vector)
    check_same_shapes(layers, vector)
    _, rank = check_widths([layers[0].shape[-1], *[w.shape[-2] for w in layers]], rank)
    return in_kind(_projection(*layers, *vector, rank=rank), factors)


def second_fundamental_form(
    factors: Factors, vector: Factors, other: Factors, rank: int | None = None
) -> Factors:
    r"""Return the second fundamental form of the balanced manifold in parameter space.

    With ``μ(V, V')_p = sym(V_{p+1}ᵀ V'_{p+1} - V_p V'_pᵀ)`` and ``T S = μ(V, V')``,

    .. math:: II(V, V') = -n_S
              + V_p^{⊥r} Λ^{-1} V_p'^{r⊥} + V_p'^{⊥r} Λ^{-1} V_p^{r⊥}.

    Geodesics of ``M_r`` obey ``Ẅ = II(Ẇ, Ẇ)``.

    Parameters
    ----------
    factors : array-like, shape=[..., N, d, d], or sequence of shape=[..., d_p, d_{p-1}]
        Balanced factors.
    vector, other : the same shapes
        Tangent vectors.
    rank : int, optional
        Rank of the factors, ``min(widths)`` by default.

    Returns
    -------
    normal : like factors

    References
    ----------
    [MY25]; THEORY 2 (own derivation).
    """
    balanced = balanced_frames(layers_of(factors), rank)
    a = _without_both_null(balanced.split(layers_of(vector)))
    b = _without_both_null(balanced.split(layers_of(other)))
    layers = layers_of(factors)
    normal = _normal_from_moments(balanced, layers, *_moments_or_none(balanced, a, b))
    inverse = 1 / balanced.lam[..., None, :]
    result = []
    for n, va, vb in zip(normal, a, b, strict=True):
        if va.left_null is not None and va.right_null is not None:
            n = n + va.left_null * inverse @ vb.right_null + vb.left_null * inverse @ va.right_null
        result.append(n)
    return in_kind(result, factors)


def _moments_or_none(balanced: BalancedFrames, a: list, b: list) -> tuple:
    if balanced.depth == 1:
        return None, []
    return _moments_in_frames(balanced, a, b)


def _normal_from_moments(
    balanced: BalancedFrames, layers: Sequence[Array], cores: Array | None, nulls: Sequence
) -> tuple[Array, ...]:
    """Return ``-n_S`` with ``T S = c``."""
    if cores is None:
        return tuple(namespace(layer).zeros_like(layer) for layer in layers)
    return infinitesimal_action(_solve_moments(balanced, cores, nulls), tuple(layers))


def weingarten_map(
    factors: Factors, vector: Factors, normal: Factors, rank: int | None = None
) -> Factors:
    r"""Return the Weingarten map, ``⟨S_n(V), Y⟩ = ⟨n, II(V, Y)⟩`` for tangent ``Y``.

    .. math:: S_n(V) = P_W\left( (S_p V_p - V_p S_{p-1})_p
              + n_p^{⊥⊥} (V_p^{r⊥})^T Λ^{-1} + Λ^{-1} (V_p^{⊥r})^T n_p^{⊥⊥} \right),
              \quad T S = dμ(n) / 2.

    Parameters
    ----------
    factors : array-like, shape=[..., N, d, d], or sequence of shape=[..., d_p, d_{p-1}]
        Balanced factors.
    vector : the same shapes
        Tangent vector ``V``.
    normal : the same shapes
        Normal vector ``n``; a tangent part is ignored.
    rank : int, optional
        Rank of the factors, ``min(widths)`` by default.

    Returns
    -------
    tangent_vec : like factors

    References
    ----------
    Own derivation, dual to the second fundamental form of THEORY 2.
    """
    layers, velocity = layers_of(factors), layers_of(vector)
    balanced = balanced_frames(layers, rank)
    n = balanced.split(layers_of(normal))
    v = balanced.split(velocity)
    cores, nulls = _moments_or_none(balanced, balanced.split(layers), n)
    result = [namespace(layer).zeros_like(layer) for layer in layers]
    if cores is not None:
        symmetric = _solve_moments(balanced, cores, nulls)
        result = list(infinitesimal_action(symmetric, tuple(velocity)))
    inverse = 1 / balanced.lam
    for p, (np_, vp) in enumerate(zip(n, v, strict=True)):
        if np_.both_null is not None:
            block = Blocks(
                np_.core * 0,
                np_.both_null @ transpose(vp.right_null) * inverse[..., None, :],
                inverse[..., :, None] * transpose(vp.left_null) @ np_.both_null,
            )
            result[p] = result[p] + join(block, balanced.frames[p + 1], balanced.frames[p])
    return in_kind(_project(balanced, result), factors)


def mean_curvature(factors: Factors, rank: int | None = None) -> Factors:
    r"""Return the mean curvature vector ``H = tr II`` of the balanced manifold.

    ``H = -n_S`` with ``S`` diagonal in frames: ``T_kk S_k = m_k``, where ``m_p`` is the
    sum over an orthonormal basis of the diagonals of ``V_{p+1}ᵀ V_{p+1} - V_p V_pᵀ``.
    It vanishes for ``N = 2`` and ``d_0 = d_2``.

    Parameters
    ----------
    factors : array-like, shape=[..., N, d, d], or sequence of shape=[..., d_p, d_{p-1}]
        Balanced factors.
    rank : int, optional
        Rank of the factors, ``min(widths)`` by default.

    Returns
    -------
    normal : like factors

    References
    ----------
    THEORY 2, 4.
    """
    layers = layers_of(factors)
    balanced = balanced_frames(layers, rank)
    depth, lam = balanced.depth, balanced.lam
    xp = namespace(lam)
    if depth == 1:
        return in_kind([xp.zeros_like(layer) for layer in layers], factors)
    columns, rows = _projector_diagonal(balanced)
    moments = []
    for p in range(1, depth):
        # Columns of V_{p+1} and rows of V_p, with those of the null blocks: the pair at
        # a hidden layer shares its unit norm between the two layers.
        null = _null_share(balanced, p + 1) - _null_share(balanced, p - 1)
        moments.append(columns[p] - rows[p - 1] + null)
    diagonal = xp.stack(moments, -2)[..., :, :, None] * xp.ones_like(lam)[..., None, None, :]
    solved = jacobi_solve(lam, lam, diagonal)
    symmetric = []
    for p in range(depth - 1):
        frame = balanced.frames[p + 1]
        values = xp.einsum("...kk->...k", solved[..., p, :, :])
        symmetric.append(frame * values[..., None, :] @ transpose(frame))
    return in_kind(infinitesimal_action(symmetric, layers), factors)


def _null_share(balanced: BalancedFrames, layer: int) -> float:
    """Return the squared norm that the null vectors of a layer put in one column."""
    width, rank = balanced.frames[layer].shape[-2:]
    return (width - rank) * (1.0 if layer in (0, balanced.depth) else 0.5)


def _projector_diagonal(balanced: BalancedFrames) -> tuple[list[Array], list[Array]]:
    """Return column and row sums of the squares of an orthonormal basis, on the core.

    The normal fields of the pair ``k ≠ l`` have the Gram matrix ``2 T_kl``, so the normal
    projector at the entry ``(p, k, l)`` is
    ``(λ_k² G_{p-1,p-1} - 2 λ_k λ_l G_{p-1,p} + λ_l² G_pp) / 2`` with ``G = T_kl^{-1}``;
    the diagonal entries are moved by ``Λ̇`` alone, and have ``1/N``.
    """
    depth, lam = balanced.depth, balanced.lam
    xp = namespace(lam)
    rank = lam.shape[-1]
    left, right = lam[..., :, None], lam[..., None, :]
    ones = xp.ones_like(left * right)
    zero = 0 * ones
    green = []
    for q in range(depth - 1):
        unit = xp.stack([ones if p == q else zero for p in range(depth - 1)], -3)
        green.append(jacobi_solve(lam, lam, unit))

    def entry(p: int, q: int) -> Array:
        if min(p, q) < 1 or max(p, q) > depth - 1:
            return zero
        return green[q - 1][..., p - 1, :, :]

    off_diagonal = 1 - eye(rank, rank, lam)
    columns, rows = [], []
    for p in range(1, depth + 1):
        normal = (
            left**2 * entry(p - 1, p - 1)
            - 2 * left * right * entry(p - 1, p)
            + right**2 * entry(p, p)
        ) / 2
        tangent = (1 - normal) * off_diagonal + (1 - off_diagonal) / depth
        columns.append(xp.sum(tangent, axis=-2))
        rows.append(xp.sum(tangent, axis=-1))
    return columns, rows


def complement(frame: Array) -> Array:
    """Return an orthonormal basis of the orthogonal complement, shape=[..., d, d - r]."""
    xp = namespace(frame)
    width, rank = frame.shape[-2:]
    if width == rank:
        return frame[..., :, :0]
    return xp.linalg.qr(frame, mode="complete")[0][..., :, rank:]


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


def _outer(balanced: BalancedFrames, p: int, k: int, l: int, weight: Array) -> Array:  # noqa: E741
    """Return ``weight · q_k q_lᵀ`` in layer ``p``."""
    left, right = balanced.frames[p][..., :, k], balanced.frames[p - 1][..., :, l]
    return weight[..., None, None] * left[..., :, None] * right[..., None, :]


def _horizontal_coordinates(balanced: BalancedFrames) -> list[list[Array]]:
    depth, lam = balanced.depth, balanced.lam
    norm = depth_kernel(lam, lam, depth) ** 0.5
    vectors = []
    for k in range(lam.shape[-1]):
        for l in range(lam.shape[-1]):  # noqa: E741
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
            for l in range(k + 1, lam.shape[-1]):  # noqa: E741
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
