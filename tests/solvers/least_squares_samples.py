"""Losses of a few samples, linear least squares, of which all moments of noise are known."""

import numpy as np

from dlngeo.solvers import SampleLosses

RNG = np.random.default_rng(4)
N, SIZE = 5, 2
A, B = RNG.normal(size=(N, SIZE)), RNG.normal(size=N)
X = np.array([0.7, -0.4])


def gradients(x, indices=slice(None)):
    """Gradients of ``½ (a_s · x - b_s)²``."""
    return ((A @ x - B)[:, None] * A)[indices]


SAMPLES = SampleLosses((SIZE,), gradients=gradients, n_samples=N)
