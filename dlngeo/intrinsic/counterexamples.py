r"""Relaxed balanced linear networks, on which training is intrinsic, and what lies beyond.

On the factors with ``W_{p+1}^T W_{p+1} - W_p W_p^T = c_p I`` the matrix ``M = dφ dφ*`` of the
flow ``Ẋ = -M(∇E(X))`` is a function of ``X``, unless null vectors get in the way: the metric is
`dlngeo.manifolds.RelaxedDepthMetric`, and `dlngeo.solvers.learning_flow` takes the offsets.
Off this set it is not: `intrinsic_counterexample` finds factors of the same ``X`` and ``μ`` from
which ``X`` moves another way.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy

from dlngeo.core.base.arrays import Array, eye, namespace, quotient, to_numpy
from dlngeo.core.base.checks import integer, positive, real_array
from dlngeo.core.base.packing import pack, unpack
from dlngeo.core.base.scales import at_scale, at_unit_scale
from dlngeo.core.base.vectors import Layers
from dlngeo.core.networks.factors import (
    Factors,
    layers_of,
    network_shape,
    result_in_kind,
)
from dlngeo.core.networks.network import differential, end_to_end, moment_map
from dlngeo.core.relaxed.metric import relaxed_layers
from dlngeo.core.relaxed.strings import check_offsets, relaxed_network


def relaxed_balanced(
    matrix: Array, offsets: Sequence[float], widths: Sequence[int] | None = None
) -> Factors:
    r"""Return relaxed balanced factors of a matrix.

    .. math:: W_N \cdots W_1 = X, \quad W_{p+1}^T W_{p+1} - W_p W_p^T = c_p I

    They exist, for matrices up to the rank ``min(widths)``, if the widths leave room for what the
    offsets keep from being zero: ``c_p > 0`` makes ``W_{p+1}`` injective, so that ``d_p ≤
    d_{p+1}``, and ``c_p < 0`` makes ``W_p`` onto; see `dlngeo.core.relaxed.strings.relaxed_network`
    for the exact condition. Then they are unique up to rotations of the hidden layers, and of the
    null vectors of ``X``.

    Parameters
    ----------
    matrix : array-like, shape=[..., d_N, d_0]
        Matrix ``X`` of any rank up to ``min(widths)``.
    offsets : sequence of float
        ``c_1, ..., c_{N-1}``; zeros give balanced factors.
    widths : sequence of int, optional
        Widths ``(d_0, ..., d_N)``; the hidden ones are ``min(d_0, d_N)`` by default.

    Returns
    -------
    factors : array-like, shape=[..., N, d, d], or tuple of shape=[..., d_p, d_{p-1}]
        One array if all widths are equal.

    Raises
    ------
    ValueError
        If there are no such factors; the message says which layer is too narrow.

    References
    ----------
    [MPG25]; own derivation; THEORY 6.
    """
    matrix = real_array(matrix, "the matrix")
    offsets = check_offsets(offsets)
    widths, _ = network_shape(matrix, len(offsets) + 1, widths)
    layers = relaxed_layers(matrix, relaxed_network(offsets, widths))
    if len(set(widths)) == 1:
        return namespace(matrix).stack(list(layers), -3)
    return layers


class RelaxedOffsets(NamedTuple):
    """How far factors are from relaxed balanced ones.

    Attributes
    ----------
    offsets : array-like, shape=[..., N-1]
        ``c_p = tr(μ_p) / d_p``, those of the nearest multiples of the identity.
    defect : array-like, shape=[...]
        ``√(Σ_p ‖μ_p - c_p I‖²) / ‖W‖²``, zero for relaxed balanced factors.
    """

    offsets: Array
    defect: Array


def relaxed_offsets(factors: Factors) -> RelaxedOffsets:
    r"""Return the offsets of relaxed balanced factors, and the defect of others.

    Parameters
    ----------
    factors : array-like, shape=[..., N, d, d], or sequence of shape=[..., d_p, d_{p-1}]

    Returns
    -------
    result : RelaxedOffsets

    References
    ----------
    [MPG25]; THEORY 6.
    """
    layers, exponent = at_unit_scale(4, Layers(layers_of(factors)))
    xp, size = namespace(*layers), layers.squared_norm()
    offsets, squares = [0 * size], 0 * size
    for moment in moment_map(layers):
        width = moment.shape[-1]
        offset = xp.einsum("...ii->...", moment) / width
        offsets.append(offset + 0 * size)
        rest = moment - offset[..., None, None] * eye(width, width, moment)
        squares = squares + xp.sum(rest**2, axis=(-2, -1))
    stacked = xp.stack(offsets, -1)[..., 1:]
    defect = quotient(squares**0.5, size)
    return RelaxedOffsets(at_scale(stacked, 2 * exponent, "the offsets", axes=1), defect)


@dataclass(frozen=True, eq=False)
class Counterexample:
    """Two initialisations that ``X`` and ``μ`` do not tell apart, or the proof of one's failure.

    Attributes
    ----------
    factors, other : factors
        The given initialisation and the other one; the same if none was found.
    violation : float
        Largest ``‖M'(ξ)‖ ‖W‖ / (‖M‖ ‖ξ‖)`` over ``ξ`` with ``dφ(ξ) = 0`` and ``dμ(ξ) = 0``:
        zero where the kernel criterion holds.
    gap : float
        ``‖M(W) - M(W')‖ / ‖M(W)‖`` of the two.
    observable_defect, moment_defect : float
        ``‖φ(W) - φ(W')‖ / ‖φ(W)‖`` and ``‖μ(W) - μ(W')‖ / ‖W‖²``, of round-off.
    found : bool
    status : str
        What was found, and what it means.
    """

    factors: Factors
    other: Factors
    violation: float
    gap: float
    observable_defect: float
    moment_defect: float
    found: bool
    status: str


def intrinsic_counterexample(
    factors: Factors, *, distance: float = 0.5, n_steps: int = 20
) -> Counterexample:
    r"""Search for factors of the same ``X`` and ``μ``, but of another flow of ``X``.

    If the intrinsic metric exists near ``W``, then ``M = dφ dφ*`` does not change along the
    common kernel of ``dφ`` and ``dμ`` (the kernel criterion). Where it does, the search goes
    along the direction in which it changes fastest, in steps that are corrected by Newton's
    method, to factors with the same conserved quantities at which ``Ẋ = -M(∇E)`` differs: the
    gradient flows of almost every loss part at once.

    Parameters
    ----------
    factors : array-like, shape=[N, d, d], or sequence of shape=[d_p, d_{p-1}]
        Of small networks: dense matrices of the size of all parameters are formed.
    distance : float
        Length of the way, in units of ``‖W‖``.
    n_steps : int
        Steps on it.

    Returns
    -------
    result : Counterexample

    Raises
    ------
    ValueError
        If an argument does not fit.

    References
    ----------
    [MPG25] (kernel criterion); THEORY 6.
    """
    layers = Layers(to_numpy(layer) for layer in layers_of(factors))
    if any(layer.ndim != 2 for layer in layers):
        raise ValueError("give the factors of one network, not of a batch.")
    distance, n_steps = positive(distance, "distance"), integer(n_steps, "n_steps")
    layers, exponent = at_unit_scale(4 * len(layers), layers)
    size = float(layers.norm())
    target, operator = _conserved_values(layers), _operator(layers)
    kernel, change = _kernel(layers), 0.0
    if kernel.shape[1] and size:
        changes = numpy.stack([_change(layers, v).ravel() for v in kernel.T], axis=1)
        _, values, right = numpy.linalg.svd(changes, full_matrices=False)
        change, direction = values[0], kernel @ right[0]
    violation = float(change * size / (numpy.linalg.norm(operator) or 1.0))
    other = layers
    found = violation > 1e-8
    if found:
        for _ in range(n_steps):
            step = direction * (distance * size / n_steps / numpy.linalg.norm(direction))
            other = _correct(other + _vector(step, other), target)
            kernel = _kernel(other)
            direction = kernel @ (kernel.T @ direction)
    observable = end_to_end(layers)
    gap = numpy.linalg.norm(_operator(other) - operator) / (numpy.linalg.norm(operator) or 1.0)
    observable_gap = numpy.linalg.norm(end_to_end(other) - observable)
    moment_gaps = Layers(moment_map(other)) - moment_map(layers)
    status = (
        "the kernel criterion fails: factors with the same end-to-end matrix and the same "
        "conserved quantities start along another velocity."
        if found
        else "the kernel criterion holds here: the conserved quantities are enough to first order."
    )
    return Counterexample(
        factors=result_in_kind(layers, factors, exponent),
        other=result_in_kind(other, factors, exponent),
        violation=violation,
        gap=float(gap),
        observable_defect=float(observable_gap / (numpy.linalg.norm(observable) or 1.0)),
        moment_defect=float(moment_gaps.norm()) / (size**2 or 1.0) if moment_gaps else 0.0,
        found=found,
        status=status,
    )


def _vector(flat: Array, layers: Layers) -> Layers:
    """Return flat vectors of parameter space, shape=[..., D], as layers."""
    return Layers(unpack(flat, [layer.shape for layer in layers]))


def _basis(layers: Layers) -> Layers:
    """Return the unit vectors of parameter space, as layers with one more axis in front."""
    return _vector(numpy.eye(sum(layer.size for layer in layers)), layers)


def _observable_jacobian(layers: Layers, *vectors: Layers) -> Array:
    """Return the dense matrix of ``dφ``, or of its derivative along a vector."""
    images = differential(layers, *vectors, _basis(layers))
    return images.reshape(len(images), -1).T


def _operator(layers: Layers) -> Array:
    jacobian = _observable_jacobian(layers)
    return jacobian @ jacobian.T


def _change(layers: Layers, vector: Array) -> Array:
    """Return the derivative of ``dφ dφ*`` along a flat vector."""
    bent = _observable_jacobian(layers, _vector(vector, layers))
    change = bent @ _observable_jacobian(layers).T
    return change + change.T


def _conserved_values(layers: Layers) -> Array:
    """Return the entries of ``X`` and ``μ`` as one vector."""
    return pack((end_to_end(layers), *moment_map(layers)))


def _jacobian(layers: Layers) -> Array:
    """Return the dense matrix of ``dφ`` and ``dμ``."""
    basis = _basis(layers)
    # The moment map is quadratic: its derivative is a difference.
    changes = Layers(moment_map(layers + basis)) - moment_map(layers - basis)
    rows = [(change / 2).reshape(len(change), -1).T for change in changes]
    return numpy.concatenate([_observable_jacobian(layers), *rows])


def _kernel(layers: Layers) -> Array:
    """Return an orthonormal basis of the common kernel of ``dφ`` and ``dμ``, in columns."""
    _, values, right = numpy.linalg.svd(_jacobian(layers))
    rank = int(numpy.sum(values > 1e-9 * max(values[0], numpy.finfo(float).tiny)))
    return right[rank:].T


def _correct(layers: Layers, target: Array) -> Layers:
    """Return the nearest layers with given ``X`` and ``μ``, by Newton steps of least norm."""
    for _ in range(8):
        miss = target - _conserved_values(layers)
        step = numpy.linalg.lstsq(_jacobian(layers), miss, rcond=1e-9)[0]
        layers = layers + _vector(step, layers)
    return layers
