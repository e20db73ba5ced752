"""Balanced networks for tests."""

import numpy

from dlngeo.core.networks.balancing import factorize
from dlngeo.core.networks.network import act
from dlngeo.networks import LinearNetwork


def rotated(network, seed=0):
    """Return a network with other hidden coordinates."""
    rng = numpy.random.default_rng(seed)
    rotations = [numpy.linalg.qr(rng.normal(size=(w, w)))[0] for w in network.widths[1:-1]]
    return LinearNetwork(act(rotations, network.factors), network.biases)


def balanced_networks(widths, rank, count=3, spread=0.3):
    """Return balanced networks around one, in random hidden coordinates."""
    rng = numpy.random.default_rng(5)
    left, right = rng.normal(size=(widths[-1], rank)), rng.normal(size=(rank, widths[0]))
    found = []
    for seed in range(count):
        near = [part + spread * rng.normal(size=part.shape) for part in (left, right)]
        factors = factorize(near[0] @ near[1], len(widths) - 1, widths, rank)
        found.append(rotated(LinearNetwork(tuple(factors)), seed))
    return found
