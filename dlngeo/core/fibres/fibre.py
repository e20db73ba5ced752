r"""Geometry of the fibres of a network: all the factors over one end-to-end matrix.

The fibre of ``X`` is ``F_X = {W : W_N ... W_1 = X}``, balanced or not. Over a matrix of full
rank ``r = min_p d_p`` it is a closed manifold with the tangent space ``ker dφ`` and the normal
space ``range dφ*``. The groups ``GL(d_p)`` of the hidden layers move along it, and the balanced
points are the minima of ``‖W‖²`` (Kempf and Ness). The orbits of the group are open in the fibre
if no two neighbouring layers, the ends included, are both wider than ``r``; otherwise there are
orbits of lower dimension, those of the balanced points among them.

Over a matrix of lower rank the fibre is singular: the projections are still those on
``ker dφ`` and ``range dφ*``, at the given factors.

References
----------
[LM25]; THEORY 5.
"""

import itertools
from collections.abc import Sequence

from dlngeo.core.base.arrays import Array, namespace, quotient, round_off, transpose
from dlngeo.core.base.checks import in_batch
from dlngeo.core.base.primitives import primitive
from dlngeo.core.base.scales import Exponent, at_scale, at_unit_scale
from dlngeo.core.base.vectors import Layers
from dlngeo.core.fibres.gram import full_frames, gram_solve, tangent_part
from dlngeo.core.networks.factors import (
    Factors,
    check_widths,
    checked_matrix,
    in_kind,
    is_stack,
    layers_of,
    result_in_kind,
    vector_at,
)
from dlngeo.core.networks.network import action_on_layers, adjoint_differential, end_to_end
from dlngeo.core.numerics.conjugate_gradients import better_solution, conjugate_gradient

NEWTON_STEPS = 20
"""Number of steps after which Newton's method gives up."""


def fibre_dimension(widths: Sequence[int]) -> int:
    r"""Return the dimension of a fibre over a matrix of full rank ``r = min_p d_p``.

    .. math:: \dim F_X = \sum_{p=1}^{N} d_p d_{p-1} - r (d_0 + d_N - r)

    Raises
    ------
    ValueError
        If the widths are not those of a network.

    References
    ----------
    Own derivation: ``dφ`` has the constant rank of the tangent spaces of ``𝔐_r``.
    """
    widths, rank = check_widths(widths)
    parameters = sum(after * before for before, after in itertools.pairwise(widths))
    return parameters - rank * (widths[0] + widths[-1] - rank)


def normal_projection(factors: Factors, vector: Factors) -> Factors:
    r"""Project a velocity orthogonally on the normal space of the fibre, ``range dφ*``.

    .. math:: Π_n(V) = dφ^*(P), \quad dφ \, dφ^*(P) = dφ(V)

    Parameters
    ----------
    factors, vector : factors

    Returns
    -------
    normal_vec : like factors
    """
    velocity, tangent, exponent = _tangent_part(factors, vector)
    return result_in_kind(Layers(velocity) - tangent, factors, exponent)


def tangent_projection(factors: Factors, vector: Factors) -> Factors:
    r"""Project a velocity orthogonally on the tangent space of the fibre, ``ker dφ``.

    Where the orbit of ``GL(d_1) × ... × GL(d_{N-1})`` is open in the fibre, these are the
    velocities ``(a_p W_p - W_p a_{p-1})_p``.

    Parameters
    ----------
    factors, vector : factors

    Returns
    -------
    tangent_vec : like factors
    """
    _, tangent, exponent = _tangent_part(factors, vector)
    return result_in_kind(tangent, factors, exponent)


def _tangent_part(factors: Factors, vector: Factors) -> tuple[tuple[Array, ...], Layers, Exponent]:
    """Return a velocity and its `tangent_part`, in units of the velocity."""
    layers = layers_of(factors)
    velocity = vector_at(layers, vector)
    layers, velocity, _, exponent = at_unit_scale(2 * len(layers), layers, velocity)
    return velocity, tangent_part(layers, velocity), exponent


