"""The door of the geomstats classes: what methods take is checked by the name of the argument."""

import functools
import inspect
import math
from collections.abc import Callable
from typing import Any

import geomstats.backend as gs
from array_api_compat import is_torch_array

from dlngeo.core.base.arrays import Array
from dlngeo.core.base.checks import check_batches, finite, float_array, integer, real_array

ARRAYS = frozenset(
    (
        *("point", "point_a", "point_b", "base_point", "initial_point", "end_point", "fiber_point"),
        *("vector", "direction", "initial_tangent_vec", "euclidean_gradient"),
        *("tangent_vec", "tangent_vec_a", "tangent_vec_b", "tangent_vec_c"),
        *("cotangent_vec_a", "cotangent_vec_b"),
    )
)
"""Names of the arguments that are points and vectors."""

JUDGES = frozenset({"belongs", "is_tangent", "is_horizontal", "is_vertical"})
"""Methods that judge arrays of every shape, NaN too."""

_MOST_ENTRIES = 2**30
"""Number of entries of a sample beyond which it does not fit into memory."""


class CheckedArguments:
    """Mixin of spaces and metrics whose public methods check what they are given."""

    def __init_subclass__(cls, **options: Any):
        super().__init_subclass__(**options)
        for name, method in list(vars(cls).items()):
            if inspect.isfunction(method) and not name.startswith("_"):
                places = _places(method)
                if places:
                    setattr(cls, name, _checked(method, places))

    def _argument_shape(self) -> tuple[int, ...] | None:
        """Return the shape of points and vectors, None where there are several."""
        return None


def check_library(array: Array, name: str) -> None:
    """Raise a TypeError if an array is a tensor where geomstats knows none."""
    if is_torch_array(array) and "pytorch" not in gs.__name__:
        raise TypeError(
            f"{name} is a tensor, but geomstats runs on {gs.__name__}: convert it by .numpy(), "
            "or set GEOMSTATS_BACKEND=pytorch."
        )


def _places(method: Callable) -> dict[str, int]:
    """Return the places of the arguments that are checked."""
    names = inspect.signature(method).parameters
    return {
        name: place
        for place, name in enumerate(names)
        if name in ARRAYS or name in ("n_samples", "bound")
    }


def _checked(method: Callable, places: dict[str, int]) -> Callable:
    is_judge = method.__name__ in JUDGES
    optional = {
        name for name, p in inspect.signature(method).parameters.items() if p.default is None
    }

    def check(self: Any, value: Any, name: str) -> Any:
        if value is None and name in optional:
            return None
        if name == "bound":
            return finite(value, "bound")
        if name == "n_samples":
            return _sample_size(self, value)
        array = (float_array if is_judge else real_array)(value, f"the {name}")
        check_library(array, name)
        shape = None if is_judge else self._argument_shape()
        if shape is not None and tuple(array.shape[-len(shape) :]) != shape:
            raise ValueError(
                f"expected an array of shape [..., {', '.join(map(str, shape))}], got "
                f"{tuple(array.shape)} as {name}."
            )
        return array

    @functools.wraps(method)
    def wrapper(self: Any, *args: Any, **kwargs: Any) -> Any:
        given, arrays = list(args), []
        for name, place in places.items():
            if place <= len(given):
                given[place - 1] = value = check(self, given[place - 1], name)
            elif name in kwargs:
                kwargs[name] = value = check(self, kwargs[name], name)
            else:
                continue
            if name in ARRAYS and value is not None:
                arrays.append(value)
        shape = None if is_judge else self._argument_shape()
        if shape is not None and len(arrays) > 1:
            check_batches(arrays, "the arguments", len(shape))
        return method(self, *given, **kwargs)

    return wrapper


def _sample_size(space: Any, n_samples: Any) -> int:
    number = integer(n_samples, "n_samples")
    if number * math.prod(space.shape) > _MOST_ENTRIES:
        raise ValueError(f"{number} points of shape {space.shape} do not fit into memory.")
    return number
