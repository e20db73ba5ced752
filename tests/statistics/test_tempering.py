"""Double wells that plain chains do not cross: replica exchange, annealing, free energies.

Minutes long: ``make statistics``.
"""

from dataclasses import replace
from typing import Any

import arviz
import numpy
import pytest
from scipy import stats

from dlngeo.sampling import (
    DoubleWell,
    Ladder,
    SpectralExpression,
    free_energies,
    langevin,
    thermodynamics_by_depth,
)
from dlngeo.solvers import Factorization
from dlngeo.thermodynamics import Equilibrium, LeastSquaresEquilibrium

BETAS = (1.0, 2.0, 4.0, 8.0)
WIDTHS = {1: (1, 1, 1), 2: (2, 2, 2)}


def wells(rank, barrier=1.0):
    """Return a double well, and what starts chains in the lower of its wells."""
    energy = DoubleWell((0.2, 2.0), barrier)
    return energy, {"energy": energy, "depth": 2, "scheme": "metropolis", "save_every": 10}


def share_above(result):
    """Return the share of chains and draws in the upper well, and its standard error."""
    is_above = (result.trace["singular_values"][..., 0] > 1.1).astype(float)
    return is_above.mean(), is_above.std() / float(arviz.ess(is_above)) ** 0.5


def test_replicas_cross_where_plain_chains_do_not():
    energy, settings = wells(1, barrier=3.0)
    start = numpy.full((100, 1), 0.2)
    settings |= {"step_size": 0.03, "n_steps": 3000, "burn_in": 1000, "rng": 0}
    exact = 1 - float(Equilibrium(energy, WIDTHS[1], beta=8.0).marginal().cdf(1.1))
    assert 0.1 < exact < 0.5
    plain = langevin(initial=start, beta=8.0, **settings)
    assert share_above(plain)[0] < 0.02
    result = langevin(initial=start, beta=Ladder((0.5, 1.0, 2.0, 4.0, 8.0)), **settings)
    share, error = share_above(result.at(8.0))
    assert error < 0.02
    assert abs(share - exact) < 4 * error
    # Slow cooling finds the wells by their weights where it froze, fast cooling where it began.
    slow = langevin(initial=start, beta=lambda t: 0.5 * 16 ** min(t / 60, 1.0), **settings)
    assert 0.05 < (slow.singular_values[:, 0] > 1.1).mean() < 0.6
    assert (slow.beta == 8.0).all()


def of_starts(result, starts):
    """Return the part of a result that is of some initial states, at all temperatures."""
    n_starts = len(result.beta) // len(BETAS)
    places = (numpy.arange(len(BETAS))[:, None] * n_starts + starts).ravel()
    trace = {name: values[places] for name, values in result.trace.items()}
    chains = {name: getattr(result, name)[places] for name in ("beta", "singular_values")}
    return replace(result, trace=trace, **chains)


@pytest.mark.parametrize(("rank", "kappa"), [(1, 1.0), (2, 0.5)])
def test_errors_of_free_energies_are_honest(rank, kappa):
    """Intervals of 90 % hold the exact values in that share of independent runs."""
    n_runs, n_starts = 80, 8
    energy, settings = wells(rank)
    lower = 0.2 * numpy.linspace(1.0, 0.8, rank)
    result: Any = langevin(
        initial=numpy.tile(lower, (n_runs * n_starts, 1)), beta=Ladder(BETAS), kappa=kappa,
        step_size=0.05, n_steps=1000, burn_in=400, rng=rank, **settings,
    )  # fmt: skip
    laws = [Equilibrium(energy, WIDTHS[rank], beta=beta, kappa=kappa) for beta in BETAS]
    logs = numpy.array([law.log_partition for law in laws])
    names = ("free_energy", "mean_energy", "entropy", "heat_capacity")
    exact = {name: numpy.array([getattr(law, name) for law in laws]) for name in names}
    found_scores = []
    for run in range(n_runs):
        part = of_starts(result, numpy.arange(run * n_starts, (run + 1) * n_starts))
        found = free_energies(part, logs[0])
        found_scores.append(
            [
                (getattr(found.curves, name) - exact[name])[1:] / getattr(found.errors, name)[1:]
                for name in names
            ]
        )
    scores = numpy.array(found_scores)
    bound = stats.t.ppf(0.95, n_starts - 1)
    coverage = (abs(scores) < bound).mean(axis=0)
    # Twelve shares of 80 runs, each with a deviation of 0.034.
    assert coverage.min() > 0.9 - 3.5 * 0.034, coverage
    # These of one run are alike, so that their mean has nearly the deviation of one.
    assert abs(coverage.mean() - 0.9) < 3 * 0.034, coverage
    whole = free_energies(result, logs[0])
    for name in names:
        error = getattr(whole.errors, name)[1:]
        assert abs((getattr(whole.curves, name) - exact[name])[1:] / error).max() < 4


@pytest.mark.parametrize("depth", [1, 2, 3])
def test_least_squares(depth):
    """Absolute, from the law of ``½‖X‖²`` and from starts that all have the wrong ``det``."""
    target, betas = numpy.diag([2.0, 0.5]), (0.2, 0.6, 1.5, 4.0)
    start = numpy.random.default_rng(depth).normal(size=(120, 2, 2))
    start[numpy.linalg.det(start) > 0] *= [[1.0], [-1.0]]
    found = thermodynamics_by_depth(
        lambda depth: Factorization(target), start, depths=(depth,), betas=betas,
        reference_at=lambda depth: SpectralExpression("s**2 / 2", depth), rng=depth,
        step_size=0.05, n_steps=1200, burn_in=500, scheme="metropolis",
    )[depth]  # fmt: skip
    laws = [LeastSquaresEquilibrium(target, (2,) * (depth + 1), beta=beta) for beta in betas]
    for name in ("free_energy", "mean_energy", "entropy", "heat_capacity"):
        exact = numpy.array([getattr(law, name) for law in laws])
        error = getattr(found.errors, name)
        assert abs((getattr(found.curves, name) - exact) / error).max() < 4, name
    assert found.errors.mean_energy[-1] < 0.02
