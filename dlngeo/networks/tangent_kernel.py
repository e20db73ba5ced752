r"""The neural tangent kernel of a deep linear network.

.. math:: Θ(x, x') = J(x) J(x')^T = \sum_p W_{>p} W_{>p}^T
          \big( \langle a_{p-1}(x), a_{p-1}(x') \rangle + β_p \big)

with the derivative ``J`` of the outputs by weights and biases, ``a_p`` what layer ``p`` gives, and
``β_p = 1`` where a layer has a bias, else 0. Without biases ``a_p(x) = W_p ⋯ W_1 x``.
"""

from typing import Any

import numpy

from dlngeo.core.base.arrays import Array
from dlngeo.core.base.checks import host_array, in_range
from dlngeo.core.networks.factors import Factors
from dlngeo.networks.linear_network import LinearNetwork


def neural_tangent_kernel(factors: Factors, inputs: Any, others: Any = None) -> Array:
    r"""Return the neural tangent kernel of a deep linear network at samples.

    .. math:: Θ(x_i, x'_j) = J(x_i) J(x'_j)^T = \sum_p W_{>p} W_{>p}^T
              \langle W_{<p} x_i, W_{<p} x'_j \rangle

    Along the gradient flow of a loss of the outputs ``f(x_i)`` these move by
    ``ḟ(x_i) = -Σ_j Θ(x_i, x_j) ∂E/∂f(x_j)``.

    Parameters
    ----------
    factors : factors or LinearNetwork
        Biases, if there are any, are parameters too: a layer that has one adds
        ``W_{>p} W_{>p}ᵀ``.
    inputs : array-like, shape=[s, d_0]
        Samples ``x_i`` in rows.
    others : array-like, shape=[t, d_0], optional
        Samples ``x'_j``, the same by default.

    Returns
    -------
    kernel : array, shape=[s, t, d_N, d_N]
        In NumPy's double precision. As a matrix of all outputs,
        ``kernel.swapaxes(1, 2).reshape(s * d_N, t * d_N)``.

    Raises
    ------
    ValueError
        If factors or samples do not fit, or the kernel overflows.

    References
    ----------
    A. Jacot, F. Gabriel, C. Hongler, *Neural tangent kernel*, NeurIPS 2018; THEORY 1.

    Examples
    --------
    >>> import numpy as np
    >>> from dlngeo.networks import neural_tangent_kernel
    >>> neural_tangent_kernel([2 * np.eye(1), 3 * np.eye(1)], [[1.0]]).ravel()
    array([13.])
    """
    network = LinearNetwork(factors)
    samples = [_samples(network, inputs, "the inputs")]
    if others is not None:
        samples.append(_samples(network, others, "the other inputs"))
    after = [numpy.eye(network.widths[-1])]
    for layer in network.factors[:0:-1]:
        after.append(after[-1] @ layer)
    kernel: Any = 0.0
    for layer, bias, carried in zip(network.factors, network.biases, reversed(after), strict=True):
        products = samples[0] @ samples[-1].T + (bias is not None)
        kernel = kernel + products[..., None, None] * (carried @ carried.T)
        samples = [values @ layer.T + (0 if bias is None else bias) for values in samples]
    return in_range(kernel, "the neural tangent kernel")


def _samples(network: LinearNetwork, inputs: Any, name: str) -> Array:
    samples = host_array(inputs, name)
    if samples.ndim != 2 or samples.shape[1] != network.widths[0]:
        raise ValueError(
            f"{name} must be samples in rows, shape [s, {network.widths[0]}], got {samples.shape}."
        )
    return samples
