"""R-hat and effective sample sizes against ArviZ, and what runs say of them."""

from typing import Any

import arviz
import numpy as np
import pytest

from dlngeo.sampling import langevin
from dlngeo.sampling.convergence import convergence_of, effective_sample_size, r_hat
from dlngeo.sampling.langevin_dynamics import run


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


@pytest.mark.parametrize("n", [10, 100])
def test_constants(n):
    """Of chains that do not move: to the last bit, and as many draws as there are places."""
    same, apart = np.ones((3, n)), np.outer([1.0, 1.0, -1.0], np.ones(n))
    assert r_hat(same) == 1
    assert r_hat(apart) == np.inf
    assert effective_sample_size(same) == 3 * n
    assert effective_sample_size(apart) == pytest.approx(float(arviz.ess(apart)))
    assert effective_sample_size(apart) < 8


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


def test_chains_that_are_stuck_in_components_disagree():
    """Although energy and singular values agree: the sign of ``det`` tells."""
    signs = np.array([1.0, 1.0, -1.0])[:, None, None]
    settings: dict[str, Any] = {
        "depth": 2, "beta": 100.0, "step_size": 0.01, "n_steps": 2000, "save_every": 5, "rng": 0,
        "energy": lambda x: (np.sum(x**2, axis=(1, 2)) - 2) ** 2 + (abs(np.linalg.det(x)) - 1) ** 2,
    }  # fmt: skip

    def gradient(x):
        square, det = np.sum(x**2, axis=(1, 2)), np.linalg.det(x)
        cofactors = np.linalg.inv(x).swapaxes(1, 2) * det[:, None, None]
        slope = 2 * (abs(det) - 1) * np.sign(det)
        return 4 * (square - 2)[:, None, None] * x + slope[:, None, None] * cofactors

    start = np.tile(np.eye(2), (3, 1, 1)) * np.concatenate([signs, 1 + 0 * signs], axis=2)
    result = langevin(gradient, start, **settings)
    assert (result.trace["determinant_sign"] == signs[:, :, 0]).all()
    assert result.r_hat == np.inf
    assert "The chains disagree: R-hat inf" in result.status
    assert "R-hat inf" in repr(result)
    values = {name: result.trace[name] for name in ("singular_values", "energy")}
    found = convergence_of(values, 100.0)
    assert found is not None
    assert found.r_hat < 1.2
    alike = langevin(gradient, abs(start), **settings)
    assert (alike.trace["determinant_sign"] == 1).all()
    assert alike.convergence is not None
    assert alike.convergence.r_hat < 1.2
    confined = langevin(gradient, abs(start), determinant="positive", **settings)
    assert "determinant_sign" not in confined.trace


def test_diagnostics_are_found_when_they_are_asked_for(monkeypatch):
    """And once; runs whose draws nobody judges do not pay for it."""
    calls = []

    def counted(*arguments):
        calls.append(1)
        return convergence_of(*arguments)

    monkeypatch.setattr(run, "convergence_of", counted)
    result = langevin(
        lambda s: s, np.ones((2, 1)), depth=2, beta=1.0, step_size=0.1, n_steps=8, save_every=1
    )
    assert not calls
    assert "R-hat" in result.status
    assert result.convergence is not None
    assert result.r_hat == result.convergence.r_hat
    assert len(calls) == 1


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
