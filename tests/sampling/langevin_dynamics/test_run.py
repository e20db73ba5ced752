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
    """In the number of steps, without a trace."""
    peaks = []
    for n_steps in (20, 400):
        tracemalloc.start()
        run(n_steps=n_steps)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.2 * peaks[0] + 20_000


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
        if places:
            np.testing.assert_array_equal(result.trace["singular_values"], whole[:, places])


def lost(x):
    result = gradient(x)
    result[1] = np.nan
    return result


@EVERY
@pytest.mark.parametrize("start", ["square", "rectangular", "values", "layers"])
def test_a_gradient_that_is_lost_ends_the_run(scheme, start):
    """With the last states that were good, and a status."""
    initial, shape = STARTS[start]
    turning = Turning(4, lost)
    result = langevin(
        turning, initial, **{**COMMON, "n_steps": 50}, **shape,
        scheme=scheme, energy=energy, rng=0, save_every=1,
    )  # fmt: skip
    assert not result.success
    assert not result.interrupted
    assert f"stopped after {result.n_steps} of 50 steps" in result.status
    assert "not finite at 1 of 6 chains" in result.status
    assert 0 <= result.n_steps < 4
    assert_as_far(result, run(start, scheme=scheme, save_every=1))


@EVERY
@pytest.mark.parametrize("start", ["square", "rectangular", "values", "layers"])
@pytest.mark.parametrize("call", [1, 2, 5, 6])
def test_the_keyboard_ends_the_run(scheme, start, call):
    initial, shape = STARTS[start]
    if scheme == "metropolis" and call == 1:
        call = 3  # the first one is before the run
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
    assert "smaller step_size" in result.status
    assert (result.n_steps, result.success) == (0, False)


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
