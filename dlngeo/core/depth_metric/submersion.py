r"""The Riemannian submersion ``φ: M_r → 𝔐_r``: horizontal lift, vertical part, O'Neill.

The fibres are the orbits of ``O(d_1) × ... × O(d_{N-1})``; vertical vectors are
``ξ_a = (a_p W_p - W_p a_{p-1})_p`` with skew ``a``, and horizontal ones are
``dφ*(P)``.

References
----------
[MY25]; THEORY 3.
"""

from collections.abc import Callable, Sequence

from dlngeo.core.balanced.submanifold import (
    checked_layers,
    second_fundamental_form,
    tangent_projection,
    weingarten_map,
)
from dlngeo.core.base.arrays import Array, is_traced, namespace, transpose
from dlngeo.core.base.checks import check_range
from dlngeo.core.base.primitives import primitive
from dlngeo.core.base.scales import at_unit_scale, times_power
from dlngeo.core.base.vectors import Layers
from dlngeo.core.depth_metric.metric import lower_index
from dlngeo.core.depth_metric.metric import tangent_projection as observable_projection
from dlngeo.core.depth_metric.weights import FiniteWeights
from dlngeo.core.networks.balancing import horizontal_lift_of
from dlngeo.core.networks.blocks import Blocks, split
from dlngeo.core.networks.factors import (
    Factors,
    check_widths,
    checked_matrix,
    in_kind,
    layers_of,
    result_in_kind,
    vector_at,
    widths_of,
)
from dlngeo.core.networks.frames import balanced_frames
from dlngeo.core.networks.jacobi import jacobi_solve
from dlngeo.core.networks.network import (
    adjoint_differential,
    differential,
    end_to_end,
    infinitesimal_action,
)


def horizontal_lift(factors: Factors, velocity: Array, rank: int | None = None) -> Factors:
    r"""Return the horizontal lift ``V = dφ*(A_{N,X}^{-1} Z)`` of a tangent vector.

    In frames ``V_p`` has the entries ``λ_k^{N-p} λ_l^{p-1} Z_kl / r_kl``.

    Parameters
    ----------
    factors : array-like, shape=[..., N, d, d], or sequence of shape=[..., d_p, d_{p-1}]
        Balanced factors ``W``.
    velocity : array-like, shape=[..., d_N, d_0]
        Tangent vector ``Z`` at ``φ(W)``; a part between the null spaces is dropped.
    rank : int, optional
        Rank of the factors, ``min(widths)`` by default.

    Returns
    -------
    horizontal_vec : like factors

    Raises
    ------
    ValueError
        If the factors are not balanced of this rank.
    """
    layers = layers_of(factors)
    _, rank = check_widths(widths_of(layers), rank)
    velocity = checked_matrix(velocity, (layers[-1].shape[-2], layers[0].shape[-1]), layers[0])
    depth = len(layers)
    layers, velocity, down, exponent = at_unit_scale(2 * depth, layers, velocity)
    lifted = _lifter(layers, rank)(velocity)
    return result_in_kind(lifted, factors, exponent - (depth - 1) * down)


def _lifter(layers: Sequence[Array], rank: int) -> Callable[[Array], Sequence[Array]]:
    """Return the horizontal lift at a point, whose frames are found once."""
    if is_traced(*layers):
        observable = end_to_end(layers)
        # Below full rank the null spaces move, and what is dropped with them.
        return lambda velocity: horizontal_lift_of(
            layers, observable_projection(observable, velocity, rank), rank
        )
    balanced = balanced_frames(layers, rank)
    depth, lam = balanced.depth, balanced.lam
    weights = FiniteWeights(lam, depth)
    check_range(weights.core, divides=True)

    def lift(velocity: Array) -> list[Array]:
        blocks = split(velocity, balanced.frames[-1], balanced.frames[0])
        core, inverse = blocks.core / weights.core, 1 / weights.null_root
        left_null, right_null = blocks.left_null, blocks.right_null
        lifted = [
            Blocks(lam[..., :, None] ** (depth - p) * core * lam[..., None, :] ** (p - 1))
            for p in range(1, depth + 1)
        ]
        if left_null is not None:
            lifted[-1] = lifted[-1]._replace(left_null=left_null * inverse[..., None, :])
        if right_null is not None:
            lifted[0] = lifted[0]._replace(right_null=inverse[..., :, None] * right_null)
        return balanced.join(lifted)

    return lift


def horizontal_projection(factors: Factors, vector: Factors, rank: int | None = None) -> Factors:
    r"""Return the horizontal part ``dφ* A^{-1} dφ(V)`` of a velocity of the factors.

    Parameters and errors as in `horizontal_lift`, with ``vector`` like factors.
    """
    layers = layers_of(factors)
    velocity = vector_at(layers, vector)
    layers, velocity, _, exponent = at_unit_scale(2 * len(layers), layers, velocity)
    lifted = horizontal_lift(layers, differential(layers, velocity), rank)
    return result_in_kind(layers_of(lifted), factors, exponent)


