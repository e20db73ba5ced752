"""Networks from PyTorch modules, and modules that are refused."""

import numpy
import pytest
import torch
from torch import nn

from dlngeo.intrinsic import network_of_module
from dlngeo.intrinsic.relu import path_lifting, rescaling

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


def test_rescalings_of_a_residual_module():
    groups = network_of_module(Residual())[0].scaling_groups
    stream, inner = groups[:3], groups[3:]
    assert len(inner) == 5
    assert stream[1][:2] == ("neuron 2 of first", "neuron 2 of back")


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


BAD_CALLS = {
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
