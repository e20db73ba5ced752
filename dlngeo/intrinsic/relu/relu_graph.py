"""ReLU networks that are given as NetworkX graphs of neurons."""

import graphlib
import math
from collections.abc import Hashable, Iterable
from typing import Any

import numpy

from dlngeo.intrinsic.relu.layered_graph import ABSENT, Block, Layer
from dlngeo.intrinsic.relu.relu_network import ReluNetwork

ACTIVATIONS = ("relu", "identity")


def network_of_graph(
    graph: Any, inputs: Iterable[Hashable], outputs: Iterable[Hashable]
) -> tuple[ReluNetwork, numpy.ndarray]:
    """Return the network of a NetworkX graph, and its parameters.

    The parameters are the weights in the order of ``graph.edges``, without the fixed ones, then
    the biases in the order of ``graph.nodes``.

    Parameters
    ----------
    graph : networkx.DiGraph
        Acyclic. Edges have a number ``weight``, and are fixed if ``trainable=False``. Nodes may
        have a number ``bias``, and have none without; hidden ones are rectified unless their
        ``activation`` is ``"identity"``.
    inputs, outputs : iterable of nodes

    Returns
    -------
    network : ReluNetwork
    parameters : array, shape=[D]

    Raises
    ------
    ValueError
        If the graph is no acyclic directed graph, inputs or outputs do not fit, an attribute is
        missing or wrong, or a neuron lies on no path.

    References
    ----------
    [MPG25]; THEORY 6.
    """
    if not graph.is_directed() or graph.is_multigraph():
        raise ValueError(
            "expected a networkx.DiGraph, with one direction and one weight for each edge, got "
            f"{type(graph).__name__}."
        )
    inputs, outputs = tuple(inputs), tuple(outputs)
    _check_ends(graph, inputs, outputs)
    groups = _generations(graph, inputs, outputs)
    has_bias = [v for v in graph.nodes if graph.nodes[v].get("bias") is not None]
    is_trained = {e: graph.edges[e].get("trainable", True) for e in graph.edges}
    trained = [e for e in graph.edges if is_trained[e]]
    kept = [e for e in graph.edges if not is_trained[e]]
    n_parameters = len(trained) + len(has_bias)
    position: dict[Any, int] = {e: k for k, e in enumerate(trained)}
    position |= {(None, v): len(trained) + k for k, v in enumerate(has_bias)}
    position |= {e: n_parameters + k for k, e in enumerate(kept)}

    place = {v: (t, k) for t, (_, names) in enumerate(groups, 1) for k, v in enumerate(names)}
    layers = [Layer(("1",), False), *(Layer(names, relu) for relu, names in groups)]
    indices: dict[tuple[int, int], numpy.ndarray] = {}
    for (tail, head), edge in position.items():
        source, column = (0, 0) if (tail, head) not in is_trained else place[tail]
        target, row = place[head]
        shape = len(layers[target].names), len(layers[source].names)
        index = indices.setdefault((target, source), numpy.full(shape, ABSENT))
        index[row, column] = edge
    blocks = [Block(source, target, indices[target, source]) for target, source in sorted(indices)]

    weights = [_number(graph.edges[e], "weight", f"edge {e}") for e in (*trained, *kept)]
    biases = [_number(graph.nodes[v], "bias", f"node {v!r}") for v in has_bias]
    network = ReluNetwork(
        tuple(layers), tuple(blocks), n_parameters, numpy.array(weights[len(trained) :], float)
    )
    return network, numpy.array([*weights[: len(trained)], *biases], float)


def _check_ends(graph: Any, inputs: tuple, outputs: tuple) -> None:
    if not inputs or not outputs:
        raise ValueError("a network needs inputs and outputs: name at least one node of each.")
    ends = (*inputs, *outputs)
    missing = [v for v in ends if v not in graph]
    if missing:
        raise ValueError(f"{missing[0]!r} is no node of the graph: name nodes that are.")
    if len(set(ends)) < len(ends):
        raise ValueError("each input and output must be another node; one is named twice.")
    for v in inputs:
        if graph.in_degree(v) or graph.nodes[v].get("bias") is not None:
            raise ValueError(
                f"the input {v!r} has an incoming edge or a bias: give the edge another head, or "
                "do not name it an input."
            )
    for v in outputs:
        if graph.out_degree(v) or graph.nodes[v].get("activation") == "relu":
            raise ValueError(
                f"the output {v!r} is rectified or has an outgoing edge: outputs are linear and "
                "feed nothing; add an output behind it, by an edge of weight 1 and "
                "trainable=False."
            )


def _generations(graph: Any, inputs: tuple, outputs: tuple) -> list[tuple[bool, tuple]]:
    """Return whether they are rectified, and the nodes, of inputs, hidden layers and outputs."""
    try:
        order = list(graphlib.TopologicalSorter(graph.pred).static_order())
    except graphlib.CycleError as error:
        cycle = " -> ".join(map(str, reversed(error.args[1])))
        raise ValueError(
            f"the graph has the cycle {cycle}: a network must be acyclic; remove one of its edges."
        ) from None
    depths: dict[Any, int] = {}
    hidden: dict[tuple[int, bool], list] = {}
    ends = {*inputs, *outputs}
    for v in order:
        depths[v] = 1 + max((depths[u] for u in graph.pred[v]), default=-1)
        if v in ends:
            continue
        activation = graph.nodes[v].get("activation", "relu")
        if activation not in ACTIVATIONS:
            raise ValueError(
                f"node {v!r} has the activation {activation!r}: it must be one of "
                f"{', '.join(ACTIVATIONS)}."
            )
        hidden.setdefault((depths[v], activation == "relu"), []).append(v)
    between = [(key[1], tuple(hidden[key])) for key in sorted(hidden)]
    return [(False, inputs), *between, (False, outputs)]


def _number(attributes: Any, name: str, owner: str) -> float:
    try:
        number = float(attributes[name])
    except (KeyError, TypeError, ValueError):
        number = math.nan
    if not math.isfinite(number):
        raise ValueError(
            f"{owner} needs a finite number as its attribute {name!r}, got "
            f"{attributes.get(name)!r}."
        )
    return number
