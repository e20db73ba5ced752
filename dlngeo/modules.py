"""Deep linear networks that are PyTorch modules; needs the extra ``torch``."""

import copy
from typing import Any

import torch

from dlngeo.core.networks.balancing import balance


def balance_module(module: torch.nn.Sequential, rank: int | None = None) -> torch.nn.Sequential:
    r"""Return a balanced copy of a network of linear layers, with the same outputs.

    The weights become those of `dlngeo.core.networks.balancing.balance`. Biases ``b_p`` add up to
    ``Σ_p W_{>p} b_p`` at the output whatever the factors are: the last layer takes all of it, and
    the biases of hidden layers become zero.

    Parameters
    ----------
    module : torch.nn.Sequential
        Of ``torch.nn.Linear`` layers, without activations; the last one has a bias if any has.
    rank : int, optional
        Rank of the end-to-end matrix, the smallest width by default.

    Returns
    -------
    balanced : torch.nn.Sequential
        A copy; parameters keep their type, device and ``requires_grad``.

    Raises
    ------
    ValueError
        If a layer is not linear, only hidden layers have a bias, or the end-to-end matrix has a
        lower rank.

    References
    ----------
    THEORY 2, 5.
    """
    layers = list(module) if isinstance(module, torch.nn.Sequential) else [module]
    for place, layer in enumerate(layers):
        if type(layer) is not torch.nn.Linear:
            raise ValueError(
                "expected a Sequential of Linear layers and nothing else, got "
                f"{type(layer).__name__} at place {place}: with activations it is not linear."
            )
    if not layers:
        raise ValueError("a network needs at least one layer, got an empty Sequential.")
    if layers[-1].bias is None and any(layer.bias is not None for layer in layers):
        raise ValueError(
            "hidden layers have a bias but the last one does not: give it one, to hold them."
        )
    with torch.no_grad():
        balanced = balance(tuple(layer.weight for layer in layers), rank)
        bias: Any = 0.0
        for layer in layers:
            bias = bias if isinstance(bias, float) else layer.weight @ bias
            bias = bias if layer.bias is None else bias + layer.bias
        result = copy.deepcopy(module)
        copies: list[Any] = list(result) if isinstance(result, torch.nn.Sequential) else [result]
        for layer, weight in zip(copies, balanced, strict=True):
            layer.weight.copy_(weight)
            if layer.bias is not None:
                layer.bias.zero_()
        if copies[-1].bias is not None:
            copies[-1].bias.copy_(bias)
    return result
