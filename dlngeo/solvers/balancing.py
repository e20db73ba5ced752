r"""Balancing flows: down the norm or the moment map, inside the fibre of ``X``.

Two flows keep the end-to-end matrix and end at balanced factors ([LM25]; THEORY 5).
"""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy

from dlngeo.core.base.arrays import Array, round_off
from dlngeo.core.base.checks import choice, flag
from dlngeo.core.base.packing import pack, unpack
from dlngeo.core.base.vectors import Layers
from dlngeo.core.fibres.depth_two_flow import polar_flow
from dlngeo.core.fibres.fibre import project_to_fibre
from dlngeo.core.fibres.gram import damped_tangent_part
from dlngeo.core.fibres.kempf_ness_function import certificate
from dlngeo.core.networks.balancing import balance
from dlngeo.core.networks.equations import polar_factor
from dlngeo.core.networks.factors import Factors, in_kind, layers_of, widths_of
from dlngeo.core.networks.network import action_on_layers, end_to_end
from dlngeo.solvers.flow_paths import FlowOutcome, Integration, Path, as_float, flow_path

KINDS = ("l2", "moment_map")

REMEDY = (
    "the factors are too unequal for the tolerances. Raise rtol and atol, or take "
    "dlngeo.core.networks.balancing.balance."
)


@dataclass(frozen=True, eq=False)
class BalancingFlow(FlowOutcome):
    """A balancing flow, at the times that were saved.

    The status also tells whether it is slow or degenerate, and what to do then.

    Attributes
    ----------
    factors : factors
        Where it ended: the last state, or balanced factors of the fibre with ``finish=True``.
    states : factors, with a leading axis of length t
        Factors along the flow.
    moment_map_norm : array, shape=[t]
        ``‖μ(W)‖``.
    squared_norm : array, shape=[t]
        ``‖W‖²``, which both flows lessen.
    drift : array, shape=[t]
        ``‖φ(W) - X‖ / ‖X‖``: Newton's method keeps it at round-off where the fibre is smooth.
    rate : float
        ``-d log‖μ‖/dt`` between the last two times at which ``‖μ‖`` is above round-off; NaN if
        there are no two.
    """

    factors: Factors
    states: Factors
    moment_map_norm: Array
    squared_norm: Array
    drift: Array
    rate: float


def balancing_flow(
    factors: Factors,
    kind: str = "l2",
    *,
    t_final: float | None = None,
    t_eval: Array | None = None,
    rtol: float = 1e-9,
    atol: float = 1e-12,
    n_saved: int = 50,
    finish: bool = False,
    progress: bool = False,
) -> BalancingFlow:
    r"""Integrate a balancing flow, which keeps ``X = φ(W)``.

    ``"l2"`` is the gradient flow of ``½‖W‖²`` on the fibre in the metric of parameter space,

    .. math:: \dot W = -(I - Π_n) W, \quad μ(t) = e^{-2t} μ(0),

    ``"moment_map"`` the one in the group metric, which is the ambient gradient flow of
    ``¼ Σ_p ‖μ_p‖²``,

    .. math:: \dot W_p = μ_p W_p - W_p μ_{p-1}.

    At depth 2 the second has the metric ``gᵀ g`` in closed form, and only a rotation is
    integrated. Both end at balanced points with the same ``gᵀ g``, which are in general
    different points of the fibre, and others than `dlngeo.core.networks.balancing.balance` gives.

    Parameters
    ----------
    factors : array-like, shape=[N, d, d], or tuple of shape=[d_p, d_{p-1}]
        Factors to start from.
    kind : str
        "l2" or "moment_map".
    t_final : float
        Final time, positive; by default the last of ``t_eval``. The first flow halves ``‖μ‖`` in
        ``0.35``, at all scales; the second in a time like ``1/λ²``, of the smallest singular values
        ``λ`` of the factors.
    t_eval : array-like, shape=[t], optional
        Ascending times at which the flow is saved, in place of ``n_saved`` equidistant ones.
    rtol, atol : float
        Tolerances of the integrator (DOP853).
    n_saved : int
        Number of equidistant times at which the flow is saved, at least two.
    finish : bool
        Whether to end with `balance`, at a balanced point of the fibre to round-off.
    progress : bool
        Whether to show a progress bar.

    Returns
    -------
    result : BalancingFlow
        If the step fails or the keyboard interrupts, the flow up to there, with a status that
        says so.

    Raises
    ------
    ValueError
        If an argument does not fit.

    Notes
    -----
    Over ``X`` of lower rank than the layers the factors leave every bound: the first flow keeps
    ``e^{-2t}`` while ``range dφ*`` degenerates like ``e^{-t}``. The second slows down to
    ``‖μ‖ ~ 1/t`` wherever two neighbouring layers, the ends included, are both wider than the
    rank. The status says so.

    References
    ----------
    [LM25]; THEORY 5.
    """
    integration = Integration(t_final, n_saved, rtol, atol, progress=progress, t_eval=t_eval)
    choice(kind, "kind", KINDS)
    finish = flag(finish, "finish")
    start = Layers(layers_of(as_float(factors)))
    flow = _flow_of_depth_two if kind == "moment_map" and len(start) == 2 else _flow_of_factors
    path, states = flow(start, kind, integration)
    target = end_to_end(start)
    corrected = [project_to_fibre(state, target) for state in zip(*states, strict=True)]
    layers = Layers(numpy.stack(layer) for layer in zip(*corrected, strict=True))
    values = certificate(layers)
    rank = _numerical_rank(target)
    rate = _rate(path.times, values.moment_map_norm, values.squared_norm)
    moment = values.moment_map_norm[-1] / max(values.squared_norm[-1], numpy.finfo(float).tiny)
    outcome = path.outcome
    outcome["status"] += _advice(kind, widths_of(start), rank, rate, moment, finish)
    last = layers.map(lambda layer: layer[-1])
    if finish:
        last = balance(last, rank) if rank else 0 * last
    return BalancingFlow(
        factors=in_kind(last, factors),
        states=in_kind(layers, factors),
        moment_map_norm=values.moment_map_norm,
        squared_norm=values.squared_norm,
        drift=_drift(layers, target),
        rate=rate,
        **outcome,
    )


