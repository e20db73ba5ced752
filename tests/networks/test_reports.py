"""Reports of networks."""

import numpy
import pytest

from dlngeo.core.fibres import certificate
from dlngeo.core.networks.network import moment_map
from dlngeo.losses import Factorization, LinearRegression
from dlngeo.networks import LinearNetwork, largest_step, report, sharpness
from dlngeo.thermodynamics import network_entropy

RNG = numpy.random.default_rng(0)
FACTORS = [RNG.normal(size=(4, 3)), RNG.normal(size=(5, 4)), RNG.normal(size=(2, 5))]
LOSS = LinearRegression(RNG.normal(size=(9, 3)), RNG.normal(size=(9, 2)))


def test_the_report_holds_what_there_is_to_know():
    found = report(FACTORS, LOSS)
    gap = certificate(tuple(FACTORS))
    matrix = FACTORS[2] @ FACTORS[1] @ FACTORS[0]
    assert (found.widths, found.depth, found.rank) == ((3, 4, 5, 2), 3, 2)
    assert found.n_parameters == 42
    numpy.testing.assert_allclose(
        found.singular_values, numpy.linalg.svd(matrix, compute_uv=False), rtol=1e-12
    )
    assert found.moment_map_norm == pytest.approx(gap.moment_map_norm, rel=1e-12)
    assert found.squared_norm == pytest.approx(gap.squared_norm, rel=1e-12)
    assert found.least_squared_norm == pytest.approx(gap.minimum, rel=1e-12)
    assert found.entropy == pytest.approx(network_entropy(FACTORS), rel=1e-12)
    assert found.loss == pytest.approx(LOSS(matrix), rel=1e-12)
    assert found.sharpness == sharpness(FACTORS, LOSS)
    assert found.largest_step == largest_step(FACTORS, LOSS)
    for name, value in found.rows():
        assert f"{name} " in repr(found)
        assert f">{value}</td>" in found._repr_html_()


def test_biases_count_and_without_a_loss_there_is_no_sharpness():
    network = LinearNetwork(FACTORS, [None, RNG.normal(size=5), None])
    found = report(network)
    moments = moment_map(network)
    assert found.n_parameters == 47
    assert found.moment_map_norm == pytest.approx(sum((m**2).sum() for m in moments) ** 0.5)
    assert found.sharpness is None
    assert "unstable" not in repr(found)
    assert report(network, LOSS).sharpness == sharpness(network, LOSS)


def test_a_network_of_zeros_has_no_entropy_and_no_least_step():
    found = report([numpy.zeros((2, 2))] * 3, Factorization(numpy.eye(2)))
    assert (found.rank, found.entropy, found.largest_step) == (0, None, numpy.inf)
    assert report([numpy.eye(2)]).moment_map_norm == 0
