"""R-hat and effective sample sizes against ArviZ, and what runs say of them."""

from typing import Any

import arviz
import numpy as np
import pytest

from dlngeo.sampling import langevin
from dlngeo.sampling.convergence import convergence_of, effective_sample_size, r_hat


def chains(shape, memory, spread, seed=0):
    """Return autoregressive chains whose means differ."""
    rng = np.random.default_rng(seed)
    draws = rng.standard_normal(shape)
    for t in range(1, shape[1]):
        draws[:, t] += memory * draws[:, t - 1]
    return draws + spread * rng.standard_normal((shape[0], 1))


@pytest.mark.parametrize("shape", [(2, 40), (4, 101), (50, 20), (3, 500), (4, 5), (1000, 6)])
@pytest.mark.parametrize("memory", [0.0, 0.9, -0.5])
@pytest.mark.parametrize("spread", [0.0, 1.0])
def test_diagnostics_are_those_of_arviz(shape, memory, spread):
    draws = chains(shape, memory, spread)
    draws = np.round(draws, 2)  # with ties
    assert abs(r_hat(draws) - float(arviz.rhat(draws))) < 1e-10
    assert abs(effective_sample_size(draws) / float(arviz.ess(draws)) - 1) < 1e-10


def test_constants():
    """Of chains that do not move."""
    assert r_hat(np.ones((3, 10))) == 1
    assert r_hat(np.ones((3, 10)) * np.arange(3)[:, None]) == np.inf
    assert effective_sample_size(np.ones((3, 10))) == 30


def test_the_worst_quantity_counts():
    """And chains of one temperature are compared, not those of different ones."""
    good, bad = chains((4, 100), 0.0, 0.0), chains((4, 100), 0.5, 3.0)
    trace = {"singular_values": np.stack([good, bad], axis=-1), "energy": good}
    found = convergence_of(trace, 1.0)
    assert found
    assert found.r_hat == r_hat(bad)
    assert found.effective_sample_size == effective_sample_size(bad)
    assert "The chains disagree: R-hat" in found.status
    assert "burn_in" in found.status
    trace = {"singular_values": np.concatenate([good, good + 5])[..., None]}
    mixed = convergence_of(trace, 1.0)
    assert mixed
    assert mixed.r_hat > 1.5
    cold = convergence_of(trace, np.repeat([1.0, 2.0], 4))
    assert cold
    assert cold.r_hat == r_hat(good)
    assert cold.status.startswith("The chains agree: R-hat 1.00")
    assert convergence_of({"singular_values": good[:, :3, None]}, 1.0) is None


def test_runs_say_whether_their_chains_agree():
    """They do not shortly after the start; much later they do."""
    target = np.diag([2.0, 0.5])
    settings: dict[str, Any] = {
        "depth": 2, "beta": 4.0, "step_size": 0.02, "save_every": 5, "rng": 0,
        "energy": lambda x: np.sum((x - target) ** 2, axis=(1, 2)) / 2,
    }  # fmt: skip
    start = np.tile(np.eye(2), (10, 1, 1))
    short = langevin(lambda x: x - target, start, n_steps=50, **settings)
    assert short.success
    assert short.r_hat is not None
    assert short.r_hat > 1.01
    assert "The chains disagree" in short.status
    settings |= {"n_steps": 12_000, "burn_in": 1000, "determinant": "positive"}
    long = langevin(lambda x: x - target, start, **settings)
    assert long.r_hat is not None
    assert long.r_hat <= 1.01
    assert long.effective_sample_size is not None
    assert long.effective_sample_size > 400
    assert "The chains agree" in long.status
    silent = langevin(lambda x: x - target, start, kappa=0.0, **settings)
    assert silent.r_hat is None
