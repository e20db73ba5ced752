r"""The Riemannian submersion ``φ: M_r → 𝔐_r``: horizontal lift, vertical part, O'Neill.

The fibres are the orbits of ``O(d_1) × ... × O(d_{N-1})``; vertical vectors are
``ξ_a = (a_p W_p - W_p a_{p-1})_p`` with skew ``a``, and horizontal ones are
``dφ*(P)``.
"""

from collections.abc import Sequence
from itertools import pairwise

from dlngeo.core.arrays import Array, is_traced, namespace, transpose
from dlngeo.core.balanced import second_fundamental_form, tangent_projection, weingarten_map
from dlngeo.core.frames import (
    BalancedFrames,
    Blocks,
    balanced_frames,
    polar_factor,
    round_off,
    split,
)
from dlngeo.core.jacobi import depth_kernel, jacobi_solve
from dlngeo.core.network import (
    Factors,
    adjoint_differential,
    check_matrix,
    check_same_shapes,
    check_widths,
    differential,
    end_to_end,
    horizontal_lift_of,
    in_kind,
    infinitesimal_action,
    layers_of,
    widths_of,
)
from dlngeo.core.observables import flat
from dlngeo.core.observables import tangent_projection as observable_projection


class Vector(tuple):
    """A velocity of the factors, layer by layer, with the arithmetic of a vector."""

    def __add__(self, other: Sequence[Array]) -> "Vector":  # type: ignore[override]
        return Vector(a + b for a, b in zip(self, other, strict=True))

    def __sub__(self, other: Sequence[Array]) -> "Vector":
        return Vector(a - b for a, b in zip(self, other, strict=True))


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

    References
    ----------
    [MY25]; THEORY 3.
    """
    layers = layers_of(factors)
    _, rank = check_widths(widths_of(layers), rank)
    check_matrix(velocity, layers[-1].shape[-2], layers[0].shape[-1])
    if is_traced(*layers):
        return in_kind(horizontal_lift_of(layers, velocity, rank), factors)
    balanced = balanced_frames(layers, rank)
    depth, lam = balanced.depth, balanced.lam
    blocks = split(velocity, balanced.frames[-1], balanced.frames[0])
    core = blocks.core / depth_kernel(lam, lam, depth)
    inverse = lam ** (1 - depth)
    lifted = []
    for p in range(1, depth + 1):
        left_null = blocks.left_null if p == depth else None
        right_null = blocks.right_null if p == 1 else None
        lifted.append(
            Blocks(
                lam[..., :, None] ** (depth - p) * core * lam[..., None, :] ** (p - 1),
                None if left_null is None else left_null * inverse[..., None, :],
                None if right_null is None else inverse[..., :, None] * right_null,
            )
        )
    return in_kind(balanced.join(lifted), factors)


def horizontal_projection(factors: Factors, vector: Factors, rank: int | None = None) -> Factors:
    r"""Return the horizontal part ``dφ* A^{-1} dφ(V)`` of a velocity of the factors.

    Parameters and errors as in `horizontal_lift`, with ``vector`` like factors.

    References
    ----------
    [MY25]; THEORY 3.
    """
    return horizontal_lift(factors, differential(factors, vector), rank)


def vertical_projection(factors: Factors, vector: Factors, rank: int | None = None) -> Factors:
    r"""Return the vertical part ``V - dφ* A^{-1} dφ(V)`` of a tangent vector.

    Parameters and errors as in `horizontal_lift`, with ``vector`` a tangent vector like
    factors.

    References
    ----------
    [MY25]; THEORY 3.
    """
    horizontal = layers_of(horizontal_projection(factors, vector, rank))
    return in_kind([v - h for v, h in zip(layers_of(vector), horizontal, strict=True)], factors)


def _skew_solve(balanced: BalancedFrames, a: Sequence[Array], b: Sequence[Array]) -> list[Array]:
    """Solve ``T x = skew(A_p B_pᵀ + A_{p+1}ᵀ B_{p+1})`` for skew ``x_p``, ``p = 1..N-1``.

    Entries between the null spaces move nothing, and are zero.
    """
    xp = namespace(balanced.lam, *a, *b)
    rank = balanced.lam.shape[-1]
    sources = []
    for p in range(balanced.depth - 1):
        source = a[p] @ transpose(b[p]) + transpose(a[p + 1]) @ b[p + 1]
        sources.append((source - transpose(source)) / 2)
    cores = xp.stack(
        [
            transpose(frame) @ source @ frame
            for frame, source in zip(balanced.frames[1:-1], sources, strict=True)
        ],
        -3,
    )
    solved = jacobi_solve(balanced.lam, balanced.lam, cores)
    elements = []
    for p, (frame, source) in enumerate(zip(balanced.frames[1:-1], sources, strict=True)):
        element = frame @ solved[..., p, :, :] @ transpose(frame)
        if frame.shape[-2] > rank:
            columns = source @ frame
            null = columns - frame @ (transpose(frame) @ columns)
            strip = null / balanced.lam[..., None, :] ** 2 @ transpose(frame)
            element = element + strip - transpose(strip)
        elements.append(element)
    return elements


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
    layers = layers_of(factors)
    balanced = balanced_frames(layers, rank)
    rank = balanced.lam.shape[-1]
    x = layers_of(horizontal_projection(layers, layers_of(vector), rank))
    y = layers_of(other)
    y_horizontal = layers_of(horizontal_projection(layers, y, rank))
    if balanced.depth == 1:
        return in_kind([0 * (a + b) for a, b in zip(x, y, strict=True)], factors)
    y_vertical = [v - h for v, h in zip(y, y_horizontal, strict=True)]
    vertical = infinitesimal_action(_skew_solve(balanced, x, y_horizontal), layers)
    # ξ_u is recovered from its vertical vector by T u = skew of its products with W.
    element = _skew_solve(balanced, y_vertical, layers)
    horizontal = horizontal_projection(layers, infinitesimal_action(element, x), rank)
    return in_kind([a + b for a, b in zip(vertical, horizontal, strict=True)], factors)


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
    w, x, y, e = (layers_of(f) for f in (factors, horizontal_x, horizontal_y, vector))
    _, rank = check_widths(widths_of(w), rank)
    observable = end_to_end(w)

    def lift(velocity: Array) -> Vector:
        return Vector(layers_of(horizontal_lift(w, velocity, rank)))

    def covector(velocity: Array) -> Array:
        return flat(observable, velocity, len(w), rank)

    def pull(matrix: Array, *along: Sequence[Array]) -> Vector:
        return Vector(layers_of(adjoint_differential(w, matrix, *along)))

    def push(*vectors: Sequence[Array]) -> Array:
        return differential(w, *vectors)

    def horizontal(v: Vector) -> Vector:
        return lift(push(v))

    def tangent(v: Vector) -> Vector:
        return Vector(layers_of(tangent_projection(w, v, rank)))

    def tangent_moved(v: Vector) -> Vector:
        """Return ``P_T'[X] v``."""
        inside = tangent(v)
        bent = second_fundamental_form(w, x, inside, rank)
        return Vector(layers_of(bent)) + Vector(weingarten_map(w, x, v - inside, rank))

    def horizontal_moved(v: Vector) -> Vector:
        """Return ``P_h'[X] v``."""
        pulled = pull(covector(push(v)), x)
        return pulled - horizontal(pulled) + lift(push(x, v - horizontal(v)))

    def lift_moved(velocity: Array) -> Vector:
        """Return ``L'[X] velocity``."""
        pulled = pull(covector(velocity), x)
        normal = velocity - observable_projection(observable, velocity, rank)
        return (
            pulled
            - horizontal(pulled)
            - lift(push(x, lift(velocity)))
            + lift(covector(push(pull(normal, x))))
        )

    def ambient(nabla: Factors, v: Sequence[Array]) -> Vector:
        bent = second_fundamental_form(w, x, v, rank)
        return Vector(layers_of(nabla)) + Vector(layers_of(bent))

    y_moved, e_moved = ambient(nabla_x_y, y), ambient(nabla_x_vector, e)
    z = covector(push(e))
    pulled = pull(z, y)
    g = Vector(e) - horizontal(Vector(e))
    pushed = push(y, g)
    a_y_e = tangent(pulled) - horizontal(pulled) - lift(pushed)

    # A part of z' between the null spaces only adds to horizontal entries of P_v's argument.
    z_moved = covector(push(x, g) - push(pull(z, x)) + push(e_moved))
    pulled_moved = pull(z, y_moved) + pull(z, x, y) + pull(z_moved, y)
    g_moved = e_moved - horizontal(e_moved) - horizontal_moved(Vector(e))
    pushed_moved = push(y_moved, g) + push(x, y, g) + push(y, g_moved)
    derivative = (
        tangent_moved(pulled)
        - horizontal_moved(pulled)
        + pulled_moved
        - horizontal(pulled_moved)
        - lift_moved(pushed)
        - lift(pushed_moved)
    )
    return in_kind(tangent(derivative), factors), in_kind(a_y_e, factors)


