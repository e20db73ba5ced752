"""The driver of Langevin dynamics: faces, schemes, traces, progress, checkpoints."""

import functools
import json
import math
import operator
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy
from tqdm import tqdm

from dlngeo.core.base.arrays import Array, to_numpy
from dlngeo.core.base.checks import real_array
from dlngeo.core.networks.balancing import balance
from dlngeo.core.networks.factors import Factors, check_widths, layers_of, network_shape, widths_of
from dlngeo.core.networks.frames import SingularFrames, exact_frames, singular_frames
from dlngeo.core.networks.network import end_to_end
from dlngeo.sampling.langevin_dynamics.checkpoint import Checkpoint, as_text
from dlngeo.sampling.langevin_dynamics.equation import Diverged, Equation
from dlngeo.sampling.langevin_dynamics.factor_steps import (
    FactorEulerMaruyama,
    FactorState,
    SecondOrder,
    random_factors,
)
from dlngeo.sampling.langevin_dynamics.matrix_steps import EulerMaruyama, observable_frames
from dlngeo.sampling.langevin_dynamics.metropolis import Metropolis, MetropolisState

SCHEMES = ("euler-maruyama", "second-order", "metropolis")


@dataclass(frozen=True, eq=False)
class LangevinResult:
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
    n_steps : int
        Steps taken.
    widths : tuple of int
        ``(d_0, ..., d_N)``.
    beta, kappa, step_size : float
    scheme : str
    save_every : int or None
        As they were given.
    acceptance_rate : array, shape=[chains], or None
        Share of proposals accepted, for the Metropolis scheme.
    n_reflections, n_rejected : array, shape=[chains]
        How often a step was reflected at the boundary, or rejected there.
    success, interrupted : bool
        Whether all steps were taken; whether the keyboard stopped them.
    status : str
        How it ended, and what to do if it did not succeed.
    """

    observables: Array | None
    factors: Factors | None
    singular_values: Array
    trace: dict[str, Array]
    n_steps: int
    widths: tuple[int, ...]
    beta: float
    kappa: float
    step_size: float
    scheme: str
    save_every: int | None
    acceptance_rate: Array | None
    n_reflections: Array
    n_rejected: Array
    success: bool
    interrupted: bool
    status: str


def langevin(
    energy_gradient: Callable[[Array], Any],
    initial: Factors,
    *,
    depth: int | None = None,
    beta: float,
    step_size: float,
    n_steps: int,
    kappa: float = 1.0,
    scheme: str = "euler-maruyama",
    energy: Callable[[Array], Any] | None = None,
    widths: Sequence[int] | None = None,
    rank: int | None = None,
    rng: numpy.random.Generator | int | None = None,
    save_every: int | None = None,
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
    Every shape, rank and finite depth serves.

    Parameters
    ----------
    energy_gradient : callable
        ``∇E`` of end-to-end matrices, of all chains at once: shape=[chains, d_N, d_0] to the
        same. For singular values ``∂E/∂σ``, shape=[chains, r] to the same, of values in
        descending order.
    initial : array-like
        Factors, shape=[chains, N, d, d] or a tuple of shape=[chains, d_p, d_{p-1}], which are
        balanced first; or end-to-end matrices, shape=[chains, d_N, d_0]; or singular values,
        shape=[chains, r].
    depth : int
        Depth ``N``; of factors it is their number.
    beta : float
        Inverse temperature ``β`` of vertical noise, which the entropy comes from.
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
        law is exact in the limit of many steps (of factors, the hidden frames of a state are then
        drawn independently from the uniform law of the orbit).
    energy : callable, optional
        ``E``, to shape=[chains]; the Metropolis scheme needs it, and it is recorded.
    widths : sequence of int, optional
        Widths ``(d_0, ..., d_N)``, for matrices (hidden layers are ``min(d_0, d_N)`` wide by
        default) and singular values (all are ``r`` by default).
    rank : int, optional
        Rank of the end-to-end matrix, full by default.
    rng : numpy.random.Generator or int, optional
        Random numbers, or a seed.
    save_every : int, optional
        Record every so many steps; nothing by default, so that memory stays constant.
    record : callable, optional
        What to record besides "singular_values" and "energy": from end-to-end matrices,
        shape=[chains, d_N, d_0], to a dictionary of arrays, shape=[chains, ...].
    checkpoint : path, optional
        NPZ file for the state, written whole or not at all. If the file is there, the run goes on
        from it, and gives the bits of the uninterrupted run.
    checkpoint_seconds : float
        Time between checkpoints.
    progress : bool
        Whether to show a progress bar.

    Returns
    -------
    result : LangevinResult
        If a chain leaves every bound, or the keyboard interrupts, the states up to there, with a
        status that says so.

    Raises
    ------
    ValueError
        If an argument does not fit, or the checkpoint is of another run.

    Notes
    -----
    At the boundary, where a singular value vanishes, chains are reflected: they keep the rank,
    and the sign of ``det X`` if there is one. The Metropolis scheme rejects what crosses it.
    Chains of factors deeper than five, but for the Metropolis scheme, also reject what round-off
    cannot tell from a lower rank, which cuts some percents of the law off.

    References
    ----------
    [MY25]; [Men24] for two temperatures; [YZLMZ23]; THEORY 4.
    """
    n_steps = _count(n_steps, "n_steps")
    save_every = None if save_every is None else _count(save_every, "save_every")
    for name, number in {"beta": beta, "step_size": step_size}.items():
        if not 0 < number < math.inf:
            raise ValueError(f"{name} must be positive and finite, got {number}.")
    if not 0 <= kappa < math.inf:
        raise ValueError(f"kappa must be at least zero and finite, got {kappa}.")
    if scheme not in SCHEMES:
        raise ValueError(f"scheme must be one of {', '.join(SCHEMES)}, got {scheme!r}.")
    if scheme == "metropolis" and (energy is None or kappa == 0):
        raise ValueError("the Metropolis scheme needs the energy (energy=) and kappa > 0.")
    face = _face(initial, depth, widths, rank)
    is_spectral = face.name == "singular values"
    equation = Equation(energy_gradient, face.widths, face.rank, beta, kappa, is_spectral, energy)
    chains = _Chains(face, scheme, equation, step_size, save_every, record, rng, n_steps)
    store = None
    if checkpoint is not None:
        numbers = (n_steps, save_every, float(beta), float(kappa), float(step_size))
        settings = (face.name, scheme, *numbers, chains.names, *face[1:])
        seed = None if rng is None else chains.random.bit_generator.state
        store = Checkpoint(Path(checkpoint), settings, seed, checkpoint_seconds)
        chains.load(store.read())
    interrupted, trouble = False, ""
    bar = tqdm(
        desc="langevin",
        total=n_steps,
        initial=chains.n_steps,
        disable=not progress,
        leave=None,  # under the bar of an ensemble it goes when it is full
    )
    try:
        with bar, numpy.errstate(over="ignore", invalid="ignore", divide="ignore"):
            while chains.n_steps < n_steps:
                chains.advance()
                bar.update()
                if store is not None and store.is_due():
                    store.write(chains.packed())
    except KeyboardInterrupt:
        interrupted = True
    except Diverged as error:
        trouble = f"stopped after {chains.n_steps} of {n_steps} steps: {error}"
    if store is not None:
        store.write(chains.packed())
    if interrupted:
        trouble = f"interrupted after {chains.n_steps} of {n_steps} steps: "
        trouble += (
            "start again from the last states to go on."
            if store is None
            else "call again with the same arguments to go on from the checkpoint."
        )
    with numpy.errstate(over="ignore", invalid="ignore"):  # of chains that have left
        return chains.result(trouble, interrupted)


