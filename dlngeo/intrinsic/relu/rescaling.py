r"""Rescaling of neurons: its conservation laws, and parameters from path-lifting and laws.

A positive number ``d_v`` for each hidden neuron acts by ``θ_e ↦ θ_e d_v / d_u`` on the edge
``e = u → v``, and keeps the path-lifting and the outputs. With the incidence matrix ``C``, 1 at the
head and -1 at the tail of an edge, orbits, laws and Laplacian are

.. math:: θ ∘ e^{C^T x}, \quad h(θ) = C (θ ∘ θ), \quad L(θ) = C \, \mathrm{diag}(θ ∘ θ) \, C^T.

``∇h_v`` is twice the direction in which ``d_v`` moves ``θ``: level sets of ``h`` are orthogonal to
the orbits. Where every hidden neuron is on a path of non-zero weights, each meets each orbit in one
point: the minimum of a convex function, as in the theorem of Kempf and Ness. So path-lifting and
laws determine ``θ``, up to the sign of each neuron.

Neurons that edges of fixed weight join have one scale together, and none if they are joined to an
input, an output or the source of the biases.

Functions take a `ReluNetwork` and its parameters ``θ``, shape=[..., D], of any library; scales and
values of the laws, shape=[..., n_laws], are in the order of ``network.scaling_groups``. What does
not fit is refused by a ValueError.

Sources: [MGP23] for the laws, [MPG25] for the intrinsic dynamics; THEORY 6.
"""

import math

import numpy

from dlngeo.core.base.arrays import Array, from_numpy, namespace, to_numpy
from dlngeo.core.base.checks import (
    check_batches,
    in_batch,
    in_range,
    invertible,
    real_array,
    where,
)
from dlngeo.core.base.scales import at_scale, at_unit_scale
from dlngeo.intrinsic.relu.layered_graph import join
from dlngeo.intrinsic.relu.relu_network import ReluNetwork, check_network

LONGEST_STEP = 0.25
"""Change of the logarithm of a weight up to which a step of Newton's method is taken as it is."""

MOST_STEPS = 500


def conserved_values(network: ReluNetwork, parameters: Array) -> Array:
    r"""Return the conservation laws of the gradient flow of any loss.

    .. math:: h_v(θ) = \sum_{e → v} θ_e^2 - \sum_{v → e} θ_e^2

    the squared norm of the weights and bias that enter a hidden neuron, minus that of the
    weights that leave it; summed over neurons that fixed edges join.

    Returns
    -------
    values : array-like, shape=[..., n_laws]
    """
    parameters = check_network(network).check_parameters(parameters)
    unit, exponent = at_unit_scale(2, parameters, axes=1)
    squares = unit**2
    matrices = network.matrices(network.edge_vector(squares, numpy.zeros(len(network.fixed))))
    xp = namespace(squares)
    zeros = (from_numpy(numpy.zeros(n), squares) for n in network.sizes)
    sums = [xp.broadcast_to(zero, (*squares.shape[:-1], *zero.shape)) for zero in zeros]
    for block, matrix in zip(network.blocks, matrices, strict=True):
        sums[block.target] = sums[block.target] + xp.sum(matrix, axis=-1)
        sums[block.source] = sums[block.source] - xp.sum(matrix, axis=-2)
    labels, n_groups = network.scaling_labels, len(network.scaling_groups)
    membership = from_numpy(1.0 * (labels[:, None] == numpy.arange(n_groups)), squares)
    return at_scale(join(sums) @ membership, 2 * exponent, "the laws", axes=1)


def rescale(network: ReluNetwork, parameters: Array, scales: Array) -> Array:
    r"""Return the parameters ``θ_e d_v / d_u`` after a rescaling of the neurons.

    Parameters
    ----------
    parameters : array-like, shape=[..., D]
        Or a vector of parameter space, on which rescaling acts linearly.
    scales : array-like, shape=[..., n_laws]
        Numbers ``d``: positive ones keep the outputs, negative ones the path-lifting only.

    Returns
    -------
    rescaled : array-like, shape=[..., D]

    Raises
    ------
    ValueError
        If a scale is zero, NaN or infinite.
    """
    parameters = check_network(network).check_parameters(parameters)
    scales = _check_values(network, scales, "the scales")
    namespace(parameters, scales)
    check_batches((parameters, scales), "parameters and scales", 1)
    if bool((scales == 0).any()):
        raise ValueError(
            f"a neuron cannot be scaled by zero, as in {where(scales == 0)}: give scales that are "
            "positive."
        )
    tails, heads = (end[: network.n_parameters] for end in network.ends)
    # The last one is for what cannot be rescaled, of which the label is -1.
    one = from_numpy(numpy.ones((*scales.shape[:-1], 1)), scales)
    of_neurons = join([scales, one])[..., network.scaling_labels]
    rescaled = parameters * of_neurons[..., heads] / of_neurons[..., tails]
    return in_range(rescaled, "a rescaled parameter")


