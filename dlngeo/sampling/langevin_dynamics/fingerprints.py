"""What can be told of functions, so that a run does not go on with others unseen."""

import functools
import hashlib
import sys
from collections.abc import Iterator, Sequence
from types import CodeType, FunctionType, MethodType
from typing import Any

import numpy

from dlngeo.core.base.arrays import Array
from dlngeo.core.networks.frames import SingularFrames
from dlngeo.sampling.langevin_dynamics.equation import Equation

PLAIN = (int, float, complex, str, bytes, type(None), type(...))

SCALES = (1.0, 0.5, 4.0)
"""Multiples of the start at which values are compared: chains leave it."""


def code_of(functions: Sequence[Any]) -> str:
    """Return a digest of the code of functions, with the constants and functions it refers to.

    Of an object that is called it is the code of its class: what it holds shows in its values.
    Comments and docstrings do not count. Before it stands the version of Python, of which others
    have other bytes for the same code.
    """
    state = hashlib.sha256()
    for function in functions:
        for part in _parts(function, set()):
            state.update(part + b";")
    return f"{sys.implementation.cache_tag} {state.hexdigest()}"


def is_other_code(code: str, other: str) -> bool:
    """Tell whether code differs, as far as bytes of one version of Python can tell."""
    return code != other and code.split(" ")[0] == other.split(" ")[0]


def values_around(equation: Equation, start: SingularFrames) -> Array:
    """Return numbers that tell an energy by its values and gradient at multiples of the start.

    shape=[scales, numbers, chains], NaN where it raises an error.
    """
    found: list[Any] = []
    for scale in SCALES:
        try:
            found.append(_values_at(equation, start._replace(sigma=scale * start.sigma)))
        except Exception:  # of the caller's function, which need not be defined there
            found.append(numpy.full_like(found[0], numpy.nan))
    return numpy.stack(found)


def _values_at(equation: Equation, frames: SingularFrames) -> Array:
    known = [equation.covector(frames)]
    if equation.has_value:
        known.append(equation.values(frames))
    numbers = []
    for array in known:
        entries = array.reshape(len(array), -1)
        # Of entries that are rearranged the sum is the same.
        weights = 1 + numpy.arange(entries.shape[1]) / entries.shape[1]
        numbers += [
            numpy.linalg.norm(entries, axis=1),
            numpy.linalg.norm(entries * weights, axis=1),
        ]
        numbers += [numpy.linalg.norm(numpy.maximum(entries, 0), axis=1)]
    return numpy.array(numbers)


def _parts(item: Any, seen: set[int]) -> Iterator[bytes]:
    if isinstance(item, numpy.ndarray):
        yield repr((item.shape, str(item.dtype))).encode() + item.tobytes()
    elif isinstance(item, PLAIN):
        yield repr(item).encode()
    elif isinstance(item, tuple):
        for entry in item:
            yield from _parts(entry, seen)
    elif isinstance(item, frozenset):
        yield repr(sorted(map(repr, item))).encode()
    elif isinstance(item, CodeType):
        yield item.co_code + repr(item.co_names).encode()
        yield from _parts(item.co_consts, seen)
    elif isinstance(item, functools.partial):
        yield from _parts((item.func, item.args, *item.keywords.values()), seen)
    elif isinstance(item, MethodType):
        yield from _parts(item.__func__, seen)
    elif isinstance(item, FunctionType):
        if id(item) not in seen:
            seen.add(id(item))
            code = item.__code__
            if item.__doc__ is not None:
                consts = tuple(None if const == item.__doc__ else const for const in code.co_consts)
                code = code.replace(co_consts=consts)
            yield from _parts((code, item.__defaults__, *_referred(item)), seen)
    else:
        yield type(item).__qualname__.encode()
        for name in ("__call__", "gradient"):
            method = getattr(type(item), name, None)
            if isinstance(method, FunctionType):
                yield from _parts(method.__code__, seen)


def _referred(function: FunctionType) -> Iterator[Any]:
    """Yield what a function finds around it, of other modules the names alone."""
    for cell in function.__closure__ or ():
        try:
            yield cell.cell_contents
        except ValueError:  # it is empty yet
            yield None
    for name in function.__code__.co_names:
        found = function.__globals__.get(name)
        is_elsewhere = getattr(found, "__module__", None) != function.__module__
        yield name if isinstance(found, FunctionType) and is_elsewhere else found
