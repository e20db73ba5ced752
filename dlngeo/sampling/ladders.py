"""Ladders of temperatures that replicas climb evenly, found by short runs."""

from typing import Any

import numpy
from scipy.interpolate import PchipInterpolator

from dlngeo.core.base.checks import fraction, generator, integer, positive
from dlngeo.sampling.langevin_dynamics.run import langevin
from dlngeo.sampling.langevin_dynamics.temperatures import Ladder

FIRST_LEVELS, MOST_LEVELS = 6, 200


def find_ladder(
    lowest: float,
    highest: float,
    *,
    acceptance: float = 0.6,
    n_rounds: int = 4,
    swap_every: int = 5,
    n_steps: int = 250,
    rng: numpy.random.Generator | int | None = None,
    **options: Any,
) -> Ladder:
    r"""Return a ladder whose neighbours accept equal shares of exchanges.

    Shares rejected between neighbours add up along a ladder to a barrier ``Λ(β)``, which hardly
    depends on the ladder while they are small. Levels at equal steps of ``Λ`` reject alike; short
    runs, of which each lays them anew, find them.

    Parameters
    ----------
    lowest, highest : float
        The ends, ``β``.
    acceptance : float
        Share of exchanges that neighbours are to accept.
    n_rounds, n_steps : int
        Short runs, and the steps of the first; each takes twice as many as the one before.
    swap_every : int
        As of `Ladder`.
    rng : numpy.random.Generator or int, optional
        Random numbers, or a seed.
    **options
        The arguments of `langevin`: ``initial``, ``energy``, ``depth``, ``step_size``, ...

    Returns
    -------
    ladder : Ladder

    Raises
    ------
    ValueError
        If an argument does not fit, or some 200 levels are too few.

    References
    ----------
    S. Syed, A. Bouchard-Côté, G. Deligiannidis, A. Doucet, *Non-reversible parallel tempering*,
    J. R. Stat. Soc. B 84 (2022), section 5.
    """
    lowest, highest = positive(lowest, "lowest"), positive(highest, "highest")
    if lowest >= highest:
        raise ValueError(f"lowest must be below highest, got {lowest} and {highest}.")
    rejection = 1 - fraction(acceptance, "acceptance")
    swap_every = integer(swap_every, "swap_every")
    n_steps = integer(n_steps, "n_steps", least=4 * swap_every)
    random = generator(rng)
    ladder = Ladder(numpy.geomspace(lowest, highest, FIRST_LEVELS).tolist(), swap_every)
    for round_ in range(integer(n_rounds, "n_rounds")):
        found = langevin(beta=ladder, n_steps=n_steps * 2**round_, rng=random, **options)
        assert found.swap_rates is not None
        # A level without rejections still takes its place.
        steps = numpy.maximum(1 - found.swap_rates, 1e-3)
        barrier = numpy.concatenate([[0.0], steps.cumsum()])
        n_levels = max(2, int(numpy.ceil(barrier[-1] / rejection)) + 1)
        if n_levels > MOST_LEVELS:
            raise ValueError(
                f"a ladder from {lowest:g} to {highest:g} needs more than {MOST_LEVELS} levels: "
                "take a higher lowest beta, or a lower acceptance."
            )
        even = numpy.linspace(0, barrier[-1], n_levels)[1:-1]
        inner = numpy.exp(PchipInterpolator(barrier, numpy.log(ladder.betas))(even))
        ladder = Ladder([lowest, *inner.tolist(), highest], swap_every)
    return ladder
