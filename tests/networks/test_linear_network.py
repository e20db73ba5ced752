"""The network as an object: outputs, biases, and where it serves as its factors."""

import autograd
import numpy
import pytest
from scipy.integrate import solve_ivp

import dlngeo
from dlngeo.networks import LinearNetwork

RNG = numpy.random.default_rng(0)
WIDTHS = (3, 4, 5, 2)
FACTORS = tuple(RNG.normal(size=shape) for shape in zip(WIDTHS[1:], WIDTHS[:-1], strict=True))
BIASES = tuple(RNG.normal(size=width) for width in WIDTHS[1:])


def test_outputs_are_those_of_matrix_and_bias():
    network = LinearNetwork(FACTORS, (BIASES[0], None, BIASES[2]))
    inputs = RNG.normal(size=(7, 3))
    expected = network(inputs)
    for same in (network, network.with_output_bias()):
        numpy.testing.assert_allclose(same(inputs), expected, rtol=1e-12)
        numpy.testing.assert_allclose(
            inputs @ same.matrix.T + same.bias, expected, rtol=1e-12, atol=1e-12
        )


def test_gradient_flow_with_biases_keeps_its_moment_map():
    inputs, outputs = RNG.normal(size=(6, 3)), RNG.normal(size=(6, 2))
    start = LinearNetwork(FACTORS, BIASES)
    sizes = [a.size for a in (*start.factors, *start.biases)]

    def parts(vector):
        arrays = autograd.numpy.split(vector, numpy.cumsum(sizes)[:-1])
        shapes = [a.shape for a in (*start.factors, *start.biases)]
        return [a.reshape(shape) for a, shape in zip(arrays, shapes, strict=True)]

    def loss(vector):
        *layers, b1, b2, b3 = parts(vector)
        values = inputs
        for layer, bias in zip(layers, (b1, b2, b3), strict=True):
            values = values @ layer.T + bias
        return autograd.numpy.sum((values - outputs) ** 2) / 50

    vector = numpy.concatenate([a.ravel() for a in (*start.factors, *start.biases)])
    slope = autograd.grad(loss)
    end = solve_ivp(lambda t, v: -slope(v), (0, 1), vector, rtol=1e-10, atol=1e-10).y[:, -1]
    *layers, b1, b2, b3 = parts(end)
    moved = LinearNetwork(layers, (b1, b2, b3))
    before, after = dlngeo.moment_map(start), dlngeo.moment_map(moved)
    for kept, value in zip(before, after, strict=True):
        numpy.testing.assert_allclose(value, kept, atol=1e-7)
    assert abs(moved.matrix - start.matrix).max() > 0.1


def test_network_serves_as_its_factors():
    network = LinearNetwork(FACTORS, (None, None, BIASES[2]))
    numpy.testing.assert_array_equal(dlngeo.end_to_end(network), dlngeo.end_to_end(FACTORS))
    assert dlngeo.network_entropy(network, 2) == dlngeo.network_entropy(FACTORS, 2)
    assert isinstance(dlngeo.balance(network), tuple)
    assert repr(network) == "LinearNetwork of widths 3 → 4 → 5 → 2, biases in layers 3"
    stack = LinearNetwork(numpy.stack([numpy.eye(2)] * 3))
    assert stack.depth == 3


def test_hidden_bias_is_not_forgotten():
    network = LinearNetwork(FACTORS, BIASES)
    with pytest.raises(ValueError, match=r"hidden layer 1 has a bias.*with_output_bias"):
        dlngeo.network_entropy(network, 2)


@pytest.mark.parametrize(
    ("factors", "biases", "message"),
    [
        (FACTORS, BIASES[:2], "a bias or None for each of 3 layers, got 2"),
        (FACTORS, (BIASES[1], None, None), r"bias 1 must have shape \(4,\)"),
        (numpy.zeros((2, 3, 4, 4)), None, "expected one network"),
        (FACTORS[::-1], None, "the widths do not chain"),
    ],
)
def test_what_does_not_fit_is_refused(factors, biases, message):
    with pytest.raises(ValueError, match=message):
        LinearNetwork(factors, biases)