def vertical_projection(factors: Factors, vector: Factors, rank: int | None = None) -> Factors:
    r"""Return the vertical part ``V - dφ* A^{-1} dφ(V)`` of a tangent vector.

    Parameters and errors as in `horizontal_lift`, with ``vector`` a tangent vector like
    factors.
    """
    horizontal = layers_of(horizontal_projection(factors, vector, rank))
    own = vector_at(layers_of(factors), vector)
    return in_kind([v - h for v, h in zip(own, horizontal, strict=True)], factors)


@primitive(static=("rank",))
def _skew_solve(
    layers: Sequence[Array], a: Sequence[Array], b: Sequence[Array], rank: int
) -> tuple[Array, ...]:
    """Solve ``T x = skew(A_p B_pᵀ + A_{p+1}ᵀ B_{p+1})`` for skew ``x_p``, ``p = 1..N-1``.

    On the cores alone: horizontal vectors have no null blocks at hidden layers, so that
    O'Neill's tensor does not see the rest.
    """
    balanced = balanced_frames(layers, rank)
    hidden = balanced.frames[1:-1]
    cores = []
    for p, frame in enumerate(hidden):
        source = a[p] @ transpose(b[p]) + transpose(a[p + 1]) @ b[p + 1]
        core = transpose(frame) @ source @ frame
        cores.append((core - transpose(core)) / 2)
    solved = jacobi_solve(balanced.lam, balanced.lam, namespace(*layers).stack(cores, -3))
    return tuple(frame @ solved[..., p, :, :] @ transpose(frame) for p, frame in enumerate(hidden))


def integrability_tensor(
    factors: Factors, vector: Factors, other: Factors, rank: int | None = None
) -> Factors:
    r"""Return O'Neill's tensor of the submersion,
    ``A_X Y = ver ∇_{hor X} hor Y + hor ∇_{hor X} ver Y``.

    For horizontal ``X, Y`` it is ``ξ_a`` with ``T a = skew(X_p Y_pᵀ + X_{p+1}ᵀ Y_{p+1})``
    in frames; for vertical ``Y = ξ_u`` it is ``hor((u_p X_p - X_p u_{p-1})_p)``, the
    negative adjoint.

    Parameters
    ----------
    factors : array-like, shape=[..., N, d, d], or sequence of shape=[..., d_p, d_{p-1}]
        Balanced factors.
    vector, other : the same shapes
        Tangent vectors ``X`` and ``Y``.
    rank : int, optional
        Rank of the factors, ``min(widths)`` by default.

    Returns
    -------
    tangent_vec : like factors

    References
    ----------
    O'Neill, The fundamental equations of a submersion, 1966; THEORY 3.
    """
    arrays, rank = checked_layers(factors, vector, other, rank=rank)
    layers, x, y, down, first, second = at_unit_scale(2 * len(arrays[0]), *arrays)
    lift = _lifter(layers, rank)
    x = lift(differential(layers, x))
    y_horizontal = lift(differential(layers, y))
    if len(layers) == 1:
        return in_kind([0 * (a + b) for a, b in zip(x, y, strict=True)], factors)
    exponent = first + second - down
    y_vertical = [v - h for v, h in zip(y, y_horizontal, strict=True)]
    vertical = infinitesimal_action(_skew_solve(layers, x, y_horizontal, rank), layers)
    # ξ_u is recovered from its vertical vector by T u = skew of its products with W.
    element = _skew_solve(layers, y_vertical, layers, rank)
    horizontal = lift(differential(layers, infinitesimal_action(element, tuple(x))))
    result = [a + b for a, b in zip(vertical, horizontal, strict=True)]
    return result_in_kind(result, factors, exponent)


