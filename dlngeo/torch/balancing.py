"""Balanced copies of PyTorch modules."""

import copy
from collections.abc import Iterator
from typing import Any

import torch

from dlngeo.core.base.arrays import round_off
from dlngeo.core.networks.balancing import balance


def balance_module(module: torch.nn.Module, rank: int | None = None) -> torch.nn.Module:
    r"""Return a balanced copy of a network of linear layers, with the same outputs.

    The weights become those of `dlngeo.core.networks.balancing.balance`. Biases ``b_p`` add up to
    ``Σ_p W_{>p} b_p`` at the output whatever the factors are: the last layer takes all of it, and
    the biases of hidden layers become zero.

    Every layer of the copy has a weight of its own: what layers share is untied, and what is
    computed anew in every call, by weight normalisation or a mask, is baked in as it is when the
    module evaluates. That the outputs are the same is checked in the end.

    Parameters
    ----------
    module : torch.nn.Linear, or torch.nn.Sequential
        Of ``Linear`` layers, in ``Sequential`` modules to any depth, and of ``Identity`` and
        ``Flatten``; the last layer has a bias if any has.
    rank : int, optional
        Rank of the end-to-end matrix, the smallest width by default.

    Returns
    -------
    balanced : like module
        A copy; parameters keep their type, device and ``requires_grad``.

    Raises
    ------
    ValueError
        If a layer is of another kind, only hidden layers have a bias, the end-to-end matrix has a
        lower rank, or the outputs of the copy differ, as where the rank truncates.

    References
    ----------
    THEORY 2, 5.
    """
    layers = list(_linear_layers(module, "the module"))
    if not layers:
        raise ValueError("a network needs at least one Linear layer, got none.")
    if layers[-1].bias is None and any(layer.bias is not None for layer in layers):
        raise ValueError(
            "hidden layers have a bias but the last one does not: give it one, to hold them."
        )
    with torch.no_grad():
        weights = [_evaluated_weight(layer) for layer in layers]
        balanced = balance(tuple(weights), rank)
        bias: Any = 0.0
        for layer, weight in zip(layers, weights, strict=True):
            bias = bias if isinstance(bias, float) else weight @ bias
            bias = bias if layer.bias is None else bias + layer.bias
        last = len(layers) - 1
        copies = iter(
            [
                _plain_copy(layer, weight, bias if p == last else 0.0)
                for p, (layer, weight) in enumerate(zip(layers, balanced, strict=True))
            ]
        )
        result = _with_layers(module, copies)
        _check_outputs(module, result, weights[0])
    return result


def _linear_layers(module: Any, place: str) -> Iterator[torch.nn.Linear]:
    """Yield the linear layers in the order in which data flow, a shared one again."""
    if type(module) is torch.nn.Sequential:
        for name, layer in module._modules.items():  # with those that stand twice
            yield from _linear_layers(layer, f"place {name} of {place}")
        return
    if isinstance(module, torch.nn.Flatten) and (module.start_dim, module.end_dim) == (1, -1):
        return
    if type(module) is torch.nn.Identity:
        return
    is_linear = type(module) is torch.nn.Linear or (
        torch.nn.utils.parametrize.is_parametrized(module) and isinstance(module, torch.nn.Linear)
    )
    if not is_linear:
        raise ValueError(
            "expected Linear layers, alone or in a Sequential with Identity and Flatten, got "
            f"{type(module).__name__} as {place}: take it out, or write it as a Linear layer."
        )
    yield module


def _evaluated_weight(layer: torch.nn.Linear) -> torch.Tensor:
    """Return the weight that a layer uses when it evaluates."""
    was_training = layer.training
    layer.eval()
    try:
        layer(layer.weight.new_zeros(1, layer.in_features))  # hooks compute the weight
        return layer.weight.detach().clone()
    finally:
        layer.train(was_training)


def _plain_copy(layer: torch.nn.Linear, weight: torch.Tensor, bias: Any) -> torch.nn.Linear:
    """Return a layer with parameters of its own."""
    has_bias = layer.bias is not None
    result = torch.nn.Linear(
        layer.in_features, layer.out_features, has_bias, device=weight.device, dtype=weight.dtype
    ).train(layer.training)
    result.weight.copy_(weight).requires_grad_(any(p.requires_grad for p in layer.parameters()))
    if has_bias:
        result.bias.copy_(bias + torch.zeros_like(layer.bias))
        result.bias.requires_grad_(layer.bias.requires_grad)
    return result


def _with_layers(module: torch.nn.Module, layers: Iterator[torch.nn.Linear]) -> torch.nn.Module:
    """Return a copy of a module with other linear layers, in the order in which data flow."""
    if type(module) is not torch.nn.Sequential:
        return next(layers) if isinstance(module, torch.nn.Linear) else copy.deepcopy(module)
    result = torch.nn.Sequential().train(module.training)
    for name, layer in module._modules.items():
        result.add_module(name, _with_layers(layer, layers))
    return result


def _check_outputs(module: torch.nn.Module, result: torch.nn.Module, weight: torch.Tensor) -> None:
    """Raise a ValueError if two modules differ at random inputs by more than round-off."""
    rng = torch.Generator(weight.device).manual_seed(0)
    size = (2 * weight.shape[-1], weight.shape[-1])
    inputs = torch.randn(size, generator=rng, device=weight.device, dtype=weight.dtype)
    was_training = module.training
    expected, got = module.eval()(inputs), result.eval()(inputs)
    module.train(was_training)
    result.train(was_training)
    error, scale = float((got - expected).abs().max()), float(expected.abs().max())
    if not error <= round_off(weight) ** 0.5 * scale:
        raise ValueError(
            f"the balanced copy has other outputs, off by {error / scale:.1e} of the largest: with "
            "a rank below that of the end-to-end matrix it is truncated, give none; hooks on "
            "modules cannot be copied, take them off."
        )
