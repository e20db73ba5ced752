"""Modules read as networks, and written back."""

import copy

import numpy
import pytest

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402
from torch.nn import functional, utils  # noqa: E402
from torch.nn.utils import prune  # noqa: E402

from dlngeo.networks import LinearNetwork  # noqa: E402
from dlngeo.torch import linear_runs  # noqa: E402

BOUND = {torch.float32: 1e-6, torch.float64: 1e-12}


class Forward(nn.Module):
    """A module with the given parts and ``forward``."""

    def __init__(self, forward, **parts):
        super().__init__()
        for name, part in parts.items():
            setattr(self, name, part)
        self._do = forward

    def forward(self, x):
        return self._do(self, x)


def linear(rows=4, columns=4, **options):
    return nn.Linear(columns, rows, **options)


def free(*shape):
    return nn.Parameter(torch.randn(shape))


def normalised(width=4):
    norm = nn.BatchNorm1d(width)
    with torch.no_grad():
        norm.get_buffer("running_mean").normal_()
        norm.get_buffer("running_var").uniform_(0.5, 2)
        norm.weight.normal_()
        norm.bias.normal_()
    return norm


def by_hooks():
    layer = utils.weight_norm(linear())
    layer(torch.ones(1, 4))  # the weight is no leaf any more
    return layer


def masked():
    layer = linear()
    prune.l1_unstructured(layer, "weight", 0.3)
    return layer


def shared():
    layer = linear()
    return nn.Sequential(layer, nn.Sequential(linear(), layer))


def twice(self, x):
    for _ in range(2):
        x = self.layer(x)
    samples = x.size(0)
    return (self.scale * x @ (self.weight * self.mask).T + 1).view(samples, -1)


def in_place(self, x):
    x = self.layer(x)
    x += 1
    x *= 2
    return self.last(x).mul_(3)


def doubled():
    layer = linear()
    layer.register_forward_hook(lambda module, inputs, outputs: 2 * outputs)
    return nn.Sequential(layer, linear())


# Modules whose map is affine, and the widths of their networks.
AFFINE = {
    "one layer": (linear, (4, 4)),
    "nested": (lambda: nn.Sequential(nn.Sequential(linear(3)), linear(2, 3)), (4, 3, 2)),
    "flatten, identity, dropout": (
        lambda: nn.Sequential(nn.Flatten(), linear(3), nn.Identity(), nn.Dropout(), linear(2, 3)),
        (4, 3, 2),
    ),
    "batch normalisation": (
        lambda: nn.Sequential(normalised(), linear(bias=False), normalised(), linear(3)),
        (4, 4, 3),
    ),
    "reshapes": (
        lambda: nn.Sequential(linear(6), nn.Unflatten(1, (2, 3)), linear(2, 3), nn.Flatten()),
        (4, 6, 4),
    ),
    "functions of an own forward": (
        lambda: Forward(
            twice, layer=linear(), weight=free(2, 4), mask=torch.eye(4)[:2], scale=free(1)
        ),
        (4, 4, 4, 2),
    ),
    "in place": (lambda: Forward(in_place, layer=linear(), last=linear(2)), (4, 4, 2)),
    "product of parameters": (
        lambda: Forward(lambda self, x: x @ (self.a @ self.b).T, a=free(2, 3), b=free(3, 4)),
        (4, 2),
    ),
    "residual layer": (
        lambda: nn.Sequential(linear(), Forward(lambda self, x: x - self.f(x), f=linear())),
        (4, 4, 4),
    ),
    "parallel layers": (
        lambda: Forward(
            lambda self, x: self.c(torch.cat([self.a(x), self.b(x)], 1)),
            a=linear(2),
            b=linear(3),
            c=linear(2, 5),
        ),
        (4, 5, 2),
    ),
    "one output, weights in a buffer": (
        lambda: Forward(lambda self, x: (x @ self.a).sum(1), a=nn.Buffer(torch.randn(4, 3))),
        (4, 1),
    ),
    "dropout of an own forward": (
        lambda: Forward(
            lambda self, x: functional.dropout(self.f(x), 0.5, self.training), f=linear()
        ),
        (4, 4),
    ),
    "shared": (shared, (4, 4, 4, 4)),
    "weight norm by hooks": (lambda: nn.Sequential(by_hooks(), linear(2)), (4, 4, 2)),
    "spectral norm": (lambda: nn.Sequential(utils.spectral_norm(linear()), linear()), (4, 4, 4)),
    "parametrised": (lambda: utils.parametrizations.weight_norm(linear(3)), (4, 3)),
    "parametrised own": (
        lambda: utils.parametrizations.orthogonal(
            Forward(lambda self, x: functional.linear(x, self.a), a=free(4, 4)), "a"
        ),
        (4, 4),
    ),
    "pruned": (lambda: nn.Sequential(masked(), linear(2)), (4, 4, 2)),
    "hook": (doubled, (4, 4, 4)),
}
WRITTEN = {"one layer", "nested", "flatten, identity, dropout", "dropout of an own forward"}
REBUILT = WRITTEN | {
    "batch normalisation",
    "shared",
    "weight norm by hooks",
    "spectral norm",
    "parametrised",
    "pruned",
    "hook",
}


