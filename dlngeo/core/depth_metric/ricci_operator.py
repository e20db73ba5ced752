r"""The Ricci operator of the depth metric and the scalar curvature, in closed form.

Sums of the curvature tensor of `dlngeo.core.depth_metric.curvature` over an orthonormal basis.
"""

from typing import NamedTuple

from dlngeo.core.base.arrays import (
    Array,
    diagonal_matrix,
    eye,
    namespace,
    off_diagonal,
    transpose,
)
from dlngeo.core.base.primitives import primitive
from dlngeo.core.base.scales import at_scale, at_unit_scale
from dlngeo.core.depth_metric.curvature import Point, checked_arrays
from dlngeo.core.depth_metric.sources import hidden_unit
from dlngeo.core.depth_metric.weights import FiniteWeights, Weights
from dlngeo.core.networks.blocks import Blocks
from dlngeo.core.networks.frames import SingularFrames
from dlngeo.core.networks.jacobi import jacobi_form

# Depths up to which sums over the layers cost less than doubling; at large ranks half the rank.
_SHALLOW = 16


@primitive(static=("depth", "rank"))
def ricci(matrix: Array, tangent_vec: Array, depth: float, rank: int | None = None) -> Array:
    r"""Return the Ricci operator of the depth metric, ``⟨Ric(a), c⟩ = tr(b ↦ R(b, a)c)``.

    In orthonormal coordinates ``e_kl = Z_kl / √r_kl`` it multiplies the entries, couples
    ``(k, l)`` with ``(l, k)``, and the diagonal entries among each other.

    Parameters
    ----------
    matrix : array-like, shape=[..., m, n]
        Base point ``X``.
    tangent_vec : array-like, shape=[..., m, n]
        Tangent vector; a part between the null spaces is dropped.
    depth : int or inf
        Depth ``N``; at infinite depth the metric is scaled by ``N``.
    rank : int, optional
        Rank of ``X``, full by default.

    Returns
    -------
    ricci : array-like, shape=[..., m, n]

    Raises
    ------
    ValueError
        If the matrix has another rank.

    References
    ----------
    THEORY 3 (own derivation).
    """
    (matrix, vector), rank = checked_arrays(matrix, tangent_vec, depth=depth, rank=rank)
    xp = namespace(matrix, vector)
    point = Point.of(matrix, depth, rank)
    vector, exponent = at_unit_scale(1, vector)
    weights = _ricci_weights(point.frames, point.weights, depth)
    left_weights, right_weights = (
        weights.null + count * weights.cone for count in weights.cone_counts
    )
    e = point.coordinates(vector)
    diagonal = weights.diagonal @ xp.einsum("...kk->...k", e.core)[..., None]
    left, right = e.left_null, e.right_null
    result = Blocks(
        weights.entries * e.core
        + weights.transposed * transpose(e.core)
        + diagonal_matrix(diagonal[..., 0]),
        None if left is None else left * left_weights[..., None, :],
        None if right is None else right_weights[..., :, None] * right,
    )
    return at_scale(point.vector(result), exponent + point.of_curvature, "the curvature")


@primitive(static=("depth", "rank"))
def scalar_curvature(matrix: Array, depth: float, rank: int | None = None) -> Array:
    """Return the scalar curvature of the depth metric, the trace of the Ricci operator.

    Parameters
    ----------
    matrix : array-like, shape=[..., m, n]
        Base point ``X``.
    depth : int or inf
        Depth ``N``; at infinite depth the metric is scaled by ``N``.
    rank : int, optional
        Rank of ``X``, full by default.

    Returns
    -------
    scalar_curvature : array-like, shape=[...]

    Raises
    ------
    ValueError
        If the matrix has another rank.

    References
    ----------
    THEORY 3 (own derivation).
    """
    (matrix,), rank = checked_arrays(matrix, depth=depth, rank=rank)
    point = Point.of(matrix, depth, rank)
    weights = _ricci_weights(point.frames, point.weights, depth)
    nullities = [size - rank for size in matrix.shape[-2:]]
    count = sum(n * times for n, times in zip(nullities, weights.cone_counts, strict=True))
    nulls = sum(nullities) * weights.null + count * weights.cone
    curvature = weights.entries.sum(axis=(-2, -1)) + nulls.sum(axis=-1)
    return at_scale(curvature, point.of_curvature, "the curvature", axes=0)


