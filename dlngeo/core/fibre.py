r"""Geometry of the fibres of a network: all the factors over one end-to-end matrix.

The fibre of ``X`` is ``F_X = {W : W_N ... W_1 = X}``, balanced or not. Over a matrix of full
rank ``r = min_p d_p`` it is a closed manifold with the tangent space ``ker dφ`` and the normal
space ``range dφ*``. The groups ``GL(d_p)`` of the hidden layers move along it, and the balanced
points are the minima of ``‖W‖²`` (Kempf and Ness). The orbits of the group are open in the fibre
if no two neighbouring layers, the ends included, are both wider than ``r``; otherwise there are
orbits of lower dimension, those of the balanced points among them.

Over a matrix of lower rank the fibre is singular: the projections are still those on
``ker dφ`` and ``range dφ*``, at the given factors.
"""

import itertools
import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import array_api_compat

from dlngeo.core.arrays import (
    Array,
    Primitive,
    diagonal_matrix,
    eye,
    is_traced,
    namespace,
    real_array,
    refuse,
    transpose,
)
from dlngeo.core.factors import (
    Factors,
    check_same_shapes,
    check_widths,
    checked_matrix,
    in_kind,
    in_parts,
    layers_of,
    network_shape,
    widths_of,
)
from dlngeo.core.frames import check_positive, round_off, singular_frames
from dlngeo.core.network import (
    action_on_layers,
    adjoint_differential,
    differential,
    end_to_end,
    hidden_matrices,
    moment_map,
    partial_products,
    right_inverses,
    thin_layers,
)

DENSE_SIZE = 100
"""Number of entries of ``X`` up to which the Gram operator is solved as a dense matrix."""
MOST_STEPS, STALE_STEPS = 1000, 50
"""Numbers of steps, and of steps without gain, after which conjugate gradients stop."""
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


# --- the Gram operator dφ dφ* ----------------------------------------------------------


class _Gram(NamedTuple):
    """The operator ``P ↦ Σ_p A_p P B_p`` in frames of ``W_{>1}`` and ``W_{<N}``.

    Attributes
    ----------
    left, right : array-like, shape=[..., m, m], shape=[..., n, n]
        Full frames, in which ``A_1`` and ``B_N`` are diagonal.
    after, before : list of array-like
        ``A_p = W_{>p} W_{>p}ᵀ`` and ``B_p = W_{<p}ᵀ W_{<p}`` in frames.
    kernel : array-like, shape=[..., m, n]
        Diagonal of the operator, zero where it is below round-off.
    """

    left: Array
    right: Array
    after: list[Array]
    before: list[Array]
    kernel: Array

    def apply(self, matrix: Array) -> Array:
        """Apply the operator, in frames."""
        pairs = zip(self.after, self.before, strict=True)
        return sum(a @ matrix @ b for a, b in pairs)

    def precondition(self, matrix: Array) -> Array:
        """Divide by the diagonal where it is not zero."""
        return _divided(matrix, self.kernel)


def _divided(matrix: Array, kernel: Array) -> Array:
    """Return ``matrix / kernel``, zero where the kernel is."""
    xp = namespace(matrix, kernel)
    is_zero = kernel == 0
    quotient = matrix / xp.where(is_zero, xp.ones_like(kernel), kernel)
    return xp.where(is_zero, xp.zeros_like(quotient), quotient)


def _full_frames(matrix: Array) -> tuple[Array, Array]:
    """Return a full frame of left singular vectors, and the squares of the values."""
    xp = namespace(matrix)
    is_tall = matrix.shape[-2] > matrix.shape[-1]
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
    left, left_squares = _full_frames(outer)
    right, right_squares = _full_frames(transpose(inner))
    lefts = [transpose(left) @ expansion[empty] for expansion in after[1:-1]]
    rights = [expansion[empty] @ right for expansion in before[1:-1]]
    rows, columns = left.shape[-1], right.shape[-1]
    squares = [left_squares]
    squares += [xp.sum(matrix**2, axis=-1) for matrix in lefts]
    squares.append(xp.ones_like(left_squares))
    others = [xp.ones_like(right_squares)]
    others += [xp.sum(matrix**2, axis=-2) for matrix in rights]
    others.append(right_squares)
    kernel = noise = 0
    unit = (round_off(left) * (rows + columns)) ** 2
    for one, other in zip(squares, others, strict=True):
        term = one[..., :, None] * other[..., None, :]
        kernel = kernel + term
        noise = noise + unit * xp.amax(term, axis=(-2, -1), keepdims=True)
    return _Gram(
        left,
        right,
        [
            diagonal_matrix(left_squares),
            *[matrix @ transpose(matrix) for matrix in lefts],
            eye(rows, rows, left),
        ],
        [
            eye(columns, columns, right),
            *[transpose(matrix) @ matrix for matrix in rights],
            diagonal_matrix(right_squares),
        ],
        xp.where(kernel > noise, kernel, xp.zeros_like(kernel)),
    )


