r"""Gradient flow of a deep linear network, upstairs on factors or downstairs on ``X``.

Both flows descend the loss ``L(W) = E(φ(W))``, the first in parameter space, the second in
the depth metric; from balanced factors the first projects to the second ([ACH18],
[BRTW22]; THEORY 3).
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import autograd
import numpy

from dlngeo.core.base.arrays import Array, round_off, transpose
from dlngeo.core.base.checks import real_array
from dlngeo.core.depth_metric.metric import check_observable, sharp
from dlngeo.core.fibres.fibre import tangent_projection
from dlngeo.core.networks.factors import (
    Factors,
    check_widths,
    default_widths,
    in_kind,
    layers_of,
    widths_of,
)
from dlngeo.core.networks.frames import frames_of_rank, singular_frames
from dlngeo.core.networks.network import adjoint_differential, end_to_end, moment_map
from dlngeo.core.relaxed import metric as relaxed
from dlngeo.core.relaxed.strings import RelaxedNetwork, intrinsic_network
from dlngeo.solvers.flow_paths import (
    METHODS,
    Layers,
    Path,
    Velocity,
    as_float,
    flow_path,
    saved_times,
)
from dlngeo.thermodynamics.boltzmann_entropy import spectral_entropy

Descent = Callable[[float, Layers, Array], Layers]
"""From a time, a state and the gradient ``∇E(X)`` there to the velocity of the state."""


@dataclass(frozen=True, eq=False)
class FlowResult:
    """A learning flow, at the times that were saved.

    Attributes
    ----------
    times : array, shape=[t]
    states : factors or array, with a leading axis of length t
        What was integrated: factors upstairs, end-to-end matrices downstairs.
    loss : array, shape=[t], or None
        ``E(X)``; None if only its gradient was given.
    singular_values : array, shape=[t, r]
        Singular values of the end-to-end matrix.
    moment_map_norm : array, shape=[t], or None
        ``‖μ(W)‖ / ‖W‖²``; None downstairs. Along the flow without weight decay ``μ`` is
        conserved: its drift measures the error of the integration.
    entropy : array, shape=[t], or None
        Boltzmann entropy in nats; None where it is not defined: at infinite depth, with
        offsets, and if the matrix has a lower rank than asked for.
    n_evaluations : int
        Evaluations of the velocity.
    success : bool
        Whether the flow reached its final time.
    interrupted : bool
        Whether the keyboard stopped it.
    status : str
        How it ended, and what to do if it did not succeed.
    """

    times: Array
    states: Factors
    loss: Array
    singular_values: Array
    moment_map_norm: Array
    entropy: Array
    n_evaluations: int
    success: bool
    interrupted: bool
    status: str

    @property
    def factors(self) -> Factors:
        """Factors along the flow, shape=[t, N, d, d] or a tuple; None downstairs."""
        return None if self.moment_map_norm is None else self.states

    @property
    def observables(self) -> Array:
        """End-to-end matrices along the flow, shape=[t, m, n]; upstairs a new product."""
        return self.states if self.factors is None else end_to_end(self.factors)


def learning_flow(
    loss: Callable[[Array], Any] | None,
    initial: Factors,
    *,
    t_final: float,
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
        of `dlngeo.solvers.losses` do, that is taken; any other function is differentiated
        by autograd.
    initial : array-like, shape=[N, d, d], or tuple of shape=[d_p, d_{p-1}], or shape=[m, n]
        Factors, balanced or not, to flow upstairs; or a matrix to flow downstairs.
    t_final : float
        Final time, positive.
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
        One of SciPy's integrators: DOP853, RK45, RK23, or LSODA for small stiff problems.
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
    times = saved_times(t_final, n_saved, rtol, atol)
    for name, rate in (("weight_decay", weight_decay), ("balancing", balancing)):
        if not 0 <= rate < math.inf:
            raise ValueError(f"{name} must be at least zero and finite, got {rate}.")
    if method not in METHODS:
        raise ValueError(f"method must be one of {', '.join(METHODS)}, got {method!r}.")

    slope = gradient_of(loss, gradient)
    initial = as_float(initial)
    is_upstairs = isinstance(initial, tuple) or initial.ndim == 3
    keeps_rank = True
    layer_widths: tuple[int, ...] | None
    if widths is not None and offsets is None:
        raise ValueError("widths= goes with offsets=: the flow depends on the widths only then.")
    if is_upstairs:
        for name, value in (("depth", depth), ("offsets", offsets)):
            if value is not None:
                raise ValueError(
                    f"the factors, {len(initial)} in number, tell it: leave out {name}={value}."
                )
        start = layers_of(initial)
        layer_widths, rank = check_widths(widths_of(start), rank)
        descent = _factor_descent(weight_decay, balancing)
    else:
        if balancing:
            raise ValueError("a matrix has no fibre to balance on: give factors, or no balancing=.")
        if (depth is None) == (offsets is None):
            raise ValueError(
                "the flow of a matrix needs the depth of the network: give depth=, or offsets= of "
                f"its hidden layers; got depth={depth} and offsets={offsets}."
            )
        start = (initial,)
        rows, columns = initial.shape
        if depth is None:
            assert offsets is not None
            network = intrinsic_network(offsets, (rows, columns), widths, rank)
            rank, layer_widths, keeps_rank = network.rank, None, not network.is_complete
            depth = len(network.shifts)
            descent = _relaxed_descent(weight_decay, network)
        else:
            rank = check_observable(initial, depth, rank)
            layer_widths = None if depth == math.inf else default_widths(rows, columns, depth)
            descent = _observable_descent(weight_decay, depth, rank)
        frames_of_rank(real_array(initial, "the matrix"), rank)
    _check_start(end_to_end(start), loss, slope)

    path = flow_path(
        _velocity(descent, slope),
        start,
        times,
        method,
        progress,
        name="learning flow",
        remedy="the flow or the loss ceases to be finite there, or the matrix loses rank. Stop "
        "before, or correct the loss; if the flow is stiff, use method='LSODA'.",
        rtol=rtol,
        atol=atol,
    )
    if not is_upstairs:
        path = path._replace(states=[(_of_rank(matrix, rank),) for (matrix,) in path.states])
    losses = None
    if loss is not None:
        losses = numpy.array([float(loss(end_to_end(state))) for state in path.states])
        path, losses = _while_finite(path, losses)
    layers = tuple(numpy.stack(layer) for layer in zip(*path.states, strict=True))
    singular_values = _singular_values(layers, rank)
    moments = _moment_map_norm(layers) if is_upstairs else None
    is_balanced = moments is None or moments[0] < math.sqrt(round_off(moments))
    may_cross = keeps_rank and (len(layers) > 1 or (depth is not None and depth > 1))
    status = path.status
    if may_cross and is_balanced and layers[0].shape[-1] == layers[-1].shape[-2] == rank:
        status += _crossing(layers, path.times)
    return FlowResult(
        times=numpy.array(path.times),
        states=in_kind(layers, initial) if is_upstairs else layers[0],
        loss=losses,
        singular_values=singular_values,
        moment_map_norm=moments,
        entropy=_entropy(singular_values, layer_widths),
        n_evaluations=path.n_evaluations,
        success=path.success,
        interrupted=path.interrupted,
        status=status,
    )


def gradient_of(loss: Any, gradient: Callable | None) -> Callable:
    """Return the gradient that was given, the loss's own, or autograd's."""
    if gradient is not None:
        return gradient
    if hasattr(loss, "gradient"):
        return loss.gradient
    if not callable(loss):
        raise ValueError(f"give a loss or a gradient that can be called, got {loss!r}.")
    differentiated = autograd.grad(loss)

    def slope(matrix: Array) -> Array:
        try:
            return differentiated(matrix)
        except TypeError as error:
            raise ValueError(
                "autograd could not differentiate the loss: it must return one number, and be "
                f"written with autograd.numpy; or give its gradient (gradient=). ({error})"
            ) from error

    return slope


def _check_start(matrix: Array, loss: Callable | None, slope: Callable) -> None:
    covector = numpy.asarray(slope(matrix))
    if covector.shape != matrix.shape:
        raise ValueError(
            f"the gradient must have the shape {matrix.shape} of the end-to-end matrix, got "
            f"{covector.shape}."
        )
    is_finite = bool(numpy.isfinite(covector).all())
    if not is_finite or (loss is not None and not math.isfinite(loss(matrix))):
        raise ValueError(
            "loss or gradient are not finite at the start: correct them, or start elsewhere."
        )


def _velocity(descent: Descent, slope: Callable) -> Velocity:
    """Return the velocity, none where the loss or the flow is not defined."""

    def velocity(time: float, layers: Layers) -> Layers | None:
        covector = numpy.asarray(slope(end_to_end(layers)))
        if not numpy.isfinite(covector).all():
            return None
        try:
            return descent(time, layers, covector)
        except ValueError:  # the core's: at infinite depth X must stay invertible
            return None

    return velocity


def _factor_descent(weight_decay: float, balancing: float) -> Descent:
    def descent(_: float, layers: Layers, covector: Array) -> Layers:
        gradient = adjoint_differential(layers, covector)
        velocity = [-g - weight_decay * w for g, w in zip(gradient, layers, strict=True)]
        if balancing:
            along = tangent_projection(layers, layers)
            velocity = [v - balancing * a for v, a in zip(velocity, along, strict=True)]
        return tuple(velocity)

    return descent


def _observable_descent(weight_decay: float, depth: float, rank: int) -> Descent:
    decay = weight_decay if depth == math.inf else weight_decay * depth

    def descent(_: float, layers: Layers, covector: Array) -> Layers:
        matrix = _of_rank(layers[0], rank)
        return (-sharp(matrix, covector, depth, rank) - decay * matrix,)

    return descent


def _relaxed_descent(weight_decay: float, network: RelaxedNetwork) -> Descent:
    decay = weight_decay * len(network.shifts)

    def descent(time: float, layers: Layers, covector: Array) -> Layers:
        matrix = _of_rank(layers[0], network.rank)
        here = network.scaled(math.exp(-2 * weight_decay * time))
        return (-relaxed.sharp(matrix, covector, here) - decay * matrix,)

    return descent


def _of_rank(matrix: Array, rank: int) -> Array:
    """Return the nearest matrices of a rank, from which a flow drifts by its tolerance."""
    if rank == min(matrix.shape[-2:]):
        return matrix
    frames = singular_frames(matrix, rank)
    return frames.with_values(frames.sigma)


def _while_finite(path: Path, losses: Array) -> tuple[Path, Array]:
    """Cut a path off where the loss is not finite."""
    if numpy.isfinite(losses).all():
        return path, losses
    n = int(numpy.argmin(numpy.isfinite(losses)))
    status = f"the loss is not finite at t = {path.times[n]:.6g}: correct it, or stop before."
    path = path._replace(times=path.times[:n], states=path.states[:n], success=False, status=status)
    return path, losses[:n]


def _singular_values(layers: Layers, rank: int) -> Array:
    """Return the largest singular values of the end-to-end matrices, shape=[..., r]."""
    widths = widths_of(layers)
    cut = int(numpy.argmin(widths[:-1]))
    if cut == 0:
        matrix = end_to_end(layers)
    else:
        # Cut X = A B at the narrowest layer and keep what QR leaves of A and Bᵀ.
        left = numpy.linalg.qr(end_to_end(layers[cut:]), mode="r")
        right = numpy.linalg.qr(transpose(end_to_end(layers[:cut])), mode="r")
        matrix = left @ transpose(right)
    return numpy.linalg.svd(matrix, compute_uv=False)[..., :rank]


def _moment_map_norm(layers: Layers) -> Array:
    squares = sum(numpy.sum(layer**2, axis=(-2, -1)) for layer in layers)
    moments = sum(numpy.sum(moment**2, axis=(-2, -1)) for moment in moment_map(layers))
    return numpy.sqrt(moments) / numpy.where(squares > 0, squares, 1.0)


def _crossing(layers: Layers, times: Sequence[float]) -> str:
    """Tell if the sign of ``det X`` changes, which the exact flow of balanced factors keeps."""
    signs = numpy.sign(numpy.linalg.det(end_to_end(layers)))
    changed = numpy.flatnonzero(signs != signs[0])
    if changed.size == 0:
        return ""
    return (
        f" But det X changed its sign before t = {times[changed[0]]:.6g}, which the exact flow "
        "cannot: it ends where X loses rank, an unstable end that round-off stepped over. Use the "
        "result up to there, or start in the component of the minimum."
    )


def _entropy(singular_values: Array, widths: tuple[int, ...] | None) -> Array | None:
    floor = round_off(singular_values) * singular_values[..., :1]
    if widths is None or (singular_values <= floor).any():
        return None
    return spectral_entropy(singular_values, widths)
