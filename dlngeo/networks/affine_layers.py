r"""Networks with biases as products of layers of widths plus one.

.. math:: \hat W_p = \begin{pmatrix} W_p & b_p \\ 0 & 1 \end{pmatrix}, \quad
          \hat W_N = (W_N \; b_N), \quad \hat W_N \cdots \hat W_1 = (X \; b).

A loss of such a network is a function of the affine map ``(X b)``. Of a network without biases
layers and map are what they are.
"""

from collections.abc import Sequence
from typing import Any

import numpy

from dlngeo.core.base.arrays import Array
from dlngeo.core.base.packing import pack, unpack
from dlngeo.core.base.vectors import Layers
from dlngeo.core.networks.factors import Factors, in_kind, is_network, vector_at
from dlngeo.losses.linear_measurements import LinearRegression
from dlngeo.networks.linear_network import LinearNetwork


class AffineLayers:
    """The layers of a network, and its parameters among their entries.

    Parameters
    ----------
    factors : factors or LinearNetwork

    Attributes
    ----------
    layers : Layers
        ``Ŵ_1, ..., Ŵ_N``.
    shapes : list of tuple of int
        Of the upper left blocks of the layers that are parameters: weights, and biases that are
        not None.
    size : int
        Number of parameters.
    """

    def __init__(self, factors: Factors):
        self._given = factors
        self.network = LinearNetwork(factors)
        self.has_biases = any(bias is not None for bias in self.network.biases)
        self.layers = self._augmented(self.network.factors, self.network.biases, 1.0)
        self.shapes = [
            (w.shape[0], w.shape[1] + (b is not None))
            for w, b in zip(self.network.factors, self.network.biases, strict=True)
        ]
        self.size = sum(rows * columns for rows, columns in self.shapes)

    def _augmented(
        self, factors: Sequence[Array], biases: Sequence[Array | None], corner: float
    ) -> Layers:
        if not self.has_biases:
            return Layers(factors)
        layers = []
        for p, (w, b) in enumerate(zip(factors, biases, strict=True), start=1):
            column = numpy.zeros(len(w)) if b is None else b
            layer = numpy.column_stack([w, column])
            if p < len(factors):
                last = numpy.append(numpy.zeros(w.shape[1]), corner)
                layer = numpy.concatenate([layer, last[None]])
            layers.append(layer)
        return Layers(layers)

    def loss(self, loss: Any) -> Any:
        """Return a loss as a function of ``(X b)``: one of samples gets their intercept.

        Raises
        ------
        ValueError
            If it is one of ``X`` that does not say how biases enter.
        """
        widths = self.network.widths
        if not self.has_biases or getattr(loss, "shape", None) != (widths[-1], widths[0]):
            return loss
        if isinstance(loss, LinearRegression):
            return loss.with_intercept
        raise ValueError(
            f"the loss is a function of matrices of shape {loss.shape}, in which the biases of the "
            f"network do not enter: give a LinearRegression, a loss of (X b), of shape "
            f"{(widths[-1], widths[0] + 1)}, or network.factors."
        )

    def vector(self, vector: Factors) -> Layers:
        """Return a velocity of weights and biases as one of the layers.

        Raises
        ------
        ValueError
            If it is not of the network's shapes.
        """
        moved = LinearNetwork(vector)
        vector_at(self.network.factors, moved.factors)
        for p, (b, v) in enumerate(zip(self.network.biases, moved.biases, strict=True), 1):
            if v is not None and b is None:
                raise ValueError(f"layer {p} has no bias, but its velocity has one.")
        return self._augmented(moved.factors, moved.biases, 0.0)

    def like_given(self, vector: Layers) -> Any:
        """Return a velocity of the layers as one array, as factors, or as a network."""
        if not self.has_biases:
            return (
                LinearNetwork(vector) if is_network(self._given) else in_kind(vector, self._given)
            )
        factors = [
            v[: len(w), : w.shape[1]] for v, w in zip(vector, self.network.factors, strict=True)
        ]
        biases = [
            None if b is None else v[: len(b), -1]
            for v, b in zip(vector, self.network.biases, strict=True)
        ]
        return LinearNetwork(factors, biases)

    def pack(self, vector: Layers) -> Array:
        """Return the parameters' share of a vector, shape=[size]."""
        pairs = zip(vector, self.shapes, strict=True)
        return pack([v[:rows, :columns] for v, (rows, columns) in pairs])

    def unpack(self, entries: Array) -> Layers:
        """Return the vector of the layers of which that is the share; the rest is zero."""
        blocks = unpack(entries, self.shapes)
        return Layers(blocks).map(_embed, [layer.shape for layer in self.layers])


def _embed(block: Array, shape: tuple[int, int]) -> Array:
    if block.shape == shape:
        return block
    layer = numpy.zeros(shape)
    layer[: block.shape[0], : block.shape[1]] = block
    return layer
