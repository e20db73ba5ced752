"""Sequences of arrays that pymanopt treats as one vector."""

from collections.abc import Iterable
from typing import Any


class VectorOperations:
    """Elementwise sums and multiples of a tuple that can be made from an iterable (`_make`)."""

    # NumPy scalars leave multiples to this class.
    __array_ufunc__ = None

    def __add__(self: Any, other: Any) -> Any:
        return self._make(a + b for a, b in zip(self, other, strict=True))

    def __sub__(self: Any, other: Any) -> Any:
        return self._make(a - b for a, b in zip(self, other, strict=True))

    def __mul__(self: Any, factor: Any) -> Any:
        return self._make(factor * a for a in self)

    __rmul__ = __mul__

    def __truediv__(self: Any, divisor: Any) -> Any:
        return self._make(a / divisor for a in self)

    def __neg__(self: Any) -> Any:
        return self._make(-a for a in self)


class ArrayTuple(VectorOperations, tuple):  # type: ignore[misc]
    """Tuple of arrays with the operations of a vector space."""

    @classmethod
    def _make(cls, arrays: Iterable[Any]) -> "ArrayTuple":
        return cls(arrays)
