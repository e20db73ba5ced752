"""Rescaling of neurons: laws, orbits, and parameters from path-lifting and laws."""

import autograd
import numpy
import pytest
import scipy.optimize

from dlngeo.intrinsic import ReluNetwork, network_of_graph
from dlngeo.intrinsic.relu import path_lifting, rescaling
from tests.intrinsic.relu_graphs import NAMES, network_called, normal, skip_graph

close = numpy.testing.assert_allclose


def scales_of(network, seed=3, spread=1.0):
    return numpy.exp(spread * normal(len(network.scaling_groups), seed=seed))


def test_laws_are_those_of_the_neurons():
    network = ReluNetwork.from_widths((3, 4, 2, 3))
    theta = normal(network.n_parameters)
    first, b1, second, b2, third, _ = numpy.split(theta, [12, 16, 24, 26, 32])
    first, second, third = first.reshape(4, 3), second.reshape(2, 4), third.reshape(3, 2)
    expected = [
        *((first**2).sum(axis=1) + b1**2 - (second**2).sum(axis=0)),
        *((second**2).sum(axis=1) + b2**2 - (third**2).sum(axis=0)),
    ]
    close(rescaling.conserved_values(network, theta), expected)
    assert network.scaling_groups[4] == ("neuron 1 of layer 2",)


def test_groups_of_fixed_edges():
    groups = network_called("residual").scaling_groups
    # c1 is joined to the output z by a fixed edge, and so is a1 to c1: no law.
    assert groups == (("a2", "c2"), ("b1",), ("b2",), ("b3",))
    assert network_called("skip").scaling_groups == (("a",), ("b",), ("c",), ("d",))
    assert network_called("linear").scaling_groups == ()


@pytest.mark.parametrize("name", NAMES)
def test_rescaling_keeps_path_lifting_and_outputs(name):
    network = network_called(name)
    theta, inputs = normal(network.n_parameters), normal(5, network.n_inputs)
    moved = rescaling.rescale(network, theta, scales_of(network, spread=3.0))
    lifted = path_lifting.lift(network, theta)
    close(path_lifting.lift(network, moved), lifted, rtol=1e-12)
    close(network.outputs(moved, inputs), network.outputs(theta, inputs), rtol=1e-10, atol=1e-12)
    # Signs keep the path-lifting alone.
    signs = numpy.sign(normal(len(network.scaling_groups), seed=8))
    close(path_lifting.lift(network, rescaling.rescale(network, theta, signs)), lifted)


@pytest.mark.parametrize("name", NAMES[1:])  # the first has no hidden neurons
def test_gradients_are_orthogonal_to_orbits_and_laws_to_gradients(name):
    network = network_called(name)
    theta, vector = normal(2, network.n_parameters)
    laws = autograd.jacobian(lambda point: rescaling.conserved_values(network, point))(theta)
    orbit = autograd.jacobian(lambda x: rescaling.rescale(network, theta, autograd.numpy.exp(x)))(
        numpy.zeros(len(network.scaling_groups))
    )
    close(laws, 2 * orbit.T, atol=1e-14)
    differential = path_lifting.jacobian(network, theta)
    close(differential @ orbit, 0 * differential @ orbit, atol=1e-12)
    # The kernels of the differentials of path-lifting and laws meet in zero alone.
    both = numpy.concatenate([differential, laws])
    assert numpy.linalg.matrix_rank(both) == network.n_parameters
    horizontal = rescaling.horizontal_projection(network, theta, vector)
    expected = vector - orbit @ numpy.linalg.pinv(orbit) @ vector
    close(horizontal, expected, atol=1e-12)


