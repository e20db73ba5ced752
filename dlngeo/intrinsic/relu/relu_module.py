"""ReLU networks that are given as PyTorch modules; needs the extra ``torch``."""

import operator
from typing import Any

import numpy

try:
    import torch
    import torch.fx
except ImportError as error:
    raise ImportError(
        "ReLU networks of modules need PyTorch, which is not installed: pip install "
        "'dlngeo[torch]'."
    ) from error

from dlngeo.intrinsic.relu.layered_graph import ABSENT, Block, Layer
from dlngeo.intrinsic.relu.relu_network import ReluNetwork

PASSING = (torch.nn.Identity, torch.nn.Dropout, torch.nn.Flatten)
RECTIFIERS = (torch.relu, torch.nn.functional.relu, "relu")
SUMS = (operator.add, operator.iadd, torch.add, "add")


def network_of_module(module: torch.nn.Module) -> tuple[ReluNetwork, torch.Tensor]:
    """Return the network of a PyTorch module, and its parameters.

    The module is traced by ``torch.fx``: Linear and ReLU layers, in a Sequential or with skip
    connections, which are sums. Identity, Flatten and Dropout (as in evaluation) are passed
    through.

    Parameters
    ----------
    module : torch.nn.Module

    Returns
    -------
    network : ReluNetwork
        Its inputs are flat, shape=[n, n_inputs].
    parameters : torch.Tensor, shape=[D]
        A copy, in the order of ``module.parameters()``: ``vector_to_parameters`` of
        ``torch.nn.utils`` writes a vector back.

    Raises
    ------
    ValueError
        If the module cannot be traced, or does something else.

    References
    ----------
    [MPG25]; THEORY 6.
    """
    if type(module) is torch.nn.Linear:  # torch.fx would trace what it is made of
        module = torch.nn.Sequential(module)
    try:
        traced = torch.fx.symbolic_trace(module)
    except Exception as error:
        raise ValueError(
            f"torch.fx could not trace the module ({error}): its graph must not depend on values."
        ) from error
    traced.graph.eliminate_dead_code()
    network = _Builder(traced, module).network()
    vector = torch.nn.utils.parameters_to_vector(module.parameters())
    return network, vector.detach().clone()


class _Builder:
    """Layers and blocks, one node of the traced graph after the other."""

    def __init__(self, traced: torch.fx.GraphModule, module: torch.nn.Module):
        self.traced = traced
        self.layers = [Layer(("1",), False)]
        self.blocks: list[Block] = []
        self.fixed: list[float] = []
        self.starts: dict[str, int] = {}
        size = 0
        for name, parameter in module.named_parameters():
            self.starts[name] = size
            size += parameter.numel()
        self.size = size
        self.places: dict[torch.fx.Node, int] = {}

    def network(self) -> ReluNetwork:
        for node in self.traced.graph.nodes:
            self._read(node)
        if self.starts:
            raise ValueError(
                f"the parameter {min(self.starts)} is not used, or not by a Linear layer: remove "
                "it."
            )
        return ReluNetwork(
            tuple(self.layers), tuple(self.blocks), self.size, numpy.array(self.fixed)
        )

    def _read(self, node: torch.fx.Node) -> None:
        what: Any = self._module_at(node) or node.target
        sources = [self.places.get(arg) for arg in node.args if isinstance(arg, torch.fx.Node)]
        if node.op == "placeholder" and len(self.layers) == 1:
            self._add_inputs(node)
        elif node.op == "output" and isinstance(node.args[0], torch.fx.Node):
            self._end(node)
        elif type(what) is torch.nn.Linear:
            self._add_linear(node, what)
        elif isinstance(what, PASSING):
            self.places[node] = self.places[node.args[0]]  # type: ignore[index]
        elif type(what) is torch.nn.ReLU or what in RECTIFIERS:
            self._rectify(node)
        elif what in SUMS and len(sources) == 2 and not node.kwargs:
            self._add_layer(node, [place for place in sources if place is not None], False)
        else:
            raise ValueError(
                f"expected one input, Linear and ReLU layers, their sums and one output, got "
                f"{type(what).__name__ if node.op == 'call_module' else what} at {node.name}: "
                "the path-lifting of anything else is not known here."
            )

    def _names(self, node: torch.fx.Node, size: int) -> tuple[str, ...]:
        owner = node.target if node.op == "call_module" else node.name
        return tuple(f"neuron {k + 1} of {owner}" for k in range(size))

    def _add_inputs(self, node: torch.fx.Node) -> None:
        # The first layer that is reached acts on the inputs, or on sums of them.
        modules = [self._module_at(other) for other in self.traced.graph.nodes]
        linear = [module for module in modules if type(module) is torch.nn.Linear]
        if not linear:
            raise ValueError("a network needs at least one Linear layer.")
        self.places[node] = 1
        self.layers.append(Layer(self._names(node, linear[0].in_features), False))

    def _module_at(self, node: torch.fx.Node) -> Any:
        return self.traced.get_submodule(str(node.target)) if node.op == "call_module" else None

    def _add_linear(self, node: torch.fx.Node, linear: torch.nn.Linear) -> None:
        source = self.places[node.args[0]]  # type: ignore[index]
        self.places[node] = target = len(self.layers)
        size = linear.out_features
        self.layers.append(Layer(self._names(node, size), False))
        for kind, tail, columns in (("weight", source, linear.in_features), ("bias", 0, 1)):
            if getattr(linear, kind) is None:
                continue
            start = self.starts.pop(f"{node.target}.{kind}", None)
            if start is None:
                raise ValueError(
                    f"the layer {node.target} is used twice or shares its {kind}: paths would "
                    "hold powers of a weight; give each place a layer of its own."
                )
            index = numpy.arange(start, start + size * columns).reshape(size, columns)
            self.blocks.append(Block(tail, target, index))

    def _add_layer(self, node: torch.fx.Node, sources: list[int], relu: bool) -> None:
        """Add a layer that sums others."""
        sizes = {len(self.layers[place].names) for place in sources}
        if len(sizes) > 1:
            raise ValueError(f"the sum at {node.name} has operands of the sizes {sorted(sizes)}.")
        size = sizes.pop()
        self.places[node] = target = len(self.layers)
        self.layers.append(Layer(self._names(node, size), relu))
        for place in sorted(set(sources)):
            index = numpy.full((size, size), ABSENT)
            numpy.fill_diagonal(index, self.size + len(self.fixed) + numpy.arange(size))
            self.fixed += [float(sources.count(place))] * size
            self.blocks.append(Block(place, target, index))

    def _rectify(self, node: torch.fx.Node) -> None:
        before: Any = node.args[0]
        place = self.places[before]
        layer = self.layers[place]
        is_shared = len(before.users) > 1
        while isinstance(self._module_at(before), PASSING):
            before = before.args[0]
            is_shared |= len(before.users) > 1
        if place == 1 or (is_shared and not layer.relu):
            self._add_layer(node, [place], True)
        else:
            self.layers[place] = layer._replace(relu=True)
            self.places[node] = place

    def _end(self, node: torch.fx.Node) -> None:
        before: Any = node.args[0]
        place = self.places[before]
        if self.layers[place].relu or place != len(self.layers) - 1 or place == 1:
            self._add_layer(node, [place], False)
