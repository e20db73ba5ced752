r"""Homogeneous kernels at every scale: found of arguments of size one, in exact powers of two.

Most kernels are homogeneous, ``f(2^k x) = 2^{qk} f(x)``, in each of their arguments. Where these
are so large or small that their powers may leave the floating-point range, a kernel takes them in
units of their own (`at_unit_scale`), and what it finds is brought back (`at_scale`): the value, or
an error that names its size where that is no floating-point number.

A vector is an array, or a sequence of arrays such as the layers of a network. An exponent is an
array of powers of two, shape=[...], or the number 0 where no units are needed.
"""

import functools
import math
from collections.abc import Sequence
from typing import Any

import numpy

from dlngeo.core.base.arrays import Array, is_traced, namespace
from dlngeo.core.base.checks import in_batch, in_range

Vector = Any
Exponent = Any

HIGHEST_DEGREE = 40
"""Beyond it, as of hundreds of layers, powers of units near ½ or 1 are no safer than those of
ordinary vectors, whose sizes may be a network's point, as those of layers near the identity."""


def at_unit_scale(degree: float, *vectors: Vector, axes: int = 2) -> tuple[Any, ...]:
    """Return vectors in units near their largest entries, and then the exponents of the units.

    Vectors of ordinary size stay as they are, as do those without definite values.

    Parameters
    ----------
    degree : float
        Highest power of a vector that the kernel forms.
    vectors : array-like, shape=[..., m, n], or sequence of these
    axes : int
        Number of the axes of an item, behind those of the batch.

    Returns
    -------
    units : vector of each
    exponents : Exponent of each
        A vector is its unit one times ``2^k``.
    """
    exponents = [_exponent(_arrays(vector), degree, axes) for vector in vectors]
    pairs = zip(vectors, exponents, strict=True)
    return (*[times_power(vector, -k, axes) for vector, k in pairs], *exponents)


def at_scale(unit: Vector, exponent: Exponent, name: str, axes: int = 2) -> Vector:
    """Return ``2^k`` times what a kernel found of arguments in units of their own.

    Parameters
    ----------
    unit : array-like, shape=[..., m, n], or sequence of these
    exponent : Exponent
        Or a list of them, one for each array.
    name : str
        Of the result, for the error.
    axes : int
        Number of the axes of an item, behind those of the batch.

    Returns
    -------
    result : vector

    Raises
    ------
    ValueError
        If an item is out of the floating-point range: it is infinite, or vanishes though the unit
        one does not.
    """
    if _is_zero(exponent):
        is_many = isinstance(unit, tuple | list)
        for place, array in enumerate(_arrays(unit), start=1):
            in_range(array, f"layer {place} of {name}" if is_many else name)
        return unit
    result = times_power(unit, exponent, axes)
    largest, sizes = _largest(_arrays(result), axes), _sizes(unit, exponent, axes)
    xp = namespace(largest)
    is_lost = ~xp.isfinite(largest) | ((largest == 0) & (sizes > -math.inf))
    if bool(xp.any(is_lost)):
        size = float(xp.reshape(sizes[is_lost], (-1,))[0]) * math.log10(2)
        raise ValueError(
            f"{name} is out of range{in_batch(is_lost)}: at this scale of the arguments it is of "
            f"size 1e{size:.0f}. Rescale them, or use double precision."
        )
    return result


def relative_units(vector: Sequence[Array], exponents: list[Exponent]) -> tuple[Any, Exponent]:
    """Return ``2^{-k_p} V_p`` in units of the largest of these, and the exponent of that."""
    if _is_zero(exponents):
        return at_unit_scale(1, vector)
    inverse = [-k for k in exponents]
    if is_traced(*vector):
        return times_power(vector, inverse), 0
    sizes = _sizes(vector, inverse, 2)
    xp = namespace(sizes)
    own = xp.ceil(xp.where(sizes > -math.inf, sizes, xp.zeros_like(sizes)))
    return times_power(vector, [k - own for k in inverse]), own


