r"""Balancing as convex minimisation: the theorem of Kempf and Ness on fibres.

On the orbit of the hidden groups ``GL(d_p)`` the function ``½‖g·W‖²`` depends on ``g_pᵀ g_p``
alone. On that symmetric space it is convex along geodesics; its gradient is the moment map, and its
minima are the balanced points.

References
----------
[LM25]; THEORY 2, 5.
"""

import itertools
from collections.abc import Sequence
from typing import NamedTuple

from dlngeo.core.base.arrays import Array, eye, namespace, transpose
from dlngeo.core.base.checks import invertible, positive, real_array
from dlngeo.core.base.scales import Exponent, at_scale, at_unit_scale
from dlngeo.core.base.vectors import Layers
from dlngeo.core.networks.balancing import right_inverses, thin_layers
from dlngeo.core.networks.factors import (
    Factors,
    check_depth,
    check_widths,
    is_stack,
    layers_of,
    network_shape,
    result_in_kind,
    widths_of,
)
from dlngeo.core.networks.frames import check_positive, singular_frames
from dlngeo.core.networks.network import (
    action_on_layers,
    hidden_matrices,
    layer_units,
    moment_map,
    partial_products,
    product_in_units,
)


def _with_ends(metrics: Factors, layers: Sequence[Array]) -> list[Array]:
    """Return ``h_0 = I``, the given ``h_p``, and ``h_N = I``."""
    first, last = layers[0].shape[-1], layers[-1].shape[-2]
    hidden = hidden_matrices(metrics, layers, "metric of the hidden layers")
    return [eye(first, first, layers[0]), *hidden, eye(last, last, layers[0])]


def _energy(metrics: Sequence[Array], layers: Sequence[Array], exponent: Exponent = 0) -> Array:
    """Return ``½ Σ_p tr(h_p W_p h_{p-1}^{-1} W_pᵀ)`` of ``2^k`` times layers."""
    layers, own = at_unit_scale(4, tuple(layers))
    total: Array = 0
    for layer, (before, after) in zip(layers, itertools.pairwise(metrics), strict=True):
        xp = namespace(layer, before, after)
        with invertible(before, "a metric of the hidden layers"):
            raised = transpose(xp.linalg.solve(before, transpose(layer)))
        total = total + xp.sum((after @ layer) * raised, axis=(-2, -1))
    return at_scale(total / 2, 2 * (exponent + own), "the Kempf-Ness function", axes=0)


def kempf_ness(factors: Factors, metrics: Factors) -> Array:
    r"""Return the Kempf–Ness function: half the squared norm along the orbit of the group.

    .. math:: Ψ(h) = \tfrac12 \sum_p \mathrm{tr}(h_p W_p h_{p-1}^{-1} W_p^T)
              = \tfrac12 \|g · W\|^2, \quad h_p = g_p^T g_p, \quad h_0 = h_N = I

    It is convex along the geodesics ``h^{1/2} e^{tS} h^{1/2}`` of positive definite matrices.

    Parameters
    ----------
    factors : factors
    metrics : array-like, shape=[..., N-1, d, d], or sequence of shape=[..., d_p, d_p]
        Positive definite ``h_p``, ``p = 1, ..., N-1``.

    Returns
    -------
    energy : array-like, shape=[...]
    """
    layers = layers_of(factors)
    return _energy(_with_ends(metrics, layers), layers)


def kempf_ness_gradient(factors: Factors, metrics: Factors) -> Factors:
    r"""Return the gradient of the Kempf–Ness function in the metric ``tr(h^{-1} ḣ h^{-1} ḣ')``.

    .. math:: (\mathrm{grad}\,Ψ)_p
              = \tfrac12 (h_p W_p h_{p-1}^{-1} W_p^T h_p - W_{p+1}^T h_{p+1} W_{p+1})

    The flow of the squared moment map moves ``P_p = g_pᵀ g_p`` by ``Ṗ = -4 grad Ψ(P)``.

    Parameters as in `kempf_ness`.

    Returns
    -------
    gradient : like metrics
        Zero where ``h = P`` is the metric of balanced factors.

    References
    ----------
    [LM25]; THEORY 5 (own derivation of the factor).
    """
    layers = layers_of(factors)
    padded = _with_ends(metrics, layers)
    layers, exponent = at_unit_scale(4, layers)
    gradient = []
    for p in range(1, len(layers)):
        layer, after = layers[p - 1], layers[p]
        xp = namespace(layer, padded[p])
        lifted = padded[p] @ layer
        with invertible(padded[p - 1], "a metric of the hidden layers"):
            pulled = lifted @ xp.linalg.solve(padded[p - 1], transpose(lifted))
        gradient.append((pulled - transpose(after) @ padded[p + 1] @ after) / 2)
    return result_in_kind(gradient, metrics, 2 * exponent) if gradient else metrics


