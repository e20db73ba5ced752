r"""Geometry of the balanced manifold ``M_r`` as a submanifold of parameter space.

``M_r`` is the set of factors with zero moment map and end-to-end matrix of rank ``r``,
``W_p = Q_p Λ Q_{p-1}ᵀ``. In the frames ``Q`` a velocity of the factors has, layer by
layer, a core and three blocks towards the null spaces; everything below is a solve with
the Jacobi matrices on the core, and a division by ``λ²`` on the blocks.
"""

import itertools
from collections.abc import Sequence
from typing import NamedTuple

from dlngeo.core.base.arrays import Array, namespace, off_diagonal, symmetric_part, transpose
from dlngeo.core.base.checks import check_batches, check_range
from dlngeo.core.base.primitives import primitive
from dlngeo.core.base.scales import at_unit_scale
from dlngeo.core.base.vectors import Layers
from dlngeo.core.networks.blocks import Blocks, join
from dlngeo.core.networks.factors import (
    Factors,
    check_widths,
    in_kind,
    layers_of,
    result_in_kind,
    vector_at,
    widths_of,
)
from dlngeo.core.networks.frames import BalancedFrames, balanced_frames
from dlngeo.core.networks.jacobi import depth_kernel, jacobi_solve
from dlngeo.core.networks.network import action_on_layers


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
        after = _gram(vector[p + 1].transposed(), other[p + 1].transposed())
        before = _gram(vector[p], other[p])
        cores.append(after[0] - before[0])
        nulls.append(None if after[1] is None else after[1] - before[1])
    return xp.stack(cores, -3), nulls


def _gram(a: Blocks, b: Blocks) -> tuple[Array, Array | None]:
    """Return core and ``(⊥, r)`` block of ``sym(A Bᵀ)``."""
    core = a.core @ transpose(b.core)
    if a.right_null is not None:
        core = core + a.right_null @ transpose(b.right_null)
    core = symmetric_part(core)
    if a.left_null is None:
        return core, None
    null = a.left_null @ transpose(b.core) + b.left_null @ transpose(a.core)
    if a.both_null is not None:
        null = null + a.both_null @ transpose(b.right_null)
        null = null + b.both_null @ transpose(a.right_null)
    return core, null / 2


def _linear_moments(
    balanced: BalancedFrames, vector: Sequence[Blocks]
) -> tuple[Array, list[Array | None]]:
    """Return ``dμ(V)_p / 2 = sym(W_{p+1}ᵀ V_{p+1} - W_p V_pᵀ)`` in frames.

    `_moments_in_frames` with the factors themselves, which are ``Λ`` there.
    """
    lam = balanced.lam
    cores, nulls = [], []
    for before, after in itertools.pairwise(vector):
        core = lam[..., :, None] * after.core - before.core * lam[..., None, :]
        cores.append(symmetric_part(core))
        null = None
        if before.left_null is not None:
            null = (transpose(after.right_null) - before.left_null) * lam[..., None, :] / 2
        nulls.append(null)
    return namespace(*cores).stack(cores, -3), nulls


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


def _project(balanced: BalancedFrames, vector: Sequence[Array]) -> list[Array]:
    lam, depth = balanced.lam, balanced.depth
    blocks = balanced.split(vector)
    # Core: subtract Λ S_{p-1} - S_p Λ with T S = dμ(V) / 2.
    cores = [block.core for block in blocks]
    if depth > 1:
        solved = jacobi_solve(lam, lam, _linear_moments(balanced, blocks)[0])
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


# dP[Ẇ] V = II(Ẇ, P V) + S_{V - PV}(Ẇ), with II the second fundamental form and S the
# Weingarten map.


def _projection_jvp(
    arguments: tuple, result: Factors, tangents: tuple, rank: int | None
) -> Factors:
    factors, vector = arguments
    velocity, change = tangents
    normal = Layers(layers_of(vector)) - layers_of(result)
    parts = (
        tangent_projection(factors, change, rank),
        second_fundamental_form(factors, velocity, result, rank),
        weingarten_map(factors, velocity, normal, rank),
    )
    return in_kind(sum(map(Layers, map(layers_of, parts)), start=0 * normal), factors)