def assert_same(module, inputs, expected):
    modes = [part.training for part in module.modules()]
    outputs = module.eval()(inputs.clone()).detach().numpy().reshape(expected.shape)
    for part, mode in zip(module.modules(), modes, strict=True):
        part.training = mode
    numpy.testing.assert_allclose(
        outputs, expected, rtol=0, atol=BOUND[inputs.dtype] * abs(expected).max()
    )


@pytest.mark.filterwarnings("ignore:.*weight_norm:FutureWarning")
@pytest.mark.filterwarnings("ignore:.*spectral_norm:FutureWarning")
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("name", AFFINE)
def test_what_is_read_and_written_has_the_same_outputs(name, dtype):
    torch.manual_seed(0)
    build, widths = AFFINE[name]
    module = build().to(dtype)
    module.train()
    state = {key: value.clone() for key, value in module.state_dict().items()}
    modes = [part.training for part in module.modules()]
    network = LinearNetwork.from_module(module)
    assert network.widths == widths
    assert modes == [part.training for part in module.modules()]
    assert all(torch.equal(value, module.state_dict()[key]) for key, value in state.items())

    inputs = torch.randn(11, widths[0], dtype=dtype)
    module.eval()
    expected = module(inputs.clone()).detach().numpy().reshape(11, -1)
    module.train()
    scale = abs(expected).max()
    numpy.testing.assert_allclose(network(inputs), expected, rtol=0, atol=BOUND[dtype] * scale)
    assert_same(network.to_module(), inputs.double(), network(inputs))

    if name in REBUILT:
        assert_same(network.to_module(like=module), inputs, expected)
    else:
        with pytest.raises(ValueError, match=r"is more than a Linear layer.*to_module\(\)"):
            network.to_module(like=module)
    other = LinearNetwork([2 * w for w in network.factors], network.biases)
    if name in WRITTEN:
        before = list(module.parameters())
        other.write_to(module)
        assert all(p is q for p, q in zip(before, module.parameters(), strict=True))
        assert_same(module, inputs, other(inputs))
    else:
        with pytest.raises(ValueError, match="is more than a Linear layer"):
            other.write_to(module)
        assert_same(module, inputs, expected)


@pytest.mark.filterwarnings("ignore:.*script_method:DeprecationWarning")
def test_a_compiled_module_is_read_and_written_as_the_one_it_was_made_of():
    first = linear(3)
    module = nn.Sequential(first, linear(2, 3))
    compiled = torch.compile(module)
    network = LinearNetwork.from_module(compiled)
    LinearNetwork([2 * w for w in network.factors], network.biases).write_to(compiled)
    numpy.testing.assert_array_equal(
        first.weight.detach().numpy(), numpy.float32(2 * network.factors[0])
    )
    assert type(network.to_module(like=compiled)) is nn.Sequential


def changed(**options):
    return nn.Sequential(linear(), linear(**options))


def with_nan():
    module = changed()
    with torch.no_grad():
        module[1].weight[0, 0] = torch.nan
    return module


