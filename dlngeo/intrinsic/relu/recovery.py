r"""Parameters from path-lifting and conservation laws, and the intrinsic kernel of the flow.

Along the gradient flow of a loss ``f(φ(θ))`` the path-lifting obeys

.. math:: \dot z = -K(z, h_0) ∇f(z), \quad K = ∂φ(θ) ∂φ(θ)^T, \quad φ(θ) = z, \; h(θ) = h_0.

Sources: [MPG25]; THEORY 6.
"""

import numpy

from dlngeo.core.base.checks import host_array
from dlngeo.intrinsic.relu.layered_graph import PADDING
from dlngeo.intrinsic.relu.path_lifting import jacobian
from dlngeo.intrinsic.relu.relu_network import ReluNetwork, check_network
from dlngeo.intrinsic.relu.rescaling import with_conserved_values


def intrinsic_kernel(
    network: ReluNetwork, lifted: numpy.ndarray, values: numpy.ndarray
) -> numpy.ndarray:
    r"""Return ``K(z, h_0) = ∂φ ∂φᵀ``, a function of path-lifting and conservation laws.

    Parameters
    ----------
    network : ReluNetwork
    lifted : array, shape=[P]
        ``z``, in the order of ``network.paths``.
    values : array, shape=[n_laws]
        ``h_0``.

    Returns
    -------
    kernel : array, shape=[P, P]

    Raises
    ------
    ValueError
        As `recover`.
    """
    differential = jacobian(network, recover(network, lifted, values))
    return differential @ differential.T


def recover(
    network: ReluNetwork,
    lifted: numpy.ndarray,
    values: numpy.ndarray,
    like: numpy.ndarray | None = None,
) -> numpy.ndarray:
    r"""Return the parameters with a path-lifting and values of the conservation laws.

    For each neuron the strongest path through it gives a strongest way in and way out. The weight
    of an edge ``e = u → v``, up to a rescaling, is

    .. math:: θ_e = \frac{φ_{\mathrm{in}(u), e, \mathrm{out}(v)}}
                         {φ_{\mathrm{in}(v), \mathrm{out}(v)}}

    which fixes the products along the ways in to 1; zero weights do no harm. The rescaling
    follows from the laws by `with_conserved_values`. Only ``D - n_laws`` entries are used.

    Parameters
    ----------
    network : ReluNetwork
    lifted : array, shape=[P]
        ``φ(θ)``, in the order of ``network.paths``.
    values : array, shape=[n_laws]
        ``h(θ)``.
    like : array, shape=[D], optional
        Parameters nearby, from which each neuron takes its sign: that of its strongest way in. By
        default the sign is positive. Path-lifting and laws do not depend on these signs, nor does
        ``∂φ ∂φᵀ``; the outputs do.

    Returns
    -------
    parameters : array, shape=[D]

    Raises
    ------
    ValueError
        If a shape does not fit, an entry is NaN, or all paths through a neuron vanish.

    References
    ----------
    [MPG25] for recoverability; the algorithm is an own derivation.
    """
    network, lifted = check_network(network), host_array(lifted, "the path-lifting")
    if lifted.shape != (network.n_paths,):
        raise ValueError(
            f"the path-lifting of this network has shape ({network.n_paths},), got {lifted.shape}."
        )
    if (values := host_array(values, "the values")).ndim != 1:
        raise ValueError(f"give the values of one network, got shape {values.shape}.")
    if like is None:
        like = numpy.ones(network.n_parameters)
    reference = network.edge_vector(network.check_parameters(host_array(like, "like"), "like"))
    tails, heads = network.ends
    numbers = network.path_numbers
    into, out_of = _strongest_ways(network, lifted)
    through_edge = [
        lifted[numbers[(*into[u], e, *out_of[v])]]
        for e, (u, v) in enumerate(zip(tails, heads, strict=True))
    ]
    through_head = [lifted[numbers[(*into[v], *out_of[v])]] if out_of[v] else 1.0 for v in heads]
    ratios = numpy.array(through_edge) / numpy.array(through_head)
    gauge = _gauge(network, ratios, numpy.array([reference[list(way)].prod() for way in into]))
    found = (ratios * gauge[heads] / gauge[tails])[: network.n_parameters]
    return with_conserved_values(network, found, values)


def _strongest_ways(network: ReluNetwork, lifted: numpy.ndarray) -> tuple[list, list]:
    """Return the edges of the strongest way into each neuron, and out of it."""
    tails, heads = network.ends
    n_neurons, first, last = network.offsets[-1], network.offsets[2], network.offsets[-2]
    strength, best = numpy.zeros(n_neurons), numpy.zeros((n_neurons, 2), dtype=int)
    order = numpy.argsort(abs(lifted))
    sorted_paths = network.paths[order]
    for step in range(sorted_paths.shape[1] - 1):
        before, after = sorted_paths[:, step], sorted_paths[:, step + 1]
        going = numpy.flatnonzero(after != PADDING)
        # Of the paths through a neuron at this step the last one stays, which is the strongest.
        place = numpy.full(n_neurons, -1)
        numpy.maximum.at(place, heads[before[going]], going)
        better = numpy.flatnonzero(place >= 0)
        found = abs(lifted[order[place[better]]])
        better, found = better[found > strength[better]], found[found > strength[better]]
        strength[better] = found
        best[better] = numpy.stack([before, after], axis=-1)[place[better]]
    hidden = numpy.arange(first, last)
    dead = hidden[strength[hidden] == 0]
    if dead.size:
        raise ValueError(
            f"{network.name(dead)} on no path of which the product is not zero: the path-lifting "
            "does not determine its weights. Remove it, or start where its weights are not zero."
        )
    into: list[tuple[int, ...]] = [() for _ in range(n_neurons)]
    out_of: list[tuple[int, ...]] = [() for _ in range(n_neurons)]
    for v in hidden:
        into[v] = (*into[tails[best[v, 0]]], int(best[v, 0]))
    for v in hidden[::-1]:
        out_of[v] = (int(best[v, 1]), *out_of[heads[best[v, 1]]])
    return into, out_of


def _gauge(network: ReluNetwork, ratios: numpy.ndarray, products: numpy.ndarray) -> numpy.ndarray:
    """Return products along the ways in that fit the fixed edges, and free ones as given."""
    tails, heads = (end[network.n_parameters :] for end in network.ends)
    steps = network.fixed / ratios[network.n_parameters :]
    first, last = network.offsets[2], network.offsets[-2]
    gauge = numpy.zeros(network.offsets[-1])
    gauge[:first] = gauge[last:] = 1.0
    while True:
        has_spread = True
        while has_spread:
            has_spread = False
            for tail, head, step in zip(tails, heads, steps, strict=True):
                if (gauge[tail] == 0) != (gauge[head] == 0):
                    has_spread = True
                    if gauge[head] == 0:
                        gauge[head] = gauge[tail] * step
                    else:
                        gauge[tail] = gauge[head] / step
        # One neuron of each group is free; without fixed edges every hidden one is.
        open_ones = numpy.flatnonzero(gauge == 0)
        if not open_ones.size:
            return gauge
        gauge[open_ones[0]] = products[open_ones[0]]
