"""Runs of every scheme on every face, and what their tests ask of them."""

from typing import Any

import numpy as np
import pytest

from dlngeo.sampling import langevin
from dlngeo.sampling.langevin_dynamics import schemes
from tests.sampling.reference import layers, matrices

SCHEMES = tuple(schemes.SCHEMES)
DEPTH, N_CHAINS = 3, 6


def energy(x):
    return np.sum((x - 0.5) ** 2, axis=tuple(range(1, x.ndim))) / 2


def gradient(x):
    return x - 0.5


def starts():
    """Return initial states of every sort, with the widths of the network."""
    rng = np.random.default_rng(0)
    lam = np.tile([1.0, 0.7], (N_CHAINS, 1))
    square = matrices(lam, DEPTH, 2, 2, rng)
    factors = layers(lam, (2, 3, 2, 4), rng)
    stacked = np.tile(np.eye(2), (N_CHAINS, DEPTH, 1, 1))
    return {
        "square": (square, {"depth": DEPTH}),
        "rectangular": (matrices(lam, DEPTH, 4, 2, rng), {"depth": DEPTH}),
        "wide": (square, {"depth": DEPTH, "widths": (2, 4, 3, 2)}),
        "rank one": (matrices(lam[:, :1], DEPTH, 3, 2, rng), {"depth": DEPTH, "rank": 1}),
        "values": (lam**DEPTH, {"depth": DEPTH}),
        "values of rectangles": (lam**DEPTH, {"depth": DEPTH, "widths": (3, 2, 4, 2)}),
        "layers": (factors, {}),
        "stacked": (stacked, {}),
    }


STARTS: dict[str, tuple[Any, dict[str, Any]]] = starts()
COMMON: dict[str, Any] = {"beta": 4.0, "step_size": 0.02, "n_steps": 6}
ALL = pytest.mark.parametrize("start", STARTS)
EVERY = pytest.mark.parametrize("scheme", SCHEMES)


def run(start="square", **changes):
    initial, shape = STARTS[start]
    settings = {**COMMON, **shape, "energy": energy, "rng": 0, **changes}
    return langevin(gradient, settings.pop("initial", initial), **settings)


def arrays_of(result):
    """Return the arrays of a result by name."""
    factors = result.factors
    layers = factors if isinstance(factors, tuple) else (() if factors is None else (factors,))
    named = {f"factor {p}": layer for p, layer in enumerate(layers)}
    for name in (
        "observables",
        "singular_values",
        "acceptance_rate",
        "n_reflections",
        "n_rejected",
    ):
        if getattr(result, name) is not None:
            named[name] = getattr(result, name)
    return named | {f"trace {name}": values for name, values in result.trace.items()}


def assert_same_bits(result, expected):
    first, second = arrays_of(result), arrays_of(expected)
    assert first.keys() == second.keys()
    for name in first:
        np.testing.assert_array_equal(first[name], second[name], err_msg=name)


class Turning:
    """A gradient that does something else from a certain call on."""

    def __init__(self, call, action):
        self.calls, self.call, self.action = 0, call, action

    def __call__(self, x):
        self.calls += 1
        if self.calls == self.call:
            return self.action(x)
        return gradient(x)


def interrupt(x):
    raise KeyboardInterrupt


def assert_as_far(result, whole):
    """Assert that a run that ended early is the beginning of another one."""
    if result.n_steps:
        for name, values in result.trace.items():
            assert values.shape[1] == result.n_steps
            np.testing.assert_array_equal(values, whole.trace[name][:, : result.n_steps])
        expected = whole.trace["singular_values"][:, result.n_steps - 1]
        np.testing.assert_array_equal(result.singular_values, expected)
    for array in arrays_of(result).values():
        assert np.isfinite(array).all()
