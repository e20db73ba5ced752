"""How factors are kept: stacks and sequences, widths, ranks, and what is refused."""

from typing import Any

import numpy as np
import pytest

from dlngeo.core.networks import balancing, factors
from dlngeo.core.networks import network as nw
from tests.core.libraries import ARRAYS

STACK = np.random.default_rng(24).standard_normal((2, 3, 2, 2))
ONES = np.ones((3, 3))
ONE: Any = 1.0
HALF: Any = 2.5


@pytest.mark.parametrize("library", ARRAYS)
def test_stacks_are_taken_apart_and_put_together(library):
    """By the third axis from the end, whatever the batch; sequences become tuples."""
    stack = ARRAYS[library](STACK)
    layers = factors.layers_of(stack)
    assert len(layers) == 3
    for p, layer in enumerate(layers):
        assert type(layer) is type(stack)
        np.testing.assert_array_equal(layer, STACK[:, p])
    again = factors.in_kind(layers, stack)
    assert type(again) is type(stack)
    np.testing.assert_array_equal(again, STACK)
    assert factors.in_kind(layers, list(layers)) == layers


def test_kernels_answer_in_kind():
    """Sequences are answered by tuples, stacks by stacks."""
    stack = STACK[0]
    assert isinstance(balancing.balance(list(stack)), tuple)
    assert isinstance(balancing.balance(stack), np.ndarray)
    assert nw.moment_map(stack[:1]).shape == (0, 2, 2)
    assert nw.moment_map((stack[0],)) == ()


def test_widths_and_ranks():
    """Data flow from ``d_0`` to ``d_N``; the rank is full unless it is said."""
    layers = [np.ones((5, 4, 2)), np.ones((3, 4)), np.ones((6, 3))]
    assert factors.widths_of(layers) == (2, 4, 3, 6)
    floats: Any = np.array([2, 4.0, 3])
    widths, rank = factors.check_widths(floats)
    assert (widths, rank) == ((2, 4, 3), 2)
    assert all(type(width) is int for width in widths)
    assert factors.check_widths((2, 4, 3), ONE) == ((2, 4, 3), 1)
    assert factors.default_widths(5, 3, 4) == (3, 3, 3, 3, 5)
    assert factors.default_widths(2, 3, 1) == (3, 2)
    matrix = np.ones((7, 3, 4))
    assert factors.network_shape(matrix, 2) == ((4, 3, 3), 3)
    assert factors.network_shape(matrix, 3.0, (4, 2, 5, 3)) == ((4, 2, 5, 3), 2)
    assert factors.network_shape(matrix, 3, (4, 2, 5, 3), 1)[1] == 1


BAD_CALLS = {
    "a matrix is no stack": (
        lambda: factors.layers_of(ONES),
        r"must have shape \[\.\.\., N, d, d\].*give a tuple",
    ),
    "a vector is no factor": (
        lambda: factors.layers_of([ONES, np.ones(3)]),
        r"factor 2 must be a matrix, got shape \(3,\)",
    ),
    "no factors": (lambda: factors.layers_of([]), "at least one factor"),
    "widths do not chain": (
        lambda: factors.layers_of([np.ones((2, 3)), ONES]),
        "factor 1 has 2 rows, but factor 2 has 3 columns.*W_1 first",
    ),
    "NaN": (lambda: factors.layers_of([ONES, ONES * np.nan]), "factor 2 holds NaN"),
    "infinity": (lambda: factors.layers_of([ONES, ONES * np.inf]), "factor 2 holds NaN or inf"),
    "another name": (lambda: factors.matrices_of([ONES[0]], "metric"), "metric 1 must be a mat"),
    "vector of another shape": (
        lambda: factors.checked_matrix(ONES, (3, 2), ONES),
        r"expected .* of shape \[..., 3, 2\], got \(3, 3\)",
    ),
    "vectors of other shapes": (
        lambda: factors.vector_at([ONES, ONES], [ONES, ONES[:2]]),
        r"expected matrices of shapes \[\(3, 3\), \(3, 3\)\].*got \[\(3, 3\), \(2, 3\)\]",
    ),
    "too few vectors": (lambda: factors.vector_at([ONES, ONES], [ONES]), "one a layer"),
    "one width": (lambda: factors.check_widths((3,)), "at least two positive integers"),
    "width zero": (lambda: factors.check_widths((3, 0, 3)), "positive integers"),
    "half a width": (lambda: factors.check_widths((3, HALF)), "positive integers"),
    "rank above a hidden width": (
        lambda: factors.check_widths((3, 2, 3), 3),
        "between 1 and the smallest width 2, got 3",
    ),
    "rank zero": (lambda: factors.check_widths((3, 3), 0), "between 1 and .*, got 0"),
    "half a rank": (lambda: factors.check_widths((3, 3), HALF), "an integer.*got 2.5"),
    "depth zero": (lambda: factors.default_widths(3, 3, 0), "depth must be a positive integer"),
    "infinite depth": (lambda: factors.default_widths(3, 3, np.inf), "positive integer, got inf"),
    "no matrix": (
        lambda: factors.network_shape(np.ones(3), 3),
        r"expected a matrix, got shape \(3,\)",
    ),
    "widths of another matrix": (
        lambda: factors.network_shape(ONES, 2, (4, 3, 3)),
        r"depth 2 need 3 widths from 3 to 3.*got \(4, 3, 3\)",
    ),
    "too few widths": (lambda: factors.network_shape(ONES, 3, (3, 3, 3)), "need 4 widths"),
}


@pytest.mark.parametrize(("call", "message"), BAD_CALLS.values(), ids=BAD_CALLS)
def test_errors(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_what_is_no_array_is_refused():
    with pytest.raises(TypeError):
        factors.layers_of("W")