@pytest.mark.parametrize("spread", [1.0, 10.0])
@pytest.mark.parametrize("name", NAMES)
def test_laws_are_reached_in_the_orbit(name, spread):
    network = network_called(name)
    theta = normal(network.n_parameters)
    values = rescaling.conserved_values(network, theta)
    moved = rescaling.rescale(network, theta, scales_of(network, spread=spread))
    close(rescaling.with_conserved_values(network, moved, values), theta, rtol=1e-11)
    balanced = rescaling.with_conserved_values(network, moved)
    scale = (balanced**2).sum()
    close(rescaling.conserved_values(network, balanced), 0 * values, atol=1e-13 * scale)
    # The point of least norm, by another solver.
    if values.size:
        least = scipy.optimize.minimize(
            lambda x: (rescaling.rescale(network, theta, numpy.exp(x)) ** 2).sum(), 0 * values
        )
        close(scale, least.fun, rtol=1e-7)
        assert scale <= least.fun * (1 + 1e-12)


@pytest.mark.parametrize("height", [0.0, 1e-6, -1e6, 1e6])
def test_every_value_of_the_laws_is_reached(height):
    network = network_called("deep")
    thetas = normal(4, network.n_parameters) * numpy.exp(3 * normal(4, network.n_parameters))
    values = height * normal(8, seed=4)
    reached = rescaling.with_conserved_values(network, thetas, values)
    close(path_lifting.lift(network, reached), path_lifting.lift(network, thetas), rtol=1e-9)
    error = abs(rescaling.conserved_values(network, reached) - values).max(axis=-1)
    assert (error <= 1e-13 * (reached**2).sum(axis=-1)).all()


def test_large_network():
    network = ReluNetwork.from_widths((784, 64, 32, 10))
    theta = normal(network.n_parameters)
    moved = rescaling.rescale(network, theta, scales_of(network, spread=5.0))
    values = rescaling.conserved_values(network, theta)
    close(rescaling.with_conserved_values(network, moved, values), theta, rtol=1e-12)
    horizontal = rescaling.horizontal_projection(network, theta, moved / abs(moved).max())
    change = autograd.elementwise_grad(lambda p: rescaling.conserved_values(network, p).sum())
    assert abs(change(theta) @ horizontal) < 1e-9


def dead_network():
    theta = numpy.ones(SMALL.n_parameters)
    theta[[2, 3, 7]] = 0.0  # all that enters neuron 2
    return theta


SMALL = ReluNetwork.from_widths((2, 3, 2))


ONES = numpy.ones(SMALL.n_parameters)


BAD_CALLS = {
    "no weights in": (
        lambda: rescaling.with_conserved_values(SMALL, dead_network()),
        "neuron 2 of layer 1 is on no path of non-zero weights .* Remove it",
    ),
    "no weights out": (
        lambda: rescaling.scales_to(SMALL, numpy.append(0 * ONES[:-2], ONES[-2:])),
        "neuron 1 of layer 1, neuron 2 of layer 1, neuron 3 of layer 1 are on no path",
    ),
    "underflow": (
        lambda: rescaling.scales_to(SMALL, 1e-170 * ONES, 1.0),
        "not be solved .* Remove",
    ),
    "projection": (
        lambda: rescaling.horizontal_projection(SMALL, dead_network(), ONES),
        "neuron 2 of layer 1 is",
    ),
    "NaN laws": (lambda: rescaling.scales_to(SMALL, ONES, numpy.nan), "conserved values holds NaN"),
    "scales": (lambda: rescaling.rescale(SMALL, ONES, numpy.ones(2)), "the scales of this network"),
    "zero scale": (lambda: rescaling.rescale(SMALL, ONES, numpy.zeros(3)), "scaled by zero"),
}


@pytest.mark.parametrize("name", BAD_CALLS)
def test_errors_name_the_neuron_and_the_remedy(name):
    call, message = BAD_CALLS[name]
    with pytest.raises(ValueError, match=message):
        call()


def test_names_of_graph_nodes_in_errors():
    network, theta = network_of_graph(skip_graph(), ("x1", "x2"), ("y1", "y2"))
    edges = list(skip_graph().edges)
    theta[edges.index(("d", "y2"))] = 0.0
    with pytest.raises(ValueError, match="d is on no path"):
        rescaling.with_conserved_values(network, theta)
