"""Gradient and Hessian of a loss: given, its own, or by the library whose arrays it takes."""

import math
from collections.abc import Callable
from typing import Any

import numpy

from dlngeo.core.base.arrays import Array
from dlngeo.core.base.functions import ReturningLike, ReturningNumbers, function, returned
from dlngeo.core.numerics.derivatives import Differentiated
from dlngeo.losses.linear_measurements import LeastSquares

_UNTRACED = (
    "autograd could not differentiate the loss: write it with autograd.numpy in place of numpy, "
    "with PyTorch or JAX, or give its gradient (gradient=)."
)

_NO_HESSIAN = (
    "autograd could not differentiate the gradient of the loss: write it with autograd.numpy in "
    "place of numpy, or give the loss a method hessian_product(X, Z)."
)


def with_gradient(loss: Any, gradient: Callable | None) -> tuple[Any, ReturningLike]:
    """Return a loss, and the gradient that was given, its own, or that by its library."""
    if gradient is None:
        loss = function(loss, "the loss, unless there is a gradient,")
        if not hasattr(loss, "gradient"):
            loss = Differentiated(loss, _UNTRACED)
        gradient = loss.gradient
    value = None if loss is None else ReturningNumbers(function(loss, "the loss"), "the loss")
    return value, ReturningLike(function(gradient, "the gradient"), "the gradient of the loss")


def with_hessian(loss: Any) -> tuple[ReturningLike, Callable[[Array, Array], Array]]:
    """Return the gradient of a loss and ``∇²E(X)[Z]``: its own, or those by its library.

    Where the loss has a gradient but no ``hessian_product(X, Z)``, the gradient is differentiated.
    """
    _, slope = with_gradient(loss, None)
    if hasattr(loss, "hessian_product"):
        product = loss.hessian_product
    elif hasattr(loss, "gradient"):
        product = Differentiated(loss.gradient, _NO_HESSIAN).push
    else:
        product = Differentiated(loss, _UNTRACED).hessian_product

    def hessian_product(matrix: Array, vector: Array) -> Array:
        along = ReturningLike(lambda z: product(matrix, z), "the Hessian of the loss")
        return along(vector)

    return slope, hessian_product


def values_at(loss: Any, value: Callable, matrices: Array) -> numpy.ndarray:
    """Return a loss at matrices, shape=[k, m, n]: at once, if it is known to take them so."""
    if isinstance(loss, LeastSquares):
        return returned(loss(matrices), "the loss", matrices.shape[:1])
    return numpy.array([float(value(matrix)) for matrix in matrices])


def check_start(loss: Callable | None, slope: Callable, matrix: Array) -> None:
    """Raise a ValueError if a loss or its gradient do not serve at the start of a flow."""
    value = 0.0 if loss is None else loss(matrix)
    if not (numpy.isfinite(slope(matrix)).all() and math.isfinite(value)):
        raise ValueError(
            "loss or gradient are not finite at the start: they must be finite there; correct "
            "them, or start elsewhere."
        )
