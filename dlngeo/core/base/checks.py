"""Checks that arguments pass: arrays of real numbers, and options that are numbers.

Every array that a public function takes goes through `real_array`, or through `float_array` where
its values are not looked at.
"""

import contextlib
import math
import numbers
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

import array_api_compat
import numpy

from dlngeo.core.base.arrays import Array, in_precision_of, is_traced, namespace, to_numpy

T = TypeVar("T")

_FLOATS = {numpy.dtype(numpy.float64), numpy.dtype(numpy.float32)}


def float_array(array: Array, name: str) -> Array:
    """Return an array of a known library, of single or double precision.

    Integers become floats, and subclasses of NumPy's arrays what they are made of.

    Raises
    ------
    TypeError
        If it is no array of a known library, or a sparse one.
    ValueError
        If it has masked entries or no values, or is of another type, such as complex or half
        precision.
    """
    if type(array) is numpy.ndarray and array.dtype in _FLOATS:
        return array  # the usual case, without the search
    if isinstance(array, numpy.ndarray):
        array = _plain(array, name)
    elif _is_sparse(array):
        raise TypeError(f"{name} is sparse: dlngeo takes dense arrays, give its toarray().")
    xp = namespace(array)
    if array_api_compat.is_torch_array(array):
        _check_tensor(array, name)
    kind = str(array.dtype).removeprefix("torch.")
    if kind in ("float32", "float64"):
        return array
    if "complex" in kind:
        raise ValueError(f"{name} is of type {kind}: dlngeo works on real numbers.")
    if "int" in kind and kind[-1].isdigit():
        return 1.0 * xp.asarray(array)
    raise ValueError(
        f"{name} is of type {kind}: dlngeo works in single and double precision, convert it to "
        "float32 or float64."
    )


def _plain(array: numpy.ndarray, name: str) -> numpy.ndarray:
    """Return an array without its subclass, in the byte order of the machine."""
    if isinstance(array, numpy.ma.MaskedArray):
        hidden = int(numpy.ma.count_masked(array))
        if hidden:
            raise ValueError(
                f"{name} has {hidden} masked entries: fill them, or complete the matrix "
                "(dlngeo.solvers.MatrixCompletion)."
            )
        array = array.data
    array = numpy.asarray(array)
    return array.astype(array.dtype.newbyteorder("="), copy=False)


def _is_sparse(array: Array) -> bool:
    sparse = sys.modules.get("scipy.sparse")  # it exists only where it was imported
    return sparse is not None and sparse.issparse(array)


def _check_tensor(tensor: Array, name: str) -> None:
    import torch

    if tensor.layout is not torch.strided or tensor.is_nested:
        raise TypeError(f"{name} is a sparse or nested tensor: dlngeo takes dense ones.")
    if tensor.is_meta:
        raise ValueError(f"{name} is on the device meta and has no values: give it some.")


def real_array(array: Array, name: str) -> Array:
    """Return an array after the checks that every argument passes; integers become floats.

    Raises
    ------
    TypeError, ValueError
        As in `float_array`; or if it has definite values of which one is NaN or infinite.
    """
    array = float_array(array, name)
    if type(array) is numpy.ndarray and numpy.isfinite(array).all():
        return array  # the usual case
    if is_traced(array):
        return array
    is_finite = namespace(array).isfinite(array)
    # Inside of what JAX compiles, even that of a constant has no definite value.
    if not is_traced(is_finite) and not bool(is_finite.all()):
        raise ValueError(
            f"{name} holds NaN or infinite entries, {where(~is_finite)}: remove or replace them."
        )
    return array


def host_array(array: Any, name: str) -> numpy.ndarray:
    """Return an array of any library on the host, in double precision, after its checks.

    Lists, tables and whatever else NumPy can read as numbers serve too.

    Raises
    ------
    TypeError, ValueError
        As in `real_array`; or if NumPy reads no numbers there.
    NotImplementedError
        As in `dlngeo.core.base.arrays.to_numpy`.
    """
    if not hasattr(array, "dtype"):
        try:
            array = numpy.asanyarray(array)
        except (TypeError, ValueError) as error:
            raise ValueError(f"{name} cannot be read as an array of numbers: {error}") from error
    return to_numpy(real_array(array, name))


