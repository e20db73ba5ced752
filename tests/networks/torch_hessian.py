"""Second derivatives of losses of networks by PyTorch, from the definition."""

from typing import Any

import numpy
import torch

from dlngeo.losses import LinearRegression
from dlngeo.networks import LinearNetwork


def torch_hessian(factors: Any, loss: Any) -> numpy.ndarray:
    """Return the Hessian by all weights, layer by layer, and then all biases, shape=[D, D].

    A regression sees the outputs of the layers one after the other, any other loss their product.
    """
    network = LinearNetwork(factors)
    layers = [torch.tensor(w) for w in network.factors]
    present = [torch.tensor(b) for b in network.biases if b is not None]
    leaves = [*layers, *present]

    def value(vector: torch.Tensor) -> torch.Tensor:
        parts = vector.split([leaf.numel() for leaf in leaves])
        moved = [part.reshape(leaf.shape) for part, leaf in zip(parts, leaves, strict=True)]
        biases = iter(moved[len(layers) :])
        is_regression = isinstance(loss, LinearRegression)
        inputs = loss.inputs if is_regression else numpy.eye(layers[0].shape[1])
        outputs = torch.tensor(inputs)
        for layer, bias in zip(moved[: len(layers)], network.biases, strict=True):
            outputs = outputs @ layer.T
            if bias is not None:
                outputs = outputs + next(biases)
        if is_regression:
            return ((outputs - torch.tensor(loss.outputs)) ** 2).sum() / (2 * len(inputs))
        return loss(outputs.T)

    point = torch.cat([leaf.ravel() for leaf in leaves])
    second: Any = torch.func.hessian(value)(point)
    return second.numpy()
