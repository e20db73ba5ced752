"""Balanced factors of a matrix, and of a network."""

from collections.abc import Sequence
from typing import Any

from dlngeo.core.base.arrays import Array, eye, is_traced, namespace, transpose
from dlngeo.core.base.checks import real_array
from dlngeo.core.base.primitives import primitive
from dlngeo.core.networks.equations import kernel_solve, polar_factor
from dlngeo.core.networks.factors import (
    Factors,
    check_widths,
    in_kind,
    layers_of,
    network_shape,
    widths_of,
)
from dlngeo.core.networks.frames import (
    BalancedFrames,
    SingularFrames,
    check_positive,
    exact_frames,
    singular_frames,
)
from dlngeo.core.networks.network import (
    adjoint,
    adjoint_differential,
    compose,
    differential,
    end_to_end,
    partial_products,
)


def factors_over(frames: SingularFrames, widths: Sequence[int]) -> tuple[Array, ...]:
    """Return balanced factors of the given widths over a matrix in its singular frames."""
    left, sigma, right = frames
    hidden = [eye(width, sigma.shape[-1], sigma) for width in widths[1:-1]]
    lam = sigma ** (1 / (len(widths) - 1))
    return tuple(BalancedFrames((right, *hidden, left), lam).layers)


def inverse_gram(layers: Sequence[Array], velocity: Array, rank: int) -> Array:
    """Return ``(dφ dφ*)⁻¹ Z`` at balanced layers, by differentiable kernels."""
    last, first = layers[-1], layers[0]
    return kernel_solve(
        last @ transpose(last), transpose(first) @ first, velocity, depth=len(layers), rank=rank
    )


def horizontal_lift_of(layers: Sequence[Array], velocity: Array, rank: int) -> tuple[Array, ...]:
    """Return ``dφ* (dφ dφ*)⁻¹ Z`` at balanced layers, by differentiable kernels."""
    return adjoint_differential(layers, inverse_gram(layers, velocity, rank))


# Any right inverse of dφ on the tangent space is the derivative of some local section
# of the bundle of factors; the horizontal lift is the one without differences of singular
# values in a denominator. Functions that do not depend on the section, the only ones in
# use, are differentiated rightly by it along matrices of the rank, to every order.


def _section_jvp(arguments: tuple, result: tuple, tangents: tuple, rank: int, **_: Any) -> Any:
    return horizontal_lift_of(result, tangents[0], rank)


def _section_vjp(arguments: tuple, result: tuple, cotangents: tuple, rank: int, **_: Any) -> tuple:
    # The adjoint of Z -> dφ*(A⁻¹ Z) is V -> A⁻¹ dφ(V).
    return (inverse_gram(result, differential(result, cotangents), rank),)


@primitive(static=("widths", "rank", "truncate"), jvp=_section_jvp, vjp=_section_vjp)
def _section(matrix: Array, widths: tuple, rank: int, truncate: bool) -> tuple[Array, ...]:
    """Return balanced layers over a matrix."""
    if len(widths) == 2 and rank == min(widths):
        return (matrix,)
    frames = singular_frames(matrix, rank) if truncate else exact_frames(matrix, rank)
    return factors_over(frames, widths)


def thin_layers(
    matrix: Array, depth: int, rank: int, *, truncate: bool = False
) -> tuple[Array, ...]:
    """Return balanced layers, as narrow as can be, over a matrix of the given rank.

    A matrix of another rank is refused, or one of a higher rank truncated.
    """
    rows, columns = matrix.shape[-2:]
    widths = (columns, *[rank] * (depth - 1), rows)
    return _section(matrix, widths, rank, truncate)


def factorize(
    matrix: Array,
    depth: int,
    widths: Sequence[int] | None = None,
    rank: int | None = None,
) -> Factors:
    r"""Return balanced factors of a matrix, a section of the balanced manifold.

    With the singular value decomposition ``X = Q_N Σ Q_0ᵀ`` and ``Λ = Σ^{1/N}``,

    .. math:: W = (Λ Q_0^T, Λ, ..., Λ, Q_N Λ),

    padded with zeros where a hidden layer is wider than the rank.

    Parameters
    ----------
    matrix : array-like, shape=[..., d_N, d_0]
    depth : int
        Depth ``N``.
    widths : sequence of int, optional
        Widths ``(d_0, ..., d_N)``; the hidden ones are ``min(d_0, d_N)`` by default.
    rank : int, optional
        Rank of the factors, full by default. A matrix of higher rank is truncated.

    Returns
    -------
    factors : array-like, shape=[..., N, d, d], or tuple of shape=[..., d_p, d_{p-1}]
        One array if all widths are equal.

    Raises
    ------
    ValueError
        If widths and depth do not fit the matrix, or an entry is NaN or infinite.

    Notes
    -----
    The derivative is the horizontal lift of the balanced manifold. It serves every
    function of the factors that does not depend on the choice of the section, also at
    repeated singular values, to any order along matrices of the rank. A second derivative
    in two fixed directions that leave the rank is none, nor is one where the matrix is
    truncated. A matrix of lower rank gives factors of lower rank.

    References
    ----------
    [BRTW22]; THEORY 2.
    """
    matrix = real_array(matrix, "the matrix")
    widths, rank = network_shape(matrix, depth, widths, rank)
    layers = _section(matrix, widths, rank, True)
    if len(set(widths)) == 1:
        return namespace(matrix).stack(list(layers), -3)
    return layers


