"""Conjugate gradients on batches of layers."""

from collections.abc import Callable, Sequence

from dlngeo.core.base.arrays import (
    Array,
    namespace,
    round_off,
)
from dlngeo.core.base.vectors import divided

MOST_STEPS, STALE_STEPS = 1000, 50
"""Numbers of steps, and of steps without gain, after which conjugate gradients stop."""


def conjugate_gradient(
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
        step = divided(size, xp.where(is_moving, inner(direction, image), 0 * size))
        solution = moved(solution, step, direction)
        residual = moved(residual, -step, image)
        following = list(precondition(residual))
        new_size = xp.where(is_moving, inner(residual, following), 0 * size)
        direction = moved(following, divided(new_size, size), direction)
        size = new_size
        is_better = is_moving & (size < least)
        best = [xp.where(is_better, new, old) for new, old in zip(solution, best, strict=True)]
        least = xp.where(is_better, size, least)
        stale = xp.where(is_better, 0 * stale, stale + 1)
    return best
