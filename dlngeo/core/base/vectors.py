"""Tuples of arrays as vectors: the layers of a network, the blocks of a matrix."""

import functools
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Self

from dlngeo.core.base.arrays import Array, namespace, round_off


class VectorOperations:
    """Operations of a Euclidean vector space for tuples of matrices, shape=[..., m_i, n_i].

    A mixin that stands before a named tuple, or a tuple with its `_make`. An entry may be None,
    where all of the vectors have none. Factors of multiples are numbers, or arrays that broadcast
    against every entry, such as shape=[..., 1, 1].
    """

    __slots__ = ()

    # NumPy's scalars and arrays leave multiples to this class.
    __array_ufunc__ = None

    def map(self: Any, function: Callable[..., Array], *others: Sequence[Any]) -> Any:
        """Apply a function to the entries of the same place, of this vector and of others."""
        return self._make(
            None if entries[0] is None else function(*entries)
            for entries in zip(self, *others, strict=True)
        )

    # Sums are not concatenations of tuples, which is why the types disagree.
    def __add__(self: Any, other: Sequence[Any]) -> Any:
        return self.map(lambda a, b: a + b, other)

    def __sub__(self: Any, other: Sequence[Any]) -> Any:
        return self.map(lambda a, b: a - b, other)

    def __mul__(self: Any, factor: Any) -> Any:
        return self.map(lambda a: factor * a)

    __rmul__ = __mul__

    def __truediv__(self: Any, divisor: Any) -> Any:
        return self.map(lambda a: a / divisor)

    def __neg__(self: Any) -> Any:
        return self.map(lambda a: -a)

    def inner(self: Any, other: Sequence[Any]) -> Array:
        """Return the Euclidean inner product, shape=[...]."""
        products = [
            (a * b).sum(axis=(-2, -1)) for a, b in zip(self, other, strict=True) if a is not None
        ]
        return sum(products[1:], start=products[0])

    def squared_norm(self: Any) -> Array:
        """Return the squared Euclidean norm, shape=[...]."""
        return self.inner(self)

    def norm(self) -> Array:
        """Return the Euclidean norm, shape=[...]."""
        return self.unit()[1]

    def unit(self: Any) -> tuple[Any, Array]:
        """Return the vector over its norm, and the norm; zero stays."""
        # In units of the largest entry, so that squares stay in range.
        arrays = [a for a in self if a is not None]
        xp = namespace(*arrays)
        largest = functools.reduce(xp.maximum, [xp.max(xp.abs(a), axis=(-2, -1)) for a in arrays])
        size = xp.where(largest > 0, largest, xp.ones_like(largest))[..., None, None]
        vector = self / size
        norm = vector.squared_norm() ** 0.5
        safe = xp.where(norm > 0, norm, xp.ones_like(norm))[..., None, None]
        return vector / safe, size[..., 0, 0] * norm


class Layers(VectorOperations, tuple):  # type: ignore[misc]
    """Factors or velocities of a network, layer by layer, that are added like vectors."""

    __slots__ = ()

    @classmethod
    def _make(cls, entries: Iterable[Any]) -> Self:
        return cls(entries)


def orthonormal_pair(a: Any, b: Any) -> tuple[Any, Any, Array]:
    """Return an orthonormal basis of the plane of two vectors, and whether there is one.

    Linearly dependent vectors, to round-off, have none.
    """
    x, norm_a = a.unit()
    along, norm_b = x.inner(b)[..., None, None], b.norm()
    y, distance = (b - along * x).unit()
    x = x.map(lambda one, other: one + 0 * other, y)  # of one batch shape
    return x, y, (norm_a > 0) & (distance > 100 * round_off(distance) * norm_b)