def square(numbers: Array, name: str) -> Array:
    """Return the squares of numbers, shape=[...]; errors as in `at_scale`."""
    unit, exponent = at_unit_scale(2, numbers, axes=0)
    return at_scale(unit**2, 2 * exponent, name, axes=0)


def times_power(vector: Vector, exponent: Exponent, axes: int = 2) -> Vector:
    """Return a vector times powers of two; the exponent may be a list, one for each array."""
    if _is_zero(exponent):
        return vector
    if isinstance(vector, tuple | list):
        pairs = zip(vector, _of_each(exponent, vector), strict=True)
        return type(vector)([times_power(array, k, axes) for array, k in pairs])
    # By two halves, as the power itself may be out of range; bounds of floats are floats, as old
    # versions of array-api-compat ask.
    xp, most = namespace(vector), 2.0 * _range(vector.dtype) - 2.0
    exponent = xp.clip(xp.asarray(exponent, dtype=vector.dtype), -most, most)
    half = xp.floor(exponent / 2)
    with numpy.errstate(all="ignore"):
        first, second = (2.0 ** part[(..., *[None] * axes)] for part in (half, exponent - half))
        return vector * first * second


def _is_zero(exponent: Exponent) -> bool:
    if isinstance(exponent, list):
        return all(map(_is_zero, exponent))
    return isinstance(exponent, int | float) and exponent == 0


def _arrays(vector: Vector) -> Sequence[Array]:
    return vector if isinstance(vector, tuple | list) else (vector,)


def _of_each(exponent: Exponent, arrays: Sequence[Array]) -> list[Exponent]:
    return exponent if isinstance(exponent, list) else [exponent] * len(arrays)


def _exponent(arrays: Sequence[Array], degree: float, axes: int) -> Exponent:
    """Return exponents of two of the largest entries, or 0 if all are of ordinary size."""
    square = 0.0
    for array in arrays:
        if type(array) is not numpy.ndarray or array.ndim != axes:
            break
        square += numpy.vdot(array, array)
    else:  # the usual case, by the squared norm
        least, most = _ordinary_squares(arrays[0].dtype, degree)
        if least < square < most:
            return 0
    if is_traced(*arrays) or 0 in arrays[0].shape:
        return 0
    largest = _largest(arrays, axes)
    xp = namespace(largest)
    exponent = xp.ceil(xp.log2(xp.where(largest > 0, largest, xp.ones_like(largest))))
    is_extreme = xp.any(xp.abs(exponent) >= _ordinary(largest.dtype, degree))
    # Inside of what JAX compiles, even that of a constant has no definite value.
    return 0 if is_traced(is_extreme) or not bool(is_extreme) else exponent


def _largest(arrays: Sequence[Array], axes: int) -> Array:
    """Return the largest absolute value of the entries of each item, shape=[...]."""
    xp = namespace(*arrays)
    every = tuple(range(-axes, 0))
    return functools.reduce(
        xp.maximum, [xp.max(xp.abs(a), axis=every) if axes else xp.abs(a) for a in arrays]
    )


def _sizes(unit: Vector, exponent: Exponent, axes: int) -> Array:
    """Return the binary logarithms of the largest entries of ``2^k`` times a vector."""
    arrays = _arrays(unit)
    xp = namespace(*arrays)
    with numpy.errstate(divide="ignore"):
        logs = [xp.log2(_largest([array], axes)) for array in arrays]
    pairs = zip(logs, _of_each(exponent, arrays), strict=True)
    return functools.reduce(xp.maximum, [log + k for log, k in pairs])


def _ordinary(dtype: Any, degree: float) -> float:
    """Return the exponent of two up to which the powers of numbers stay well in range."""
    return (_range(dtype) - 24) / 2 / min(degree, HIGHEST_DEGREE)


@functools.cache
def _ordinary_squares(dtype: Any, degree: float) -> tuple[float, float]:
    bound = 2 * _ordinary(dtype, degree)
    return 2.0**-bound, 2.0**bound


@functools.cache
def _range(dtype: Any) -> int:
    """Return the exponent of two at which floats end."""
    return 128 if "32" in str(dtype) else 1024
