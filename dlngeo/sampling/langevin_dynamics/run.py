"""The run of Langevin dynamics, and its result."""

import contextlib
import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy
from tqdm import tqdm

from dlngeo.core.base.arrays import Array
from dlngeo.core.base.checks import (
    choice,
    file_path,
    flag,
    generator,
    integer,
    nonnegative,
    positive,
)
from dlngeo.core.base.functions import optional_function
from dlngeo.core.networks.factors import Factors, is_network, layers_of
from dlngeo.outcomes import Ending, interruptible
from dlngeo.runs.outputs import hold_file
from dlngeo.sampling.convergence import Convergence, convergence_of
from dlngeo.sampling.energies import terms_of
from dlngeo.sampling.langevin_dynamics.chains import Chains
from dlngeo.sampling.langevin_dynamics.checkpoint import Checkpoint
from dlngeo.sampling.langevin_dynamics.equation import Equation
from dlngeo.sampling.langevin_dynamics.faces import check_component, face_of
from dlngeo.sampling.langevin_dynamics.fingerprints import code_of, values_around
from dlngeo.sampling.langevin_dynamics.infinite_depth import has_law
from dlngeo.sampling.langevin_dynamics.schemes import SCHEMES, kernel_of
from dlngeo.sampling.langevin_dynamics.temperatures import (
    Ladder,
    ReplicaExchange,
    Schedule,
    betas_of,
    settings_of,
    tempered,
)

PATIENCE = 20
"""A chain is stuck if so many steps in a row were rejected, or all of a shorter run."""

PER_CHAIN = (
    *("observables", "factors", "singular_values"),
    *("acceptance_rate", "n_reflections", "n_rejected"),
)
"""Fields of results that are arrays of chains, tuples of such, or None."""


@dataclass(frozen=True, eq=False)
class LangevinResult(Ending):
    """Chains of Langevin dynamics.

    Attributes
    ----------
    observables : array, shape=[chains, d_N, d_0], or None
        Last end-to-end matrices; None for chains of singular values.
    factors : factors with a leading axis of chains, or None
        Last factors, balanced, for chains of factors.
    singular_values : array, shape=[chains, r]
        Of the last end-to-end matrices, in descending order.
    trace : dict of str to array, shape=[chains, draws, ...]
        What was recorded along the chains.
    space : str
        On which matrices the chains have their law.
    n_steps : int
        Steps taken.
    depth : float
        ``N``.
    widths : tuple of int
        ``(d_0, ..., d_N)``; at infinite depth the two ends.
    beta : float, or array, shape=[chains]
        Inverse temperatures; of a schedule the last.
    kappa, step_size : float
    scheme : str
    save_every : int or None
    burn_in : int
        As they were given.
    acceptance_rate : array, shape=[chains], or None
        Share of proposals accepted, for the Metropolis scheme.
    n_reflections, n_rejected : array, shape=[chains]
        How often a step was reflected at the boundary, and how often one was rejected because it
        led where there is no finite state, energy or gradient.
    swap_rates : array, shape=[levels - 1], or None
        Share of exchanges accepted between neighbours, for a `Ladder`.
    n_passages : int, or None
        How many replicas came from the lowest to the highest ``β``: none, and the cold chains
        know nothing of the hot ones.
    is_stationary : bool
        Whether temperatures were constant, noise acted, and the energy has a Gibbs law, so that
        chains have a law to agree on.
    ending : str
        How the run ended; `status` says it too, and whether the chains agree.
    """

    observables: Array | None
    factors: Factors | None
    singular_values: Array
    trace: dict[str, Array]
    space: str = field(repr=False)  # which the status names
    n_steps: int
    depth: float
    widths: tuple[int, ...]
    beta: Any
    kappa: float
    step_size: float
    scheme: str
    save_every: int | None
    burn_in: int
    acceptance_rate: Array | None
    n_reflections: Array
    n_rejected: Array
    swap_rates: Array | None
    n_passages: int | None
    is_stationary: bool = field(repr=False)
    ending: str = field(repr=False)

    @cached_property
    def convergence(self) -> Convergence | None:
        """The worst diagnostics of what was recorded, if it was of a law; found when asked for.

        Of energy, singular values, and the sign of ``det`` of chains that may change it
        (`dlngeo.sampling.convergence`).
        """
        return convergence_of(self.trace, self.beta) if self.is_stationary else None

    @property
    def r_hat(self) -> float | None:
        """The largest R-hat."""
        return None if self.convergence is None else self.convergence.r_hat

    @property
    def effective_sample_size(self) -> float | None:
        """The least effective sample size."""
        return None if self.convergence is None else self.convergence.effective_sample_size

    @property
    def status(self) -> str:
        """How the run ended, whether its chains agree, and what to do if not."""
        found = self.convergence
        return self.ending if found is None else f"{self.ending} {found.status}"

    def at(self, beta: float) -> "LangevinResult":
        """Return the chains at a temperature, as a result.

        Raises
        ------
        ValueError
            If there are none.
        """
        beta = positive(beta, "beta")
        is_there = numpy.broadcast_to(self.beta, len(self.singular_values)) == beta
        if not is_there.any():
            known = ", ".join(f"{own:g}" for own in numpy.unique(self.beta))
            raise ValueError(f"no chain has beta={beta}: there are {known}.")

        def chosen(value: Any) -> Any:
            if isinstance(value, numpy.ndarray):
                return value[is_there]
            return tuple(map(chosen, value)) if isinstance(value, tuple) else value

        arrays = {name: chosen(getattr(self, name)) for name in PER_CHAIN}
        trace = {name: chosen(values) for name, values in self.trace.items()}
        return replace(
            self, **arrays, trace=trace, beta=float(beta), swap_rates=None, n_passages=None
        )


