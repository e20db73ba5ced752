r"""The Levi-Civita connection of the depth metric in the entries of the matrix."""

import math

from dlngeo.core.base.arrays import Array
from dlngeo.core.base.checks import real_array
from dlngeo.core.depth_metric.limit import limit_change, limit_slope
from dlngeo.core.depth_metric.metric import check_observable, flat, sharp
from dlngeo.core.depth_metric.submersion import horizontal_lift
from dlngeo.core.networks.balancing import thin_layers
from dlngeo.core.networks.blocks import split
from dlngeo.core.networks.factors import checked_matrix
from dlngeo.core.networks.frames import exact_frames
from dlngeo.core.networks.network import differential


def christoffel(
    matrix: Array, vector: Array, other: Array, depth: float, rank: int | None = None
) -> Array:
    r"""Return the Christoffel symbols applied to two tangent vectors.

    .. math:: Γ_X(Z, Z') = -D^2φ(V, V')

    with horizontal lifts ``V, V'``: the covariant derivative along ``Z`` of the field that is
    ``Z'`` everywhere. Geodesics obey ``Ẍ + Γ(Ẋ, Ẋ) = 0``. For depth one below full rank
    ``Γ(Z, Z') = -(Z^{⊥r} Σ^{-1} Z'^{r⊥} + Z'^{⊥r} Σ^{-1} Z^{r⊥})``, and for infinite depth, with
    ``z = A^{-1} Z``,

    .. math:: Γ(Z, Z') = \tfrac12 \left( A(∇_X ⟨z, A_X z'⟩) - A'[Z] z' - A'[Z'] z \right).

    Below full rank the result has a part between the null spaces: the acceleration that
    keeps a curve on the manifold.

    Parameters
    ----------
    matrix : array-like, shape=[..., m, n]
        Base point ``X`` of the given rank.
    vector, other : array-like, shape=[..., m, n]
        Tangent vectors ``Z`` and ``Z'``.
    depth : int or inf
        Depth ``N``.
    rank : int, optional
        Rank of ``X``, full by default.

    Returns
    -------
    christoffel : array-like, shape=[..., m, n]

    References
    ----------
    [Che25]; THEORY 3.
    """
    matrix = real_array(matrix, "the matrix")
    rank = check_observable(matrix, depth, rank)
    vector, other = (checked_matrix(v, *matrix.shape[-2:]) for v in (vector, other))
    if depth == math.inf:
        z, z_other = (flat(matrix, v, depth) for v in (vector, other))
        zero = 0 * (matrix + z + z_other)
        slope = sharp(matrix, limit_slope(matrix + zero, z + zero, z_other + zero), depth)
        moved = limit_change(matrix, z_other, vector) + limit_change(matrix, z, other)
        return (slope - moved) / 2
    if depth > 1:
        layers = thin_layers(matrix, int(depth), rank)
        lifts = [horizontal_lift(layers, v, rank) for v in (vector, other)]
        return -differential(layers, *lifts)
    frames = exact_frames(matrix, rank)
    one, two = (split(v, frames.left, frames.right) for v in (vector, other))
    if one.both_null is None:
        return 0 * (matrix + vector + other)
    inverse = 1 / frames.sigma[..., None, :]
    bent = one.left_null * inverse @ two.right_null + two.left_null * inverse @ one.right_null
    return -bent
