"""Every scheme on every face."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pytest

from dlngeo.core.networks.network import moment_map
from dlngeo.sampling.langevin_dynamics import schemes
from dlngeo.sampling.langevin_dynamics.matrix_steps import MatrixKernel
from tests.core.brute import assert_close
from tests.sampling.langevin_dynamics.runs import (
    ALL,
    DEPTH,
    EVERY,
    N_CHAINS,
    SCHEMES,
    STARTS,
    assert_same_bits,
    energy,
    run,
)
from tests.sampling.reference import product


@ALL
@EVERY
def test_results_fit_together(start, scheme):
    """States, values and traces are of one chain; shapes are those of the start."""
    result = run(start, scheme=scheme, save_every=2, record=lambda x: {"twice": 2 * x})
    initial = STARTS[start][0]
    assert result.success
    assert not result.interrupted
    assert result.status.startswith("took 6 steps on ")
    assert (result.n_steps, result.step_size) == (6, 0.02)
    sigma = result.singular_values
    assert (np.diff(sigma, axis=-1) <= 0).all()
    assert (sigma > 0).all()
    if start.startswith("values"):
        assert result.observables is None
        assert result.factors is None
        point = sigma
    else:
        point = result.observables
        values = np.linalg.svd(point, compute_uv=False)
        assert_close(values[:, : sigma.shape[1]], sigma, 1e-12)
        assert (values[:, sigma.shape[1] :] < 1e-12).all()
    if start in ("layers", "stacked"):
        layers = result.factors
        if start == "stacked":
            assert layers.shape == initial.shape
            layers = tuple(layers[:, p] for p in range(DEPTH))
        else:
            assert [w.shape for w in layers] == [w.shape for w in initial]
        assert_close(product(layers), result.observables, 1e-12)
        for moment in moment_map(layers):
            assert_close(moment, 0 * moment, 1e-9, scale=1.0)
    else:
        assert result.factors is None
    assert (result.acceptance_rate is None) == (scheme != "metropolis")
    if scheme == "metropolis":
        assert result.acceptance_rate.shape == (N_CHAINS,)
        assert (result.acceptance_rate <= 1).all()
    names = {"singular_values", "energy", "twice"}
    crosses = start in ("square", "wide", "stacked")
    assert set(result.trace) == names | ({"determinant_sign"} if crosses else set())
    assert result.trace["singular_values"].shape == (N_CHAINS, 3, sigma.shape[1])
    assert_close(result.trace["singular_values"][:, -1], sigma, 1e-13)
    assert_close(result.trace["energy"][:, -1], energy(point), 1e-12)
    assert_close(result.trace["twice"][:, -1], 2 * point, 1e-12)


@pytest.mark.parametrize("scheme", SCHEMES[:2])
def test_no_noise_is_deterministic(scheme):
    """On end-to-end matrices and values; factors still move along their fibres."""
    for start in ("square", "rectangular", "values"):
        one, other = (run(start, scheme=scheme, kappa=0.0, rng=seed) for seed in (0, 1))
        assert_same_bits(one, other)
    one, other = (run("stacked", scheme=scheme, kappa=0.0, rng=seed) for seed in (0, 1))
    assert abs(one.factors - other.factors).max() > 0.01


class Sleep(NamedTuple):
    left: np.ndarray
    lam: np.ndarray
    right: np.ndarray
    n_rejected: np.ndarray


@dataclass(eq=False)
class Sleeper(MatrixKernel):
    """A kernel whose chains stay where they are, and count the hours."""

    def init(self, factors):
        return Sleep(*self.initial_root(factors), np.zeros(len(factors[0]), dtype=int))

    def step(self, state, rng):
        return state._replace(n_rejected=state.n_rejected + 1)

    def counts(self, state):
        return {"n_rejected": state.n_rejected}


@ALL
def test_a_new_kernel_is_a_line_in_the_table(start, monkeypatch, tmp_path):
    """Faces, traces, counts and checkpoints ask for nothing else."""
    monkeypatch.setitem(schemes.SCHEMES, "sleep", Sleeper)
    settings = {"scheme": "sleep", "save_every": 2, "checkpoint": tmp_path / "run.npz"}
    result = run(start, **settings)
    assert_same_bits(result, run(start, **settings))
    assert (result.n_rejected == 6).all()
    sigma = result.trace["singular_values"]
    assert_close(sigma, np.ones((1, 3, 1)) * result.singular_values[:, None], 1e-12)
    if start in ("layers", "stacked"):
        layers = result.factors
        layers = layers if start == "layers" else tuple(layers[:, p] for p in range(DEPTH))
        assert_close(product(layers), result.observables, 1e-12)
