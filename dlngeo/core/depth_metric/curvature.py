r"""Curvature of the observable space and of the balanced manifold, in closed form.

Both follow from one source. For tangent vectors ``X, Y`` at balanced factors, in frames,

.. math:: B_p(X, Y) = X_{p+1}^T Y_{p+1} - Y_p X_p^T, \quad p = 1, ..., N - 1,

has the moments ``μ(X, Y)`` of the second fundamental form for its symmetric part, and for
horizontal vectors the source of O'Neill's tensor for its skew part, while the Jacobi
matrices ``T_kl = T_lk`` solve both at once. With ``S = T^{-1} B``, the equations of Gauss
and O'Neill for the observable space are

.. math:: ⟨R(X, Y) Z, W⟩ = ⟨S(Y, Z), B(X, W)⟩ - ⟨S(X, Z), B(Y, W)⟩
          - ⟨S(X, Y) - S(X, Y)^T, B(Z, W)⟩,

and everything in them is known from the singular frames of the matrix: one decomposition
for a point. Signs are those of geomstats: ``R(X, Y)Z = ∇_X ∇_Y Z - ∇_Y ∇_X Z - ∇_[X,Y] Z``.
"""

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import array_api_compat
import numpy

from dlngeo.core.balanced.curvature import (
    balanced_curvature,
    balanced_sectional_curvature,
)
from dlngeo.core.base.arrays import Array, diagonal_matrix, eye, namespace, transpose
from dlngeo.core.base.checks import check_range, real_array
from dlngeo.core.base.primitives import Primitive, refuse
from dlngeo.core.base.vectors import orthonormal_pair
from dlngeo.core.depth_metric.metric import check_observable, tangent_projection
from dlngeo.core.networks.blocks import Blocks, join, split
from dlngeo.core.networks.factors import checked_matrix
from dlngeo.core.networks.frames import SingularFrames, exact_frames
from dlngeo.core.networks.jacobi import jacobi_solve, log_log_mean_kernel

# Functions on [0, 1] for the network of infinite depth: values at Gauss–Legendre nodes, and
# solutions by Galerkin's method, exact to round-off for singular values up to e^30 apart.
_NODES = 64
_MODES = 60


class _Point(NamedTuple):
    """What curvature asks of a point: frames, weights and the Jacobi matrices.

    In orthonormal coordinates, entries ``e_kl = Z_kl / √r_kl`` in the singular frames, the
    horizontal lift of a vector has the cores ``v_p ∘ e``.

    Attributes
    ----------
    frames : SingularFrames
    root : array-like, shape=[..., r, r]
        ``√r_kl``.
    null_root : array-like, shape=[..., r]
        ``λ_k^{N-1}``, the same towards the null spaces.
    after, before : array-like, shape=[..., N-1, r, r]
        Weights ``v_{p+1}`` and ``v_p``; at infinite depth both are ``v(s)`` at the nodes.
    solve : callable
        Solution of the Jacobi matrices, ``[..., N-1, r, r]`` to the same shape.
    """

    frames: SingularFrames
    root: Array
    null_root: Array
    after: Array
    before: Array
    solve: Callable[[Array], Array]

    def coordinates(self, vector: Array) -> Blocks:
        """Return the orthonormal coordinates of a vector; the part that is normal drops."""
        blocks = split(vector, self.frames.left, self.frames.right)
        return blocks.scaled(1 / self.root, 1 / self.null_root)

    def vector(self, coordinates: Blocks) -> Array:
        """Return the vector of which `coordinates` gives the coordinates."""
        blocks = coordinates.scaled(self.root, self.null_root)
        return join(blocks, self.frames.left, self.frames.right)

    def source(self, x: Blocks, y: Blocks) -> Array:
        """Return ``B(X, Y)``, shape=[..., N-1, r, r]."""
        one, other = x.core[..., None, :, :], y.core[..., None, :, :]
        source = transpose(self.after * one) @ (self.after * other)
        source = source - (self.before * other) @ transpose(self.before * one)
        if x.left_null is not None:
            last = self.unit(-1)
            source = source + last * (transpose(x.left_null) @ y.left_null)[..., None, :, :]
        if x.right_null is not None:
            first = self.unit(0)
            source = source - first * (y.right_null @ transpose(x.right_null))[..., None, :, :]
        return source

    def pull(self, x: Blocks, solution: Array) -> Blocks:
        """Return the adjoint of ``Y ↦ B(X, Y)`` at ``S``, the vector with ``⟨S, B(X, Y)⟩``."""
        one = x.core[..., None, :, :]
        core = self.after * ((self.after * one) @ solution)
        core = core - self.before * (solution @ (self.before * one))
        left, right = x.left_null, x.right_null
        return Blocks(
            core.sum(axis=-3),
            None if left is None else left @ solution[..., -1, :, :],
            None if right is None else -solution[..., 0, :, :] @ right,
        )

    def unit(self, layer: int) -> Array:
        """Return the unit vector of a hidden layer, shape=[N-1, 1, 1]."""
        size = self.after.shape[-3]
        return eye(size, size, self.root)[layer, :, None, None]