def _projection_vjp(
    arguments: tuple, result: Factors, cotangent: Factors, rank: int | None
) -> tuple[Factors, Factors]:
    factors, vector = arguments
    pulled = tangent_projection(factors, cotangent, rank)
    own, normal = (
        Layers(layers_of(whole)) - layers_of(tangent)
        for whole, tangent in ((cotangent, pulled), (vector, result))
    )
    by_factors = Layers(layers_of(weingarten_map(factors, result, own, rank))) + layers_of(
        weingarten_map(factors, pulled, normal, rank)
    )
    return in_kind(by_factors, factors), in_kind(layers_of(pulled), vector)


@primitive(static=("rank",), jvp=_projection_jvp, vjp=_projection_vjp)
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
    (layers, velocity), rank = checked_layers(factors, vector, rank=rank)
    layers, velocity, _, exponent = at_unit_scale(2 * len(layers), layers, velocity)
    return result_in_kind(_project(balanced_frames(layers, rank), velocity), factors, exponent)


@primitive(static=("rank",))
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
    arrays, rank = checked_layers(factors, vector, other, rank=rank)
    layers, *pair, down, first, second = at_unit_scale(2 * len(arrays[0]), *arrays)
    balanced = balanced_frames(layers, rank)
    normal = second_form_in_frames(balanced, *map(balanced.split, pair))
    return result_in_kind(normal_vector(layers, normal), factors, first + second - down)


class Normal(NamedTuple):
    """A normal vector of the balanced manifold, ``-n_S`` and blocks between null spaces.

    Attributes
    ----------
    symmetric : list of array-like, shape=[..., d_p, d_p]
        ``S_p``, ``p = 1, ..., N-1``.
    both_null : list of array-like, shape=[..., d_p, d_{p-1}], or None
        Blocks ``(⊥, ⊥)`` of the layers, in ambient coordinates.
    """

    symmetric: list[Array]
    both_null: list[Array | None]


def second_form_in_frames(
    balanced: BalancedFrames, vector: Sequence[Blocks], other: Sequence[Blocks]
) -> Normal:
    """Return the second fundamental form of tangent vectors that are split in frames."""
    a, b = ([blocks.tangent() for blocks in layers] for layers in (vector, other))
    symmetric = []
    if balanced.depth > 1:
        symmetric = _solve_moments(balanced, *_moments_in_frames(balanced, a, b))
    inverse = 1 / balanced.lam[..., None, :]
    both_null = [
        None
        if va.left_null is None or va.right_null is None
        else va.left_null * inverse @ vb.right_null + vb.left_null * inverse @ va.right_null
        for va, vb in zip(a, b, strict=True)
    ]
    return Normal(symmetric, both_null)


def normal_vector(layers: Sequence[Array], normal: Normal) -> list[Array]:
    """Return a normal vector, layer by layer."""
    result = action_on_layers(normal.symmetric, layers)
    return [
        n if null is None else n + null for n, null in zip(result, normal.both_null, strict=True)
    ]


def checked_layers(
    factors: Factors, *vectors: Factors, rank: int | None
) -> tuple[list[tuple[Array, ...]], int]:
    """Return the layers of factors and of vectors of their shapes, and the rank."""
    layers = layers_of(factors)
    _, rank = check_widths(widths_of(layers), rank)
    parts = [layers, *(vector_at(layers, vector) for vector in vectors)]
    check_batches([part[0] for part in parts], "factors and vectors")
    return parts, rank


@primitive(static=("rank",))
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
    arrays, rank = checked_layers(factors, vector, normal, rank=rank)
    layers, velocity, normal, down, first, second = at_unit_scale(2 * len(arrays[0]), *arrays)
    balanced = balanced_frames(layers, rank)
    blocks = balanced.split(normal)
    symmetric = []
    if balanced.depth > 1:
        # dμ(-n_S) / 2 = -T S.
        solved = _solve_moments(balanced, *_linear_moments(balanced, blocks))
        symmetric = [-matrix for matrix in solved]
    parts = Normal(symmetric, [block.both_null for block in blocks])
    result = weingarten_in_frames(balanced, velocity, balanced.split(velocity), parts)
    return result_in_kind(result, factors, first + second - down)


