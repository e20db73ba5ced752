"""Path-lifting and its products against enumeration, NetworkX and automatic differentiation."""

import functools
from typing import Any

import autograd
import jax
import numpy
import pytest
import torch

from dlngeo.core.base.arrays import to_numpy
from dlngeo.intrinsic import ReluNetwork, network_of_graph
from dlngeo.intrinsic.relu import path_lifting
from tests.intrinsic.relu_graphs import (
    GRAPHS,
    NAMES,
    graph_outputs,
    graph_paths,
    network_called,
    normal,
)

close = numpy.testing.assert_allclose


@pytest.mark.parametrize("name", GRAPHS)
def test_paths_and_outputs_are_those_of_the_graph(name):
    build, inputs, outputs = GRAPHS[name]
    network, parameters = network_of_graph(build(), inputs, outputs)
    lifted = path_lifting.lift(network, parameters)
    expected = graph_paths(build(), inputs, outputs)
    assert network.n_paths == len(expected) == len(lifted)
    ours = dict(zip(network.path_names(), lifted, strict=True))
    assert ours.keys() == expected.keys()
    close([ours[path] for path in expected], list(expected.values()))
    samples = normal(7, len(inputs))
    expected = [graph_outputs(build(), inputs, outputs, sample) for sample in samples]
    close(network.outputs(parameters, samples), expected, atol=1e-13)


@pytest.mark.parametrize("bias", [True, False])
def test_paths_of_layers_are_products_of_matrices(bias):
    network = ReluNetwork.from_widths((3, 4, 2, 3), bias=bias)
    parameters = normal(network.n_parameters)
    first, b1 = parameters[:12].reshape(4, 3), parameters[12:16]
    start = 16 if bias else 12
    second = parameters[start : start + 8].reshape(2, 4)
    third = parameters[start + 8 + 2 * bias :][:6].reshape(3, 2)
    tensor = numpy.einsum("oj,jk,ki->okji", third, second, first)
    lifted = path_lifting.lift(network, parameters)
    starts = [names[0] for names in network.path_names()]
    is_input = numpy.array([name != "1" for name in starts])
    close(numpy.sort(lifted[is_input]), numpy.sort(tensor.ravel()))
    if bias:
        tensor = numpy.einsum("oj,jk,k->okj", third, second, b1)
        four = numpy.array([len(names) == 4 for names in network.path_names()])
        close(numpy.sort(lifted[~is_input & four]), numpy.sort(tensor.ravel()))
    assert network.n_paths == 72 + bias * (24 + 6 + 3)


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
@pytest.mark.parametrize("name", NAMES)
def test_products_are_those_of_the_enumeration(name, scale):
    network = network_called(name)
    theta, other, vector = scale * normal(3, network.n_parameters)
    theta[0] = 0.0  # a weight that vanishes
    lifted, lifted_other = (path_lifting.lift(network, point) for point in (theta, other))
    first, second = (path_lifting.jacobian(network, point) for point in (theta, other))

    def agree(ours, expected):
        close(ours, expected, rtol=1e-12, atol=1e-13 * abs(expected).max())

    agree(path_lifting.inner_product(network, theta, other), lifted @ lifted_other)
    agree(path_lifting.path_norm(network, theta), abs(lifted).sum())
    agree(path_lifting.path_norm(network, theta, order=2.0), numpy.linalg.norm(lifted))
    agree(path_lifting.pullback(network, theta, other), first.T @ lifted_other)
    agree(path_lifting.jacobian_product(network, theta, vector), first.T @ first @ vector)
    agree(
        path_lifting.jacobian_product(network, theta, vector, at=other),
        second.T @ first @ vector,
    )
    if not (network.fixed != 1).any():
        diagonal = path_lifting.pullback(network, theta**2, numpy.ones_like(theta))
        agree(diagonal, (first**2).sum(axis=0))