def _flow_of_factors(
    start: Layers, kind: str, integration: Integration
) -> tuple[Path, tuple[Array, ...]]:
    """Return the path of a flow and its factors, with a leading axis of time."""
    shapes = [layer.shape for layer in start]
    descend = _down_the_norm if kind == "l2" else _down_the_moments

    def velocity(_: float, state: Array) -> Array:
        return pack(descend(Layers(unpack(state, shapes))))

    path = flow_path(velocity, pack(start), integration, name="balancing flow", remedy=REMEDY)
    return path, unpack(path.states, shapes)


def _down_the_norm(layers: Layers) -> Layers:
    return -damped_tangent_part(layers, layers)


def _down_the_moments(layers: Layers) -> Sequence[Array]:
    moments = [after.T @ after - layer @ layer.T for layer, after in itertools.pairwise(layers)]
    return action_on_layers(moments, layers)


def _flow_of_depth_two(
    start: Layers, _: str, integration: Integration
) -> tuple[Path, tuple[Array, ...]]:
    """Return the flow of the squared moment map from its closed form, up to a rotation."""
    size = len(start[0])

    def velocity(time: float, state: Array) -> Array:
        return (state.reshape(size, size) @ polar_flow(start, time).turning).ravel()

    identity = numpy.eye(size).ravel()
    path = flow_path(velocity, identity, integration, name="balancing flow", remedy=REMEDY)
    rotations = polar_factor(path.states.reshape(-1, size, size))
    first, second = polar_flow(start, path.times).factors
    return path, (rotations @ first, second @ rotations.swapaxes(-1, -2))


def _numerical_rank(matrix: Array) -> int:
    sigma = numpy.linalg.svd(matrix, compute_uv=False)
    return int(numpy.sum(sigma > max(matrix.shape) * round_off(matrix) * sigma[0]))


def _drift(layers: Layers, target: Array) -> Array:
    """Return the error of ``X``, relative to it, or to the factors' norms if it is zero."""
    scale = float(numpy.linalg.norm(target))
    if scale == 0:
        scale = math.prod(float(numpy.linalg.norm(layer[0])) for layer in layers) or 1.0
    return numpy.linalg.norm(end_to_end(layers) - target, axis=(-2, -1)) / scale


def _rate(times: Array, moments: Array, squares: Array) -> float:
    """Return the decay rate between the last two times at which ``μ`` is above round-off."""
    kept = numpy.flatnonzero(moments > 1e4 * round_off(moments) * squares)
    if len(kept) < 2:
        return float("nan")
    i, j = kept[-2:]
    return float(numpy.log(moments[i] / moments[j]) / (times[j] - times[i]))


def _advice(
    kind: str, widths: tuple[int, ...], rank: int, rate: float, moment: float, finish: bool
) -> str:
    """Tell where a flow is degenerate or slow, and what to do."""
    notes = ""
    is_slow = any(a > rank and b > rank for a, b in itertools.pairwise(widths))
    if rank < min(widths):
        notes += f" X has rank {rank}, less than the smallest width {min(widths)}:"
    elif kind == "moment_map" and is_slow:
        notes += f" Two neighbouring layers are wider than the rank {rank} of X:"
    if notes and kind == "moment_map":
        notes += " the flow slows down, ‖μ‖ falls like 1/t."
    elif notes:
        notes += " the flow keeps its rate, but its equations degenerate like e^{-t}."
    if finish:
        return notes + " Then balanced in closed form."
    if moment > 1e-8:
        notes += f" The moment map is still {moment:.1e} of ‖W‖²"
        if rate > 0:
            notes += f", and falls at the rate {rate:.2g}"
        notes += ": raise t_final, or end in closed form with finish=True."
    elif notes:
        notes += " Take finish=True to end at a balanced point to round-off."
    return notes
