"""The run: what it refuses, progress, memory, and what goes wrong on the way."""

import tracemalloc
from typing import Any

import numpy as np
import pytest

from dlngeo.sampling import langevin
from tests.sampling.langevin_dynamics.runs import (
    ALL,
    COMMON,
    DEPTH,
    EVERY,
    SCHEMES,
    STARTS,
    Turning,
    arrays_of,
    assert_as_far,
    energy,
    gradient,
    interrupt,
    run,
)


def test_memory_is_constant():
    """In the number of steps, without a trace; with one it is not."""

    def peak(**changes):
        tracemalloc.start()
        run(**changes)
        found = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return found

    run()  # what is loaded once
    # Up to 200 kB are tuples that the interpreter keeps for the next ones.
    assert peak(n_steps=3000) < peak(n_steps=20) + 200_000
    assert peak(n_steps=3000, save_every=1) > peak(n_steps=20) + 200_000


def test_progress_is_shown(capsys):
    run(progress=True)
    assert "6/6" in capsys.readouterr().err
    run()
    assert capsys.readouterr().err == ""


def test_values_that_vanish_without_noise():
    """A step that lands on the boundary to the last bit does not make NaN of it."""
    for depth in (1, 2, 3):
        for widths in (None, (2, *[1] * depth)):
            result = langevin(
                lambda s: np.ones_like(s),
                np.ones((2, 1)),
                depth=depth,
                beta=1.0,
                step_size=1.0,
                n_steps=5,
                kappa=0.0,
                widths=widths,
            )
            assert np.isfinite(result.singular_values).all()


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "beta zero": ({"beta": 0}, "beta"),
    "beta negative": ({"beta": -1.0}, "beta"),
    "beta nan": ({"beta": np.nan}, "beta"),
    "beta infinite": ({"beta": np.inf}, "beta"),
    "betas of other chains": ({"beta": [1.0, 2.0]}, "one for each of the 6 chains"),
    "a beta that is negative": ({"beta": [1.0, 2.0, 3.0, 4.0, 5.0, -6.0]}, "beta must be a pos"),
    "a beta that is nan": ({"beta": [1.0, 2.0, 3.0, 4.0, 5.0, np.nan]}, "beta holds NaN"),
    "step zero": ({"step_size": 0}, "step_size"),
    "step negative": ({"step_size": -0.1}, "step_size"),
    "step nan": ({"step_size": np.nan}, "step_size"),
    "kappa negative": ({"kappa": -1}, "kappa"),
    "kappa nan": ({"kappa": np.nan}, "kappa"),
    "kappa infinite": ({"kappa": np.inf}, "kappa"),
    "no steps": ({"n_steps": 0}, "n_steps"),
    "half a step": ({"n_steps": 2.5}, "n_steps"),
    "burn in negative": ({"burn_in": -1}, "burn_in"),
    "save never": ({"save_every": 0}, "save_every"),
    "scheme": ({"scheme": "heun"}, "scheme must be one of euler-maruyama"),
    "no energy": ({"scheme": "metropolis", "energy": None}, "energy="),
    "metropolis without noise": ({"scheme": "metropolis", "kappa": 0}, "kappa"),
    "folder": ({"checkpoint": "/nowhere/at/all.npz"}, "no folder"),
    "energy of a chain": ({"energy": lambda x: 1.0}, "energy takes all chains"),
    "record of a chain": ({"record": lambda x: {"a": 1.0}}, "record must give"),
    "record without names": ({"record": lambda x: x}, "record must give a dictionary of arrays"),
    "infinite energy": (
        {"scheme": "metropolis", "energy": lambda x: np.full(len(x), np.inf)},
        "not finite at every",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refusals(name):
    changes, message = REFUSED[name]
    with pytest.raises(ValueError, match=message):
        run(**{"depth": DEPTH, **changes})


@EVERY
@ALL
def test_every_chain_has_its_own_temperature(scheme, start):
    betas = np.array([1.0, 1.0, 4.0, 4.0, 20.0, 4.0])
    result = arrays_of(run(start, scheme=scheme, beta=betas, kappa=0.5, save_every=2))
    for beta in (1.0, 4.0, 20.0):
        whole = arrays_of(run(start, scheme=scheme, beta=beta, kappa=0.5, save_every=2))
        for name, values in whole.items():
            ours = result[name][betas == beta]
            np.testing.assert_allclose(ours, values[betas == beta], rtol=1e-9, atol=1e-12)


def test_burn_in():
    """Nothing is recorded of it, and draws are counted from its end."""
    whole = run(n_steps=11, save_every=1).trace["singular_values"]
    for burn_in, places in ((0, [2, 5, 8]), (2, [4, 7, 10]), (3, [5, 8]), (9, []), (20, [])):
        result = run(n_steps=11, save_every=3, burn_in=burn_in)
        assert result.burn_in == burn_in
        assert bool(result.trace) == bool(places)
        assert ("Nothing was recorded" in result.status) == (not places)
        if places:
            np.testing.assert_array_equal(result.trace["singular_values"], whole[:, places])


def lost(x):
    result = gradient(x)
    result[1] = np.nan
    return result


class Lost(Turning):
    """A gradient that is lost, of one chain, at some calls."""

    def __init__(self, calls):
        super().__init__(0, lost)
        self.lost_calls = calls

    def __call__(self, x):
        self.calls += 1
        return lost(x) if self.calls in self.lost_calls else gradient(x)


@EVERY
@pytest.mark.parametrize("start", ["square", "rectangular", "values", "layers"])
def test_a_gradient_that_is_lost_rejects_the_step_of_its_chain(scheme, start):
    """The other chains do not notice, and the state that is kept has a gradient."""
    initial, shape = STARTS[start]
    n_calls = 2 if scheme == "second-order" else 1
    settings = {**COMMON, **shape, "scheme": scheme, "energy": energy, "rng": 0, "save_every": 1}
    result = langevin(Lost({2 + 2 * n_calls, 2 + 3 * n_calls}), initial, **settings)
    assert result.success, result.status
    assert result.n_rejected.tolist() == [0, 2, 0, 0, 0, 0]
    assert "rejected 2 times" in result.status
    expected = run(start, scheme=scheme, save_every=1)
    for name, values in result.trace.items():
        others = [0, 2, 3, 4, 5]
        np.testing.assert_array_equal(values[others], expected.trace[name][others])
        for draw in (2, 3):
            np.testing.assert_array_equal(values[1, draw], values[1, 1])
        may_rest = scheme == "metropolis" or name == "determinant_sign"
        assert (values[1, 4] != values[1, 1]).any() or may_rest
        assert np.isfinite(values).all()


@pytest.mark.parametrize("scheme", SCHEMES[:2])
def test_chains_that_are_stuck(scheme):
    """One is named in the status; all end the run. The start has a gradient, or is refused."""
    initial, shape = STARTS["square"]
    settings = {**COMMON, **shape, "scheme": scheme, "n_steps": 60, "rng": 0}
    one = langevin(Lost(range(2, 1000)), initial, **settings)
    assert (one.n_steps, one.success) == (60, False)
    assert one.status.startswith("1 of 6 chains were stuck after 60 of 60 steps")
    never = Turning(0, gradient)

    def nowhere(x):
        return np.inf * x if never(x) is not None and never.calls > 1 else x

    every = langevin(nowhere, initial, **settings)
    assert (every.n_steps, every.success) == (20, False)
    assert every.status.startswith("6 of 6 chains were stuck after 20 of 60 steps")
    np.testing.assert_array_equal(every.n_rejected, 20)
    with pytest.raises(ValueError, match=r"not finite at every initial state \(.*at index \[1\]\)"):
        langevin(lost, initial, **settings)


@EVERY
@pytest.mark.parametrize("start", ["square", "rectangular", "values", "layers"])
@pytest.mark.parametrize("call", [1, 2, 5, 6])
def test_the_keyboard_ends_the_run(scheme, start, call):
    initial, shape = STARTS[start]
    call += 1  # the first one is before the run
    result = langevin(
        Turning(call, interrupt), initial, **COMMON, **shape,
        scheme=scheme, energy=energy, rng=0, save_every=1,
    )  # fmt: skip
    assert result.interrupted
    assert not result.success
    assert f"interrupted after {result.n_steps} of 6 steps" in result.status
    assert "start again from the last states" in result.status
    assert_as_far(result, run(start, scheme=scheme, save_every=1))


@pytest.mark.parametrize("scheme", SCHEMES[::2])
@pytest.mark.parametrize(("rows", "columns"), [(2, 2), (9, 9), (3, 2)])
def test_overflow_within_a_step_is_divergence(scheme, rows, columns):
    """Although the gradient is finite, and every state."""
    result = langevin(
        lambda x: np.full(x.shape, 1e307),
        1000 * np.ones((3, 1, 1)) * np.eye(rows, columns),
        depth=DEPTH,
        beta=1.0,
        step_size=1.0,
        n_steps=3,
        scheme=scheme,
        energy=lambda x: np.zeros(len(x)),
        rng=0,
    )
    assert (result.n_rejected == 3).all()
    assert result.success == (scheme == "metropolis")
    assert result.success or "smaller step_size" in result.status


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize(("rows", "columns"), [(2, 2), (9, 9), (3, 2)])
@pytest.mark.parametrize("size", [1e2, 1e9, 1e60, 1e200])
def test_chains_that_diverge_say_so(scheme, rows, columns, size):
    """At every rate of divergence, with finite last states; Metropolis chains stay."""
    result: Any = langevin(
        lambda x: -size * x**3,
        np.ones((3, 1, 1)) * np.eye(rows, columns),
        depth=DEPTH,
        beta=1.0,
        step_size=1.0,
        n_steps=40,
        scheme=scheme,
        energy=lambda x: -size * np.sum(x**4, axis=(1, 2)) / 4,
        rng=0,
    )
    assert np.isfinite(result.singular_values).all()
    assert np.isfinite(result.observables).all()
    assert result.success or "smaller step_size" in result.status
    if scheme == "euler-maruyama":
        assert not result.success