class _RicciWeights(NamedTuple):
    """The Ricci operator in orthonormal coordinates ``e``.

    Attributes
    ----------
    entries, transposed, diagonal : array-like, shape=[..., r, r]
        ``Ric(e)_kl = entries_kl e_kl + transposed_kl e_lk + δ_kl Σ_j diagonal_kj e_jj``; the last
        two are zero on the diagonal.
    null, cone : array-like, shape=[..., r]
        Parts of the weights of the null blocks, one for each frame vector.
    cone_counts : pair of int
        How often the left and the right null block count ``cone``, the largest part: where these
        cancel in a sum they do so exactly.
    """

    entries: Array
    transposed: Array
    diagonal: Array
    null: Array
    cone: Array
    cone_counts: tuple[int, ...]


def _ricci_weights(frames: SingularFrames, weights: Weights, depth: float) -> _RicciWeights:
    r"""Sum ``⟨R(E_b, a)c, E_b⟩`` over the basis of one-entry vectors ``E_b``.

    The source of two of them is ``B(E_kl, E_ij)_p = δ_ki a_p,kl a_p,kj E_lj
    - δ_lj b_p,ij b_p,kl E_ik`` with ``a, b`` the weights after and before the layer, so that
    few products are left; the sums over the common index are products of matrices. The planes
    of ``E_kl`` with ``E_kk``, ``E_ll`` and ``E_lk`` have curvatures that sum to zero, and so do
    those with null vectors of ``k`` and of ``l``. They are left out: towards small singular values
    they would be the largest.
    """
    xp, sigma = namespace(frames.sigma), frames.sigma
    rank = sigma.shape[-1]
    left_nullity, right_nullity = frames.left.shape[-2] - rank, frames.right.shape[-2] - rank
    cone = sigma ** (-2 / depth) / depth
    # A null vector with others of the same frame vector: Green's matrix of T_ll at the ends.
    cone_counts = tuple(
        int((own - 1) * (depth - 1)) - other if own else 0
        for own, other in ((left_nullity, right_nullity), (right_nullity, left_nullity))
    )
    if depth == 1:
        zero = xp.zeros_like(weights.root)
        return _RicciWeights(zero, zero, zero, xp.zeros_like(sigma), cone, cone_counts)
    if isinstance(weights, FiniteWeights) and depth > max(_SHALLOW, rank / 2):
        sums = _sums_of_forms(weights)
    else:
        sums = _sums_over_layers(weights)
    # The planes of a column are those of a row read backwards.
    entries = off_diagonal(sums.flat) + sums.planes + transpose(sums.planes)
    return _RicciWeights(
        entries,
        sums.crossed + transpose(sums.crossed),
        sums.direct + transpose(sums.direct),
        sums.null,
        cone,
        cone_counts,
    )


class _Sums(NamedTuple):
    """Sums of products of lifts and of solutions of the Jacobi matrices.

    Attributes
    ----------
    planes : array-like, shape=[..., r, r]
        What the curvatures of the planes of ``E_kl`` and ``E_kj`` are summed to.
    flat : array-like, shape=[..., r, r]
        ``Σ_{i≠k,l} a_kl^2 · T_ll^{-1} M_il``, and the same read backwards.
    crossed, direct : array-like, shape=[..., r, r]
        Halves of the weights of the transposed entries, and of the diagonal ones.
    null : array-like, shape=[..., r]
        Of the null blocks.
    """

    planes: Array
    flat: Array
    crossed: Array
    direct: Array
    null: Array


def _sums_of_forms(weights: FiniteWeights) -> _Sums:
    """Return the sums of a finite depth, by doubling: each is a form of geometric sequences."""
    lam, core, depth = weights.lam, weights.core, weights.depth
    rank, square = lam.shape[-1], lam**2
    distinct = 1 - eye(rank, rank, lam)
    apart = distinct[:, None, :] * distinct[None, :, :]
    row, column = lam[..., :, None], lam[..., None, :]
    # Of k, l and j.
    first, second, third = lam[..., :, None, None], row[..., None, :, :], column[..., None, :, :]
    own = (first**2, second * third)
    forms, _ = jacobi_form(second, third, own, own, depth)
    norms = core[..., :, :, None] * core[..., :, None, :]
    planes = ((second * third) ** 2 * forms / norms * apart).sum(axis=-1)
    # Of k, l and i: the source a_kl^2, and the moments M_il.
    own, others = (first**2, second**2), (third**2, second**2)
    along, _ = jacobi_form(second, second, own, others, depth)
    back, _ = jacobi_form(second, second, own, others[::-1], depth)
    norms = core[..., :, :, None] * core[..., None, :, :]
    flat = (second**4 * (along - back) / norms * apart).sum(axis=-1)
    # Of i and l.
    ends = [
        jacobi_form(column, column, pair, pair, depth)[1]
        for pair in ((row**2, column**2), (column**2, row**2))
    ]
    solved = square[..., None, :] * (ends[0] - ends[1]) / core
    null = off_diagonal(solved + weights.null_second / core).sum(axis=-2)
    crossed, _ = jacobi_form(row, column, (row, column), (column, row), depth)
    direct, _ = jacobi_form(row, column, (row, column), (row, column), depth)
    return _Sums(
        planes,
        flat + transpose(flat),
        2 * off_diagonal(column**2 * crossed / core) / depth,
        -off_diagonal(row * column * direct / core) / depth,
        null,
    )


