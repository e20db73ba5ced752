"""ReLU networks to test on, and their paths by brute force."""

import networkx
import numpy

from dlngeo.intrinsic import ReluNetwork, network_of_graph


def skip_graph(seed=0):
    """Skip connections, two depths of outputs, a bias here and there, a linear neuron."""
    rng = numpy.random.default_rng(seed)
    graph = networkx.DiGraph()
    edges = "x1-a x2-a x1-b a-b a-y1 b-y1 x2-y1 b-c c-y2 a-y2 x1-c c-d b-d d-y2"
    for edge in edges.split():
        graph.add_edge(*edge.split("-"), weight=rng.normal())
    for node in ("a", "c", "y2"):
        graph.nodes[node]["bias"] = rng.normal()
    graph.nodes["c"]["activation"] = "identity"
    return graph


def residual_graph(seed=0):
    """A linear stream of two neurons with a residual block, and identity edges that are fixed."""
    rng = numpy.random.default_rng(seed)
    graph = networkx.DiGraph()
    for j in "12":
        for i in "123":
            graph.add_edge(f"x{i}", f"a{j}", weight=rng.normal())
            graph.add_edge(f"a{j}", f"b{i}", weight=rng.normal())
            graph.add_edge(f"b{i}", f"c{j}", weight=rng.normal())
        graph.add_edge(f"a{j}", f"c{j}", weight=-2.0, trainable=False)
        graph.add_edge(f"c{j}", "y", weight=rng.normal())
        graph.add_node(f"a{j}", activation="identity")
        graph.add_node(f"c{j}", activation="identity", bias=rng.normal())
    graph.add_edge("c1", "z", weight=3.0, trainable=False)
    graph.add_edge("c2", "z", weight=rng.normal())
    return graph


GRAPHS = {
    "skip": (skip_graph, ("x1", "x2"), ("y1", "y2")),
    "residual": (residual_graph, ("x1", "x2", "x3"), ("y", "z")),
}

WIDTHS = {
    "linear": ((3, 2), True),
    "scalars": ((1, 1, 1), True),
    "no bias": ((3, 4, 2), False),
    "narrow": ((3, 4, 1, 2), True),
    "deep": ((2, 3, 2, 3, 1), True),
}


def network_called(name):
    if name in WIDTHS:
        widths, bias = WIDTHS[name]
        return ReluNetwork.from_widths(widths, bias=bias)
    build, inputs, outputs = GRAPHS[name]
    return network_of_graph(build(), inputs, outputs)[0]


NAMES = [*WIDTHS, *GRAPHS]


def graph_paths(graph, inputs, outputs):
    """Return the products along all paths by the names on them, from NetworkX."""
    graph = graph.copy()
    for node, bias in list(graph.nodes(data="bias")):
        if bias is not None:
            graph.add_edge("1", node, weight=bias)
    found = {}
    for source in ("1", *inputs):
        for target in outputs:
            if source in graph:
                for path in networkx.all_simple_paths(graph, source, target):
                    steps = networkx.utils.pairwise(path)
                    found[tuple(path)] = numpy.prod([graph.edges[e]["weight"] for e in steps])
    return found


def graph_outputs(graph, inputs, outputs, sample):
    """Return the outputs at one sample, neuron by neuron."""
    values = dict(zip(inputs, sample, strict=True))
    for node in networkx.topological_sort(graph):
        if node in values:
            continue
        value = graph.nodes[node].get("bias", 0.0)
        for before in graph.pred[node]:
            value += graph.edges[before, node]["weight"] * values[before]
        is_linear = node in outputs or graph.nodes[node].get("activation") == "identity"
        values[node] = value if is_linear else max(value, 0.0)
    return [values[node] for node in outputs]


def normal(*shape, seed=0):
    return numpy.random.default_rng(seed).normal(size=shape)
