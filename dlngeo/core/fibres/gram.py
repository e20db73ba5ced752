r"""The Gram operator ``dφ dφ*`` of a network that need not be balanced.

It carries the normal space of a fibre: the normal part of a velocity ``V`` is ``dφ*(P)`` with
``dφ dφ*(P) = dφ(V)``, an equation for matrices of the shape of ``X``.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

from dlngeo.core.base.arrays import (
    Array,
    diagonal_matrix,
    eye,
    is_traced,
    namespace,
    quotient,
    round_off,
    transpose,
)
from dlngeo.core.base.checks import in_range
from dlngeo.core.base.primitives import primitive
from dlngeo.core.base.scales import at_scale, at_unit_scale
from dlngeo.core.base.vectors import Layers
from dlngeo.core.networks.factors import Factors, checked_matrix, in_kind, layers_of
from dlngeo.core.networks.network import adjoint_differential, differential, partial_products
from dlngeo.core.numerics.conjugate_gradients import better_solution, conjugate_gradient

DAMPING = 1e-14
"""What is added to the Gram operator in flows, relative to its size."""

DENSE_SIZE = 100
"""Number of entries of ``X`` up to which the Gram operator is solved as a dense matrix."""


class _Gram(NamedTuple):
    """The operator ``P ↦ Σ_p A_p P B_p`` in frames of ``W_{>1}`` and ``W_{<N}``.

    Attributes
    ----------
    left, right : array-like, shape=[..., m, m], shape=[..., n, n]
        Full frames, in which ``A_1`` and ``B_N`` are diagonal.
    after, before : list of array-like
        ``A_p = W_{>p} W_{>p}ᵀ`` and ``B_p = W_{<p}ᵀ W_{<p}`` in frames.
    diagonal : array-like, shape=[..., m, n]
        Diagonal of the operator, zero where it is below round-off.
    is_diagonal : bool
        Whether that is all of it, as for two layers.
    """

    left: Array
    right: Array
    after: list[Array]
    before: list[Array]
    diagonal: Array
    is_diagonal: bool

    def damped(self) -> "_Gram":
        """Return the operator with a multiple of the identity, `DAMPING` of its size."""
        xp = namespace(self.diagonal)
        shift = DAMPING * xp.amax(self.diagonal, axis=(-2, -1), keepdims=True)
        rows, columns = self.diagonal.shape[-2:]
        return self._replace(
            after=[*self.after, shift * eye(rows, rows, shift)],
            before=[*self.before, eye(columns, columns, shift)],
            diagonal=self.diagonal + shift,
        )

    def apply(self, matrix: Array) -> Array:
        """Apply the operator, in frames."""
        pairs = zip(self.after, self.before, strict=True)
        return sum(a @ matrix @ b for a, b in pairs)

    def precondition(self, matrix: Array) -> Array:
        """Divide by the diagonal where it is not zero."""
        return quotient(matrix, self.diagonal)


def full_frames(matrix: Array) -> tuple[Array, Array]:
    """Return a full frame of left singular vectors, and the squares of the values."""
    xp = namespace(matrix)
    is_tall = matrix.shape[-2] > matrix.shape[-1]
    matrix = in_range(matrix, "a product of factors")
    left, values, _ = xp.linalg.svd(matrix, full_matrices=is_tall)
    missing = matrix.shape[-2] - values.shape[-1]
    if missing:
        values = xp.concatenate([values, xp.zeros_like(left[..., 0, :missing])], -1)
    return left, values**2


def _gram(layers: Sequence[Array]) -> _Gram:
    """Return the Gram operator ``dφ dφ*`` at two or more layers."""
    xp = namespace(*layers)
    empty: frozenset[int] = frozenset()
    before, after = partial_products(layers)
    outer, inner = after[0][empty], before[-1][empty]
    left, left_squares = full_frames(outer)
    right, right_squares = full_frames(transpose(inner))
    after_products = [transpose(left) @ expansion[empty] for expansion in after[1:-1]]
    before_products = [expansion[empty] @ right for expansion in before[1:-1]]
    rows, columns = left.shape[-1], right.shape[-1]
    row_squares = [left_squares]
    row_squares += [xp.sum(matrix**2, axis=-1) for matrix in after_products]
    row_squares.append(xp.ones_like(left_squares))
    column_squares = [xp.ones_like(right_squares)]
    column_squares += [xp.sum(matrix**2, axis=-2) for matrix in before_products]
    column_squares.append(right_squares)
    diagonal = noise = 0
    unit = (round_off(left) * (rows + columns)) ** 2
    for of_rows, of_columns in zip(row_squares, column_squares, strict=True):
        term = of_rows[..., :, None] * of_columns[..., None, :]
        diagonal = diagonal + term
        noise = noise + unit * xp.amax(term, axis=(-2, -1), keepdims=True)
    return _Gram(
        left,
        right,
        [
            diagonal_matrix(left_squares),
            *[matrix @ transpose(matrix) for matrix in after_products],
            eye(rows, rows, left),
        ],
        [
            eye(columns, columns, right),
            *[transpose(matrix) @ matrix for matrix in before_products],
            diagonal_matrix(right_squares),
        ],
        xp.where(diagonal > noise, diagonal, xp.zeros_like(diagonal)),
        len(layers) == 2,
    )


def _solve_dense(gram: _Gram, matrix: Array) -> Array:
    """Solve the equation for small ``X`` by its dense matrix, scaled to a unit diagonal.

    A shift by a little more than round-off keeps it regular where the operator is not; what
    it costs is recovered by the refinement.
    """
    xp = namespace(gram.diagonal, matrix)
    rows, columns = matrix.shape[-2:]
    size = rows * columns
    scale = quotient(xp.ones_like(gram.diagonal), gram.diagonal**0.5)
    basis = xp.reshape(eye(size, size, gram.diagonal), (size, rows, columns))
    images = gram._replace(
        after=[a[..., None, :, :] for a in gram.after],
        before=[b[..., None, :, :] for b in gram.before],
    ).apply(scale[..., None, :, :] * basis)
    batch = gram.diagonal.shape[:-2]
    dense = xp.reshape(scale[..., None, :, :] * images, (*batch, size, size))
    shift = 64 * round_off(gram.diagonal) * eye(size, size, gram.diagonal)
    is_null = xp.reshape(gram.diagonal == 0, (*batch, 1, size))
    # Zero rows and columns take a unit diagonal.
    dense = dense + shift + xp.where(is_null, eye(size, size, dense), xp.zeros_like(dense))
    right_hand_side = xp.reshape(scale * matrix, (*matrix.shape[:-2], size, 1))
    solution = xp.linalg.solve(dense, right_hand_side)
    return scale * xp.reshape(solution, matrix.shape)


def _solve_once(gram: _Gram, matrix: Array, is_small: bool) -> Array:
    """Solve the equation, to all the digits or to half of them."""
    core = transpose(gram.left) @ matrix @ gram.right
    if gram.is_diagonal:
        core = gram.precondition(core)
    elif is_small:
        core = _solve_dense(gram, core)
    else:
        ((core,), _) = conjugate_gradient(
            lambda matrices: matrices.map(gram.apply), [core], lambda m: m.map(gram.precondition)
        )
    return gram.left @ core @ transpose(gram.right)


def _is_small(*arrays: Array) -> bool:
    """Tell whether to solve by a dense matrix, as all traced equations are."""
    *_, matrix = arrays
    return matrix.shape[-2] * matrix.shape[-1] <= DENSE_SIZE or is_traced(*arrays)


# With the operator G(W) = dφ dφ*: dP = G⁻¹ (dC - dG P), and ⟨Z, G P⟩ = ⟨dφ*(Z), dφ*(P)⟩.


def _gram_operator(arguments: tuple) -> Callable[[Array], Array]:
    (factors,) = arguments
    return lambda covector: differential(factors, adjoint_differential(factors, covector))


def _gram_solve_jvp(arguments: tuple, result: Array, tangents: tuple) -> Array:
    factors, _ = arguments
    velocity, change = tangents
    pulled = adjoint_differential(factors, result)
    moving = differential(factors, velocity, pulled)
    moving = moving + differential(factors, adjoint_differential(factors, result, velocity))
    return gram_solve(factors, change - moving)


def _gram_solve_vjp(arguments: tuple, result: Array, cotangent: Array) -> tuple[Factors, Array]:
    factors, _ = arguments
    solved = gram_solve(factors, cotangent)
    by_factors = Layers(
        layers_of(adjoint_differential(factors, solved, adjoint_differential(factors, result)))
    ) + layers_of(adjoint_differential(factors, result, adjoint_differential(factors, solved)))
    return in_kind(-by_factors, factors), solved


@primitive(jvp=_gram_solve_jvp, vjp=_gram_solve_vjp, operator=_gram_operator)
def gram_solve(factors: Factors, matrix: Array) -> Array:
    r"""Solve ``dφ dφ*(P) = C`` at factors that need not be balanced.

    .. math:: \sum_{p=1}^{N} A_p P B_p = C, \quad
              A_p = W_{>p} W_{>p}^T, \quad B_p = W_{<p}^T W_{<p}.

    At depth 2 it is a Sylvester equation, solved in the frames of ``W_{>1}`` and ``W_{<N}``; at
    larger depth these make ``A_1`` and ``B_N`` diagonal, and the diagonal of the operator
    preconditions conjugate gradients (at balanced factors it is all of it). Small equations are
    solved by their dense matrix. What is left of the equation is solved for once more.

    Parameters
    ----------
    factors : factors
    matrix : array-like, shape=[..., d_N, d_0]
        ``C`` in the range of ``dφ``: all matrices if ``X`` has full rank ``min(d_0, d_N)``.

    Returns
    -------
    covector : array-like, shape=[..., d_N, d_0]
        ``P``; where the operator is singular, some solution, of which ``dφ*(P)`` is the only one.

    Notes
    -----
    Differentiable, to any order, where the operator is regular; what JAX differentiates or
    compiles is solved by a dense matrix at every size. The residual is about
    ``1e-15`` of ``C``, and grows with the squared condition number of ``dφ``: ``4e-9`` for
    eight Gaussian layers of width 60, of which the product has condition number ``1e13``.

    References
    ----------
    [LM25] (the projection of the balancing flow); own derivation.
    """
    layers = layers_of(factors)
    matrix = checked_matrix(matrix, (layers[-1].shape[-2], layers[0].shape[-1]), layers[0])
    depth = len(layers)
    if depth == 1:
        return matrix
    layers, matrix, down, exponent = at_unit_scale(2 * depth, layers, matrix)
    gram, is_small = _gram(layers), _is_small(*layers, matrix)

    def residual(solution: Array) -> Array:
        return matrix - differential(layers, adjoint_differential(layers, solution))

    first = _solve_once(gram, matrix, is_small)
    rest = residual(first)
    second = first + _solve_once(gram, rest, is_small)
    (solution,) = better_solution([first], [rest], [second], [residual(second)])
    return at_scale(solution, exponent - 2 * (depth - 1) * down, "the solution")


def tangent_part(layers: Sequence[Array], velocity: Sequence[Array]) -> Layers:
    change = differential(layers, velocity)
    if is_traced(*layers, change) or len(layers) == 1:
        return Layers(velocity) - adjoint_differential(layers, gram_solve(layers, change))
    gram, is_small = _gram(layers), _is_small(change)

    def project(tangent: Sequence[Array], change: Array) -> Layers:
        covector = _solve_once(gram, change, is_small)
        return Layers(tangent) - adjoint_differential(layers, covector)

    first = project(velocity, change)
    rest = differential(layers, first)
    # Once more, for what is left of the normal part: where the operator is ill conditioned,
    # dφ(V) vanishes to round-off all the same.
    second = project(first, rest)
    return better_solution(first, [rest], second, [differential(layers, second)])


def damped_tangent_part(layers: Sequence[Array], velocity: Sequence[Array]) -> Layers:
    """Return ``V - dφ*(P)`` with ``(dφ dφ* + δ)(P) = dφ(V)`` and a tiny ``δ``.

    Where the rank of ``dφ`` drops the tangent part jumps; this one does not, so that flows
    through such points can be integrated. What is taken off is in ``range dφ*`` to the last bit.
    """
    if len(layers) == 1:
        return 0 * Layers(velocity)
    change = differential(layers, velocity)
    covector = _solve_once(_gram(layers).damped(), change, _is_small(change))
    return Layers(velocity) - adjoint_differential(layers, covector)