def _count(number: int, name: str) -> int:
    try:
        count = operator.index(number)
    except TypeError:
        count = 0
    if count < 1:
        raise ValueError(f"{name} must be a positive integer, got {number!r}.")
    return count


class _Face(NamedTuple):
    """Where chains live: what their initial states are, and the network."""

    name: str
    widths: tuple[int, ...]
    rank: int
    start: tuple[Array, ...]
    is_stacked: bool = False


def _face(initial: Any, depth: int | None, widths: Sequence[int] | None, rank: int | None) -> _Face:
    """Return the face that initial states are of, and the states as NumPy arrays."""
    if isinstance(initial, tuple | list):
        layers = tuple(_on_host(layer, "a factor") for layer in initial)
        dimensions = [layer.ndim for layer in layers]
        if dimensions != [3] * max(len(layers), 1):
            raise ValueError(
                "factors of chains must be a tuple of arrays [chains, d_p, d_{p-1}], got shapes "
                f"{[layer.shape for layer in layers]}: give one array for matrices or singular "
                "values, and one chain as [1, ...]."
            )
        return _factor_face(layers, False, depth, widths, rank)
    array = _on_host(initial, "the initial state")
    if array.ndim == 4:
        layers = tuple(array[:, p] for p in range(array.shape[1]))
        return _factor_face(layers, True, depth, widths, rank)
    if array.ndim not in (2, 3) or array.size == 0:
        raise ValueError(
            "initial must be factors [chains, N, d, d], end-to-end matrices [chains, d_N, d_0] or "
            f"singular values [chains, r], got shape {array.shape}: one chain is [1, ...]."
        )
    if depth is None:
        raise ValueError("matrices and singular values need the depth of the network: give depth=.")
    if array.ndim == 3:
        widths, rank = network_shape(array, depth, widths, rank)
        exact_frames(array, rank)
        return _Face("observables", widths, rank, (array,))
    if not (array > 0).all():
        raise ValueError(
            "an array [chains, r] holds singular values, which must be positive: give one matrix "
            "as [1, d_N, d_0]."
        )
    n_values = array.shape[1]
    if rank not in (None, n_values):
        raise ValueError(f"there are {n_values} singular values: leave out rank={rank}.")
    rows, columns = (n_values, n_values) if widths is None else (widths[-1], widths[0])
    matrix = numpy.zeros((len(array), rows, columns))
    diagonal = numpy.arange(min(n_values, rows, columns))
    matrix[:, diagonal, diagonal] = array[:, : len(diagonal)]
    widths, rank = network_shape(matrix, depth, widths, n_values)
    return _Face("singular values", widths, rank, (matrix,))


