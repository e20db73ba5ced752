r"""Temperatures of chains: one, one for each, a schedule, or a ladder with exchanges.

Whatever they are, a step is one for all chains. A schedule and a ladder are kernels over that of
the scheme, which they leave as it is: the temperature is the equation's, and a state knows none.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy

from dlngeo.core.base.arrays import Array
from dlngeo.core.base.checks import host_array, integer, positive, several
from dlngeo.core.base.functions import function
from dlngeo.core.base.vectors import Layers
from dlngeo.core.networks.frames import SingularFrames
from dlngeo.sampling.langevin_dynamics.equation import Equation
from dlngeo.sampling.langevin_dynamics.schemes import Kernel
from dlngeo.sampling.langevin_dynamics.states import rearrange

Schedule = Callable[[float], Any]
"""The inverse temperature at a time, of all chains or shape=[chains]."""


@dataclass(frozen=True)
class Ladder:
    r"""Inverse temperatures of replicas, which exchange their states: parallel tempering.

    After every so many steps neighbours propose to exchange their states, in turn those of even and
    of odd places, and do so with the probability

    .. math:: \min(1, e^{(β_{k+1} - β_k)(E_{k+1} - E_k)/κ}),

    which keeps the product of their laws. What a cold replica does not cross a hot one does.

    Parameters
    ----------
    betas : sequence of float
        Two or more, in rising order.
    swap_every : int
        Steps from one exchange to the next.

    References
    ----------
    S. Syed, A. Bouchard-Côté, G. Deligiannidis, A. Doucet, *Non-reversible parallel tempering*,
    J. R. Stat. Soc. B 84 (2022): in turn is better than at random.

    Examples
    --------
    >>> import numpy
    >>> from dlngeo.sampling import DoubleWell, Ladder, langevin
    >>> wells, start = DoubleWell((0.2, 2.0), barrier=3.0), numpy.full((10, 1), 0.2)
    >>> ladder = Ladder((0.5, 2.0, 8.0))
    >>> result = langevin(
    ...     initial=start, energy=wells, depth=2, beta=ladder, step_size=0.01, n_steps=50, rng=0
    ... )
    >>> result.at(8.0).singular_values.shape, result.swap_rates.shape
    ((10, 1), (2,))
    """

    betas: Sequence[float]
    swap_every: int = 5

    def __post_init__(self) -> None:
        betas = several(self.betas, "betas", positive, least=2)
        if not (numpy.diff(betas) > 0).all():
            raise ValueError(f"the betas of a ladder must be in rising order, got {self.betas}.")
        object.__setattr__(self, "betas", betas)
        object.__setattr__(self, "swap_every", integer(self.swap_every, "swap_every"))


class ExchangeState(NamedTuple):
    """State of replicas.

    Attributes
    ----------
    chains : tuple
        State of the chains: those of the lowest ``β``, then those of the next.
    n_steps : array, shape=[]
        Steps that were taken.
    has_been_hot : array of bool, shape=[chains]
        Whether a replica has come from the lowest ``β`` since it was at the highest.
    n_swapped : array, shape=[chains]
        Exchanges with the chain above.
    n_passages : array, shape=[chains]
        Replicas that came from the lowest to the highest ``β``, of chains there.
    """

    chains: Any
    n_steps: Array
    has_been_hot: Array
    n_swapped: Array
    n_passages: Array


@dataclass(eq=False)
class TemperedKernel:
    """A kernel over another one, whose states hold those of the other as ``chains``."""

    inner: Kernel
    equation: Equation

    def frames(self, state: Any) -> SingularFrames:
        """Return end-to-end matrices in singular frames."""
        return self.inner.frames(state.chains)

    def factors(self, state: Any) -> Layers:
        """Return factors of the state."""
        return self.inner.factors(state.chains)

    def counts(self, state: Any) -> dict[str, Array]:
        """Return what was counted along each chain."""
        return self.inner.counts(state.chains)


@dataclass(eq=False)
class ReplicaExchange(TemperedKernel):
    """Replicas at the temperatures of a ladder."""

    ladder: Ladder

    def __post_init__(self) -> None:
        if not self.equation.has_value or self.equation.kappa == 0:
            raise ValueError("replica exchange needs the energy (energy=) and kappa > 0.")

    def init(self, factors: Sequence[Array]) -> ExchangeState:
        """Return the state over factors."""
        chains, zeros = self.inner.init(factors), numpy.zeros(len(factors[0]), dtype=int)
        return ExchangeState(chains, numpy.array(0), zeros > 0, zeros, zeros)

    def step(self, state: ExchangeState, rng: numpy.random.Generator) -> ExchangeState:
        """Return the state after a step."""
        chains, n_steps = self.inner.step(state.chains, rng), state.n_steps + 1
        state = state._replace(chains=chains, n_steps=n_steps)
        n_rounds, rest = divmod(int(n_steps), self.ladder.swap_every)
        return self._exchange(state, n_rounds % 2, rng) if rest == 0 else state

    def _exchange(
        self, state: ExchangeState, parity: int, rng: numpy.random.Generator
    ) -> ExchangeState:
        n_levels = len(self.ladder.betas)
        energy = self.equation.values(self.frames(state)).reshape(n_levels, -1)
        gaps = numpy.diff(self.ladder.betas)[:, None] / self.equation.kappa
        is_swapped = numpy.log(rng.random(energy[1:].shape)) < gaps * numpy.diff(energy, axis=0)
        is_swapped[1 - parity :: 2] = False
        places = numpy.arange(energy.size).reshape(energy.shape)
        level, chain = numpy.nonzero(is_swapped)
        places[level, chain], places[level + 1, chain] = (
            places[level + 1, chain],
            places[level, chain],
        )
        state = rearrange(state, places.ravel())
        has_been_hot, n_swapped, n_passages = (
            array.reshape(energy.shape).copy()
            for array in (state.has_been_hot, state.n_swapped, state.n_passages)
        )
        has_been_hot[0] = True
        n_passages[-1] += has_been_hot[-1]
        has_been_hot[-1] = False
        n_swapped[:-1] += is_swapped
        return state._replace(
            has_been_hot=has_been_hot.ravel(),
            n_swapped=n_swapped.ravel(),
            n_passages=n_passages.ravel(),
        )

    def swap_rates(self, state: ExchangeState) -> Array:
        """Return the share of proposals accepted, between neighbours, shape=[levels - 1]."""
        n_rounds = int(state.n_steps) // self.ladder.swap_every
        n_swapped = state.n_swapped.reshape(len(self.ladder.betas), -1)[:-1]
        is_odd = numpy.arange(len(n_swapped)) % 2
        return n_swapped.mean(axis=1) / numpy.maximum((n_rounds + is_odd) // 2, 1)


class AnnealingState(NamedTuple):
    """State of chains, and the number of steps that were taken, shape=[]."""

    chains: Any
    n_steps: Array


@dataclass(eq=False)
class Annealing(TemperedKernel):
    """Chains at the temperature that the time at the beginning of a step has."""

    schedule: Schedule
    step_size: float

    def init(self, factors: Sequence[Array]) -> AnnealingState:
        """Return the state over factors."""
        return AnnealingState(self.inner.init(factors), numpy.array(0))

    def step(self, state: AnnealingState, rng: numpy.random.Generator) -> AnnealingState:
        """Return the state after a step."""
        beta = self.schedule(float(state.n_steps) * self.step_size)
        # In place, as the kernel's equation is this one.
        self.equation.beta[:] = check_betas(beta, len(self.equation.beta))
        return AnnealingState(self.inner.step(state.chains, rng), state.n_steps + 1)


def betas_of(beta: Any, n_chains: int) -> Any:
    """Return the inverse temperatures at the start: of all chains, or shape=[chains]."""
    if isinstance(beta, Ladder):
        return numpy.repeat(beta.betas, n_chains // len(beta.betas))
    if callable(beta):
        return numpy.full(n_chains, check_betas(function(beta, "beta")(0.0), n_chains))
    return check_betas(beta, n_chains)


def tempered(kernel: Kernel, equation: Equation, beta: Any, step_size: float) -> Kernel:
    """Return a kernel as it is at constant temperatures, else one over it."""
    if isinstance(beta, Ladder):
        return ReplicaExchange(kernel, equation, beta)
    return Annealing(kernel, equation, beta, step_size) if callable(beta) else kernel


def settings_of(beta: Any, n_chains: int, time: float) -> tuple[Any, ...]:
    """Return numbers and arrays that tell temperatures apart, over a time."""
    if isinstance(beta, Ladder):
        return (*beta.betas, beta.swap_every)
    if callable(beta):
        return tuple(check_betas(beta(t), n_chains) for t in numpy.linspace(0, time, 101))
    return (check_betas(beta, n_chains),)


def check_betas(beta: Any, n_chains: int) -> Any:
    """Return an inverse temperature of all chains, or those of each, after the checks."""
    if numpy.ndim(beta) == 0:
        return positive(beta, "beta")
    betas = host_array(beta, "beta")
    if betas.shape != (n_chains,) or not (betas > 0).all():
        raise ValueError(
            f"beta must be a positive number, or one for each of the {n_chains} chains, got "
            f"{beta!r}."
        )
    return betas