@pytest.mark.parametrize("name", NAMES)
def test_jacobian_is_the_derivative(name):
    network = network_called(name)
    theta = normal(network.n_parameters)
    theta[1] = 0.0
    expected = autograd.jacobian(lambda point: path_lifting.lift(network, point))(theta)
    close(path_lifting.jacobian(network, theta), expected, atol=1e-14)
    some = network.paths[::2]
    close(path_lifting.jacobian(network, theta, some), expected[::2], atol=1e-14)
    rank = numpy.linalg.matrix_rank(path_lifting.jacobian(network, normal(network.n_parameters)))
    assert rank == network.n_parameters - len(network.scaling_groups)


@pytest.mark.parametrize("name", NAMES)
def test_outputs_are_linear_in_the_path_lifting(name):
    network = network_called(name)
    theta, inputs = normal(network.n_parameters), normal(6, network.n_inputs, seed=1)
    features = path_lifting.path_features(network, theta, inputs)
    outputs = network.outputs(theta, inputs)
    close(features @ path_lifting.lift(network, theta), outputs, atol=1e-13)
    differential = path_lifting.jacobian(network, theta)
    cotangents = normal(*outputs.shape, seed=2)
    gradient = path_lifting.output_gradient(network, theta, inputs, cotangents)
    close(gradient, numpy.einsum("io,iop,pd->d", cotangents, features, differential), atol=1e-12)
    slope = autograd.grad(lambda point: (network.outputs(point, inputs) * cotangents).sum())
    close(gradient, slope(theta), atol=1e-12)
    rows = features @ differential
    kernel = path_lifting.tangent_kernel(network, theta, inputs, inputs[:4])
    close(kernel, numpy.einsum("iod,jpd->iojp", rows, rows[:4]), atol=1e-12)


@pytest.mark.parametrize("name", NAMES)
def test_batches(name):
    network = network_called(name)
    theta, other = normal(2, 3, 4, network.n_parameters)
    inputs = normal(3, 1, 5, network.n_inputs)
    calls: dict[Any, tuple] = {
        path_lifting.lift: (theta,),
        path_lifting.jacobian: (theta,),
        path_lifting.inner_product: (theta, other),
        path_lifting.path_norm: (theta,),
        path_lifting.pullback: (theta, other),
        path_lifting.jacobian_product: (theta, other),
        path_lifting.tangent_kernel: (theta, numpy.broadcast_to(inputs, (3, 4, *inputs.shape[2:]))),
    }
    for function, arguments in calls.items():
        one = function(network, *(argument[2, 1] for argument in arguments))
        close(function(network, *arguments)[2, 1], one, rtol=1e-12, atol=1e-14)
    close(network.outputs(theta, inputs)[2, 1], network.outputs(theta[2, 1], inputs[2, 0]))
    broadcast = path_lifting.jacobian_product(network, theta, other[0, 0])
    close(broadcast[1, 2], path_lifting.jacobian_product(network, theta[1, 2], other[0, 0]))


@pytest.mark.parametrize(
    ("name", "library"), [("residual", "torch"), ("deep", "torch"), ("no bias", "jax")]
)
def test_libraries(name, library):
    network = network_called(name)
    arrays = normal(3, network.n_parameters), normal(5, network.n_inputs)
    with jax.enable_x64(True):
        convert: Any = torch.asarray if library == "torch" else jax.numpy.asarray
        (theta, other, vector), inputs = map(convert, arrays)
        (theta_, other_, vector_), inputs_ = arrays
        cases: list[tuple[Any, tuple, tuple]] = [
            (path_lifting.lift, (theta,), (theta_,)),
            (path_lifting.path_norm, (theta,), (theta_,)),
            (path_lifting.pullback, (theta, other), (theta_, other_)),
            (path_lifting.jacobian_product, (theta, vector, other), (theta_, vector_, other_)),
            (path_lifting.path_features, (theta, inputs), (theta_, inputs_)),
            (path_lifting.tangent_kernel, (theta, inputs), (theta_, inputs_)),
        ]
        for function, ours, numpys in cases:
            call = functools.partial(function, network)
            result = (jax.jit(call) if library == "jax" else call)(*ours)
            assert isinstance(result, type(theta))
            close(to_numpy(result), function(network, *numpys), atol=1e-13)
        slope: Any = torch.func.grad if library == "torch" else jax.grad
        slope = slope(functools.partial(path_lifting.inner_product, network))
        gradient = (jax.jit(slope) if library == "jax" else slope)(theta, other)
        close(to_numpy(gradient), path_lifting.pullback(network, theta_, other_), atol=1e-13)