def _solved_dense(gram: _Gram, matrix: Array) -> Array:
    """Solve the equation for small ``X`` by its dense matrix, scaled to a unit diagonal.

    A shift by a little more than round-off keeps it regular where the operator is not; what
    it costs is recovered by the refinement.
    """
    xp = namespace(gram.kernel, matrix)
    rows, columns = matrix.shape[-2:]
    size = rows * columns
    scale = _divided(xp.ones_like(gram.kernel), gram.kernel**0.5)
    basis = xp.reshape(eye(size, size, gram.kernel), (size, rows, columns))
    images = gram._replace(
        after=[a[..., None, :, :] for a in gram.after],
        before=[b[..., None, :, :] for b in gram.before],
    ).apply(scale[..., None, :, :] * basis)
    batch = gram.kernel.shape[:-2]
    dense = xp.reshape(scale[..., None, :, :] * images, (*batch, size, size))
    shift = 64 * round_off(gram.kernel) * eye(size, size, gram.kernel)
    is_null = xp.reshape(gram.kernel == 0, (*batch, 1, size))
    # Zero rows and columns take a unit diagonal.
    dense = dense + shift + xp.where(is_null, eye(size, size, dense), xp.zeros_like(dense))
    right_hand_side = xp.reshape(scale * matrix, (*matrix.shape[:-2], size, 1))
    solution = xp.linalg.solve(dense, right_hand_side)
    return scale * xp.reshape(solution, matrix.shape)


def _conjugate_gradients(
    operator: Callable[[Sequence[Array]], Sequence[Array]],
    precondition: Callable[[Sequence[Array]], Sequence[Array]],
    right_hand_side: Sequence[Array],
) -> list[Array]:
    """Solve a semidefinite equation for tuples of matrices, to half the digits.

    Every element of a batch stops by itself. Where the equation is singular, round-off keeps
    the right-hand side from being in the range: the best step counts.
    """
    xp = namespace(*right_hand_side)

    def inner(one: Sequence[Array], other: Sequence[Array]) -> Array:
        pairs = zip(one, other, strict=True)
        return sum(xp.sum(a * b, axis=(-2, -1), keepdims=True) for a, b in pairs)

    def moved(one: Sequence[Array], factor: Array, other: Sequence[Array]) -> list[Array]:
        return [a + factor * b for a, b in zip(one, other, strict=True)]

    residual = list(right_hand_side)
    solution = [0 * r for r in residual]
    direction = list(precondition(residual))
    size = inner(residual, direction)
    bound = round_off(size) ** 1.1 * size
    best, least, stale = solution, size, 0 * size
    for _ in range(MOST_STEPS):
        is_moving = (size > bound) & (stale < STALE_STEPS)
        if not bool(xp.any(is_moving)):
            break
        image = operator(direction)
        step = _divided(size, xp.where(is_moving, inner(direction, image), 0 * size))
        solution = moved(solution, step, direction)
        residual = moved(residual, -step, image)
        following = list(precondition(residual))
        new_size = xp.where(is_moving, inner(residual, following), 0 * size)
        direction = moved(following, _divided(new_size, size), direction)
        size = new_size
        is_better = is_moving & (size < least)
        best = [xp.where(is_better, new, old) for new, old in zip(solution, best, strict=True)]
        least = xp.where(is_better, size, least)
        stale = xp.where(is_better, 0 * stale, stale + 1)
    return best


def _solved_once(gram: _Gram, matrix: Array, is_small: bool) -> Array:
    """Solve the equation, to all the digits or to half of them."""
    core = transpose(gram.left) @ matrix @ gram.right
    if len(gram.after) == 2:
        core = gram.precondition(core)
    elif is_small:
        core = _solved_dense(gram, core)
    else:
        (core,) = _conjugate_gradients(
            lambda matrices: [gram.apply(matrices[0])],
            lambda matrices: [gram.precondition(matrices[0])],
            [core],
        )
    return gram.left @ core @ transpose(gram.right)


def _is_small(*arrays: Array) -> bool:
    """Tell whether to solve by a dense matrix, as all traced equations are."""
    *_, matrix = arrays
    return matrix.shape[-2] * matrix.shape[-1] <= DENSE_SIZE or is_traced(*arrays)


def _gram_solve_value(*arrays: Array) -> Array:
    *layers, matrix = arrays
    if len(layers) == 1:
        return matrix
    gram, is_small = _gram(layers), _is_small(*arrays)

    def residual(solution: Sequence[Array]) -> list[Array]:
        pulled = adjoint_differential(layers, solution[0])
        return [matrix - differential(layers, pulled)]

    first = [_solved_once(gram, matrix, is_small)]
    left = residual(first)
    second = [first[0] + _solved_once(gram, left[0], is_small)]
    return _better(first, left, second, residual(second))[0]


