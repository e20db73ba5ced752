r"""The graph of a module whose map is affine, and its stages.

A module is traced by ``torch.fx``, as it evaluates. Rules say which nodes of its graph are affine,
and which of them act with a matrix. A stage is a part of the graph in which no two matrices follow
each other, between two nodes that all data pass; what else it does, as batch normalisation, sums
and reshapes, goes into its matrix. That is what the stage computes, ``x ↦ W_p x + b_p``: ``b_p`` is
its value at zero, and ``W_p`` its derivative.
"""

import inspect
from collections.abc import Sequence
from typing import Any

import numpy
import torch
import torch.fx
from torch.nn.modules.batchnorm import _BatchNorm, _NormBase
from torch.nn.modules.conv import _ConvNd
from torch.nn.modules.dropout import _DropoutNd
from torch.nn.modules.lazy import LazyModuleMixin

from dlngeo.core.base.arrays import to_numpy

PASSING = (torch.nn.Identity, torch.nn.Flatten, torch.nn.Unflatten, _DropoutNd)
"""Modules that change nothing but the shape when they evaluate."""

_NORMS = (
    torch.nn.LayerNorm,
    torch.nn.GroupNorm,
    torch.nn.RMSNorm,
    torch.nn.LocalResponseNorm,
    _NormBase,  # of which batch normalisation with running statistics is affine
)

# Functions and methods by name: affine in all arguments, in one of them, in the first one.
_SUMS = {"add", "add_", "iadd", "sub", "sub_", "isub", "cat", "concat", "stack"}
_PRODUCTS = {"mul", "mul_", "imul", "multiply"}
_MATRICES = {"linear", "matmul", "mm"}
_LINEAR = {"chunk", "clone", "contiguous", "double", "flatten", "flip", "float", "getitem"}
_LINEAR |= {"div", "div_", "truediv", "itruediv", "neg", "neg_", "mean", "sum", "pad", "to"}
_LINEAR |= {"narrow", "permute", "ravel", "reshape", "select", "split", "squeeze", "transpose"}
_LINEAR |= {"unflatten", "unsqueeze", "view"}
_SHAPES = {"size", "dim", "numel", "shape", "ndim", "dtype", "device"}


def plain(module: torch.nn.Module) -> torch.nn.Module:
    """Return the module that ``torch.compile`` was given."""
    return getattr(module, "_orig_mod", module)


def example_of(module: torch.nn.Module) -> torch.Tensor:
    """Return a parameter of a module, or a buffer, of its type and device."""
    tensors = (t for t in (*module.parameters(), *module.buffers()) if t.is_floating_point())
    return next(tensors, torch.zeros(()))


class _Tracer(torch.fx.Tracer):
    """Traces what is no layer of PyTorch, and nothing of what computes weights."""

    def is_leaf_module(self, m: torch.nn.Module, module_qualified_name: str) -> bool:
        is_parametrized = torch.nn.utils.parametrize.is_parametrized(m)
        kind: Any = type(m).__mro__[is_parametrized]  # a class of its own stands before
        is_own = kind.__module__.startswith(("torch.nn", "torch.ao.nn"))
        return kind.forward is torch.nn.Linear.forward or (
            is_own and not issubclass(kind, torch.nn.Sequential)
        )

    def call_module(self, m: torch.nn.Module, forward: Any, args: Any, kwargs: Any) -> Any:
        if hasattr(m, "_orig_mod"):
            return plain(m)(*args, **kwargs)
        return super().call_module(m, forward, args, kwargs)


def trace(module: torch.nn.Module) -> tuple[torch.nn.Module, torch.fx.Graph]:
    """Return a module and its graph; a layer becomes a Sequential of it.

    Raises
    ------
    ValueError
        If ``torch.fx`` cannot trace it.
    """
    if isinstance(module, torch.jit.ScriptModule):
        raise ValueError("got a compiled script: read the module that it was made of.")
    tracer = _Tracer()
    root = torch.nn.Sequential(module) if tracer.is_leaf_module(module, "") else module
    parameters = inspect.signature(root.forward).parameters.values()
    defaults = {p.name: p.default for p in parameters if p.default is not p.empty}
    try:
        return root, tracer.trace(root, concrete_args=defaults)
    except Exception as error:
        raise ValueError(
            f"torch.fx could not trace the module {type(module).__name__} ({error}): its graph "
            "must not depend on values; read the submodule that is linear, as module.head."
        ) from error


def refusal(module: torch.nn.Module) -> str:
    """Return why a module is not read, or nothing."""
    if isinstance(module, LazyModuleMixin) and module.has_uninitialized_params():
        return "it is lazy and has no weights yet, call the module once"
    if isinstance(module, (torch.nn.Linear, *PASSING)):
        return ""
    if isinstance(module, _BatchNorm) and module.running_mean is not None:
        return ""
    if isinstance(module, _ConvNd):
        return "convolutions are not read, as layers of a network they are no free matrices"
    if isinstance(module, _NORMS):
        return "it divides by a norm of its own inputs, which is not affine"
    return "its map is not affine, or not known to be"


