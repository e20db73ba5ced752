r"""ReLU networks as directed acyclic graphs of neurons, and passes through them.

A network has inputs, hidden neurons, with ReLU or linear, and linear outputs. Every edge carries
a weight; a bias is the weight of an edge from one more source, whose value is always 1. The
parameters ``θ`` are one vector of the weights and biases that are trained; other edges, such as
those of an identity skip connection, have fixed weights.

Neurons stand in layers, and edges in blocks between two of them, so that a pass forward or
backward is a few products of matrices whatever the number of paths is.
"""

import functools
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy

from dlngeo.core.arrays import Array, from_numpy, namespace, real_array, transpose
from dlngeo.core.factors import check_widths

ABSENT, PADDING = -2, -1
"""Positions in the vector of edges that hold 0, where there is no edge, and 1, after a path."""

MOST_PATHS = 1_000_000
"""Number of paths above which they are not enumerated."""

Gates = Sequence[Any] | None
"""For each layer which neurons are open, shape=[..., n, width], or None where all are."""


class Layer(NamedTuple):
    """Neurons of which none feeds another.

    Attributes
    ----------
    names : tuple
    relu : bool
        Whether they are rectified.
    """

    names: tuple[Hashable, ...]
    relu: bool


class Block(NamedTuple):
    """Edges from one layer to another.

    Attributes
    ----------
    source, target : int
        Numbers of the layers, ``source < target``.
    index : array of int, shape=[n_target, n_source]
        Positions of the edges in the vector of edges, `ABSENT` where there is none.
    """

    source: int
    target: int
    index: numpy.ndarray

    @property
    def start(self) -> int | None:
        """First of the positions if they are consecutive, so that they need no gathering."""
        first = int(self.index.flat[0])
        run = numpy.arange(first, first + self.index.size).reshape(self.index.shape)
        return first if first >= 0 and numpy.array_equal(self.index, run) else None


