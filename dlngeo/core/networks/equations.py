r"""Two matrix equations, with derivatives that are right at repeated singular values.

Frames are not differentiable where singular values meet. The polar factor and the solution
of ``Σ_p L^{N-p} Z R^{p-1} = E`` are; differentiable kernels are made of them and of
products. Their rules divide by sums of singular values only.
"""

from collections.abc import Callable

from dlngeo.core.base.arrays import Array, namespace, quotient, transpose
from dlngeo.core.base.primitives import primitive
from dlngeo.core.networks.jacobi import depth_kernel


def _polar_jvp(arguments: tuple, polar: Array, tangents: tuple) -> Array:
    (matrix,), (tangent,) = arguments, tangents
    xp = namespace(matrix, tangent)
    stretch = transpose(polar) @ matrix
    inner = transpose(polar) @ tangent
    rotation = kernel_solve(
        stretch, stretch, inner - transpose(inner), depth=2, rank=stretch.shape[-1]
    )
    return polar @ rotation + (tangent - polar @ inner) @ xp.linalg.inv(stretch)


def _polar_vjp(arguments: tuple, polar: Array, cotangent: Array) -> tuple[Array]:
    (matrix,) = arguments
    xp = namespace(matrix, cotangent)
    stretch = transpose(polar) @ matrix
    inner = transpose(polar) @ cotangent
    rotation = kernel_solve(stretch, stretch, inner, depth=2, rank=stretch.shape[-1])
    return (
        polar @ (rotation - transpose(rotation))
        + (cotangent - polar @ inner) @ xp.linalg.inv(stretch),
    )


@primitive(jvp=_polar_jvp, vjp=_polar_vjp)
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
    left, _, right = namespace(matrix).linalg.svd(matrix, full_matrices=False)
    return left @ right


def _without_null(values: Array, rank: int) -> Array:
    xp = namespace(values)
    null = values.shape[-1] - rank
    kept = values[..., null:]
    kept = xp.where(kept > 0, kept, xp.zeros_like(kept))
    return xp.concatenate([xp.zeros_like(values[..., :null]), kept], -1)


def _partial_sums(left: Array, right: Array, matrix: Array, count: int) -> list[Array]:
    """Return ``K_m(Z) = Σ_{p=1}^m L^{m-p} Z R^{p-1}`` for ``m = 1, ..., count``."""
    sums, power = [matrix], matrix
    for _ in range(count - 1):
        power = power @ right
        sums.append(left @ sums[-1] + power)
    return sums[:count]


def _kernel_operator(arguments: tuple, depth: int, rank: int) -> Callable[[Array], Array]:
    left, right = arguments
    return lambda solution: _partial_sums(left, right, solution, depth)[-1]


# The derivative of K_N(Z) by L is Σ_i L^i dL K_{N-1-i}(Z), and likewise by R.


def _kernel_solve_jvp(
    arguments: tuple, result: Array, tangents: tuple, depth: int, rank: int
) -> Array:
    left, right, _ = arguments
    d_left, d_right, change = tangents
    from_left = from_right = namespace(*arguments, *tangents).zeros_like(result)
    for partial_sum in _partial_sums(left, right, result, depth - 1):
        # Horner's scheme: the sum of lowest degree takes the highest power.
        from_left = left @ from_left + d_left @ partial_sum
        from_right = from_right @ right + partial_sum @ d_right
    return kernel_solve(left, right, change - from_left - from_right, depth=depth, rank=rank)


def _kernel_solve_vjp(
    arguments: tuple, result: Array, cotangent: Array, depth: int, rank: int
) -> tuple[Array, Array, Array]:
    left, right, _ = arguments
    pulled = kernel_solve(left, right, cotangent, depth=depth, rank=rank)
    by_left, by_right = 0 * left, 0 * right
    rows = columns = pulled
    for partial_sum in reversed(_partial_sums(left, right, result, depth - 1)):
        by_left = by_left - rows @ transpose(partial_sum)
        by_right = by_right - transpose(partial_sum) @ columns
        rows, columns = left @ rows, columns @ right
    return by_left, by_right, pulled


@primitive(
    static=("depth", "rank"),
    jvp=_kernel_solve_jvp,
    vjp=_kernel_solve_vjp,
    operator=_kernel_operator,
)
def kernel_solve(left: Array, right: Array, matrix: Array, *, depth: int, rank: int) -> Array:
    r"""Solve ``Σ_{p=1}^{N} L^{N-p} Z R^{p-1} = E`` for ``Z``.

    In the eigenbases of ``L`` and ``R`` the entries are divided by the kernel ``r_kl``.
    The derivative follows from the equation, ``dZ`` solving it for
    ``dE - Σ_p (d(L^{N-p}) Z R^{p-1} + L^{N-p} Z d(R^{p-1}))``: no derivative of an
    eigenbasis is taken, so that it is right at repeated eigenvalues, to every order at full
    rank. Below it the rule holds for ``E`` without a part between the null spaces, and gives
    ``dZ`` up to such a part: project ``E`` before and ``Z`` after, as `lower_index` does.
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
    xp = namespace(left, right, matrix)
    left_values, left_vectors = xp.linalg.eigh(left)
    right_values, right_vectors = xp.linalg.eigh(right)
    core = transpose(left_vectors) @ matrix @ right_vectors
    # Ascending order: the null values, below the rank, come first. Where both are null
    # the kernel vanishes, and so does the solution.
    left_values = _without_null(left_values, rank)
    right_values = _without_null(right_values, rank)
    core = quotient(core, depth_kernel(left_values**0.5, right_values**0.5, depth))
    return left_vectors @ core @ transpose(right_vectors)