class AffineGraph:
    """The graph of a module, and its stages."""

    def __init__(self, module: torch.nn.Module):
        self.root, graph = trace(module)
        self._interpreter = torch.fx.Interpreter(torch.fx.GraphModule(self.root, graph))
        self._interpreter.extra_traceback = False
        (output,) = (node for node in graph.nodes if node.op == "output")
        end = output.args[0]
        if not isinstance(end, torch.fx.Node):
            raise ValueError(
                f"expected a module that returns one tensor, got {type(end).__name__}: read the "
                "submodule that does."
            )
        self.nodes = _ancestors(end, graph)
        self.level: dict[torch.fx.Node, int] = {}
        self.matrices: list[torch.fx.Node] = []
        for node in self.nodes:
            self._enter(node)
        if end not in self.level or self.level[end] == 0:
            raise ValueError(
                f"a network needs at least one linear layer, got none in {type(module).__name__}."
            )
        self.ends = self._stage_ends(end)
        self._evaluate_once(example_of(self.root))

    def _enter(self, node: torch.fx.Node) -> None:
        """Find how many matrices one after the other lead to a node; check that it is affine."""
        if node.op == "placeholder":
            is_one = not str(node.target).startswith("*")
            if is_one and not node.args and not self.level:
                self.level[node] = 0
            elif not node.args:
                raise ValueError(
                    f"expected a module of one argument, got {node.target} too: read the submodule "
                    "that is linear."
                )
            return
        inputs = _inputs(node)
        carrying = [before for before in inputs if before in self.level]
        if not carrying or _name(node) in _SHAPES:
            return
        is_matrix = self._is_matrix(node, carrying)
        self.level[node] = max(self.level[before] for before in carrying) + is_matrix
        if is_matrix:
            self.matrices.append(node)

    def _is_matrix(self, node: torch.fx.Node, carrying: Sequence[torch.fx.Node]) -> bool:
        """Tell whether a node acts with a matrix; a ValueError if it is not affine."""
        if node.op == "call_module":
            part = self.root.get_submodule(str(node.target))
            if reason := refusal(part):
                kind = type(part).__name__
                if type(part).__module__.startswith("torch.ao"):
                    kind = f"{type(part).__module__}.{kind}"
                raise _not_affine(f"{kind} as layer {node.target}", reason)
            return isinstance(part, torch.nn.Linear)
        name = _name(node)
        is_of_first = carrying == [node.args[0]] if node.args else False
        if name in _MATRICES and is_of_first:
            return True
        is_affine = (
            name in _SUMS
            or (name in _PRODUCTS and len(carrying) == 1)
            or (name in _LINEAR and is_of_first and not node.kwargs.get("rounding_mode"))
            or (name == "dropout" and not _argument(node, 2, "training", True))
        )
        if not is_affine:
            stack = node.meta.get("nn_module_stack") or {}
            owner, owner_type = next(reversed(stack.values()), ("", type(self.root)))
            place = f"layer {owner} ({owner_type.__name__})" if owner else owner_type.__name__
            raise _not_affine(f"{name} in {place}", _reason(name))
        return False

    def _stage_ends(self, end: torch.fx.Node) -> list[torch.fx.Node]:
        """Return the input, and the last node of each stage."""
        place = {node: p for p, node in enumerate(self.level)}
        # All data pass a node that no edge leads around.
        reach = 0
        passed: dict[int, torch.fx.Node] = {}
        for node, p in place.items():
            if reach <= p:
                passed[self.level[node]] = node
            reach = max([reach, *(place[user] for user in node.users if user in place)])
        for level in range(1, self.level[end]):
            if level not in passed:
                names = [n.target for n in self.matrices if self.level[n] in (level, level + 1)]
                raise ValueError(
                    f"expected a product of matrices, but data bypass the layers "
                    f"{' and '.join(map(_spoken, names))}, as in a residual block: write the block "
                    "as one layer, or read the layers inside of it."
                )
        start = next(iter(self.level))
        return [start, *(passed[level] for level in range(1, self.level[end])), end]

    def _evaluate_once(self, like: torch.Tensor) -> None:
        """Evaluate all nodes at as many samples as a stage has outputs at most."""
        size = self._input_size()
        samples = 2
        for _ in range(2):
            self._interpreter.env = {}
            given = {self.ends[0]: torch.zeros((samples, size)).to(like)}
            try:
                self._run([n for n in self.nodes if n.op == "placeholder"][1:], {})
                self.values = self._run(self.nodes, given)
            except Exception as error:
                raise ValueError(
                    f"the module could not be evaluated at inputs of shape [n, {size}]: {error}. "
                    "Inputs of other shapes are read of the part that takes vectors."
                ) from error
            values = [self.values[n] for n in self.ends[1:]]
            if any(value.ndim == 0 or len(value) != samples for value in values):
                raise ValueError(
                    f"expected a row for each of {samples} samples, but layers have outputs of "
                    f"shapes {[tuple(value.shape) for value in values]}: samples are not mixed."
                )
            samples = max([2, *(value[0].numel() for value in values)])

    def _input_size(self) -> int:
        """Return the number of columns of the first matrix."""
        first = self.matrices[0]
        if first.op == "call_module":
            return int(self.root.get_submodule(str(first.target)).in_features)  # type: ignore[arg-type]
        weight = next(node for node in _inputs(first) if node not in self.level)
        with torch.no_grad():
            value = self._run(_ancestors(weight, first.graph), {})[weight]
        return value.shape[-1] if _name(first) == "linear" else value.shape[0]

    def _run(self, nodes: Sequence[torch.fx.Node], given: dict) -> dict[torch.fx.Node, Any]:
        """Return the values of nodes, one after the other, given those of others."""
        env = self._interpreter.env = dict(given)
        self._interpreter.args_iter = iter(())
        for node in nodes:
            if node not in given:
                env[node] = self._interpreter.run_node(node)
        return env

    def layers(self) -> tuple[tuple[numpy.ndarray, ...], tuple[numpy.ndarray | None, ...]]:
        """Return the matrix and the bias of each stage; None for a bias of zeros."""
        weights: list[numpy.ndarray] = []
        biases: list[numpy.ndarray | None] = []
        order = list(self.level)
        for start, end in zip(self.ends[:-1], self.ends[1:], strict=True):
            stage = order[order.index(start) + 1 : order.index(end) + 1]
            given = {n: v for n, v in self.values.items() if n not in stage}
            point = torch.zeros_like(self.values[start], requires_grad=True)
            # Nothing may change the point itself in place.
            value = self._run(stage, {**given, start: point.clone()})[end]
            value = value.reshape(len(value), -1)
            seeds = torch.eye(len(value), value.shape[1]).to(value)
            (slope,) = torch.autograd.grad(value, point, seeds, allow_unused=True)
            slope = torch.zeros_like(point) if slope is None else slope
            weights.append(_double(slope[: value.shape[1]].flatten(1)))
            bias = _double(value[0])
            biases.append(bias if bias.any() else None)
        return tuple(weights), tuple(biases)

    def plain_layers(
        self, weights: Sequence[numpy.ndarray], biases: Sequence[numpy.ndarray | None]
    ) -> tuple[torch.nn.Linear | None, ...]:
        """Return the layer of each stage whose parameters are its weight and bias."""
        found: list[Any] = []
        for level, (weight, bias) in enumerate(zip(weights, biases, strict=True), start=1):
            nodes = [n for n in self.matrices if self.level[n] == level]
            is_module = len(nodes) == 1 and nodes[0].op == "call_module"
            layer: Any = self.root.get_submodule(str(nodes[0].target)) if is_module else None
            found.append(layer if layer and _holds(layer, weight, bias) else None)
        tensors = [id(layer.weight) for layer in found if layer is not None]
        return tuple(
            layer if layer and tensors.count(id(layer.weight)) == 1 else None for layer in found
        )


