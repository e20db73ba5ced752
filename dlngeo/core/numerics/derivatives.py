"""Derivatives of a function of a vector along vectors, by the library of its values.

``push`` is along vectors and ``pull`` along covectors, by autograd for NumPy arrays and by
PyTorch and JAX for theirs. They nest: second derivatives along two vectors are a push of a
push, and no matrix of second derivatives is ever formed.
"""

import contextlib
import sys
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import array_api_compat
import numpy

from dlngeo.core.base.arrays import Array, from_numpy, namespace
from dlngeo.core.base.checks import float_array
from dlngeo.core.base.functions import returned

Function = Callable[[Array], Array]
"""From a vector, shape=[D], to a vector, shape=[n]."""


def push(function: Function, x: Array, v: Array) -> Array:
    """Return the derivative along a vector, ``dF_x v``, shape=[n].

    A pull is linear in its covector, and the pull of that map is the push. PyTorch is faster so,
    and autograd knows fewer forward rules than reverse ones.
    """
    library = _library(x)
    if library == "jax":
        import jax

        return jax.jvp(function, (x,), (v,))[1]
    if library == "autograd":
        from autograd import make_jvp

        with contextlib.suppress(NotImplementedError):
            return make_jvp(function)(x)(v)[1]
    values, pull_back = _reverse(function, x)
    return _reverse(pull_back, 0.0 * values)[1](v)


def pull(function: Function, x: Array, w: Array) -> Array:
    """Return the transposed derivative of a covector, ``dF_xᵀ w``, shape=[D]."""
    return _reverse(function, x)[1](w)


def _reverse(function: Function, x: Array) -> tuple[Array, Function]:
    """Return the value and the transposed derivative, both of which can be differentiated."""
    library = _library(x)
    if library == "torch":
        import torch

        result: Any = torch.func.vjp(function, x)
        values, pull_back = result
        return values, lambda w: pull_back(w)[0]
    if library == "jax":
        import jax

        values, pull_back = jax.vjp(function, x)
        return values, lambda w: pull_back(w.astype(values.dtype))[0]
    from autograd import make_vjp

    pull_back, values = make_vjp(function)(x)
    return values, pull_back


def _gradient(function: Function, x: Array) -> Array:
    """Return the gradient of the sum of the values."""
    values, pull_back = _reverse(function, x)
    return pull_back(namespace(values).ones_like(values))


def _last_gradient(function: Function, x: Array) -> Array:
    """Return the gradient, of which no further derivative is asked for.

    PyTorch's own backward pass takes functions that its transforms of functions do not, and less
    time.
    """
    if _library(x) == "torch":
        import torch

        values = function(x)
        if getattr(values, "requires_grad", False):
            gradient = torch.autograd.grad(values.sum(), x, allow_unused=True)[0]
            return torch.zeros_like(x) if gradient is None else gradient
        x = x.detach()
    return _gradient(function, x)


def jacobian(function: Function, x: Array, n: int) -> Array:
    """Return the matrix ``dF_x`` of a function with ``n`` values, shape=[n, D]."""
    size = x.shape[0]
    library = _library(x)
    if library == "torch":
        import torch

        # Backwards its batches cost less.
        is_wide = n < 4 * size
        return (torch.func.jacrev if is_wide else torch.func.jacfwd)(function)(x)
    if library == "jax":
        import jax

        return (jax.jacrev if n < size else jax.jacfwd)(function)(x)
    if n == 0:
        return numpy.zeros((0, size))
    xp = namespace(x)
    if n < size:
        pull_back = _reverse(function, x)[1]
        return xp.stack([pull_back(row) for row in numpy.eye(n)])
    return xp.stack([push(function, x, column) for column in numpy.eye(size)], axis=-1)


def _library_of_result(values: Any) -> str:
    is_own = array_api_compat.is_torch_array(values) or array_api_compat.is_jax_array(values)
    return _library(values) if is_own else "autograd"


def _library(x: Array) -> str:
    name = namespace(x).__name__
    return next((library for library in ("torch", "jax") if library in name), "autograd")


