"""Faces: initial states of every sort and library, and those that are refused."""

from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest
import torch

from tests.core.brute import assert_close
from tests.sampling.langevin_dynamics.runs import DEPTH, EVERY, SCHEMES, STARTS, arrays_of, run


@pytest.mark.parametrize("make", [torch.tensor, jnp.asarray, np.float32, np.asfortranarray])
@pytest.mark.parametrize("start", ["square", "values", "layers", "stacked"])
@EVERY
def test_starts_of_other_libraries(make, start, scheme):
    """Torch and JAX arrays and single precision; what comes back is NumPy's, in double."""
    initial = STARTS[start][0]
    made = tuple(map(make, initial)) if isinstance(initial, tuple) else make(initial)
    result = run(start, initial=made, scheme=scheme)
    for name, array in arrays_of(result).items():
        assert isinstance(array, np.ndarray), name
        assert array.dtype in (np.float64, np.int64), name
    assert_close(result.singular_values, run(start, scheme=scheme).singular_values, 1e-4)


def test_integers_are_numbers():
    assert run(initial=np.tile(np.eye(2, dtype=int), (3, 1, 1))).success


def test_a_start_is_not_changed():
    for start in STARTS:
        initial = STARTS[start][0]
        copies = [np.copy(a) for a in (initial if isinstance(initial, tuple) else (initial,))]
        for scheme in SCHEMES:
            run(start, scheme=scheme)
        for a, b in zip(initial if isinstance(initial, tuple) else (initial,), copies, strict=True):
            np.testing.assert_array_equal(a, b)


EYE = np.tile(np.eye(2), (3, 1, 1))
REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "one vector": ({"initial": np.ones(3)}, "one chain is \\[1"),
    "no chains": ({"initial": np.ones((0, 2, 2))}, "initial must be"),
    "a scalar": ({"initial": np.array(1.0)}, "initial must be"),
    "a single matrix": ({"initial": -np.eye(2)}, "must be positive"),
    "five axes": ({"initial": np.ones((1, 1, 1, 2, 2))}, "initial must be"),
    "single factors": ({"initial": (np.eye(2), np.eye(2)), "depth": None}, "one chain as \\[1"),
    "no factors": ({"initial": (), "depth": None}, "factors of chains"),
    "nested lists": ({"initial": [[1.0, 2.0], [2.0, 1.0]]}, "array"),
    "numbers of chains": ({"initial": (EYE, EYE[:2]), "depth": None}, "give one number"),
    "widths that do not chain": ({"initial": (EYE, np.ones((3, 2, 3))), "depth": None}, "widths"),
    "nan": ({"initial": np.nan * EYE}, "NaN"),
    "inf": ({"initial": np.full((3, 2, 2), np.inf)}, "NaN or infinite"),
    "nan in factors": ({"initial": (EYE, np.nan * EYE), "depth": None}, "NaN"),
    "complex": ({"initial": 1j * EYE}, "complex"),
    "a singular matrix": ({"initial": np.ones((3, 2, 2))}, "rank"),
    "a higher rank": ({"rank": 1}, "rank"),
    "rank zero": ({"rank": 0}, "rank"),
    "rank three": ({"rank": 3}, "rank"),
    "singular factors": ({"initial": (0 * EYE, EYE), "depth": None}, "rank"),
    "no depth": ({"depth": None}, "depth"),
    "depth zero": ({"depth": 0}, "depth"),
    "half a depth": ({"depth": 2.5}, "depth"),
    "infinite depth": ({"depth": np.inf}, "depth"),
    "another depth": ({"initial": (EYE, EYE)}, "2 factors"),
    "a depth of stacked factors": ({"initial": np.tile(EYE, (2, 1, 1, 1)), "depth": 2}, "factors"),
    "widths of another depth": ({"widths": (2, 2, 2)}, "widths"),
    "widths of another shape": ({"widths": (3, 2, 2, 2)}, "widths"),
    "narrow widths": ({"widths": (2, 1, 2, 2), "rank": 2}, "rank"),
    "widths of factors": (
        {"initial": (EYE, EYE), "depth": None, "widths": (2, 3, 2)},
        "leave out widths",
    ),
    "negative values": ({"initial": np.array([[1.0, -1.0]])}, "positive"),
    "zero values": ({"initial": np.array([[1.0, 0.0]])}, "positive"),
    "rank of values": ({"initial": np.ones((2, 2)), "rank": 1}, "leave out rank"),
    "widths of values": ({"initial": np.ones((2, 3)), "widths": (2, 3, 3, 3)}, "rank"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refusals(name):
    changes, message = REFUSED[name]
    with pytest.raises(ValueError, match=message):
        run(**{"depth": DEPTH, **changes})
