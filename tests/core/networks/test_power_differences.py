"""Divided differences of powers, and the law of layers, against quotients of many digits."""

from itertools import product
from typing import Any

import jax
import mpmath
import numpy as np
import pytest

from dlngeo.core.networks.power_differences import (
    first_difference,
    geometric_law,
    mixed_difference,
    second_difference,
)
from tests.core.libraries import ARRAYS

NUMBERS = [1, 2, 3, 4, 5, 6, 7, 10, 13, 27, 31, 32, 1000, 10**5]
NUMBER = pytest.mark.parametrize("number", NUMBERS)
VALUES = [1.0, 1 - 1e-15, 1 - 1e-12, 0.9997, 0.4, 1e-300]
INDICES = list(product(range(len(VALUES)), repeat=3))


def apart(values: list[float]) -> list[mpmath.mpf]:
    """Return values that are pulled apart by far less than round-off."""
    return [mpmath.mpf(x) * (1 + (i + 1) * mpmath.mpf(10) ** -60) for i, x in enumerate(values)]


def quotient(x: mpmath.mpf, y: mpmath.mpf, number: int) -> mpmath.mpf:
    return (x**number - y**number) / (x - y)


def assert_equal(found: np.ndarray, expected: list, rtol: float) -> None:
    """Compare relative to each entry, where it does not underflow."""
    for value, exact in zip(found.reshape(-1).tolist(), expected, strict=True):
        if abs(exact) > 1e-290:
            assert abs(value / exact - 1) < rtol
        else:
            assert abs(value) < 1e-280


@NUMBER
def test_differences(number):
    """Of equal, near, distant and tiny values: quotients of differences in 900 digits."""
    x, rtol = np.array(VALUES), 1e-14 + 1e-16 * number
    with mpmath.workdps(900):
        nodes = apart(VALUES)
        # Two more copies of each, so that equal nodes are apart as well.
        seconds, thirds = apart(nodes), [y * (1 + mpmath.mpf(10) ** -90) for y in nodes]
        pairs = [quotient(a, b, number) for a in nodes for b in seconds]
        triples, mixed = [], []
        for k, l, m in INDICES:
            a, b, c = nodes[k], seconds[l], thirds[m]
            triples.append((quotient(a, b, number) - quotient(c, b, number)) / (a - c))
            between = quotient(a * b, c * c, number) - quotient(a * c, b * c, number)
            mixed.append(between / ((a - c) * (b - c)))
    assert_equal(first_difference(x[:, None], x, number), pairs, rtol)
    if number == 1:
        assert not second_difference(x, number).any()
        assert not mixed_difference(x, number).any()
        return
    assert_equal(second_difference(x, number), triples, rtol)
    assert_equal(mixed_difference(x, number), mixed, rtol)


@pytest.mark.parametrize("number", [3, 5, 27])
def test_values_of_both_signs(number):
    """Beyond the boundary a value is negative: kernels of odd depths stay positive."""
    x = np.array([1.0, 0.6, -0.5])
    with mpmath.workdps(900):
        first, second = [mpmath.mpf(v) for v in x], apart([float(v) for v in x])
        pairs = [quotient(a, b, number) for a in first for b in second]
    found = first_difference(x[:, None], x, number)
    assert_equal(found, pairs, 1e-14 * number)
    assert (found > 0).all()
    sums = x[:, None] + x
    assert (mixed_difference(x, number) / (sums[:, None, :] * sums) > 0).all()


@NUMBER
@pytest.mark.parametrize("ratio", [0.0, 1e-300, 1e-9, 0.3, 0.999, 1 - 1e-12, 1.0])
def test_geometric_law(ratio, number):
    """Mean and variance from derivatives of ``log Σ ρ^j`` by ``log ρ``, in 900 digits."""
    found = geometric_law(np.array(ratio), number)
    with mpmath.workdps(900):
        rho = (1 - mpmath.mpf(10) ** -60) * (ratio or mpmath.mpf(10) ** -370)
        last = rho**number
        mean = rho / (1 - rho) - number * last / (1 - last)
        variance = rho / (1 - rho) ** 2 - number**2 * last / (1 - last) ** 2
        expected = [mean, variance, number * mean - 2 * variance]
    for value, exact in zip(found, expected, strict=True):
        scale = abs(exact) if number > 1 else 1.0
        assert abs(value - exact) <= 1e-13 * scale + 1e-300


@pytest.mark.parametrize("library", ARRAYS)
def test_every_library_and_batches(library):
    x = np.array([VALUES[:3], VALUES[3:]])

    def everything(values: Any) -> list:
        law = geometric_law(values, 6)
        first = first_difference(values[..., :, None], values[..., None, :], 6)
        return [first, second_difference(values, 6), mixed_difference(values, 6), *law]

    singles = zip(*[everything(values) for values in x], strict=True)
    evaluate = jax.jit(everything) if library == "jax" else everything
    for found, single in zip(evaluate(ARRAYS[library](x)), singles, strict=True):
        np.testing.assert_allclose(np.asarray(found), np.stack(single), rtol=1e-13)
