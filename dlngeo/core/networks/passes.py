r"""A pass forwards and one backwards through a network: the gradient of a loss in ``N`` products.

.. math:: X_p = W_p X_{p-1}, \quad δ_{p-1} = W_p^T δ_p, \quad ∇_{W_p} = δ_p X_{p-1}^T,
          \quad X_0 = I, \quad δ_N = ∇E(X_N).

With biases the maps are affine, and ``X_p`` is ``[X_p, c_p]``, of one more column, with
``c_p = W_p c_{p-1} + b_p``; the gradient of ``b_p`` is the last column of ``δ_p``. They are for
loops on NumPy's arrays that checked the network once: they check nothing.
"""

from collections.abc import Sequence

import numpy

from dlngeo.core.base.arrays import Array


def forwards(factors: Sequence[Array], biases: Sequence[Array | None] = ()) -> list[Array]:
    """Return ``X_1, ..., X_N``, shape=[..., d_p, d_0], or ``[..., d_p, d_0 + 1]`` with biases.

    Biases are of shape=[..., d_p, 1], or None; without any, an empty list.
    """
    product = factors[0]
    # Of single small matrices a product takes half of the time so.
    multiply = numpy.dot if product.ndim == 2 else numpy.matmul
    if biases:
        first = 0 * product[..., :1] if biases[0] is None else biases[0]
        product = numpy.concatenate([product, first], axis=-1)
    products = [product]
    for p in range(1, len(factors)):
        product = multiply(factors[p], product)
        if biases and biases[p] is not None:
            product[..., -1:] += biases[p]
        products.append(product)
    return products


def backwards(
    factors: Sequence[Array],
    products: Sequence[Array],
    covector: Array,
    biases: Sequence[Array | None] = (),
) -> list[Array]:
    """Return the gradients of all factors, and after them of those biases that there are.

    Of one network, without leading axes.
    """
    gradients, covectors = [], [covector]
    for p in range(len(factors) - 1, 0, -1):
        gradients.append(covector.dot(products[p - 1].T))
        covector = factors[p].T.dot(covector)
        covectors.append(covector)
    if not biases:
        return [covector, *gradients[::-1]]
    of_biases = zip(covectors[::-1], biases, strict=True)
    there = [one[:, -1:] for one, bias in of_biases if bias is not None]
    return [covector[:, :-1], *gradients[::-1], *there]
