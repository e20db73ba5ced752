"""Relaxed balanced networks of every sort, and factors that minimisation finds."""

import numpy as np
import pytest
from scipy.optimize import least_squares

from dlngeo.core.networks.network import moment_map
from dlngeo.core.relaxed.metric import raise_index
from dlngeo.core.relaxed.strings import intrinsic_network
from tests.core.brute import random_factors, unflatten

# Widths, offsets and rank, with null vectors on either side, of the top level and of others,
# and with ties of the shifts.
NETWORKS = [
    ((3, 3), (), 3),
    ((3, 3, 3), (0.5,), 3),
    ((3, 3, 3), (-0.5,), 3),
    ((2, 2, 4), (0.6,), 2),
    ((2, 2, 4), (-0.6,), 2),
    ((4, 2, 3), (0.7,), 2),
    ((3, 1, 4), (0.7,), 1),
    ((3, 3, 3, 3), (-0.5, 0.5), 3),
    ((3, 2, 2, 4), (0.5, -0.5), 2),
    ((2, 3, 3, 3), (0.5, -0.4), 2),
    ((2, 4, 3), (0.0,), 2),
    ((3, 2, 2, 2, 3), (0.3, -0.6, 0.4), 2),
    ((2, 2, 2, 2, 2, 4), (0.3, -0.6, 0.4, 0.1), 2),
    ((1, 1, 1, 1), (0.5, 0.2), 1),
]
NETWORK = pytest.mark.parametrize(("widths", "offsets", "rank"), NETWORKS)


def setting(widths, offsets, rank, seed=0, spectrum=None, n=None):
    """Return the network, a matrix of the rank, and a vector."""
    rng = np.random.default_rng(seed)
    batch = () if n is None else (n,)
    frames = [
        np.linalg.qr(rng.normal(size=(*batch, width, rank)))[0] for width in (widths[-1], widths[0])
    ]
    sigma = np.array([1.6, 1.0, 0.6])[:rank] if spectrum is None else spectrum[:rank]
    matrix = frames[0] * sigma @ frames[1].swapaxes(-1, -2)
    network = intrinsic_network(offsets, (widths[-1], widths[0]), widths, rank)
    return network, matrix, rng.normal(size=matrix.shape)


def start(widths, offsets, rank, size=0.4, n=None):
    network, matrix, covector = setting(widths, offsets, rank, n=n)
    velocity = raise_index(matrix, covector, network)
    return network, matrix, size * velocity / np.linalg.norm(velocity)


def misfit(layers, offsets):
    """Return the entries of ``μ_p - c_p I``."""
    moments = zip(moment_map(tuple(layers)), offsets, strict=True)
    return np.concatenate([(m - c * np.eye(len(m))).ravel() for m, c in moments])


def fitted(widths, offsets, seed):
    """Return relaxed balanced factors found by minimisation, and how well they are that."""
    model = random_factors(widths, np.random.default_rng(seed))
    start = np.concatenate([layer.ravel() for layer in model])
    fit = least_squares(
        lambda x: misfit(unflatten(x, model), offsets),
        start,
        ftol=1e-15,
        xtol=1e-15,
        gtol=1e-15,
        max_nfev=200,
    )
    return unflatten(fit.x, model), abs(fit.fun).max()
