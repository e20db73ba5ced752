"""Parameters from path-lifting and laws, and the kernel of the flow."""

import numpy
import pytest

from dlngeo.intrinsic import ReluNetwork, intrinsic_kernel, recover
from dlngeo.intrinsic.relu import path_lifting, rescaling
from tests.intrinsic.relu_graphs import NAMES, network_called, normal

close = numpy.testing.assert_allclose


@pytest.mark.parametrize("zeros", [0.0, 0.2])
@pytest.mark.parametrize("name", NAMES)
def test_parameters_are_recovered(name, zeros):
    network = network_called(name)
    for seed in range(5):
        theta = normal(network.n_parameters, seed=seed)
        theta[numpy.random.default_rng(seed).random(theta.shape) < zeros] = 0.0
        if network.dead(theta)[: network.offsets[-2]].any():
            continue
        lifted = path_lifting.lift(network, theta)
        values = rescaling.conserved_values(network, theta)
        near = theta * (1 + 0.1 * normal(network.n_parameters, seed=9))
        close(recover(network, lifted, values, like=near), theta, atol=1e-13)
        # Without signs to follow: up to the signs of the neurons, which K does not see.
        found = recover(network, lifted, values)
        close(abs(found), abs(theta), atol=1e-13)
        close(path_lifting.lift(network, found), lifted, atol=1e-13)
        differential = path_lifting.jacobian(network, theta)
        expected = differential @ differential.T
        close(intrinsic_kernel(network, lifted, values), expected, atol=1e-12 * abs(expected).max())


def test_kernel_depends_on_the_laws():
    network = network_called("no bias")
    theta = normal(network.n_parameters)
    lifted, values = path_lifting.lift(network, theta), normal(4, seed=1)
    assert (
        abs(
            intrinsic_kernel(network, lifted, values)
            - intrinsic_kernel(network, lifted, values + 1)
        ).max()
        > 0.1
    )


def dead_network():
    theta = numpy.ones(SMALL.n_parameters)
    theta[[2, 3, 7]] = 0.0  # all that enters neuron 2
    return theta


SMALL = ReluNetwork.from_widths((2, 3, 2))


ONES = numpy.ones(SMALL.n_parameters)


LIFTED = path_lifting.lift(SMALL, ONES)


BAD_CALLS = {
    "path-lifting": (
        lambda: recover(SMALL, path_lifting.lift(SMALL, dead_network()), numpy.ones(3)),
        "neuron 2 of layer 1 is on no path of which the product",
    ),
    "paths": (lambda: recover(SMALL, LIFTED[1:], numpy.ones(3)), r"shape \(20,\), got \(19,\)"),
    "NaN": (lambda: recover(SMALL, LIFTED * numpy.nan, numpy.ones(3)), "NaN or infinite"),
    "laws": (lambda: recover(SMALL, LIFTED, numpy.ones(2)), r"shape \[..., 3\]"),
    "like": (lambda: recover(SMALL, LIFTED, numpy.ones(3), ONES[1:]), "like of this network"),
}


@pytest.mark.parametrize("name", BAD_CALLS)
def test_errors_name_the_neuron_and_the_remedy(name):
    call, message = BAD_CALLS[name]
    with pytest.raises(ValueError, match=message):
        call()
