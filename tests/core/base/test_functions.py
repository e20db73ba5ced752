"""Functions that callers give, and what they return."""

import math

import numpy
import pytest
import torch

from dlngeo.core.base.functions import (
    ReturningLike,
    ReturningNumbers,
    function,
    optional_function,
    returned,
)


def test_what_can_be_called_and_is_no_class_is_a_function():
    assert function(math.sin, "it") is math.sin
    assert optional_function(None, "it") is None
    for other in (3.0, "sin", dict, None):
        with pytest.raises(ValueError, match="it must be a function, got"):
            function(other, "it")


@pytest.mark.parametrize(
    "result",
    [
        numpy.array([1.0, 2.0]),
        [1, 2],
        numpy.array([1, 2], dtype=numpy.float32),
        torch.tensor([1.0, 2.0], requires_grad=True),
    ],
)
def test_results_of_any_kind_are_doubles(result):
    found = returned(result, "it", (2,))
    assert type(found) is numpy.ndarray
    assert found.dtype == float
    numpy.testing.assert_array_equal(found, [1.0, 2.0])


@pytest.mark.parametrize("result", ["abc", None, {}, 1j, True, [[1.0], [1.0, 2.0]], object()])
def test_what_is_no_real_number_is_refused(result):
    with pytest.raises((TypeError, ValueError), match="what it returned"):
        returned(result, "it")


def test_shapes_are_those_of_the_argument_or_of_a_number():
    point = numpy.ones((2, 3))
    assert ReturningNumbers(lambda x: x.sum(keepdims=True), "it")(point) == 6
    assert numpy.isnan(ReturningLike(lambda x: x * math.nan, "it")(point)).all()
    with pytest.raises(ValueError, match=r"it must return one number, got shape \(2, 3\)"):
        ReturningNumbers(lambda x: x, "it")(point)
    with pytest.raises(ValueError, match=r"it must return an array of shape \(2, 3\), got"):
        ReturningLike(lambda x: x[:1], "it")(point)
