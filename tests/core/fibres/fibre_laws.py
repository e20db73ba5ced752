"""Factors over fibres and the groups that move them, and laws of functions of both."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest

from dlngeo.core.networks import balancing
from tests.core.brute import assert_close, derivative, flatten, orbit_velocity, random_factors
from tests.core.libraries import (
    ARRAYS,
    along,
    autograd_derivative,
    first_derivatives,
    second_derivatives,
)

WIDTHS = [
    (3, 3),
    (2, 4),
    (3, 3, 3),
    (3, 5, 2),
    (4, 2, 3),
    (3, 3, 3, 3),
    (2, 4, 5, 3),
    (4, 3, 2, 4),
    (2, 5, 2, 5, 2),
    (2,) * 11,
    (1, 1, 1, 1),
]
ALL = pytest.mark.parametrize("widths", WIDTHS, ids=str)
DEEP = pytest.mark.parametrize("widths", [w for w in WIDTHS if len(w) > 2], ids=str)


def starts(widths, rng):
    """Return factors of every sort: Gaussian, balanced, of low rank, with zero layers."""
    factors = random_factors(widths, rng)
    yield "gaussian", factors
    yield "balanced", balancing.balance(factors)
    low = [w.copy() for w in factors]
    low[-1][0] = low[-1][-1]
    yield "low rank", tuple(low)
    for p in {0, len(factors) // 2, len(factors) - 1}:
        yield f"layer {p} zero", tuple(w * (q != p) for q, w in enumerate(factors))
    yield "zero", tuple(0 * w for w in factors)
    scales = np.logspace(-3, 3, len(factors)) if len(factors) > 1 else [1e6]
    yield "scales", tuple(s * w for s, w in zip(scales, factors, strict=True))


def dense_action(factors):
    """Return the matrix of ``a ↦ (a_p W_p - W_p a_{p-1})_p``."""
    hidden = [w.shape[0] for w in factors[:-1]]
    columns = []
    for p, width in enumerate(hidden):
        for index in np.ndindex(width, width):
            element = [np.zeros((d, d)) for d in hidden]
            element[p][index] = 1.0
            columns.append(flatten(orbit_velocity(element, factors)))
    size = sum(w.size for w in factors)
    return np.stack(columns, axis=1) if columns else np.zeros((size, 0))


def elements_of(widths, rng, count=1):
    return tuple(rng.standard_normal((width, width)) for width in widths[1:-1])


def assert_first_derivatives(function: Callable, point: Sequence[np.ndarray]) -> None:
    """Assert that directional derivatives agree with finite differences, by every route."""
    rng = np.random.default_rng(34)
    direction = tuple(rng.standard_normal(w.shape) for w in point)
    expected = derivative(along(function, point, direction), 1e-3)
    for route, found in first_derivatives(function, point, direction).items():
        assert found == pytest.approx(expected, rel=1e-7), route


def assert_second_derivatives(function: Callable, point: Sequence[np.ndarray]) -> None:
    """Assert that mixed second derivatives agree with finite differences of first ones."""
    rng = np.random.default_rng(35)
    first, second = (tuple(rng.standard_normal(w.shape) for w in point) for _ in range(2))

    def slope(t: float) -> float:
        moved = tuple(a + t * d for a, d in zip(point, second, strict=True))
        return float(autograd_derivative(function, moved, first))

    expected = derivative(slope, 1e-3)
    for route, found in second_derivatives(function, point, first, second).items():
        assert float(found) == pytest.approx(expected, rel=1e-6), route


def _as_layers(result: Any) -> tuple:
    return result if isinstance(result, tuple) else (result,)


def assert_same_in_library(kernel: Callable, library: str) -> None:
    """Assert that a library gives the values of NumPy, and that float32 stays float32."""
    rng = np.random.default_rng(36)
    stack = np.eye(3) + 0.3 * rng.standard_normal((3, 3, 3))
    vector = rng.standard_normal((3, 3, 3))
    expected = _as_layers(kernel(stack, vector))
    make = ARRAYS[library]
    found = _as_layers(kernel(make(stack), make(vector)))
    single = _as_layers(kernel(make(stack.astype(np.float32)), make(vector.astype(np.float32))))
    for a, b, c in zip(expected, found, single, strict=True):
        assert_close(np.asarray(b), a, 1e-11, scale=max(1.0, np.max(np.abs(a))))
        assert str(c.dtype).rpartition(".")[2] == "float32"
        assert_close(np.asarray(c), a, 1e-3, scale=max(1.0, np.max(np.abs(a))))


def assert_batches(kernel: Callable, *, of_vectors: bool) -> None:
    """Assert that a batch gives what its elements give, and one point what it gives each vector."""
    rng = np.random.default_rng(37)
    stack = np.eye(3) + 0.3 * rng.standard_normal((2, 4, 3, 3, 3))
    vector = rng.standard_normal((4, 3, 3, 3))
    found = _as_layers(kernel(stack, vector))
    for i, j in np.ndindex(2, 4):
        single = _as_layers(kernel(stack[i, j], vector[j]))
        for many, alone in zip(found, single, strict=True):
            assert_close(many[i, j], alone, 1e-9)
    if of_vectors:
        many = _as_layers(kernel(stack[0, 0], vector))[0]
        for j in range(4):
            single = _as_layers(kernel(stack[0, 0], vector[j]))[0]
            assert_close(many[j], single, 1e-9)
