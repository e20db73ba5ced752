"""Checks of arrays and of numbers."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pandas
import pytest
import scipy.sparse
import torch

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
    with pytest.raises(TypeError, match=r"convert lists and tables by numpy\.asarray"):
        checks.real_array([1.0], "the thing")


class Shouting(np.ndarray):
    """A subclass in which products mean another thing."""

    def __mul__(self, other):
        raise AssertionError


OF_OTHER_TYPES = {
    "subclass": MATRIX.view(Shouting),
    "nothing masked": np.ma.masked_array(MATRIX, False),
    "byte order": MATRIX.astype(">f8"),
    "small integers": MATRIX.astype(np.uint8),
    "column order": np.asfortranarray(MATRIX),
    "scalar type": np.float64(2),
}
REFUSED = {
    "masked": (np.ma.masked_array(MATRIX, MATRIX > 3), ValueError, "has 1 masked entries: fill"),
    "booleans": (MATRIX > 2, ValueError, "of type bool: dlngeo works in single and double"),
    "half": (MATRIX.astype(np.float16), ValueError, "of type float16"),
    "bfloat": (torch.ones(2, dtype=torch.bfloat16), ValueError, "of type bfloat16"),
    "bfloat of JAX": (jax.numpy.ones(2, jax.numpy.bfloat16), ValueError, "of type bfloat16"),
    "objects": (MATRIX.astype(object), ValueError, "of type object"),
    "texts": (MATRIX.astype(str), ValueError, "of type <U32"),
    "dates": (MATRIX.astype("datetime64[s]"), ValueError, "of type datetime64"),
    "sparse": (scipy.sparse.csr_array(MATRIX), TypeError, r"is sparse: .* toarray\(\)"),
    "sparse tensor": (torch.eye(2).to_sparse(), TypeError, "sparse or nested tensor"),
    "meta": (torch.ones(2, device="meta"), ValueError, "on the device meta and has no values"),
    "data frame": (pandas.DataFrame(MATRIX), TypeError, r"convert lists and tables by"),
    "list": ([[1.0]], TypeError, r"convert lists and tables by numpy\.asarray"),
    "None": (None, TypeError, "got NoneType"),
    "number": (2.0, TypeError, "got float"),
}


@pytest.mark.parametrize("name", OF_OTHER_TYPES)
def test_real_array_makes_plain_arrays(name):
    """Subclasses, byte orders and integers give plain floats of the same values."""
    found = checks.real_array(OF_OTHER_TYPES[name], "the thing")
    assert not isinstance(found, Shouting | np.ma.MaskedArray)
    assert found.dtype == np.float64
    assert found.dtype.isnative
    np.testing.assert_array_equal(found, np.asarray(OF_OTHER_TYPES[name]))


@pytest.mark.parametrize("name", REFUSED)
def test_real_array_refuses_types(name):
    array, error, message = REFUSED[name]
    with pytest.raises(error, match=message):
        checks.real_array(array, "the thing")


def test_bad_entries_are_named():
    batch = np.zeros((1000, 2, 2))
    batch[417, 1, 0], batch[900, 0, 0] = np.nan, np.inf
    with pytest.raises(ValueError, match=r"2 of 4000, the first at index \[417, 1, 0\]"):
        checks.real_array(batch, "the batch")
    with pytest.raises(ValueError, match="the product overflows, in 2 of 4000, the first at"):
        checks.in_range(batch, "the product")
    assert checks.in_range(MATRIX, "the product") is MATRIX


def test_host_array_reads_what_numpy_reads():
    """Lists, tables and tensors come in double precision; what is no table of numbers does not."""
    for given in (MATRIX.tolist(), pandas.DataFrame(MATRIX), torch.tensor(MATRIX).float()):
        found = checks.host_array(given, "the thing")
        assert type(found) is np.ndarray
        assert found.dtype == np.float64
        np.testing.assert_array_equal(found, MATRIX)
    refused: list = [[[1.0], [1.0, 2.0]], ["a"], None, {}, [[1j]]]
    for bad in refused:
        with pytest.raises(ValueError, match="the thing"):
            checks.host_array(bad, "the thing")
    with pytest.raises(NotImplementedError, match=r"detach\(\) a tensor that requires grad"):
        checks.host_array(torch.ones(2, requires_grad=True), "the thing")


def test_arrays_used_together():
    """They come in the higher precision, of one library, with batches that broadcast."""
    single = MATRIX.astype(np.float32)
    assert [a.dtype for a in checks.alike((single, MATRIX))] == [np.float64] * 2
    assert checks.alike((single, single))[0] is single
    mixed = checks.alike((torch.tensor(single), torch.tensor(MATRIX)))
    assert {a.dtype for a in mixed} == {torch.float64}
    with pytest.raises(TypeError, match="one library"):
        checks.alike((MATRIX, torch.tensor(MATRIX)))
    checks.check_batches((np.ones((3, 1, 2, 2)), np.ones((4, 2, 2)), MATRIX), "both")
    with pytest.raises(ValueError, match=r"leading axes of both must broadcast .*\(3, 2, 2\)"):
        checks.check_batches((np.ones((3, 2, 2)), np.ones((4, 2, 2))), "both")


def test_indices():
    """Whole numbers within the size; none wraps around."""
    np.testing.assert_array_equal(checks.index_array([0, 4], "rows", 5), [0, 4])
    assert checks.index_array(np.array([2**40]), "rows", 2**41)[0] == 2**40
    for bad, message in (
        ([0, 5], "rows must lie within the shape, from 0 to 4"),
        ([-1], "got rows from -1 to -1"),
        ([0.0], "rows must be a list of integers"),
        ([[0]], "of shape"),
        (np.ma.masked_array([0, 1], [0, 1]), "masked"),
    ):
        with pytest.raises(ValueError, match=message):
            checks.index_array(bad, "rows", 5)


def test_check_range():
    """Kernels must be finite, and positive where one divides by them."""
    checks.check_range(np.array([[1.0, 0.0]]), divides=False)
    checks.check_range(np.array([[1.0, 1e-300]]), divides=True)
    for kernel, divides in (([1.0, np.inf], False), ([1.0, 0.0], True), ([np.nan], False)):
        with pytest.raises(ValueError, match="depth: rescale the matrix"):
            checks.check_range(np.array([kernel]), divides=divides)
        with pytest.raises(ValueError, match=r"\(1 of 2, the first at index \[1\]\): rescale"):
            checks.check_range(np.array([[[1.0] * len(kernel)], [kernel]]), divides=divides)


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


def test_flags():
    assert checks.flag(np.True_, "it") is True
    for value in (1, "yes", None, np.array([True]), math.nan):
        with pytest.raises(ValueError, match="it must be True or False, got"):
            checks.flag(value, "it")


def test_paths():
    assert checks.file_path("a/b", "it") == checks.file_path(Path("a/b"), "it") == Path("a/b")
    for value in ("", "a\0b", b"a", 3, None):
        with pytest.raises(ValueError, match="it must be a path, got"):
            checks.file_path(value, "it")


def test_lists_of_numbers():
    for values in ((1, 2), [1.0, 2.0], range(1, 3), np.array([1.0, 2.0])):
        assert checks.several(values, "it", checks.positive) == (1.0, 2.0)
    assert checks.several([], "it", checks.positive, least=0) == ()
    others: list[Any] = ["12", {1.0: 2.0}, 3.0, None, [], np.ones((1, 1))]
    for bad in others:
        with pytest.raises(ValueError, match="it must be a list of 1 numbers or more"):
            checks.several(bad, "it", checks.positive)
    with pytest.raises(ValueError, match=r"it\[1\] must be positive and finite, got -1"):
        checks.several([1, -1], "it", checks.positive)


def test_objects():
    assert checks.instance(3, int, "it") == 3
    with pytest.raises(ValueError, match="it must be a int, got an object of str"):
        checks.instance("3", int, "it")
    with pytest.raises(ValueError, match="it must be a int, got int"):
        checks.instance(int, int, "it")


def test_texts_in_arrays_are_no_numbers():
    for value in (np.array("1"), np.str_("1"), np.array(1, dtype=object), np.array(True)):
        with pytest.raises(ValueError, match="it must be positive"):
            checks.positive(value, "it")
