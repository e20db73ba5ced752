"""Chains in ArviZ: the same numbers under the right names."""

import functools
import sys
from typing import Any

import arviz
import numpy
import pytest

import dlngeo
from dlngeo.sampling import ensemble, langevin, to_inference_data

START = numpy.random.default_rng(0).normal(size=(4, 3, 2))


def slope(matrix):
    return matrix


def energy(matrix):
    return (matrix**2).sum(axis=(-2, -1)) / 2


def record(matrix):
    return {"corner": matrix[:, 0, 0], "rows": matrix[:, :2]}


CHAINS = functools.partial(
    langevin, slope, START, step_size=0.02, n_steps=40, save_every=4, energy=energy
)
ALONE = CHAINS(depth=3, beta=2.0, rng=0, record=record)


def test_one_run():
    data: Any = to_inference_data(ALONE)
    assert list(data) == ["posterior", "sample_stats"]
    sigma = data.posterior["singular_values"]
    assert sigma.dims == ("chain", "draw", "k")
    assert sigma.shape == (4, 10, 2)
    assert sigma["k"].values.tolist() == [1, 2]
    numpy.testing.assert_array_equal(sigma, ALONE.trace["singular_values"])
    assert data.posterior["rows"].dims == ("chain", "draw", "rows_dim_0", "rows_dim_1")
    numpy.testing.assert_array_equal(data.posterior["rows"], ALONE.trace["rows"])
    numpy.testing.assert_array_equal(data.sample_stats["energy"], ALONE.trace["energy"])
    assert "acceptance_rate" not in data.sample_stats
    assert data.sample_stats["n_reflections"].dims == ("chain",)
    assert data.attrs == {
        "dlngeo": dlngeo.__version__,
        "depth": 3,
        "rank": 2,
        "widths": [2, 2, 2, 3],
        "beta": 2.0,
        "kappa": 1.0,
        "step_size": 0.02,
        "scheme": "euler-maruyama",
        "save_every": 4,
        "burn_in": 0,
    }


def test_ensemble():
    grid = {"beta": numpy.array([1.0, 2.0, 4.0]), "depth": [2, 3]}
    found = ensemble(functools.partial(CHAINS, scheme="metropolis"), grid, n_seeds=2, seed=3)
    data: Any = to_inference_data(found)
    sigma = data.posterior["singular_values"]
    assert sigma.dims == ("chain", "draw", "beta", "depth", "k")
    assert sigma.shape == (8, 10, 3, 2, 2)
    assert data.sample_stats["acceptance_rate"].dims == ("chain", "beta", "depth")
    for run in found.runs:
        i, j, replica = run.index
        chains = slice(4 * replica, 4 * replica + 4)
        numpy.testing.assert_array_equal(
            sigma[chains, :, i, j], run.result.trace["singular_values"]
        )
        here = data.sel(**run.point).sample_stats
        numpy.testing.assert_array_equal(here["energy"][chains], run.result.trace["energy"])
        numpy.testing.assert_array_equal(
            here["acceptance_rate"][chains], run.result.acceptance_rate
        )
    assert data.attrs["seed"] == 3
    assert data.attrs["n_seeds"] == 2
    assert data.attrs["rank"] == 2
    # What differs from run to run is no attribute.
    assert not {"beta", "depth", "widths"} & set(data.attrs)


def test_arviz_takes_it(tmp_path):
    data: Any = to_inference_data(ensemble(CHAINS, {"beta": [1.0, 2.0], "depth": [2]}, n_seeds=2))
    path = tmp_path / "chains.nc"
    data.to_netcdf(str(path), engine="h5netcdf")
    again: Any = arviz.from_netcdf(str(path), engine="h5netcdf")
    for group in ("posterior", "sample_stats"):
        assert again[group].equals(data[group])
    assert again.attrs["scheme"] == "euler-maruyama"
    assert list(again.attrs["widths"]) == [2, 2, 3]
    rows = arviz.summary(again)
    assert len(rows) == 4
    assert numpy.isfinite(rows["r_hat"]).all()
    here: Any = again.sel(beta=2.0, depth=2)
    assert float(arviz.ess(here)["singular_values"].min()) > 4
    arviz.plot_trace(here)
    arviz.plot_energy(here)


def test_temperatures_of_chains_are_kept(tmp_path):
    betas = [1.0, 2.0, 3.0, 4.0]
    data: Any = to_inference_data(CHAINS(depth=3, beta=betas, rng=0))
    path = tmp_path / "chains.nc"
    data.to_netcdf(str(path), engine="h5netcdf")
    assert list(arviz.from_netcdf(str(path), engine="h5netcdf").attrs["beta"]) == betas


def test_labels_that_are_no_numbers():
    starts = [START, 2 * START]
    task = functools.partial(langevin, slope, beta=1.0, depth=2, step_size=0.1, n_steps=2)
    grid = {"initial": starts, "save_every": [1]}
    data: Any = to_inference_data(ensemble(task, grid))
    assert data.posterior["initial"].values.tolist() == [0, 1]
    assert data.posterior["save_every"].values.tolist() == [1]


def failing(rng):
    return 1.0


def test_refuses(monkeypatch):
    silent = langevin(slope, START, depth=2, beta=1.0, step_size=0.1, n_steps=2)
    with pytest.raises(ValueError, match="save_every"):
        to_inference_data(silent)
    with pytest.raises(ValueError, match="no chains"):
        to_inference_data(ensemble(failing, {}))
    task = functools.partial(langevin, lambda x: x**3, START, n_steps=99, save_every=1, depth=1)
    lost = ensemble(task, {"beta": [1.0], "step_size": [0.01, 1e3]})
    with pytest.raises(ValueError, match=r"did not succeed.*smaller step_size"):
        to_inference_data(lost)
    monkeypatch.setitem(sys.modules, "arviz", None)
    with pytest.raises(ImportError, match=r"dlngeo\[sampling\]"):
        to_inference_data(ALONE)


def test_a_run_that_stopped_has_its_draws():
    calls = []

    def stopping(matrix):
        calls.append(1)
        if len(calls) > 5:
            raise KeyboardInterrupt
        return {}

    stopped = CHAINS(depth=3, beta=2.0, rng=0, record=stopping)
    data: Any = to_inference_data(stopped)
    assert data.posterior.sizes["draw"] == 4
    numpy.testing.assert_array_equal(
        data.posterior["singular_values"], ALONE.trace["singular_values"][:, :4]
    )
