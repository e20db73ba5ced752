r"""Gradient descent on the factors of a deep linear network, as networks are trained.

.. math:: g_k = ∇L(W_k) + λ W_k, \quad v_k = β v_{k-1} + g_k, \quad W_{k+1} = W_k - η_k v_k,

with ``L(W) = E(φ(W))``: the steps of ``torch.optim.SGD``. For small steps it follows
`learning_flow` at the times ``t = Σ η_k / (1 - β)``, with an error of first order. To that order it
keeps the moment map too, which a step ``-ηG`` along a gradient changes by ``η² μ(G)`` (THEORY 7).
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy

from dlngeo.core.base.arrays import Array
from dlngeo.core.base.checks import flag, generator, host_array, integer, nonnegative, positive
from dlngeo.core.base.functions import function
from dlngeo.core.networks.factors import Factors
from dlngeo.losses.gradients import check_start, with_gradient
from dlngeo.losses.linear_measurements import LinearRegression
from dlngeo.networks.hessian_spectra import sharpness as sharpness_at
from dlngeo.networks.hessian_spectra import stable_step
from dlngeo.outcomes import Outcome
from dlngeo.solvers.descents import FactorDescent, Slope
from dlngeo.solvers.flow_paths import Event, as_float
from dlngeo.solvers.learning_curves import LearningCurve, curve_of, event_of, losses_along
from dlngeo.solvers.step_paths import draw_batch, step_path
from dlngeo.solvers.stochastic_gradient import Seed

CONVERGED = 1e-6
"""Part of the gradient's norm at the start, below which descent is said to have converged."""


@dataclass(frozen=True, eq=False)
class DescentResult(Outcome, LearningCurve):
    """Gradient descent on factors, after the steps that were saved.

    It succeeds if it makes all steps, or meets what it was to descend to.

    Attributes
    ----------
    steps : array of int, shape=[t]
        Numbers of steps.
    times : array, shape=[t]
        Those of the flow that small steps follow, ``Σ η_k / (1 - β)``.
    sharpness : array, shape=[t], or None
        Largest eigenvalues ``h`` of the Hessian of ``L``, if asked for: steps are stable up to
        ``η = 2 (1 + β) / (h + λ)``.
    """

    steps: Array
    sharpness: Array


def gradient_descent(
    loss: Callable[[Array], Any],
    factors: Factors,
    step_size: float | Callable[[int], float],
    *,
    n_steps: int = 1000,
    momentum: float = 0.0,
    weight_decay: float = 0.0,
    batch: int | None = None,
    label_noise: float = 0.0,
    until: float | Event | None = None,
    sharpness: bool = False,
    rank: int | None = None,
    n_saved: int = 200,
    rng: Seed = None,
    progress: bool = False,
) -> DescentResult:
    r"""Descend the loss of a deep linear network by steps, as ``torch.optim.SGD`` does.

    .. math:: g_k = ∇L(W_k) + λ W_k, \quad v_k = β v_{k-1} + g_k, \quad W_{k+1} = W_k - η_k v_k.

    Parameters
    ----------
    loss : callable
        ``E``, of matrices of shape=[m, n]; as in `learning_flow`.
    factors : array-like, shape=[N, d, d], or sequence of shape=[d_p, d_{p-1}], or network
        Where it starts; of a network with biases these are parameters too, and the loss is one of
        ``(X b)``, or a `LinearRegression`.
    step_size : float or callable
        ``η``, or a schedule: the step size ``η_k`` after ``k = 0, 1, ...`` steps.
    n_steps : int
        Number of steps.
    momentum : float
        ``β``, at least zero and less than one.
    weight_decay : float
        ``λ``.
    batch : int, optional
        Number of samples of the gradient of each step, drawn afresh, none twice; all by default.
        The loss must be a `LinearRegression`.
    label_noise : float
        Standard deviation of Gaussian noise that is added to the outputs, afresh in each step.
        The loss must be a `LinearRegression`.
    until : float or callable, optional
        Where descent ends before its last step: at this level of the loss, or where a function of
        the end-to-end matrix ceases to be positive. It is looked at after every step.
    sharpness : bool
        Whether to tell the sharpness at the states that are saved; `dlngeo.networks.sharpness`.
    rank : int, optional
        Rank of ``X``, full by default: so many singular values are told.
    n_saved : int
        Number of states that are saved, after nearly equidistant steps, start and end among them.
    rng : numpy.random.Generator or int, optional
        For batches and noise.
    progress : bool
        Whether to show a progress bar.

    Returns
    -------
    result : DescentResult
        If it diverges or the keyboard interrupts, the states up to there, with a status that says
        so, and what steps are stable.

    Raises
    ------
    ValueError
        If an argument does not fit, or loss or gradient are not finite at the start.

    References
    ----------
    [ACH18]; THEORY 7.

    Examples
    --------
    >>> import numpy as np
    >>> from dlngeo.solvers import Factorization, gradient_descent
    >>> start = np.stack([np.eye(2), np.eye(2)])
    >>> result = gradient_descent(Factorization(np.diag([4.0, 1.0])), start, 0.1)
    >>> result.success, bool(result.loss[-1] < 1e-20)
    (True, True)
    """
    descent = FactorDescent(_network(factors), rank, nonnegative(weight_decay, "weight_decay"))
    momentum = nonnegative(momentum, "momentum")
    if momentum >= 1:
        raise ValueError(f"momentum must be at least 0 and less than 1, got {momentum}.")
    flag(sharpness, "sharpness")
    n_steps = integer(n_steps, "n_steps")
    size_at, time_after = _schedule(step_size, n_steps)
    on_observable = descent.loss(loss)
    value, slope = with_gradient(on_observable, None)
    check_start(value, slope, descent.observable(descent.start))
    is_noisy = batch is not None or label_noise != 0
    step_slope: Slope = slope
    if is_noisy:
        step_slope = _noisy_slope(on_observable, batch, label_noise, generator(rng))
    memory: list[Any] = []

    def step(state: Array, k: int) -> Array:
        move = descent.velocity(0.0, state, step_slope)
        if move is None:  # X overflows
            return numpy.full_like(state, numpy.nan)
        if momentum:
            if memory:
                move += momentum * memory.pop()
            memory.append(move)
        return state + size_at(k) * move

    path = step_path(
        step,
        descent.start,
        n_steps,
        n_saved,
        name="gradient descent",
        remedy="Lower step_size.",
        until=event_of(until, value, descent),
        progress=progress,
    )
    with numpy.errstate(over="ignore", invalid="ignore"):
        losses = losses_along(on_observable, value, descent, path.states)
    # Before the factors overflow the loss does.
    end = int(numpy.logical_and.accumulate(numpy.isfinite(losses)).sum())
    states, losses = path.states[:end], losses[:end]
    success = path.success and end == len(path.states)
    curve = curve_of(descent, time_after(path.steps[:end]) / (1 - momentum), states)
    status = path.status
    if not success and not path.interrupted:
        step_of_end = path.steps[-1] + bool(path.stop)
        status = f"diverged at step {step_of_end}: {path.stop or 'the loss left all bounds.'}"
        status += _stable(descent, loss, states, losses, momentum)
    elif success and losses[-1] > losses[0]:
        status += f" But the loss rose.{_stable(descent, loss, states, losses, momentum)}"
    elif success and until is None and not is_noisy:
        status += _convergence(descent, slope, states, losses)
    sharpnesses = None
    if sharpness:
        sharpnesses = numpy.array([sharpness_at(descent.network(s), loss) for s in states])
    return DescentResult(
        steps=path.steps[:end],
        loss=losses,
        sharpness=sharpnesses,
        success=success,
        interrupted=path.interrupted,
        status=status,
        **curve,
    )