def _ancestors(end: torch.fx.Node, graph: torch.fx.Graph) -> list[torch.fx.Node]:
    """Return a node and those that it depends on, in order."""
    needed, waiting = set(), [end]
    while waiting:
        node = waiting.pop()
        if node not in needed:
            needed.add(node)
            waiting += node.all_input_nodes
    return [node for node in graph.nodes if node in needed]


def _inputs(node: torch.fx.Node) -> list[torch.fx.Node]:
    """Return the nodes that a node takes, one that it takes twice again."""
    found: list[torch.fx.Node] = []
    torch.fx.node.map_arg((node.args, node.kwargs), found.append)
    return found


def _argument(node: torch.fx.Node, place: int, name: str, default: Any) -> Any:
    return node.args[place] if len(node.args) > place else node.kwargs.get(name, default)


def _name(node: torch.fx.Node) -> str:
    """Return the name of the function, method or attribute that a node stands for."""
    name = str(getattr(node.target, "__name__", node.target))
    return str(node.args[1]) if name == "getattr" else name


def _spoken(target: Any) -> str:
    return str(getattr(target, "__name__", target))


def _reason(name: str) -> str:
    if name in {"T", "t", "mT", *_MATRICES}:
        return "data stand on the right of a product, or on both sides: samples are rows, x @ W.T"
    if name == "dropout":
        return "it drops when the module evaluates too: pass training=self.training"
    return "it is not affine in the data, or not known to be"


def _not_affine(what: str, reason: str) -> ValueError:
    return ValueError(
        f"expected a module whose map is affine, got {what}: {reason}. Take it out, or read the "
        "layers around it alone: dlngeo.torch.linear_runs finds them."
    )


def _double(tensor: torch.Tensor) -> numpy.ndarray:
    return to_numpy(tensor.detach()).astype(float)


def _holds(layer: torch.nn.Linear, weight: numpy.ndarray, bias: numpy.ndarray | None) -> bool:
    """Tell whether a layer has a weight and a bias as parameters."""
    is_free = {"weight", "bias"} == set(layer._parameters)
    if not (is_free and numpy.array_equal(_double(layer.weight), weight)):
        return False
    held = numpy.zeros(len(weight)) if layer.bias is None else _double(layer.bias)
    return numpy.array_equal(held, 0 * held if bias is None else bias)