def _point(matrix: Array, depth: float, rank: int) -> _Point:
    """Return the singular frames of a matrix and what depends on its singular values."""
    frames = exact_frames(matrix, rank)
    point = point_at(frames, depth)
    check_range(point.root, divides=True)
    return point


def point_at(frames: SingularFrames, depth: float) -> _Point:
    """Return what curvature asks of the point with these singular frames, ``N ≥ 2``."""
    if depth == math.inf:
        return _limit_point(frames)
    depth = int(depth)
    lam = frames.sigma ** (1 / depth)
    # The weights v_p = λ_k^{N-p} λ_l^{p-1} / √r_kl do not depend on the unit.
    unit = lam[..., :1]
    ratio, p = (lam / unit)[..., None, :], _constant(numpy.arange(depth)[:, None], lam)
    weights = (ratio ** (depth - 1 - p))[..., :, None] * (ratio**p)[..., None, :]
    root = (weights**2).sum(axis=-3) ** 0.5
    weights = weights / root[..., None, :, :]
    root = unit[..., None] ** (depth - 1) * root
    return _Point(
        frames,
        root,
        lam ** (depth - 1),
        weights[..., 1:, :, :],
        weights[..., :-1, :, :],
        lambda source: jacobi_solve(lam, lam, source),
    )


def _limit_point(frames: SingularFrames) -> _Point:
    xp = namespace(frames.sigma)
    log = xp.log(frames.sigma)
    log_kernel = log_log_mean_kernel(frames.sigma, frames.sigma)
    root = xp.exp(log_kernel / 2)
    nodes, modes, masses = (_constant(array, log) for array in _limit_modes())
    s = nodes[:, None, None]
    along = (1 - s) * log[..., None, :, None] + s * log[..., None, None, :]
    weights = xp.exp(along - log_kernel[..., None, :, :] / 2)
    squares = (log[..., :, None] - log[..., None, :]) ** 2
    # ψ_m has the energy 1 + x² mass_m under -d²/ds² + x².
    energies = 1 + squares[..., None, :, :] * masses[:, None, None]

    def solve(source: Array) -> Array:
        size = source.shape[-1]
        flat = xp.reshape(source, (*source.shape[:-2], size * size))
        amplitudes = xp.reshape(transpose(modes) @ flat, (*source.shape[:-3], _MODES, size, size))
        flat = xp.reshape(amplitudes / energies, (*source.shape[:-3], _MODES, size * size))
        return xp.reshape(modes @ flat, source.shape)

    # Square and of full rank: there are no null blocks to weigh.
    return _Point(frames, root, root[..., 0, :], weights, weights, solve)


def _constant(array: numpy.ndarray, like: Array) -> Array:
    xp = namespace(like)
    return xp.asarray(array, dtype=like.dtype, device=array_api_compat.device(like))


@functools.cache
def _limit_modes() -> tuple[numpy.ndarray, numpy.ndarray, numpy.ndarray]:
    r"""Return nodes, weighted modes and their masses, for `_limit_point`.

    The functions ``φ_n(s) = √(2n+1) ∫_0^s P_n(2t-1) dt = (P_{n+1} - P_{n-1}) / (2√(2n+1))``
    vanish at both ends and have orthonormal derivatives; the modes diagonalise their masses.
    """
    legendre = numpy.polynomial.legendre
    points, weights = legendre.leggauss(_NODES)
    values = legendre.legvander(points, _MODES + 1)
    norms = 2 * numpy.sqrt(2 * numpy.arange(1, _MODES + 1) + 1)
    functions = (values[:, 2:] - values[:, :-2]) / norms
    weighted = weights[:, None] / 2 * functions
    masses, vectors = numpy.linalg.eigh(functions.T @ weighted)
    return (points + 1) / 2, weighted @ vectors, masses


