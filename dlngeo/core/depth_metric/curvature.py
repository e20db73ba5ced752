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

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from dlngeo.core.balanced.curvature import (
    balanced_curvature,
    balanced_sectional_curvature,
)
from dlngeo.core.base.arrays import Array, namespace, transpose
from dlngeo.core.base.checks import check_batches, check_range, real_array
from dlngeo.core.base.primitives import primitive
from dlngeo.core.base.scales import Exponent, at_scale, at_unit_scale
from dlngeo.core.base.vectors import orthonormal_pair
from dlngeo.core.depth_metric.metric import check_observable, tangent_projection
from dlngeo.core.depth_metric.sources import sources_of
from dlngeo.core.depth_metric.weights import Weights, weights_of
from dlngeo.core.networks.blocks import Blocks
from dlngeo.core.networks.factors import checked_matrix
from dlngeo.core.networks.frames import SingularFrames, exact_frames


def checked_arrays(
    matrix: Array, *vectors: Array, depth: float, rank: int | None
) -> tuple[tuple[Array, ...], int]:
    """Return the checked matrix and vectors one after the other, and the rank."""
    matrix = real_array(matrix, "the matrix")
    rank = check_observable(matrix, depth, rank)
    checked = [checked_matrix(vector, matrix.shape[-2:], matrix) for vector in vectors]
    check_batches((matrix, *checked), "the matrix and the vectors")
    return (matrix, *checked), rank


class Point(NamedTuple):
    """What curvature asks of a point, in units of its own.

    Attributes
    ----------
    frames : SingularFrames
    weights : Weights
    exponent : Exponent
        Of the unit of ``X``.
    depth : int or inf
    """

    frames: SingularFrames
    weights: Weights
    exponent: Exponent
    depth: float

    @classmethod
    def of(cls, matrix: Array, depth: float, rank: int) -> "Point":
        """Return the point of a matrix of the rank."""
        unit, exponent = at_unit_scale(8, matrix)
        frames = exact_frames(unit, rank)
        weights = weights_of(frames.sigma, depth)
        check_range(weights.root, divides=True)
        return cls(frames, weights, exponent, depth)

    def coordinates(self, vector: Array) -> Blocks:
        """Return the orthonormal coordinates of a vector; the part that is normal drops."""
        return self.weights.coordinates(self.frames.split(vector))

    def vector(self, coordinates: Blocks) -> Array:
        """Return the vector of which `coordinates` gives the coordinates."""
        return self.frames.join(self.weights.vector(coordinates))

    @property
    def of_curvature(self) -> Exponent:
        """Exponent of the unit of sectional and Ricci curvatures, which are of degree ``-2/N``."""
        return -2 / self.depth * self.exponent


def curvature_in_frames(weights: Weights, x: Blocks, y: Blocks, z: Blocks) -> Blocks:
    """Return the curvature tensor ``R(x, y)z`` in orthonormal coordinates."""
    at = sources_of(weights)
    s_yz, s_xz, s_xy = (at.solve(at.source(*pair)) for pair in ((y, z), (x, z), (x, y)))
    parts = [at.pull(x, s_yz), at.pull(y, s_xz)]
    return parts[0] - parts[1] - at.pull(z, s_xy - transpose(s_xy))


@primitive(static=("depth", "rank"))
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
    given = (matrix, tangent_vec_a, tangent_vec_b, tangent_vec_c)
    arrays, rank = checked_arrays(*given, depth=depth, rank=rank)
    if depth == 1:
        return _of_one_factor(balanced_curvature, arrays, rank)[0]
    point = Point.of(arrays[0], depth, rank)
    *vectors, first, second, third = at_unit_scale(4, *arrays[1:])
    curvature = curvature_in_frames(point.weights, *map(point.coordinates, vectors))
    exponent = first + second + third - 2 * point.exponent
    return at_scale(point.vector(curvature), exponent, "the curvature")


@primitive(static=("depth", "rank"))
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
    vectors = (tangent_vec_a, tangent_vec_b)
    arrays, rank = checked_arrays(matrix, *vectors, depth=depth, rank=rank)
    if depth == 1:
        return _of_one_factor(balanced_sectional_curvature, arrays, rank)
    xp = namespace(*arrays)
    point = Point.of(arrays[0], depth, rank)
    *pair, _, _ = at_unit_scale(4, *arrays[1:])
    x, y, is_plane = orthonormal_pair(*map(point.coordinates, pair))
    # The sources of (x, x), (x, y) and (y, y) at once.
    first, second = (
        pair[0].map(lambda *blocks: xp.stack(blocks, 0), *pair[1:])
        for pair in ((x, x, y), (x, y, y))
    )
    at = sources_of(point.weights)
    sources = at.source(first, second)
    b_xx, b_xy = sources[0], sources[1]
    solutions = at.solve(sources[1:])
    terms = (b_xy - 2 * transpose(b_xy)) * solutions[0] + b_xx * solutions[1]
    curvature = xp.where(is_plane, terms.sum(axis=(-3, -2, -1)), 0.0)
    return at_scale(curvature, point.of_curvature, "the curvature", axes=0)


def _of_one_factor(kernel: Callable, arrays: Sequence[Array], rank: int) -> Any:
    """Return what a kernel of the balanced manifold gives at depth 1, tangent parts alone."""
    matrix, *vectors = arrays
    tangent = [tangent_projection(matrix, vector, rank) for vector in vectors]
    return kernel((matrix,), *[(vector,) for vector in tangent], rank)
