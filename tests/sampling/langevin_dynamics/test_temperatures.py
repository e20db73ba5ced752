"""Temperatures of chains: exchanges of replicas and their law, schedules, checkpoints."""

import functools
import itertools
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

from dlngeo.core.networks.frames import SingularFrames
from dlngeo.sampling import Ladder, LangevinResult, ensemble, langevin
from dlngeo.sampling.convergence import convergence_of
from dlngeo.sampling.langevin_dynamics.equation import Equation
from dlngeo.sampling.langevin_dynamics.temperatures import ReplicaExchange
from tests.sampling.langevin_dynamics.runs import (
    ALL,
    COMMON,
    EVERY,
    N_CHAINS,
    STARTS,
    Turning,
    arrays_of,
    assert_same_bits,
    energy,
    gradient,
    interrupt,
    run,
)

LADDER = Ladder((1.0, 2.0, 5.0), swap_every=2)


class Still:
    """A kernel that does not move, of one singular value for each chain."""

    def __init__(self, values):
        self.values = values

    def init(self, factors):
        return self.values

    def step(self, state, rng):
        return state

    def frames(self, state):
        frames = np.ones((len(state), 1, 1))
        return SingularFrames(frames, state[:, None], frames)

    def factors(self, state):
        raise NotImplementedError

    def counts(self, state):
        return {}


def exchanged(ladder, energies, n_groups, n_steps, kappa=1.0):
    """Return the energies of replicas after exchanges alone, shape=[levels, groups]."""
    start = np.repeat(energies, n_groups)
    equation = Equation(
        None, (1, 1), 1, np.repeat(ladder.betas, n_groups), kappa, True, lambda sigma: sigma[:, 0]
    )
    kernel = ReplicaExchange(Still(start), equation, ladder)
    state, rng = kernel.init((start,)), np.random.default_rng(0)
    for _ in range(n_steps):
        state = kernel.step(state, rng)
    return kernel, state, kernel.frames(state).sigma.reshape(len(ladder.betas), n_groups)


@pytest.mark.parametrize("kappa", [1.0, 0.6])
def test_exchanges_have_the_law_of_all_replicas(kappa):
    """Over the permutations of three states, ``exp(-Σ_k β_k E_k / κ)``."""
    ladder, energies, n_groups = Ladder((0.5, 1.2, 2.0), 1), np.array([0.3, 0.9, 1.4]), 20_000
    _, _, found = exchanged(ladder, energies, n_groups, 40, kappa)
    weights = {
        states: np.exp(-np.dot(ladder.betas, states) / kappa)
        for states in itertools.permutations(energies)
    }
    total = sum(weights.values())
    for states, weight in weights.items():
        share, exact = (states == found.T).all(axis=1).mean(), weight / total
        assert abs(share - exact) < 4 * np.sqrt(exact * (1 - exact) / n_groups)


def test_what_is_counted_of_exchanges():
    """Where all are accepted, a replica goes from end to end and back without a turn."""
    ladder = Ladder((1.0, 2.0, 3.0, 4.0), 2)
    kernel, state, found = exchanged(ladder, np.array([1.0, 1.0, 1.0, 1.0]), 5, 5 * 2)
    np.testing.assert_array_equal(kernel.swap_rates(state), 1.0)
    assert state.n_steps == 10
    # Rounds are of odd places, then of even ones: a hot replica arrives in the fourth, and stays.
    np.testing.assert_array_equal(state.n_passages.reshape(4, 5), [[0] * 5] * 3 + [[1] * 5])
    np.testing.assert_array_equal(state.n_swapped.reshape(4, 5)[:, 0], [2, 3, 2, 0])
    # None is where the states of the colder are far lower.
    kernel, state, found = exchanged(ladder, np.array([4e3, 3e3, 2e3, 1e3]), 5, 8)
    np.testing.assert_array_equal(kernel.swap_rates(state), 0.0)
    np.testing.assert_array_equal(found[:, 0], [4e3, 3e3, 2e3, 1e3])


@EVERY
@ALL
def test_replicas_start_at_every_temperature(scheme, start):
    """And those that are not exchanged are chains at their temperatures."""
    result = run(start, scheme=scheme, beta=Ladder((1.0, 2.0, 5.0), swap_every=100), save_every=1)
    np.testing.assert_array_equal(result.beta, np.repeat([1.0, 2.0, 5.0], N_CHAINS))
    initial, _ = STARTS[start]
    tripled: Any = (
        tuple(np.concatenate([a] * 3) for a in initial)
        if isinstance(initial, tuple)
        else np.concatenate([initial] * 3)
    )
    expected = run(start, scheme=scheme, initial=tripled, beta=result.beta, save_every=1)
    assert_same_bits(result, expected)
    assert result.swap_rates.tolist() == [0.0, 0.0]
    assert result.n_passages == 0
    one = result.at(2.0)
    assert isinstance(one, LangevinResult)
    assert one.beta == 2.0
    for name, values in arrays_of(one).items():
        np.testing.assert_array_equal(values, arrays_of(result)[name][N_CHAINS : 2 * N_CHAINS])
    assert one.swap_rates is None
    assert result.r_hat == max(result.at(beta).r_hat for beta in (1.0, 2.0, 5.0))
    assert one.convergence == convergence_of(one.trace, 2.0)
    with pytest.raises(ValueError, match=r"no chain has beta=3.*1, 2, 5"):
        result.at(3.0)


