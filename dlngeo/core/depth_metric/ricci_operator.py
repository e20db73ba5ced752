r"""The Ricci operator of the depth metric and the scalar curvature, in closed form.

Sums of the curvature tensor of `dlngeo.core.depth_metric.curvature` over an orthonormal basis.
"""

from typing import NamedTuple

from dlngeo.core.base.arrays import Array, diagonal_matrix, eye, namespace, transpose
from dlngeo.core.base.primitives import primitive
from dlngeo.core.depth_metric.curvature import Point, checked_arrays, hidden_unit
from dlngeo.core.depth_metric.weights import Weights
from dlngeo.core.networks.blocks import Blocks
from dlngeo.core.networks.frames import SingularFrames


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
    weights = _ricci_weights(point.frames, point.weights, depth)
    e = point.coordinates(vector)
    diagonal = weights.diagonal @ xp.einsum("...kk->...k", e.core)[..., None]
    left, right = e.left_null, e.right_null
    result = Blocks(
        weights.entries * e.core
        + weights.transposed * transpose(e.core)
        + diagonal_matrix(diagonal[..., 0]),
        None if left is None else left * weights.left_null[..., None, :],
        None if right is None else weights.right_null[..., :, None] * right,
    )
    return point.vector(point.scale[..., None, None] * result)


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
    xp = namespace(matrix)
    point = Point.of(matrix, depth, rank)
    weights = _ricci_weights(point.frames, point.weights, depth)
    rows, columns = matrix.shape[-2:]
    diagonals = xp.einsum("...kk->...k", weights.transposed + weights.diagonal)
    nulls = (rows - rank) * weights.left_null + (columns - rank) * weights.right_null
    total = weights.entries.sum(axis=(-2, -1)) + (diagonals + nulls).sum(axis=-1)
    return point.scale * total


class _RicciWeights(NamedTuple):
    """The Ricci operator in orthonormal coordinates ``e``.

    Attributes
    ----------
    entries, transposed, diagonal : array-like, shape=[..., r, r]
        ``Ric(e)_kl = entries_kl e_kl + transposed_kl e_lk + δ_kl Σ_j diagonal_kj e_jj``.
    left_null, right_null : array-like, shape=[..., r]
        Weights of the null blocks, one for each frame vector.
    """

    entries: Array
    transposed: Array
    diagonal: Array
    left_null: Array
    right_null: Array


def _ricci_weights(frames: SingularFrames, weights: Weights, depth: float) -> _RicciWeights:
    r"""Sum ``⟨R(E_b, a)c, E_b⟩`` over the basis of one-entry vectors ``E_b``.

    The source of two of them is ``B(E_kl, E_ij)_p = δ_ki a_p,kl a_p,kj E_lj
    - δ_lj b_p,ij b_p,kl E_ik`` with ``a, b`` the weights after and before the layer, so that
    few products are left; the sums over the common index are products of matrices.
    """
    xp = namespace(frames.sigma)
    rank = frames.sigma.shape[-1]
    left_nullity, right_nullity = frames.left.shape[-2] - rank, frames.right.shape[-2] - rank
    if depth == 1:
        # II pairs the two null blocks with each other alone, and is traceless.
        zero = xp.zeros_like(weights.root)
        inverse = frames.sigma**-2
        return _RicciWeights(zero, zero, zero, -right_nullity * inverse, -left_nullity * inverse)
    # A null vector is one more row of weights after, or column of weights before.
    solve, first, last = weights.solve, hidden_unit(weights, 0), hidden_unit(weights, -1)
    after = xp.concat([weights.after, last + 0 * weights.after[..., :1, :]], axis=-2)
    before = xp.concat([weights.before, first + 0 * weights.before[..., :1]], axis=-1)
    moments = xp.sum(weights.after**2, axis=-2) - xp.sum(weights.before**2, axis=-1)
    moments = moments + left_nullity * last[..., 0] - right_nullity * first[..., 0]
    mean = xp.einsum("...kk->...k", solve(diagonal_matrix(moments)))
    by_rows = xp.sum(after**2 * mean[..., None, :], axis=-3)
    by_columns = -xp.sum(before**2 * mean[..., :, None], axis=-3)
    signs = 1 - 2 * eye(rank, rank, weights.root)
    for p in range(weights.after.shape[-3]):
        # Row p of Green's matrices; vectors of equal index count with the opposite sign.
        green = signs * solve(hidden_unit(weights, p) + 0 * weights.after)
        rows, columns = after[..., p, None, :, :] * after, before[..., p, None, :, :] * before
        by_rows = by_rows + xp.sum(rows * (rows @ green), axis=-3)
        by_columns = by_columns + xp.sum(columns * (green @ columns), axis=-3)
    # Weights times those of the diagonal entry in their row or column.
    a = xp.einsum("...kk->...k", weights.after)[..., :, None] * weights.after
    b = xp.einsum("...kk->...k", weights.before)[..., None, :] * weights.before
    solved = solve(b)
    crossed = 2 * xp.sum(a * transpose(solved), axis=-3)
    direct = -xp.sum(a * solved, axis=-3)
    return _RicciWeights(
        by_rows[..., :rank, :] + by_columns[..., :, :rank],
        crossed + transpose(crossed),
        direct + transpose(direct),
        by_rows[..., rank, :],
        by_columns[..., :, rank],
    )
