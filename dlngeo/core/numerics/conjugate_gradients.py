"""Conjugate gradients on batches of layers."""

from collections.abc import Callable, Sequence

from dlngeo.core.base.arrays import Array, is_traced, namespace, quotient, round_off
from dlngeo.core.base.vectors import Layers

MOST_STEPS, STALE_STEPS = 2000, 50
"""Numbers of steps, and of steps without gain, after which conjugate gradients stop."""

Operator = Callable[[Layers], Sequence[Array]]


def conjugate_gradient(
    operator: Operator, right_hand_side: Sequence[Array], precondition: Operator | None = None
) -> tuple[Layers, Array]:
    """Solve equations ``A x = b`` for tuples of matrices.

    Every element of a batch stops by itself.

    Parameters
    ----------
    operator : callable
        ``A``, symmetric.
    right_hand_side : sequence of array-like, shape=[..., m_i, n_i]
    precondition : callable, optional
        For a semidefinite ``A`` of which the right-hand side is in the range. That is solved to
        half the digits; where ``A`` is singular, round-off keeps the right-hand side from being in
        the range, and the best step counts. Without it ``A`` has no eigenvalues below one, and is
        solved to round-off.

    Returns
    -------
    solution : Layers
    is_solved : array-like, shape=[...]
    """
    xp = namespace(*right_hand_side)
    is_definite = precondition is None
    residual = Layers(right_hand_side)
    best = solution = 0 * residual
    direction = residual if precondition is None else Layers(precondition(residual))
    least = size = residual.inner(direction)
    epsilon = round_off(size)
    bound, stale = ((10 * epsilon) ** 2 if is_definite else epsilon**1.1) * size, 0 * size
    for _ in range(MOST_STEPS):
        is_moving = (size > bound) & (is_definite | (stale < STALE_STEPS))
        if not bool(xp.any(is_moving)):
            break
        image = Layers(operator(direction))
        step = quotient(size, xp.where(is_moving, direction.inner(image), 0 * size))
        solution = solution + step[..., None, None] * direction
        residual = residual - step[..., None, None] * image
        following = residual if precondition is None else Layers(precondition(residual))
        new_size = xp.where(is_moving, residual.inner(following), 0 * size)
        direction = following + quotient(new_size, size)[..., None, None] * direction
        size = new_size
        is_better = is_moving & (size < least)
        best = _choose(is_better, solution, best)
        least = xp.where(is_better, size, least)
        stale = xp.where(is_better, 0 * stale, stale + 1)
        if not is_traced(size) and not bool(xp.all(xp.isfinite(size))):
            break
    return best, least <= bound


def better_solution(
    first: Sequence[Array],
    first_residual: Sequence[Array],
    second: Sequence[Array],
    second_residual: Sequence[Array],
) -> Layers:
    """Return of two solutions the one that leaves less of the equation, for each of a batch.

    Where the first leaves only round-off and the equation is singular, the second is worse.
    """
    is_better = Layers(second_residual).norm() < Layers(first_residual).norm()
    return _choose(is_better, second, first)


def _choose(condition: Array, chosen: Sequence[Array], rest: Sequence[Array]) -> Layers:
    xp = namespace(condition)
    return Layers(chosen).map(lambda a, b: xp.where(condition[..., None, None], a, b), rest)
