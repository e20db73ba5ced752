r"""Free energies, entropies and heat capacities from chains at a ladder of temperatures.

With ``b = β/κ`` the partition function ``Z = ∫ e^{S/κ - bE} dvol_g`` obeys ``d log Z/db = -⟨E⟩``.
Between neighbouring temperatures this is integrated by Bennett's acceptance ratio, which leaves no
error of quadrature: the root ``Δ = log Z'/Z`` of

.. math:: \sum_{E \text{ at } b} \frac{1}{1 + e^{(b' - b) E + Δ}}
          = \sum_{E \text{ at } b'} \frac{1}{1 + e^{-(b' - b) E - Δ}}.

Errors are those of independent chains: each estimate is, to first order, a sum over them, and of
replicas that exchange their states those of one start count as one.

References
----------
C. H. Bennett, *Efficient estimation of free energy differences from Monte Carlo data*, J. Comput.
Phys. 22 (1976); THEORY 4.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy
from scipy.optimize import brentq
from scipy.special import expit

from dlngeo.core.base.arrays import Array
from dlngeo.core.base.checks import finite, generator, instance, several
from dlngeo.core.base.functions import function, optional_function
from dlngeo.core.networks.factors import check_depth
from dlngeo.outcomes import Printed
from dlngeo.sampling.energies import SpectralEnergy, terms_of
from dlngeo.sampling.langevin_dynamics.faces import face_of
from dlngeo.sampling.langevin_dynamics.run import LangevinResult, langevin
from dlngeo.sampling.langevin_dynamics.temperatures import Ladder
from dlngeo.thermodynamics.boltzmann_entropy import spectral_entropy
from dlngeo.thermodynamics.equilibrium import Equilibrium, ThermodynamicCurves

LEAST_OVERLAP = 0.01


class Estimate(NamedTuple):
    """An estimate from independent groups of chains.

    Attributes
    ----------
    value : array, shape=[...]
    parts : array, shape=[..., groups]
        What each group adds to it, to first order; their sum is zero.
    """

    value: Array
    parts: Array

    @property
    def error(self) -> Array:
        """The standard error, ``√(n/(n-1) Σ parts²)``."""
        n_groups = self.parts.shape[-1]
        return numpy.sqrt(n_groups / (n_groups - 1) * (self.parts**2).sum(axis=-1))

    def plus(self, other: "Estimate", factor: Any = 1.0) -> "Estimate":
        """Return the estimate of the sum, with a multiple of another of the same groups."""
        factor = numpy.asarray(factor)
        return Estimate(
            self.value + factor * other.value, self.parts + factor[..., None] * other.parts
        )


def mean_of(values: Array) -> Estimate:
    """Return the estimate of a mean, from values of shape=[..., groups, draws]."""
    means = values.mean(axis=-1)
    centre = means.mean(axis=-1)
    return Estimate(centre, (means - centre[..., None]) / means.shape[-1])


def log_ratio(forward: Array, backward: Array) -> Estimate:
    r"""Return Bennett's estimate of ``Δ = log Z'/Z``.

    Parameters
    ----------
    forward, backward : array, shape=[groups, draws]
        Differences ``u = -log q'/q`` of two densities, of draws from ``q`` and from ``q'``.

    Raises
    ------
    ValueError
        If the two laws hardly overlap.
    """

    def excess(delta: float) -> Array:
        """Return the difference of the two means, of each group."""
        return expit(-forward - delta).mean(axis=-1) - expit(backward + delta).mean(axis=-1)

    ends = -max(forward.max(), backward.max()) - 1, 1 - min(forward.min(), backward.min())
    delta = float(brentq(lambda x: excess(x).mean(), *ends, xtol=1e-12))
    first, second = expit(forward + delta), expit(backward + delta)
    slope = (first * (1 - first)).mean() + (second * (1 - second)).mean()
    # Of equal laws the slope is a half.
    if not 2 * slope > LEAST_OVERLAP:
        raise ValueError(
            f"two neighbouring laws overlap by {2 * slope:.1e} only: put temperatures between them "
            "(find_ladder does); next to a reference, take a lower beta."
        )
    parts = excess(delta) / (len(forward) * slope)
    return Estimate(numpy.asarray(delta), parts)


@dataclass(frozen=True, eq=False)
class FreeEnergies(Printed):
    """Thermodynamics from chains, of temperatures in rising order of ``β``.

    Attributes
    ----------
    curves, errors : ThermodynamicCurves
        Free energy ``-(κ/β) log Z``, mean energy, Gibbs entropy and heat capacity, as those of
        `dlngeo.thermodynamics.Equilibrium`; and their standard errors.
    log_partition, log_partition_error : array, shape=[levels]
        ``log Z`` and its standard error, which is that of the difference to the lowest ``β`` and
        of what was given for it.
    covariance : array, shape=[levels, levels]
        Of ``log Z``, for errors of differences.
    is_absolute : bool
        Whether ``log Z`` at the lowest ``β`` was given; else it is zero there.
    n_groups : int
        Independent groups of chains that the errors are from, with ``n_groups - 1`` degrees of
        freedom.
    status : str
        Whether the chains agree, without which errors are too small.
    """

    curves: ThermodynamicCurves
    errors: ThermodynamicCurves
    log_partition: Array
    log_partition_error: Array
    covariance: Array
    is_absolute: bool
    n_groups: int
    status: str


def free_energies(result: LangevinResult, log_partition: Any = None) -> FreeEnergies:
    r"""Return free energies, mean energies, entropies and heat capacities, with errors.

    Parameters
    ----------
    result : LangevinResult
        Of `langevin` at a `Ladder`, or with several chains at each of some ``β``, whose energy was
        recorded (``energy=``, ``save_every=``) in equilibrium (``burn_in=``).
    log_partition : float, or pair of floats, optional
        ``log Z`` at the lowest ``β``, for absolute values, and its standard error. By default it
        counts as zero: free energies and entropies are then relative.

    Returns
    -------
    free_energies : FreeEnergies

    Raises
    ------
    ValueError
        If the energy was not recorded, temperatures have different numbers of chains, there is
        one chain at each or one temperature alone, or neighbours hardly overlap.

    References
    ----------
    THEORY 4.

    Examples
    --------
    Of ``½‖W‖²`` in one dimension, with half a degree of freedom for each ``1/β``:

    >>> import numpy
    >>> from dlngeo.sampling import Ladder, WeightDecay, free_energies, langevin
    >>> result = langevin(
    ...     initial=numpy.ones((50, 1)), energy=WeightDecay(2), depth=2, beta=Ladder((1.0, 2.0)),
    ...     step_size=0.1, n_steps=1000, burn_in=100, save_every=5, rng=0,
    ... )
    >>> found = free_energies(result)
    >>> bool(abs(found.log_partition[1] + numpy.log(2) / 2) < 4 * found.log_partition_error[1])
    True
    """
    instance(result, LangevinResult, "the result")
    if result.depth == math.inf:
        raise ValueError(
            "orbits of infinite depth have no volume to measure entropies by: take a finite depth."
        )
    betas, counts = numpy.unique(result.beta, return_counts=True)
    n_chains = len(result.singular_values)
    if len(betas) < 2 or len(set(counts)) > 1 or counts[0] < 2:
        raise ValueError(
            f"expected as many chains, two or more, at each of some temperatures, got {n_chains} "
            f"chains at beta = {', '.join(f'{beta:g}' for beta in betas)}: give langevin a Ladder, "
            "and several initial states."
        )
    if "energy" not in result.trace or result.trace["energy"].shape[1] < 1:
        raise ValueError("the energy was not recorded: run with energy= and save_every=.")
    order = numpy.argsort(result.beta, kind="stable")
    energy = result.trace["energy"][order].reshape(len(betas), counts[0], -1)
    sigma = result.trace["singular_values"][order].reshape(*energy.shape, -1)
    if not numpy.isfinite(energy).all():
        raise ValueError("a recorded energy is not finite: the law has no mean energy.")
    kappa, heat = result.kappa, betas / result.kappa
    steps = [
        log_ratio(gap * energy[k], gap * energy[k + 1]) for k, gap in enumerate(numpy.diff(heat))
    ]
    start, start_error = _anchor(log_partition)
    parts = numpy.cumsum([0 * steps[0].parts, *(step.parts for step in steps)], axis=0)
    values = start + numpy.cumsum([0.0, *(step.value for step in steps)])
    partition, mean = Estimate(values, parts), mean_of(energy)
    spread = mean_of((energy - mean.value[:, None, None]) ** 2)
    # The squares are about a mean of these draws, which takes the variance of the mean from them.
    spread = spread._replace(value=spread.value + mean.error**2)
    capacity = Estimate(betas * heat * spread.value, (betas * heat)[:, None] * spread.parts)
    orbits = mean_of(spectral_entropy(sigma, result.widths))
    entropy = partition.plus(mean, heat).plus(orbits, numpy.full(len(betas), 1 - 1 / kappa))
    n_groups, agreement = int(counts[0]), result.convergence
    covariance = n_groups / (n_groups - 1) * parts @ parts.T + start_error**2

    def with_start(error: Array) -> Array:
        return numpy.hypot(error, start_error)

    partition_error = with_start(partition.error)
    return FreeEnergies(
        curves=ThermodynamicCurves(
            betas, -values / heat, mean.value, entropy.value, capacity.value
        ),
        errors=ThermodynamicCurves(
            0 * betas, partition_error / heat, mean.error, with_start(entropy.error), capacity.error
        ),
        log_partition=values,
        log_partition_error=partition_error,
        covariance=covariance,
        is_absolute=log_partition is not None,
        n_groups=n_groups,
        status="" if agreement is None else agreement.status,
    )


def _anchor(log_partition: Any) -> tuple[float, float]:
    """Return ``log Z`` at the lowest ``β`` and its error."""
    if log_partition is None:
        return 0.0, 0.0
    value, error = log_partition if isinstance(log_partition, tuple) else (log_partition, 0.0)
    return finite(value, "log_partition"), finite(error, "the error of log_partition")


def thermodynamics_by_depth(
    energy_at: Callable[[int], Any],
    initial: Any,
    *,
    depths: Sequence[int],
    betas: Sequence[float],
    reference_at: Callable[[int], SpectralEnergy] | None = None,
    swap_every: int = 5,
    save_every: int = 10,
    rng: numpy.random.Generator | int | None = None,
    **options: Any,
) -> dict[int, FreeEnergies]:
    r"""Return free energies, mean energies, entropies and heat capacities of networks, by depth.

    At each depth replicas at all temperatures exchange their states. Absolute values need a
    reference: an energy of singular values that at the lowest ``β`` has nearly the same law, as
    ``½‖X‖²`` is for the loss ``½‖X - Y‖²``. Its ``log Z`` is integrated by
    `dlngeo.thermodynamics.Equilibrium`, for up to four values, and the step from it is Bennett's.

    Parameters
    ----------
    energy_at : callable
        The energy at a depth, as `langevin` takes it: ``lambda depth: loss`` if it is the same.
    initial : array-like
        Matrices, shape=[chains, d_N, d_0], or singular values, shape=[chains, r].
    depths : sequence of int
    betas : sequence of float
        Inverse temperatures in rising order.
    reference_at : callable, optional
        The reference at a depth; without, values are relative to the lowest ``β``.
    swap_every, save_every : int
        Steps between exchanges, and between draws.
    rng : numpy.random.Generator or int, optional
        Random numbers, or a seed.
    **options
        Further arguments of `langevin`: ``step_size``, ``n_steps``, ``burn_in``, ``scheme``, ...

    Returns
    -------
    by_depth : dict of int to FreeEnergies
        `dlngeo.plotting.plot_thermodynamics` draws it.

    Raises
    ------
    ValueError
        As of `langevin`, `free_energies` and `Equilibrium`.

    References
    ----------
    THEORY 4.
    """
    for name, of_depth in (("energy_at", energy_at), ("reference_at", reference_at)):
        if optional_function(of_depth, name) is not None and hasattr(of_depth, "gradient"):
            raise ValueError(f"{name} must be a function of the depth: give lambda depth: energy.")
    function(energy_at, "energy_at")
    random, ladder = generator(rng), Ladder(betas, swap_every)
    depths = several(depths, "depths", lambda depth, _: check_depth(depth))
    if len(set(depths)) < len(depths):
        raise ValueError(f"depths must differ from each other, got {depths!s:.99}.")
    found = {}
    for depth in depths:
        run = {
            "initial": initial,
            "depth": depth,
            "save_every": save_every,
            "rng": random,
        } | options
        energy, start = energy_at(depth), None
        result = langevin(energy=energy, beta=ladder, **run)
        if reference_at is not None:
            start = _from_reference(reference_at(depth), energy, result.at(ladder.betas[0]), run)
        found[depth] = free_energies(result, start)
    return found


def _from_reference(
    reference: SpectralEnergy, energy: Any, hot: LangevinResult, run: Mapping[str, Any]
) -> tuple[float, float]:
    """Return ``log Z`` of the hot chains, and its error, from that of another energy."""
    if not isinstance(reference, SpectralEnergy):
        raise ValueError(
            "reference_at must give an energy of singular values, whose partition function is "
            f"known, got {type(reference).__name__}: such as SpectralExpression('s**2 / 2', depth)."
        )
    rank = hot.singular_values.shape[-1]
    face = face_of(run["initial"], run["depth"], hot.widths, rank)
    terms = terms_of(energy, None, face.points, face.points)

    def record(points: Array) -> dict[str, Array]:
        return {"other": terms.values(points)}

    result = langevin(energy=reference, beta=hot.beta, record=record, **run)
    law = Equilibrium(reference, hot.widths, rank, beta=hot.beta, kappa=hot.kappa)
    heat = hot.beta / hot.kappa
    forward = heat * (result.trace["other"] - result.trace["energy"])
    backward = heat * (hot.trace["energy"] - reference(hot.trace["singular_values"]))
    step = log_ratio(forward, backward)
    return law.log_partition + float(step.value), float(step.error)
