"""Losses of samples, for the diffusion metric: in any library, and with derivatives by hand."""

import autograd.numpy as anp
import numpy as np


def waves(n, size, seed=0, xp=anp, array=np.array):
    """Return ``f_s(x) = tanh(a_s · x)² + sin(b_s a_s · x)``, written with a library."""
    rng = np.random.default_rng(seed)
    a, b = array(rng.normal(size=(n, size)) / size**0.5), array(rng.normal(size=n))
    return lambda x: xp.tanh(a @ x) ** 2 + xp.sin(b * (a @ x))


def waves_by_hand(n, size, seed=0, xp=np, array=np.array):
    """Return gradients and Hessian-vector products of the same losses."""
    rng = np.random.default_rng(seed)
    a, b = array(rng.normal(size=(n, size)) / size**0.5), array(rng.normal(size=n))

    def gradients(x):
        t = xp.tanh(a @ x)
        return (2 * t * (1 - t**2) + b * xp.cos(b * (a @ x)))[:, None] * a

    def hvp(x, v):
        t = xp.tanh(a @ x)
        second = 2 * (1 - t**2) * (1 - 3 * t**2) - b**2 * xp.sin(b * (a @ x))
        return (second * (a @ v))[:, None] * a

    return gradients, hvp


def quadratics(n, shape, seed=0, array=np.array):
    """Return gradients and Hessian-vector products of ``½ xᵀ Q_s x`` at points of any shape."""
    size = int(np.prod(shape))
    matrices = np.random.default_rng(seed).normal(size=(n, size, size)) / size
    matrices = array(matrices + matrices.swapaxes(-1, -2))

    def gradients(x):
        return (matrices @ x.reshape(size)).reshape((n, *shape))

    return gradients, lambda _, v: gradients(v)