@dataclass(frozen=True, eq=False)
class ReluNetwork:
    r"""Structure of a ReLU network: what feeds what. The parameters are a vector apart.

    Build it by `from_widths`, by `dlngeo.intrinsic.network_of_graph` of a NetworkX graph, or by
    `dlngeo.intrinsic.network_of_module` of a PyTorch module.

    Attributes
    ----------
    layers : tuple of Layer
        The source of the biases, the inputs, hidden neurons, and the outputs at the end.
    blocks : tuple of Block
        Sorted by target.
    n_parameters : int
        Number ``D`` of weights and biases that are trained.
    fixed : array, shape=[k]
        Weights of the other edges, which come after the parameters in the vector of edges.

    Raises
    ------
    ValueError
        If a neuron or an output lies on no path from an input or a bias to an output.

    References
    ----------
    [MPG25]; [MGP23]; THEORY 6.
    """

    layers: tuple[Layer, ...]
    blocks: tuple[Block, ...]
    n_parameters: int
    fixed: numpy.ndarray

    def __post_init__(self) -> None:
        dead = self.dead_neurons(numpy.ones(self.n_parameters))
        if dead:
            raise ValueError(
                f"{names_of(dead)} on no path from an input or a bias to an output: remove it, or "
                "connect it."
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
    def offsets(self) -> numpy.ndarray:
        """Number of the first neuron of each layer, shape=[n_layers + 1]."""
        return numpy.cumsum([0] + [len(layer.names) for layer in self.layers])

    @functools.cached_property
    def ends(self) -> tuple[numpy.ndarray, numpy.ndarray]:
        """Neurons at tail and head of each edge, shape=[D + k] each."""
        tails, heads = numpy.zeros((2, self.n_parameters + len(self.fixed)), dtype=int)
        for block in self.blocks:
            rows, columns = numpy.nonzero(block.index != ABSENT)
            edges = block.index[rows, columns]
            tails[edges] = self.offsets[block.source] + columns
            heads[edges] = self.offsets[block.target] + rows
        return tails, heads

    @functools.cached_property
    def n_paths(self) -> int:
        """Number ``P`` of paths, exactly."""
        counts: list[Any] = [numpy.ones(len(layer.names), dtype=object) for layer in self.layers]
        for t in range(2, len(self.layers)):
            arriving = [self.blocks[i] for i in self._arriving[t]]
            counts[t] = sum((b.index != ABSENT).astype(object) @ counts[b.source] for b in arriving)
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

    def dead_neurons(self, parameters: numpy.ndarray) -> list[Hashable]:
        """Return the names of neurons and outputs that are on no path of non-zero weights.

        Parameters
        ----------
        parameters : array, shape=[D]
        """
        matrices = [1.0 * (m != 0) for m in self.matrices(self.edge_vector(parameters))]
        forward: list[Any] = [numpy.ones(len(layer.names)) for layer in self.layers]
        backward = list(forward)
        for t in range(2, len(self.layers)):
            arriving = [matrices[i] @ forward[self.blocks[i].source] for i in self._arriving[t]]
            forward[t] = numpy.minimum(sum(arriving, numpy.zeros_like(forward[t])), 1)
        for t in range(len(self.layers) - 2, 1, -1):
            leaving = [backward[self.blocks[i].target] @ matrices[i] for i in self._leaving[t]]
            backward[t] = numpy.minimum(sum(leaving, numpy.zeros_like(forward[t])), 1)
        is_live = numpy.concatenate(forward) * numpy.concatenate(backward)
        return [self.neuron_names[k] for k in numpy.flatnonzero(is_live == 0)]

    # Vectors of edges, and passes.

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

    def edge_vector(self, parameters: Array, fixed: numpy.ndarray | None = None) -> Array:
        """Return the weights of all edges, then 0 and 1; ``fixed`` replaces the fixed ones."""
        fixed = self.fixed if fixed is None else fixed
        rest = from_numpy(numpy.concatenate([fixed, [0.0, 1.0]]), parameters)
        return joined([parameters, rest + 0 * parameters[..., :1]])

    def matrices(self, edges: Array) -> list[Array]:
        """Return the matrix of each block, shape=[..., n_target, n_source]."""
        matrices = []
        for block, start in zip(self.blocks, self._starts, strict=True):
            if start is None:
                matrices.append(edges[..., block.index])
                continue
            flat = edges[..., start : start + block.index.size]
            matrices.append(flat.reshape(*edges.shape[:-1], *block.index.shape))
        return matrices

    def forward(
        self, matrices: Sequence[Array], inputs: Array, gates: Gates = None, *, relu: bool = False
    ) -> list[Array]:
        """Return the values of all layers, shape=[..., n, width].

        Parameters
        ----------
        matrices : list of array
            Of the blocks.
        inputs : array-like, shape=[..., n, n_inputs]
        gates : list, optional
            Factors of the values.
        relu : bool
            Whether to rectify, instead.
        """
        xp = namespace(*matrices[:1])
        values = [xp.ones_like(inputs[..., :1]), inputs]
        for t in range(2, len(self.layers)):
            arriving = [
                values[self.blocks[i].source] @ transpose(matrices[i]) for i in self._arriving[t]
            ]
            value = sum(arriving[1:], arriving[0])
            if relu and self.layers[t].relu:
                value = xp.where(value > 0, value, xp.zeros_like(value))
            elif gates is not None and gates[t] is not None:
                value = value * gates[t]
            values.append(value)
        return values

    def open_gates(self, values: Sequence[Array]) -> list[Any]:
        """Return which neurons are active, 1 or 0, from the values of a rectified pass."""
        return [
            namespace(value).where(value > 0, 1 + 0 * value, 0 * value) if layer.relu else None
            for layer, value in zip(self.layers, values, strict=True)
        ]

    def backward(
        self, matrices: Sequence[Array], cotangents: Array, gates: Gates = None
    ) -> list[Array | None]:
        """Return the derivatives by what arrives at the neurons, for layers above the inputs."""
        adjoints: list[Array | None] = [None] * len(self.layers)
        adjoints[-1] = cotangents
        for t in range(len(self.layers) - 2, 1, -1):
            leaving = [adjoints[self.blocks[i].target] @ matrices[i] for i in self._leaving[t]]
            adjoint = sum(leaving[1:], leaving[0])
            has_gate = gates is not None and gates[t] is not None
            adjoints[t] = adjoint * gates[t] if has_gate and gates is not None else adjoint
        return adjoints

    def tangents(
        self, matrices: Sequence[Array], changes: Sequence[Array], values: Sequence[Array]
    ) -> list[Array]:
        """Return the derivatives of the values of an open pass as the matrices change."""
        tangents = [0 * values[0], 0 * values[1]]
        for t in range(2, len(self.layers)):
            tangent: Any = 0
            for i in self._arriving[t]:
                source = self.blocks[i].source
                tangent = tangent + tangents[source] @ transpose(matrices[i])
                tangent = tangent + values[source] @ transpose(changes[i])
            tangents.append(tangent)
        return tangents

    def adjoint_tangents(
        self, matrices: Sequence[Array], changes: Sequence[Array], adjoints: Sequence[Any]
    ) -> list[Array | None]:
        """Return the derivatives of the adjoints of an open pass as the matrices change."""
        tangents: list[Any] = [None] * len(self.layers)
        tangents[-1] = 0 * adjoints[-1]
        for t in range(len(self.layers) - 2, 1, -1):
            tangents[t] = 0
            for i in self._leaving[t]:
                target = self.blocks[i].target
                tangents[t] = tangents[t] + tangents[target] @ matrices[i]
                tangents[t] = tangents[t] + adjoints[target] @ changes[i]
        return tangents

    def by_edges(self, values: Sequence[Array], adjoints: Sequence[Array | None]) -> Array:
        """Return ``Σ_n`` adjoint at the head times value at the tail, shape=[..., D]."""
        flat = []
        for block in self.blocks:
            product = transpose(adjoints[block.target]) @ values[block.source]
            flat.append(product.reshape(*product.shape[:-2], block.index.size))
        edges = joined(flat)
        return edges if self._order is None else edges[..., self._order]

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
            If a shape does not fit or an entry is NaN or infinite.
        """
        parameters, inputs = self.check_parameters(parameters), self.check_inputs(inputs)
        return self.forward(self.matrices(self.edge_vector(parameters)), inputs, relu=True)[-1]

    # Caches.

    @functools.cached_property
    def _arriving(self) -> list[list[int]]:
        """Numbers of the blocks to each layer."""
        return self._numbers([block.target for block in self.blocks])

    @functools.cached_property
    def _leaving(self) -> list[list[int]]:
        """Numbers of the blocks from each layer."""
        return self._numbers([block.source for block in self.blocks])

    def _numbers(self, places: Sequence[int]) -> list[list[int]]:
        numbers: list[list[int]] = [[] for _ in self.layers]
        for number, place in enumerate(places):
            numbers[place].append(number)
        return numbers

    @functools.cached_property
    def _starts(self) -> tuple[int | None, ...]:
        return tuple(block.start for block in self.blocks)

    @functools.cached_property
    def _order(self) -> numpy.ndarray | None:
        """Where the parameters stand in the joined blocks; None if it is in their order."""
        joined = numpy.concatenate([block.index.ravel() for block in self.blocks])
        places = numpy.flatnonzero((joined >= 0) & (joined < self.n_parameters))
        order = places[numpy.argsort(joined[places])]
        is_trivial = numpy.array_equal(order, numpy.arange(len(joined)))
        return None if is_trivial else order


def joined(arrays: Sequence[Array]) -> Array:
    """Concatenate arrays along their last axes."""
    xp = namespace(*arrays)
    return (getattr(xp, "concat", None) or xp.concatenate)(arrays, -1)


def names_of(neurons: Sequence[Hashable]) -> str:
    """Return a few names and the verb, for a message."""
    shown = ", ".join(map(str, neurons[:3]))
    if len(neurons) == 1:
        return f"{shown} is"
    return f"{shown} {'are' if len(neurons) < 4 else f'and {len(neurons) - 3} others are'}"
