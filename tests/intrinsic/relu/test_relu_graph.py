"""Networks from graphs, and graphs that are refused."""

import networkx
import numpy
import pytest

from dlngeo.intrinsic import network_of_graph, path_lifting, recover, rescaling
from tests.intrinsic.relu_graphs import residual_graph, skip_graph

close = numpy.testing.assert_allclose


def test_order_of_the_parameters_of_a_graph():
    graph = residual_graph()
    network, parameters = network_of_graph(graph, ("x1", "x2", "x3"), ("y", "z"))
    trained = [w for *e, w in graph.edges(data="weight") if graph.edges[e].get("trainable", True)]
    biases = [bias for _, bias in graph.nodes(data="bias") if bias is not None]
    close(parameters, [*trained, *biases])
    assert network.n_parameters == len(trained) + 2
    close(network.fixed, [-2.0, 3.0, -2.0])


@pytest.mark.parametrize("batch", [(), (3,)])
def test_graphs_without_trainable_parameters(batch):
    """Weights that are all fixed make a network with one empty vector of parameters."""
    graph = networkx.DiGraph()
    for tail, head, weight in (("x", "h", 2.0), ("h", "y", -3.0), ("x", "y", 1.0)):
        graph.add_edge(tail, head, weight=weight, trainable=False)
    network, parameters = network_of_graph(graph, ["x"], ["y"])
    assert network.n_parameters == 0
    assert parameters.shape == (0,)
    parameters = numpy.zeros((*batch, 0))
    inputs = numpy.array([[2.0], [-1.0]])
    close(network.outputs(parameters, inputs)[..., 0], numpy.broadcast_to([-10, -1], (*batch, 2)))
    close(path_lifting.path_norm(network, parameters), numpy.full(batch, 7.0))
    assert path_lifting.jacobian(network, parameters[..., :]).shape == (*batch, 2, 0)
    kernel = path_lifting.tangent_kernel(network, parameters, inputs)
    assert kernel.shape == (*batch, 2, 1, 2, 1)
    assert not kernel.any()
    assert rescaling.conserved_values(network, parameters).shape == (*batch, 0)
    assert rescaling.with_conserved_values(network, parameters).shape == (*batch, 0)
    if not batch:
        lifted = path_lifting.lift(network, parameters)
        assert recover(network, lifted, numpy.zeros(0)).shape == (0,)


def changed(**attributes):
    """Return the graph with attributes of a node or of an edge, by the name of either."""
    graph = skip_graph()
    for place, values in attributes.items():
        (graph.edges[place.split("_")] if "_" in place else graph.nodes[place]).update(values)
    return graph


def with_edge(tail, head, **attributes):
    graph = skip_graph()
    graph.add_edge(tail, head, **{"weight": 1.0, **attributes})
    return graph


def of_graph(graph, inputs=("x1", "x2"), outputs=("y1", "y2")):
    return network_of_graph(graph, inputs, outputs)


BAD_CALLS = {
    "undirected": (lambda: of_graph(networkx.Graph([(1, 2)])), "expected a networkx.DiGraph"),
    "multigraph": (lambda: of_graph(networkx.MultiDiGraph([(1, 2)])), "one weight for each edge"),
    "cycle": (lambda: of_graph(with_edge("c", "b")), "cycle (b -> c -> b|c -> b -> c).* remove"),
    "loop": (lambda: of_graph(with_edge("b", "b")), "cycle b -> b"),
    "no inputs": (lambda: of_graph(skip_graph(), inputs=()), "needs inputs and outputs"),
    "unknown node": (lambda: of_graph(skip_graph(), outputs=("y3",)), "'y3' is no node"),
    "twice": (lambda: of_graph(skip_graph(), outputs=("y1", "y1")), "named twice"),
    "edge into an input": (lambda: of_graph(with_edge("y1", "x1")), "input 'x1' has an incoming"),
    "bias of an input": (lambda: of_graph(changed(x1={"bias": 1.0})), "input 'x1' .* a bias"),
    "edge from an output": (lambda: of_graph(with_edge("y1", "d")), "output 'y1' is rectified or"),
    "rectified output": (lambda: of_graph(changed(y1={"activation": "relu"})), "'y1' is rectified"),
    "activation": (lambda: of_graph(changed(b={"activation": "tanh"})), "'b' has the activation"),
    "no weight": (lambda: of_graph(changed(a_b={"weight": None})), r"edge \('a', 'b'\) needs"),
    "NaN": (lambda: of_graph(changed(a_b={"weight": numpy.nan})), "finite number .* got nan"),
    "NaN bias": (lambda: of_graph(changed(a={"bias": numpy.nan})), "node 'a' needs a finite"),
    "nothing enters": (lambda: of_graph(with_edge("e", "y1")), "e is on no path .* remove it"),
    "nothing leaves": (lambda: of_graph(with_edge("a", "e")), "e is on no path .* connect it"),
    "dead output": (
        lambda: of_graph(skip_graph(), inputs=("x1",)),
        "x2 is on no path",
    ),
}


@pytest.mark.parametrize("name", BAD_CALLS)
def test_errors_say_what_to_do(name):
    call, message = BAD_CALLS[name]
    with pytest.raises(ValueError, match=message):
        call()
