"""The gradient of a loss: given, its own, or by the library whose arrays it takes."""

import math
from collections.abc import Callable
from typing import Any

import numpy

from dlngeo.core.base.arrays import Array
from dlngeo.core.base.functions import ReturningLike, ReturningNumbers, function
from dlngeo.core.numerics.derivatives import Differentiated

_UNTRACED = (
    "autograd could not differentiate the loss: write it with autograd.numpy in place of numpy, "
    "with PyTorch or JAX, or give its gradient (gradient=)."
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


def check_start(loss: Callable | None, slope: Callable, matrix: Array) -> None:
    """Raise a ValueError if a loss or its gradient do not serve at the start of a flow."""
    value = 0.0 if loss is None else loss(matrix)
    if not (numpy.isfinite(slope(matrix)).all() and math.isfinite(value)):
        raise ValueError(
            "loss or gradient are not finite at the start: they must be finite there; correct "
            "them, or start elsewhere."
        )
