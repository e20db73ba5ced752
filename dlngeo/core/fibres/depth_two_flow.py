r"""The flow of the squared moment map at depth two, in closed form up to a rotation.

Balancing by ``ġ = μ g`` moves the metric ``P = gᵀ g`` of the hidden layer by a Riccati equation.
"""

from typing import NamedTuple

from dlngeo.core.base.arrays import Array, eye, namespace, transpose
from dlngeo.core.base.checks import in_range, time_like
from dlngeo.core.base.scales import at_scale, at_unit_scale, times_power
from dlngeo.core.networks.factors import Factors, layers_of
from dlngeo.core.networks.network import end_to_end


class MetricFlow(NamedTuple):
    """The metric ``P = gᵀ g`` of a hidden layer at a time, and its inverse.

    Attributes
    ----------
    metric, inverse : array-like, shape=[..., d_1, d_1]
    """

    metric: Array
    inverse: Array


def metric_flow(factors: Factors, time: Array) -> MetricFlow:
    r"""Return ``P(t) = g(t)ᵀ g(t)`` of the flow of the squared moment map, at depth 2.

    The solution of ``Ṗ = 2 (G - P H P)``, ``P(0) = I``, ``G = W_2ᵀ W_2``, ``H = W_1 W_1ᵀ``. With
    ``X = Q Σ Oᵀ`` (full, zeros in ``Σ``), ``a = W_1 O``, ``b = W_2ᵀ Q``, ``τ = tanh(2tσ)/σ``
    (``2t`` at ``σ = 0``) and ``A = I - Σ_k a_k b_kᵀ τ_k tanh(tσ_k)``,

    .. math:: P(t) = b τ b^T + A^T (I + a τ a^T)^{-1} A, \quad
              P(t)^{-1} = a τ a^T + A (I + b τ b^T)^{-1} A^T.

    Sums of positive matrices, for all times: nothing overflows. The factors follow from a
    rotation, of which no closed form is known: see `polar_flow`.

    Parameters
    ----------
    factors : array-like, shape=[..., 2, d, d], or two matrices ``W_1``, ``W_2``
    time : array-like, shape=[...]
        ``t ≥ 0``, infinity for the limit at full rank.

    Returns
    -------
    flow : MetricFlow

    Raises
    ------
    ValueError
        If the depth is not two.

    References
    ----------
    Own derivation, from the linear Hamiltonian system of THEORY 5 by the symmetric form of
    the flow of a Riccati equation.
    """
    layers = layers_of(factors)
    if len(layers) != 2:
        raise ValueError(
            f"expected the two factors of a network of depth 2, got {len(layers)}: at other "
            "depths the metric has no closed form; integrate dlngeo.solvers.balancing_flow."
        )
    layers, exponent = at_unit_scale(4, layers)
    first, second = layers
    xp = namespace(first, second)
    left, sigma, right = xp.linalg.svd(end_to_end(layers), full_matrices=True)
    time = time_like(time, sigma) * xp.ones_like(sigma[..., 0])
    # In units of the factors, the inverse of their squares is that of time.
    time = times_power(time, 2 * exponent, axes=0)
    angle = time[..., None] * sigma
    safe = xp.where(sigma > 0, sigma, xp.ones_like(sigma))
    growth = xp.where(sigma > 0, xp.tanh(2 * angle) / safe, 2 * time[..., None])
    a = first @ transpose(right)
    b = transpose(second) @ left
    rank = sigma.shape[-1]
    weight = growth * xp.where(sigma > 0, xp.tanh(angle), xp.zeros_like(angle))
    identity = eye(first.shape[-2], first.shape[-2], first)
    decay = identity - (a[..., :rank] * weight[..., None, :]) @ transpose(b[..., :rank])

    def squares(columns: Array) -> Array:
        null = columns[..., rank:]
        own = (columns[..., :rank] * growth[..., None, :]) @ transpose(columns[..., :rank])
        if null.shape[-1]:
            own = own + 2 * time[..., None, None] * (null @ transpose(null))
        return own

    from_a, from_b = squares(a), squares(b)
    from_a, from_b = (in_range(array, "the metric") for array in (from_a, from_b))
    metric = from_b + transpose(decay) @ xp.linalg.solve(identity + from_a, decay)
    inverse = from_a + decay @ xp.linalg.solve(identity + from_b, transpose(decay))
    return MetricFlow(metric, inverse)


class PolarFlow(NamedTuple):
    """Factors ``P^{1/2} · W`` of a flow, and how it turns against them.

    Attributes
    ----------
    factors : tuple of array-like, shape=[..., d_1, d_0], shape=[..., d_2, d_1]
        ``P^{1/2} W_1`` and ``W_2 P^{-1/2}``.
    turning : array-like, shape=[..., d_1, d_1]
        Skew ``Ω``: the flow is ``R P^{1/2} · W`` with ``Ṙ = R Ω``, ``R(0) = I``.
    """

    factors: tuple[Array, Array]
    turning: Array


def polar_flow(factors: Factors, time: Array) -> PolarFlow:
    r"""Return the flow of the squared moment map at depth 2, up to a rotation.

    The velocity ``ġ g^{-1} = μ`` is symmetric, so that ``g = R P^{1/2}`` has to turn by

    .. math:: Ω_{kl} = \tilde μ_{kl} \frac{τ_l - τ_k}{τ_l + τ_k}

    in the eigenframe of ``P^{1/2}``, with eigenvalues ``τ`` and ``μ̃ = μ(P^{1/2} · W)``.

    Parameters and errors as in `metric_flow`; times are finite.

    Returns
    -------
    flow : PolarFlow

    References
    ----------
    Own derivation.
    """
    metric = metric_flow(factors, time).metric
    layers, exponent = at_unit_scale(4, layers_of(factors))
    first, second = layers
    xp = namespace(first, second)
    values, frame = xp.linalg.eigh(metric)
    root = values**0.5
    inner = root[..., :, None] * (transpose(frame) @ first)
    outer = second @ frame / root[..., None, :]
    moment = transpose(outer) @ outer - inner @ transpose(inner)
    rows, columns = root[..., :, None], root[..., None, :]
    turning = frame @ (moment * (columns - rows) / (columns + rows)) @ transpose(frame)
    moved = at_scale((frame @ inner, outer @ transpose(frame)), exponent, "the polar flow")
    return PolarFlow(moved, at_scale(turning, 2 * exponent, "the polar flow"))
