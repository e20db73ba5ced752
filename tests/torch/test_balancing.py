"""Balanced copies of PyTorch modules."""

from typing import Any

import numpy
import pytest

torch = pytest.importorskip("torch")

from torch.nn.utils import prune  # noqa: E402

from dlngeo.core.networks.network import moment_map  # noqa: E402
from dlngeo.torch import balance_module  # noqa: E402

WIDTHS = (5, 7, 4, 6)


def network(biases, dtype=torch.float64):
    torch.manual_seed(0)
    layers = [
        torch.nn.Linear(before, after, bias=bias, dtype=dtype)
        for before, after, bias in zip(WIDTHS[:-1], WIDTHS[1:], biases, strict=True)
    ]
    with torch.no_grad():
        layers[1].weight.mul_(100)
    return torch.nn.Sequential(*layers)


@pytest.mark.parametrize(
    "biases", [(False, False, False), (True, True, True), (False, True, True), (True, False, True)]
)
def test_outputs_are_kept(biases):
    module = network(biases)
    before = [parameter.clone() for parameter in module.parameters()]
    balanced: Any = balance_module(module)
    inputs = torch.randn(10, 5, dtype=torch.float64)
    expected = module(inputs)
    assert torch.allclose(
        balanced(inputs), expected, atol=1e-12 * float(expected.detach().abs().max())
    )
    weights = tuple(layer.weight.detach() for layer in balanced)
    assert max(float(moment.abs().max()) for moment in moment_map(weights)) < 1e-12
    norms = [float((weight**2).sum()) for weight in weights]
    numpy.testing.assert_allclose(norms, norms[0], rtol=1e-12)
    assert sum(norms) < sum(float((layer.weight.detach() ** 2).sum()) for layer in module)
    # The given module stays as it was, and the copy can be trained.
    assert all(map(torch.equal, before, module.parameters()))
    balanced(inputs).sum().backward()
    assert all(parameter.grad is not None for parameter in balanced[-1].parameters())


def _square():
    return torch.nn.Linear(6, 6, dtype=torch.float64)


def _normalised():
    layer = torch.nn.utils.weight_norm(_square())
    layer(torch.ones(1, 6, dtype=torch.float64))  # the weight is no leaf any more
    return layer


def _masked():
    layer = _square()
    prune.l1_unstructured(layer, "weight", 0.3)
    return layer


def _shared_weight():
    one, other = _square(), _square()
    other.weight = one.weight
    return torch.nn.Sequential(one, other)


def _shared_layer():
    layer = _square()
    return torch.nn.Sequential(layer, layer, torch.nn.Sequential(_square(), layer))


# What shares parameters, computes them anew, or is no layer of its own.
WOVEN = {
    "shared layer": _shared_layer,
    "shared weight": _shared_weight,
    "weight norm by hooks": lambda: torch.nn.Sequential(_normalised(), _square()),
    "weight norm by parametrisation": lambda: torch.nn.Sequential(
        torch.nn.utils.parametrizations.weight_norm(_square()), _square()
    ),
    "spectral norm by hooks": lambda: torch.nn.Sequential(
        torch.nn.utils.spectral_norm(_square()), _square()
    ),
    "pruning": lambda: torch.nn.Sequential(_square(), _masked()),
    "flatten, identity, nested": lambda: torch.nn.Sequential(
        torch.nn.Flatten(), torch.nn.Sequential(_square(), torch.nn.Identity()), _square()
    ),
    "one layer": _square,
}


@pytest.mark.filterwarnings("ignore:.*weight_norm:FutureWarning")
@pytest.mark.parametrize("name", WOVEN)
def test_shared_and_computed_parameters(name):
    """Layers are untied, what is computed is baked in: outputs stay, the weights are balanced."""
    torch.manual_seed(0)
    module = WOVEN[name]().train()
    inputs = torch.randn(10, 6, dtype=torch.float64)
    state = {key: value.clone() for key, value in module.state_dict().items()}
    balanced = balance_module(module)
    assert balanced.training
    assert torch.allclose(balanced.eval()(inputs), module.eval()(inputs), rtol=1e-12, atol=1e-13)
    linear = [layer for layer in balanced.modules() if isinstance(layer, torch.nn.Linear)]
    assert all(type(layer) is torch.nn.Linear and layer.weight.is_leaf for layer in linear)
    weights = tuple(layer.weight.detach() for layer in linear)
    assert all(float(moment.abs().max()) < 1e-12 for moment in moment_map(weights))
    assert all(torch.equal(value, module.state_dict()[key]) for key, value in state.items())


def test_the_promise_is_checked():
    """What changes outputs is refused: truncation by a rank."""
    torch.manual_seed(0)
    with pytest.raises(ValueError, match="the balanced copy has other outputs"):
        balance_module(torch.nn.Sequential(_square(), _square()), rank=2)


def test_single_precision_is_kept():
    module = network((True, True, True), torch.float32)
    balanced: Any = balance_module(module)
    inputs = torch.randn(10, 5)
    assert balanced[0].weight.dtype == torch.float32
    assert torch.allclose(balanced(inputs), module(inputs), rtol=1e-4, atol=1e-4)


def test_a_missing_bias_is_added_and_activations_are_refused():
    """The last layer holds the biases of all, if it had one or not."""
    module = network((True, True, False))
    balanced: Any = balance_module(module)
    inputs = torch.randn(10, 5, dtype=torch.float64)
    assert balanced[-1].bias is not None
    assert torch.allclose(balanced(inputs), module(inputs), rtol=1e-12)
    with pytest.raises(ValueError, match="ReLU as layer 1"):
        balance_module(torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.ReLU()))


def test_lower_rank_is_refused_or_told():
    layers = [torch.nn.Linear(3, 3, bias=False, dtype=torch.float64) for _ in range(2)]
    module = torch.nn.Sequential(*layers)
    with torch.no_grad():
        module[0].weight[2] = 0
    with pytest.raises(ValueError, match="rank"):
        balance_module(module)
    inputs = torch.randn(4, 3, dtype=torch.float64)
    balanced = balance_module(module, rank=2)
    assert torch.allclose(balanced(inputs), module(inputs), atol=1e-6)