def align(
    factors: Factors, base_factors: Factors, rank: int | None = None, max_sweeps: int = 10_000
) -> Factors:
    r"""Return the point of an orbit that is nearest to a base point in parameter space.

    .. math:: \min_R \sum_p \|R_p Λ R_{p-1}^T - B_p\|^2, \quad R_0 = Q_0, \; R_N = Q_N,

    over the frames ``R_p`` of the hidden layers, by sweeps of Procrustes steps,
    ``R_p = polar((B_p R_{p-1} + B_{p+1}ᵀ R_{p+1}) Λ)``, each the best one given its
    neighbours. The sweeps start from the frames of both points, and the nearer end is
    returned: a local minimum, at which ``A_p B_pᵀ + A_{p+1}ᵀ B_{p+1}`` is symmetric. The
    distance is the chordal one of parameter space, not the geodesic one.

    Parameters
    ----------
    factors : array-like, shape=[..., N, d, d], or sequence of shape=[..., d_p, d_{p-1}]
        Balanced factors to align.
    base_factors : the same shapes
        Balanced factors ``B``.
    rank : int, optional
        Rank of the factors, ``min(widths)`` by default.
    max_sweeps : int
        Bound on the number of sweeps.

    Returns
    -------
    aligned : like factors

    Raises
    ------
    ValueError
        If one of the points is not balanced of this rank.
    RuntimeError
        If frames still move by more than ``ε^{3/4}`` in the last sweep.

    References
    ----------
    THEORY 3.
    """
    layers, base = layers_of(factors), layers_of(base_factors)
    check_same_shapes(layers, base)
    source, target = balanced_frames(layers, rank), balanced_frames(base, rank)
    xp = namespace(*layers, *base)
    # One rotation of all frames of the base point brings its ends near those of the point.
    overlap = sum(transpose(target.frames[p]) @ source.frames[p] for p in (0, source.depth))
    rotation = polar_factor(target.lam[..., :, None] * overlap * source.lam[..., None, :])
    ends = source.frames[0] + 0 * target.frames[0], source.frames[-1] + 0 * target.frames[-1]
    starts = (
        [near + 0 * far for near, far in zip(source.frames, target.frames, strict=True)],
        [ends[0], *[frame @ rotation for frame in target.frames[1:-1]], ends[1]],
    )
    settled = [_settle(list(start), source.lam, base, max_sweeps) for start in starts]
    overlaps = [_overlap(layers, base) for layers in settled]
    nearer = (overlaps[1] > overlaps[0])[..., None, None]
    return in_kind([xp.where(nearer, b, a) for a, b in zip(*settled, strict=True)], factors)


def _settle(frames: list[Array], lam: Array, base: Sequence[Array], max_sweeps: int) -> list[Array]:
    """Sweep Procrustes steps over the hidden frames until none moves."""
    xp = namespace(*frames, *base)
    tolerance = round_off(lam) ** 0.75
    for _ in range(max_sweeps):
        moved = 0.0
        for p in range(1, len(base)):
            pull = base[p - 1] @ frames[p - 1] + transpose(base[p]) @ frames[p + 1]
            frame = polar_factor(pull * lam[..., None, :])
            moved = max(moved, float(xp.max(xp.abs(frame - frames[p]))))
            frames[p] = frame
        if moved <= tolerance:
            return [
                after * lam[..., None, :] @ transpose(before) for before, after in pairwise(frames)
            ]
    raise RuntimeError(
        f"alignment has not settled after {max_sweeps} sweeps (last move {moved:.1e}): the "
        "nearest point of the orbit is hardly unique there. Allow more sweeps (max_sweeps)."
    )


def _overlap(layers: Sequence[Array], base: Sequence[Array]) -> Array:
    xp = namespace(*layers, *base)
    return sum(xp.sum(a * b, axis=(-2, -1)) for a, b in zip(layers, base, strict=True))