def project_to_fibre(factors: Factors, matrix: Array) -> Factors:
    r"""Move factors to the fibre of a matrix near to ``φ(W)``, by Newton's method.

    .. math:: W ← W + dφ^*(P), \quad dφ \, dφ^*(P) = X - φ(W)

    The steps are normal to the fibres, and of least norm.

    Parameters
    ----------
    factors : factors
    matrix : array-like, shape=[..., d_N, d_0]
        ``X``.

    Returns
    -------
    factors : like factors
        Of the steps those are taken that lessen the error: ``φ(W) = X`` to round-off if the
        steps converge.

    References
    ----------
    Own derivation.
    """
    layers = layers_of(factors)
    matrix = checked_matrix(matrix, (layers[-1].shape[-2], layers[0].shape[-1]), layers[0])
    xp = namespace(matrix, *layers)
    residual = matrix - end_to_end(layers)
    size = xp.linalg.matrix_norm(residual, keepdims=True)
    bound = 8 * round_off(matrix) * xp.linalg.matrix_norm(matrix, keepdims=True)
    for _ in range(NEWTON_STEPS):
        if not bool(xp.any(size > bound)):
            break
        step = adjoint_differential(layers, gram_solve(layers, residual))
        moved = [layer + s for layer, s in zip(layers, step, strict=True)]
        rest = matrix - end_to_end(moved)
        new_size = xp.linalg.matrix_norm(rest, keepdims=True)
        is_better = new_size < size
        if not bool(xp.any(is_better)):
            break
        layers = tuple(xp.where(is_better, m, w) for m, w in zip(moved, layers, strict=True))
        residual = xp.where(is_better, rest, residual)
        size = xp.where(is_better, new_size, size)
    return in_kind(layers, factors)


def _action_adjoint(layers: Sequence[Array], vector: Sequence[Array]) -> list[Array]:
    """Return ``V_p W_pᵀ - W_{p+1}ᵀ V_{p+1}``, the adjoint of the infinitesimal action."""
    pairs = itertools.pairwise(zip(layers, vector, strict=True))
    return [v @ transpose(w) - transpose(after) @ u for (w, v), (after, u) in pairs]


def _least_element(layers: Sequence[Array], vector: Sequence[Array]) -> Sequence[Array]:
    """Return the element of least norm whose velocity is nearest to a vector."""
    if len(layers) == 1:
        return ()
    xp = namespace(*layers, *vector)
    frames = []
    for p, layer in enumerate(layers, start=1):
        left, left_squares = full_frames(layer)
        right, right_squares = full_frames(transpose(layer))
        # a_p acts from the left, and not on the last layer, a_{p-1} from the right.
        diagonal = 0 * left_squares[..., :, None] * right_squares[..., None, :]
        if p < len(layers):
            diagonal = diagonal + right_squares[..., None, :]
        if p > 1:
            diagonal = diagonal + left_squares[..., :, None]
        noise = (round_off(layer) * sum(layer.shape[-2:])) ** 2
        noise = noise * xp.amax(diagonal, axis=(-2, -1), keepdims=True)
        frames.append((left, xp.where(diagonal > noise, diagonal, 0 * diagonal), right))

    def operator(vectors: Sequence[Array]) -> list[Array]:
        return action_on_layers(_action_adjoint(layers, vectors), layers)

    def precondition(vectors: Sequence[Array]) -> list[Array]:
        return [
            left @ quotient(transpose(left) @ v @ right, diagonal) @ transpose(right)
            for v, (left, diagonal, right) in zip(vectors, frames, strict=True)
        ]

    def solve(velocity: Sequence[Array]) -> list[Array]:
        solution, _ = conjugate_gradient(operator, velocity, precondition)
        return _action_adjoint(layers, solution)

    def residual(elements: Sequence[Array]) -> list[Array]:
        return Layers(vector) - action_on_layers(elements, layers)

    first = solve(vector)
    rest = residual(first)
    second = [a + b for a, b in zip(first, solve(rest), strict=True)]
    return better_solution(first, rest, second, residual(second))