def riemann_curvature(
    matrix: Array,
    tangent_vec_a: Array,
    tangent_vec_b: Array,
    tangent_vec_c: Array,
    depth: float,
    rank: int | None = None,
) -> Array:
    r"""Return the curvature tensor ``R(a, b)c`` of the depth metric.

    With ``S = T^{-1} B`` of the horizontal lifts, it is ``dφ(U)``,

    .. math:: U_p = [A_p S_{p-1}(b, c) - S_p(b, c) A_p] - [B_p S_{p-1}(a, c) - S_p(a, c) B_p]
              - [C_p D_{p-1} - D_p C_p], \quad D = S(a, b) - S(a, b)^T.

    Parameters
    ----------
    matrix : array-like, shape=[..., m, n]
        Base point ``X``.
    tangent_vec_a, tangent_vec_b, tangent_vec_c : array-like, shape=[..., m, n]
        Tangent vectors; a part between the null spaces is dropped.
    depth : int or inf
        Depth ``N``; at infinite depth the metric is scaled by ``N``.
    rank : int, optional
        Rank of ``X``, full by default.

    Returns
    -------
    curvature : array-like, shape=[..., m, n]

    Raises
    ------
    ValueError
        If the matrix has another rank.

    References
    ----------
    O'Neill, The fundamental equations of a submersion, 1966; THEORY 3 (own derivation).
    """
    vectors = (tangent_vec_a, tangent_vec_b, tangent_vec_c)
    arrays, rank = _checked(matrix, *vectors, depth=depth, rank=rank)
    if depth == 1:
        return _of_one_factor(balanced_curvature, arrays, rank)[0]
    return _curvature(*arrays, depth=depth, rank=rank)


def _of_one_factor(kernel: Callable, arrays: Sequence[Array], rank: int) -> Any:
    """Return what a kernel of the balanced manifold gives at depth 1, tangent parts alone."""
    matrix, *vectors = arrays
    tangent = [tangent_projection(matrix, vector, rank) for vector in vectors]
    return kernel((matrix,), *[(vector,) for vector in tangent], rank)


def _checked(
    matrix: Array, *vectors: Array, depth: float, rank: int | None
) -> tuple[tuple[Array, ...], int]:
    """Return the checked matrix and vectors one after the other, and the rank."""
    matrix = real_array(matrix, "the matrix")
    rank = check_observable(matrix, depth, rank)
    return (matrix, *[checked_matrix(vector, *matrix.shape[-2:]) for vector in vectors]), rank


def _curvature_value(matrix: Array, a: Array, b: Array, c: Array, depth: float, rank: int) -> Array:
    point = _point(matrix, depth, rank)
    return point.vector(curvature_in_frames(point, *map(point.coordinates, (a, b, c))))


def curvature_in_frames(point: _Point, x: Blocks, y: Blocks, z: Blocks) -> Blocks:
    """Return the curvature tensor ``R(x, y)z`` in orthonormal coordinates."""
    s_yz, s_xz, s_xy = (point.solve(point.source(*pair)) for pair in ((y, z), (x, z), (x, y)))
    parts = [
        point.pull(x, s_yz),
        point.pull(y, s_xz),
        point.pull(z, s_xy - transpose(s_xy)),
    ]
    return parts[0] - parts[1] - parts[2]


_curvature = Primitive(_curvature_value, refuse, refuse)


def sectional_curvature(
    matrix: Array,
    tangent_vec_a: Array,
    tangent_vec_b: Array,
    depth: float,
    rank: int | None = None,
) -> Array:
    r"""Return the sectional curvature of the depth metric.

    For orthonormal vectors ``a, b`` and their horizontal lifts, with ``S = T^{-1} B``,

    .. math:: K(a, b) = ⟨II(a, a), II(b, b)⟩ - ‖II(a, b)‖^2 + 3 ‖A_a b‖^2
              = ⟨B(a, a), S(b, b)⟩ + ⟨B(a, b) - 2 B(a, b)^T, S(a, b)⟩.

    Parameters
    ----------
    matrix : array-like, shape=[..., m, n]
        Base point ``X``.
    tangent_vec_a, tangent_vec_b : array-like, shape=[..., m, n]
        Tangent vectors that span the plane; a part between the null spaces is dropped.
    depth : int or inf
        Depth ``N``; at infinite depth the metric is scaled by ``N``.
    rank : int, optional
        Rank of ``X``, full by default.

    Returns
    -------
    sectional_curvature : array-like, shape=[...]
        Zero where the vectors are linearly dependent to round-off, the rule of geomstats.

    Raises
    ------
    ValueError
        If the matrix has another rank.

    References
    ----------
    THEORY 3 (own derivation).
    """
    arrays, rank = _checked(matrix, tangent_vec_a, tangent_vec_b, depth=depth, rank=rank)
    if depth == 1:
        return _of_one_factor(balanced_sectional_curvature, arrays, rank)
    return _sectional(*arrays, depth=depth, rank=rank)


