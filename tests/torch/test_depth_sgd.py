"""Descent in the depth metric: against real layers, PyTorch's own descent, and both precisions."""

import copy
import math

import pytest

torch = pytest.importorskip("torch")

from dlngeo.core.networks.balancing import factorize  # noqa: E402
from dlngeo.core.networks.network import end_to_end  # noqa: E402
from dlngeo.torch import DepthSGD  # noqa: E402


def random(*shape, seed=0, dtype=torch.float64):
    rng = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=rng, dtype=torch.float64).to(dtype)


INPUTS, OUTPUTS = random(20, 4, seed=1), random(20, 2, seed=2)


def nonlinear_loss(matrix, last):
    return ((torch.tanh(INPUTS @ matrix.mT) @ last.mT - OUTPUTS) ** 2).mean()


def moved(matrix, step, t_final=0.2, **options):
    """Train a matrix in the depth metric within a nonlinear network."""
    weight, last = torch.nn.Parameter(matrix.clone()), random(2, 3, seed=3)
    optimizer = DepthSGD([weight], lr=step, **options)
    for _ in range(round(t_final / step)):
        optimizer.zero_grad()
        nonlinear_loss(weight, last).backward()
        optimizer.step()
    return weight.detach()


def moved_layers(matrix, step, depth, t_final=0.2, **options):
    """Train balanced layers in place of the matrix."""
    factors = factorize(matrix, depth)
    layers = [torch.nn.Parameter(w) for w in factors]
    optimizer, last = torch.optim.SGD(layers, lr=step, **options), random(2, 3, seed=3)
    for _ in range(round(t_final / step)):
        optimizer.zero_grad()
        nonlinear_loss(end_to_end(tuple(layers)), last).backward()
        optimizer.step()
    return end_to_end(tuple(layer.detach() for layer in layers))


@pytest.mark.parametrize("depth", [2, 3, 10])
@pytest.mark.parametrize(
    "options", [{}, {"weight_decay": 0.3}, {"momentum": 0.5}, {"momentum": 0.5, "nesterov": True}]
)
def test_small_steps_are_those_of_real_layers(depth, options):
    matrix = random(3, 4)
    errors = [
        float(
            (
                moved(matrix, h, depth=depth, **options) - moved_layers(matrix, h, depth, **options)
            ).norm()
        )
        for h in (0.01, 0.005)
    ]
    assert errors[0] < 0.1
    assert 1.7 < errors[0] / errors[1] < 2.4


def test_infinite_depth_is_the_limit_of_depths():
    matrix, last = random(3, 3), random(2, 3, seed=3)

    def gaps(depth):
        weights = [torch.nn.Parameter(matrix.clone()) for _ in range(2)]
        steps = ((0.01, math.inf), (0.01 / depth, depth))
        for weight, (step, of_depth) in zip(weights, steps, strict=True):
            optimizer = DepthSGD([weight], lr=step, depth=of_depth, weight_decay=0.1)
            (nonlinear_loss(torch.cat([weight, weight[:, :1]], 1), last)).backward()
            optimizer.step()
        return float((weights[0] - weights[1]).detach().norm())

    assert gaps(1000) < 1e-4
    assert 9 < gaps(100) / gaps(1000) < 11


@pytest.mark.parametrize(
    "options",
    [{}, {"momentum": 0.9}, {"momentum": 0.9, "nesterov": True}, {"weight_decay": 0.1}],
)
def test_depth_one_is_descent_of_pytorch(options):
    modules = [torch.nn.Linear(4, 3, dtype=torch.float64) for _ in range(2)]
    modules[1].load_state_dict(modules[0].state_dict())
    optimizers = [
        DepthSGD(modules[0].parameters(), lr=0.1, depth=1, **options),
        torch.optim.SGD(modules[1].parameters(), lr=0.1, **options),
    ]
    for _ in range(5):
        for module, optimizer in zip(modules, optimizers, strict=True):
            optimizer.zero_grad()
            module(INPUTS).square().mean().backward()
            optimizer.step()
    for ours, expected in zip(*(module.parameters() for module in modules), strict=True):
        torch.testing.assert_close(ours, expected, rtol=1e-14, atol=1e-15)


def change(matrix, gradient, depth):
    """Return the gradient in the depth metric."""
    weight = torch.nn.Parameter(matrix.clone())
    weight.grad = gradient
    DepthSGD([weight], lr=1.0, depth=depth).step()
    return matrix - weight.detach()


@pytest.mark.parametrize("depth", [2, 3, 10, math.inf])
@pytest.mark.parametrize("shape", [(3, 3), (3, 5), (5, 3), (1, 4), (4, 1)])
@pytest.mark.parametrize("kind", ["random", "identity", "clustered", "small", "large"])
def test_both_precisions_agree(depth, shape, kind):
    if depth == math.inf and shape[0] != shape[1]:
        shape = (4, 4)
    matrix = {
        "random": random(*shape),
        "identity": torch.eye(*shape, dtype=torch.float64),
        "clustered": torch.eye(*shape, dtype=torch.float64) + 1e-6 * random(*shape),
        "small": 1e-3 * random(*shape),
        "large": 1e3 * random(*shape),
    }[kind].float()
    gradient = random(*shape, seed=5).float()
    expected = change(matrix.double(), gradient.double(), depth)
    # The step is taken from the matrix: its round-off is that of the larger of both.
    scale = float(expected.norm() + matrix.norm())
    assert float((change(matrix, gradient, depth) - expected).norm()) < 2e-6 * scale


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_takes_its_step(dtype):
    matrix, gradient = random(4, 4).to(dtype), (0.01 * random(4, 4, seed=5)).to(dtype)
    expected = change(matrix.double(), gradient.double(), 3)
    result = change(matrix, gradient, 3)
    assert result.dtype == dtype
    assert float((result - expected).norm()) < 2 * torch.finfo(dtype).eps * float(matrix.norm())


