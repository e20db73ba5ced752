r"""Matrix completion by deep linear networks, with early stopping on held-out entries.

The missing entries of a matrix are filled by descending

.. math:: E(X) = \tfrac12 \sum_{(i,j) ∈ Ω} (X_{ij} - Y_{ij})^2, \quad X = W_N \cdots W_1,

from a small balanced start: by the gradient flow of the network, or by a Riemannian optimiser
on matrices of low rank with the depth metric, which is the same descent in long steps. Depth is
what ties the entries together: the flow of depth 1 leaves the missing ones where they are, and
from depth 2 on the singular values are learned one after the other, the large ones first
([CMV22]; THEORY 3).
"""

import itertools
import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy
import scipy.sparse
from scipy.special import boxcox
from sklearn.utils.extmath import randomized_svd

from dlngeo.core.base.arrays import Array
from dlngeo.core.base.checks import choice, flag, instance
from dlngeo.core.base.memory import BYTES_PER_NUMBER, check_memory
from dlngeo.core.networks.balancing import factors_over
from dlngeo.core.networks.factors import Factors, check_depth, check_rank, check_shape
from dlngeo.core.networks.frames import SingularFrames
from dlngeo.core.networks.network import end_to_end
from dlngeo.losses.observed_entries import SparseMatrixCompletion
from dlngeo.manifolds.pymanopt.deep_fixed_rank import DeepFixedRank, FactoredPoint
from dlngeo.outcomes import Outcome
from dlngeo.solvers.entries import Entries
from dlngeo.solvers.learning import FlowResult, learning_flow
from dlngeo.solvers.least_squares import LeastSquaresProblem
from dlngeo.solvers.optimization import SOLVERS, minimize
from dlngeo.thermodynamics.boltzmann_entropy import spectral_entropy

START = 0.01
"""Singular values of the start, in units of those of the data."""

LEAST = 1e-12
"""Singular values of the start below this part of the largest one are zero to round-off."""

SAVED_PER_STAGE, MAX_STAGES = 20, 10

MAX_ITERATIONS = 300

TOLERANCE = 1e-6
"""Of the optimisers: part of the first gradient at which they have converged."""

RISE, PATIENCE = 1.1, 5
"""The descent ends when the held-out error has been higher than its least value by this factor, in
this many states in a row,"""

FITTED, EXACT = 1e-3, 1e-6
"""or when the training error has fallen to the first part of its first value and the held-out error
does not follow it, or to the second,"""

FOLLOWS = 0.9
"""which is to fall to this part in `PATIENCE` states,"""

SETTLED = 1e-4
"""or when doubling the time of a flow has lowered the loss by less than this part."""

SMALL = 1000
"""A matrix costs less than factors up to this number of products, ``mn min(m, n)``, over ``N²``."""

LARGEST_FLOW = 10**7
"""Number of entries of a matrix above which the flow, which holds all of them, is refused."""


@dataclass(frozen=True, eq=False)
class Completion(Outcome):
    """A completed matrix ``mean + L Rᵀ``, and the descent that found it.

    It succeeds if the descent ends before its stages or iterations do.

    Attributes
    ----------
    depth, rank : int
        ``N``, and the width of the hidden layers.
    solver : str
    mean : float
    factors : tuple of array, shape=[m, k], shape=[n, k]
        ``L`` and ``R`` where the descent stopped, in the units of the data; of a flow, which
        holds the whole matrix, the product ``L Rᵀ`` alone.
    stop : int
        Index of the stopping time, at which the held-out error is least.
    times : array, shape=[t]
        Times of the flow, in units of the largest singular value of the data; or the numbers of
        the iterations.
    training_error, held_out_error : array, shape=[t]
        Root mean squares, in the units of the data.
    singular_values : array, shape=[t, r]
        Of ``L Rᵀ``, in units of the largest one of the data.
    entropy : array, shape=[t], or None
        Boltzmann entropy in nats; None if the start has a rank below ``r``.
    n_evaluations : int
        Evaluations of the velocity, or iterations.
    seconds : float
    """

    depth: int
    rank: int
    solver: str
    mean: float
    factors: tuple[Array, ...]
    stop: int
    times: Array
    training_error: Array
    held_out_error: Array
    singular_values: Array
    entropy: Array | None
    n_evaluations: int
    seconds: float

    @property
    def matrix(self) -> Array:
        """The completed matrix, shape=[m, n]."""
        return self.mean + (
            self.factors[0] if len(self.factors) == 1 else self.factors[0] @ self.factors[1].T
        )

    def at(self, rows: Array, columns: Array) -> Array:
        """Return entries of the completed matrix, shape=[k]."""
        return self.mean + _entries(self.factors, rows, columns)