def index_array(array: Any, name: str, size: int) -> numpy.ndarray:
    """Return indices from zero to less than a size, shape=[k].

    Raises
    ------
    ValueError
        If they are not integers, or out of bounds.
    """
    read = _plain(numpy.asanyarray(array), name)
    if read.ndim != 1 or (read.size and read.dtype.kind not in "iu"):
        raise ValueError(
            f"{name} must be a list of integers, got {read.dtype} of shape {read.shape}."
        )
    is_outside = (read < 0) | (read >= size)
    if is_outside.any():
        raise ValueError(
            f"{name} must lie within the shape, from 0 to {size - 1}; got {name} from {read.min()} "
            f"to {read.max()}."
        )
    return read.astype(numpy.int64)


def where(is_bad: Array) -> str:
    """Tell how many entries of an array of booleans are true, and where the first one is."""
    flags = is_bad.detach().cpu().numpy() if hasattr(is_bad, "detach") else numpy.asarray(is_bad)
    places = numpy.argwhere(flags)
    if flags.ndim == 0:
        return "which is the only one"
    first = ", ".join(map(str, places[0]))
    return f"{len(places)} of {flags.size}, the first at index [{first}]"


def in_batch(is_bad: Array) -> str:
    """Tell which of a batch are bad, in parentheses; of a single one there is nothing to tell."""
    return f" ({where(is_bad)})" if is_bad.ndim else ""


def alike(arrays: Sequence[Array]) -> tuple[Array, ...]:
    """Return checked arrays that are used together, in the higher of their precisions.

    Raises
    ------
    TypeError
        If they are of different libraries.
    """
    first = arrays[0]
    if all(type(array) is numpy.ndarray and array.dtype is first.dtype for array in arrays):
        return tuple(arrays)  # the usual case
    xp = namespace(*arrays)
    types = {array.dtype for array in arrays}
    if len(types) == 1:
        return tuple(arrays)
    double = next(t for t in types if "64" in str(t))
    return tuple(a if a.dtype == double else xp.asarray(a, dtype=double) for a in arrays)


def check_batches(arrays: Sequence[Array], names: str, ndim: int = 2) -> None:
    """Raise a ValueError if the leading axes of arrays do not broadcast against each other."""
    batches = {tuple(array.shape[:-ndim]) for array in arrays}
    if len(batches) > 1:
        try:
            numpy.broadcast_shapes(*batches)
        except ValueError:
            shapes = ", ".join(str(tuple(array.shape)) for array in arrays)
            raise ValueError(
                f"the leading axes of {names} must broadcast against each other, got {shapes}."
            ) from None


def check_range(kernel: Array, *, divides: bool) -> None:
    """Raise a ValueError if a kernel, shape=[..., r, r], has left the floating-point range.

    A kernel that divides must not vanish either.
    """
    xp = namespace(kernel)
    in_range = xp.isfinite(kernel) & (kernel > 0) if divides else xp.isfinite(kernel)
    if not is_traced(kernel) and not bool(xp.all(in_range)):
        is_out = xp.any(~in_range, axis=(-2, -1))
        raise ValueError(
            f"the depth metric overflows or underflows at this scale and depth{in_batch(is_out)}: "
            "rescale the matrix, or use double precision."
        )


def in_range(result: Array, name: str) -> Array:
    """Return what was computed of finite arguments, unless it has left the floating-point range.

    Raises
    ------
    ValueError
        If it is infinite, or NaN.
    """
    if type(result) is numpy.ndarray and numpy.isfinite(result).all():
        return result  # the usual case
    if not is_traced(result):
        is_finite = namespace(result).isfinite(result)
        if not is_traced(is_finite) and not bool(is_finite.all()):
            raise ValueError(
                f"{name} overflows, in {where(~is_finite)}: rescale the arguments, or use double "
                "precision."
            )
    return result


@contextlib.contextmanager
def invertible(matrix: Array, name: str) -> Iterator[None]:
    """Raise a ValueError where a library finds a matrix singular, or gives up on it.

    PyTorch's error is no NumPy one, and has no public name.
    """
    try:
        yield
    except (numpy.linalg.LinAlgError, RuntimeError) as error:
        if "LinAlgError" not in type(error).__name__:
            raise
        is_singular = namespace(matrix).linalg.slogdet(matrix)[0] == 0
        raise ValueError(
            f"{name} is singular or out of range{in_batch(is_singular)}: {error}"
        ) from error


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