def test_single_precision_stays():
    network = network_called("residual")
    theta = normal(network.n_parameters).astype(numpy.float32)
    for result in (
        path_lifting.lift(network, theta),
        path_lifting.jacobian_product(network, theta, theta),
        network.outputs(theta, normal(2, 3).astype(numpy.float32)),
    ):
        assert result.dtype == numpy.float32


def test_large_network_enumerates_no_path():
    network = ReluNetwork.from_widths((784, 64, 32, 10))
    assert network.n_paths == 784 * 64 * 32 * 10 + 64 * 32 * 10 + 32 * 10 + 10
    theta, vector = normal(2, network.n_parameters) / 8
    # The directions of rescalings are in the kernel of ∂φ.
    tails, heads = (end[: network.n_parameters] for end in network.ends)
    turn = network.scaling_labels == 17
    vertical = theta * (1.0 * turn[heads] - 1.0 * turn[tails])
    product = path_lifting.jacobian_product(network, theta, vector)
    size = abs(product).max()
    close(path_lifting.jacobian_product(network, theta, vertical), 0 * theta, atol=1e-12 * size)
    assert abs(product @ vertical) < 1e-10 * size * abs(vertical).sum()
    # Some of its paths, and their share of the inner product.
    some = numpy.stack([numpy.arange(5), 784 * 64 + 64 + numpy.zeros(5), [52544] * 5], axis=1)
    names = network.path_names(some.astype(int))
    assert names[0][1:3] == ("neuron 1 of layer 1", "neuron 1 of layer 2")
    values = path_lifting.lift(network, theta, some.astype(int))
    rows = path_lifting.jacobian(network, theta, some.astype(int))
    close(rows @ theta, 3 * values)  # φ is homogeneous along paths of one length
    for call in (
        lambda: path_lifting.lift(network, theta),
        lambda: path_lifting.path_features(network, theta, normal(1, 784)),
    ):
        with pytest.raises(ValueError, match="16077130 paths, too many"):
            call()


SMALL = ReluNetwork.from_widths((2, 3, 1))
THETA = numpy.ones(SMALL.n_parameters)
BAD_CALLS = {
    "length": (lambda: path_lifting.lift(SMALL, THETA[1:]), r"shape \[..., 13\], got \(12,\)"),
    "number": (lambda: path_lifting.lift(SMALL, THETA[0]), r"shape \[..., 13\], got"),
    "NaN": (lambda: path_lifting.pullback(SMALL, THETA, THETA * numpy.nan), "NaN or infinite"),
    "vector": (lambda: path_lifting.jacobian_product(SMALL, THETA, THETA[1:]), "the vector"),
    "inputs": (lambda: SMALL.outputs(THETA, numpy.ones((4, 3))), r"shape \[..., n, 2\], got"),
    "one input": (lambda: SMALL.outputs(THETA, numpy.ones(2)), "one sample in each row"),
    "infinite input": (lambda: SMALL.outputs(THETA, numpy.full((1, 2), numpy.inf)), "infinite"),
    "order": (lambda: path_lifting.path_norm(SMALL, THETA, order=0), "positive and finite"),
    "cotangents": (
        lambda: path_lifting.output_gradient(SMALL, THETA, numpy.ones((4, 2)), numpy.ones((4, 2))),
        r"cotangents .* \[..., 4, 1\], got \(4, 2\)",
    ),
    "batch": (
        lambda: path_lifting.path_features(SMALL, THETA[None], numpy.ones((1, 2))),
        "one network",
    ),
}


@pytest.mark.parametrize("name", BAD_CALLS)
def test_errors_say_what_to_do(name):
    call, message = BAD_CALLS[name]
    with pytest.raises(ValueError, match=message):
        call()


def test_jacobian_too_large_to_form():
    network = ReluNetwork.from_widths((20, 20, 20, 20))
    with pytest.raises(ValueError, match="name fewer paths"):
        path_lifting.jacobian(network, numpy.ones(network.n_parameters))