def _network(factors: Factors) -> Factors:
    """Return factors or a network as NumPy's floats; a ValueError of a matrix."""
    network = as_float(factors)
    if isinstance(network, numpy.ndarray) and network.ndim == 2:
        raise ValueError(
            "gradient descent moves factors, and got a matrix: give factors of it, as those of "
            "dlngeo.core.networks.factorize, or a tuple of one matrix."
        )
    return network


def _schedule(
    step_size: Any, n_steps: int
) -> tuple[Callable[[int], float], Callable[[Array], Array]]:
    """Return the size of each step, and the sums of sizes after numbers of steps."""
    if not callable(step_size):
        size = positive(step_size, "step_size")
        return lambda k: size, lambda steps: size * steps
    schedule = function(step_size, "step_size")
    sizes = [nonnegative(schedule(k), f"step_size({k})") for k in range(n_steps)]
    sums = numpy.append(0.0, numpy.cumsum(sizes))
    return sizes.__getitem__, lambda steps: sums[steps]


def _noisy_slope(
    loss: Any, batch: int | None, label_noise: float, rng: numpy.random.Generator
) -> Slope:
    """Return the gradient of a loss of samples on a batch, with noisy outputs, drawn afresh."""
    label_noise = nonnegative(label_noise, "label_noise")
    if not isinstance(loss, LinearRegression):
        raise ValueError(
            "batches and noise of labels are of samples: give a LinearRegression as the loss, not "
            f"a {type(loss).__name__}."
        )
    inputs, outputs = host_array(loss.inputs, "the inputs"), host_array(loss.outputs, "the outputs")
    n = len(inputs)
    size = n if batch is None else integer(batch, "batch", most=n)

    def slope(matrix: Array) -> Array:
        x, y = inputs, outputs
        if size < n:
            chosen = draw_batch(rng, n, size, replacement=False)
            x, y = x[chosen], y[chosen]
        if label_noise:
            y = y + label_noise * rng.standard_normal(y.shape)
        return (x @ matrix.T - y).T @ x / size

    return slope


def _stable(
    descent: FactorDescent, loss: Any, states: Array, losses: Array, momentum: float
) -> str:
    """Tell the largest stable step where the loss was least."""
    best = int(numpy.argmin(losses))
    try:
        rate = sharpness_at(descent.network(states[best]), loss) + descent.weight_decay
    except ValueError:  # the loss has no second derivatives, or these are out of range
        rate = 0.0
    if rate <= 0:
        return " Lower step_size."
    return (
        f" Lower step_size: where the loss was least, {losses[best]:.3g}, steps are stable up to "
        f"{stable_step(rate, momentum):.3g}."
    )


def _convergence(descent: FactorDescent, slope: Slope, states: Array, losses: Array) -> str:
    """Tell how far the gradient has come, and what to do if that is not far."""
    moves: list[Any] = [descent.velocity(0.0, states[place], slope) for place in (0, -1)]
    first, last = (float(numpy.linalg.norm(move)) for move in moves)
    course = f"the gradient went from {first:.2g} to {last:.2g}"
    if last <= CONVERGED * first:
        return f" It has converged: {course}."
    if (numpy.diff(losses) > 0).any():
        return (
            f" The loss swings, and {course}: lower step_size, "
            "dlngeo.networks.largest_step tells what is stable; or take more steps."
        )
    return f" It has not converged, {course}: take more steps to go on."
