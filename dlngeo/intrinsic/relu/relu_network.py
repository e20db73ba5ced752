r"""ReLU networks as directed acyclic graphs of neurons.

A network has inputs, hidden neurons, with ReLU or linear, and linear outputs. Every edge carries
a weight; a bias is the weight of an edge from one more source, whose value is always 1. The
parameters ``θ`` are one vector of the weights and biases that are trained; other edges, such as
those of an identity skip connection, have fixed weights.
"""

import functools
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy
import scipy.sparse

from dlngeo.core.base.arrays import Array, namespace
from dlngeo.core.base.checks import check_batches, in_range, instance, real_array
from dlngeo.core.networks.factors import check_widths
from dlngeo.intrinsic.relu.layered_graph import ABSENT, PADDING, Block, Layer, LayeredGraph

MOST_PATHS = 1_000_000
"""Number of paths above which they are not enumerated."""

MOST_DENSE = 1_000_000
"""Number of entries up to which a matrix is dense, of which the products start sooner."""


class ScalingMatrices(NamedTuple):
    """Incidence of the edges of parameters with scaling groups, dense or sparse.

    Attributes
    ----------
    incidence : shape=[n_laws, D]
        ``C``, 1 at the head of an edge and -1 at its tail.
    heads, tails : shape=[D, n_laws]
        The positive and the negative part of ``Cᵀ``.
    laplacian : shape=[D, n_laws²]
        From weights of edges to the entries of ``C diag(w) Cᵀ``.
    """

    incidence: Any
    heads: Any
    tails: Any
    laplacian: Any


