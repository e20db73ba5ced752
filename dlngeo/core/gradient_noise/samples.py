"""Losses of the samples of a data set, with their first and second derivatives.

All a geometry of gradient noise needs: per-sample gradients ``∇f_s``, their products with
vectors of parameters and of samples, and Hessian-vector products. They come from automatic
differentiation of the losses, or by hand.
"""

import functools
import math
from collections.abc import Callable
from typing import Any

import numpy

from dlngeo.core.base.arrays import Array, is_traced, namespace, to_numpy
from dlngeo.core.base.checks import float_array, integer, real_array, several
from dlngeo.core.base.functions import call, optional_function
from dlngeo.core.numerics import derivatives

Losses = Callable[..., Array]
"""``f(x)``: the losses of all samples, shape=[n], at one point of shape=[*point_shape]; with
``n_samples`` given, ``f(x, indices)``: those of the samples asked for."""

_REMEDY = (
    "autograd could not differentiate the losses: write them with autograd.numpy in place of "
    "numpy (the functions of geomstats' numpy backend have no derivatives either), use PyTorch "
    "or JAX, or give sample_gradients= and sample_hvp=."
)


class SampleLosses:
    r"""Losses ``f_s(x)`` of ``n`` samples at parameters ``x``.

    Methods take vectors of parameters, shape=[..., D], and broadcast over leading axes;
    the functions are called at one point at a time.

    Parameters
    ----------
    shape : tuple of int
        Shape of the points that the functions take.
    losses : callable, optional
        ``f(x)``, shape=[n]: written with autograd.numpy, PyTorch or JAX, if it is to be
        differentiated. JAX and NumPy functions take NumPy arrays.
    gradients : callable, optional
        ``∇f_s(x)``, shape=[n, *shape], if not by automatic differentiation.
    hvp : callable, optional
        ``∇²f_s(x) v``, shape=[n, *shape], of ``(x, v)``.
    n_samples : int, optional
        Number of samples. If given, the functions take an array of indices as their last
        argument, and return those samples alone: then a minibatch costs what it holds.
    indices : array of int, shape=[b], optional
        Which samples count, all by default.

    Raises
    ------
    ValueError
        If there are neither losses nor gradients.
    """

    def __init__(
        self,
        shape: tuple[int, ...],
        losses: Losses | None = None,
        gradients: Losses | None = None,
        hvp: Losses | None = None,
        n_samples: int | None = None,
        indices: numpy.ndarray | None = None,
    ):
        if losses is None and gradients is None:
            raise ValueError(
                "give the losses of the samples, f(x) with values of shape [n], or their "
                "derivatives: sample_gradients= and sample_hvp=."
            )
        self.shape = several(shape, "the shape", integer)
        self.losses = optional_function(losses, "sample_losses")
        self.gradients = optional_function(gradients, "sample_gradients")
        self.hvp = optional_function(hvp, "sample_hvp")
        self.n_samples = None if n_samples is None else integer(n_samples, "n_samples")
        self.indices = indices
        self._foreign: Any = None

    def subset(self, indices: numpy.ndarray) -> "SampleLosses":
        """Return the losses of some of the samples; an index may be there more than once."""
        if self.indices is not None:
            indices = self.indices[indices]
        return SampleLosses(
            self.shape, self.losses, self.gradients, self.hvp, self.n_samples, indices
        )

    def count(self, x: Array) -> int:
        """Return the number ``n`` of the samples that count; a point is there to try."""
        if self._known_count or 0 in x.shape[:-1]:
            return self._known_count or 1  # without a point, any number serves
        point = x[(0,) * (x.ndim - 1)]
        if self.losses is not None:
            return self._values(point).shape[0]
        return self._rows(point).shape[0]

    @property
    def _known_count(self) -> int:
        """Number of samples, zero where a point is needed to tell."""
        return (self.n_samples or 0) if self.indices is None else len(self.indices)

    def _over_batch(
        self, function: Callable[..., Array], shape: str, axes: str, *arrays: Array
    ) -> Array:
        """Apply a function of vectors to stacks of them, shape=[..., k], one by one.

        The shape of its results, and those of the vectors, are spelled by n, the number of samples,
        and D, of parameters.
        """
        arrays = tuple(real_array(array, "the vector") for array in arrays)
        namespace(*arrays)
        # How many samples there are may not be known without a call.
        sizes = {"n": self._known_count or None, "D": math.prod(self.shape)}
        for array, axis in zip(arrays, axes, strict=True):
            if array.ndim < 1 or sizes[axis] not in (None, array.shape[-1]):
                raise ValueError(
                    f"expected vectors of {'samples' if axis == 'n' else 'parameters'}, shape "
                    f"[..., {sizes[axis] or axis}], got {tuple(array.shape)}."
                )
        try:
            batch = numpy.broadcast_shapes(*[tuple(array.shape[:-1]) for array in arrays])
        except ValueError as error:
            raise ValueError(f"the leading axes of the vectors do not fit: {error}.") from error
        if not batch:
            return function(*arrays)
        xp, size = namespace(*arrays), math.prod(batch)
        rows = [
            xp.reshape(xp.broadcast_to(a, (*batch, a.shape[-1])), (size, a.shape[-1]))
            for a in arrays
        ]
        results = [function(*[array[i] for array in rows]) for i in range(size)]
        if results:
            return xp.reshape(xp.stack(results), (*batch, *results[0].shape))
        lengths = {"n": self.count(arrays[0]), "D": math.prod(self.shape)}
        return xp.reshape(0 * rows[0], (*batch, *[lengths[axis] for axis in shape]))

    def values(self, x: Array) -> Array:
        """Return the losses ``f_s(x)``, shape=[..., n]."""
        return self._over_batch(self._values, "n", "D", x)

    def matrix(self, x: Array) -> Array:
        """Return the gradients ``∇f_s(x)``, shape=[..., n, D]."""
        if self.gradients is not None:
            return self._over_batch(self._rows, "nD", "D", x)
        n = self.count(x)
        return self._over_batch(
            self._derivative_at(lambda f, y: derivatives.jacobian(f, y, n)), "nD", "D", x
        )

    def push(self, x: Array, v: Array) -> Array:
        """Return ``⟨∇f_s, v⟩``, shape=[..., n]."""
        if self.gradients is not None:
            return self._over_batch(lambda y, v: self._rows(y) @ v, "n", "DD", x, v)
        return self._over_batch(self._derivative_at(derivatives.push), "n", "DD", x, v)

    def pull(self, x: Array, w: Array) -> Array:
        """Return ``Σ_s w_s ∇f_s``, shape=[..., D]."""
        if self.gradients is not None:
            return self._over_batch(lambda y, w: w @ self._rows(y), "D", "Dn", x, w)
        return self._over_batch(self._derivative_at(derivatives.pull), "D", "Dn", x, w)

    def bend(self, x: Array, u: Array, v: Array) -> Array:
        """Return the second derivatives ``uᵀ ∇²f_s v``, shape=[..., n]."""
        if self.hvp is not None:
            return self._over_batch(lambda y, u, v: self._products(y, u) @ v, "n", "DDD", x, u, v)

        def second(f: Callable, y: Array, u: Array, v: Array) -> Array:
            return derivatives.push(lambda z: derivatives.push(f, z, u), y, v)

        return self._over_batch(self._derivative_at(second), "n", "DDD", x, u, v)

    def turn(self, x: Array, w: Array, v: Array) -> Array:
        """Return ``Σ_s w_s ∇²f_s v``, shape=[..., D]."""
        if self.hvp is not None:
            return self._over_batch(lambda y, w, v: w @ self._products(y, v), "D", "DnD", x, w, v)

        def second(f: Callable, y: Array, w: Array, v: Array) -> Array:
            return derivatives.pull(lambda z: derivatives.push(f, z, v), y, w)

        return self._over_batch(self._derivative_at(second), "D", "DnD", x, w, v)

    # One point at a time.

    def _call(self, function: Losses, point: Array, *vectors: Array) -> Array:
        arguments = [_reshape(array, self.shape) for array in (point, *vectors)]
        if self.n_samples is not None:
            indices = numpy.arange(self.n_samples) if self.indices is None else self.indices
            arguments.append(indices)
        result = call(function, "a function of the samples", *arguments)
        result = float_array(result, "what a function of the samples returned")
        is_part = self.n_samples is None and self.indices is not None
        return result[self.indices] if is_part else result

    def _values(self, point: Array) -> Array:
        if self.losses is None:
            raise ValueError("the losses themselves are not given, only their gradients.")
        values = self._call(self.losses, point)
        if getattr(values, "ndim", None) != 1 or values.shape[0] == 0:
            raise ValueError(
                "sample_losses must return one loss for each sample, an array of shape [n], got "
                f"{tuple(numpy.shape(values))}."
            )
        return _check_finite(values, "losses", point)

    def _rows(self, point: Array) -> Array:
        return self._rows_of(self.gradients, "sample_gradients", point)

    def _products(self, point: Array, vector: Array) -> Array:
        return self._rows_of(self.hvp, "sample_hvp", point, vector)

    def _rows_of(self, function: Any, name: str, *arrays: Array) -> Array:
        rows = self._call(function, *arrays)
        if type(arrays[0]) is numpy.ndarray:
            rows = to_numpy(rows)
        if tuple(rows.shape[1:]) != tuple(self.shape):
            raise ValueError(
                f"{name} must return an array of shape [n, {', '.join(map(str, self.shape))}], "
                f"got {tuple(rows.shape)}."
            )
        return _check_finite(
            _reshape(rows, (rows.shape[0], math.prod(self.shape))), name, arrays[0]
        )

    def _derivative_at(self, derivative: Callable) -> Callable:
        """Return a derivative of the losses as a function of vectors at one point."""
        if self.losses is None:
            raise ValueError(
                "second derivatives need the losses, or their Hessian-vector products: give "
                "sample_losses or sample_hvp=."
            )

        losses = functools.partial(self._call, self.losses)

        def at_point(x: Array, *arrays: Array) -> Array:
            if type(x) is not numpy.ndarray:
                return _check_finite(derivative(losses, x, *arrays), "derivatives of the losses", x)
            if self._foreign is None:
                # A function of JAX takes NumPy arrays, and returns its own.
                values = self._values(x)
                self._foreign = type(values) is not numpy.ndarray and namespace(values)
            if not self._foreign:
                result = derivative(derivatives.guard_tracing(losses, _REMEDY), x, *arrays)
            else:
                moved = [self._foreign.asarray(array) for array in (x, *arrays)]
                result = numpy.asarray(derivative(losses, *moved), dtype=float)
            return _check_finite(result, "derivatives of the losses", x)

        return at_point


def _reshape(array: Array, shape: tuple[int, ...]) -> Array:
    return array if len(shape) == array.ndim == 1 else namespace(array).reshape(array, shape)


def _check_finite(result: Array, name: str, point: Array) -> Array:
    if not is_traced(result) and not bool(
        namespace(result).all(namespace(result).isfinite(result))
    ):
        where = "the point" if is_traced(point) else f"a point of norm {_norm(point):.3g}"
        raise ValueError(
            f"the {name} are NaN or infinite at {where}: correct them, or stay where they are "
            "finite."
        )
    return result


def _norm(point: Array) -> float:
    return float(namespace(point).sum(point**2)) ** 0.5