@primitive()
def algebra_element(factors: Factors, vector: Factors) -> Factors:
    r"""Return the element of the Lie algebra of least norm that gives a velocity.

    .. math:: a_p W_p - W_p a_{p-1} = V_p, \quad a_0 = a_N = 0,

    with the least ``Σ_p ‖a_p‖²``: ``a = ξ^*(Y)``, ``ξ ξ^*(Y) = V``, by conjugate gradients with
    a Sylvester equation a layer for preconditioner.

    Parameters
    ----------
    factors : factors
    vector : factors
        Tangent to the orbit.

    Returns
    -------
    algebra_element : array-like, shape=[..., N-1, d, d], or tuple of shape=[..., d_p, d_p]

    Raises
    ------
    ValueError
        If the vector is not tangent to the orbit of the group.

    References
    ----------
    Own derivation; see `dlngeo.core.networks.network.infinitesimal_action`.
    """
    layers = layers_of(factors)
    velocity = vector_at(layers, vector)
    layers, velocity, down, exponent = at_unit_scale(4, layers, velocity)
    elements = _least_element(layers, velocity)
    defect = Layers(velocity) - action_on_layers(elements, layers)
    xp = namespace(*defect)
    bound = round_off(velocity[0]) ** 0.4 * Layers(velocity).norm()
    is_off = ~(defect.norm() <= bound)
    if bool(xp.any(is_off)):
        raise ValueError(
            f"the vector is not tangent to the orbit of the group{in_batch(is_off)}: project it on "
            "the tangent space first (tangent_projection). Where two neighbouring layers are wider "
            "than the rank of X, the fibre has tangent vectors that leave the orbit: the group "
            "metric is not defined for them."
        )
    if not elements:
        return factors[..., :0, :, :] if is_stack(factors) else ()
    return result_in_kind(elements, factors, exponent - down)


def group_inner_product(factors: Factors, vector: Factors, other: Factors) -> Array:
    r"""Return the inner product of the group metric on the orbit through factors.

    .. math:: ⟨ξ_a(W), ξ_{a'}(W)⟩_G = \sum_p \mathrm{tr}(a_p^T a'_p)

    with the elements ``a, a'`` of least norm, symmetric and skew parts alike. In this metric
    the gradient of ``½‖W‖²`` is ``-ξ_μ(W)``: its descent is the flow
    ``Ẇ_p = μ_p W_p - W_p μ_{p-1}`` of the squared moment map.

    Parameters
    ----------
    factors : factors
    vector, other : factors
        Tangent to the orbit.

    Returns
    -------
    inner_product : array-like, shape=[...]

    Raises
    ------
    ValueError
        If a vector is not tangent to the orbit of the group.
    """
    layers = layers_of(factors)
    vectors = [vector_at(layers, v) for v in ((vector,) if other is vector else (vector, other))]
    layers, down = at_unit_scale(4, layers)
    units = [at_unit_scale(4, velocity) for velocity in vectors]
    elements = [Layers(algebra_element(layers, unit)) for unit, _ in units]
    exponent = units[0][1] + units[-1][1] - 2 * down
    if not elements[0]:
        layer, velocity = layers[0], vectors[0][0]
        return 0 * namespace(layer, velocity).sum(layer * velocity, axis=(-2, -1))
    product = elements[0].inner(elements[-1])
    return at_scale(product, exponent, "the inner product", axes=0)


def group_gradient(factors: Factors, gradient: Factors) -> Factors:
    r"""Return the gradient of a function in the group metric, from its ambient gradient.

    .. math:: ξ_a(W), \quad a_p = G_p W_p^T - W_{p+1}^T G_{p+1}

    Of ``½‖W‖²``, with ``G = W``, it is ``-ξ_μ(W)``, which also is the gradient of
    ``¼ Σ_p ‖μ_p‖²`` in parameter space.

    Parameters
    ----------
    factors : factors
    gradient : factors
        ``G``, the gradient in parameter space.

    Returns
    -------
    tangent_vec : like factors
    """
    layers = layers_of(factors)
    ambient = vector_at(layers, gradient)
    layers, ambient, up, exponent = at_unit_scale(4, layers, ambient)
    result = action_on_layers(_action_adjoint(layers, ambient), layers)
    return result_in_kind(result, factors, exponent + 2 * up)
