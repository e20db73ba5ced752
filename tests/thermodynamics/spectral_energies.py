"""Spectral energies of which equilibrium is known, or is hard."""

import numpy as np

SHAPES = [((1, 1), 1), ((1, 1, 1, 1), 1), ((2, 3, 2), 2), ((3, 2, 4, 3), 1), ((3, 2, 4, 3), 2)]
SHAPES += [((4, 3, 3, 5), 3), ((2, 2, 2, 2, 2), 2)]
"""Widths and ranks."""

TARGET = np.array([2.0, 1.0, 0.5])


def norm(depth):
    """``½‖W‖²`` of balanced factors."""
    return lambda sigma: depth / 2 * np.sum(sigma ** (2 / depth), axis=-1)


def tilted(sigma):
    """An asymmetric energy, in which the values interact."""
    wells = 4 * np.sum((sigma - TARGET[: sigma.shape[-1]]) ** 2, axis=-1)
    return wells + 0.3 * (sigma[..., 0] - 1) * sigma[..., -1]


def double_well(sigma):
    return np.sum((sigma - 1) ** 2 * (sigma - 3) ** 2 + 0.1 * sigma, axis=-1)
