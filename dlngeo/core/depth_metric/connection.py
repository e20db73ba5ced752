r"""The Levi-Civita connection of the depth metric in the entries of the matrix.

In singular frames it is made of second divided differences ``H`` of the weights, with
``z = A_{N,X}^{-1} Z``,

.. math:: Γ(Z, Z')_{kl} = -\sum_m σ_m H_{kml} (z_{km} z'_{ml} + z'_{km} z_{ml}).
"""

import math

from dlngeo.core.base.arrays import Array, is_traced, namespace, transpose
from dlngeo.core.base.checks import check_range, real_array
from dlngeo.core.base.primitives import primitive
from dlngeo.core.base.scales import at_scale, at_unit_scale
from dlngeo.core.depth_metric.metric import check_observable
from dlngeo.core.depth_metric.submersion import horizontal_lift
from dlngeo.core.depth_metric.weights import Weights, weights_of
from dlngeo.core.networks.balancing import thin_layers
from dlngeo.core.networks.blocks import Blocks
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
    ``Γ(Z, Z') = -(Z^{⊥r} Σ^{-1} Z'^{r⊥} + Z'^{⊥r} Σ^{-1} Z^{r⊥})``.

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
    vector, other = (checked_matrix(v, matrix.shape[-2:], matrix) for v in (vector, other))
    matrix, vector, other, down, first, second = at_unit_scale(4, matrix, vector, other)
    if depth == math.inf:
        symbols = _christoffel_in_limit(matrix, vector, other)
    elif depth > 1 and is_traced(matrix):
        layers = thin_layers(matrix, int(depth), rank)
        symbols = -differential(
            layers, *[horizontal_lift(layers, v, rank) for v in (vector, other)]
        )
    else:
        symbols = _christoffel_in_frames(matrix, vector, other, depth, rank)
    return at_scale(symbols, first + second - down, "the Christoffel symbols")


def _christoffel_in_frames(
    matrix: Array, vector: Array, other: Array, depth: float, rank: int
) -> Array:
    frames = exact_frames(matrix, rank)
    weights = weights_of(frames.sigma, depth)
    check_range(weights.core, divides=True)
    lowered = (weights.lower_index(frames.split(v)) for v in (vector, other))
    return frames.join(symbols_in_frames(weights, *lowered))


@primitive()
def _christoffel_in_limit(matrix: Array, vector: Array, other: Array) -> Array:
    return _christoffel_in_frames(matrix, vector, other, math.inf, matrix.shape[-1])


def symbols_in_frames(weights: Weights, z: Blocks, other: Blocks) -> Blocks:
    """Return ``Γ(Z, Z')`` of ``z`` and ``z'``; with a part between the null spaces."""
    half = _half_symbols(weights, z, other)
    return -1 * (half + (half if other is z else _half_symbols(weights, other, z)))


def _half_symbols(weights: Weights, z: Blocks, other: Blocks) -> Blocks:
    """Return ``Σ_m σ_m H_kml z_km z'_ml``, block by block."""
    core = weights.contract(z.core * weights.sigma[..., None, :], other.core)
    left = right = both = None
    null = _null_symbols(weights)
    if z.left_null is not None:
        left = z.left_null @ (transpose(null) * other.core)
    if other.right_null is not None:
        right = (null * z.core) @ other.right_null
        if z.left_null is not None:
            # σ_m H_00m
            both = (
                z.left_null * (weights.null**2 / weights.sigma)[..., None, :]
            ) @ other.right_null
    return Blocks(core, left, right, both)


def _null_symbols(weights: Weights) -> Array:
    """Return ``H_km0 σ_m``, shape=[..., r, r]."""
    return weights.null_second * weights.sigma[..., None, :]


def adjoint_in_frames(weights: Weights, z: Blocks, covector: Blocks) -> Blocks:
    r"""Return ``A(Γ_Z^* P)`` with ``⟨P, Γ(Z, Z')⟩ = ⟨Γ_Z^* P, Z'⟩`` for a tangent ``P``.

    .. math:: A(Γ_Z^* P)_{ml} = -\sum_k σ_m H_{kml} z_{km} P_{kl} - \sum_k P_{mk} z_{lk} H_{mlk} σ_l

    """
    sigma = weights.sigma
    core = weights.contract(sigma[..., :, None] * transpose(z.core), covector.core)
    core = core + weights.contract(covector.core, transpose(z.core) * sigma[..., None, :])
    left, right, null = covector.left_null, covector.right_null, _null_symbols(weights)
    if left is not None:
        core = core + transpose(null) * (transpose(z.left_null) @ left)
        left = left @ transpose(transpose(null) * z.core)
    if right is not None:
        core = core + null * (right @ transpose(z.right_null))
        right = transpose(null * z.core) @ right
    return -1 * Blocks(core, left, right)


def _turn(weights: Weights, tangent: Blocks, e: Blocks) -> Blocks:
    """Return ``Σ_l Ω^{(m)}_kl e_lm``, block by block; see `parallel_rates`."""
    sigma, root, null_root = weights.sigma, weights.root, weights.null_root
    # σ_l z_kl
    z = sigma[..., None, :] * tangent.core / weights.core
    by_k, by_l = root[..., :, None, :], root[..., None, :, :]
    form = by_k * z[..., None] - by_l * transpose(z)[..., None]
    form = weights.second / by_k / by_l / (by_k + by_l) * form
    core = namespace(form).einsum("bklm,bflm->bfkm", form, e.core)
    left = right = both = None
    if e.left_null is not None:
        weight = (weights.null_second / root / (root + null_root[..., None, :]))[:, None]
        z_null = (tangent.left_null * (sigma / weights.null)[..., None, :])[:, None]
        left = z_null @ (weight * e.core)
        core = core - weight * (transpose(z_null) @ e.left_null)
    if e.right_null is not None:
        by_k, by_l = null_root[..., :, None], null_root[..., None, :]
        form = by_k * z - by_l * transpose(z)
        form = weights.null_second / by_k / by_l / (by_k + by_l) * form
        right = form[:, None] @ e.right_null
        if e.left_null is not None:
            both = (tangent.left_null / sigma[..., None, :])[:, None] @ e.right_null
    return Blocks(core, left, right, both)


def parallel_rates(weights: Weights, tangent: Blocks, e: Blocks) -> Blocks:
    r"""Return the velocity of parallel fields in singular frames that stand still.

    In the coordinates ``e = E / √r``, that is with ``e = A^{-1/2}(E)`` as a matrix in a fixed
    basis, the terms of the connection unite to skew ones,

    .. math:: \dot e_{km} = \sum_l Ω^{(m)}_{kl} e_{lm} + \sum_l e_{kl} Ω'^{(k)}_{lm}, \quad
              Ω^{(m)}_{kl} = H_{klm} \frac{\sqrt{r_{km}} σ_l z_{kl} - \sqrt{r_{lm}} σ_k z_{lk}}
              {\sqrt{r_{km}} \sqrt{r_{lm}} (\sqrt{r_{km}} + \sqrt{r_{lm}})},

    and ``Ω'`` is the same for the transposed matrix. No difference of singular values is divided
    by; null spaces are singular values zero.

    Parameters
    ----------
    weights : Weights
        Of the points, shape=[b, ...].
    tangent : Blocks
        Velocities ``Z`` of the points, shape=[b, ...].
    e : Blocks
        Fields, shape=[b, f, ...].

    Returns
    -------
    rates : Blocks
        With a part between the null spaces, by which fields follow the tangent spaces.

    References
    ----------
    Own derivation; THEORY 3.
    """
    left = _turn(weights, tangent, e)
    return left + _turn(weights, tangent.transposed(), e.transposed()).transposed()
