"""Conjugate gradients on batches of layers."""

from collections.abc import Callable, Sequence

from dlngeo.core.base.arrays import Array, namespace, quotient, round_off
from dlngeo.core.base.vectors import Layers

MOST_STEPS, STALE_STEPS = 1000, 50
"""Numbers of steps, and of steps without gain, after which conjugate gradients stop."""


def conjugate_gradient(
    operator: Callable[[Sequence[Array]], Sequence[Array]],
    precondition: Callable[[Sequence[Array]], Sequence[Array]],
    right_hand_side: Sequence[Array],
) -> Layers:
    """Solve a semidefinite equation for tuples of matrices, to half the digits.

    Every element of a batch stops by itself. Where the equation is singular, round-off keeps
    the right-hand side from being in the range: the best step counts.
    """
    xp = namespace(*right_hand_side)
    residual = Layers(right_hand_side)
    best = solution = 0 * residual
    direction = Layers(precondition(residual))
    least = size = residual.inner(direction)
    bound, stale = round_off(size) ** 1.1 * size, 0 * size
    for _ in range(MOST_STEPS):
        is_moving = (size > bound) & (stale < STALE_STEPS)
        if not bool(xp.any(is_moving)):
            break
        image = operator(direction)
        step = quotient(size, xp.where(is_moving, direction.inner(image), 0 * size))[
            ..., None, None
        ]
        solution = solution + step * direction
        residual = residual - step * Layers(image)
        following = Layers(precondition(residual))
        new_size = xp.where(is_moving, residual.inner(following), 0 * size)
        direction = following + quotient(new_size, size)[..., None, None] * direction
        size = new_size
        is_better = is_moving & (size < least)
        best = _choose(is_better, solution, best)
        least = xp.where(is_better, size, least)
        stale = xp.where(is_better, 0 * stale, stale + 1)
    return best


def better_solution(
    first: Sequence[Array],
    first_left: Sequence[Array],
    second: Sequence[Array],
    second_left: Sequence[Array],
) -> Layers:
    """Return of two solutions the one that leaves less of the equation, for each of a batch.

    Where the first leaves only round-off and the equation is singular, the second is worse.
    """
    return _choose(Layers(second_left).norm() < Layers(first_left).norm(), second, first)


def _choose(condition: Array, one: Sequence[Array], other: Sequence[Array]) -> Layers:
    xp = namespace(condition)
    return Layers(one).map(lambda a, b: xp.where(condition[..., None, None], a, b), other)