@dataclass(frozen=True, eq=False)
class ReluNetwork(LayeredGraph):
    r"""Structure of a ReLU network: what feeds what. The parameters are a vector apart.

    Build it by `from_widths`, by `dlngeo.intrinsic.network_of_graph` of a NetworkX graph, or by
    `dlngeo.intrinsic.network_of_module` of a PyTorch module. Attributes are those of
    `LayeredGraph`.

    Raises
    ------
    ValueError
        If a neuron or an output lies on no path from an input or a bias to an output.

    References
    ----------
    [MPG25]; [MGP23]; THEORY 6.
    """

    def __post_init__(self) -> None:
        dead = numpy.flatnonzero(self.dead(numpy.ones(self.n_parameters)))
        if dead.size:
            raise ValueError(
                f"{self.name(dead)} on no path from an input or a bias to an output: remove it, "
                "or connect it."
            )

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}(widths={self.sizes[1:]}, n_parameters={self.n_parameters}, "
            f"n_paths={self.n_paths})"
        )

    @classmethod
    def from_widths(cls, widths: Sequence[int], bias: bool = True) -> "ReluNetwork":
        """Return a network of fully connected layers.

        Parameters ``W_1, b_1, W_2, b_2, ...`` follow each other, every ``W_p`` of shape
        ``(d_p, d_{p-1})`` row by row, as in ``torch.nn.Sequential(...).parameters()``.

        Parameters
        ----------
        widths : sequence of int
            ``(d_0, ..., d_N)``.
        bias : bool
            Whether all layers but the inputs have biases.

        Raises
        ------
        ValueError
            If there are fewer than two widths, or one is not positive.
        """
        widths, _ = check_widths(widths)
        layers, blocks, position = [Layer(("1",), False)], [], 0
        for p, width in enumerate(widths):
            names = tuple(f"neuron {k + 1} of layer {p}" for k in range(width))
            layers.append(Layer(names, 0 < p < len(widths) - 1))
            for source, size in ((p, widths[p - 1]), (0, 1))[: p and 1 + bias]:
                index = numpy.arange(position, position + width * size).reshape(width, size)
                blocks.append(Block(source, p + 1, index))
                position += index.size
        return cls(tuple(layers), tuple(blocks), position, numpy.zeros(0))

    # The structure, seen from the edges and from the neurons.

    @property
    def n_inputs(self) -> int:
        return len(self.layers[1].names)

    @property
    def n_outputs(self) -> int:
        return len(self.layers[-1].names)

    @functools.cached_property
    def neuron_names(self) -> tuple[Hashable, ...]:
        """Names of all neurons, from the source of the biases to the outputs."""
        return tuple(name for layer in self.layers for name in layer.names)

    @functools.cached_property
    def n_paths(self) -> int:
        """Number ``P`` of paths, exactly."""
        counts: list[Any] = [numpy.ones(len(layer.names), dtype=object) for layer in self.layers]
        for t in range(2, len(self.layers)):
            arriving = [self.blocks[i] for i in self._arriving[t]]
            counts[t] = sum((b.edges != ABSENT).astype(object) @ counts[b.source] for b in arriving)
        return int(counts[-1].sum())

    @functools.cached_property
    def paths(self) -> numpy.ndarray:
        """All paths, as the positions of their edges, shape=[P, length], padded at the end.

        Raises
        ------
        ValueError
            If there are more than a million.
        """
        if self.n_paths > MOST_PATHS:
            raise ValueError(
                f"the network has {self.n_paths} paths, too many to enumerate: name some of them "
                "(paths=), or take the products that enumerate none."
            )
        last = self.offsets[-2]
        tails, heads = self.ends
        by_tail = numpy.argsort(tails, kind="stable")
        first = numpy.searchsorted(tails[by_tail], numpy.arange(self.offsets[-1] + 1))
        ends = numpy.arange(self.offsets[2])
        growing, done = numpy.zeros((len(ends), 0), dtype=int), []
        while len(ends):
            counts = numpy.diff(first)[ends]
            jumps = numpy.repeat(first[ends] - numpy.cumsum(counts) + counts, counts)
            edges = by_tail[jumps + numpy.arange(counts.sum())]
            growing = numpy.hstack([numpy.repeat(growing, counts, axis=0), edges[:, None]])
            ends = heads[edges]
            done.append(growing[ends >= last])
            growing, ends = growing[ends < last], ends[ends < last]
        longest = done[-1].shape[1]
        padded = [
            numpy.pad(part, ((0, 0), (0, longest - part.shape[1])), constant_values=PADDING)
            for part in done
        ]
        return numpy.concatenate(padded)

    def path_names(self, paths: numpy.ndarray | None = None) -> list[tuple[Hashable, ...]]:
        """Return the names of the neurons along paths, all of them by default."""
        tails, heads = self.ends
        paths = self.paths if paths is None else paths
        named = []
        for path in paths:
            edges = path[path != PADDING]
            neurons = (tails[edges[0]], *heads[edges])
            named.append(tuple(self.neuron_names[neuron] for neuron in neurons))
        return named

    def name(self, neurons: numpy.ndarray) -> str:
        """Return a few names and the verb, for a message."""
        shown = ", ".join(str(self.neuron_names[neuron]) for neuron in neurons[:3])
        if len(neurons) > 3:
            shown += f" and {len(neurons) - 3} others"
        return f"{shown} {'is' if len(neurons) == 1 else 'are'}"

    @functools.cached_property
    def path_numbers(self) -> dict[tuple[int, ...], int]:
        """From the edges of a path to its number in `paths`."""
        return {tuple(p[p != PADDING].tolist()): number for number, p in enumerate(self.paths)}

    # Rescalings.

    @functools.cached_property
    def scaling_labels(self) -> numpy.ndarray:
        """Number of the scaling group of each neuron, -1 if it cannot be rescaled."""
        n, k = self.offsets[-1], self.n_parameters
        tails, heads = (end[k:] for end in self.ends)
        # The ends of the network count as one node, at which scales are 1.
        is_end = (numpy.arange(n) < self.offsets[2]) | (numpy.arange(n) >= self.offsets[-2])
        nodes = numpy.where(is_end, 0, numpy.arange(n))
        ties = scipy.sparse.coo_array(
            (numpy.ones(len(tails)), (nodes[tails], nodes[heads])), (n, n)
        )
        _, components = scipy.sparse.csgraph.connected_components(ties, directed=False)
        labels = components[nodes]
        free = labels != labels[0]
        result = numpy.full(n, -1)
        _, first, number = numpy.unique(labels[free], return_index=True, return_inverse=True)
        result[free] = numpy.argsort(numpy.argsort(first))[number]
        return result

    @functools.cached_property
    def scaling_groups(self) -> tuple[tuple[Hashable, ...], ...]:
        """Names of the hidden neurons that are rescaled together: one, without fixed edges."""
        groups: list[list[Hashable]] = [[] for _ in range(self.scaling_labels.max() + 1)]
        for name, label in zip(self.neuron_names, self.scaling_labels, strict=True):
            if label >= 0:
                groups[label].append(name)
        return tuple(map(tuple, groups))

    @functools.cached_property
    def scaling_matrices(self) -> ScalingMatrices:
        """Matrices by which rescalings act and laws are summed."""
        n, size = len(self.scaling_groups), self.n_parameters
        tails, heads = (self.scaling_labels[end[:size]] for end in self.ends)
        # An edge within a group keeps its weight.
        tails, heads = (numpy.where(heads == tails, -1, end) for end in (tails, heads))
        is_inner = (tails >= 0) & (heads >= 0)
        across = numpy.where(is_inner, heads * n + tails, -1)
        back = numpy.where(is_inner, tails * n + heads, -1)
        squares = [numpy.where(end >= 0, end * (n + 1), -1) for end in (heads, tails)]
        at_heads, at_tails = _indicator(heads, n), _indicator(tails, n)
        laplacian = sum(_indicator(c, n * n) for c in squares)
        laplacian = laplacian - _indicator(across, n * n) - _indicator(back, n * n)
        matrices = ((at_heads - at_tails).T, at_heads, at_tails, laplacian)
        is_small = size * n * n <= MOST_DENSE
        return ScalingMatrices(*(m.toarray() if is_small else m.tocsr() for m in matrices))

    # Evaluation.

    def check_parameters(self, parameters: Array, name: str = "the parameters") -> Array:
        """Return finite floats of shape=[..., D], or raise a ValueError."""
        parameters = real_array(parameters, name)
        if parameters.ndim < 1 or parameters.shape[-1] != self.n_parameters:
            raise ValueError(
                f"{name} of this network must have shape [..., {self.n_parameters}], got "
                f"{tuple(parameters.shape)}."
            )
        return parameters

    def check_inputs(self, inputs: Array) -> Array:
        """Return finite floats of shape=[..., n, n_inputs], or raise a ValueError."""
        inputs = real_array(inputs, "the inputs")
        if inputs.ndim < 2 or inputs.shape[-1] != self.n_inputs:
            raise ValueError(
                f"inputs hold one sample in each row, shape [..., n, {self.n_inputs}], got "
                f"{tuple(inputs.shape)}."
            )
        return inputs

    def check_inputs_at(self, parameters: Array, inputs: Array) -> Array:
        """Return `check_inputs`, of the library of parameters and with axes that broadcast."""
        inputs = self.check_inputs(inputs)
        namespace(parameters, inputs)
        check_batches((parameters[..., None], inputs), "parameters and inputs")
        return inputs

    def outputs(self, parameters: Array, inputs: Array) -> Array:
        r"""Return the outputs ``R_θ(x)`` of the network.

        Parameters
        ----------
        parameters : array-like, shape=[..., D]
        inputs : array-like, shape=[..., n, n_inputs]

        Returns
        -------
        outputs : array-like, shape=[..., n, n_outputs]

        Raises
        ------
        ValueError
            If a shape does not fit, or an entry or an output is NaN or infinite.
        """
        parameters = self.check_parameters(parameters)
        inputs = self.check_inputs_at(parameters, inputs)
        values = self.forward(self.matrices(self.edge_vector(parameters)), inputs, relu=True)
        return in_range(values[-1], "an output")


def _indicator(columns: numpy.ndarray, n_columns: int) -> scipy.sparse.coo_array:
    """Return the matrix with a 1 in the column given for each row, none in column -1."""
    rows = numpy.flatnonzero(columns >= 0)
    ones = numpy.ones(len(rows))
    return scipy.sparse.coo_array((ones, (rows, columns[rows])), (len(columns), n_columns))


def check_network(network: Any) -> ReluNetwork:
    """Return a network; a ValueError if it is none."""
    return instance(network, ReluNetwork, "network")
