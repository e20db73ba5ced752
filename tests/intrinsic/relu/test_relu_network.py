"""Networks from widths, graphs and PyTorch modules, and what they refuse."""

import networkx
import numpy
import pytest
import torch
from torch import nn

from dlngeo.intrinsic import ReluNetwork, network_of_graph, network_of_module
from dlngeo.intrinsic.relu import path_lifting, rescaling
from tests.intrinsic.relu_graphs import residual_graph, skip_graph

close = numpy.testing.assert_allclose


class Residual(nn.Module):
    """An identity skip connection around two layers, and a sum of a layer with itself."""

    def __init__(self):
        super().__init__()
        self.first = nn.Linear(4, 3)
        self.inner = nn.Linear(3, 5)
        self.back = nn.Linear(5, 3, bias=False)
        self.last = nn.Linear(3, 2)

    def forward(self, x):
        stream = torch.relu(self.first(x))
        stream = stream + self.back(self.inner(stream).relu())
        return self.last(nn.functional.relu(stream + stream))


class Shared(nn.Module):
    """A layer that is used as it is and rectified, with the last layer defined first."""

    def __init__(self):
        super().__init__()
        self.last, self.passing, self.first = nn.Linear(3, 2), nn.Identity(), nn.Linear(4, 3)

    def forward(self, x):
        before = self.first(x)
        return self.last(torch.relu(self.passing(before)) + before)


MODULES = {
    "shared": Shared(),
    "sequential": nn.Sequential(
        nn.Flatten(),
        nn.Linear(4, 3),
        nn.ReLU(),
        nn.Sequential(nn.Linear(3, 3, bias=False), nn.ReLU(), nn.Dropout(0.5)),
        nn.Linear(3, 2),
    ),
    "residual": Residual(),
    "linear": nn.Linear(4, 2),
    "rectified output": nn.Sequential(nn.Linear(4, 3), nn.ReLU()),
    "rectified input": nn.Sequential(nn.ReLU(), nn.Linear(4, 3)),
}


@pytest.mark.parametrize("name", MODULES)
def test_modules(name):
    torch.manual_seed(0)
    module = MODULES[name].double().eval()
    network, parameters = network_of_module(module)
    inputs = torch.randn(9, 4, dtype=torch.float64)
    expected = module(inputs)
    close(network.outputs(parameters, inputs), expected.detach(), atol=1e-14)
    lifted = path_lifting.lift(network, parameters)
    outputs = path_lifting.path_features(network, parameters, inputs) @ lifted
    close(outputs, expected.detach(), atol=1e-14)
    cotangents = torch.randn_like(expected)
    slopes = torch.autograd.grad(expected, list(module.parameters()), cotangents)
    gradient = path_lifting.output_gradient(network, parameters, inputs, cotangents)
    close(gradient, torch.cat([slope.ravel() for slope in slopes]), atol=1e-13)
    # Written back after a rescaling, the outputs are as before.
    scales = torch.exp(torch.randn(len(network.scaling_groups), dtype=torch.float64))
    moved = rescaling.rescale(network, parameters, scales)
    with torch.no_grad():
        nn.utils.vector_to_parameters(moved, module.parameters())
    close(module(inputs).detach(), expected.detach(), atol=1e-12)


def test_parameters_of_widths_are_those_of_a_sequential():
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2), nn.ReLU(), nn.Linear(2, 2))
    parameters = nn.utils.parameters_to_vector(module.parameters()).detach()
    inputs = torch.randn(9, 4)
    network = ReluNetwork.from_widths((4, 3, 2, 2))
    close(network.outputs(parameters, inputs), module(inputs).detach(), atol=1e-6)


def test_rescalings_of_a_residual_module():
    groups = network_of_module(Residual())[0].scaling_groups
    stream, inner = groups[:3], groups[3:]
    assert len(inner) == 5
    assert stream[1][:2] == ("neuron 2 of first", "neuron 2 of back")


def test_order_of_the_parameters_of_a_graph():
    graph = residual_graph()
    network, parameters = network_of_graph(graph, ("x1", "x2", "x3"), ("y", "z"))
    trained = [w for *e, w in graph.edges(data="weight") if graph.edges[e].get("trainable", True)]
    biases = [bias for _, bias in graph.nodes(data="bias") if bias is not None]
    close(parameters, [*trained, *biases])
    assert network.n_parameters == len(trained) + 2
    close(network.fixed, [-2.0, 3.0, -2.0])


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


class Branching(nn.Module):
    def forward(self, x):
        return x if x.sum() > 0 else -x


def shared():
    layer = nn.Linear(2, 2)
    return nn.Sequential(layer, nn.ReLU(), layer)


class Unused(nn.Module):
    def __init__(self):
        super().__init__()
        self.used, self.other = nn.Linear(2, 2), nn.Linear(2, 2)

    def forward(self, x):
        return self.used(x)


def test_repr_is_short():
    """Paths of ``(784, 64, 32, 10)``: from the inputs and from the biases of each layer."""
    n_paths = 10 * (1 + 32 * (1 + 64 * (1 + 784)))
    assert repr(ReluNetwork.from_widths((784, 64, 32, 10))) == (
        f"ReluNetwork(widths=(784, 64, 32, 10), n_parameters=52650, n_paths={n_paths})"
    )


BAD_CALLS = {
    "width zero": (lambda: ReluNetwork.from_widths((3, 0, 2)), "positive integers"),
    "one width": (lambda: ReluNetwork.from_widths((3,)), "at least two"),
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
    "tanh": (lambda: network_of_module(nn.Sequential(nn.Linear(2, 2), nn.Tanh())), "got Tanh"),
    "branch": (lambda: network_of_module(Branching()), "could not trace"),
    "shared": (lambda: network_of_module(shared()), "used twice or shares its weight"),
    "unused": (lambda: network_of_module(Unused()), "other.bias is not used"),
    "empty": (lambda: network_of_module(nn.Sequential()), "at least one Linear"),
}


@pytest.mark.parametrize("name", BAD_CALLS)
def test_errors_say_what_to_do(name):
    call, message = BAD_CALLS[name]
    with pytest.raises(ValueError, match=message):
        call()
