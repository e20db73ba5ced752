"""Balanced copies of PyTorch modules."""

import numpy
import pytest

torch = pytest.importorskip("torch")

from dlngeo.core.networks.network import moment_map  # noqa: E402
from dlngeo.modules import balance_module  # noqa: E402

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
    balanced = balance_module(module)
    inputs = torch.randn(10, 5, dtype=torch.float64)
    expected = module(inputs)
    assert torch.allclose(
        balanced(inputs), expected, atol=1e-12 * float(expected.detach().abs().max())
    )
    layers: list = list(balanced)
    weights = tuple(layer.weight.detach() for layer in layers)
    assert max(float(moment.abs().max()) for moment in moment_map(weights)) < 1e-12
    norms = [float((weight**2).sum()) for weight in weights]
    numpy.testing.assert_allclose(norms, norms[0], rtol=1e-12)
    assert sum(norms) < sum(float((layer.weight.detach() ** 2).sum()) for layer in module)
    # The given module stays as it was, and the copy can be trained.
    assert all(map(torch.equal, before, module.parameters()))
    balanced(inputs).sum().backward()
    assert all(parameter.grad is not None for parameter in balanced[-1].parameters())


def test_single_precision_is_kept():
    module = network((True, True, True), torch.float32)
    balanced = balance_module(module)
    inputs = torch.randn(10, 5)
    assert balanced[0].weight.dtype == torch.float32
    assert torch.allclose(balanced(inputs), module(inputs), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("module", "message"),
    [
        (lambda: torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.ReLU()), "ReLU at place 1"),
        (lambda: torch.nn.Sequential(), "at least one layer"),
        (
            lambda: torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.Linear(2, 2, bias=False)),
            "give it one",
        ),
    ],
)
def test_refusals(module, message):
    with pytest.raises(ValueError, match=message):
        balance_module(module())


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
