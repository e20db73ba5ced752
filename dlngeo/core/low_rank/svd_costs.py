r"""Costs given as functions of the singular frames ``(u, s, vt)`` of a matrix.

A cost ``f(u, s, vt)`` and its derivatives by the three arrays determine gradient and Hessian
as a function of the matrix ``X = u diag(s) vt``, in one of two readings:

- of the product: ``f`` depends on the product alone, also where ``u`` and ``vt`` are no frames.
  Any velocity of the three arrays that moves the product as ``Z`` then serves, and nothing is
  divided by a difference of singular values;
- of the decomposition: ``f`` is defined on frames only, as ``Σ_k s_k`` or ``tr(uᵀ B u)``. Then
  the arrays must move as the decomposition does, whose velocity

  .. math:: Ω^u_{kl} = \frac{M_{kl} s_l + M_{lk} s_k}{s_l^2 - s_k^2}, \quad
            Ω^v_{kl} = \frac{M_{kl} s_k + M_{lk} s_l}{s_l^2 - s_k^2}

  is infinite where singular values meet: there such a cost is refused.

Which one holds is seen from the derivatives: of a function of the product ``∂f/∂u = G v s``,
``∂f/∂s = diag(uᵀ G v)`` and ``∂f/∂v = Gᵀ u s`` agree on ``uᵀ G v``, and what these become along
a velocity of the product agrees on ``uᵀ Ġ v``.

References
----------
Own derivation. The decomposition: J. Townsend, *Differentiating the singular value
decomposition*, 2016.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy

from dlngeo.core.networks.blocks import Blocks
from dlngeo.core.networks.frames import SingularFrames, tangent_at

CLOSE = 1e-5
"""Relative gap of singular values below which the velocity of the decomposition is not used."""

AGREEMENT = 1e-8
"""Relative difference up to which derivatives agree on a function of the product."""


class Slope(NamedTuple):
    """Derivative of a cost by ``u``, ``s`` and ``v = vtᵀ``."""

    left: numpy.ndarray
    values: numpy.ndarray
    right: numpy.ndarray


def _slope(arrays: Sequence[numpy.ndarray]) -> Slope:
    left, values, right = (numpy.asarray(array) for array in arrays)
    return Slope(left, values, right.T)


def _is_close(sigma: numpy.ndarray) -> numpy.ndarray:
    """Tell which pairs of different singular values are too close to be told apart."""
    gap = abs(sigma[:, None] - sigma)
    return (gap <= CLOSE * (sigma[:, None] + sigma)) & ~numpy.eye(len(sigma), dtype=bool)


def _gaps(sigma: numpy.ndarray) -> numpy.ndarray:
    """Return ``s_l² - s_k²``, and infinity on the diagonal."""
    if _is_close(sigma).any():
        raise ValueError(
            "the cost is not a function of the product u @ diag(s) @ vt, and where singular values "
            "agree its derivatives by u, s and vt do not tell its gradient: write it in the "
            "product, give its gradient in matrices, or start where singular values differ."
        )
    gaps = (sigma - sigma[:, None]) * (sigma + sigma[:, None])
    numpy.fill_diagonal(gaps, numpy.inf)
    return gaps


def _turns(frames: SingularFrames, core: numpy.ndarray) -> tuple[numpy.ndarray, numpy.ndarray]:
    """Return ``uᵀ u̇`` and ``vᵀ v̇`` of arrays whose product moves by the core ``M``.

    Those of the decomposition, but at close singular values the least ones that serve.
    """
    sigma, column = frames.sigma, frames.sigma[:, None]
    is_close = _is_close(sigma)
    gaps = numpy.where(is_close, 1, (sigma - column) * (sigma + column))
    squares = sigma**2 + column**2
    for divisor in (gaps, squares):
        numpy.fill_diagonal(divisor, numpy.inf)
    left = numpy.where(is_close, core * sigma / squares, (core * sigma + core.T * column) / gaps)
    right = numpy.where(is_close, core.T * sigma / squares, (core * column + core.T * sigma) / gaps)
    return left, right


def velocity(frames: SingularFrames, tangent: Blocks) -> tuple[numpy.ndarray, ...]:
    """Return a velocity of ``(u, s, vt)`` with which the product moves as the tangent vector."""
    left, sigma, right = frames
    left_turn, right_turn = _turns(frames, tangent.core)
    left_dot, right_dot = left @ left_turn, right @ right_turn
    if tangent.left_null is not None:
        left_dot = left_dot + tangent.left_null / sigma
    if tangent.right_null is not None:
        right_dot = right_dot + tangent.right_null.T / sigma
    return left_dot, numpy.diagonal(tangent.core).copy(), right_dot.T


def gradient(frames: SingularFrames, derivative: Sequence[numpy.ndarray]) -> Blocks:
    """Return the blocks of the gradient by the matrix, its part between null spaces unknown.

    Parameters
    ----------
    frames : SingularFrames
    derivative : sequence of array, shape=[m, r], shape=[r], shape=[r, n]
        Derivatives by ``u``, ``s`` and ``vt``.

    Raises
    ------
    ValueError
        If singular values agree and the cost is not a function of the product.
    """
    left, sigma, right = frames
    slope = _slope(derivative)
    by_left, by_right = left.T @ slope.left, right.T @ slope.right
    if _is_product(frames, slope):
        core = _core_of_product(sigma, by_left, by_right.T)
    else:
        core = _core_of_decomposition(sigma, by_left, by_right)
    numpy.fill_diagonal(core, slope.values)
    outside = (slope.left - left @ by_left) / sigma, (slope.right - right @ by_right) / sigma
    return tangent_at(frames, core, outside[0], outside[1].T)


def _is_product(frames: SingularFrames, slope: Slope, *, on_diagonal: bool = False) -> bool:
    """Tell whether derivatives are those of a function of the product.

    On the diagonal they may differ by a function of the singular values alone.
    """
    by_left, by_right = frames.left.T @ slope.left, frames.right.T @ slope.right
    values = slope.values if on_diagonal else None
    return _do_agree(frames.sigma, by_left, by_right.T, values, _slope_norm(frames.sigma, slope))


def _slope_norm(sigma: numpy.ndarray, slope: Slope) -> float:
    """Return the norm of derivatives, in the unit of ``∂f/∂u``."""
    left, values, right = (numpy.linalg.norm(array) for array in slope)
    return float(left + right + sigma[0] * values)


def _do_agree(
    sigma: numpy.ndarray,
    by_left: numpy.ndarray,
    by_right: numpy.ndarray,
    values: numpy.ndarray | None,
    scale: float,
) -> bool:
    """Tell whether one ``C`` has ``C_kl s_l``, ``s_k C_kl`` and, where they are given, ``C_kk``."""
    column = sigma[:, None]
    difference = abs(column * by_left - by_right * sigma) / (column + sigma)
    own = numpy.zeros_like(sigma)
    if values is not None:
        ends = numpy.diagonal(by_left), numpy.diagonal(by_right)
        own = numpy.maximum(*[abs(end - values * sigma) for end in ends])
    numpy.fill_diagonal(difference, own)
    return bool((difference <= AGREEMENT * scale).all())


def _core_of_product(
    sigma: numpy.ndarray, by_left: numpy.ndarray, by_right: numpy.ndarray
) -> numpy.ndarray:
    """Return ``C`` from ``C_kl s_l`` and ``s_k C_kl``, by least squares."""
    column = sigma[:, None]
    return (sigma * by_left + column * by_right) / (sigma**2 + column**2)


def _core_of_decomposition(
    sigma: numpy.ndarray, by_left: numpy.ndarray, by_right: numpy.ndarray
) -> numpy.ndarray:
    """Return ``C`` off the diagonal, from ``uᵀ ∂f/∂u`` and ``vᵀ ∂f/∂v``."""
    gaps = _gaps(sigma)
    return ((by_left - by_left.T) * sigma + sigma[:, None] * (by_right - by_right.T)) / gaps


def hessian(
    frames: SingularFrames,
    tangent: Blocks,
    derivative: Sequence[numpy.ndarray],
    change: Sequence[numpy.ndarray],
) -> Blocks:
    """Return the Riemannian Hessian of depth one along a tangent vector.

    Parameters
    ----------
    frames : SingularFrames
    tangent : Blocks
    derivative : sequence of array, shape=[m, r], shape=[r], shape=[r, n]
        Derivatives by ``u``, ``s`` and ``vt``.
    change : sequence of array, of the same shapes
        Derivative of these along `velocity`.

    Raises
    ------
    ValueError
        If singular values agree and the cost is not a function of the product.
    """
    slope, moved = _slope(derivative), _slope(change)
    if _is_product(frames, slope, on_diagonal=True):
        of_product = _hessian_of_product(frames, tangent, slope, moved)
        if of_product is not None:
            return of_product
    return _hessian_of_decomposition(frames, tangent, slope, moved)


def _null_parts(frames: SingularFrames, tangent: Blocks) -> tuple[numpy.ndarray, numpy.ndarray]:
    """Return the null blocks of a tangent vector as columns, zeros if there are none."""
    left, right = tangent.left_null, tangent.right_null
    return (
        numpy.zeros_like(frames.left) if left is None else left,
        numpy.zeros_like(frames.right) if right is None else right.T,
    )


def _hessian_of_product(
    frames: SingularFrames, tangent: Blocks, slope: Slope, moved: Slope
) -> Blocks | None:
    """Return the Hessian of a function of the product, None if the changes are not of one."""
    left, sigma, right = frames
    left_turn, right_turn = _turns(frames, tangent.core)
    left_null, right_null = _null_parts(frames, tangent)
    rate = numpy.diag(numpy.diagonal(tangent.core))
    # From ∂f/∂u = G v s: s times Ġ v + G v_⊥ s^{-1}, and likewise from ∂f/∂v.
    columns = moved.left - slope.left / sigma @ (right_turn * sigma + rate)
    rows = moved.right - slope.right / sigma @ (left_turn * sigma + rate)
    outside = (
        slope.left - left @ (left.T @ slope.left),
        slope.right - right @ (right.T @ slope.right),
    )
    bent = (outside[1] / sigma).T @ right_null, (outside[0] / sigma).T @ left_null
    by_left, by_right = left.T @ columns - bent[0], (right.T @ rows - bent[1]).T
    # Where the slope vanishes, or might be that of a function of the product by chance, the
    # changes tell.
    left_dot, _, right_dot = velocity(frames, tangent)
    turned = numpy.sum(slope.left * left_dot, axis=0) + numpy.sum(slope.right * right_dot.T, axis=0)
    values = moved.values - turned / sigma
    if not _do_agree(sigma, by_left, by_right, values, _slope_norm(sigma, moved)):
        return None
    return tangent_at(
        frames,
        _core_of_product(sigma, by_left, by_right),
        (columns - left @ (left.T @ columns)) / sigma,
        ((rows - right @ (right.T @ rows)) / sigma).T,
    )


def _hessian_of_decomposition(
    frames: SingularFrames, tangent: Blocks, slope: Slope, moved: Slope
) -> Blocks:
    left, sigma, right = frames
    column, gaps = sigma[:, None], _gaps(sigma)
    left_turn, right_turn = _turns(frames, tangent.core)
    left_null, right_null = (null / sigma for null in _null_parts(frames, tangent))
    left_dot, rate, right_dot = velocity(frames, tangent)
    by_left, by_right = left.T @ slope.left, right.T @ slope.right
    by_left_dot = left_dot.T @ slope.left + left.T @ moved.left
    by_right_dot = right_dot @ slope.right + right.T @ moved.right
    core = _core_of_decomposition(sigma, by_left, by_right)
    core_dot = _core_of_decomposition(sigma, by_left_dot, by_right_dot)
    # The quotient's other factors move with the singular values.
    core_dot += (by_left - by_left.T) * rate / gaps + rate[:, None] * (by_right - by_right.T) / gaps
    core_dot -= 2 * core * (sigma * rate - column * rate[:, None]) / gaps
    numpy.fill_diagonal(core, slope.values)
    numpy.fill_diagonal(core_dot, moved.values)
    ends = []
    for frame, null, part, turned, slope_end, moved_end in (
        (left, left_null, core, right_turn, slope.left, moved.left),
        (right, right_null, core.T, left_turn, slope.right, moved.right),
    ):
        inside = frame.T @ slope_end
        outside = (slope_end - frame @ inside) / sigma
        outside_dot = (moved_end - frame @ (frame.T @ moved_end) - null @ inside) / sigma
        outside_dot -= outside * rate / sigma
        ends.append((outside, null @ part + outside_dot - outside @ turned))
    (left_outside, left_end), (right_outside, right_end) = ends
    core_dot += left_turn @ core - core @ right_turn
    core_dot -= left_null.T @ left_outside + right_outside.T @ right_null
    return tangent_at(frames, core_dot, left_end, right_end.T)