def langevin(
    energy_gradient: Callable[[Array], Any] | None = None,
    initial: Factors = None,
    *,
    depth: float | None = None,
    beta: float | Array | Ladder | Schedule,
    step_size: float,
    n_steps: int,
    kappa: float = 1.0,
    scheme: str = "euler-maruyama",
    energy: Callable[[Array], Any] | None = None,
    widths: Sequence[int] | None = None,
    rank: int | None = None,
    determinant: str | None = None,
    rng: numpy.random.Generator | int | None = None,
    save_every: int | None = None,
    burn_in: int = 0,
    record: Callable[[Array], dict[str, Any]] | None = None,
    checkpoint: str | Path | None = None,
    checkpoint_seconds: float = 30.0,
    progress: bool = False,
) -> LangevinResult:
    r"""Run chains of the Riemannian Langevin equation of a deep linear network.

    With the free energy ``F_β = E - S/β`` of end-to-end matrices, in the depth metric ``g``,

    .. math:: dX = -\mathrm{grad} F_β \, dt + dB^{β/κ},

    with Brownian motion of the generator ``(κ/β) Δ_g``. In the ambient space, for frames
    ``X = Q_N Σ Q_0^T``, this is the Itô equation

    .. math:: dX = -A_{N,X}(∇E) dt + \tfrac1β Q_N (Σ' + κ Σ'') Q_0^T dt
                   + \sqrt{2κ/β} \, Q_N (\sqrt{r_{kl}} \, dB_{kl})_{kl} Q_0^T,

    where ``Q_N Σ' Q_0ᵀ`` is the gradient of the entropy and ``Σ'' = diag((N-1) λ_k^{N-2})`` the Itô
    drift of ``Δ_g``. Its stationary law is ``e^{-(β/κ) F_β} dvol_g``. It has three faces, which the
    initial states choose: factors on the balanced manifold, whose vertical noise is the source of
    the entropy; end-to-end matrices; singular values, for an energy that depends on nothing else.
    Every shape, rank and depth serves; infinite depth of square matrices of full rank.

    Parameters
    ----------
    energy_gradient : callable, optional
        ``∇E`` of end-to-end matrices, of all chains at once: shape=[chains, d_N, d_0] to the
        same. For singular values ``∂E/∂σ``, shape=[chains, r] to the same, of values in
        descending order. By default it is found from the energy.
    initial : array-like
        Factors, shape=[chains, N, d, d] or a tuple of shape=[chains, d_p, d_{p-1}], which are
        balanced first, or a LinearNetwork, for one chain; or end-to-end matrices,
        shape=[chains, d_N, d_0]; or singular values, shape=[chains, r].
    depth : int or inf
        Depth ``N``; of factors it is their number. Infinite depth, with the metric scaled by ``N``,
        is of square matrices of full rank, by the scheme "euler-maruyama".
    beta : float, array-like of shape=[chains], callable, or Ladder
        Inverse temperature ``β`` of vertical noise, which the entropy comes from; of all chains
        or of each. Of the time ``t`` it is a schedule, for annealing. A `Ladder` is of replicas
        that exchange their states: every initial state starts a chain at each of its temperatures,
        and the chains of the result are those of the lowest ``β``, then of the next.
    step_size : float
        ``h``, time of a step. The noise of a step has the covariance ``2hκ/β`` in a
        ``g``-orthonormal frame.
    n_steps : int
    kappa : float
        ``κ ≥ 0``; the temperature of horizontal noise is ``κ/β``. Zero is the deterministic
        descent of the free energy.
    scheme : str
        "euler-maruyama", of weak order one, in depth-root coordinates or with a retraction of
        second order; "second-order", of weak order two, at some tenfold cost; "metropolis", whose
        law is exact in the limit of many steps.
    energy : callable, optional
        ``E``, to shape=[chains]; the Metropolis scheme needs it, and it is recorded. With its
        gradient as a method ``gradient``: a loss of `dlngeo.solvers`, a `SpectralEnergy` such as
        `WeightDecay`, which serves matrices and factors too, or their sum. Any other function is
        differentiated, by autograd, PyTorch or JAX (in single precision unless ``jax_enable_x64``
        is set); it gets arrays of its library.
    widths : sequence of int, optional
        Widths ``(d_0, ..., d_N)``, for matrices (hidden layers are ``min(d_0, d_N)`` wide by
        default) and singular values (all are ``r`` by default).
    rank : int, optional
        Rank of the end-to-end matrix, full by default.
    determinant : str, optional
        "positive" or "negative": of square matrices of full rank, the component to which chains are
        confined. By default they move between both, and their law is that of the whole space.
    rng : numpy.random.Generator or int, optional
        Random numbers, or a seed.
    save_every : int, optional
        Record every so many steps singular values, the energy where it is known, and the
        "determinant_sign" of chains that may change it; nothing by default, so that memory stays
        constant. The status says of four draws or more whether the chains agree.
    burn_in : int
        Steps at the beginning of which nothing is recorded.
    record : callable, optional
        What to record besides: from end-to-end matrices,
        shape=[chains, d_N, d_0], to a dictionary of arrays, shape=[chains, ...].
    checkpoint : path, optional
        NPZ file for the state, written whole or not at all. If the file is there, the run goes on
        from it, and gives the bits of the uninterrupted run. One run at a time holds it. If it
        cannot be written, as on a full disk, the run goes on, and the status says so at the end.
    checkpoint_seconds : float
        Time between checkpoints.
    progress : bool
        Whether to show a progress bar.

    Returns
    -------
    result : LangevinResult
        A step to where there is no finite state, energy or gradient is rejected, of that chain
        alone. If chains are stuck in this way, or the keyboard interrupts, there are the states
        up to there, with a status that says so.

    Raises
    ------
    ValueError
        If an argument does not fit, the gradient is not finite at a start, or the checkpoint is in
        use, no checkpoint, or of another run: of other settings, seed or version, or of an energy
        or gradient with other values at the start or at multiples of it. (Of code that differs
        otherwise the status tells: it may be the same function in other words.)

    Notes
    -----
    Matrices of a shape and rank are one space, but for square ones of full rank, which are of two
    components, of either sign of ``det X``. They meet where a singular value vanishes, and there
    chains cross: in depth-root coordinates ``Y`` the volume is a multiple of ``dY`` on both sides,
    and noise and drift are continuous, so that at depth one this is plain Langevin dynamics. A
    chain that is confined is reflected there (the Metropolis scheme rejects what crosses).
    Singular values know no sign of ``det``: their law is that of both components.
    At infinite depth the components are infinitely far apart, and chains go from one to the other
    by jumps ``X → X - 2σ_d u_d v_dᵀ``, accepted with ``e^{-(β/κ)ΔE}``. There the volume is infinite
    towards ``det X = 0``, so that only an energy that rises there, such as ``½ Σ log² σ_k``, has a
    Gibbs law; without, chains that are confined run away, and the status says so.
    Of factors, the signs of ``det W_p`` are gauge but for that of their product.

    References
    ----------
    [MY25]; [Men24] for two temperatures; [YZLMZ23]; THEORY 4.

    Examples
    --------
    Of ``½‖X‖²`` at depth three; and at infinite depth, with ``½ Σ log² σ_k`` to confine the chains:

    >>> import numpy
    >>> from dlngeo.sampling import SpectralExpression, langevin
    >>> start = numpy.random.default_rng(0).normal(size=(20, 2, 2))
    >>> run = {"initial": start, "beta": 2.0, "step_size": 0.01, "n_steps": 100, "rng": 0}
    >>> result = langevin(lambda matrix: matrix, depth=3, **run)
    >>> result.observables.shape, result.success
    ((20, 2, 2), True)
    >>> energy = SpectralExpression("s**2 / 2 + log(s)**2 / 2", depth=numpy.inf)
    >>> langevin(energy=energy, depth=numpy.inf, **run).space
    '2 x 2 matrices of rank 2 at infinite depth with either sign of the determinant'
    """
    n_steps = integer(n_steps, "n_steps")
    save_every = None if save_every is None else integer(save_every, "save_every")
    burn_in = integer(burn_in, "burn_in", least=0)
    step_size = positive(step_size, "step_size")
    kappa = nonnegative(kappa, "kappa")
    choice(scheme, "scheme", SCHEMES)
    record, progress = optional_function(record, "record"), flag(progress, "progress")
    if initial is None:
        raise ValueError("the initial states are missing: give initial=.")
    if is_network(initial):
        initial = tuple(layer[None] for layer in layers_of(initial))
    face = face_of(initial, depth, widths, rank)
    if isinstance(beta, Ladder):
        face = face.repeated(len(beta.betas))
    n_chains = len(face.start[0])
    betas = betas_of(beta, n_chains)
    like = initial[0] if isinstance(initial, tuple | list) else initial
    like = face.points if isinstance(like, tuple | list) else like
    value, slope, spectral = terms_of(energy, energy_gradient, face.points, like)
    equation = Equation(
        slope, face.widths, face.rank, betas, kappa, face.is_spectral, value, spectral, determinant,
        face.is_infinite,
    )  # fmt: skip
    check_component(face, equation)
    kernel = kernel_of(scheme, face, equation, step_size)
    kernel = tempered(kernel, equation, beta, step_size)
    random = generator(rng)
    chains = Chains(kernel, equation, face.start, random, n_steps, save_every, burn_in, record)
    with contextlib.ExitStack() as held:
        store = None
        if checkpoint is not None:
            numbers = (n_steps, save_every, burn_in, kappa, step_size)
            heat = settings_of(beta, n_chains, n_steps * step_size)
            store = Checkpoint(
                held.enter_context(hold_file(file_path(checkpoint, "checkpoint"))),
                (face.name, scheme, determinant, *numbers, heat, chains.names, *face[1:]),
                None if rng is None else random.bit_generator.state,
                nonnegative(checkpoint_seconds, "checkpoint_seconds"),
                code_of((energy, energy_gradient, record)),
                functools.partial(values_around, equation, chains.frames),
            )
            store.restore(chains.load)
        trouble, interrupted = _advance(chains, n_steps, store, progress)
    factors: Factors = None
    with numpy.errstate(over="ignore", invalid="ignore"):  # of chains that have left
        frames = chains.frames
        observables = None if face.is_spectral else frames.with_values(frames.sigma)
        if face.is_of_factors:
            factors = kernel.factors(chains.state)
            factors = numpy.stack(factors, axis=1) if face.is_stacked else tuple(factors)
    counts = kernel.counts(chains.state)
    zeros = numpy.zeros(len(frames.sigma), dtype=int)
    n_reflections = counts.get("n_reflections", zeros)
    n_rejected = counts.get("n_rejected", zeros)
    n_accepted = counts.get("n_accepted")
    stuck = chains.n_stuck >= min(PATIENCE, chains.n_steps)
    if not interrupted and stuck.any():
        trouble = (
            f"{stuck.sum()} of {len(stuck)} chains were stuck after {chains.n_steps} of {n_steps} "
            "steps, as there is no finite state or gradient where they go: take a smaller "
            "step_size, or correct the energy."
        )
    ending = trouble or f"took {n_steps} steps on {equation.space}."
    if n_reflections.any():
        ending += f" The boundary turned chains back {n_reflections.sum()} times."
    if n_rejected.any():
        ending += f" Steps that led nowhere were rejected {n_rejected.sum()} times."
    if save_every is not None and not chains.trace:
        ending += " Nothing was recorded: save_every and burn_in leave no draw."
    is_stationary = kappa > 0 and (isinstance(beta, Ladder) or not callable(beta))
    if face.is_infinite and not has_law(equation, frames):
        is_stationary = False
        ending += " There is no Gibbs law: the energy does not rise towards det X = 0."
    if store is not None:
        ending += store.remarks
    exchanges: dict[str, Any] = {"swap_rates": None, "n_passages": None}
    if isinstance(kernel, ReplicaExchange):
        exchanges["swap_rates"] = kernel.swap_rates(chains.state)
        exchanges["n_passages"] = int(chains.state.n_passages.sum())
    return LangevinResult(
        observables=observables,
        factors=factors,
        singular_values=frames.sigma,
        trace=chains.trace,
        space=equation.space,
        n_steps=chains.n_steps,
        depth=face.depth,
        widths=face.widths,
        beta=betas,
        kappa=kappa,
        step_size=step_size,
        scheme=scheme,
        save_every=save_every,
        burn_in=burn_in,
        acceptance_rate=None if n_accepted is None else n_accepted / max(chains.n_steps, 1),
        n_reflections=n_reflections,
        n_rejected=n_rejected,
        **exchanges,
        is_stationary=is_stationary,
        ending=ending,
        success=not trouble,
        interrupted=interrupted,
    )


def _advance(
    chains: Chains, n_steps: int, store: Checkpoint | None, progress: bool
) -> tuple[str, bool]:
    """Take the steps that are left; tell how the keyboard stopped them, and whether it did."""
    bar = tqdm(
        desc="langevin",
        total=n_steps,
        initial=chains.n_steps,
        disable=not progress,
        leave=None,  # under the bar of an ensemble it goes when it is full
    )
    quiet = numpy.errstate(over="ignore", invalid="ignore", divide="ignore")
    with interruptible() as interruption, bar, quiet:
        while chains.n_steps < n_steps:
            chains.advance()
            bar.update()
            if store is not None and store.is_due():
                store.save(chains.pack())
            if chains.n_stuck.min() >= PATIENCE:
                break
    # A second interrupt ends the writing, and nothing else.
    with interruptible() as late:
        if store is not None:
            store.save(chains.pack())
    chains.rewind()
    if not interruption.happened and not late.happened:
        return "", False
    remedy = (
        "start again from the last states to go on."
        if store is None
        else "call again with the same arguments to go on from the checkpoint."
    )
    return f"interrupted after {chains.n_steps} of {n_steps} steps: {remedy}", True
