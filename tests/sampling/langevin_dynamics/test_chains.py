"""Chains on their way: seeds, traces, steps that are interrupted."""

import numpy as np
import pytest

from dlngeo.sampling import langevin
from tests.core.brute import assert_close
from tests.sampling.langevin_dynamics.runs import (
    ALL,
    COMMON,
    EVERY,
    STARTS,
    Turning,
    assert_same_bits,
    energy,
    gradient,
    interrupt,
    run,
)


@EVERY
def test_traces_are_of_the_steps_that_they_say(scheme):
    """The same states whatever is recorded, and after fewer steps."""
    whole = run(scheme=scheme, save_every=1)
    for every in (2, 3, 4):
        thinned = run(scheme=scheme, save_every=every)
        for name, values in thinned.trace.items():
            np.testing.assert_array_equal(values, whole.trace[name][:, every - 1 :: every])
    for n_steps in (1, 4):
        short = run(scheme=scheme, n_steps=n_steps)
        assert short.trace == {}
        expected = whole.trace["singular_values"][:, n_steps - 1]
        np.testing.assert_array_equal(short.singular_values, expected)
    assert whole.trace["singular_values"].shape[1] == 6
    assert run(scheme=scheme, save_every=7).trace == {}


@ALL
@EVERY
def test_seeds_reproduce(start, scheme):
    one = run(start, scheme=scheme)
    assert_same_bits(one, run(start, scheme=scheme))
    assert_same_bits(one, run(start, scheme=scheme, rng=np.random.default_rng(0)))
    other = run(start, scheme=scheme, rng=1)
    assert (one.singular_values != other.singular_values).all()


def test_a_generator_goes_on():
    """Its state after a run is that of the draws of the run."""
    rng = np.random.default_rng(0)
    first = run(rng=rng, n_steps=3)
    second = run(rng=rng, n_steps=3, initial=first.observables)
    assert_close(second.singular_values, run(n_steps=6).singular_values, 1e-12)


def test_chains_without_a_seed_differ():
    assert (run(rng=None).singular_values != run(rng=None).singular_values).any()


@EVERY
def test_an_interrupt_takes_back_what_was_drawn(scheme):
    """The generator that was given is that of the last states."""
    initial, shape = STARTS["square"]
    generators = np.random.default_rng(0), np.random.default_rng(0)
    settings = {**COMMON, **shape, "scheme": scheme, "energy": energy, "n_steps": 9}
    half = langevin(Turning(8, interrupt), initial, **settings, rng=generators[0])
    assert 0 < half.n_steps < 9
    langevin(gradient, initial, **{**settings, "n_steps": half.n_steps}, rng=generators[1])
    states = [generator.bit_generator.state for generator in generators]
    assert states[0] == states[1]


@pytest.mark.parametrize("callback", ["record", "energy"])
def test_the_keyboard_ends_the_run_while_it_is_recorded(callback):
    """The step that was not recorded counts as not taken."""
    calls = []

    def record(x):
        calls.append(0)
        if len(calls) == 5:
            raise KeyboardInterrupt
        return {"trace": np.trace(x, axis1=1, axis2=2)} if callback == "record" else energy(x)

    result = run(save_every=1, **{callback: record})
    assert result.interrupted
    assert result.n_steps == 3
    whole = run(save_every=1)
    for values in result.trace.values():
        assert np.isfinite(values).all()
        assert values.shape[1] == 3
    expected = whole.trace["singular_values"][:, :3]
    np.testing.assert_array_equal(result.trace["singular_values"], expected)
