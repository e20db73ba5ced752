"""Means and principal directions of networks."""

import numpy
import pytest
from geomstats.learning.pca import TangentPCA

from dlngeo.core.geodesics.horizontal_alignment import align_horizontally
from dlngeo.core.geodesics.logarithm import log
from dlngeo.core.networks.network import moment_map
from dlngeo.manifolds import BalancedManifold
from dlngeo.networks import LinearNetwork, distance, interpolate, mean, principal_directions
from tests.networks.networks import balanced_networks

CASES = [((3, 2, 4), 2), ((4, 3, 6, 5), 2)]


@pytest.mark.parametrize(("widths", "rank"), CASES, ids=str)
def test_logarithms_at_the_mean_sum_to_zero(widths, rank):
    networks = balanced_networks(widths, rank)
    centre = mean(networks)
    assert centre.widths == widths
    assert max(abs(moment).max() for moment in moment_map(centre)) < 1e-10
    matrices = numpy.stack([network.matrix for network in networks])
    logs = log(centre.matrix, matrices, len(widths) - 1, rank)
    assert abs(logs.sum(axis=0)).max() < 1e-6 * abs(logs).max()


def test_the_mean_of_two_is_half_way():
    a, b = balanced_networks((4, 3, 6, 5), 2, 2)
    b = LinearNetwork(b.factors, [None, None, numpy.ones(5)])
    middle, centre = interpolate(a, b, 0.5), mean([a, b])
    for found, expected in zip(centre.factors, middle.factors, strict=True):
        numpy.testing.assert_allclose(found, expected, atol=1e-6)
    assert centre.bias == pytest.approx(numpy.full(5, 0.5))
    scaled = mean([LinearNetwork([1e-3 * w for w in n.factors]) for n in (a, b)])
    numpy.testing.assert_allclose(scaled.matrix, 1e-9 * centre.matrix, atol=1e-14)


def test_square_networks_of_one_component_have_a_mean():
    first = LinearNetwork([numpy.diag([1.0, -2.0]), numpy.eye(2)]).balanced()
    second = LinearNetwork([numpy.diag([4.0, -2.0]), numpy.eye(2)]).balanced()
    numpy.testing.assert_allclose(mean([first, second]).matrix, numpy.diag([2.25, -2.0]), atol=1e-7)
    with pytest.raises(ValueError, match=r"have the signs -, \+"):
        mean([first, LinearNetwork([numpy.eye(2)] * 2)])


def test_principal_directions_are_those_of_the_tangent_space_of_balanced_networks():
    widths, rank = (3, 2, 4), 2
    networks = balanced_networks(widths, rank, 3)
    found = principal_directions(networks)
    space = BalancedManifold(widths=widths, rank=rank)
    points = numpy.stack(
        [
            space.from_factors(align_horizontally(n.factors, found.mean.factors, rank))
            for n in networks
        ]
    )
    estimator = TangentPCA(space, n_components=2)
    estimator.fit(points, base_point=space.from_factors(found.mean.factors))
    numpy.testing.assert_allclose(found.variances, estimator.explained_variance_, rtol=1e-5)
    assert found.ratios.sum() == pytest.approx(1)
    for coordinates, network in zip(found.coordinates, networks, strict=True):
        assert distance(found.network(coordinates), network) < 1e-6
    first = principal_directions(networks, 1)
    numpy.testing.assert_allclose(first.variances, found.variances[:1], rtol=1e-10)
    for v, w in zip(first.directions, networks[0].factors, strict=True):
        assert v.shape == (1, *w.shape)
    with pytest.raises(ValueError, match="a coordinate for each of 1 directions"):
        first.network([0.1, 0.2])
    with pytest.raises(ValueError, match="expected 1 to 2 directions of 3 networks, got 3"):
        principal_directions(networks, 3)