def _better(
    first: Sequence[Array],
    first_left: Sequence[Array],
    second: Sequence[Array],
    second_left: Sequence[Array],
) -> list[Array]:
    """Return of two solutions the one that leaves less of the equation, for each of a batch.

    Where the first leaves only round-off and the equation is singular, the second is worse.
    """
    xp = namespace(*second)
    is_better = (_norm(second_left) < _norm(first_left))[..., None, None]
    return [xp.where(is_better, new, old) for old, new in zip(first, second, strict=True)]


# With the operator G(W) = dφ dφ*: dP = G⁻¹ (dC - dG P), and ⟨Z, G P⟩ = ⟨dφ*(Z), dφ*(P)⟩.


def _gram_solve_jvp(arrays: tuple, result: Array, tangents: tuple) -> Array:
    *layers, _ = arrays
    *velocity, change = tangents
    pulled = adjoint_differential(layers, result)
    moving = differential(layers, velocity, pulled)
    moving = moving + differential(layers, adjoint_differential(layers, result, velocity))
    return _gram_solve(*layers, change - moving)


def _gram_solve_vjp(arrays: tuple, result: Array, cotangent: Array) -> tuple[Array, ...]:
    *layers, _ = arrays
    solved = _gram_solve(*layers, cotangent)
    by_layers = zip(
        adjoint_differential(layers, solved, adjoint_differential(layers, result)),
        adjoint_differential(layers, result, adjoint_differential(layers, solved)),
        strict=True,
    )
    return (*[-one - other for one, other in by_layers], solved)


_gram_primitive = Primitive(_gram_solve_value, _gram_solve_jvp, _gram_solve_vjp)


def _gram_solve(*arrays: Array) -> Array:
    if not (is_traced(*arrays) and array_api_compat.is_jax_array(arrays[-1])):
        return _gram_primitive(*arrays)
    # As in `equations.kernel_solve`: JAX drops the rule of a function whose linear argument
    # it transposes, but knows the implicit rule of a linear solve by itself.
    import jax

    *layers, matrix = arrays
    return jax.lax.custom_linear_solve(
        lambda covector: differential(layers, adjoint_differential(layers, covector)),
        matrix,
        lambda _, right_hand_side: _gram_solve_value(*layers, right_hand_side),
        symmetric=True,
    )


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
    factors : array-like, shape=[..., N, d, d], or sequence of shape=[..., d_p, d_{p-1}]
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
    matrix = checked_matrix(matrix, layers[-1].shape[-2], layers[0].shape[-1])
    return _gram_solve(*layers, matrix)


# --- tangent and normal space ----------------------------------------------------------


def normal_projection(factors: Factors, vector: Factors) -> Factors:
    r"""Project a velocity orthogonally on the normal space of the fibre, ``range dφ*``.

    .. math:: Π_n(V) = dφ^*(P), \quad dφ \, dφ^*(P) = dφ(V)

    Parameters
    ----------
    factors : array-like, shape=[..., N, d, d], or sequence of shape=[..., d_p, d_{p-1}]
        Factors, balanced or not.
    vector : the same shapes

    Returns
    -------
    normal_vec : like factors

    Raises
    ------
    ValueError
        If the vector does not have the shapes of the factors.

    References
    ----------
    [LM25]; THEORY 5.
    """
    layers, velocity = layers_of(factors), layers_of(vector)
    check_same_shapes(layers, velocity)
    return in_kind(_difference(velocity, _tangent_part(layers, velocity)), factors)


def _tangent_part(layers: Sequence[Array], velocity: Sequence[Array]) -> list[Array]:
    change = differential(layers, velocity)
    if is_traced(*layers, change) or len(layers) == 1:
        return _difference(velocity, adjoint_differential(layers, _gram_solve(*layers, change)))
    gram, is_small = _gram(layers), _is_small(change)

    def projected(tangent: Sequence[Array], change: Array) -> list[Array]:
        covector = _solved_once(gram, change, is_small)
        return _difference(tangent, adjoint_differential(layers, covector))

    first = projected(velocity, change)
    left = differential(layers, first)
    # Once more, for what is left of the normal part: where the operator is ill conditioned,
    # dφ(V) vanishes to round-off all the same.
    second = projected(first, left)
    return _better(first, [left], second, [differential(layers, second)])


def tangent_projection(factors: Factors, vector: Factors) -> Factors:
    r"""Project a velocity orthogonally on the tangent space of the fibre, ``ker dφ``.

    Where the orbit of ``GL(d_1) × ... × GL(d_{N-1})`` is open in the fibre, these are the
    velocities ``(a_p W_p - W_p a_{p-1})_p``.

    Parameters
    ----------
    factors : array-like, shape=[..., N, d, d], or sequence of shape=[..., d_p, d_{p-1}]
        Factors, balanced or not.
    vector : the same shapes

    Returns
    -------
    tangent_vec : like factors

    Raises
    ------
    ValueError
        If the vector does not have the shapes of the factors.

    References
    ----------
    [LM25]; THEORY 5.
    """
    layers, velocity = layers_of(factors), layers_of(vector)
    check_same_shapes(layers, velocity)
    return in_kind(_tangent_part(layers, velocity), factors)