def rectified_by_a_hook():
    module = changed()
    module[0].register_forward_hook(lambda module, inputs, outputs: outputs.relu())
    return module


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: nn.Sequential(nn.Sequential(linear(), nn.ReLU())), "ReLU as layer 0.1"),
        (
            lambda: Forward(lambda self, x: torch.tanh(self.f(x)), f=linear()),
            "tanh in Forward.*linear_runs",
        ),
        (
            lambda: nn.Sequential(
                linear(), Forward(lambda self, x: self.f(x) * self.f(x), f=linear())
            ),
            r"mul in layer 1 \(Forward\)",
        ),
        (lambda: nn.Sequential(nn.Unflatten(1, (1, 4)), nn.Conv1d(1, 2, 3)), "Conv1d as layer 1"),
        (lambda: nn.Sequential(linear(), nn.LayerNorm(4)), "LayerNorm as layer 1: it divides by"),
        (
            lambda: nn.Sequential(linear(), nn.BatchNorm1d(4, track_running_stats=False)),
            "BatchNorm1d as layer 1: it divides by",
        ),
        (lambda: nn.Sequential(nn.LazyLinear(2)), "layer 0 is lazy.*call the module once"),
        (lambda: nn.Sequential(), "at least one linear layer, got none in Sequential"),
        (
            lambda: nn.Sequential(linear(), linear().half()),
            "1.weight of the module is of .*float16",
        ),
        (lambda: linear(dtype=torch.complex64), "complex64: dlngeo works on real numbers"),
        (lambda: linear(device="meta"), "on the device meta"),
        (lambda: nn.Sequential(linear(), linear().double()), "one precision, got 0.weight of"),
        (with_nan, "1.weight of the module holds NaN"),
        (
            lambda: Forward(lambda self, x: x + self.g(self.f(x)), f=linear(), g=linear()),
            "data bypass the layers f and g",
        ),
        (
            lambda: Forward(lambda self, x: functional.dropout(self.f(x)), f=linear()),
            "pass training=self.training",
        ),
        (lambda: Forward(lambda self, x: (self.f.weight @ x.T).T, f=linear()), "x @ W.T"),
        (lambda: Forward(lambda self, x: (self.f(x), x), f=linear()), "returns one tensor"),
        (
            lambda: Forward(lambda self, x: self.f(x) if x.sum() > 0 else x, f=linear()),
            "could not trace the module Forward",
        ),
        (
            lambda: Forward(lambda self, x: self.f(x) - self.f(x).mean(0), f=linear()),
            "samples that are mixed",
        ),
        (lambda: Forward(lambda self, x: self.f(x).sum(), f=linear()), "a row for each of 2"),
        (rectified_by_a_hook, "hooks that are not affine"),
        (lambda: torch.jit.script(changed()), "a compiled script"),
        (lambda: "a module", "must be a Module"),
    ],
)
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore:Lazy modules:UserWarning")
def test_what_is_not_affine_is_refused_by_name(build, message):
    torch.manual_seed(0)
    with pytest.raises(ValueError, match=message):
        LinearNetwork.from_module(build())


def test_runs_of_a_network_with_activations_are_read_and_written_in_place():
    torch.manual_seed(0)
    module = nn.Sequential(
        linear(), nn.ReLU(), linear(3), nn.Sequential(normalised(3), linear(3, 3)), linear(2, 3)
    ).double()
    runs = linear_runs(module)
    assert list(runs) == [("2", "3.0", "3.1", "4")]
    network = LinearNetwork.from_module(runs["2", "3.0", "3.1", "4"])
    assert network.widths == (4, 3, 3, 2)

    deep = nn.Sequential(linear(), nn.Tanh(), linear(5), linear(5, 5), nn.Tanh(), linear(2, 5))
    inputs, before = torch.randn(7, 4), copy.deepcopy(deep)
    ((names, run),) = linear_runs(deep).items()
    assert names == ("2", "3")
    LinearNetwork.from_module(run).balanced().write_to(run)
    assert not torch.equal(deep[2].weight, before[2].weight)
    torch.testing.assert_close(deep(inputs), before(inputs), rtol=1e-5, atol=1e-6)
    assert linear_runs(nn.Sequential(linear(), nn.ReLU())) == {}


def test_other_widths_and_missing_biases_are_told():
    network = LinearNetwork([numpy.ones((4, 4))] * 2, [None, numpy.ones(4)])
    with pytest.raises(ValueError, match=r"layers of shapes \[\(3, 4\)\], and the network of"):
        network.to_module(like=linear(3))
    with pytest.raises(ValueError, match="layer 2 of the module has no bias"):
        network.write_to(changed(bias=False))
    assert_same(
        network.to_module(like=changed(bias=False)), torch.ones(1, 4), numpy.full((1, 4), 17.0)
    )