def _sectional_value(matrix: Array, a: Array, b: Array, depth: float, rank: int) -> Array:
    xp = namespace(matrix, a, b)
    point = _point(matrix, depth, rank)
    one, other, is_plane = orthonormal_pair(point.coordinates(a), point.coordinates(b))
    x, y = (
        first.map(lambda *blocks: xp.stack(blocks, 0), *others)
        for first, *others in ((one, one, other), (one, other, other))
    )
    sources = point.source(x, y)
    b_xx, b_xy = sources[0], sources[1]
    solutions = point.solve(sources[1:])
    terms = (b_xy - 2 * transpose(b_xy)) * solutions[0] + b_xx * solutions[1]
    return xp.where(is_plane, terms.sum(axis=(-3, -2, -1)), 0.0)


_sectional = Primitive(_sectional_value, refuse, refuse)


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
    arrays, rank = _checked(matrix, tangent_vec, depth=depth, rank=rank)
    return _ricci(*arrays, depth=depth, rank=rank)


def _ricci_value(matrix: Array, vector: Array, depth: float, rank: int) -> Array:
    xp = namespace(matrix, vector)
    point = _point(matrix, depth, rank)
    weights = _ricci_weights(point, depth)
    e = point.coordinates(vector)
    core = weights.entries * e.core + weights.transposed * transpose(e.core)
    diagonal = weights.diagonal @ xp.einsum("...kk->...k", e.core)[..., None]
    core = core + diagonal_matrix(diagonal[..., 0])
    left, right = e.left_null, e.right_null
    return point.vector(
        Blocks(
            core,
            None if left is None else left * weights.left_null[..., None, :],
            None if right is None else weights.right_null[..., :, None] * right,
        )
    )


_ricci = Primitive(_ricci_value, refuse, refuse)


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
    arrays, rank = _checked(matrix, depth=depth, rank=rank)
    return _scalar(*arrays, depth=depth, rank=rank)


def _scalar_value(matrix: Array, depth: float, rank: int) -> Array:
    xp = namespace(matrix)
    weights = _ricci_weights(_point(matrix, depth, rank), depth)
    rows, columns = matrix.shape[-2:]
    diagonals = xp.einsum("...kk->...k", weights.transposed + weights.diagonal)
    nulls = (rows - rank) * weights.left_null + (columns - rank) * weights.right_null
    return weights.entries.sum(axis=(-2, -1)) + (diagonals + nulls).sum(axis=-1)


_scalar = Primitive(_scalar_value, refuse, refuse)


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


def _ricci_weights(point: _Point, depth: float) -> _RicciWeights:
    r"""Sum ``⟨R(E_b, a)c, E_b⟩`` over the basis of one-entry vectors ``E_b``.

    The source of two of them is ``B(E_kl, E_ij)_p = δ_ki a_p,kl a_p,kj E_lj
    - δ_lj b_p,ij b_p,kl E_ik`` with ``a, b`` the weights after and before the layer, so that
    few products are left; the sums over the common index are products of matrices.
    """
    frames, solve = point.frames, point.solve
    xp = namespace(frames.sigma)
    rank = frames.sigma.shape[-1]
    left_nullity, right_nullity = frames.left.shape[-2] - rank, frames.right.shape[-2] - rank
    if depth == 1:
        # II pairs the two null blocks with each other alone, and is traceless.
        zero = xp.zeros_like(point.root)
        inverse = frames.sigma**-2
        return _RicciWeights(zero, zero, zero, -right_nullity * inverse, -left_nullity * inverse)
    # A null vector is one more row of weights after, or column of weights before.
    first, last = point.unit(0), point.unit(-1)
    after = xp.concat([point.after, last + 0 * point.after[..., :1, :]], axis=-2)
    before = xp.concat([point.before, first + 0 * point.before[..., :1]], axis=-1)
    moments = xp.sum(point.after**2, axis=-2) - xp.sum(point.before**2, axis=-1)
    moments = moments + left_nullity * last[..., 0] - right_nullity * first[..., 0]
    mean = xp.einsum("...kk->...k", solve(diagonal_matrix(moments)))
    by_rows = xp.sum(after**2 * mean[..., None, :], axis=-3)
    by_columns = -xp.sum(before**2 * mean[..., :, None], axis=-3)
    signs = 1 - 2 * eye(rank, rank, point.root)
    for p in range(point.after.shape[-3]):
        # Row p of Green's matrices; vectors of equal index count with the opposite sign.
        green = signs * solve(point.unit(p) + 0 * point.after)
        rows, columns = after[..., p, None, :, :] * after, before[..., p, None, :, :] * before
        by_rows = by_rows + xp.sum(rows * (rows @ green), axis=-3)
        by_columns = by_columns + xp.sum(columns * (green @ columns), axis=-3)
    # Weights times those of the diagonal entry in their row or column.
    a = xp.einsum("...kk->...k", point.after)[..., :, None] * point.after
    b = xp.einsum("...kk->...k", point.before)[..., None, :] * point.before
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