def test_network_stays_when_what_it_was_made_of_changes():
    factors, bias = [w.copy() for w in FACTORS], BIASES[2].copy()
    network = LinearNetwork(factors, [None, None, bias])
    for array in (*factors, bias):
        array *= 2
    numpy.testing.assert_array_equal(network.factors[1], FACTORS[1])
    numpy.testing.assert_array_equal(network.biases[2], BIASES[2])


def test_balanced_network_has_the_same_outputs():
    network = LinearNetwork(FACTORS, BIASES)
    balanced = network.balanced()
    inputs = RNG.normal(size=(7, 3))
    numpy.testing.assert_allclose(balanced(inputs), network(inputs), rtol=1e-10, atol=1e-10)
    assert max(abs(moment).max() for moment in dlngeo.moment_map(balanced)) < 1e-12
    thin = LinearNetwork((FACTORS[0], FACTORS[1] * (numpy.arange(4) < 1), FACTORS[2]))
    assert (network.rank, thin.rank) == (2, 1)
    assert len(thin.singular_values) == 2
    numpy.testing.assert_allclose(thin.balanced().matrix, thin.matrix, atol=1e-12)


def test_parameters_alone_are_read_in_the_order_of_data():
    network = LinearNetwork(FACTORS, (BIASES[0], None, BIASES[2]))
    state = {"body.seen": "nothing"}
    kernels = {}
    for p in (10, 9, 2):  # as numbers, not as texts
        k = (2, 9, 10).index(p)
        kernels[f"Dense_{p}"] = {"kernel": FACTORS[k].T, "bias": network.biases[k]}
    for p, (layer, bias) in enumerate(zip(network.factors, network.biases, strict=True)):
        state[f"head.{p}.weight"] = layer
        if bias is not None:
            state[f"head.{p}.bias"] = bias
    haiku = [
        {"w": w.T} | ({"b": b} if b is not None else {})
        for w, b in zip(network.factors, network.biases, strict=True)
    ]
    for same in (
        LinearNetwork.from_state_dict(state, "head."),
        LinearNetwork.from_tree({"params": kernels}),
        LinearNetwork.from_tree(haiku),
    ):
        for a, b in zip(
            (*same.factors, *same.biases), (*network.factors, *network.biases), strict=True
        ):
            numpy.testing.assert_array_equal(a, b) if b is not None else None
            assert (a is None) == (b is None)


@pytest.mark.parametrize(
    ("read", "given", "message"),
    [
        ("from_state_dict", {"0.weight": FACTORS[0], "0.running_mean": 1}, "got 0.running_mean"),
        ("from_state_dict", {"0.weight": numpy.ones((2, 2, 3))}, r"0.weight of shape \(2, 2, 3\)"),
        ("from_state_dict", {"0.bias": BIASES[0]}, "no weight has a name"),
        ("from_state_dict", {"0.weight": FACTORS[0], "1.bias": BIASES[0]}, "1 has a bias but no"),
        ("from_state_dict", {"0.weight": FACTORS[1], "1.weight": FACTORS[0]}, "do not chain"),
        ("from_state_dict", FACTORS, "must be a Mapping"),
        ("from_tree", {"a_1": {"kernel": FACTORS[0]}, "b": {}}, "not told by their numbers"),
        ("from_tree", {"a": {"kernel": numpy.ones((2, 2, 3))}}, "got kernel of shape"),
        ("from_tree", {"a": {"kernel": FACTORS[0], "scale": 1}}, "beside .'scale'. in a of"),
        ("from_tree", [(FACTORS[0], BIASES[0])], "got tuple as entry 0 of the tree"),
        ("from_tree", {}, "got an empty one"),
    ],
)
def test_other_parameters_are_refused(read, given, message):
    with pytest.raises(ValueError, match=message):
        getattr(LinearNetwork, read)(given)
