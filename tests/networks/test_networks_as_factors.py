"""A network serves wherever its factors do, or is refused with what to do."""

from typing import Any

import numpy
import pytest

import dlngeo
from dlngeo.intrinsic import check_conservation, conservation_laws
from dlngeo.manifolds import BalancedManifold
from dlngeo.networks import LinearNetwork
from tests import public_calls as valid

STACKS = [valid.W, valid.BALANCED, valid.NEAR, valid.TWO]
PLACES = [
    (name, place)
    for name, call in valid.CALLS.items()
    for place, value in call.arguments.items()
    if any(value is stack for stack in STACKS) and not name.endswith("MatrixSensing")
]
POINTS = ("manifolds.", "intrinsic.residual_", "solvers.sgd", "solvers.compare_sgd")
"""What takes points of spaces in general, and coefficients that are no factors."""
SERVED = [(n, p) for n, p in PLACES if not n.startswith((*POINTS, "solvers.NetworkSamples"))]
OTHER = [(n, p) for n, p in PLACES if n.startswith((*POINTS, "solvers.NetworkSamples"))]


def numbers(result: Any) -> list[float]:
    """Return the numbers of arrays, tuples of them and networks."""
    if hasattr(result, "factors"):
        return numbers(result.factors)
    if isinstance(result, tuple | list):
        return [number for part in result for number in numbers(part)]
    return numpy.ravel(result).tolist() if isinstance(result, numpy.ndarray | float) else []


@pytest.mark.parametrize(("name", "place"), SERVED, ids=str)
def test_results_are_those_of_its_factors(name, place):
    call = valid.CALLS[name]
    factors = tuple(call.arguments[place])
    found, expected = (call({place: given}) for given in (LinearNetwork(factors), factors))
    numpy.testing.assert_allclose(numbers(found), numbers(expected), rtol=1e-12)


@pytest.mark.parametrize(("name", "place"), OTHER, ids=str)
def test_a_network_is_no_point(name, place):
    call = valid.CALLS[name]
    with pytest.raises(TypeError, match=r"LinearNetwork.*space.from_factors\(network\)"):
        call({place: LinearNetwork(call.arguments[place])})


def test_the_entropy_of_a_network_has_its_own_function():
    with pytest.raises(TypeError, match="got LinearNetwork: of factors and networks take network_"):
        dlngeo.entropy(LinearNetwork(valid.BALANCED), (3, 3, 3, 3))


def test_points_chains_and_states_are_made_of_networks():
    network = LinearNetwork(valid.BALANCED)
    space = BalancedManifold(depth=3, width=3)
    numpy.testing.assert_array_equal(space.from_factors(network), valid.BALANCED)
    options: dict[str, Any] = {"beta": 2.0, "step_size": 0.01, "n_steps": 3, "rng": 0}
    chains = [
        dlngeo.langevin(valid.gradient, initial, **options)
        for initial in (network, tuple(w[None] for w in valid.BALANCED))
    ]
    for found, expected in zip(*(chain.factors for chain in chains), strict=True):
        numpy.testing.assert_array_equal(found, expected)
    biases = list(numpy.ones((3, 3)))
    biased = LinearNetwork(valid.BALANCED, biases)
    laws = conservation_laws((3, 3, 3, 3), "linear", bias=True)
    flat = numpy.concatenate(
        [a.ravel() for pair in zip(biased.factors, biases, strict=True) for a in pair]
    )
    numpy.testing.assert_array_equal(laws.known(biased), laws.known(flat))
    assert check_conservation([biased, LinearNetwork(biased)]).relative_drift.max() == 0
