r"""Sharpness: the spectrum of the Hessian of a loss, and the steps at which training is stable.

At a global minimum of a quadratic loss with the second moment ``Σ`` of the inputs, balanced factors
have a Hessian in closed form (`minimum_spectrum`); everywhere else, and for every loss, Hessian
products (`dlngeo.networks.hessian`) give the ends of the spectrum by Lanczos, and all of it as a
dense matrix.
"""

import math
from typing import Any, Literal

import numpy

from dlngeo.core.base.arrays import Array
from dlngeo.core.base.checks import host_array, in_range, nonnegative
from dlngeo.core.networks.factors import Factors, check_depth
from dlngeo.core.networks.jacobi import depth_kernel
from dlngeo.core.numerics.lanczos import largest_eigenvalue
from dlngeo.networks.hessian import LossHessian

MOST_OF_SPECTRUM = 4000
"""Number of parameters up to which all eigenvalues are found."""

MOST_STEPS = 5000
"""Of Lanczos, each a Hessian product."""

TOLERANCE = 1e-10
"""Of eigenvalues by Lanczos, relative to the norm of the Hessian."""


def sharpness(factors: Factors, loss: Any) -> float:
    r"""Return the sharpness of a loss at a network, the largest eigenvalue of its Hessian.

    .. math:: λ_{\max}\big(∇^2 L(W)\big), \quad L(W) = E(W_N \cdots W_1)

    Gradient descent is stable at a minimum for steps below ``2 / sharpness``, `largest_step`. At a
    balanced global minimum on whitened data it is ``N σ_1^{2-2/N}``, `minimum_spectrum`.

    Parameters
    ----------
    factors : factors or LinearNetwork
        Weights ``W``, and biases if there are any: these are parameters too.
    loss : callable
        ``E``, of matrices of shape=[m, n]; see `hessian_product`.

    Returns
    -------
    sharpness : float
        To 1e-10 of the norm of the Hessian, and to round-off if it is no crowded eigenvalue.

    Raises
    ------
    ValueError
        As in `hessian_product`, or if Lanczos has not converged.

    Examples
    --------
    >>> import numpy as np
    >>> from dlngeo.losses import Factorization
    >>> from dlngeo.networks import sharpness
    >>> round(sharpness([2 * np.eye(2)] * 3, Factorization(8 * np.eye(2))), 10)
    48.0
    """
    return _extreme_eigenvalue(LossHessian(factors, loss), 1)


def lowest_curvature(factors: Factors, loss: Any) -> float:
    """Return the lowest eigenvalue of the Hessian of a loss at a network.

    It is negative at saddles, and zero at minima of depth two and more.

    Parameters, precision and errors are those of `sharpness`.

    Examples
    --------
    >>> import numpy as np
    >>> from dlngeo.losses import Factorization
    >>> from dlngeo.networks import lowest_curvature
    >>> round(lowest_curvature(np.zeros((2, 2, 2)), Factorization(np.diag([3.0, 1.0]))), 10)
    -3.0
    """
    return -_extreme_eigenvalue(LossHessian(factors, loss), -1)


def hessian_spectrum(factors: Factors, loss: Any) -> Array:
    """Return all eigenvalues of the Hessian of a loss at a network, in descending order.

    Parameters
    ----------
    factors, loss
        As in `sharpness`, of at most 4000 parameters.

    Returns
    -------
    spectrum : array, shape=[D]
        To round-off of the largest, for ``D`` weights and biases.

    Raises
    ------
    ValueError
        As in `hessian_product`, or if there are too many parameters.

    Examples
    --------
    >>> import numpy as np
    >>> from dlngeo.losses import Factorization
    >>> from dlngeo.networks import hessian_spectrum
    >>> hessian_spectrum([np.ones((1, 1))] * 2, Factorization(np.ones((1, 1))))
    array([2., 0.])
    """
    hessian = LossHessian(factors, loss)
    size = hessian.parameters.size
    if size > MOST_OF_SPECTRUM:
        raise ValueError(
            f"a network of {size} parameters has too many eigenvalues to find them all, more than "
            f"{MOST_OF_SPECTRUM}: take sharpness and lowest_curvature, or minimum_spectrum at a "
            "balanced minimum."
        )
    return numpy.linalg.eigvalsh(hessian.dense())[::-1]


def largest_step(factors: Factors, loss: Any, momentum: float = 0.0) -> float:
    r"""Return the step size from which on gradient descent is unstable at a minimum.

    .. math:: η = \frac{2 (1 + β)}{λ_{\max}(∇^2L)}, \quad
              W_{t+1} = W_t - η ∇L(W_t) + β (W_t - W_{t-1})

    Parameters
    ----------
    factors, loss
        As in `sharpness`.
    momentum : float
        ``β``, at least zero and below one.

    Returns
    -------
    step : float
        Infinite where no direction curves upwards.

    Raises
    ------
    ValueError
        As in `sharpness`, or if the momentum is out of range.

    References
    ----------
    B. Polyak, *Some methods of speeding up the convergence of iteration methods*, 1964.

    Examples
    --------
    >>> import numpy as np
    >>> from dlngeo.losses import Factorization
    >>> from dlngeo.networks import largest_step
    >>> largest_step([np.ones((1, 1))] * 2, Factorization(np.ones((1, 1))))
    1.0
    """
    momentum = nonnegative(momentum, "momentum")
    if momentum >= 1:
        raise ValueError(f"momentum must be below 1, got {momentum:g}.")
    return stable_step(sharpness(factors, loss), momentum)


