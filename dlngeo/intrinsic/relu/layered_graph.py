"""Passes through a layered graph: products of matrices, whatever the number of paths is.

The nodes stand in layers, and edges in blocks between two of them. The weights of all edges are one
vector: parameters first, then fixed weights, then 0 for edges that are absent, and 1 for what
follows the end of a path.
"""

import functools
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy

from dlngeo.core.base.arrays import Array, from_numpy, namespace, transpose

ABSENT, PADDING = -2, -1
"""Positions in the vector of edges that hold 0, where there is no edge, and 1, after a path."""

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
    edges : array of int, shape=[n_target, n_source]
        Positions of the edges in the vector of edges, `ABSENT` where there is none.
    """

    source: int
    target: int
    edges: numpy.ndarray

    @property
    def start(self) -> int | None:
        """First of the positions if they are consecutive, so that they need no gathering."""
        first = int(self.edges.flat[0])
        run = numpy.arange(first, first + self.edges.size).reshape(self.edges.shape)
        return first if first >= 0 and numpy.array_equal(self.edges, run) else None


@dataclass(frozen=True, eq=False)
class LayeredGraph:
    """Layers of nodes, blocks of edges, and the passes forward and backward.

    Attributes
    ----------
    layers : tuple of Layer
        The source of the biases, the inputs, hidden layers, and the outputs at the end.
    blocks : tuple of Block
        In the order of the targets; every layer but the first two is a target of one.
    n_parameters : int
        Number ``D`` of weights and biases that are trained.
    fixed : array, shape=[k]
        Weights of the other edges, which follow the parameters in the vector of edges.
    """

    layers: tuple[Layer, ...]
    blocks: tuple[Block, ...]
    n_parameters: int
    fixed: numpy.ndarray

    @functools.cached_property
    def sizes(self) -> tuple[int, ...]:
        """Number of nodes in each layer."""
        return tuple(len(layer.names) for layer in self.layers)

    @functools.cached_property
    def offsets(self) -> numpy.ndarray:
        """Number of the first neuron of each layer, shape=[n_layers + 1]."""
        return numpy.cumsum((0, *self.sizes))

    @functools.cached_property
    def ends(self) -> tuple[numpy.ndarray, numpy.ndarray]:
        """Neurons at tail and head of each edge, shape=[D + k] each."""
        tails, heads = numpy.zeros((2, self.n_parameters + len(self.fixed)), dtype=int)
        for block in self.blocks:
            rows, columns = numpy.nonzero(block.edges != ABSENT)
            edges = block.edges[rows, columns]
            tails[edges] = self.offsets[block.source] + columns
            heads[edges] = self.offsets[block.target] + rows
        return tails, heads

    def edge_vector(self, parameters: Array, fixed: numpy.ndarray | None = None) -> Array:
        """Return the weights of all edges, then 0 and 1; ``fixed`` replaces the fixed ones."""
        fixed = self.fixed if fixed is None else fixed
        rest = from_numpy(numpy.concatenate([fixed, [0.0, 1.0]]), parameters)
        shape = (*parameters.shape[:-1], len(rest))
        return join([parameters, namespace(rest).broadcast_to(rest, shape)])

    def matrices(self, edges: Array) -> list[Array]:
        """Return the matrix of each block, shape=[..., n_target, n_source]."""
        matrices = []
        for block, start in zip(self.blocks, self._starts, strict=True):
            if start is None:
                matrices.append(edges[..., block.edges])
                continue
            flat = edges[..., start : start + block.edges.size]
            matrices.append(flat.reshape(*edges.shape[:-1], *block.edges.shape))
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
            value = self._into(t, values, matrices)
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
            adjoint = self._out_of(t, adjoints, matrices)
            has_gate = gates is not None and gates[t] is not None
            adjoints[t] = adjoint * gates[t] if has_gate and gates is not None else adjoint
        return adjoints

    def tangents(
        self, matrices: Sequence[Array], changes: Sequence[Array], values: Sequence[Array]
    ) -> list[Array]:
        """Return the derivatives of the values of an open pass as the matrices change."""
        tangents = [0 * values[0], 0 * values[1]]
        for t in range(2, len(self.layers)):
            tangents.append(self._into(t, tangents, matrices) + self._into(t, values, changes))
        return tangents

    def adjoint_tangents(
        self, matrices: Sequence[Array], changes: Sequence[Array], adjoints: Sequence[Any]
    ) -> list[Array | None]:
        """Return the derivatives of the adjoints of an open pass as the matrices change."""
        tangents: list[Any] = [None] * len(self.layers)
        tangents[-1] = 0 * adjoints[-1]
        for t in range(len(self.layers) - 2, 1, -1):
            change = self._out_of(t, adjoints, changes)
            tangents[t] = self._out_of(t, tangents, matrices) + change
        return tangents

    def by_edges(self, values: Sequence[Array], adjoints: Sequence[Array | None]) -> Array:
        """Return ``Σ_n`` adjoint at the head times value at the tail, shape=[..., D]."""
        flat = []
        for block in self.blocks:
            product = transpose(adjoints[block.target]) @ values[block.source]
            flat.append(product.reshape(*product.shape[:-2], block.edges.size))
        edges = join(flat)
        return edges if self._order is None else edges[..., self._order]

    def dead(self, parameters: numpy.ndarray) -> numpy.ndarray:
        """Tell of each node whether it is on no path of non-zero weights, shape=[..., n].

        Inputs are always alive.

        Parameters
        ----------
        parameters : array, shape=[..., D]
        """
        matrices = [1.0 * (m != 0) for m in self.matrices(self.edge_vector(parameters))]
        reached = [numpy.ones((*parameters.shape[:-1], 1, size)) for size in self.sizes]
        reaching = list(reached)
        for t in range(2, len(self.layers)):
            reached[t] = numpy.minimum(0 * reached[t] + self._into(t, reached, matrices), 1)
        for t in range(len(self.layers) - 2, 1, -1):
            reaching[t] = numpy.minimum(0 * reaching[t] + self._out_of(t, reaching, matrices), 1)
        is_live = numpy.concatenate(reached, axis=-1) * numpy.concatenate(reaching, axis=-1)
        return is_live[..., 0, :] == 0

    def _into(self, t: int, values: Sequence[Any], matrices: Sequence[Array]) -> Array:
        """Return the sum of what arrives at a layer from those before."""
        terms = [values[self.blocks[i].source] @ transpose(matrices[i]) for i in self._arriving[t]]
        return sum(terms[1:], terms[0]) if terms else 0

    def _out_of(self, t: int, adjoints: Sequence[Any], matrices: Sequence[Array]) -> Array:
        """Return the sum of what arrives at a layer from those behind, in a pass backward."""
        terms = [adjoints[self.blocks[i].target] @ matrices[i] for i in self._leaving[t]]
        return sum(terms[1:], terms[0]) if terms else 0

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
        joined = numpy.concatenate([block.edges.ravel() for block in self.blocks])
        places = numpy.flatnonzero((joined >= 0) & (joined < self.n_parameters))
        order = places[numpy.argsort(joined[places])]
        is_trivial = numpy.array_equal(order, numpy.arange(len(joined)))
        return None if is_trivial else order


def join(arrays: Sequence[Array]) -> Array:
    """Concatenate arrays along their last axes."""
    return namespace(*arrays).concatenate(arrays, axis=-1)