def _difference(one: Sequence[Array], other: Sequence[Array]) -> list[Array]:
    return [a - b for a, b in zip(one, other, strict=True)]


def project_to_fibre(factors: Factors, matrix: Array) -> Factors:
    r"""Move factors to the fibre of a matrix near to ``φ(W)``, by Newton's method.

    .. math:: W ← W + dφ^*(P), \quad dφ \, dφ^*(P) = X - φ(W)

    The steps are normal to the fibres, and of least norm.

    Parameters
    ----------
    factors : array-like, shape=[..., N, d, d], or sequence of shape=[..., d_p, d_{p-1}]
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
    matrix = checked_matrix(matrix, layers[-1].shape[-2], layers[0].shape[-1])
    xp = namespace(matrix, *layers)
    residual = matrix - end_to_end(layers)
    size = xp.linalg.matrix_norm(residual, keepdims=True)
    bound = 8 * round_off(matrix) * xp.linalg.matrix_norm(matrix, keepdims=True)
    for _ in range(NEWTON_STEPS):
        if not bool(xp.any(size > bound)):
            break
        step = adjoint_differential(layers, _gram_solve_value(*layers, residual))
        moved = [layer + s for layer, s in zip(layers, step, strict=True)]
        left = matrix - end_to_end(moved)
        new_size = xp.linalg.matrix_norm(left, keepdims=True)
        is_better = new_size < size
        if not bool(xp.any(is_better)):
            break
        layers = tuple(xp.where(is_better, m, w) for m, w in zip(moved, layers, strict=True))
        residual = xp.where(is_better, left, residual)
        size = xp.where(is_better, new_size, size)
    return in_kind(layers, factors)


# --- the group and its metric ----------------------------------------------------------


def _action_adjoint(layers: Sequence[Array], vector: Sequence[Array]) -> list[Array]:
    """Return ``V_p W_pᵀ - W_{p+1}ᵀ V_{p+1}``, the adjoint of the infinitesimal action."""
    pairs = itertools.pairwise(zip(layers, vector, strict=True))
    return [v @ transpose(w) - transpose(after) @ u for (w, v), (after, u) in pairs]


def _algebra_value(*arrays: Array) -> tuple[Array, ...]:
    layers, vector = in_parts(arrays, 2)
    xp = namespace(*arrays)
    frames = []
    for p, layer in enumerate(layers, start=1):
        left, left_squares = _full_frames(layer)
        right, right_squares = _full_frames(transpose(layer))
        # a_p acts from the left, and not on the last layer, a_{p-1} from the right.
        kernel = 0 * left_squares[..., :, None] * right_squares[..., None, :]
        if p < len(layers):
            kernel = kernel + right_squares[..., None, :]
        if p > 1:
            kernel = kernel + left_squares[..., :, None]
        noise = (round_off(layer) * sum(layer.shape[-2:])) ** 2
        noise = noise * xp.amax(kernel, axis=(-2, -1), keepdims=True)
        frames.append((left, xp.where(kernel > noise, kernel, 0 * kernel), right))

    def operator(vectors: Sequence[Array]) -> list[Array]:
        return action_on_layers(_action_adjoint(layers, vectors), layers)

    def precondition(vectors: Sequence[Array]) -> list[Array]:
        return [
            left @ _divided(transpose(left) @ v @ right, kernel) @ transpose(right)
            for v, (left, kernel, right) in zip(vectors, frames, strict=True)
        ]

    def solved(velocity: Sequence[Array]) -> list[Array]:
        return _action_adjoint(layers, _conjugate_gradients(operator, precondition, velocity))

    def residual(elements: Sequence[Array]) -> list[Array]:
        return _difference(vector, action_on_layers(elements, layers))

    first = solved(vector)
    left = residual(first)
    second = [a + b for a, b in zip(first, solved(left), strict=True)]
    return tuple(_better(first, left, second, residual(second)))


_algebra_element = Primitive(_algebra_value, refuse, refuse)


def algebra_element(factors: Factors, vector: Factors) -> Factors:
    r"""Return the element of the Lie algebra of least norm that gives a velocity.

    .. math:: a_p W_p - W_p a_{p-1} = V_p, \quad a_0 = a_N = 0,

    with the least ``Σ_p ‖a_p‖²``: ``a = ξ^*(Y)``, ``ξ ξ^*(Y) = V``, by conjugate gradients with
    a Sylvester equation a layer for preconditioner.

    Parameters
    ----------
    factors : array-like, shape=[..., N, d, d], or sequence of shape=[..., d_p, d_{p-1}]
    vector : the same shapes
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
    Own derivation; see `dlngeo.core.network.infinitesimal_action`.
    """
    layers, velocity = layers_of(factors), layers_of(vector)
    check_same_shapes(layers, velocity)
    elements = _algebra_element(*layers, *velocity) if len(layers) > 1 else ()
    defect = _difference(velocity, action_on_layers(elements, layers))
    xp = namespace(*defect)
    bound = round_off(velocity[0]) ** 0.4 * _norm(velocity)
    if not bool(xp.all(_norm(defect) <= bound)):
        raise ValueError(
            "the vector is not tangent to the orbit of the group: project it on the tangent space "
            "first (tangent_projection). Where two neighbouring layers are wider than the rank of "
            "X, the fibre has tangent vectors that leave the orbit: the group metric is not "
            "defined for them."
        )
    if not elements and not isinstance(factors, (tuple, list)):
        return factors[..., :0, :, :]
    return in_kind(elements, factors)


def _norm(matrices: Sequence[Array]) -> Array:
    return _squared_norm(matrices) ** 0.5


def _squared_norm(matrices: Sequence[Array]) -> Array:
    return sum(namespace(matrix).sum(matrix**2, axis=(-2, -1)) for matrix in matrices)


def group_inner_product(factors: Factors, vector: Factors, other: Factors) -> Array:
    r"""Return the inner product of the group metric on the orbit through factors.

    .. math:: ⟨ξ_a(W), ξ_{a'}(W)⟩_G = \sum_p \mathrm{tr}(a_p^T a'_p)

    with the elements ``a, a'`` of least norm, symmetric and skew parts alike. In this metric
    the gradient of ``½‖W‖²`` is ``-ξ_μ(W)``: its descent is the flow
    ``Ẇ_p = μ_p W_p - W_p μ_{p-1}`` of the squared moment map.

    Parameters
    ----------
    factors : array-like, shape=[..., N, d, d], or sequence of shape=[..., d_p, d_{p-1}]
    vector, other : the same shapes
        Tangent to the orbit.

    Returns
    -------
    inner_product : array-like, shape=[...]

    Raises
    ------
    ValueError
        If a vector is not tangent to the orbit of the group.

    References
    ----------
    [LM25]; THEORY 5.
    """
    one = algebra_element(layers_of(factors), layers_of(vector))
    two = one if other is vector else algebra_element(layers_of(factors), layers_of(other))
    xp = namespace(*layers_of(factors), *layers_of(vector), *layers_of(other))
    zero = 0 * xp.sum(layers_of(factors)[0] * layers_of(vector)[0], axis=(-2, -1))
    return sum((xp.sum(a * b, axis=(-2, -1)) for a, b in zip(one, two, strict=True)), start=zero)


def group_gradient(factors: Factors, gradient: Factors) -> Factors:
    r"""Return the gradient of a function in the group metric, from its ambient gradient.

    .. math:: ξ_a(W), \quad a_p = G_p W_p^T - W_{p+1}^T G_{p+1}

    Of ``½‖W‖²``, with ``G = W``, it is ``-ξ_μ(W)``, which also is the gradient of
    ``¼ Σ_p ‖μ_p‖²`` in parameter space.

    Parameters
    ----------
    factors : array-like, shape=[..., N, d, d], or sequence of shape=[..., d_p, d_{p-1}]
    gradient : the same shapes
        ``G``, the gradient in parameter space.

    Returns
    -------
    tangent_vec : like factors

    Raises
    ------
    ValueError
        If the gradient does not have the shapes of the factors.

    References
    ----------
    [LM25]; THEORY 5.
    """
    layers, ambient = layers_of(factors), layers_of(gradient)
    check_same_shapes(layers, ambient)
    return in_kind(action_on_layers(_action_adjoint(layers, ambient), layers), factors)


# --- Kempf and Ness --------------------------------------------------------------------


def _with_ends(metrics: Factors, layers: Sequence[Array]) -> list[Array]:
    """Return ``h_0 = I``, the given ``h_p``, and ``h_N = I``."""
    first, last = layers[0].shape[-1], layers[-1].shape[-2]
    hidden = hidden_matrices(metrics, layers, "metric of the hidden layers")
    return [eye(first, first, layers[0]), *hidden, eye(last, last, layers[0])]


def _energy(metrics: Sequence[Array], layers: Sequence[Array]) -> Array:
    """Return ``½ Σ_p tr(h_p W_p h_{p-1}^{-1} W_pᵀ)``."""
    total: Array = 0
    for layer, (before, after) in zip(layers, itertools.pairwise(metrics), strict=True):
        xp = namespace(layer, before, after)
        raised = transpose(xp.linalg.solve(before, transpose(layer)))
        total = total + xp.sum((after @ layer) * raised, axis=(-2, -1))
    return total / 2


def kempf_ness(factors: Factors, metrics: Factors) -> Array:
    r"""Return the Kempf–Ness function: half the squared norm along the orbit of the group.

    .. math:: Ψ(h) = \tfrac12 \sum_p \mathrm{tr}(h_p W_p h_{p-1}^{-1} W_p^T)
              = \tfrac12 \|g · W\|^2, \quad h_p = g_p^T g_p, \quad h_0 = h_N = I

    It is convex along the geodesics ``h^{1/2} e^{tS} h^{1/2}`` of positive definite matrices.

    Parameters
    ----------
    factors : array-like, shape=[..., N, d, d], or sequence of shape=[..., d_p, d_{p-1}]
    metrics : array-like, shape=[..., N-1, d, d], or sequence of shape=[..., d_p, d_p]
        Positive definite ``h_p``, ``p = 1, ..., N-1``.

    Returns
    -------
    energy : array-like, shape=[...]

    Raises
    ------
    ValueError
        If the shapes do not fit.

    References
    ----------
    [LM25]; THEORY 5.
    """
    layers = layers_of(factors)
    return _energy(_with_ends(metrics, layers), layers)


def kempf_ness_gradient(factors: Factors, metrics: Factors) -> Factors:
    r"""Return the gradient of the Kempf–Ness function in the metric ``tr(h^{-1} ḣ h^{-1} ḣ')``.

    .. math:: (\mathrm{grad}\,Ψ)_p
              = \tfrac12 (h_p W_p h_{p-1}^{-1} W_p^T h_p - W_{p+1}^T h_{p+1} W_{p+1})

    The flow of the squared moment map moves ``P_p = g_pᵀ g_p`` by ``Ṗ = -4 grad Ψ(P)``.

    Parameters
    ----------
    factors : array-like, shape=[..., N, d, d], or sequence of shape=[..., d_p, d_{p-1}]
    metrics : array-like, shape=[..., N-1, d, d], or sequence of shape=[..., d_p, d_p]
        Positive definite ``h_p``.

    Returns
    -------
    gradient : like metrics
        Zero where ``h = P`` is the metric of balanced factors.

    References
    ----------
    [LM25]; THEORY 5 (own derivation of the factor).
    """
    layers = layers_of(factors)
    padded = _with_ends(metrics, layers)
    gradient = []
    for p in range(1, len(layers)):
        layer, after = layers[p - 1], layers[p]
        xp = namespace(layer, padded[p])
        lifted = padded[p] @ layer
        pulled = lifted @ xp.linalg.solve(padded[p - 1], transpose(lifted))
        gradient.append((pulled - transpose(after) @ padded[p + 1] @ after) / 2)
    return in_kind(gradient, metrics) if gradient else metrics


def kempf_ness_hessian(factors: Factors, metrics: Factors, vector: Factors) -> Array:
    r"""Return the second derivative of the Kempf–Ness function along a geodesic.

    .. math:: \left.\frac{d^2}{dt^2}\right|_0 Ψ(h(t))
              = \tfrac12 \sum_p \mathrm{tr}(h_p Y_p h_{p-1}^{-1} Y_p^T) ≥ 0, \quad
              Y_p = k_p W_p - W_p k_{p-1}, \quad k_p = h_p^{-1} \dot h_p

    along ``h(t) = h^{1/2} e^{tS} h^{1/2}`` with the velocity ``ḣ``: the function itself, of
    the velocity of the factors.

    Parameters
    ----------
    factors : array-like, shape=[..., N, d, d], or sequence of shape=[..., d_p, d_{p-1}]
    metrics : array-like, shape=[..., N-1, d, d], or sequence of shape=[..., d_p, d_p]
        Positive definite ``h_p``.
    vector : like metrics
        Symmetric ``ḣ_p``.

    Returns
    -------
    second_derivative : array-like, shape=[...]

    References
    ----------
    Own derivation.
    """
    layers = layers_of(factors)
    padded = _with_ends(metrics, layers)
    changes = hidden_matrices(vector, layers, "velocity of the metrics")
    elements = [
        namespace(h, change).linalg.solve(h, change)
        for h, change in zip(padded[1:-1], changes, strict=True)
    ]
    return _energy(padded, action_on_layers(elements, layers))


def limit_metrics(factors: Factors) -> Factors:
    r"""Return the metrics ``P_p = g_pᵀ g_p`` of every ``g`` that balances factors.

    .. math:: P_p = W_{>p}^T (X X^T)^{-(N-p)/N} W_{>p}
              = W_{p:1}^{-T} (X^T X)^{p/N} W_{p:1}^{-1}

    The first form is a sum of squares, and used here. It is the minimum of the Kempf–Ness
    function, and the limit of ``gᵀ g`` along both balancing flows.

    Parameters
    ----------
    factors : array-like, shape=[..., N, d, d], or sequence of shape=[..., d_p, d_{p-1}]
        With an end-to-end matrix of rank ``r``, and all hidden widths equal to ``r``:
        otherwise the balanced point is outside the orbit of the group.

    Returns
    -------
    metrics : array-like, shape=[..., N-1, d, d], or tuple of shape=[..., r, r]

    Raises
    ------
    ValueError
        If the rank or a hidden width is another.

    References
    ----------
    [LM25]; THEORY 2, 5.
    """
    layers = layers_of(factors)
    widths, rank = check_widths(widths_of(layers))
    if any(width != rank for width in widths[1:-1]):
        raise ValueError(
            f"expected hidden layers as wide as the rank {rank} of the end-to-end matrix, got "
            f"widths {widths}: over wider ones the balanced point is outside the orbit of the "
            "group. dlngeo.core.network.balance gives it."
        )
    if len(layers) == 1:
        return () if isinstance(factors, (tuple, list)) else factors[..., :0, :, :]
    root = thin_layers(end_to_end(layers), len(layers), rank, truncate=True)
    check_positive(namespace(root[0]).sum(root[0] ** 2, axis=-1) ** 0.5, rank)
    inverses = right_inverses([transpose(layer) for layer in reversed(root)])[::-1]
    _, after = partial_products(layers)
    metrics = []
    for expansion, inverse in zip(after, inverses, strict=False):
        (product,) = expansion.values()
        frame = transpose(product) @ inverse
        metrics.append(frame @ transpose(frame))
    return in_kind(metrics, factors)


class Certificate(NamedTuple):
    """How far factors are from the balanced points of their fibre.

    Attributes
    ----------
    moment_map_norm : array-like, shape=[...]
        ``‖μ(W)‖``, zero at the balanced points only.
    squared_norm : array-like, shape=[...]
        ``‖W‖²``.
    minimum : array-like, shape=[...]
        ``N Σ σ_k^{2/N}``, the least ``‖W‖²`` on the fibre.
    gap : array-like, shape=[...]
        ``‖W‖² - N Σ σ_k^{2/N}``, not negative but for round-off.
    """

    moment_map_norm: Array
    squared_norm: Array
    minimum: Array
    gap: Array


def certificate(factors: Factors, rank: int | None = None) -> Certificate:
    """Return how far factors are from the minimum of the norm on their fibre.

    Parameters
    ----------
    factors : array-like, shape=[..., N, d, d], or sequence of shape=[..., d_p, d_{p-1}]
    rank : int, optional
        Rank of the end-to-end matrix, ``min(widths)`` by default; see `schatten_minimum`.

    Returns
    -------
    certificate : Certificate

    References
    ----------
    [LM25] (Kempf–Ness); THEORY 2.
    """
    layers = layers_of(factors)
    squared_norm = _squared_norm(layers)
    _, rank = check_widths(widths_of(layers), rank)
    minimum = schatten_minimum(end_to_end(layers), len(layers), 2.0, rank)
    moments = moment_map(layers)
    norm = _norm(moments) if moments else 0 * squared_norm
    return Certificate(norm, squared_norm, minimum, squared_norm - minimum)


def schatten_norm(factors: Factors, exponent: float) -> Array:
    r"""Return the sum of the Schatten quasi-norms of the factors, to the power ``q``.

    .. math:: \sum_p \|W_p\|_{S_q}^q = \sum_p \sum_k σ_k(W_p)^q

    Balanced factors minimise it on their fibre, for every ``0 < q < ∞``.

    Parameters
    ----------
    factors : array-like, shape=[..., N, d, d], or sequence of shape=[..., d_p, d_{p-1}]
    exponent : float
        ``q``, positive.

    Returns
    -------
    norm : array-like, shape=[...]

    Raises
    ------
    ValueError
        If the exponent is not positive and finite.

    References
    ----------
    THEORY 5.
    """
    layers = layers_of(factors)
    return sum(_schatten(layer, exponent, exponent, min(layer.shape[-2:])) for layer in layers)


def schatten_minimum(matrix: Array, depth: int, exponent: float, rank: int | None = None) -> Array:
    r"""Return the minimum of `schatten_norm` over the factors of a matrix.

    .. math:: N \sum_k σ_k(X)^{q/N}

    Parameters
    ----------
    matrix : array-like, shape=[..., m, n]
    depth : int
        Depth ``N``.
    exponent : float
        ``q``, positive.
    rank : int, optional
        Number of singular values that count, all by default: of a matrix of lower rank the
        others are round-off, of which a small power is not small.

    Returns
    -------
    minimum : array-like, shape=[...]

    Raises
    ------
    ValueError
        If depth or rank do not fit, or the exponent is not positive and finite.

    References
    ----------
    THEORY 5.
    """
    matrix = real_array(matrix, "the matrix")
    _, rank = network_shape(matrix, depth, rank=rank)
    return depth * _schatten(matrix, exponent, exponent / depth, rank)


def _schatten(matrix: Array, exponent: float, power: float, rank: int) -> Array:
    if not 0 < exponent < math.inf:
        raise ValueError(f"the exponent must be positive and finite, got {exponent}.")
    sigma = singular_frames(matrix, rank).sigma
    return namespace(sigma).sum(sigma**power, axis=-1)


# --- the flow of the squared moment map at depth two -----------------------------------


class MetricFlow(NamedTuple):
    """The metric ``P = gᵀ g`` of a hidden layer at a time, and its inverse.

    Attributes
    ----------
    metric, inverse : array-like, shape=[..., d_1, d_1]
    """

    metric: Array
    inverse: Array


def metric_flow(factors: Factors, time: Array) -> MetricFlow:
    r"""Return ``P(t) = g(t)ᵀ g(t)`` of the flow of the squared moment map, at depth 2.

    The solution of ``Ṗ = 2 (G - P H P)``, ``P(0) = I``, ``G = W_2ᵀ W_2``, ``H = W_1 W_1ᵀ``. With
    ``X = Q Σ Oᵀ`` (full, zeros in ``Σ``), ``a = W_1 O``, ``b = W_2ᵀ Q``, ``τ = tanh(2tσ)/σ``
    (``2t`` at ``σ = 0``) and ``A = I - Σ_k a_k b_kᵀ τ_k tanh(tσ_k)``,

    .. math:: P(t) = b τ b^T + A^T (I + a τ a^T)^{-1} A, \quad
              P(t)^{-1} = a τ a^T + A (I + b τ b^T)^{-1} A^T.

    Sums of positive matrices, for all times: nothing overflows. The factors follow from a
    rotation, of which no closed form is known: see `polar_flow`.

    Parameters
    ----------
    factors : array-like, shape=[..., 2, d, d], or two matrices ``W_1``, ``W_2``
    time : array-like, shape=[...]
        ``t ≥ 0``, infinity for the limit at full rank.

    Returns
    -------
    flow : MetricFlow

    Raises
    ------
    ValueError
        If the depth is not two.

    References
    ----------
    Own derivation, from the linear Hamiltonian system of THEORY 5 by the symmetric form of
    the flow of a Riccati equation.
    """
    layers = layers_of(factors)
    if len(layers) != 2:
        raise ValueError(
            f"expected the two factors of a network of depth 2, got {len(layers)}: at other "
            "depths the metric has no closed form; integrate dlngeo.solvers.balancing_flow."
        )
    first, second = layers
    xp = namespace(first, second)
    left, sigma, right = xp.linalg.svd(end_to_end(layers), full_matrices=True)
    time = time * xp.ones_like(sigma[..., 0])
    angle = time[..., None] * sigma
    safe = xp.where(sigma > 0, sigma, xp.ones_like(sigma))
    growth = xp.where(sigma > 0, xp.tanh(2 * angle) / safe, 2 * time[..., None])
    a = first @ transpose(right)
    b = transpose(second) @ left
    rank = sigma.shape[-1]
    weight = growth * xp.where(sigma > 0, xp.tanh(angle), xp.zeros_like(angle))
    one = eye(first.shape[-2], first.shape[-2], first)
    decay = one - (a[..., :rank] * weight[..., None, :]) @ transpose(b[..., :rank])

    def squares(columns: Array) -> Array:
        null = columns[..., rank:]
        own = (columns[..., :rank] * growth[..., None, :]) @ transpose(columns[..., :rank])
        if null.shape[-1]:
            own = own + 2 * time[..., None, None] * (null @ transpose(null))
        return own

    from_a, from_b = squares(a), squares(b)
    metric = from_b + transpose(decay) @ xp.linalg.solve(one + from_a, decay)
    inverse = from_a + decay @ xp.linalg.solve(one + from_b, transpose(decay))
    return MetricFlow(metric, inverse)


class PolarFlow(NamedTuple):
    """Factors ``P^{1/2} · W`` of a flow, and how it turns against them.

    Attributes
    ----------
    factors : tuple of array-like, shape=[..., d_1, d_0], shape=[..., d_2, d_1]
        ``P^{1/2} W_1`` and ``W_2 P^{-1/2}``.
    turning : array-like, shape=[..., d_1, d_1]
        Skew ``Ω``: the flow is ``R P^{1/2} · W`` with ``Ṙ = R Ω``, ``R(0) = I``.
    """

    factors: tuple[Array, Array]
    turning: Array


def polar_flow(factors: Factors, time: Array) -> PolarFlow:
    r"""Return the flow of the squared moment map at depth 2, up to a rotation.

    The velocity ``ġ g^{-1} = μ`` is symmetric, so that ``g = R P^{1/2}`` has to turn by

    .. math:: Ω_{kl} = \tilde μ_{kl} \frac{τ_l - τ_k}{τ_l + τ_k}

    in the eigenframe of ``P^{1/2}``, with eigenvalues ``τ`` and ``μ̃ = μ(P^{1/2} · W)``.

    Parameters
    ----------
    factors : array-like, shape=[..., 2, d, d], or two matrices ``W_1``, ``W_2``
    time : array-like, shape=[...]
        ``t ≥ 0``.

    Returns
    -------
    flow : PolarFlow

    Raises
    ------
    ValueError
        If the depth is not two.

    References
    ----------
    Own derivation.
    """
    metric = metric_flow(factors, time).metric
    first, second = layers_of(factors)
    xp = namespace(first, second)
    values, frame = xp.linalg.eigh(metric)
    root = values**0.5
    inner = root[..., :, None] * (transpose(frame) @ first)
    outer = second @ frame / root[..., None, :]
    moment = transpose(outer) @ outer - inner @ transpose(inner)
    rows, columns = root[..., :, None], root[..., None, :]
    turning = frame @ (moment * (columns - rows) / (columns + rows)) @ transpose(frame)
    return PolarFlow((frame @ inner, outer @ transpose(frame)), turning)
