"""States: chosen chain by chain, and to arrays and back."""

from typing import NamedTuple

import numpy as np

from dlngeo.core.base.vectors import Layers
from dlngeo.sampling.langevin_dynamics.states import (
    choose,
    from_arrays,
    rearrange,
    to_arrays,
)


class State(NamedTuple):
    layers: Layers
    n_taken: np.ndarray


class Outer(NamedTuple):
    chains: State
    n_steps: np.ndarray


def state(seed, n=4):
    rng = np.random.default_rng(seed)
    layers = Layers(rng.standard_normal((n, *shape)) for shape in ((2, 3), (1, 2)))
    return State(layers, rng.integers(0, 9, n))


def test_choose_takes_whole_chains():
    first, second = state(0), state(1)
    condition = np.array([True, False, False, True])
    chosen = choose(condition, first, second)
    assert isinstance(chosen, State)
    assert isinstance(chosen.layers, Layers)
    for chain, is_first in enumerate(condition):
        source = first if is_first else second
        assert chosen.n_taken[chain] == source.n_taken[chain]
        for layer, expected in zip(chosen.layers, source.layers, strict=True):
            np.testing.assert_array_equal(layer[chain], expected[chain])


def test_states_are_arrays_by_name():
    arrays = to_arrays(state(0))
    assert list(arrays) == ["state.layers.0", "state.layers.1", "state.n_taken"]
    again = from_arrays(arrays, like=state(1))
    assert isinstance(again.layers, Layers)
    assert all(map(np.array_equal, again.layers, state(0).layers))
    assert np.array_equal(again.n_taken, state(0).n_taken)


def test_rearranged_states_keep_what_is_counted():
    """Nested ones too: whole chains go to other places, counts stay at theirs."""
    before, places = state(0), np.array([2, 0, 1, 3])
    after = rearrange(Outer(before, np.array(7)), places)
    assert isinstance(after.chains.layers, Layers)
    for old, new in zip(before.layers, after.chains.layers, strict=True):
        np.testing.assert_array_equal(new, old[places])
    np.testing.assert_array_equal(after.chains.n_taken, before.n_taken)
    assert after.n_steps == 7