def kempf_ness_hessian(factors: Factors, metrics: Factors, vector: Factors) -> Array:
    r"""Return the second derivative of the Kempf–Ness function along a geodesic.

    .. math:: \left.\frac{d^2}{dt^2}\right|_0 Ψ(h(t))
              = \tfrac12 \sum_p \mathrm{tr}(h_p Y_p h_{p-1}^{-1} Y_p^T) ≥ 0, \quad
              Y_p = k_p W_p - W_p k_{p-1}, \quad k_p = h_p^{-1} \dot h_p

    along ``h(t) = h^{1/2} e^{tS} h^{1/2}`` with the velocity ``ḣ``: the function itself, of
    the velocity of the factors.

    Parameters
    ----------
    factors, metrics
        As in `kempf_ness`.
    vector : like metrics
        Symmetric ``ḣ_p``.

    Returns
    -------
    second_derivative : array-like, shape=[...]

    References
    ----------
    Own derivation.
    """
    layers = layers_of(factors)
    padded = _with_ends(metrics, layers)
    changes = hidden_matrices(vector, layers, "velocity of the metrics")
    elements = []
    for h, change in zip(padded[1:-1], changes, strict=True):
        with invertible(h, "a metric of the hidden layers"):
            elements.append(namespace(h, change).linalg.solve(h, change))
    layers, of_layers = at_unit_scale(4, layers)
    if not elements:
        return _energy(padded, action_on_layers(elements, layers))
    elements, of_elements = at_unit_scale(4, elements)
    velocity = action_on_layers(elements, layers)
    return _energy(padded, velocity, of_layers + of_elements)


def limit_metrics(factors: Factors) -> Factors:
    r"""Return the metrics ``P_p = g_pᵀ g_p`` of every ``g`` that balances factors.

    .. math:: P_p = W_{>p}^T (X X^T)^{-(N-p)/N} W_{>p}
              = W_{p:1}^{-T} (X^T X)^{p/N} W_{p:1}^{-1}

    The first form is a sum of squares, and used here. It is the minimum of the Kempf–Ness
    function, and the limit of ``gᵀ g`` along both balancing flows.

    Parameters
    ----------
    factors : factors
        With an end-to-end matrix of rank ``r``, and all hidden widths equal to ``r``:
        otherwise the balanced point is outside the orbit of the group.

    Returns
    -------
    metrics : array-like, shape=[..., N-1, d, d], or tuple of shape=[..., r, r]

    Raises
    ------
    ValueError
        If the rank or a hidden width is another.
    """
    layers = layers_of(factors)
    widths, rank = check_widths(widths_of(layers))
    if any(width != rank for width in widths[1:-1]):
        raise ValueError(
            f"expected hidden layers as wide as the rank {rank} of the end-to-end matrix, got "
            f"widths {widths}: over wider ones the balanced point is outside the orbit of the "
            "group. dlngeo.core.networks.balancing.balance gives it."
        )
    if len(layers) == 1:
        return factors[..., :0, :, :] if is_stack(factors) else ()
    depth = len(layers)
    layers, exponents = layer_units(layers)
    product, _ = product_in_units(layers)
    root = thin_layers(product, depth, rank, truncate=True)
    check_positive(namespace(root[0]).sum(root[0] ** 2, axis=-1) ** 0.5, rank)
    inverses = right_inverses([transpose(layer) for layer in reversed(root)])[::-1]
    _, after = partial_products(layers)
    metrics, of_metrics = [], []
    for p, (expansion, inverse) in enumerate(zip(after, inverses, strict=False), start=1):
        (product,) = expansion.values()
        frame = transpose(product) @ inverse
        metrics.append(frame @ transpose(frame))
        of_metrics.append(2 * (sum(exponents[p:]) - (depth - p) / depth * sum(exponents)))
    return result_in_kind(metrics, factors, of_metrics)


