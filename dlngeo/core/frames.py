r"""Singular frames of matrices and of balanced factors, and the rules that replace them.

A frame is a matrix with orthonormal columns. In its singular frames a matrix is diagonal
and every kernel acts entry by entry; a matrix splits into four blocks, of which those
towards the null spaces are kept in ambient coordinates, so that no null basis is formed.

Frames are not differentiable where singular values meet. `polar_factor` and
`kernel_solve` are the two matrix functions from which differentiable kernels are made
instead; their derivatives divide by sums of singular values only.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import array_api_compat

from dlngeo.core.arrays import (
    Array,
    Primitive,
    check_array,
    is_traced,
    namespace,
    transpose,
)
from dlngeo.core.jacobi import depth_kernel


class Blocks(NamedTuple):
    """Blocks of a matrix in frames ``Q`` (left) and ``R`` (right) of rank ``r``.

    Attributes
    ----------
    core : array-like, shape=[..., r, r]
        ``Qᵀ A R``.
    left_null : array-like, shape=[..., m, r], or None
        ``(I - Q Qᵀ) A R``; None if ``Q`` is square.
    right_null : array-like, shape=[..., r, n], or None
        ``Qᵀ A (I - R Rᵀ)``; None if ``R`` is square.
    both_null : array-like, shape=[..., m, n], or None
        ``(I - Q Qᵀ) A (I - R Rᵀ)``; None if either is square.
    """

    core: Array
    left_null: Array | None = None
    right_null: Array | None = None
    both_null: Array | None = None


def split(matrix: Array, left: Array, right: Array) -> Blocks:
    """Split a matrix ``[..., m, n]`` in the frames ``[..., m, r]`` and ``[..., n, r]``."""
    rows = transpose(left) @ matrix
    core = rows @ right
    left_null = right_null = both_null = None
    if right.shape[-2] > right.shape[-1]:
        right_null = rows - core @ transpose(right)
    if left.shape[-2] > left.shape[-1]:
        left_null = matrix @ right - left @ core
        if right_null is not None:
            both_null = matrix - left @ rows - left_null @ transpose(right)
    return Blocks(core, left_null, right_null, both_null)


def join(blocks: Blocks, left: Array, right: Array) -> Array:
    """Return the matrix of which `split` gives the blocks."""
    columns = left @ blocks.core
    if blocks.left_null is not None:
        columns = columns + blocks.left_null
    matrix = columns @ transpose(right)
    if blocks.right_null is not None:
        matrix = matrix + left @ blocks.right_null
    if blocks.both_null is not None:
        matrix = matrix + blocks.both_null
    return matrix


def scaled(blocks: Blocks, core: Array, null: Array) -> Blocks:
    """Multiply the core entrywise, and the null blocks by one weight for each frame vector.

    The part between the null spaces is dropped.
    """
    left, right = blocks.left_null, blocks.right_null
    return Blocks(
        blocks.core * core,
        None if left is None else left * null[..., None, :],
        None if right is None else null[..., :, None] * right,
    )


class SingularFrames(NamedTuple):
    """Thin singular value decomposition ``X = left · diag(sigma) · rightᵀ``.

    Attributes
    ----------
    left : array-like, shape=[..., m, r]
    sigma : array-like, shape=[..., r]
        Singular values in descending order.
    right : array-like, shape=[..., n, r]
    """

    left: Array
    sigma: Array
    right: Array


def singular_frames(matrix: Array, rank: int) -> SingularFrames:
    """Return the singular frames of the best approximation of the given rank."""
    xp = namespace(matrix)
    left, sigma, right = xp.linalg.svd(matrix, full_matrices=False)
    return SingularFrames(left[..., :, :rank], sigma[..., :rank], transpose(right[..., :rank, :]))


def round_off(array: Array) -> float:
    """Return the machine precision of the array's type."""
    return float(namespace(array).finfo(array.dtype).eps)


def check_positive(singular_values: Array, rank: int) -> None:
    """Raise a ValueError if a singular value among the first ``rank`` is zero."""
    if is_traced(singular_values):
        return
    xp = namespace(singular_values)
    least, most = singular_values[..., rank - 1], singular_values[..., 0]
    if bool(xp.any(least <= round_off(singular_values) * most)):
        raise ValueError(
            f"expected rank {rank}, but singular value {rank} is zero to round-off: "
            "pass a smaller rank."
        )


class BalancedFrames(NamedTuple):
    """Frames in which balanced factors are diagonal, ``W_p = Q_p Λ Q_{p-1}ᵀ``.

    Attributes
    ----------
    frames : tuple of array-like, shape=[..., d_p, r]
        ``Q_0, ..., Q_N``.
    lam : array-like, shape=[..., r]
        Singular values ``λ`` of every factor, in descending order.
    """

    frames: tuple[Array, ...]
    lam: Array

    @property
    def depth(self) -> int:
        """Number of factors."""
        return len(self.frames) - 1

    def split(self, vector: Sequence[Array]) -> list[Blocks]:
        """Split a velocity of the factors, layer by layer."""
        pairs = zip(vector, self.frames[1:], self.frames[:-1], strict=True)
        return [split(v, left, right) for v, left, right in pairs]

    def join(self, blocks: Sequence[Blocks]) -> list[Array]:
        """Join the blocks of a velocity of the factors, layer by layer."""
        pairs = zip(blocks, self.frames[1:], self.frames[:-1], strict=True)
        return [join(block, left, right) for block, left, right in pairs]