def stable_step(curvature: float, momentum: float = 0.0) -> float:
    """Return `largest_step` where the largest curvature is known."""
    return 2 * (1 + momentum) / curvature if curvature > 0 else math.inf


def minimum_spectrum(matrix: Any, depth: int, second_moment: Any = None) -> Array:
    r"""Return the Hessian's nonzero eigenvalues at a balanced global minimum, in closed form.

    There ``∇²L = dφ* ∘ (· Σ) ∘ dφ``, of which the nonzero eigenvalues are those of
    ``Z ↦ A_{N,X}(Z Σ)``. In singular frames, where ``A_{N,X}`` multiplies entries by
    ``r_kl = Σ_p λ_k^{2(N-p)} λ_l^{2(p-1)}``, rows do not mix:

    .. math:: \bigcup_k \; \mathrm{eig}\big( D_k V^T Σ V D_k \big), \quad
              D_k = \mathrm{diag}_l \sqrt{r_{kl}}

    For whitened data, ``Σ = I``, they are the ``r_kl``, at the top ``N σ_1^{2-2/N}``. All other
    eigenvalues are zero, and so are those of two null directions if ``N > 1``.

    Parameters
    ----------
    matrix : array-like, shape=[m, n]
        ``X``. Singular values below round-off count as zero.
    depth : int
        ``N``.
    second_moment : array-like, shape=[n, n], optional
        ``Σ = (1/s) Σ_i x_i x_iᵀ``, the identity by default.

    Returns
    -------
    spectrum : array, shape=[m n]
        In descending order.

    Raises
    ------
    ValueError
        If the second moment does not fit, or is not symmetric and positive semidefinite.

    References
    ----------
    THEORY 1; THEORY 3 for ``A_{N,X}``.

    Examples
    --------
    >>> import numpy as np
    >>> from dlngeo.networks import minimum_spectrum
    >>> minimum_spectrum(np.diag([8.0, 1.0]), 3)
    array([48., 21., 21.,  3.])
    """
    matrix, depth = host_array(matrix, "the matrix"), check_depth(depth)
    if matrix.ndim != 2:
        raise ValueError(f"expected a matrix [m, n], got shape {matrix.shape}.")
    rows, columns = matrix.shape
    _, sigma, right = numpy.linalg.svd(matrix)
    sigma[sigma <= sigma[0] * max(matrix.shape) * numpy.finfo(float).eps] = 0
    lam = numpy.concatenate([sigma, numpy.zeros(max(matrix.shape) - len(sigma))]) ** (1 / depth)
    kernel = depth_kernel(lam[:rows], lam[:columns], depth)
    in_range(kernel, "the spectrum")
    if second_moment is None:
        return numpy.sort(kernel, axis=None)[::-1]
    moment = _checked_moment(second_moment, columns)
    roots = kernel[:, None, :] ** 0.5
    scaled = roots.swapaxes(1, 2) * (right @ moment @ right.T) * roots
    return numpy.sort(numpy.linalg.eigvalsh(scaled), axis=None)[::-1]


def _checked_moment(second_moment: Any, size: int) -> Array:
    moment = host_array(second_moment, "the second moment")
    if moment.shape != (size, size):
        raise ValueError(f"the second moment must have shape {(size, size)}, got {moment.shape}.")
    round_off = 100 * size * numpy.finfo(float).eps * abs(moment).max()
    if abs(moment - moment.T).max() > round_off:
        raise ValueError("the second moment is not symmetric: give inputs.T @ inputs / samples.")
    if numpy.linalg.eigvalsh(moment)[0] < -round_off:
        raise ValueError(
            "the second moment has a negative eigenvalue: give inputs.T @ inputs / samples."
        )
    return moment


def _extreme_eigenvalue(hessian: LossHessian, sign: Literal[1, -1]) -> float:
    """Return the largest eigenvalue of the Hessian, or of its opposite."""
    value, is_converged = largest_eigenvalue(
        lambda entries: sign * hessian.flat_product(entries),
        hessian.parameters.size,
        TOLERANCE,
        MOST_STEPS,
    )
    if not is_converged:
        raise ValueError(
            f"Lanczos has not converged after {MOST_STEPS} Hessian products, at "
            f"{sign * value:.6g}: eigenvalues crowd at the end of the spectrum. Take "
            "hessian_spectrum, if the parameters are not too many."
        )
    return value
