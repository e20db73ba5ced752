r"""The known laws of networks: their values and their number, for every size.

Linear networks keep ``μ_p = W_{p+1}ᵀ W_{p+1} - W_p W_pᵀ - b_p b_pᵀ`` for every hidden layer; ReLU
networks, for every hidden neuron, the squared norm of what comes in less that of what goes out.
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy

from dlngeo.core.base.arrays import Array, namespace, transpose
from dlngeo.core.base.checks import choice, real_array
from dlngeo.core.base.packing import unpack
from dlngeo.core.networks.factors import check_widths, is_network, parameters_of

KINDS = ("linear", "relu")


class Laws(Protocol):
    """Functions of the parameters that are conserved."""

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the laws, in the order of the values."""

    def __call__(self, parameters: Any) -> Array:
        """Return the values of the laws, shape=[..., n]."""

    def magnitudes(self, parameters: Any) -> Array:
        """Return the sums of the absolute values of the terms of the laws, shape=[..., n]."""


def check_network(widths: Any, kind: str) -> tuple[int, ...]:
    """Return checked widths.

    Raises
    ------
    ValueError
        If they are not at least two positive integers, or the kind is unknown.
    """
    choice(kind, "kind", KINDS)
    try:
        return check_widths(widths)[0]
    except TypeError as error:
        raise ValueError(f"widths must be a sequence of integers, got {widths!r}.") from error


def n_parameters_of(widths: Sequence[int], bias: bool) -> int:
    """Return the number of weights and biases."""
    return sum((before + bias) * after for before, after in itertools.pairwise(widths))


def known_count(widths: Sequence[int], kind: str, bias: bool) -> int:
    r"""Return the number of independent known laws near a generic point.

    .. math:: \sum_p \frac{s_p (2 d_p + 1 - s_p)}{2}, \quad
              s_p = \min(d_{p-1} + d_{p+1} \; [+ 1 \text{ with biases}], \; d_p)

    for linear networks, and the number of hidden neurons for ReLU networks.

    *Proof.* Symmetric ``S_p`` combine the gradients of ``μ_p`` to zero if
    ``W_p S_{p-1} = S_p W_p`` for all ``p`` (``S_0 = S_N = 0``) and ``S_p b_p = 0``. Then ``S_p``
    commutes with ``W_{p+1}ᵀ W_{p+1}``, hence is diagonal in its eigenvectors, up to a part on
    its null space; from ``p = 1`` on, ``S_p W_p = 0`` with a generic ``W_p`` leaves that part
    only. So ``S_p W_p = 0 = W_{p+1} S_p``: the ``S_p`` live on the complement of ``s_p``
    dimensions.

    References
    ----------
    [MPG25]; THEORY 6 (own proof).
    """
    if kind == "relu":
        return sum(widths[1:-1])
    total = 0
    for before, width, after in zip(widths, widths[1:], widths[2:], strict=False):
        rank = min(before + bias + after, width)
        total += rank * (2 * width + 1 - rank) // 2
    return total


def scalar_parts(widths: Sequence[int]) -> list[tuple[tuple[int, ...], int]]:
    r"""Return the scalar-to-scalar parts of a linear network, with their further local laws.

    A part between two layers of width one, the ends included, moves along the gradient of its
    product, a single function: whatever is constant along it is conserved, ``D - 1`` local
    integrals of the ``D`` parameters of the part, and in general no polynomials. At depth three
    and more these may be more than the entries of ``μ``.

    References
    ----------
    THEORY 6 (own derivation for inner parts).
    """
    ones = [p for p, width in enumerate(widths) if width == 1]
    parts = [tuple(widths[i : j + 1]) for i, j in itertools.pairwise(ones)]
    counted = [(p, n_parameters_of(p, False) - 1 - known_count(p, "linear", False)) for p in parts]
    return [(part, further) for part, further in counted if further > 0]