def balanced_frames(layers: Sequence[Array], rank: int | None = None) -> BalancedFrames:
    """Return the frames of balanced factors, consistent also at repeated values.

    One singular value decomposition of ``W_1`` is carried through the layers by
    ``Q_p = W_p Q_{p-1} Λ^{-1}``. A QR decomposition removes from each column what
    round-off put there along those of larger singular values.

    Raises
    ------
    ValueError
        If the factors are not balanced or not of the given rank: if they differ from
        ``Q_p Λ Q_{p-1}ᵀ`` by more than ``ε^{0.4}`` of their norm.
    """
    first = layers[0]
    xp = namespace(*layers)
    if rank is None:
        rank = min(first.shape[-1], *[layer.shape[-2] for layer in layers])
    for p, layer in enumerate(layers, start=1):
        check_array(layer, f"factor {p}")
    left, lam, right = singular_frames(first, rank)
    check_positive(lam, rank)
    frames = [right, left]
    images = [left * lam[..., None, :]]
    for layer in layers[1:]:
        images.append(layer @ frames[-1])
        frame, triangle = xp.linalg.qr(images[-1] / lam[..., None, :])
        is_flipped = xp.einsum("...ii->...i", triangle)[..., None, :] < 0
        frames.append(xp.where(is_flipped, -frame, frame))
    result = BalancedFrames(tuple(frames), lam)
    if not is_traced(*layers):
        _check_balanced(layers, images, result)
    return result


def _check_balanced(
    layers: Sequence[Array], images: Sequence[Array], balanced: BalancedFrames
) -> None:
    """Check ``W_p = Q_p Λ Q_{p-1}ᵀ``, given the images ``W_p Q_{p-1}``."""
    xp = namespace(*layers)
    scale = xp.sum(balanced.lam**2, axis=-1)
    for p, (layer, image) in enumerate(zip(layers, images, strict=True), start=1):
        within = image - balanced.frames[p] * balanced.lam[..., None, :]
        outside = _squared_norm(layer) - _squared_norm(image)
        defect = (xp.abs(outside) + _squared_norm(within)) / scale
        worst = float(xp.max(defect)) ** 0.5 if 0 not in defect.shape else 0.0
        if worst > round_off(layer) ** 0.4:
            raise ValueError(
                f"expected balanced factors of rank {balanced.lam.shape[-1]}, but factor {p} "
                f"is off by {worst:.1e} of its norm: balance the factors first "
                "(dlngeo.core.network.balance), or pass the right rank."
            )


def _squared_norm(matrix: Array) -> Array:
    return namespace(matrix).sum(matrix**2, axis=(-2, -1))


def _polar_value(matrix: Array) -> Array:
    xp = namespace(matrix)
    left, _, right = xp.linalg.svd(matrix, full_matrices=False)
    return left @ right


def _polar_jvp(arrays: tuple, polar: Array, tangents: tuple) -> Array:
    (matrix,), (tangent,) = arrays, tangents
    xp = namespace(matrix, tangent)
    stretch = transpose(polar) @ matrix
    inner = transpose(polar) @ tangent
    rotation = kernel_solve(
        stretch, stretch, inner - transpose(inner), depth=2, rank=stretch.shape[-1]
    )
    return polar @ rotation + (tangent - polar @ inner) @ xp.linalg.inv(stretch)


def _polar_vjp(arrays: tuple, polar: Array, cotangent: Array) -> tuple[Array]:
    (matrix,) = arrays
    xp = namespace(matrix, cotangent)
    stretch = transpose(polar) @ matrix
    inner = transpose(polar) @ cotangent
    rotation = kernel_solve(stretch, stretch, inner, depth=2, rank=stretch.shape[-1])
    return (
        polar @ (rotation - transpose(rotation))
        + (cotangent - polar @ inner) @ xp.linalg.inv(stretch),
    )


_polar = Primitive(_polar_value, _polar_jvp, _polar_vjp)


def polar_factor(matrix: Array) -> Array:
    r"""Return the polar factor ``Q = Y (YᵀY)^{-1/2}``, the nearest frame.

    With ``Y = Q H`` and ``M = Qᵀ dY``, the derivative is
    ``dQ = Q Ω + (I - QQᵀ) dY H^{-1}``, where ``H Ω + Ω H = M - Mᵀ``.

    Parameters
    ----------
    matrix : array-like, shape=[..., d, r]
        Matrix ``Y`` of full column rank.

    Returns
    -------
    frame : array-like, shape=[..., d, r]

    References
    ----------
    THEORY 2; [HM94].
    """
    return _polar(matrix)


