"""Checks of arrays and of numbers."""

from collections.abc import Callable

import jax
import numpy as np
import pytest

from dlngeo.core.base import checks
from tests.core.libraries import ARRAYS

MATRIX = np.array([[1.0, 2.0], [3.0, 4.0]])


@pytest.mark.parametrize("library", ARRAYS)
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_real_array_refuses(library, bad):
    """NaN and infinite entries are refused by name."""
    with pytest.raises(ValueError, match="the thing holds NaN or infinite entries"):
        checks.real_array(ARRAYS[library]([1.0, bad]), "the thing")


def test_real_array_lets_finite_and_traced_arrays_pass():
    """Finite arrays pass, and traced ones, which have no definite values."""
    assert checks.real_array(MATRIX, "matrix") is MATRIX
    checks.real_array(np.zeros((0, 2, 2)), "empty batch")
    jax.jit(lambda array: checks.real_array(array, "matrix"))(MATRIX)


@pytest.mark.parametrize("library", ARRAYS)
def test_real_array_makes_floats_of_integers(library):
    assert "float" in str(checks.real_array(ARRAYS[library]([1, 2]), "whole").dtype)


def test_real_array_refuses_other_things():
    with pytest.raises(ValueError, match="the thing is of type complex128"):
        checks.real_array(1j * MATRIX, "the thing")
    with pytest.raises(TypeError, match=r"convert lists by numpy\.asarray"):
        checks.real_array([1.0], "the thing")


def test_check_range():
    """Kernels must be finite, and positive where one divides by them."""
    checks.check_range(np.array([1.0, 0.0]), divides=False)
    checks.check_range(np.array([1.0, 1e-300]), divides=True)
    for kernel, divides in (([1.0, np.inf], False), ([1.0, 0.0], True), ([np.nan], False)):
        with pytest.raises(ValueError, match="rescale the matrix"):
            checks.check_range(np.array(kernel), divides=divides)


NUMBERS: dict[Callable, tuple[list, list]] = {
    checks.finite: ([0, -1.5, np.float32(2), np.array(3.0)], []),
    checks.positive: ([1, 1e-300, np.float64(2)], [0, -1, 0.0]),
    checks.nonnegative: ([0, 0.0, 3], [-1e-300]),
    checks.fraction: ([0.5, 1e-9], [0, 1, 1.5, -0.5]),
}
NONE = [np.nan, np.inf, -np.inf, True, np.True_, "1", b"1", None, [1.0, 2.0], 1j, 10**400]


@pytest.mark.parametrize("check", NUMBERS, ids=lambda check: check.__name__)
def test_numbers(check):
    """A number comes back as a float; others are refused by name, and shown."""
    good, bad = NUMBERS[check]
    for number in good:
        found = check(number, "rate")
        assert type(found) is float
        assert found == number
    for value in bad + NONE:
        with pytest.raises(ValueError, match=r"^rate must be .*, got "):
            check(value, "rate")


def test_integers():
    """Whole floats are integers, and there is a least one."""
    assert checks.integer(3.0, "n") == checks.integer(np.int64(3), "n") == 3
    assert type(checks.integer(3.0, "n")) is int
    assert checks.integer(0, "n", 0) == 0
    for value in (0, 1.5, -1, *NONE):
        with pytest.raises(ValueError, match="n must be a positive integer, got"):
            checks.integer(value, "n")
    with pytest.raises(ValueError, match="n must be an integer of at least 2, got 1"):
        checks.integer(1, "n", 2)