def integrability_tensor_derivative(
    factors: Factors,
    horizontal_x: Factors,
    horizontal_y: Factors,
    nabla_x_y: Factors,
    vector: Factors,
    nabla_x_vector: Factors,
    rank: int | None = None,
) -> tuple[Factors, Factors]:
    r"""Return ``∇_X (A_Y E)`` and ``A_Y E`` for fields ``X, Y`` (horizontal) and ``E``.

    With the horizontal lift ``L = dφ^+``, ``z = A_{N,X}^{-1} dφ(E)`` and the vertical part
    ``G`` of ``E``,

    .. math:: A_Y E = P_v \, (dφ^*)'[Y](z) - L \, D^2φ(Y, G).

    Each piece is differentiated along ``X``: ``dφ`` is a polynomial, a pseudo-inverse
    moves by the formula of Golub and Pereyra, and the tangent projector by the second
    fundamental form.

    ======================= =================== ===========================
    symbol                  name                shape
    ======================= =================== ===========================
    ``W``, ``X``, ``Y``     ``w``, ``x``, ``y`` layers
    ``E``, ``G``            ``e``, ``g``        layers
    ``z``                   ``z``               [..., d_N, d_0]
    ``(dφ^*)'[Y](z)``       ``pulled``          layers
    ``D^2φ(Y, G)``          ``pushed``          [..., d_N, d_0]
    ``P_T``, ``P_h``        ``tangent``,        layers to layers
                            ``horizontal``
    ``L``                   ``lift``            [..., d_N, d_0] to layers
    derivative along ``X``  ``..._dot``         as without
    ======================= =================== ===========================

    Parameters
    ----------
    factors : array-like, shape=[..., N, d, d], or sequence of shape=[..., d_p, d_{p-1}]
        Balanced factors.
    horizontal_x, horizontal_y : the same shapes
        Horizontal vectors ``X`` and ``Y``.
    nabla_x_y : the same shapes
        Covariant derivative ``∇_X Y`` on the balanced manifold.
    vector, nabla_x_vector : the same shapes
        Tangent vector ``E``, and ``∇_X E``.
    rank : int, optional
        Rank of the factors, ``min(widths)`` by default.

    Returns
    -------
    nabla_x_a_y_e : like factors
    a_y_e : like factors

    References
    ----------
    O'Neill 1966; Golub, Pereyra 1973; own derivation.
    """
    w = layers_of(factors)
    x, y, e = (vector_at(w, v) for v in (horizontal_x, horizontal_y, vector))
    _, rank = check_widths(widths_of(w), rank)
    nablas = (vector_at(w, nabla_x_y), vector_at(w, nabla_x_vector))
    w, x, y, e, down, of_x, of_y, of_e = at_unit_scale(2 * len(w), w, x, y, e)
    of_result = of_y + of_e - down
    nabla_xy = times_power(nablas[0], down - of_x - of_y)
    nabla_xe = times_power(nablas[1], down - of_x - of_e)
    observable = end_to_end(w)

    lift_to_layers = _lifter(w, rank)

    def lift(velocity: Array) -> Layers:
        return Layers(lift_to_layers(velocity))

    def covector(velocity: Array) -> Array:
        return lower_index(observable, velocity, len(w), rank)

    def pull(matrix: Array, *along: Sequence[Array]) -> Layers:
        return Layers(adjoint_differential(w, matrix, *along))

    def push(*vectors: Sequence[Array]) -> Array:
        return differential(w, *vectors)

    def horizontal(v: Layers) -> Layers:
        return lift(push(v))

    def tangent(v: Layers) -> Layers:
        return Layers(tangent_projection(w, v, rank))

    def tangent_dot(v: Layers) -> Layers:
        """Return ``P_T'[X] v``."""
        inside = tangent(v)
        bent = second_fundamental_form(w, x, inside, rank)
        return Layers(bent) + Layers(weingarten_map(w, x, v - inside, rank))

    def horizontal_dot(v: Layers) -> Layers:
        """Return ``P_h'[X] v``."""
        pulled = pull(covector(push(v)), x)
        return pulled - horizontal(pulled) + lift(push(x, v - horizontal(v)))

    def lift_dot(velocity: Array) -> Layers:
        """Return ``L'[X] velocity``."""
        pulled = pull(covector(velocity), x)
        normal = velocity - observable_projection(observable, velocity, rank)
        return (
            pulled
            - horizontal(pulled)
            - lift(push(x, lift(velocity)))
            + lift(covector(push(pull(normal, x))))
        )

    def ambient(nabla: Sequence[Array], v: Sequence[Array]) -> Layers:
        return Layers(nabla) + Layers(second_fundamental_form(w, x, v, rank))

    y_dot, e_dot = ambient(nabla_xy, y), ambient(nabla_xe, e)
    z = covector(push(e))
    pulled = pull(z, y)
    g = Layers(e) - horizontal(Layers(e))
    pushed = push(y, g)
    a_y_e = tangent(pulled) - horizontal(pulled) - lift(pushed)

    # A part of z' between the null spaces only adds to horizontal entries of P_v's argument.
    z_dot = covector(push(x, g) - push(pull(z, x)) + push(e_dot))
    pulled_dot = pull(z, y_dot) + pull(z, x, y) + pull(z_dot, y)
    g_dot = e_dot - horizontal(e_dot) - horizontal_dot(Layers(e))
    pushed_dot = push(y_dot, g) + push(x, y, g) + push(y, g_dot)
    derivative = (
        tangent_dot(pulled)
        - horizontal_dot(pulled)
        + pulled_dot
        - horizontal(pulled_dot)
        - lift_dot(pushed)
        - lift(pushed_dot)
    )
    # Both have the batch of all arguments.
    zero = 0 * (Layers(w) + x + y_dot + e_dot)
    results = (tangent(derivative), a_y_e), (of_result + of_x - down, of_result)
    nabla, tensor = (
        result_in_kind(result + zero, factors, exponent)
        for result, exponent in zip(*results, strict=True)
    )
    return nabla, tensor
