r"""A deep linear network with its biases, as one object.

.. math:: f(x) = X x + b, \quad X = W_N \cdots W_1, \quad b = \sum_p W_N \cdots W_{p+1} b_p
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy

from dlngeo.core.base.arrays import Array
from dlngeo.core.base.checks import host_array
from dlngeo.core.base.optional import on_demand
from dlngeo.core.networks.balancing import balance
from dlngeo.core.networks.factors import Factors, is_network, is_stack, layers_of, widths_of
from dlngeo.core.networks.network import end_to_end, output_bias
from dlngeo.networks.parameter_trees import layers_of_state, layers_of_tree

if TYPE_CHECKING:
    import torch

_WRITING = "dlngeo.torch.writing"


@dataclass(frozen=True, eq=False, repr=False)
class LinearNetwork:
    """A deep linear network, in NumPy's double precision.

    It serves wherever factors do: ``end_to_end(network)``, ``moment_map(network)``,
    ``network_entropy(network)``. `from_module`, `from_state_dict` and `from_tree` read what was
    trained elsewhere; `to_module` and `write_to` bring it back.

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
        # Copies: training changes weights in place.
        layers = layers_of([host_array(w, f"factor {p}").copy() for p, w in enumerate(factors, 1)])
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
            None if b is None else host_array(b, f"bias {p}").copy() for p, b in enumerate(given, 1)
        ]
        for p, (layer, bias) in enumerate(zip(layers, checked, strict=True), 1):
            if bias is not None and bias.shape != layer.shape[:1]:
                raise ValueError(
                    f"bias {p} must have shape {layer.shape[:1]}, as layer {p} has rows, got "
                    f"{bias.shape}."
                )
        object.__setattr__(self, "factors", layers)
        object.__setattr__(self, "biases", tuple(checked))

    def __repr__(self) -> str:
        places = [str(p) for p, bias in enumerate(self.biases, start=1) if bias is not None]
        biases = f", biases in layers {', '.join(places)}" if places else ""
        return f"LinearNetwork of widths {' → '.join(map(str, self.widths))}{biases}"

    @classmethod
    def from_module(cls, module: "torch.nn.Module") -> "LinearNetwork":
        """Return the network of a PyTorch module whose map is affine; needs the extra ``torch``.

        The module is traced by ``torch.fx``, as it evaluates. It may be a Sequential, nested too,
        or have a ``forward`` of its own: of Linear layers and products with matrices, each of which
        is a layer, and of what goes into them: batch normalisation as it evaluates, multiples, sums
        of parallel layers, dropout, reshapes. Shared weights are untied, and those that every call
        computes are what they are when the module evaluates; a weight that is a product of
        parameters is one layer. The module stays as it is.

        Of a network that is not linear read parts: ``from_module(model.head)``, or the runs of
        linear layers that `dlngeo.torch.linear_runs` finds.

        Parameters
        ----------
        module : torch.nn.Module
            In single or double precision; its inputs are vectors, shape=[n, d_0].

        Raises
        ------
        ValueError
            If a layer, which is named, is not affine, or a sum bypasses several layers; or if the
            outputs of the network are not those of the module, at random inputs: to 1e-6 in single
            precision, or 1e-12 in double, of the scale on which errors of layers are seen there.

        Examples
        --------
        >>> import torch
        >>> from dlngeo.networks import LinearNetwork
        >>> module = torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.Linear(3, 2))
        >>> LinearNetwork.from_module(module).widths
        (4, 3, 2)
        """
        read = on_demand("dlngeo.torch.affine_modules", "read_module")(module)
        return cls(read.weights, read.biases)

    @classmethod
    def from_state_dict(cls, state: Mapping[str, Any], prefix: str = "") -> "LinearNetwork":
        """Return the network of a state dict of PyTorch, of arrays or tensors.

        Layers are its ``*.weight`` and ``*.bias`` in their order. What happens between them it
        does not say: for a module with activations the result is another network.

        Parameters
        ----------
        state : dict
        prefix : str
            Only names that begin with it are read, as "head.".

        Raises
        ------
        ValueError
            If something is no weight or bias of a linear layer, or the widths do not chain.
        """
        return cls(*layers_of_state(state, prefix))

    @classmethod
    def from_tree(cls, tree: Any) -> "LinearNetwork":
        """Return the network of a tree of parameters, as of JAX.

        Layers are dicts with ``kernel`` and ``bias``, as in Flax, or ``w`` and ``b``, as in Haiku.
        They compute ``x @ kernel + bias``, so that factors are the transposed kernels.

        Parameters
        ----------
        tree : dict or list
            Nested; lists are in the order in which data flow, dicts in that of the numbers of their
            names, ``Dense_0, Dense_1``, or their own where there are none.

        Raises
        ------
        ValueError
            If something is no such layer, or the widths do not chain.

        Examples
        --------
        >>> import numpy as np
        >>> from dlngeo.networks import LinearNetwork
        >>> tree = {"Dense_0": {"kernel": np.ones((4, 3))}, "Dense_1": {"kernel": np.ones((3, 2))}}
        >>> LinearNetwork.from_tree({"params": tree}).widths
        (4, 3, 2)
        """
        return cls(*layers_of_tree(tree))

    def to_module(self, like: "torch.nn.Module | None" = None) -> "torch.nn.Module":
        """Return a PyTorch module of this network.

        Parameters
        ----------
        like : torch.nn.Module, optional
            A module that `from_module` reads, of the same widths: a copy of it in its precision.
            In Sequential modules every layer of the copy has a weight of its own, and batch
            normalisation is part of it. By default a Sequential of Linear layers, in double
            precision.

        Raises
        ------
        ValueError
            If the module has other widths, or does something in a layer that cannot be undone.
        """
        if like is None:
            return on_demand(_WRITING, "new_module")(self.factors, self.biases)
        return on_demand(_WRITING, "module_like")(like, self.factors, self.biases)

    def write_to(self, module: "torch.nn.Module") -> None:
        """Write the network into the parameters of a PyTorch module, in place.

        Parameters
        ----------
        module : torch.nn.Module
            One that `from_module` reads, of the same widths, or a part of a module; every layer has
            a weight and a bias as parameters of its own.

        Raises
        ------
        ValueError
            If it is another one; its parameters are as they were then.
        """
        on_demand(_WRITING, "write_module")(module, self.factors, self.biases)

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
        return output_bias(self.factors, self.biases)

    @property
    def singular_values(self) -> Array:
        """Singular values of the end-to-end matrix, descending, as many as the least width."""
        return numpy.linalg.svd(self.matrix, compute_uv=False)[: min(self.widths)]

    @property
    def rank(self) -> int:
        """Rank of the end-to-end matrix, to round-off in double precision."""
        sigma, epsilon = self.singular_values, numpy.finfo(float).eps
        return int((sigma > max(self.widths) * epsilon * sigma[0]).sum())

    def balanced(self, rank: int | None = None) -> "LinearNetwork":
        """Return the balanced network of the same outputs, the one of least norm.

        The last layer has all of the bias.

        Parameters
        ----------
        rank : int, optional
            Rank of the end-to-end matrix, to round-off by default; of a higher one all but the
            largest singular values are dropped.

        References
        ----------
        THEORY 2; see `dlngeo.core.networks.balance`.
        """
        balanced = balance(self.factors, self.rank if rank is None else rank)
        return LinearNetwork(balanced, self.with_output_bias().biases)

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
