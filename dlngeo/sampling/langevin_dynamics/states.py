"""States of chains: named tuples of arrays, shape=[chains, ...], or of tuples of such arrays."""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy

from dlngeo.core.base.arrays import Array


def choose(condition: Array, state: Any, otherwise: Any) -> Any:
    """Return a state whose chains are of the first where a condition holds, else of the second."""
    if isinstance(state, tuple):
        pairs = zip(state, otherwise, strict=True)
        return type(state)._make(choose(condition, a, b) for a, b in pairs)  # type: ignore[attr-defined]
    return numpy.where(condition.reshape(-1, *[1] * (state.ndim - 1)), state, otherwise)


def to_arrays(state: Any, name: str = "state") -> dict[str, Array]:
    """Return the arrays of a state by names, ``state.lam`` or ``state.layers.0``."""
    if not isinstance(state, tuple):
        return {name: state}
    return {
        place: array
        for field, part in _parts(state)
        for place, array in to_arrays(part, f"{name}.{field}").items()
    }


def from_arrays(arrays: Mapping[str, Array], like: Any, name: str = "state") -> Any:
    """Return the state of which `to_arrays` gave the arrays, from another one of its kind."""
    if not isinstance(like, tuple):
        return arrays[name]
    parts = (from_arrays(arrays, part, f"{name}.{field}") for field, part in _parts(like))
    return type(like)._make(parts)  # type: ignore[attr-defined]


def _parts(state: Any) -> Iterator[tuple[Any, Any]]:
    return zip(getattr(state, "_fields", range(len(state))), state, strict=True)
