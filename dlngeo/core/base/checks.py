"""Checks that arguments pass: arrays of real numbers, and options that are numbers."""

import math
from collections.abc import Callable, Iterable
from typing import Any

import numpy

from dlngeo.core.base.arrays import Array, is_traced, namespace


def real_array(array: Array, name: str) -> Array:
    """Return an array after the checks that every argument passes; integers become floats.

    Raises
    ------
    TypeError
        If it is no array of a known library.
    ValueError
        If it is complex, or has definite values of which one is NaN or infinite.
    """
    if type(array) is numpy.ndarray and array.dtype.kind == "f" and numpy.isfinite(array).all():
        return array  # the usual case, without the search
    xp = namespace(array)
    kind = str(array.dtype)
    if "complex" in kind:
        raise ValueError(f"{name} is of type {kind}: dlngeo works on real numbers.")
    if "float" not in kind:
        array = 1.0 * array
    if is_traced(array):
        return array
    is_finite = xp.all(xp.isfinite(array))
    # Inside of what JAX compiles, even that of a constant has no definite value.
    if not is_traced(is_finite) and not bool(is_finite):
        raise ValueError(f"{name} holds NaN or infinite entries: remove or replace them.")
    return array


def check_range(kernel: Array, *, divides: bool) -> None:
    """Raise a ValueError if a kernel has left the floating-point range.

    A kernel that divides must not vanish either.
    """
    xp = namespace(kernel)
    in_range = xp.isfinite(kernel) & (kernel > 0) if divides else xp.isfinite(kernel)
    if not is_traced(kernel) and not bool(xp.all(in_range)):
        raise ValueError(
            "the depth metric overflows or underflows at this scale and depth: rescale the "
            "matrix, or use double precision."
        )


def finite(number: Any, name: str) -> float:
    """Return a finite number as a float.

    Raises
    ------
    ValueError
        If it is none; booleans and texts are none.
    """
    return _checked(number, name, "a finite number", lambda x: math.isfinite(x))


def positive(number: Any, name: str) -> float:
    """Return a number ``0 < x < ∞`` as a float; errors as in `finite`."""
    return _checked(number, name, "positive and finite", lambda x: 0 < x < math.inf)


def nonnegative(number: Any, name: str) -> float:
    """Return a number ``0 ≤ x < ∞`` as a float; errors as in `finite`."""
    return _checked(number, name, "at least zero and finite", lambda x: 0 <= x < math.inf)


def fraction(number: Any, name: str) -> float:
    """Return a number ``0 < x < 1`` as a float; errors as in `finite`."""
    return _checked(number, name, "between 0 and 1", lambda x: 0 < x < 1)


def integer(number: Any, name: str, least: int = 1) -> int:
    """Return an integer that is at least ``least``; 3.0 is one, errors as in `finite`."""
    expected = "a positive integer" if least == 1 else f"an integer of at least {least}"
    return int(_checked(number, name, expected, lambda x: x >= least and x == math.floor(x)))


def choice(value: str, name: str, options: Iterable[str]) -> str:
    """Return one of the names that an option may have; errors as in `finite`."""
    options = tuple(options)
    if value in options:
        return value
    raise ValueError(f"{name} must be one of {', '.join(options)}, got {value!r}.")


def _checked(number: Any, name: str, expected: str, fits: Callable[[float], bool]) -> float:
    try:
        if isinstance(number, bool | numpy.bool | str | bytes):
            raise TypeError
        value = float(number)
        if math.isfinite(value) and fits(value):
            return value
    except (TypeError, ValueError, OverflowError):
        pass
    raise ValueError(f"{name} must be {expected}, got {number!r}.")
