r"""The Hessian of a loss of a deep linear network, matrix-free.

.. math:: L(W) = E(φ(W)), \quad
          ∇^2L[V] = dφ^*\big(∇^2E[dφ\,V]\big) + D_V(dφ^*)(∇E)

With ``R_p = W_{>p}`` and ``S_p = ∇E W_{<p}ᵀ``, so that layer ``p`` of ``∇L`` is ``R_pᵀS_p``, and
their derivatives along ``V``,

.. math:: R'_{p-1} = R'_p W_p + R_p V_p, \quad R'_N = 0, \quad
          S'_{p+1} = S'_p W_p^T + S_p V_p^T, \quad S'_1 = ∇^2E[R'_0], \quad
          ∇^2L[V]_p = R_p'^T S_p + R_p^T S'_p,

where ``R'_0 = dφ V``: a few products of the ``m`` rows of outputs with each layer.
"""

from typing import Any

import numpy

from dlngeo.core.base.arrays import Array
from dlngeo.core.base.checks import in_range
from dlngeo.core.base.vectors import Layers
from dlngeo.core.networks.factors import Factors
from dlngeo.losses.gradients import with_hessian
from dlngeo.networks.affine_layers import AffineLayers


class LossHessian:
    """The Hessian of ``L(W) = E(W_N ⋯ W_1)`` at a network.

    Parameters
    ----------
    factors : factors or LinearNetwork
    loss : callable
        ``E``, as in `hessian_product`.
    """

    def __init__(self, factors: Factors, loss: Any):
        self.parameters = parameters = AffineLayers(factors)
        slope, self._second = with_hessian(parameters.loss(loss))
        layers = parameters.layers
        product = numpy.eye(len(layers[-1]))
        after = []
        for layer in reversed(layers):
            after.append(product)
            product = product @ layer
        self.after = after[::-1]
        self.matrix = in_range(product, "the end-to-end matrix")
        try:
            self.gradient = slope(self.matrix)
        except Exception as error:
            if not parameters.has_biases:
                raise
            raise ValueError(
                "of a network with biases the loss is a function of the affine map (X b), here of "
                f"shape {self.matrix.shape}, which this one does not take: {error}"
            ) from error
        carried = [self.gradient]
        for layer in layers[:-1]:
            carried.append(carried[-1] @ layer.T)
        self._carried = carried

    def product(self, vector: Layers) -> Layers:
        """Return ``∇²L[V]``, layer by layer."""
        layers = self.parameters.layers
        change = numpy.zeros_like(self.after[-1])
        changes = []
        for layer, v, after in zip(
            reversed(layers), reversed(vector), reversed(self.after), strict=True
        ):
            changes.append(change)
            change = change @ layer + after @ v
        bent = self._second(self.matrix, change)
        result = []
        for layer, v, after, moved, carried in zip(
            layers, vector, self.after, reversed(changes), self._carried, strict=True
        ):
            result.append(moved.T @ carried + after.T @ bent)
            bent = bent @ layer.T + carried @ v.T
        return Layers(in_range(v, f"layer {p} of the product") for p, v in enumerate(result, 1))

    def flat_product(self, entries: Array) -> Array:
        """Return the product with the parameters in one vector, shape=[D] to [D]."""
        return self.parameters.pack(self.product(self.parameters.unpack(entries)))

    def dense(self) -> Array:
        """Return the symmetric matrix, shape=[D, D]."""
        matrix = numpy.stack([self.flat_product(row) for row in numpy.eye(self.parameters.size)])
        return (matrix + matrix.T) / 2


def hessian_product(factors: Factors, loss: Any, vector: Factors) -> Any:
    r"""Return the Hessian of ``L(W) = E(φ(W))`` along a vector, ``∇²L(W)[V]``.

    .. math:: ∇^2L[V] = dφ^*\big(∇^2E[dφ\,V]\big) + D_V(dφ^*)(∇E)

    Parameters
    ----------
    factors : factors or LinearNetwork
        Weights ``W``, and biases if there are any: these are parameters too.
    loss : callable
        ``E``, of matrices of shape=[m, n]. Methods ``gradient(X)`` and ``hessian_product(X, Z)``,
        as those of the classes of `dlngeo.losses`, are taken if it has them; any other function
        is differentiated by autograd, PyTorch or JAX, whose arrays it gets. Of a network with
        biases ``E`` is a function of ``(X b)``, shape=[m, n+1], or a `LinearRegression`.
    vector : like factors
        Velocity ``V``; of a network with biases a `LinearNetwork` too.

    Returns
    -------
    product : like factors
        In NumPy's double precision.

    Raises
    ------
    ValueError
        If loss or vector do not fit, or the loss cannot be differentiated twice.

    References
    ----------
    THEORY 1.

    Examples
    --------
    >>> import numpy as np
    >>> from dlngeo.losses import Factorization
    >>> from dlngeo.networks import hessian_product
    >>> ones = np.ones((2, 1, 1))
    >>> hessian_product(ones, Factorization(np.array([[3.0]])), ones).ravel()
    array([0., 0.])
    """
    hessian = LossHessian(factors, loss)
    parameters = hessian.parameters
    return parameters.like_given(hessian.product(parameters.vector(vector)))
