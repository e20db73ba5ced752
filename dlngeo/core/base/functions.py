"""Functions that callers give: that they can be called, and what they return."""

from collections.abc import Callable
from typing import Any, TypeVar

import numpy

from dlngeo.core.base.arrays import Array, namespace, to_numpy
from dlngeo.core.base.checks import float_array, shown

T = TypeVar("T")


def function(value: Any, name: str) -> Callable[..., Any]:
    """Return what can be called, and is no class.

    Raises
    ------
    ValueError
        If it cannot, or is one.
    """
    if callable(value) and not isinstance(value, type):
        return value
    raise ValueError(f"{name} must be a function, got {shown(value)}.")


def optional_function(value: Any, name: str) -> Callable[..., Any] | None:
    """Return a `function`, or None."""
    return None if value is None else function(value, name)


def call(function: Callable[..., T], name: str, *arguments: Any) -> T:
    """Return what a function gives for arrays.

    Raises
    ------
    ValueError
        If it fails as functions do that are given arrays of another library, or precision, than
        those that they are made of. What autograd traces is left to who asked for that.
    """
    try:
        return function(*arguments)
    except (TypeError, RuntimeError) as error:
        # Libraries raise no errors of their own; those of a function pass as they are.
        is_told = any(word in f"{error!r}" for word in ("Tensor", "tensor", "Tracer", "jax"))
        is_own = type(arguments[0]) is numpy.ndarray or isinstance(error, RuntimeError)
        if "autograd" in namespace(arguments[0]).__name__ or (is_own and not is_told):
            raise
        kind = f"{type(arguments[0]).__name__} of type {arguments[0].dtype}"
        raise ValueError(
            f"{name} cannot be called with a {kind}, {error}: give arrays of the library and "
            "precision that it is written for, or write it for these."
        ) from error


def returned(result: Any, name: str, shape: tuple[int, ...] | None = None) -> numpy.ndarray:
    """Return what a function gave, on the host, in double precision.

    Numbers and lists of numbers are arrays too. NaN and infinity are for the caller to judge.

    Parameters
    ----------
    result : array-like
    name : str
        Of the function.
    shape : tuple of int, optional
        What its results have; arrays of one entry are numbers.

    Raises
    ------
    TypeError, ValueError
        If it holds no real numbers, or is of another shape.
    """
    if type(result) is not numpy.ndarray or result.dtype != float:
        result = _on_host(result, f"what {name} returned")
    if shape is None or result.shape == shape:
        return result
    if shape == () and result.size == 1:
        return result.reshape(())
    expected = f"an array of shape {shape}" if shape else "one number"
    raise ValueError(f"{name} must return {expected}, got shape {result.shape}.")


def _on_host(result: Any, name: str) -> numpy.ndarray:
    if not hasattr(result, "dtype"):
        try:
            result = numpy.asanyarray(result)
        except (TypeError, ValueError) as error:  # rows of different lengths
            raise ValueError(f"{name} is no array of numbers: {error}") from error
    array = float_array(result, name)
    return to_numpy(array.detach() if hasattr(array, "detach") else array)


class ReturningNumbers:
    """A function of arrays of which every result is checked to be one number."""

    def __init__(self, function: Callable[[Array], Any], name: str):
        self._function, self._name = function, name

    def __call__(self, array: Array) -> numpy.ndarray:
        """Return the number, shape=[]."""
        return returned(call(self._function, self._name, array), self._name, ())


class ReturningLike(ReturningNumbers):
    """A function of arrays of which every result is checked to have the shape of its argument."""

    def __call__(self, array: Array) -> numpy.ndarray:
        """Return the array."""
        return returned(call(self._function, self._name, array), self._name, tuple(array.shape))