def _entries(factors: tuple[Array, ...], rows: Array, columns: Array) -> Array:
    if len(factors) == 1:
        return factors[0][rows, columns]
    return numpy.einsum("ek,ek->e", factors[0][rows], factors[1][columns])


def _each(flow: FlowResult) -> Iterator[Array]:
    """Return the end-to-end matrices of a flow, one by one: all may be much larger than factors."""
    if flow.factors is None:
        return iter(flow.states)
    return map(end_to_end, zip(*flow.states, strict=True))


def _places(entries: Entries, shape: tuple[int, int]) -> Array:
    return numpy.asarray(entries.rows, dtype=numpy.int64) * shape[1] + entries.columns


class _State(NamedTuple):
    """A point of a descent, in units in which the data have spectral norm one."""

    time: float
    loss: float  # over that of the averages of entries that are given several times
    singular_values: Array
    factors: tuple[Array, ...]


class _Descent:
    """A descent in units in which the data have spectral norm one, and what is kept of it.

    Attributes
    ----------
    history : list of _State
        Without their factors, which are large.
    errors : list of float
        Root mean squares of the held-out entries.
    answer : tuple of array
        Factors of the state with the least error.
    reason : str
        Why the descent ended; empty if it has not.
    """

    def __init__(
        self,
        training: Entries,
        held_out: Entries,
        shape: tuple[int, int],
        depth: int,
        rank: int,
        center: bool,
    ):
        self._shape, self._depth, self._rank = shape, depth, rank
        averages, n_copies = training.averaged()
        # The mean in units of the largest entry, so that sums do not overflow.
        self._unit = abs(averages.values).max()
        self._shift = (training.values / self._unit).mean() if center else 0.0
        values = averages.values / self._unit - self._shift
        matrix = scipy.sparse.coo_array((values, averages[:2]), shape).tocsr()
        left, sigma, right = randomized_svd(matrix, rank, random_state=0)
        self._norm = sigma[0]
        self._start = SingularFrames(left, START * sigma / sigma[0], right.T)
        self._loss = SparseMatrixCompletion(*self._in_units(training), shape)
        # So that the flow of entries that are all given twice is the same.
        self._loss.weight = 1 / n_copies.mean()
        self._loss_of_averages = self._loss.weight / 2 * self._in_units(training).variation
        self.n_entries = n_copies.size
        self._held_out, self._n_copies = self._in_units(held_out).averaged()
        self.history: list[_State] = []
        self.errors: list[float] = []
        self.answer: tuple[Array, ...] = ()
        self.reason = ""

    def _in_units(self, entries: Entries) -> Entries:
        """Return entries in units in which the data have spectral norm one."""
        return entries._replace(values=(entries.values / self._unit - self._shift) / self._norm)

    @property
    def mean(self) -> float:
        """Mean that is taken off the data."""
        return float(self._unit * self._shift)

    @property
    def scale(self) -> float:
        """Spectral norm of what is left, the unit of the descent."""
        return float(self._unit * self._norm)

    @property
    def widths(self) -> tuple[int, ...]:
        """Widths of the network."""
        return (self._shape[1], *[self._rank] * (self._depth - 1), self._shape[0])

    def ends_at(self, state: _State) -> bool:
        """Keep a state, and tell whether the descent ends there."""
        state = state._replace(loss=max(state.loss - self._loss_of_averages, 0.0))
        rows, columns, values = self._held_out
        error = _entries(state.factors, rows, columns) - values
        self.errors.append(math.sqrt(numpy.average(error**2, weights=self._n_copies)))
        errors, least = self.errors, min(self.errors)
        if errors[-1] == least:
            self.answer = state.factors
        self.history.append(state._replace(factors=()))
        fitted = math.sqrt(state.loss / self.history[0].loss)
        is_following = errors[-1] < FOLLOWS * errors[max(len(errors) - 1 - PATIENCE, 0)]
        if len(errors) > PATIENCE and min(errors[-PATIENCE:]) > RISE * least:
            self.reason = "the held-out error has risen"
        elif fitted < EXACT or (fitted < FITTED and not is_following):
            self.reason = "the training entries are fitted"
        return bool(self.reason)

    def follow_flow(self, progress: bool) -> int:
        """Follow the gradient flow of the network, and return the number of evaluations."""
        state, options = self._upstairs_or_downstairs()
        n_evaluations = 0
        # In this time λ' = λ^{N-1} takes the leading singular value from the start to one.
        clock, duration = 0.0, -float(boxcox(START ** (1 / self._depth), 2.0 - self._depth))
        for stage in range(MAX_STAGES):
            flow = learning_flow(
                self._loss,
                state,
                t_final=duration,
                n_saved=SAVED_PER_STAGE,
                progress=progress,
                **options,
            )
            if flow.interrupted:
                raise KeyboardInterrupt
            if not flow.success:
                raise RuntimeError(f"depth {self._depth}: {flow.status}")
            n_evaluations += flow.n_evaluations
            columns = zip(flow.times, flow.loss, flow.singular_values, _each(flow), strict=True)
            # The first state is the last one of the stage before.
            for t, value, sigma, matrix in itertools.islice(columns, min(stage, 1), None):
                if self.ends_at(_State(clock + t, value, sigma, (matrix,))):
                    return n_evaluations
            if stage > 0 and flow.loss[-1] > (1 - SETTLED) * flow.loss[0]:
                self.reason = "the flow has settled"
                break
            is_upstairs = flow.factors is not None
            state = tuple(layer[-1] for layer in flow.states) if is_upstairs else flow.states[-1]
            clock = duration = clock + duration
        return n_evaluations

    def _upstairs_or_downstairs(self) -> tuple[Factors, dict[str, Any]]:
        """Return the start of the flow, and what tells its network: factors, or a matrix.

        They are the same flow, as the start is balanced; the matrix, which is decomposed in every
        step, costs less where it is small or the layers are many.
        """
        n_products = math.prod(self._shape) * min(self._shape)
        if self._depth == 1 or n_products > SMALL * self._depth**2:
            return factors_over(self._start, self.widths), {"rank": self._rank}
        rank = self._start_rank
        start = SingularFrames(
            self._start.left[:, :rank], self._start.sigma[:rank], self._start.right[:, :rank]
        )
        return start.with_values(start.sigma), {"depth": self._depth, "rank": rank}

    @property
    def _start_rank(self) -> int:
        """Rank of the start, which no descent leaves; of few entries it may be a lower one."""
        return int((self._start.sigma > LEAST * self._start.sigma[0]).sum())

    def optimise(self, solver: str, progress: bool) -> int:
        """Run a Riemannian optimiser, and return the number of iterations."""
        iterations = itertools.count()

        def stop(point: FactoredPoint, cost: float) -> bool:
            u, s, vt = point
            return self.ends_at(_State(next(iterations), cost, s, (u * s, vt.T)))

        rank = self._start_rank
        left, sigma, right = self._start.left, self._start.sigma, self._start.right
        minimum = minimize(
            LeastSquaresProblem(DeepFixedRank(*self._shape, rank, self._depth), self._loss),
            FactoredPoint(left[:, :rank], sigma[:rank], right[:, :rank].T),
            solver=solver,
            max_iterations=MAX_ITERATIONS,
            tolerance=TOLERANCE,
            stop=stop,
            progress=progress,
        )
        if minimum.interrupted:
            raise KeyboardInterrupt
        if minimum.success:
            self.reason = self.reason or "the optimiser has converged"
        return minimum.n_iterations


