r"""A deep linear network with its biases, as one object.

.. math:: f(x) = X x + b, \quad X = W_N \cdots W_1, \quad b = \sum_p W_N \cdots W_{p+1} b_p
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from dlngeo.core.base.arrays import Array
from dlngeo.core.base.checks import host_array
from dlngeo.core.networks.factors import Factors, is_network, is_stack, layers_of, widths_of
from dlngeo.core.networks.network import end_to_end
from dlngeo.outcomes import Printed


@dataclass(frozen=True, eq=False, repr=False)
class LinearNetwork(Printed):
    """A deep linear network, in NumPy's double precision.

    It serves wherever factors do: ``end_to_end(network)``, ``moment_map(network)``,
    ``network_entropy(network)``.

    Parameters
    ----------
    factors : array-like, shape=[N, d, d], or sequence of shape=[d_p, d_{p-1}]
        ``W_1, ..., W_N``, in the order in which data flow; or another network.
    biases : sequence of array-like, shape=[d_p], or None
        ``b_1, ..., b_N``; None for a layer without, or in place of all of them.

    Raises
    ------
    ValueError
        If the widths do not chain, an entry is NaN or infinite, or the biases do not fit.

    Examples
    --------
    >>> import numpy as np
    >>> from dlngeo.networks import LinearNetwork
    >>> network = LinearNetwork([np.eye(3, 2), np.ones((1, 3))], biases=[np.ones(3), None])
    >>> network.widths
    (2, 3, 1)
    >>> network(np.array([[1.0, 2.0]]))
    array([[6.]])
    """

    factors: tuple[Array, ...]
    biases: tuple[Array | None, ...]

    def __init__(self, factors: Factors, biases: Sequence[Any] | None = None):
        if is_network(factors):
            biases = factors.biases if biases is None else biases
            factors = factors.factors
        if is_stack(factors):
            factors = layers_of(host_array(factors, "the array of factors"))
        layers = layers_of([host_array(w, f"factor {p}") for p, w in enumerate(factors, 1)])
        if any(layer.ndim != 2 for layer in layers):
            raise ValueError(
                "expected one network, of a matrix for each layer, got factors of shapes "
                f"{[layer.shape for layer in layers]}."
            )
        given = [None] * len(layers) if biases is None else list(biases)
        if len(given) != len(layers):
            raise ValueError(
                f"expected a bias or None for each of {len(layers)} layers, got {len(given)}."
            )
        checked = [
            None if b is None else host_array(b, f"bias {p}") for p, b in enumerate(given, 1)
        ]
        for p, (layer, bias) in enumerate(zip(layers, checked, strict=True), 1):
            if bias is not None and bias.shape != layer.shape[:1]:
                raise ValueError(
                    f"bias {p} must have shape {layer.shape[:1]}, as layer {p} has rows, got "
                    f"{bias.shape}."
                )
        object.__setattr__(self, "factors", layers)
        object.__setattr__(self, "biases", tuple(checked))

    @property
    def widths(self) -> tuple[int, ...]:
        """Widths ``(d_0, ..., d_N)``."""
        return widths_of(self.factors)

    @property
    def depth(self) -> int:
        """Number ``N`` of layers."""
        return len(self.factors)

    @property
    def matrix(self) -> Array:
        """End-to-end matrix ``X``, shape=[d_N, d_0]."""
        return end_to_end(self.factors)

    @property
    def bias(self) -> Array | None:
        """Bias ``b`` at the output, shape=[d_N]; None if no layer has one."""
        total: Any = None
        for layer, bias in zip(self.factors, self.biases, strict=True):
            carried = None if total is None else layer @ total
            total = carried if bias is None else bias if carried is None else carried + bias
        return total

    def with_output_bias(self) -> "LinearNetwork":
        """Return the network of the same outputs of which the last layer has all of the bias."""
        return LinearNetwork(self.factors, [None] * (self.depth - 1) + [self.bias])

    def __call__(self, inputs: Any) -> Array:
        """Return the outputs, shape=[..., d_N], at inputs of shape=[..., d_0]."""
        outputs = host_array(inputs, "the inputs")
        if outputs.ndim == 0 or outputs.shape[-1] != self.widths[0]:
            raise ValueError(
                f"expected inputs of shape [..., {self.widths[0]}], got {outputs.shape}."
            )
        for layer, bias in zip(self.factors, self.biases, strict=True):
            outputs = outputs @ layer.T
            outputs = outputs if bias is None else outputs + bias
        return outputs
