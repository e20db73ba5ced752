r"""Geometry of the balanced manifold ``M_r`` as a submanifold of parameter space.

``M_r`` is the set of factors with zero moment map and end-to-end matrix of rank ``r``,
``W_p = Q_p Λ Q_{p-1}ᵀ``. In the frames ``Q`` a velocity of the factors has, layer by
layer, a core and three blocks towards the null spaces; everything below is a solve with
the Jacobi matrices on the core, and a division by ``λ²`` on the blocks.
"""

import itertools
from collections.abc import Sequence

from dlngeo.core.arrays import Array, Primitive, eye, namespace, refuse, transpose
from dlngeo.core.factors import (
    Factors,
    check_same_shapes,
    check_widths,
    in_kind,
    layers_of,
    widths_of,
)
from dlngeo.core.frames import BalancedFrames, Blocks, balanced_frames, join
from dlngeo.core.jacobi import jacobi_solve
from dlngeo.core.network import infinitesimal_action


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
    return (*by_layers, *pulled)


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
    arrays, rank = _checked(factors, vector, rank=rank)
    return in_kind(_projection(*arrays, rank=rank), factors)


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
    arrays, rank = _checked(factors, vector, other, rank=rank)
    return in_kind(_second_form(*arrays, rank=rank), factors)


def _second_form_value(*arrays: Array, rank: int) -> tuple[Array, ...]:
    layers, vector, other = _thirds(arrays)
    balanced = balanced_frames(layers, rank)
    a = _without_both_null(balanced.split(vector))
    b = _without_both_null(balanced.split(other))
    normal = _normal_from_moments(balanced, layers, *_moments_or_none(balanced, a, b))
    inverse = 1 / balanced.lam[..., None, :]
    result = []
    for n, va, vb in zip(normal, a, b, strict=True):
        if va.left_null is not None and va.right_null is not None:
            n = n + va.left_null * inverse @ vb.right_null + vb.left_null * inverse @ va.right_null
        result.append(n)
    return tuple(result)


_second_form = Primitive(_second_form_value, refuse, refuse)


def _checked(
    factors: Factors, *vectors: Factors, rank: int | None
) -> tuple[tuple[Array, ...], int]:
    """Return the matrices of factors and vectors one after the other, and the rank."""
    layers = layers_of(factors)
    _, rank = check_widths(widths_of(layers), rank)
    arrays = layers
    for vector in vectors:
        matrices = layers_of(vector)
        check_same_shapes(layers, matrices)
        arrays = arrays + matrices
    return arrays, rank


def _thirds(arrays: tuple[Array, ...]) -> tuple[tuple[Array, ...], ...]:
    depth = len(arrays) // 3
    return arrays[:depth], arrays[depth : 2 * depth], arrays[2 * depth :]


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
    arrays, rank = _checked(factors, vector, normal, rank=rank)
    return in_kind(_weingarten(*arrays, rank=rank), factors)


def _weingarten_value(*arrays: Array, rank: int) -> tuple[Array, ...]:
    layers, velocity, normal = _thirds(arrays)
    balanced = balanced_frames(layers, rank)
    n, v = balanced.split(normal), balanced.split(velocity)
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
    return tuple(_project(balanced, result))


_weingarten = Primitive(_weingarten_value, refuse, refuse)


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
    arrays, rank = _checked(factors, rank=rank)
    return in_kind(_mean_curvature(*arrays, rank=rank), factors)


def _mean_curvature_value(*layers: Array, rank: int) -> tuple[Array, ...]:
    balanced = balanced_frames(layers, rank)
    depth, lam = balanced.depth, balanced.lam
    xp = namespace(lam)
    if depth == 1:
        return tuple(xp.zeros_like(layer) for layer in layers)
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
    return tuple(infinitesimal_action(symmetric, layers))


_mean_curvature = Primitive(_mean_curvature_value, refuse, refuse)


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
