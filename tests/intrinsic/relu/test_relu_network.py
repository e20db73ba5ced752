"""Networks from widths, graphs and PyTorch modules, and what they refuse."""

import numpy
import pytest
import torch
from torch import nn

from dlngeo.intrinsic import ReluNetwork

close = numpy.testing.assert_allclose


def test_parameters_of_widths_are_those_of_a_sequential():
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2), nn.ReLU(), nn.Linear(2, 2))
    parameters = nn.utils.parameters_to_vector(module.parameters()).detach()
    inputs = torch.randn(9, 4)
    network = ReluNetwork.from_widths((4, 3, 2, 2))
    close(network.outputs(parameters, inputs), module(inputs).detach(), atol=1e-6)


def test_repr_is_short():
    """Paths of ``(784, 64, 32, 10)``: from the inputs and from the biases of each layer."""
    n_paths = 10 * (1 + 32 * (1 + 64 * (1 + 784)))
    assert repr(ReluNetwork.from_widths((784, 64, 32, 10))) == (
        f"ReluNetwork(widths=(784, 64, 32, 10), n_parameters=52650, n_paths={n_paths})"
    )


BAD_CALLS = {
    "width zero": (lambda: ReluNetwork.from_widths((3, 0, 2)), "positive integers"),
    "one width": (lambda: ReluNetwork.from_widths((3,)), "at least two"),
}


@pytest.mark.parametrize("name", BAD_CALLS)
def test_errors_say_what_to_do(name):
    call, message = BAD_CALLS[name]
    with pytest.raises(ValueError, match=message):
        call()
