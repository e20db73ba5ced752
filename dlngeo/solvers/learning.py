r"""Gradient flow of a deep linear network, upstairs on factors or downstairs on ``X``.

Both flows descend the loss ``L(W) = E(φ(W))``, the first in parameter space, the second in
the depth metric; from balanced factors the first projects to the second ([ACH18],
[BRTW22]; THEORY 3).
"""

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy

from dlngeo.core.base.arrays import Array, round_off
from dlngeo.core.base.checks import nonnegative
from dlngeo.core.networks.factors import Factors, is_network
from dlngeo.losses.gradients import check_start, with_gradient
from dlngeo.solvers.descents import DepthDescent, Descent, FactorDescent, RelaxedDescent
from dlngeo.solvers.flow_paths import Event, FlowOutcome, Integration, as_float, flow_path
from dlngeo.solvers.learning_curves import (
    LearningCurve,
    curve_of,
    event_of,
    losses_along,
)


@dataclass(frozen=True, eq=False)
class FlowResult(FlowOutcome, LearningCurve):
    """A learning flow, at the times that were saved.

    Along the flow of factors without weight decay ``μ`` is conserved: its drift measures the
    error of the integration.
    """


def learning_flow(
    loss: Callable[[Array], Any] | None,
    initial: Factors,
    *,
    t_final: float | None = None,
    t_eval: Array | None = None,
    until: float | Event | None = None,
    gradient: Callable[[Array], Array] | None = None,
    depth: float | None = None,
    rank: int | None = None,
    offsets: Sequence[float] | None = None,
    widths: Sequence[int] | None = None,
    weight_decay: float = 0.0,
    balancing: float = 0.0,
    rtol: float = 1e-6,
    atol: float = 1e-9,
    method: str = "DOP853",
    n_saved: int = 200,
    progress: bool = False,
) -> FlowResult:
    r"""Integrate the gradient flow of a deep linear network.

    From factors, the flow of ``L(W) + η‖W‖²/2`` upstairs,

    .. math:: \dot W = -dφ_W^*(∇E(X)) - η W - κ (I - Π_n) W, \quad X = φ(W),

    along which ``μ(t) = e^{-2(η+κ)t} μ(0)``. Of weight decay the part along the fibre of ``X``,
    ``(I - Π_n) W``, regularises, and the normal part ``Π_n W``, like the gradient, moves ``X``.
    With a rate ``κ`` of its own (`balancing_flow`) training is a fast flow on fibres and a slow
    one on the balanced manifold. From a matrix, the projection of that one downstairs,

    .. math:: \dot X = -A_{N,X}(∇E(X)) - η N X.

    At infinite depth time is scaled by ``N``, as the metric is:
    ``Ẋ = -A_∞(∇E) - ηX``, the flow of ``E + η log|det X|``. With offsets ``c`` it is the
    projection of the flow from relaxed balanced factors, ``μ_p = c_p I``, which decay with
    ``μ``; where their metric is complete (`dlngeo.manifolds.RelaxedDepthMetric`), the flow may
    pass matrices of lower rank.

    Parameters
    ----------
    loss : callable or None
        ``E``, of matrices of shape=[m, n]. If it has a method ``gradient``, as the classes
        of `dlngeo.losses` do, that is taken; any other function is differentiated
        by autograd, PyTorch or JAX, whose arrays it gets.
    initial : array-like, shape=[N, d, d], or tuple of shape=[d_p, d_{p-1}], or shape=[m, n]
        Factors, balanced or not, to flow upstairs; or a matrix to flow downstairs. Of a network
        with biases (`dlngeo.networks.LinearNetwork`) these flow too, and the loss is one of
        ``[X, b]``: a function of shape=[m, n + 1], or a `LinearRegression` as it stands.
    t_final : float
        Final time, positive; by default the last of ``t_eval``.
    t_eval : array-like, shape=[t], optional
        Ascending times at which the flow is saved, in place of ``n_saved`` equidistant ones.
    until : float or callable, optional
        Where the flow ends before its time: at this level of the loss, or where a function of
        the end-to-end matrix ceases to be positive, as
        ``lambda x: numpy.linalg.svd(x, compute_uv=False)[-1] - 1e-3`` near lower rank. It is looked
        at where the integrator's steps end, and located within them.
    gradient : callable, optional
        ``∇E``, if it is not to be found as above. Then the loss may be None.
    depth : int or inf
        Depth ``N``, for a matrix without offsets and only then.
    rank : int, optional
        Rank of ``X``, full by default (``min(widths)`` upstairs). The downstairs flow
        stays on matrices of this rank; upstairs only the singular values and the entropy
        of the result depend on it.
    offsets : sequence of float, optional
        ``c_1, ..., c_{N-1}``, for a matrix and only then.
    widths : sequence of int, optional
        ``(d_0, ..., d_N)`` of the network with these offsets; the hidden layers are as wide as
        the rank by default.
    weight_decay : float
        ``η``.
    balancing : float
        ``κ``, for factors only.
    rtol, atol : float
        Tolerances of the adaptive integrator.
    method : str
        One of SciPy's integrators, DOP853, RK45, RK23 or LSODA, or RKC, Runge–Kutta–Chebyshev.
        Where the first two find a flow stiff, LSODA goes on if it is of at most 500 numbers, and
        RKC, which needs no Jacobians, if it is of more.
    n_saved : int
        Number of equidistant times at which the flow is saved, at least two.
    progress : bool
        Whether to show a progress bar.

    Returns
    -------
    result : FlowResult
        If the step fails, values cease to be finite, or the keyboard interrupts, the flow
        up to there, with a status that says so.

    Raises
    ------
    ValueError
        If an argument does not fit, or loss or gradient are not finite at the start.

    Notes
    -----
    From balanced factors of depth 2 or more the exact flow keeps the rank, and of a square
    matrix the sign of the determinant. Where the minimum lies beyond, it ends at a saddle of
    lower rank, which round-off leaves after a while; the status tells.

    References
    ----------
    [ACH18]; [BRTW22]; [LM25] for weight decay; [CMV22] for infinite depth; [MPG25] for offsets;
    THEORY 1, 3, 5, 6.
    """
    integration = Integration(t_final, n_saved, rtol, atol, method, progress, t_eval)
    weight_decay = nonnegative(weight_decay, "weight_decay")
    balancing = nonnegative(balancing, "balancing")
    descent = _descent(as_float(initial), depth, rank, offsets, widths, weight_decay, balancing)
    loss = descent.loss(loss)
    value, slope = with_gradient(loss, gradient)
    check_start(value, slope, descent.observable(descent.start))
    path = flow_path(
        functools.partial(descent.velocity, slope=slope),
        descent.start,
        integration,
        name="learning flow",
        remedy="the flow or the loss ceases to be finite there, or the matrix loses rank. Stop "
        "before, or correct the loss.",
        until=event_of(until, value, descent),
    )
    outcome = path.outcome
    losses, states = None, path.states
    if value is not None:
        losses = losses_along(loss, value, descent, states)
        end = next(iter(numpy.flatnonzero(~numpy.isfinite(losses))), None)
        if end == 0:
            raise ValueError(f"the loss is not finite at t = {path.times[0]:.6g}: save it earlier.")
        if end is not None:
            outcome |= {
                "times": path.times[:end],
                "success": False,
                "status": f"the loss is not finite at t = {path.times[end]:.6g}: correct it, or "
                "stop before.",
            }
            states, losses = states[:end], losses[:end]
    if descent.keeps_rank:
        outcome["status"] += _crossing(descent, states, outcome["times"])
    return FlowResult(loss=losses, **outcome | curve_of(descent, outcome["times"], states))