def test_lower_rank_stays_and_what_vanishes_does_not_count():
    matrix = random(4, 2) @ random(2, 4, seed=1)
    for precision in (torch.float32, torch.float64):
        result = matrix.to(precision) - change(
            matrix.to(precision), random(4, 4, seed=5).to(precision), 2
        )
        assert result.isfinite().all()
    gradient = random(4, 4, seed=5)
    left, right = (torch.linalg.svd(matrix)[i] for i in (0, 2))
    between = left[:, 2:].mT @ change(matrix, gradient, 2) @ right[2:].mT
    assert float(between.norm()) < 1e-6


def test_convolutions_are_matrices_and_vectors_take_ordinary_steps():
    layer = torch.nn.Conv2d(3, 4, 2, dtype=torch.float64)
    before = copy.deepcopy(layer)
    layer(random(1, 3, 5, 5)).square().mean().backward()
    DepthSGD(layer.parameters(), lr=1.0, depth=3).step()
    expected = change(before.weight.detach().flatten(1), layer.weight.grad.flatten(1), 3)
    torch.testing.assert_close(before.weight - layer.weight, expected.reshape(4, 3, 2, 2))
    torch.testing.assert_close(before.bias - layer.bias, layer.bias.grad)


def test_groups_have_depths_and_states_come_back():
    def network():
        torch.manual_seed(0)
        return torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.Tanh(), torch.nn.Linear(3, 2))

    def optimizer_of(net):
        groups = [{"params": net[0].parameters(), "depth": 2}, {"params": net[2].parameters()}]
        return DepthSGD(groups, lr=0.1, depth=1, momentum=0.9)

    def train(net, optimizer, steps):
        for _ in range(steps):
            optimizer.zero_grad()
            (net(INPUTS.float()) - OUTPUTS.float()).square().mean().backward()
            optimizer.step()

    whole, halves = network(), network()
    train(whole, optimizer_of(whole), 6)
    first = optimizer_of(halves)
    train(halves, first, 3)
    second = optimizer_of(halves)
    second.load_state_dict(first.state_dict())
    train(halves, second, 3)
    for a, b in zip(whole.parameters(), halves.parameters(), strict=True):
        assert torch.equal(a, b)
    assert [group["depth"] for group in second.param_groups] == [2, 1]


def test_closure_and_schedulers_are_those_of_every_optimizer():
    weight = torch.nn.Parameter(random(3, 3))
    optimizer = DepthSGD([weight], lr=0.1, depth=2)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 1, gamma=0.5)

    def closure():
        optimizer.zero_grad()
        loss = weight.square().sum()
        loss.backward()
        return loss

    first = optimizer.step(closure).item()
    scheduler.step()
    assert closure().item() < first
    assert optimizer.param_groups[0]["lr"] == 0.05


SQUARE = torch.nn.Parameter(torch.eye(2))


@pytest.mark.parametrize(
    ("parameter", "options", "message"),
    [
        (torch.zeros(3, 2), {}, r"shape \(3, 2\) is zero.*group of depth 1"),
        (SQUARE, {"depth": 2.5}, "depth"),
        (SQUARE, {"depth": 0}, "depth"),
        (torch.ones(3, 2), {"depth": math.inf}, r"square matrices, got one of shape \(3, 2\)"),
        (SQUARE, {"lr": -1.0}, "lr must be"),
        (SQUARE, {"lr": math.nan}, "lr must be"),
        (SQUARE, {"momentum": -0.1}, "momentum must"),
        (SQUARE, {"nesterov": True}, "give momentum="),
        (torch.eye(2, dtype=torch.complex64), {}, "real numbers, got torch.complex64"),
    ],
)
def test_what_does_not_fit_is_refused(parameter, options, message):
    with pytest.raises(ValueError, match=message):
        DepthSGD([torch.nn.Parameter(parameter)], **{"lr": 0.1} | options)


def test_refused_group_is_not_kept():
    optimizer = DepthSGD([SQUARE], lr=0.1)
    with pytest.raises(ValueError, match="is zero"):
        optimizer.add_param_group({"params": [torch.nn.Parameter(torch.zeros(2, 2))]})
    assert len(optimizer.param_groups) == 1


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_numbers_that_are_not_finite_are_named(dtype):
    weight = torch.nn.Parameter(torch.eye(3, dtype=dtype))
    weight.grad = torch.full((3, 3), math.nan, dtype=dtype)
    with pytest.raises(FloatingPointError, match=r"a gradient of shape \(3, 3\).*smaller step"):
        DepthSGD([weight], lr=0.1).step()


def test_steps_out_of_range_are_those_of_a_descent_that_diverges():
    weight = torch.nn.Parameter(1e20 * torch.eye(3))
    weight.grad = 1e20 * torch.eye(3)
    with pytest.raises(FloatingPointError, match=r"shape \(3, 3\) cannot be taken.*smaller step"):
        DepthSGD([weight], lr=0.1).step()


def test_sparse_gradients_are_refused():
    layer = torch.nn.Embedding(4, 3, sparse=True)
    layer(torch.tensor([1])).sum().backward()
    with pytest.raises(ValueError, match="sparse=False"):
        DepthSGD(layer.parameters(), lr=0.1).step()