def time_like(time: Any, like: Array) -> Array:
    """Return a time that is not negative, infinity too, or an array of them like another array.

    Raises
    ------
    TypeError, ValueError
        If it is negative, NaN, or neither a number nor an array of the library.
    """
    if getattr(time, "ndim", 0) == 0:
        value = math.inf if isinstance(time, float) and time == math.inf else time
        return value if value == math.inf else nonnegative(value, "the time")
    times = in_precision_of(like, float_array(time, "the array of times"))
    is_good = times >= 0
    if not is_traced(times) and not bool(is_good.all()):
        raise ValueError(f"times must not be negative or NaN, but are in {where(~is_good)}.")
    return times


def integer(number: Any, name: str, least: int = 1, most: int = 2**31 - 1) -> int:
    """Return an integer from ``least`` to ``most``; 3.0 is one, errors as in `finite`."""
    if type(number) is int and least <= number <= most:
        return number  # the usual case
    expected = "a positive integer" if least == 1 else f"an integer of at least {least}"
    value = _checked(number, name, expected, lambda x: x >= least and x == math.floor(x))
    if value > most:
        raise ValueError(f"{name} must be {expected} and at most {most}, got {shown(number)}.")
    return int(value)


def instance(value: T, kind: type, name: str) -> T:
    """Return an object of a class; errors as in `finite`."""
    if isinstance(value, kind):
        return value
    came = value.__name__ if isinstance(value, type) else f"an object of {type(value).__name__}"
    raise ValueError(f"{name} must be a {kind.__name__}, got {came}.")


def flag(value: Any, name: str) -> bool:
    """Return a boolean; errors as in `finite`."""
    if isinstance(value, bool | numpy.bool):
        return bool(value)
    raise ValueError(f"{name} must be True or False, got {shown(value)}.")


def file_path(value: Any, name: str) -> Path:
    """Return a path; errors as in `finite`."""
    path = os.fspath(value) if isinstance(value, str | os.PathLike) else None
    if isinstance(path, str) and path and "\0" not in path:
        return Path(path)
    raise ValueError(f"{name} must be a path, got {shown(value)}.")


def several(
    values: Any, name: str, check: Callable[[Any, str], T], least: int = 1
) -> tuple[T, ...]:
    """Return what a check returns of each of a list of numbers.

    Raises
    ------
    ValueError
        If it is no list, has fewer than ``least`` numbers, or one of them does not pass.
    """
    is_list = isinstance(values, tuple | list | range) or getattr(values, "ndim", 0) == 1
    if not is_list or len(values) < least:
        raise ValueError(f"{name} must be a list of {least} numbers or more, got {shown(values)}.")
    return tuple(check(value, f"{name}[{place}]") for place, value in enumerate(values))


def generator(seed: Any, name: str = "rng") -> numpy.random.Generator:
    """Return the generator of a seed: a generator, an integer that is not negative, or None."""
    if seed is None or isinstance(seed, numpy.random.Generator | numpy.random.SeedSequence):
        return numpy.random.default_rng(seed)
    is_whole = isinstance(seed, int | numpy.integer) and not isinstance(seed, bool)
    if is_whole and seed >= 0:
        return numpy.random.default_rng(int(seed))
    raise ValueError(
        f"{name} must be a numpy.random.Generator, an integer of at least 0, or None; got "
        f"{seed!s:.99}."
    )


def choice(value: str, name: str, options: Iterable[str]) -> str:
    """Return one of the names that an option may have; errors as in `finite`."""
    options = tuple(options)
    if isinstance(value, str) and value in options:
        return value
    raise ValueError(f"{name} must be one of {', '.join(options)}, got {shown(value)}.")


def shown(value: Any) -> str:
    """Return a value as an error shows it: at most 80 characters."""
    try:
        text = repr(value)
    except ValueError:  # Python spells no integers of more than 4300 digits
        text = f"an integer of {value.bit_length()} bits" if isinstance(value, int) else "numbers"
    except RecursionError:
        text = type(value).__name__
    return text if len(text) <= 80 else f"{text[:77]}..."


def _checked(number: Any, name: str, expected: str, fits: Callable[[float], bool]) -> float:
    is_number = isinstance(number, numbers.Real | numpy.generic | numpy.ndarray)
    try:
        kind = getattr(getattr(number, "dtype", None), "kind", "f")
        if not is_number or isinstance(number, bool) or kind not in "iuf":
            raise TypeError
        value = float(number)
        if math.isfinite(value) and fits(value):
            return value
    except (TypeError, ValueError, OverflowError):
        pass
    raise ValueError(f"{name} must be {expected}, got {shown(number)}.")