def _sums_over_layers(weights: Weights) -> _Sums:
    """Return the sums, layer by layer."""
    xp, solve = namespace(weights.root), weights.solve
    after, before = weights.after, weights.before
    # Either sum takes as many solutions as there are terms.
    by_layers = after.shape[-3] < after.shape[-1]
    planes, solved = (_sums_by_layers if by_layers else _sums_by_values)(weights)
    bent = off_diagonal(xp.ones_like(solved)) @ solved
    flat = xp.sum(after**2 * bent - before**2 * transpose(bent), axis=-3)
    green = off_diagonal(solve(hidden_unit(weights, -1) + 0 * after)[..., -1, :, :])
    null = xp.sum(solved[..., -1, :, :] + green, axis=-2)
    # Weights times those of the diagonal entry in their row or column.
    a = xp.einsum("...kk->...k", after)[..., :, None] * after
    b = xp.einsum("...kk->...k", before)[..., None, :] * before
    solved = solve(b)
    crossed = 2 * off_diagonal(xp.sum(a * transpose(solved), axis=-3))
    direct = -off_diagonal(xp.sum(a * solved, axis=-3))
    return _Sums(planes, flat, crossed, direct, null)


def _moments(weights: Weights) -> Array:
    """Return what ``E_il`` and ``E_li`` add to the mean curvature on the diagonal.

    ``a_il²`` and ``b_li²`` are the same read backwards.
    """
    return off_diagonal(weights.after**2 - transpose(weights.before**2))


def _sums_by_layers(weights: Weights) -> tuple[Array, Array]:
    """Return `_sums_by_values`, from Green's matrices row by row, by products of matrices."""
    xp, after, moments = namespace(weights.root), weights.after, _moments(weights)
    planes, solved = 0.0, []
    for p in range(after.shape[-3]):
        green = weights.solve(hidden_unit(weights, p) + 0 * after)
        own, green = xp.einsum("...kk->...k", green), off_diagonal(green)
        solved.append(xp.sum(own[..., None, :] * moments, axis=-3))
        rows = after[..., p, None, :, :] * after
        planes = planes + xp.sum(rows * (off_diagonal(rows) @ green), axis=-3)
    return planes, xp.stack(solved, -3)


def _sums_by_values(weights: Weights) -> tuple[Array, Array]:
    r"""Return what the curvatures of the planes of ``E_kl`` and ``E_kj`` are summed to.

    With the sources ``s_jl = a_kj a_kl`` of a singular value ``k``, and the moments ``m_kl``,

    .. math:: P_kl = \sum_{j \ne k, l} s_jl^T T_jl^{-1} s_jl, \quad T_ll^{-1} m_kl.

    Returns
    -------
    planes : array-like, shape=[..., r, r]
    solved : array-like, shape=[..., N-1, r, r]
    """
    xp, after, moments = namespace(weights.root), weights.after, _moments(weights)
    rank = after.shape[-1]
    others = 1 - eye(rank, rank, weights.root)
    planes, solved = [], []
    for k in range(rank):
        row = after[..., k, :]
        source = off_diagonal(row[..., :, None] * row[..., None, :])
        # The moments go where these sources have no entries.
        solution = weights.solve(source + diagonal_matrix(moments[..., k, :]))
        products = xp.sum(source * solution, axis=-3)
        planes.append(xp.sum(others[k, :, None] * products, axis=-2))
        solved.append(xp.einsum("...kk->...k", solution))
    return xp.stack(planes, -2), xp.stack(solved, -2)
