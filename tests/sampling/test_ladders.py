"""Ladders that are found: even, as accepting as was asked, and the same for a seed."""

from typing import Any

import numpy
import pytest

from dlngeo.sampling import DoubleWell, find_ladder, langevin

WELLS: dict[str, Any] = {
    "initial": numpy.full((40, 1), 0.5),
    "energy": DoubleWell((0.2, 2.0), 1.0),
    "depth": 3,
    "step_size": 0.01,
}


@pytest.mark.parametrize(("acceptance", "highest"), [(0.4, 100.0), (0.7, 20.0)])
def test_neighbours_accept_alike(acceptance, highest):
    ladder = find_ladder(0.5, highest, acceptance=acceptance, rng=0, **WELLS)
    assert (ladder.betas[0], ladder.betas[-1]) == (0.5, highest)
    result = langevin(beta=ladder, n_steps=2000, rng=1, **WELLS)
    rates = result.swap_rates
    assert rates is not None
    assert numpy.ptp(rates) < 0.12  # of a geometric ladder 0.18
    # The last level is rounded up, so that rates are somewhat higher.
    assert acceptance - 0.05 < rates.mean() < acceptance + (1 - acceptance) / len(rates)
    assert result.n_passages


def test_seeds_reproduce():
    ladders = [find_ladder(1.0, 9.0, n_rounds=2, n_steps=40, rng=s, **WELLS) for s in (3, 3, 4)]
    assert ladders[0] == ladders[1] != ladders[2]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"lowest": 2.0, "highest": 1.0}, "lowest must be below highest"),
        ({"lowest": 0.0, "highest": 1.0}, "lowest must be positive"),
        ({"lowest": 1.0, "highest": 2.0, "acceptance": 1.0}, "acceptance must be between"),
        ({"lowest": 1.0, "highest": 2.0, "n_rounds": 0}, "n_rounds"),
        ({"lowest": 1.0, "highest": 2.0, "n_steps": 10}, "n_steps must be an integer of at least"),
        ({"lowest": 1e-3, "highest": 1e3, "acceptance": 0.995}, "more than 200 levels"),
    ],
)
def test_refusals(arguments, message):
    with pytest.raises(ValueError, match=message):
        find_ladder(**{"n_steps": 20, "rng": 0, **arguments}, **WELLS)
