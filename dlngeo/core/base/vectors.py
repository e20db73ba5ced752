"""Layers, and blocks of matrices, as vectors: sums, inner products and norms."""

from collections.abc import Callable, Sequence

from dlngeo.core.base.arrays import (
    Array,
    namespace,
    round_off,
)


def divided(matrix: Array, kernel: Array) -> Array:
    """Return ``matrix / kernel``, zero where the kernel is."""
    xp = namespace(matrix, kernel)
    is_zero = kernel == 0
    quotient = matrix / xp.where(is_zero, xp.ones_like(kernel), kernel)
    return xp.where(is_zero, xp.zeros_like(quotient), quotient)


def better(
    first: Sequence[Array],
    first_left: Sequence[Array],
    second: Sequence[Array],
    second_left: Sequence[Array],
) -> list[Array]:
    """Return of two solutions the one that leaves less of the equation, for each of a batch.

    Where the first leaves only round-off and the equation is singular, the second is worse.
    """
    xp = namespace(*second)
    is_better = (norm_of(second_left) < norm_of(first_left))[..., None, None]
    return [xp.where(is_better, new, old) for old, new in zip(first, second, strict=True)]


def difference(one: Sequence[Array], other: Sequence[Array]) -> list[Array]:
    """Return the difference of two vectors of matrices."""
    return [a - b for a, b in zip(one, other, strict=True)]


def norm_of(matrices: Sequence[Array]) -> Array:
    """Return the Euclidean norm of a vector of matrices."""
    return squared_norm_of(matrices) ** 0.5


def squared_norm_of(matrices: Sequence[Array]) -> Array:
    """Return the squared Euclidean norm of a vector of matrices."""
    return sum(namespace(matrix).sum(matrix**2, axis=(-2, -1)) for matrix in matrices)


def _each(function: Callable, *vectors: Sequence[Array | None]) -> list[Array | None]:
    """Apply a function to the matrices of the same place, blocks or layers."""
    return [None if m[0] is None else function(*m) for m in zip(*vectors, strict=True)]


def _inner(x: Sequence[Array | None], y: Sequence[Array | None]) -> Array:
    products = [_total(a * b) for a, b in zip(x, y, strict=True) if a is not None]
    return sum(products[1:], start=products[0])


def _total(array: Array, axes: int = 2) -> Array:
    return array.sum(axis=tuple(range(-axes, 0)))


def _orthonormal_pair(
    a: Sequence[Array | None], b: Sequence[Array | None]
) -> tuple[list, list, Array]:
    """Return an orthonormal basis of the plane of two vectors, and whether there is one."""
    x, norm_a = _unit(a)
    along, norm_b = _inner(x, b)[..., None, None], _inner(b, b) ** 0.5
    y, distance = _unit(_each(lambda one, other: other - along * one, x, b))
    x = _each(lambda one, other: one + 0 * other, x, y)  # of one batch shape
    return x, y, (norm_a > 0) & (distance > 100 * round_off(distance) * norm_b)


def _unit(vector: Sequence[Array | None]) -> tuple[list, Array]:
    """Return a vector over its norm, and the norm; zero vectors stay."""
    norm = _inner(vector, vector) ** 0.5
    safe = namespace(norm).where(norm > 0, norm, 1.0)[..., None, None]
    return _each(lambda block: block / safe, vector), norm


class Vector(tuple):
    """A velocity of the factors, layer by layer, that is added like a vector.

    Its sum is not the concatenation of tuples, which is why the types disagree.
    """

    def __add__(self, other: Sequence[Array]) -> "Vector":  # type: ignore[override]
        return Vector(a + b for a, b in zip(self, other, strict=True))

    def __sub__(self, other: Sequence[Array]) -> "Vector":
        return Vector(a - b for a, b in zip(self, other, strict=True))
