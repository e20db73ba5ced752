"""Modules whose map is affine, read as the layers of a deep linear network."""

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy
import torch
import torch.fx

from dlngeo.core.base.arrays import Array, to_numpy
from dlngeo.core.base.checks import instance, real_array
from dlngeo.core.networks.factors import layers_of
from dlngeo.torch.affine_graph import AffineGraph, example_of, plain, refusal, trace

_TOLERANCE = {torch.float32: 1e-6, torch.float64: 1e-12}
"""Error of the outputs of layers, relative to what their errors may grow to."""


@dataclass(frozen=True)
class AffineModule:
    """A module as layers, of NumPy's double precision.

    Attributes
    ----------
    weights : tuple of array, shape=[d_p, d_{p-1}]
    biases : tuple of array, shape=[d_p], or None where it vanishes
    layers : tuple of torch.nn.Linear, or None
        The module of each stage that has its weight and bias as parameters of its own; None where
        the stage is more than that.
    """

    weights: tuple[numpy.ndarray, ...]
    biases: tuple[numpy.ndarray | None, ...]
    layers: tuple[torch.nn.Linear | None, ...]


def read_module(module: torch.nn.Module) -> AffineModule:
    """Return the layers of a module whose map is affine.

    The module stays as it is. Shared weights are untied, and those that are computed anew in every
    call, by parametrisations, hooks or masks, are what they are when it evaluates.

    Parameters
    ----------
    module : torch.nn.Module
        Of vectors: inputs have shape=[n, d_0].

    Raises
    ------
    ValueError
        If the module cannot be traced, a layer is not affine or of another precision than single
        and double, a sum bypasses several layers, there is no layer, or the outputs of the layers
        differ from those of the module by more than 1e-6 in single precision, or 1e-12 in double,
        of the scale on which errors of the layers are seen at the output.
    """
    module = plain(instance(module, torch.nn.Module, "the module"))
    _check_parameters(module)
    with evaluating(module):
        graph = AffineGraph(module)
        found, biases = graph.layers()
        weights = layers_of(found)  # their entries are finite, and the widths chain
    error = output_error(module, weights, biases)
    if not error <= 1:
        raise ValueError(
            f"the outputs of the module are not those of its layers, by {error:.1e} times what "
            "round-off explains: hooks that are not affine, samples that are mixed or drawn, and "
            "lower precision inside have to be taken out."
        )
    return AffineModule(weights, biases, graph.plain_layers(weights, biases))


def linear_runs(module: torch.nn.Module) -> dict[tuple[str, ...], torch.nn.Sequential]:
    """Return the linear networks inside of a module: runs of two and more linear layers.

    A run is what follows one another without an activation between: linear layers, normalisation
    of batches, dropout and reshapes. It shares its layers with the module, so that
    ``LinearNetwork.from_module`` reads it, and ``LinearNetwork.write_to`` writes into the module.

    Parameters
    ----------
    module : torch.nn.Module
        Any that ``torch.fx`` traces.

    Returns
    -------
    runs : dict of tuple of str to torch.nn.Sequential
        By the names of their layers in the module, in the order in which data flow.

    Raises
    ------
    ValueError
        If the module cannot be traced.

    Examples
    --------
    >>> import torch
    >>> from dlngeo.torch import linear_runs
    >>> Linear = torch.nn.Linear
    >>> model = torch.nn.Sequential(Linear(4, 3), torch.nn.ReLU(), Linear(3, 3), Linear(3, 2))
    >>> list(linear_runs(model))
    [('2', '3')]
    """
    module = plain(instance(module, torch.nn.Module, "the module"))
    with evaluating(module):
        root, graph = trace(module)
    runs: list[list[torch.fx.Node]] = []
    ends: dict[torch.fx.Node, list[torch.fx.Node]] = {}
    for node in graph.nodes:
        if node.op != "call_module" or refusal(root.get_submodule(node.target)):
            continue
        (before,) = node.all_input_nodes
        run = ends.pop(before, []) if len(before.users) == 1 else []
        if not run:
            runs.append(run)
        run.append(node)
        ends[node] = run
    found = {}
    for run in runs:
        layers = [(str(node.target), root.get_submodule(str(node.target))) for node in run]
        if sum(isinstance(layer, torch.nn.Linear) for _, layer in layers) > 1:
            names, parts = zip(*layers, strict=True)
            found[names] = torch.nn.Sequential(*parts)
    return found


@contextlib.contextmanager
def evaluating(*modules: torch.nn.Module) -> Iterator[None]:
    """Let modules evaluate, and each of their parts be in its own mode again afterwards."""
    modes = [(part, part.training) for module in modules for part in module.modules()]
    for module in modules:
        module.eval()
    try:
        yield
    finally:
        for part, is_training in modes:
            part.training = is_training


def output_error(
    module: torch.nn.Module, weights: Sequence[Array], biases: Sequence[Array | None]
) -> float:
    """Return by how much the outputs of a module differ from those of layers, at random inputs.

    In units of what round-off in the precision of the module explains: an error of a layer is
    carried to the end by at most the norms of those that follow.
    """
    like = example_of(module)
    size = weights[0].shape[1]
    inputs = torch.randn((2 * min(size, 50) + 1, size), generator=torch.Generator().manual_seed(0))
    with torch.no_grad(), evaluating(module):
        outputs = to_numpy(module(inputs.to(like))).reshape(len(inputs), -1).astype(float)
    values, scale = to_numpy(inputs).astype(float), 0.0
    for weight, bias in zip(weights, biases, strict=True):
        values = values @ weight.T + (0.0 if bias is None else bias)
        scale = max(scale * numpy.linalg.norm(weight, 2), numpy.linalg.norm(values, axis=1).max())
    if outputs.shape != values.shape:
        return numpy.inf
    error = numpy.linalg.norm(outputs - values, axis=1).max()
    return float(error / (_TOLERANCE[like.dtype] * scale)) if error else 0.0


def _check_parameters(module: torch.nn.Module) -> None:
    """Raise a ValueError that names the first parameter that does not serve."""
    types: dict[torch.dtype, str] = {}
    for name, parameter in [*module.named_parameters(), *module.named_buffers()]:
        if torch.nn.parameter.is_lazy(parameter):
            raise ValueError(
                f"layer {name.rpartition('.')[0] or 'alone'} is lazy and has no weights yet: call "
                "the module once, at any inputs."
            )
        if parameter.is_floating_point() or parameter.is_complex():
            real_array(parameter.detach(), f"the parameter {name} of the module")
            types.setdefault(parameter.dtype, name)
    if len(types) > 1:
        raise ValueError(
            "expected parameters of one precision, got "
            f"{', '.join(f'{name} of {kind}' for kind, name in types.items())}: convert the "
            "module, as by module.double()."
        )