def weingarten_in_frames(
    balanced: BalancedFrames, velocity: Sequence[Array], blocks: Sequence[Blocks], normal: Normal
) -> list[Array]:
    """Return the Weingarten map of a tangent vector, given with its blocks in frames."""
    result = [-v for v in action_on_layers(normal.symmetric, velocity)]
    inverse = 1 / balanced.lam
    for p, (null, block_v) in enumerate(zip(normal.both_null, blocks, strict=True)):
        if null is not None:
            block = Blocks(
                block_v.core * 0,
                null @ transpose(block_v.right_null) * inverse[..., None, :],
                inverse[..., :, None] * transpose(block_v.left_null) @ null,
            )
            result[p] = result[p] + join(block, balanced.frames[p + 1], balanced.frames[p])
    return _project(balanced, result)


@primitive(static=("rank",))
def mean_curvature(factors: Factors, rank: int | None = None) -> Factors:
    r"""Return the mean curvature vector ``H = tr II`` of the balanced manifold.

    .. math:: H_p = Q_p \, \mathrm{diag}(λ_k (S_{p,k} - S_{p-1,k})) \, Q_{p-1}^T, \quad
              T_{kk} S_k = m_k, \quad
              m_{p,k} = \tfrac12 \sum_l \frac{λ_k^{2p} λ_l^{2(N-p-1)}
              - λ_k^{2(N-p)} λ_l^{2(p-1)}}{r_{kl}} + \text{null shares},

    where ``m_p`` sums the diagonals of ``V_{p+1}ᵀ V_{p+1} - V_p V_pᵀ`` over an orthonormal
    basis: a tangent vector has the share ``½ (1 + λ_k^{2(N-p)} λ_l^{2(p-1)} / r_kl)`` in the
    entry ``(p, k, l)``, and half a unit, or at the ends a whole one, for each null vector.
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
    (layers,), rank = checked_layers(factors, rank=rank)
    layers, exponent = at_unit_scale(2 * len(layers), layers)
    normal = mean_curvature_in_frames(balanced_frames(layers, rank))
    return result_in_kind(normal_vector(layers, normal), factors, -exponent)


def mean_curvature_in_frames(balanced: BalancedFrames) -> Normal:
    """Return the mean curvature vector of the balanced manifold."""
    depth, lam = balanced.depth, balanced.lam
    xp = namespace(lam)
    # Shares do not depend on the unit.
    unit = lam / lam[..., :1]
    powers, kernel = unit**2, depth_kernel(unit, unit, depth)
    check_range(kernel, divides=True)
    shares = [
        powers[..., :, None] ** (depth - p) * powers[..., None, :] ** (p - 1) / kernel
        for p in range(1, depth + 1)
    ]
    # Entries of the diagonal have the same share in all layers, and drop.
    moments = [
        xp.sum(off_diagonal(transpose(shares[p]) - shares[p - 1]), axis=-1) / 2
        + (_null_share(balanced, p + 1) - _null_share(balanced, p - 1))
        for p in range(1, depth)
    ]
    if depth == 1:
        return Normal([], [None])
    # T_kk is λ_k² times the second difference.
    ones = xp.ones_like(lam)
    solved = jacobi_solve(ones, ones[..., :1], xp.stack(moments, -2)[..., None])[..., 0]
    symmetric = [solved[..., p, :] / lam**2 for p in range(depth - 1)]
    frames = balanced.frames[1:-1]
    return Normal(
        [
            frame * values[..., None, :] @ transpose(frame)
            for frame, values in zip(frames, symmetric, strict=True)
        ],
        [None] * depth,
    )


def _null_share(balanced: BalancedFrames, layer: int) -> float:
    """Return the squared norm that the null vectors of a layer put in one column."""
    width, rank = balanced.frames[layer].shape[-2:]
    return (width - rank) * (1.0 if layer in (0, balanced.depth) else 0.5)