@EVERY
@pytest.mark.parametrize("beta", [LADDER, lambda t: 1.0 + t], ids=["ladder", "schedule"])
@pytest.mark.parametrize("start", ["square", "values", "layers"])
def test_interrupted_runs_go_on(scheme, beta, start, tmp_path):
    initial, shape = STARTS[start]
    settings = {
        **COMMON, **shape, "n_steps": 11, "scheme": scheme, "energy": energy, "rng": 0,
        "save_every": 2, "beta": beta,
    }  # fmt: skip
    path = tmp_path / "run.npz"
    assert langevin(Turning(9, interrupt), initial, **settings, checkpoint=path).interrupted
    again = langevin(gradient, initial, **settings, checkpoint=path)
    expected = langevin(gradient, initial, **settings)
    assert again.success
    assert_same_bits(again, expected)
    np.testing.assert_array_equal(again.beta, expected.beta)
    if beta is LADDER:
        assert again.swap_rates is not None
        np.testing.assert_array_equal(again.swap_rates, expected.swap_rates)
        assert again.swap_rates.max() > 0


@pytest.mark.parametrize(
    ("beta", "other"),
    [
        (LADDER, Ladder((1.0, 2.0, 5.0), 3)),
        (LADDER, Ladder((1.0, 2.0, 6.0), 2)),
        (LADDER, np.repeat(LADDER.betas, 2)),
        (lambda t: 1.0 + t, lambda t: 1.0 + 2 * t),
        (lambda t: 1.0 + t, 1.0),
    ],
)
def test_checkpoints_of_other_temperatures_are_refused(beta, other, tmp_path):
    path = tmp_path / "run.npz"
    run(beta=beta, checkpoint=path)
    with pytest.raises(ValueError, match="other settings"):
        run(beta=other, checkpoint=path)


def test_executors_run_ladders():
    initial, shape = STARTS["square"]
    settings = {**COMMON, **shape, "energy": energy, "beta": LADDER, "save_every": 2}
    task = functools.partial(langevin, gradient, initial, **settings)
    grid = {"kappa": [0.5, 1.0]}
    alone = ensemble(task, grid, seed=4)
    with ThreadPoolExecutor(2) as pool:
        together = ensemble(task, grid, seed=4, executor=pool)
    for one, other in zip(alone.runs, together.runs, strict=True):
        assert_same_bits(one.result, other.result)


@EVERY
def test_a_schedule_is_of_the_time_before_a_step(scheme):
    """A constant one is that temperature; a jump acts from its step on."""
    constant = run(scheme=scheme, save_every=1)
    same = run(scheme=scheme, save_every=1, beta=lambda t: 4.0)
    assert_same_bits(same, constant)
    np.testing.assert_array_equal(same.beta, np.full(N_CHAINS, 4.0))
    # The third step begins at t = 0.04.
    jump = run(scheme=scheme, save_every=1, beta=lambda t: 4.0 if t < 0.03 else 8.0)
    assert (jump.beta == 8.0).all()
    first, second = (r.trace["singular_values"] for r in (jump, constant))
    np.testing.assert_array_equal(first[:, :2], second[:, :2])
    assert (first[:, 2] != second[:, 2]).any()
    each = run(scheme=scheme, beta=lambda t: np.linspace(1.0, 2.0, N_CHAINS) + t)
    np.testing.assert_allclose(each.beta, np.linspace(1.0, 2.0, N_CHAINS) + 0.1)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Ladder((1.0,)), "betas"),
        (lambda: Ladder(5.0), "betas must be a list"),  # type: ignore[arg-type] # refused
        (lambda: Ladder((1.0, 1.0)), "rising order"),
        (lambda: Ladder((2.0, 1.0)), "rising order"),
        (lambda: Ladder((0.0, 1.0)), "must be positive"),
        (lambda: Ladder((1.0, 2.0), 0), "swap_every"),
        (lambda: run(beta=LADDER, energy=None), "replica exchange needs the energy"),
        (lambda: run(beta=LADDER, kappa=0.0), "replica exchange needs the energy"),
        (lambda: run(beta=lambda t: 0.05 - t), "beta must be positive"),
        (lambda: run(beta=lambda t: [1.0, 2.0]), "one for each of the 6 chains"),
    ],
)
def test_refusals(make, message):
    with pytest.raises(ValueError, match=message):
        make()
