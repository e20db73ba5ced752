r"""Gradient flow of a deep linear network, upstairs on factors or downstairs on ``X``.

Both flows descend the loss ``L(W) = E(φ(W))``, the first in parameter space, the second in
the depth metric; from balanced factors the first projects to the second ([ACH18],
[BRTW22]; THEORY 3).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy

from dlngeo.core.base.arrays import Array, round_off, transpose
from dlngeo.core.base.checks import nonnegative
from dlngeo.core.base.packing import pack, unpack
from dlngeo.core.base.vectors import Layers
from dlngeo.core.networks.factors import Factors, widths_of
from dlngeo.core.networks.network import end_to_end
from dlngeo.losses.gradients import check_start, with_gradient
from dlngeo.solvers.descents import DepthDescent, Descent, FactorDescent, RelaxedDescent
from dlngeo.solvers.flow_paths import FlowOutcome, Integration, as_float, flow_path
from dlngeo.thermodynamics.boltzmann_entropy import spectral_entropy


@dataclass(frozen=True, eq=False)
class FlowResult(FlowOutcome):
    """A learning flow, at the times that were saved.

    Attributes
    ----------
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
    """

    states: Factors
    loss: Array
    singular_values: Array
    moment_map_norm: Array
    entropy: Array

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
        of `dlngeo.losses` do, that is taken; any other function is differentiated
        by autograd, PyTorch or JAX, whose arrays it gets.
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
    integration = Integration(t_final, n_saved, rtol, atol, method, progress)
    weight_decay = nonnegative(weight_decay, "weight_decay")
    balancing = nonnegative(balancing, "balancing")
    loss, slope = with_gradient(loss, gradient)
    descent = _descent(as_float(initial), depth, rank, offsets, widths, weight_decay, balancing)
    check_start(loss, slope, end_to_end(descent.start))
    shapes = [matrix.shape for matrix in descent.start]

    def velocity(time: float, state: Array) -> Array | None:
        layers = Layers(unpack(state, shapes))
        try:
            matrix = end_to_end(layers)
        except ValueError:  # it overflows
            return None
        covector = slope(matrix)
        if not numpy.isfinite(covector).all():
            return None
        try:
            return pack(descent.velocity(time, layers, covector))
        except ValueError:  # the core's: at infinite depth X must stay invertible
            return None

    path = flow_path(
        velocity,
        pack(descent.start),
        integration,
        name="learning flow",
        remedy="the flow or the loss ceases to be finite there, or the matrix loses rank. Stop "
        "before, or correct the loss.",
    )
    layers, outcome = descent.nearest(Layers(unpack(path.states, shapes))), path.outcome
    losses = None
    if loss is not None:
        # One by one: all the end-to-end matrices may be much larger than the factors.
        states = zip(*layers, strict=True)
        losses = numpy.array([float(loss(end_to_end(state))) for state in states])
        end = next(iter(numpy.flatnonzero(~numpy.isfinite(losses))), None)
        if end is not None:
            outcome |= {
                "times": path.times[:end],
                "success": False,
                "status": f"the loss is not finite at t = {path.times[end]:.6g}: correct it, or "
                "stop before.",
            }
            layers, losses = layers.map(lambda layer: layer[:end]), losses[:end]
    if descent.keeps_rank:
        outcome["status"] += _crossing(layers, descent.rank, outcome["times"])
    singular_values = _singular_values(layers, descent.rank)
    return FlowResult(
        states=descent.in_kind(layers),
        loss=losses,
        singular_values=singular_values,
        moment_map_norm=descent.moments(layers),
        entropy=_entropy(singular_values, descent.widths),
        **outcome,
    )


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
    if isinstance(initial, tuple) or initial.ndim == 3:
        for name, value in (("depth", depth), ("offsets", offsets)):
            if value is not None:
                raise ValueError(
                    f"the factors, {len(initial)} in number, tell it: leave out {name}={value}."
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


def _crossing(layers: Layers, rank: int, times: Array) -> str:
    """Tell if the sign of ``det X`` changes, which the exact flow of balanced factors keeps."""
    if not layers[0].shape[-1] == layers[-1].shape[-2] == rank:
        return ""
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