@dataclass(frozen=True)
class NetworkLaws(Laws):
    r"""Known laws of a network.

    For linear networks the entries ``i ≤ j`` of every ``μ_p``; for ReLU networks
    ``|W_p[i, :]|² + b_p[i]² - |W_{p+1}[:, i]|²`` for every hidden neuron.

    Attributes
    ----------
    widths : tuple of int
    kind : str
        "linear" or "relu".
    bias : bool

    References
    ----------
    [MGP23]; [MPG25]; THEORY 6.
    """

    widths: tuple[int, ...]
    kind: str
    bias: bool

    @property
    def names(self) -> tuple[str, ...]:
        if self.kind == "relu":
            return tuple(
                f"layer {p}, neuron {i}"
                for p, width in enumerate(self.widths[1:-1], start=1)
                for i in range(width)
            )
        return tuple(
            f"mu_{p}[{i},{j}]"
            for p, width in enumerate(self.widths[1:-1], start=1)
            for i in range(width)
            for j in range(i, width)
        )

    def __call__(self, parameters: Any) -> Array:
        """Return the values of the laws.

        Parameters
        ----------
        parameters : array-like, shape=[..., D], or sequence of arrays
            ``W_1, b_1, W_2, b_2, ...``, without the ``b_p`` if there is no bias: one after the
            other, row by row, or as arrays of shapes ``[..., d_p, d_{p-1}]`` and ``[..., d_p]``; or
            a LinearNetwork.

        Returns
        -------
        values : array-like, shape=[..., n]

        Raises
        ------
        ValueError
            If the shapes are not those of the network.
        """
        return self._values(self._layers(parameters), -1.0)

    def magnitudes(self, parameters: Any) -> Array:
        layers = self._layers(parameters)
        return self._values([namespace(layer).abs(layer) for layer in layers], 1.0)

    def _values(self, layers: list[Array], sign: float) -> Array:
        """Return the laws, with a sign between what goes out and what comes in."""
        values = []
        for p, width in enumerate(self.widths[1:-1]):
            incoming, outgoing = layers[p], layers[p + 1][..., : self.widths[p + 1]]
            xp = namespace(incoming)
            if self.kind == "relu":
                values.append(xp.sum(incoming**2, axis=-1) + sign * xp.sum(outgoing**2, axis=-2))
            else:
                moment = transpose(outgoing) @ outgoing + sign * (incoming @ transpose(incoming))
                rows, columns = numpy.triu_indices(width)
                values.append(moment[..., rows, columns])
        if not values:
            return layers[0][..., 0, :0]
        return namespace(*values).concatenate(values, -1)

    def _layers(self, parameters: Any) -> list[Array]:
        """Return ``[W_p b_p]``, or ``W_p``, for every layer."""
        pairs = itertools.pairwise(self.widths)
        blocks = [(after, c) for before, after in pairs for c in (before, 1)[: 1 + self.bias]]
        if is_network(parameters):
            parameters = parameters_of(parameters)
        if isinstance(parameters, (tuple, list)):
            arrays = [real_array(array, "a parameter") for array in parameters]
            shapes = [b[: 1 + (not self.bias or p % 2 == 0)] for p, b in enumerate(blocks)]
            ends = [tuple(a.shape[-len(s) :]) for a, s in zip(arrays, shapes, strict=False)]
            if len(arrays) != len(shapes) or ends != shapes:
                raise ValueError(
                    f"expected parameters of shapes {shapes}, got "
                    f"{[tuple(a.shape) for a in arrays]}: W_1, b_1, W_2, b_2, ..., or without any "
                    "b_p."
                )
            arrays = [
                a if len(s) == 2 else a[..., None] for a, s in zip(arrays, shapes, strict=True)
            ]
        else:
            flat = real_array(parameters, "the parameters")
            check_size(flat, n_parameters_of(self.widths, self.bias))
            arrays = list(unpack(flat, blocks))
        if not self.bias:
            return arrays
        xp = namespace(*arrays)
        return [xp.concatenate(pair, -1) for pair in zip(arrays[::2], arrays[1::2], strict=True)]


def check_size(parameters: Array, size: int) -> None:
    """Raise a ValueError if flat parameters do not have a number of entries."""
    if parameters.ndim < 1 or parameters.shape[-1] != size:
        raise ValueError(
            f"expected parameters of shape [..., {size}], got {tuple(parameters.shape)}."
        )