def complete(
    training: Entries,
    held_out: Entries,
    shape: tuple[int, int],
    *,
    depth: int,
    rank: int,
    solver: str = "flow",
    center: bool = False,
    progress: bool = False,
) -> Completion:
    r"""Fill the missing entries of a matrix by a deep linear network.

    The training entries are scaled so that the matrix ``Y`` of them, zero elsewhere, has
    spectral norm one. An entry that is given ``k`` times counts as its average, ``k`` times: in
    the loss and in errors. The descent starts from ``0.01 Y``, truncated to
    the rank, which is one short step of gradient descent from zero and the same matrix for
    every depth; factors are balanced. It runs until the error of the held-out entries has stayed
    a tenth above its least value, or the training entries are fitted to a thousandth (a
    millionth, while the error of the held-out ones falls with theirs), or it
    has settled. A flow runs in at most ten stages, each as long as all before, an optimiser for
    at most 300 iterations. The state with the least held-out error is the answer.

    Parameters
    ----------
    training, held_out : Entries
        Entries to learn from, and other entries to choose the stopping time by.
    shape : tuple of int
    depth : int
        Number of layers ``N``.
    rank : int
        Width of the hidden layers, and the rank of the start. The flow of depth 1 has a single
        layer, of every rank; for an optimiser it is the rank at depth 1 too.
    solver : str
        "flow", or a solver of `dlngeo.solvers.optimization.minimize`.
    center : bool
        Whether to take the mean of the training entries off first, and add it in the end. This
        may add one to the rank of the completed matrix.
    progress : bool
        Whether to show a progress bar.

    Returns
    -------
    completion : Completion

    Raises
    ------
    ValueError
        If depth, rank or solver do not fit, there are no training or held-out entries, the
        training entries are all equal, or the matrix is too large for the flow.
    RuntimeError
        If the flow fails; its message names the remedy.
    KeyboardInterrupt
        If the keyboard interrupts.

    References
    ----------
    [CMV22]; [BRTW22]; THEORY 3.
    """
    depth, shape = check_depth(depth), check_shape(shape)
    rank = check_rank(rank, min(shape))
    choice(solver, "the solver", ("flow", *SOLVERS))
    center, progress = flag(center, "center"), flag(progress, "progress")
    training = instance(training, Entries, "training").checked(shape)
    held_out = instance(held_out, Entries, "held_out").checked(shape)
    if solver == "flow" and math.prod(shape) > LARGEST_FLOW:
        raise ValueError(
            f"a matrix of shape {shape} is too large for the flow, which holds all of its entries: "
            "take the solver conjugate-gradient."
        )
    check_memory(
        BYTES_PER_NUMBER * sum(shape) * rank,
        f"a matrix of shape {shape} and rank {rank}",
        "take a smaller rank",
    )
    if not (training.values.size and held_out.values.size):
        raise ValueError("training and held-out entries are needed: there are none of one kind.")
    if numpy.isin(_places(held_out, shape), _places(training, shape)).any():
        raise ValueError(
            "some held-out entries are training entries too: hold out all copies of an entry or "
            "none."
        )
    largest = abs(training.values).max()
    if 0 < largest < numpy.finfo(float).tiny:
        raise ValueError(
            f"the observed entries are at most {largest:.0e}, below the range of double precision: "
            "rescale them."
        )
    if largest == 0 or (center and (training.values == training.values[0]).all()):
        raise ValueError(
            f"the observed entries are all {'equal' if center else 'zero'}: there is nothing to "
            "learn."
        )
    began = time.perf_counter()
    descent = _Descent(training, held_out, shape, depth, rank, center)
    if solver == "flow":
        n_evaluations = descent.follow_flow(progress)
    else:
        n_evaluations = descent.optimise(solver, progress)
    columns = zip(*descent.history, strict=True)
    times, losses, spectra, _ = (numpy.array(column) for column in columns)
    is_of_rank = len(spectra[0]) == rank and (spectra > 1e-15 * spectra[:, :1]).all()
    ending = descent.reason or "the descent has not ended: the answer may improve"
    return Completion(
        depth=depth,
        rank=rank,
        solver=solver,
        mean=descent.mean,
        factors=(descent.scale * descent.answer[0], *descent.answer[1:]),
        stop=int(numpy.argmin(descent.errors)),
        times=times,
        training_error=descent.scale * numpy.sqrt(2 * losses / descent.n_entries),
        held_out_error=descent.scale * numpy.array(descent.errors),
        singular_values=spectra,
        entropy=spectral_entropy(spectra, descent.widths) if is_of_rank else None,
        n_evaluations=n_evaluations,
        seconds=time.perf_counter() - began,
        success=bool(descent.reason),
        interrupted=False,
        status=f"{ending}.",
    )
