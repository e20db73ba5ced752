"""The law of chains at infinite depth, from wrong starts, against quadrature over ``log σ``.

Half a minute long: ``make statistics``.
"""

import math

import numpy as np
import pytest
from scipy.special import ive

from dlngeo.sampling import SpectralExpression, langevin
from dlngeo.solvers import Factorization

BETA = 2.0
WELL = SpectralExpression("log(s)**2 / 2", depth=math.inf)
TARGET = np.diag([0.8, 0.3])


def quadrature(size, kappa):
    """Return exact means of ``½ ‖X - Y‖² + ½ Σ log² σ_k``, of ``det < 0``, and of ``log σ_k``.

    For one entry, or ``2 × 2`` matrices, whose frames give two Bessel functions.
    """
    nodes = np.linspace(-10, 3, 900)
    logs = np.stack(np.meshgrid(*[nodes] * size, indexing="ij"), axis=-1).reshape(-1, size)
    logs = logs[(np.diff(logs, axis=-1) < 0).all(axis=-1)]
    heat, rows = BETA / kappa, []
    for sign in (1, -1):
        sigma = np.exp(logs)
        sigma[:, -1] *= sign
        well = np.sum(logs**2, axis=-1) / 2
        if size == 1:
            energy = well + (sigma[:, 0] - TARGET[0, 0]) ** 2 / 2
            weight = -heat * energy
        else:
            gap, squares = logs[:, 0] - logs[:, 1], np.sum(sigma**2, axis=-1)
            pairs = (sigma[:, 0] ** 2 - sigma[:, 1] ** 2) / (2 * gap)
            first, second = np.diagonal(TARGET)
            a = heat * (sigma[:, 0] + sigma[:, 1]) * (first + second) / 2
            b = heat * (sigma[:, 0] - sigma[:, 1]) * (first - second) / 2
            square = (squares + np.sum(TARGET**2)) / 2
            weight = np.log(gap) + np.log(pairs) * (1 + 1 / (2 * kappa)) - heat * (square + well)
            # The frames of the volume, Π (σ_k² - σ_l²) = 2 Π r (log σ_k - log σ_l), over r².
            weight += abs(a) + abs(b) + np.log(ive(0, a) * ive(0, b)) - np.log(pairs)
            overlap = a * ive(1, a) / ive(0, a) + b * ive(1, b) / ive(0, b)
            energy = square + well - overlap / heat
        one = np.ones(len(logs))
        rows.append((weight, np.stack([energy, (sign < 0) * one, *logs.T], axis=-1)))
    weight, values = (np.concatenate(part) for part in zip(*rows, strict=True))
    weight = np.exp(weight - weight.max())
    return weight @ values / weight.sum()


@pytest.mark.parametrize(("size", "kappa"), [(1, 1.0), (1, 0.5), (2, 1.0), (2, 0.6)])
def test_law_from_the_wrong_component(size, kappa):
    """By jumps, whose shares do not depend on the start."""
    target, n = TARGET[:size, :size], 1500
    start = np.tile(np.diag([1.0, 0.5][:size]), (n, 1, 1))
    start[:, 0] *= -1
    energy = Factorization(target) + WELL
    result = langevin(
        initial=start, energy=energy, depth=math.inf, beta=BETA, kappa=kappa, step_size=0.01,
        n_steps=800, save_every=800, rng=size,
    )  # fmt: skip
    assert result.success, result.status
    signs = result.trace["determinant_sign"][:, -1] < 0
    draws = [result.trace["energy"][:, -1], signs, *np.log(result.singular_values).T]
    means, deviations = np.mean(draws, axis=1), np.std(draws, axis=1) / n**0.5
    assert abs((means - quadrature(size, kappa)) / deviations).max() < 4