class Certificate(NamedTuple):
    """How far factors are from the balanced points of their fibre.

    Attributes
    ----------
    moment_map_norm : array-like, shape=[...]
        ``‖μ(W)‖``, zero at the balanced points only.
    squared_norm : array-like, shape=[...]
        ``‖W‖²``.
    minimum : array-like, shape=[...]
        ``N Σ σ_k^{2/N}``, the least ``‖W‖²`` on the fibre.
    gap : array-like, shape=[...]
        ``‖W‖² - N Σ σ_k^{2/N}``, not negative but for round-off.
    """

    moment_map_norm: Array
    squared_norm: Array
    minimum: Array
    gap: Array


def certificate(factors: Factors, rank: int | None = None) -> Certificate:
    """Return how far factors are from the minimum of the norm on their fibre.

    Parameters
    ----------
    factors : factors
    rank : int, optional
        Rank of the end-to-end matrix, ``min(widths)`` by default; see `schatten_minimum`.

    Returns
    -------
    certificate : Certificate
    """
    layers = layers_of(factors)
    _, rank = check_widths(widths_of(layers), rank)
    layers, exponent = at_unit_scale(2, layers)
    squared_norm = Layers(layers).squared_norm()
    observable, of_observable = product_in_units(layers)
    depth = len(layers)
    minimum = depth * _schatten(observable, 2 / depth, rank, of_observable)
    moments = moment_map(layers)
    norm = Layers(moments).norm() if moments else 0 * squared_norm
    parts = (norm, squared_norm, minimum, squared_norm - minimum)
    return Certificate(*[at_scale(part, 2 * exponent, "the certificate", axes=0) for part in parts])


def schatten_norm(factors: Factors, exponent: float) -> Array:
    r"""Return the sum of the Schatten quasi-norms of the factors, to the power ``q``.

    .. math:: \sum_p \|W_p\|_{S_q}^q = \sum_p \sum_k σ_k(W_p)^q

    Balanced factors minimise it on their fibre, for every ``0 < q < ∞``.

    Parameters
    ----------
    factors : factors
    exponent : float
        ``q``, positive.

    Returns
    -------
    norm : array-like, shape=[...]

    Raises
    ------
    ValueError
        If the exponent is not positive and finite.
    """
    layers, exponent = layers_of(factors), positive(exponent, "the exponent")
    return sum(_schatten(layer, exponent, min(layer.shape[-2:])) for layer in layers)


def schatten_minimum(matrix: Array, depth: int, exponent: float, rank: int | None = None) -> Array:
    r"""Return the minimum of `schatten_norm` over the factors of a matrix.

    .. math:: N \sum_k σ_k(X)^{q/N}

    Parameters
    ----------
    matrix : array-like, shape=[..., m, n]
    depth : int
        Depth ``N``.
    exponent : float
        ``q``, positive.
    rank : int, optional
        Number of singular values that count, all by default: of a matrix of lower rank the
        others are round-off, of which a small power is not small.

    Returns
    -------
    minimum : array-like, shape=[...]

    Raises
    ------
    ValueError
        If depth or rank do not fit, or the exponent is not positive and finite.
    """
    matrix = real_array(matrix, "the matrix")
    _, rank = network_shape(matrix, depth, rank=rank)
    depth = check_depth(depth)
    return depth * _schatten(matrix, positive(exponent, "the exponent") / depth, rank)


def _schatten(matrix: Array, power: float, rank: int, exponent: Exponent = 0) -> Array:
    """Return ``Σ_k σ_k^q`` of ``2^k`` times a matrix."""
    matrix, own = at_unit_scale(max(power, 1.0), matrix)
    sigma = singular_frames(matrix, rank).sigma
    total = namespace(sigma).sum(sigma**power, axis=-1)
    return at_scale(total, power * (exponent + own), "the norm", axes=0)