def _point_like(x: numpy.ndarray, kind: Array) -> Array:
    """Return points in another library; of PyTorch such that functions may differentiate inside."""
    own = from_numpy(x.copy(), kind)
    return own.requires_grad_() if array_api_compat.is_torch_array(own) else own


def guard_tracing(function: Callable[..., Any], remedy: str) -> Callable[..., Any]:
    """Return a function that raises where autograd would silently lose track of it.

    NumPy's own functions turn what autograd traces into arrays of objects, or fail.

    Raises
    ------
    ValueError
        With the remedy, if the function of a traced argument fails, or returns objects.
    """

    def guarded(x: Array) -> Array:
        try:
            values = function(x)
        except (TypeError, ValueError, AttributeError) as error:
            if type(x) is numpy.ndarray:
                raise
            raise ValueError(f"{remedy} ({error})") from error
        if type(values) is numpy.ndarray and values.dtype == object:
            raise ValueError(remedy)
        return values

    return guarded


class Differentiated:
    """A function of points, by one or by batches, and its derivatives, on NumPy's arrays.

    It gets arrays of its library, which the first call tells: of NumPy, PyTorch (in double or in
    its own precision) and JAX the first whose arrays it takes, and returns the like of. Those of
    JAX take NumPy's arrays too, but return their own.

    Parameters
    ----------
    function : callable
        To one number, or to one for every point of a batch that depends on no other.
    remedy : str
        What an error says where autograd would lose track of the function.
    like : array, optional
        One of the library that is tried first.
    """

    def __init__(self, function: Function, remedy: str, like: Array | None = None):
        self._function, self._remedy, self._like = function, remedy, like
        self._kind: Array | None = None

    def __call__(self, x: numpy.ndarray) -> numpy.ndarray:
        """Return the values."""
        function, own = self._own(x)
        return returned(function(own), "the function")

    def gradient(self, x: numpy.ndarray) -> numpy.ndarray:
        """Return the gradients, of the shape of the points."""
        function, own = self._own(x)
        with self._tracing():
            gradient = _last_gradient(function, own)
        return returned(gradient, "the derivative")

    def push(self, x: numpy.ndarray, v: numpy.ndarray) -> numpy.ndarray:
        """Return the derivatives of the values, which may be arrays, along vectors."""
        function, own = self._own(x)
        with self._tracing():
            change = push(function, own, from_numpy(v, own))
        return returned(change, "the derivative")

    def hessian_product(self, x: numpy.ndarray, v: numpy.ndarray) -> numpy.ndarray:
        """Return the derivatives of the gradients along vectors."""
        function, own = self._own(x)
        with self._tracing():
            change = push(lambda y: _gradient(function, y), own, from_numpy(v, own))
        return returned(change, "the second derivative")

    @contextlib.contextmanager
    def _tracing(self) -> Iterator[None]:
        """Tell the remedy where a library loses track of the function."""
        try:
            yield
        except (RuntimeError, TypeError) as error:
            raise ValueError(f"{self._remedy} ({error})") from error

    def _own(self, x: numpy.ndarray) -> tuple[Function, Array]:
        """Return the function, and points as it takes them."""
        if self._kind is None:
            self._kind = self._find_kind(x)
        if type(self._kind) is numpy.ndarray:
            return guard_tracing(self._function, self._remedy), x
        return self._function, _point_like(x, self._kind)

    def _find_kind(self, x: numpy.ndarray) -> Array:
        kinds = [x] if self._like is None else [self._like, x]
        if torch := sys.modules.get("torch"):
            kinds += [torch.zeros(0, dtype=torch.float64), torch.zeros(0)]
        if jax := sys.modules.get("jax.numpy"):
            kinds.append(jax.zeros(0))
        refusals = []
        for kind in kinds:
            try:
                own = x if type(kind) is numpy.ndarray else _point_like(x, kind)
                with warnings.catch_warnings(action="ignore"):
                    values = self._function(own)
            except Exception as error:
                refusals.append(error)
                continue
            if _library_of_result(values) == _library(own):
                if not isinstance(values, int | float):
                    float_array(values, "what the function returned")
                return kind
            came, given = type(values).__name__, type(own).__name__
            refusals.append(ValueError(f"a function of a {given} must not return a {came}."))
        raise refusals[0]
