"""Modules that compute what the layers of a deep linear network do."""

import copy
from collections.abc import Iterator, Sequence
from typing import Any

import torch

from dlngeo.core.base.arrays import Array
from dlngeo.torch.affine_graph import plain
from dlngeo.torch.affine_modules import AffineModule, output_error, read_module


def new_module(weights: Sequence[Array], biases: Sequence[Array | None]) -> torch.nn.Sequential:
    """Return a Sequential of Linear layers, in double precision."""
    return torch.nn.Sequential(
        *[
            _linear(weight, bias, torch.zeros((), dtype=torch.float64))
            for weight, bias in zip(weights, biases, strict=True)
        ]
    )


def module_like(
    module: torch.nn.Module, weights: Sequence[Array], biases: Sequence[Array | None]
) -> torch.nn.Module:
    """Return a copy of a module that has other layers.

    In Sequential modules of PyTorch's own layers every layer of the copy is a plain Linear one:
    what layers share is untied, what is computed anew in every call is baked in, normalisation of
    batches is in the layers, and there is a bias where one is needed. Other modules are copied and
    written into.

    Parameters
    ----------
    module : torch.nn.Module
        As `read_module` takes it, of the same widths.
    weights : sequence of array, shape=[d_p, d_{p-1}]
    biases : sequence of array, shape=[d_p], or None

    Returns
    -------
    copy : torch.nn.Module
        Parameters have the type, device and ``requires_grad`` of those of the module.

    Raises
    ------
    ValueError
        If the module has other widths, or as in `write_module`.
    """
    module = plain(module)
    read = read_module(module)
    _check_widths(read, weights)
    linear = list(_linear_layers(module))
    shapes = [None if layer is None else tuple(layer.weight.shape) for layer in linear]
    if shapes != [tuple(weight.shape) for weight in weights]:
        result = _copy(module)
        write_module(result, weights, biases)
        return result
    layers = iter(zip(weights, biases, linear, strict=True))
    result = _rebuilt(module, layers)
    _check_written(result, weights, biases)
    return result


def write_module(
    module: torch.nn.Module, weights: Sequence[Array], biases: Sequence[Array | None]
) -> None:
    """Write layers into the parameters of a module, in place.

    Raises
    ------
    ValueError
        If the module has other widths, or a stage of it is more than one Linear layer with
        parameters of its own, or has no bias where one is needed; the module is as it was then.
    """
    module = plain(module)
    read = read_module(module)
    _check_widths(read, weights)
    for p, (layer, bias) in enumerate(zip(read.layers, biases, strict=True), 1):
        if layer is None:
            raise ValueError(
                f"layer {p} of the module is more than a Linear layer with a weight and bias of "
                "its own, which are shared, computed, or followed by other affine maps: take "
                "to_module(), a new one of Linear layers."
            )
        if layer.bias is None and bias is not None:
            raise ValueError(
                f"layer {p} of the module has no bias to hold that of the network: give it one, or "
                "take to_module(), a new one of Linear layers."
            )
    _fill(read.layers, weights, biases)
    try:
        _check_written(module, weights, biases)
    except ValueError:
        _fill(read.layers, read.weights, read.biases)
        raise


@torch.no_grad()
def _fill(layers: Sequence[Any], weights: Sequence[Array], biases: Sequence[Array | None]) -> None:
    for layer, weight, bias in zip(layers, weights, biases, strict=True):
        layer.weight.copy_(torch.as_tensor(weight))
        if layer.bias is not None:
            layer.bias.copy_(torch.zeros(()) if bias is None else torch.as_tensor(bias))


def _linear(weight: Array, bias: Array | None, like: torch.Tensor) -> torch.nn.Linear:
    rows, columns = weight.shape
    layer = torch.nn.Linear(columns, rows, bias is not None, device=like.device, dtype=like.dtype)
    _fill([layer], [weight], [bias])
    return layer


def _linear_layers(module: torch.nn.Module) -> Iterator[torch.nn.Linear | None]:
    """Yield the linear layers in the order in which data flow, and None for what is not rebuilt."""
    if type(module) is torch.nn.Sequential:
        for part in module._modules.values():  # with those that stand twice
            yield from _linear_layers(part)  # type: ignore[arg-type]
    elif isinstance(module, torch.nn.Linear):
        yield module
    elif not type(module).__module__.startswith("torch.nn"):
        yield None


def _rebuilt(module: torch.nn.Module, layers: Iterator[tuple[Any, Any, Any]]) -> torch.nn.Module:
    """Return a copy of a module with other linear layers, in the order in which data flow."""
    if type(module) is torch.nn.Sequential:
        result = torch.nn.Sequential().train(module.training)
        for name, part in module._modules.items():
            result.add_module(name, _rebuilt(part, layers))  # type: ignore[arg-type]
        return result
    if isinstance(module, torch.nn.Linear):
        weight, bias, layer = next(layers)
        bias = 0 * weight[:, 0] if bias is None and layer.bias is not None else bias
        built = _linear(weight, bias, layer.weight).train(layer.training)
        built.weight.requires_grad_(any(p.requires_grad for p in layer.parameters()))
        if built.bias is not None:
            like = built.weight if layer.bias is None else layer.bias
            built.bias.requires_grad_(like.requires_grad)
        return built
    is_norm = isinstance(module, torch.nn.modules.batchnorm._BatchNorm)
    return torch.nn.Identity().train(module.training) if is_norm else _copy(module)


def _copy(module: torch.nn.Module) -> torch.nn.Module:
    try:
        return copy.deepcopy(module)
    except RuntimeError as error:
        raise ValueError(
            f"the module cannot be copied ({error}): take to_module(), a new one of Linear layers."
        ) from error


def _check_widths(read: AffineModule, weights: Sequence[Array]) -> None:
    expected, came = ([tuple(w.shape) for w in ws] for ws in (read.weights, weights))
    if expected != came:
        raise ValueError(
            f"the module has layers of shapes {expected}, and the network of {came}: take "
            "to_module(), a new one of Linear layers."
        )


def _check_written(
    module: torch.nn.Module, weights: Sequence[Array], biases: Sequence[Array | None]
) -> None:
    """Raise a ValueError if a module does not compute what it should."""
    error = output_error(module, weights, biases)
    if not error <= 1:
        raise ValueError(
            f"the outputs of the module are off by {error:.1e} times what round-off explains: take "
            "to_module(), a new one of Linear layers."
        )