def _descent(
    initial: Factors,
    depth: float | None,
    rank: int | None,
    offsets: Sequence[float] | None,
    widths: Sequence[int] | None,
    weight_decay: float,
    balancing: float,
) -> Descent:
    """Return the descent that the arguments of a learning flow mean."""
    if widths is not None and offsets is None:
        raise ValueError("widths= goes with offsets=: the flow depends on the widths only then.")
    if isinstance(initial, tuple) or is_network(initial) or initial.ndim == 3:
        n_layers = initial.depth if is_network(initial) else len(initial)
        for name, value in (("depth", depth), ("offsets", offsets)):
            if value is not None:
                raise ValueError(
                    f"the factors, {n_layers} in number, tell it: leave out {name}={value}."
                )
        return FactorDescent(initial, rank, weight_decay, balancing)
    if balancing:
        raise ValueError("a matrix has no fibre to balance on: give factors, or no balancing=.")
    if depth is not None and offsets is None:
        return DepthDescent(initial, depth, rank, weight_decay)
    if offsets is not None and depth is None:
        return RelaxedDescent(initial, offsets, widths, rank, weight_decay)
    raise ValueError(
        "the flow of a matrix needs the depth of the network: give depth=, or offsets= of "
        f"its hidden layers; got depth={depth} and offsets={offsets}."
    )


def _crossing(descent: Descent, states: Array, times: Array) -> str:
    """Tell if the sign of ``det X`` changes, which the exact flow of balanced factors keeps."""
    rows, columns = descent.linear_map(states[0]).shape
    if not rows == columns == descent.rank:
        return ""
    matrices = descent.linear_map(states)
    sigma = numpy.linalg.svd(matrices, compute_uv=False)
    # Of a matrix of lower rank the sign is that of round-off.
    is_definite = sigma[:, -1] > rows * round_off(sigma) * sigma[:, 0]
    signs = numpy.sign(numpy.linalg.det(matrices))
    changed = numpy.flatnonzero(is_definite & (signs != signs[0]))
    if changed.size == 0 or not is_definite[0]:
        return ""
    return (
        f" But det X changed its sign before t = {times[changed[0]]:.6g}, which the exact flow "
        "cannot: it ends where X loses rank, an unstable end that round-off stepped over. Use the "
        "result up to there, or start in the component of the minimum."
    )
