"""Gradient flow of ReLU networks: training upstairs against the intrinsic flow downstairs."""

from typing import Any

import autograd.numpy
import numpy
import pytest
import scipy.integrate
import torch
from sklearn.datasets import load_diabetes, load_digits

from dlngeo.intrinsic import ReluNetwork, network_of_graph
from dlngeo.intrinsic.relu import path_lifting, rescaling
from dlngeo.solvers import Factorization, relu_flow
from tests.intrinsic.relu_graphs import GRAPHS

close = numpy.testing.assert_allclose


def diabetes(n):
    """Disease and body mass from ten measurements, all standardised."""
    data = load_diabetes()
    inputs = data.data / data.data.std(axis=0)
    disease = (data.target - data.target.mean()) / data.target.std()
    return inputs[:n], numpy.stack([disease, inputs[:, 2]], axis=1)[:n]


def digits(n):
    data = load_digits()
    return data.data[:n] / 16, numpy.eye(3)[data.target[:n] % 3]


def initial(network, seed, scale):
    return scale * numpy.random.default_rng(seed).normal(size=network.n_parameters)


TIGHT: dict[str, Any] = {"method": "DOP853", "rtol": 1e-12, "atol": 1e-14, "n_saved": 10}

CASES: dict[str, tuple] = {
    # widths, data, seed, size of the weights, t_final, changes of activations and of signs
    "signs change": ((10, 3, 2), diabetes(6), 1, 0.5, 0.5, 0, 6),
    "activations change": ((10, 3, 2), diabetes(6), 4, 0.5, 0.5, 2, 6),
    "twenty samples": ((10, 3, 2), diabetes(20), 2, 0.5, 0.045, 1, 1),
    "nothing changes": ((10, 3, 2), diabetes(20), 2, 0.5, 0.004, 0, 0),
    "digits": ((64, 6, 5, 3), digits(6), 4, 0.3, 0.1, 0, 5),
}


@pytest.mark.parametrize("space", ["orbits", "paths"])
@pytest.mark.parametrize("name", list(CASES)[:-1])
def test_downstairs_is_training_upstairs(name, space):
    widths, (inputs, targets), seed, scale, t_final, n_active, n_signs = CASES[name]
    network = ReluNetwork.from_widths(widths)
    tight = n_active == 0
    options: dict[str, Any] = TIGHT if tight else {**TIGHT, "rtol": 1e-9, "atol": 1e-11}
    options = {**options, "t_final": t_final}
    theta, loss = initial(network, seed, scale), Factorization(targets)
    up = relu_flow(loss, network, theta, inputs, **options)
    down = relu_flow(loss, network, theta, inputs, space=space, **options)
    assert up.success
    assert down.success
    for flow in (up, down):
        assert flow.n_activation_changes == n_active
        assert flow.n_sign_changes == n_signs
    tolerance = 1e-10 if tight else 1e-7
    lifted = path_lifting.lift(network, up.parameters)
    if space == "paths":
        close(down.states, lifted, atol=tolerance * abs(lifted).max())
    close(path_lifting.lift(network, down.parameters), lifted, atol=tolerance * abs(lifted).max())
    close(down.parameters, up.parameters, atol=tolerance * abs(theta).max())
    close(down.loss, up.loss, rtol=10 * tolerance)
    close(down.conserved_values, up.conserved_values, atol=10 * tolerance)


def test_digits_without_enumerating_paths():
    widths, (inputs, targets), seed, scale, t_final, _, n_signs = CASES["digits"]
    network = ReluNetwork.from_widths(widths)
    theta, loss = initial(network, seed, scale), Factorization(targets)
    up = relu_flow(loss, network, theta, inputs, t_final=t_final, **TIGHT)
    down = relu_flow(loss, network, theta, inputs, t_final=t_final, space="orbits", **TIGHT)
    assert up.n_sign_changes == n_signs
    close(down.parameters, up.parameters, atol=1e-10)
    close(up.conserved_values, up.conserved_values[[0] * 10], atol=1e-11)


