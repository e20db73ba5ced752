"""States of chains: named tuples of arrays, shape=[chains, ...], or of `Layers` of such arrays.

Fields whose names begin with ``n_`` belong to the places of chains, or to all: what is counted.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy

from dlngeo.core.base.arrays import Array


def choose(condition: Array, state: Any, otherwise: Any) -> Any:
    """Return a state whose chains are of the first where a condition holds, else of the second."""
    return state if condition.all() else _choose(condition, state, otherwise)


def _choose(condition: Array, state: Any, otherwise: Any) -> Any:
    if _is_tuple(state):
        pairs = zip(state, otherwise, strict=True)
        return state._make(_choose(condition, a, b) for a, b in pairs)
    return numpy.where(condition.reshape(-1, *[1] * (state.ndim - 1)), state, otherwise)


def is_finite(*arrays: Array | None) -> Array:
    """Return of which chains all arrays, shape=[chains, ...], are finite, shape=[chains]."""
    found = [a for a in arrays if a is not None]
    total = numpy.ones(len(found[0]), dtype=bool)
    for array in found:
        # Nearly always all are, which is told faster.
        if not numpy.isfinite(array).all():
            total &= numpy.isfinite(array).reshape(len(array), -1).all(axis=-1)
    return total


def move(state: Any, proposal: Any, is_kept: Array) -> Any:
    """Return the proposal where it is kept, elsewhere the state as it was; and count these.

    Both have the fields ``n_rejected``, of steps that were rejected, and ``n_stuck``, of those in a
    row up to now.
    """
    return choose(is_kept, proposal, state)._replace(
        n_rejected=state.n_rejected + ~is_kept, n_stuck=(state.n_stuck + 1) * ~is_kept
    )


def rearrange(state: Any, places: Array) -> Any:
    """Return the state whose chains are those of other places; fields ``n_...`` stay."""
    if not _is_tuple(state):
        return state[places]
    return state._make(
        part if str(name).startswith("n_") else rearrange(part, places)
        for name, part in _fields(state)
    )


def to_arrays(state: Any, name: str = "state") -> dict[str, Array]:
    """Return the arrays of a state by names, ``state.lam`` or ``state.layers.0``."""
    if not _is_tuple(state):
        return {name: state}
    return {
        place: array
        for field, part in _fields(state)
        for place, array in to_arrays(part, f"{name}.{field}").items()
    }


def from_arrays(arrays: Mapping[str, Array], like: Any, name: str = "state") -> Any:
    """Return the state of which `to_arrays` gave the arrays, from another one of its kind."""
    if not _is_tuple(like):
        return arrays[name]
    return like._make(from_arrays(arrays, part, f"{name}.{field}") for field, part in _fields(like))


def _is_tuple(state: Any) -> bool:
    return hasattr(state, "_make")


def _fields(state: Any) -> Iterator[tuple[Any, Any]]:
    return zip(getattr(state, "_fields", range(len(state))), state, strict=True)
