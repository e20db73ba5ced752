r"""Matrix completion by deep linear networks, with early stopping on held-out entries.

The missing entries of a matrix are filled by the gradient flow of

.. math:: E(X) = \tfrac12 \sum_{(i,j) ∈ Ω} (X_{ij} - Y_{ij})^2, \quad X = W_N \cdots W_1,

from a small balanced start. Depth is what ties the entries together: at depth 1 the flow
leaves the missing ones where they are, and from depth 2 on it learns the singular values
one after the other, the large ones first ([CMV22]; THEORY 3).
"""

import math
import time
from dataclasses import dataclass

import numpy
from scipy.special import boxcox
from sklearn.utils.extmath import randomized_svd

from dlngeo.core.arrays import Array
from dlngeo.core.frames import SingularFrames
from dlngeo.core.network import end_to_end, factors_over
from dlngeo.solvers.learning import Layers, learning_flow
from dlngeo.solvers.losses import MatrixCompletion

START = 0.01
"""Singular values of the start, in units of those of the data."""

SAVED_PER_STAGE, MAX_STAGES = 20, 10

RISE = 1.1
"""The flow ends when the held-out error has risen from its least value by this factor,"""

FITTED = 1e-3
"""or when the training error has fallen to this part of its first value,"""

SETTLED = 1e-4
"""or when doubling the time has lowered the loss by less than this part."""


@dataclass(frozen=True, eq=False)
class Completion:
    """A completed matrix, and the flow that found it.

    Attributes
    ----------
    depth, rank : int
        ``N``, and the width of the hidden layers.
    matrix : array, shape=[m, n]
        The end-to-end matrix at the stopping time, in the units of the data.
    stop : int
        Index of the stopping time, at which the held-out error is least.
    times : array, shape=[t]
        In units of the inverse of the largest singular value of the data.
    training_error, held_out_error : array, shape=[t]
        Root mean square errors, in the units of the data.
    singular_values : array, shape=[t, r]
        In units of the largest singular value of the data: of the observed entries,
        centred, with zeros where they are missing.
    entropy : array, shape=[t], or None
        Boltzmann entropy in nats; None if the start has a rank below ``r``.
    n_evaluations : int
    seconds : float
    """

    depth: int
    rank: int
    matrix: Array
    stop: int
    times: Array
    training_error: Array
    held_out_error: Array
    singular_values: Array
    entropy: Array | None
    n_evaluations: int
    seconds: float


def complete(
    observed: Array,
    training: Array,
    held_out: Array,
    *,
    depth: int,
    rank: int,
    progress: bool = False,
) -> Completion:
    r"""Fill the missing entries of a matrix by a deep linear network.

    The training entries are centred by their mean and scaled so that the matrix ``Y`` of
    them, zero elsewhere, has spectral norm one. The flow starts from the balanced factors
    of ``0.01 Y``, truncated to the rank, which is one short step of gradient descent from
    zero and the same matrix for every depth. It runs in stages, each as long as all before,
    until the error of the held-out entries has risen by a tenth from its least value, or
    the training entries are fitted to a thousandth, or the flow has settled, or ten stages
    are over. The state with the least held-out error is the answer.

    Parameters
    ----------
    observed : array, shape=[m, n]
        Matrix whose entries count only inside the two masks.
    training, held_out : array of bool, shape=[m, n]
        Entries to learn from, and other entries to choose the stopping time by.
    depth : int
        Number of layers ``N``. Depth 1 has a single layer, of every rank.
    rank : int
        Width of the hidden layers, and the rank of the start.
    progress : bool
        Whether to show a progress bar.

    Returns
    -------
    completion : Completion

    Raises
    ------
    ValueError
        If depth or rank do not fit, one of the masks is empty, or the training entries are
        all equal.
    RuntimeError
        If the flow fails; its message names the remedy.
    KeyboardInterrupt
        If the keyboard interrupts.

    References
    ----------
    [CMV22]; [BRTW22]; THEORY 3.
    """
    if depth < 1:
        raise ValueError(f"the depth must be at least 1, got {depth}.")
    if not 1 <= rank <= min(observed.shape):
        raise ValueError(
            f"the rank must be between 1 and {min(observed.shape)}, the smaller side of the "
            f"matrix, got {rank}."
        )
    if not (training.any() and held_out.any()):
        raise ValueError("training and held-out entries are needed: one of the masks is empty.")
    began = time.perf_counter()
    if numpy.ptp(observed[training]) == 0:
        raise ValueError("the observed entries are all equal: there is nothing to learn.")
    mean = observed[training].mean()
    centred = numpy.where(training, observed - mean, 0.0)
    left, sigma, right = randomized_svd(centred, rank, random_state=0)
    scale = sigma[0]
    loss = MatrixCompletion(centred / scale, training)
    small = SingularFrames(left, START * sigma / scale, right.T)
    start = factors_over(small, (len(right.T), *[rank] * (depth - 1), len(left)))
    targets = (observed[held_out] - mean) / scale

    def held_out_error(layers: Layers) -> float:
        return math.sqrt(numpy.mean((end_to_end(layers)[held_out] - targets) ** 2))

    times, losses, errors, spectra, entropies = [], [], [], [], []
    n_evaluations = 0
    state = answer = start
    least = math.inf
    # In this time λ' = λ^{N-1} takes the leading singular value from the start to one.
    clock, duration = 0.0, -float(boxcox(START ** (1 / depth), 2.0 - depth))
    for stage in range(MAX_STAGES):
        flow = learning_flow(
            loss, state, t_final=duration, rank=rank, n_saved=SAVED_PER_STAGE, progress=progress
        )
        if flow.interrupted:
            raise KeyboardInterrupt
        if not flow.success:
            raise RuntimeError(f"depth {depth}: {flow.status}")
        states = list(zip(*flow.states, strict=True))
        stage_errors = numpy.array([held_out_error(layers) for layers in states])
        # The first state is the last one of the stage before.
        new = slice(min(stage, 1), None)
        times.append(clock + flow.times[new])
        losses.append(flow.loss[new])
        errors.append(stage_errors[new])
        spectra.append(flow.singular_values[new])
        if flow.entropy is not None:
            entropies.append(flow.entropy[new])
        n_evaluations += flow.n_evaluations
        if stage_errors.min() < least:
            least, answer = stage_errors.min(), states[stage_errors.argmin()]
        has_risen = stage_errors[-1] > RISE * least
        is_fitted = flow.loss[-1] < FITTED**2 * losses[0][0]
        is_settled = stage > 0 and flow.loss[-1] > (1 - SETTLED) * flow.loss[0]
        if has_risen or is_fitted or is_settled:
            break
        state = states[-1]
        clock = duration = clock + duration

    held_out_errors = scale * numpy.concatenate(errors)
    return Completion(
        depth=depth,
        rank=rank,
        matrix=mean + scale * end_to_end(answer),
        stop=int(held_out_errors.argmin()),
        times=numpy.concatenate(times),
        training_error=scale * numpy.sqrt(2 * numpy.concatenate(losses) / training.sum()),
        held_out_error=held_out_errors,
        singular_values=numpy.concatenate(spectra),
        entropy=numpy.concatenate(entropies) if len(entropies) == len(times) else None,
        n_evaluations=n_evaluations,
        seconds=time.perf_counter() - began,
    )