@pytest.mark.parametrize("space", ["orbits", "paths"])
def test_sliding_along_kinks(space):
    """A hundred samples: the flow slides along kinks, at the accuracy of the tolerances."""
    network, (inputs, targets) = ReluNetwork.from_widths((10, 3, 2)), diabetes(100)
    theta, loss = initial(network, 0, 0.3), Factorization(targets)
    up, down = (
        relu_flow(loss, network, theta, inputs, space=chosen, t_final=0.1)
        for chosen in ("parameters", space)
    )
    assert up.n_activation_changes > 30
    close(down.loss, up.loss, rtol=2e-3)
    close(down.parameters, up.parameters, atol=2e-2)


@pytest.mark.parametrize("name", GRAPHS)
def test_graphs(name):
    build, ends = GRAPHS[name][0], GRAPHS[name][1:]
    network, theta = network_of_graph(build(seed=2), *ends)
    inputs = numpy.random.default_rng(1).normal(size=(3, network.n_inputs))
    loss = Factorization(numpy.random.default_rng(2).normal(size=(3, 2)))
    up, orbits, paths = (
        relu_flow(loss, network, theta, inputs, space=space, t_final=0.02, **TIGHT)
        for space in ("parameters", "orbits", "paths")
    )
    assert up.loss[-1] < 0.9 * up.loss[0]
    for down in (orbits, paths):
        assert down.success
        close(down.parameters, up.parameters, atol=1e-10)


def test_upstairs_is_the_gradient_flow_of_pytorch():
    """The same flow from PyTorch's gradients, in SciPy's solve_ivp, conserves the laws."""
    module = torch.nn.Sequential(torch.nn.Linear(10, 3), torch.nn.ReLU(), torch.nn.Linear(3, 2))
    module = module.double()
    network = ReluNetwork.from_widths((10, 3, 2))
    inputs, targets = diabetes(6)
    theta = initial(network, 4, 0.5)
    x, y = torch.asarray(inputs), torch.asarray(targets)

    def velocity(_, point):
        torch.nn.utils.vector_to_parameters(torch.asarray(point), module.parameters())
        loss = torch.mean(torch.log(torch.cosh(module(x) - y)))
        slopes = torch.autograd.grad(loss, list(module.parameters()))
        return -torch.cat([slope.ravel() for slope in slopes]).numpy()

    def loss(outputs):
        return autograd.numpy.mean(autograd.numpy.log(autograd.numpy.cosh(outputs - targets)))

    flow = scipy.integrate.solve_ivp(velocity, (0, 0.5), theta, rtol=1e-9, atol=1e-11)
    ours = relu_flow(
        loss, network, theta, inputs, t_final=0.5, **{**TIGHT, "rtol": 1e-9, "n_saved": 2}
    )
    close(ours.parameters[-1], flow.y[:, -1], atol=1e-7)
    laws = rescaling.conserved_values(network, flow.y.T)
    close(laws, laws[[0] * len(laws)], atol=1e-7)
    assert abs(ours.parameters[-1] - theta).max() > 0.01


def test_kernel_of_other_laws_is_another_flow():
    """A planted error: the laws of another start miss the training by far."""
    widths, (inputs, targets), seed, scale, *_ = CASES["signs change"]
    network = ReluNetwork.from_widths(widths)
    theta, loss = initial(network, seed, scale), Factorization(targets)
    scales = numpy.array([1.5, 1.0, 0.7])
    options: dict[str, Any] = {"t_final": 0.1, "n_saved": 2}
    one = relu_flow(loss, network, theta, inputs, **options)
    other = relu_flow(loss, network, rescaling.rescale(network, theta, scales), inputs, **options)
    close(other.loss[0], one.loss[0])
    assert abs(other.loss[1] / one.loss[1] - 1) > 0.05