def with_conserved_values(
    network: ReluNetwork, parameters: Array, values: Array | float = 0.0
) -> Array:
    r"""Return the point of the orbit of parameters at which the laws have given values.

    With ``h = 0`` it is the point of least norm. It is `rescale` by `scales_to`.

    Parameters
    ----------
    values : array-like, shape=[..., n_laws], or number
        ``h``.

    Returns
    -------
    parameters : array-like, shape=[..., D]

    Raises
    ------
    ValueError
        As `scales_to`.

    References
    ----------
    [MPG25] for the statement.
    """
    return rescale(network, parameters, scales_to(network, parameters, values))


def scales_to(network: ReluNetwork, parameters: Array, values: Array | float = 0.0) -> Array:
    r"""Return the scales of the neurons after which the laws have given values.

    They are ``d = e^x`` at the minimum of the convex function

    .. math:: Ψ(x) = \tfrac12 \sum_e θ_e^2 e^{2 (C^T x)_e} - \langle h, x \rangle, \quad
              ∇Ψ(x) = h(θ ∘ e^{C^T x}) - h,

    which exists for all ``h`` and is unique, if each hidden neuron is on a path of non-zero
    weights.

    Parameters
    ----------
    values : array-like, shape=[..., n_laws], or number
        ``h``.

    Returns
    -------
    scales : array-like, shape=[..., n_laws]

    Raises
    ------
    ValueError
        If a neuron is on no path of non-zero weights, or the laws cannot be solved to round-off
        because a neuron nearly is.

    References
    ----------
    Own derivation (Newton's method in boxes).
    """
    like = check_network(network).check_parameters(parameters)
    point = to_numpy(like)
    n_laws, size = len(network.scaling_groups), network.n_parameters
    if isinstance(values, (int, float)):
        values = numpy.full(n_laws, float(values))
    values = to_numpy(_check_values(network, values, "the conserved values"))
    check_batches((point, values), "parameters and conserved values", 1)
    lead = numpy.broadcast_shapes(point.shape[:-1], values.shape[:-1])
    check_alive(network, point)
    flat = numpy.broadcast_to(point, (*lead, size)).reshape(math.prod(lead), size)
    aims = numpy.broadcast_to(values, (*lead, n_laws)).reshape(len(flat), n_laws)
    scales = numpy.exp(_log_scales(network, flat**2, aims))
    return from_numpy(scales.reshape(*lead, n_laws), like)


def check_alive(network: ReluNetwork, parameters: numpy.ndarray) -> None:
    """Raise a ValueError if a neuron is on no path of non-zero weights."""
    is_dead = network.dead(parameters)[..., : network.offsets[-2]]
    hidden = numpy.unique(numpy.nonzero(is_dead)[-1])
    if hidden.size:
        raise ValueError(
            f"{network.name(hidden)} on no path of non-zero weights from an input or a bias to an "
            f"output{in_batch(is_dead.any(axis=-1))}: neither path-lifting nor conservation laws "
            "determine the other weights. Remove it, or start where its weights are not zero."
        )


def _check_values(network: ReluNetwork, values: Array, name: str) -> Array:
    values = real_array(values, name)
    n_laws = len(network.scaling_groups)
    if values.ndim < 1 or values.shape[-1] != n_laws:
        raise ValueError(
            f"{name} of this network must have shape [..., {n_laws}], one number for each group of "
            f"neurons in scaling_groups, got {tuple(values.shape)}."
        )
    return values