def balance(factors: Factors, rank: int | None = None) -> Factors:
    r"""Return the closed-form balanced point of the fibre.

    With the singular value decomposition ``φ(W) = Q_N Λ^N Q_0ᵀ``, truncated to the rank,

    .. math:: Q_p = \mathrm{polar}(W_{p:1} Q_0 Λ^{-p} + W_{>p}^T Q_N Λ^{-(N-p)}), \quad
              \mathrm{bal}(W)_p = Q_p Λ Q_{p-1}^T.

    It keeps ``φ(W)``, has zero moment map and the smallest norm on the fibre,
    ``‖bal(W)‖² = N Σ σ_k^{2/N}``. Its differential at a balanced point is the orthogonal
    projector on the tangent space, and ``bal(W + V)`` is a second-order retraction.

    Parameters
    ----------
    factors : array-like, shape=[..., N, d, d], or sequence of shape=[..., d_p, d_{p-1}]
        Balanced or not.
    rank : int, optional
        Rank of the balanced point, ``min(widths)`` by default.

    Returns
    -------
    balanced : like factors

    Raises
    ------
    ValueError
        If ``φ(W)`` has a lower rank than asked for.

    Notes
    -----
    The polar factors are of matrices ``M + K`` with ``Kᵀ M = I``, whose singular values
    are at least 2: well defined also at repeated singular values. Round-off grows like
    ``ε (λ_1 / λ_r)^N``.

    References
    ----------
    [LM25] (Kempf–Ness); THEORY 2 (own closed form).
    """
    layers = layers_of(factors)
    _, rank = check_widths(widths_of(layers), rank)
    depth = len(layers)
    if depth == 1 and rank == min(layers[0].shape[-2:]):
        return in_kind(layers, factors)
    # In units of their size, so that products stay in range.
    unit = _unit(layers)
    layers = tuple(layer / unit for layer in layers)
    observable = end_to_end(layers)
    root = thin_layers(observable, depth, rank, truncate=True)
    if depth == 1:
        check_positive(singular_frames(observable, rank).sigma, rank)
        return in_kind([unit * layer for layer in root], factors)
    # The rows of Λ Q_0ᵀ have the norms λ = σ^{1/N}.
    check_positive(namespace(root[0]).sum(root[0] ** 2, axis=-1) ** (depth / 2), rank)
    # Q_0 Λ^{-p} and Q_N Λ^{-(N-p)} as pseudo-inverses of the products of the root's
    # layers: in this form every step is differentiable, and any section serves.
    down = right_inverses(root)
    up = right_inverses([transpose(layer) for layer in reversed(root)])
    before, after = partial_products(layers)
    start: frozenset[int] = frozenset()
    frames: list = [None]
    for p in range(1, depth):
        frames.append(
            polar_factor(
                before[p][start] @ down[p - 1] + transpose(after[p - 1][start]) @ up[depth - p - 1]
            )
        )
    frames.append(None)
    balanced = [
        compose(compose(q, unit * layer), adjoint(q_before))
        for q_before, layer, q in zip(frames[:-1], root, frames[1:], strict=True)
    ]
    return in_kind(balanced, factors)


def _unit(layers: Sequence[Array]) -> Array:
    """Return a power of two near the geometric mean of the largest entries, shape=[..., 1, 1].

    One where nothing has definite values, or all of a factor vanishes.
    """
    xp = namespace(*layers)
    if is_traced(*layers):
        return xp.ones_like(layers[0][..., :1, :1])
    largest = [xp.max(xp.abs(layer), axis=(-2, -1), keepdims=True) for layer in layers]
    safe = [xp.where(value > 0, value, xp.ones_like(value)) for value in largest]
    return 2.0 ** xp.round(sum(map(xp.log2, safe)) / len(layers))


def right_inverses(layers: Sequence[Array]) -> list[Array]:
    """Return right inverses of ``W_{p:1}`` for ``p = 1, ..., N-1`` at full row rank."""
    xp = namespace(*layers)
    first = layers[0]
    inverses = [transpose(first) @ xp.linalg.inv(first @ transpose(first))]
    for layer in layers[1:-1]:
        inverses.append(inverses[-1] @ xp.linalg.inv(layer))
    return inverses