def _on_host(array: Any, name: str) -> Array:
    """Return an array of any library, or a nested sequence, as a checked one of NumPy's."""
    if isinstance(array, tuple | list):
        array = numpy.asarray(array)
    return to_numpy(real_array(array, name))


def _factor_face(
    layers: tuple[Array, ...],
    is_stacked: bool,
    depth: int | None,
    widths: Sequence[int] | None,
    rank: int | None,
) -> _Face:
    if depth not in (None, len(layers)):
        raise ValueError(f"there are {len(layers)} factors: leave out depth={depth}.")
    own, rank = check_widths(widths_of(layers), rank)
    if widths is not None and tuple(widths) != own:
        raise ValueError(f"the factors have the widths {own}: leave out widths={widths}.")
    if len({len(layer) for layer in layers}) > 1:
        raise ValueError(f"factors of {[len(layer) for layer in layers]} chains: give one number.")
    layers = layers_of(balance(layers, rank))
    exact_frames(end_to_end(layers), rank)
    return _Face("factors", own, rank, layers, is_stacked)


class _Chains:
    """Chains on their way: kernel, state, random numbers and trace."""

    def __init__(
        self,
        face: _Face,
        scheme: str,
        equation: Equation,
        step_size: float,
        save_every: int | None,
        record: Callable | None,
        rng: Any,
        n_steps: int,
    ):
        self.face, self.equation, self.step_size = face, equation, step_size
        self.scheme, self.save_every, self.record = scheme, save_every, record
        self.random = numpy.random.default_rng(rng)
        is_of_factors = face.name == "factors"
        kernels: dict[str, Callable[..., Any]] = {
            "euler-maruyama": FactorEulerMaruyama if is_of_factors else EulerMaruyama,
            "second-order": functools.partial(SecondOrder, has_vertical_noise=is_of_factors),
            "metropolis": Metropolis,
        }
        self.kernel = kernels[scheme](equation, step_size)
        start: Any = face.start
        if not is_of_factors:
            (start,) = start
        elif scheme == "metropolis":
            start = end_to_end(start)
        state = self.kernel.init(start)
        # In one place, so that an interrupt finds a state and its random numbers together.
        self.now: tuple[Any, int, Any] = (state, 0, self.random.bit_generator.state)
        self.n_draws = 0 if save_every is None else n_steps // save_every
        self.trace: dict[str, Array] = {}
        with numpy.errstate(over="ignore", invalid="ignore", divide="ignore"):
            self.names = tuple(self._measured(state))

    @property
    def n_steps(self) -> int:
        """Steps taken."""
        return self.now[1]

    def advance(self) -> None:
        """Take a step, and record."""
        state = self.kernel.step(self.now[0], self.random)
        n_steps = self.n_steps + 1
        if self.save_every is not None and n_steps % self.save_every == 0:
            for name, values in self._measured(state).items():
                if name not in self.trace:
                    shape = (len(values), self.n_draws, *values.shape[1:])
                    self.trace[name] = numpy.full(shape, math.nan)
                self.trace[name][:, n_steps // self.save_every - 1] = values
        # Last, so that a step that was interrupted while it was recorded is taken again.
        self.now = (state, n_steps, self.random.bit_generator.state)

    def _frames(self, state: Any) -> SingularFrames:
        """Return the end-to-end matrices in singular frames, with descending values."""
        depth = self.equation.depth
        if isinstance(state, FactorState):
            return singular_frames(end_to_end(state.layers), self.equation.rank)
        frames = observable_frames(state.root, depth)
        order = numpy.argsort(-frames.sigma, axis=-1)
        return SingularFrames(
            numpy.take_along_axis(frames.left, order[:, None], -1),
            numpy.take_along_axis(frames.sigma, order, -1),
            numpy.take_along_axis(frames.right, order[:, None], -1),
        )

    def _measured(self, state: Any) -> dict[str, Array]:
        """Return what is to be recorded of the states."""
        frames = self._frames(state)
        values = {"singular_values": frames.sigma}
        if self.equation.energy is not None:
            values["energy"] = self.equation.values(frames)
        if self.record is not None:
            point = frames.sigma
            if not self.equation.is_spectral:
                point = frames.with_values(frames.sigma)
            for name, array in self.record(point).items():
                values[name] = numpy.asarray(array, dtype=float)
                if values[name].shape[:1] != (len(point),):
                    raise ValueError(
                        f"record must give arrays [chains, ...] of {len(point)} chains, got "
                        f"{values[name].shape} for {name!r}."
                    )
        return values

    def packed(self) -> dict[str, Array]:
        """Return all that is needed to go on, as arrays."""
        state, n_steps, random = self.now
        arrays = {f"state.{name}": value for name, value in _named(state).items()}
        arrays |= {f"trace.{name}": value for name, value in self.trace.items()}
        return arrays | {"n_steps": n_steps, "random": as_text(random)}

    def load(self, arrays: dict[str, Array] | None) -> None:
        """Go on from what `packed` returned."""
        if arrays is None:
            return
        state = self.now[0]
        fields: dict[str, Any] = {}
        for name, value in zip(state._fields, state, strict=True):
            if isinstance(value, tuple):
                fields[name] = tuple(arrays[f"state.{name}.{p}"] for p in range(len(value)))
            else:
                fields[name] = arrays[f"state.{name}"]
        random = json.loads(str(arrays["random"]))
        self.random.bit_generator.state = random
        self.now = (type(state)(**fields), int(arrays["n_steps"]), random)
        prefix = "trace."
        self.trace = {k.removeprefix(prefix): v for k, v in arrays.items() if k.startswith(prefix)}

    def result(self, trouble: str, interrupted: bool) -> LangevinResult:
        """Return where the chains are."""
        state, n_steps, random = self.now
        self.random.bit_generator.state = random
        frames = self._frames(state)
        zeros = numpy.zeros(len(frames.sigma), dtype=int)
        n_reflections = getattr(state, "n_reflections", zeros)
        n_rejected = getattr(state, "n_rejected", zeros)
        acceptance = None
        if isinstance(state, MetropolisState):
            acceptance = state.n_accepted / max(n_steps, 1)
        observables = None if self.equation.is_spectral else frames.with_values(frames.sigma)
        factors: Any = None
        if self.face.name == "factors":
            factors = (
                state.layers
                if isinstance(state, FactorState)
                else random_factors(frames, self.equation.widths, self.random)
            )
            if self.face.is_stacked:
                factors = numpy.stack(factors, axis=1)
        n_draws = 0 if self.save_every is None else n_steps // self.save_every
        n_boundary = int((n_reflections + n_rejected).sum())
        status = trouble or f"took {n_steps} steps."
        if n_boundary:
            status += f" The boundary turned chains back {n_boundary} times."
        return LangevinResult(
            observables=observables,
            factors=factors,
            singular_values=frames.sigma,
            trace={name: values[:, :n_draws] for name, values in self.trace.items()},
            n_steps=n_steps,
            widths=self.equation.widths,
            beta=self.equation.beta,
            kappa=self.equation.kappa,
            step_size=self.step_size,
            scheme=self.scheme,
            save_every=self.save_every,
            acceptance_rate=acceptance,
            n_reflections=n_reflections,
            n_rejected=n_rejected,
            success=not trouble,
            interrupted=interrupted,
            status=status,
        )


def _named(state: Any) -> dict[str, Array]:
    """Return the arrays of a state by names."""
    arrays: dict[str, Array] = {}
    for name, value in state._asdict().items():
        parts = {f"{name}.{p}": part for p, part in enumerate(value)}
        arrays |= parts if isinstance(value, tuple) else {name: value}
    return arrays