def test_interruption_and_failure_keep_what_there_is():
    network = ReluNetwork.from_widths((10, 3, 2))
    inputs, targets = diabetes(6)
    theta = initial(network, 1, 0.5)
    calls = iter(range(400))

    class Interrupted(Factorization):
        def gradient(self, matrix):
            if next(calls, None) is None:
                raise KeyboardInterrupt
            return super().gradient(matrix)

    flow = relu_flow(Interrupted(targets), network, theta, inputs, t_final=5.0, rtol=1e-6)
    assert flow.interrupted
    assert "start again from the last state" in flow.status
    assert 1 < len(flow.times) == len(flow.parameters) == len(flow.loss) < 100

    def bounded(matrix):
        return numpy.where(abs(matrix) < 3, -matrix, numpy.nan)

    flow = relu_flow(lambda y: (y**2).sum(), network, theta, inputs, t_final=50.0, gradient=bounded)
    assert not flow.success
    assert "the loss ceases to be finite there" in flow.status
    assert numpy.isfinite(flow.loss).all()


SMALL = ReluNetwork.from_widths((2, 3, 2))
ONES = numpy.ones(SMALL.n_parameters)
X = numpy.ones((4, 2))


def run(initial=ONES, inputs=X, loss=None, **options):
    return relu_flow(
        loss or Factorization(X), SMALL, initial, inputs, **{"t_final": 1.0, **options}
    )


def dead():
    theta = ONES.copy()
    theta[[0, 1, 6]] = 0.0
    return theta


BAD_CALLS = {
    "dead neuron, paths": (lambda: run(dead(), space="paths"), "neuron 1 of layer 1 is on no path"),
    "dead neuron, orbits": (lambda: run(dead(), space="orbits"), "neuron 1 of layer 1 is on no"),
    "space": (lambda: run(space="upstairs"), "space must be one of parameters, paths, orbits"),
    "method": (lambda: run(method="Euler"), "method must be one of"),
    "t_final": (lambda: run(t_final=0.0), "t_final must be positive"),
    "parameters": (lambda: run(ONES[1:]), "the parameters of this network"),
    "batch": (lambda: run(ONES[None]), "one network"),
    "inputs": (lambda: run(inputs=numpy.ones((4, 3))), "one sample in each row"),
    "targets": (lambda: run(loss=Factorization(X[:, :1])), "gradient of the outputs|shape"),
    "loss": (lambda: run(loss=lambda y: numpy.nan, gradient=lambda y: y), "must be finite"),
    "large Jacobian": (
        lambda: relu_flow(
            Factorization(numpy.ones((1, 20))),
            ReluNetwork.from_widths((20, 20, 20, 20)),
            numpy.ones(1260),
            numpy.ones((1, 20)),
            t_final=1.0,
            space="paths",
        ),
        "too large to form",
    ),
    "many paths": (
        lambda: relu_flow(
            Factorization(numpy.ones((1, 10))),
            ReluNetwork.from_widths((784, 64, 32, 10)),
            numpy.ones(52650),
            numpy.ones((1, 784)),
            t_final=1.0,
            space="paths",
        ),
        "16077130 paths",
    ),
}


@pytest.mark.parametrize("name", BAD_CALLS)
def test_errors_say_what_to_do(name):
    call, message = BAD_CALLS[name]
    with pytest.raises(ValueError, match=message):
        call()


def test_a_dead_neuron_trains_upstairs():
    assert run(dead()).success


@pytest.mark.parametrize("space", ["parameters", "orbits", "paths"])
def test_flows_are_saved_at_given_times(space):
    network = ReluNetwork.from_widths((10, 3, 2))
    inputs, targets = diabetes(6)
    theta, loss = initial(network, 1, 0.5), Factorization(targets)
    flow = relu_flow(loss, network, theta, inputs, space=space, t_eval=[0.001, 0.004])
    assert flow.times.tolist() == [0.001, 0.004]
    until = relu_flow(loss, network, theta, inputs, space=space, t_final=0.004, n_saved=2)
    close(flow.parameters[-1], until.parameters[-1], atol=1e-4)
    assert flow.loss[-1] < flow.loss[0]