def _kernel_solve_value(left: Array, right: Array, matrix: Array, depth: int, rank: int) -> Array:
    xp = namespace(left, right, matrix)
    left_values, left_vectors = xp.linalg.eigh(left)
    right_values, right_vectors = xp.linalg.eigh(right)
    core = transpose(left_vectors) @ matrix @ right_vectors
    # Ascending order: the null values, below the rank, come first. Where both are null
    # the kernel vanishes, and so does the solution.
    left_values = _without_null(left_values, rank)
    right_values = _without_null(right_values, rank)
    kernel = depth_kernel(left_values**0.5, right_values**0.5, depth)
    is_null = kernel == 0
    core = xp.where(is_null, xp.zeros_like(core), core / xp.where(is_null, 1.0, kernel))
    return left_vectors @ core @ transpose(right_vectors)


def _without_null(values: Array, rank: int) -> Array:
    xp = namespace(values)
    null = values.shape[-1] - rank
    kept = values[..., null:]
    kept = xp.where(kept > 0, kept, xp.zeros_like(kept))
    return xp.concatenate([xp.zeros_like(values[..., :null]), kept], -1)


def _kernel_sums(left: Array, right: Array, matrix: Array, depth: int) -> list[Array]:
    """Return ``K_m(Z) = Σ_{p=1}^m L^{m-p} Z R^{p-1}`` for ``m = 1, ..., N-1``."""
    sums, power = [matrix], matrix
    for _ in range(depth - 2):
        power = power @ right
        sums.append(left @ sums[-1] + power)
    return sums


# The derivative of K_N(Z) by L is Σ_i L^i dL K_{N-1-i}(Z), and likewise by R.


def _kernel_solve_jvp(
    arrays: tuple, result: Array, tangents: tuple, depth: int, rank: int
) -> Array:
    left, right, _ = arrays
    d_left, d_right, change = tangents
    from_left = from_right = namespace(*arrays, *tangents).zeros_like(result)
    for partial_sum in _kernel_sums(left, right, result, depth):
        # Horner's scheme: the sum of lowest degree takes the highest power.
        from_left = left @ from_left + d_left @ partial_sum
        from_right = from_right @ right + partial_sum @ d_right
    return kernel_solve(left, right, change - from_left - from_right, depth=depth, rank=rank)


def _kernel_solve_vjp(
    arrays: tuple, result: Array, cotangent: Array, depth: int, rank: int
) -> tuple[Array, Array, Array]:
    left, right, _ = arrays
    pulled = kernel_solve(left, right, cotangent, depth=depth, rank=rank)
    by_left = by_right = 0
    rows = columns = pulled
    for partial_sum in reversed(_kernel_sums(left, right, result, depth)):
        by_left = by_left - rows @ transpose(partial_sum)
        by_right = by_right - transpose(partial_sum) @ columns
        rows, columns = left @ rows, columns @ right
    return by_left, by_right, pulled


def _jax_kernel_solve(left: Array, right: Array, matrix: Array, depth: int, rank: int) -> Array:
    # JAX drops the rule of a function whose linear argument it transposes, but knows
    # the implicit rule of a linear solve by itself.
    import jax

    def operator(solution: Array) -> Array:
        *_, last = _kernel_sums(left, right, solution, depth + 1)
        return last

    def solve(_: Callable, matrix: Array) -> Array:
        return _kernel_solve_value(left, right, matrix, depth, rank)

    return jax.lax.custom_linear_solve(operator, matrix, solve, symmetric=True)


_kernel_solve = Primitive(_kernel_solve_value, _kernel_solve_jvp, _kernel_solve_vjp)


def kernel_solve(left: Array, right: Array, matrix: Array, *, depth: int, rank: int) -> Array:
    r"""Solve ``Σ_{p=1}^{N} L^{N-p} Z R^{p-1} = E`` for ``Z``.

    In the eigenbases of ``L`` and ``R`` the entries are divided by the kernel ``r_kl``.
    The derivative follows from the equation, ``dZ`` solving it for
    ``dE - Σ_p (d(L^{N-p}) Z R^{p-1} + L^{N-p} Z d(R^{p-1}))``: no derivative of an
    eigenbasis is taken, so that it is right at repeated eigenvalues, to every order.
    Depth 2 is the Sylvester equation, and with ``L = R = S^{1/N}`` the solution is the
    Daleckii–Krein derivative of ``S ↦ S^{1/N}``.

    Parameters
    ----------
    left, right : array-like, shape=[..., m, m], shape=[..., n, n]
        Symmetric positive semidefinite ``L`` and ``R`` of the given rank.
    matrix : array-like, shape=[..., m, n]
        Matrix ``E``; its part between the null spaces is dropped for ``N ≥ 2``.
    depth : int
        Depth ``N``.
    rank : int
        Rank of ``L`` and of ``R``.

    Returns
    -------
    solution : array-like, shape=[..., m, n]

    References
    ----------
    THEORY 3 (the operator ``A_{N,X}``).
    """
    if depth == 1:
        return matrix
    if array_api_compat.is_jax_array(left):
        return _jax_kernel_solve(left, right, matrix, depth, rank)
    return _kernel_solve(left, right, matrix, depth=depth, rank=rank)