def _log_scales(network: ReluNetwork, squares: numpy.ndarray, aims: numpy.ndarray) -> numpy.ndarray:
    """Return the minima of ``Ψ``, shape=[b, n_laws].

    Newton's direction is cut to a box where it is long: there Hessians differ by a bounded
    factor, and the whole step contracts. The other candidate solves all laws one by one and
    goes half the way, which lessens ``Ψ`` because an edge joins two neurons at most.
    """
    incidence, heads, tails, _ = network.scaling_matrices
    x = numpy.zeros_like(aims)
    if not aims.size:
        return x

    def weights(x: numpy.ndarray) -> numpy.ndarray:
        return squares * numpy.exp(2 * (x @ incidence))

    def energy(x: numpy.ndarray) -> numpy.ndarray:
        return weights(x).sum(axis=-1) / 2 - (aims * x).sum(axis=-1)

    epsilon = numpy.finfo(float).eps
    with numpy.errstate(over="ignore", invalid="ignore", divide="ignore"):
        for _ in range(MOST_STEPS):
            w = weights(x)
            entering, leaving = w @ heads, w @ tails
            gradient = entering - leaving - aims
            try:
                newton = -numpy.linalg.solve(2 * _laplacian(network, w), gradient[..., None])[
                    ..., 0
                ]
            except numpy.linalg.LinAlgError:  # weights of a neuron have underflowed
                break
            length = abs(newton @ incidence).max(axis=-1, keepdims=True)
            is_short = length <= LONGEST_STEP
            is_exact = abs(gradient) <= 8 * epsilon * (entering + leaving + abs(aims))
            if (is_exact.all(axis=-1) | (length[:, 0] < 1e-9)).all():
                return x + numpy.where(is_short, newton, 0)
            boxed = x + newton * numpy.minimum(1, LONGEST_STEP / length)
            if is_short.all():
                x = boxed
                continue
            root = numpy.hypot(aims, 2 * numpy.sqrt(entering) * numpy.sqrt(leaving))
            solved = numpy.where(
                aims > 0, (aims + root) / (2 * entering), 2 * leaving / (root - aims)
            )
            one_by_one = x + numpy.log(solved) / 4
            is_lower = (energy(boxed) <= energy(one_by_one))[:, None]
            x = numpy.where(is_short | is_lower, boxed, one_by_one)
    raise ValueError(
        "the conservation laws could not be solved to round-off: weights of a neuron are too small "
        "or too unequal. Remove such neurons, or rescale the network."
    )


def _laplacian(network: ReluNetwork, weights: numpy.ndarray) -> numpy.ndarray:
    """Return ``C diag(w) Cᵀ``, shape=[b, n_laws, n_laws]."""
    n = len(network.scaling_groups)
    return (weights @ network.scaling_matrices.laplacian).reshape(len(weights), n, n)


def horizontal_projection(network: ReluNetwork, parameters: Array, vector: Array) -> Array:
    r"""Return the part of a vector that is orthogonal to the orbit, and keeps the laws.

    .. math:: v - θ ∘ C^T L(θ)^{-1} C (θ ∘ v)

    Returns
    -------
    horizontal : array-like, shape=[..., D]

    Raises
    ------
    ValueError
        If a neuron is on no path of non-zero weights.

    References
    ----------
    Own derivation.
    """
    like = check_network(network).check_parameters(parameters)
    point = to_numpy(like)
    vector = to_numpy(network.check_parameters(vector, "the vector"))
    if not network.scaling_groups:
        return from_numpy(vector, like)
    check_batches((point, vector), "parameters and vectors", 1)
    lead = numpy.broadcast_shapes(point.shape, vector.shape)
    check_alive(network, point)
    point = numpy.broadcast_to(point, lead).reshape(math.prod(lead[:-1]), lead[-1])
    flat = numpy.broadcast_to(vector, lead).reshape(point.shape)
    point, flat, _, exponent = at_unit_scale(4, point, flat, axes=1)
    incidence, heads, tails, _ = network.scaling_matrices
    moment = (point * flat) @ heads - (point * flat) @ tails
    laplacian = _laplacian(network, point**2)
    with invertible(laplacian, "the Laplacian of the neurons"):
        turn = numpy.linalg.solve(laplacian, moment[..., None])[..., 0]
    horizontal = at_scale(flat - point * (turn @ incidence), exponent, "the vector", axes=1)
    return from_numpy(horizontal.reshape(lead), like)
