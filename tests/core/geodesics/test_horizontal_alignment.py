"""Alignment of orbits along horizontal geodesics."""

import numpy as np
import pytest

from dlngeo.core.balanced.alignment import align
from dlngeo.core.depth_metric.submersion import vertical_projection
from dlngeo.core.geodesics.balanced_logarithm import balanced_connect, balanced_dist
from dlngeo.core.geodesics.horizontal_alignment import align_horizontally
from dlngeo.core.geodesics.logarithm import dist
from dlngeo.core.networks.network import end_to_end
from tests.core.brute import assert_close, network

SHAPES = [((3, 4, 3, 3), 2), ((2, 3), 1), ((3, 2, 4), 2)]


@pytest.mark.parametrize(("widths", "rank"), SHAPES, ids=str)
def test_the_nearest_point_of_an_orbit(widths, rank):
    """The logarithm is horizontal, as long as that below, and no other point is nearer."""
    one, two = network(widths, rank), network(widths, rank, seed=5)
    aligned = align_horizontally(two.factors, one.factors, rank)
    assert_close(end_to_end(aligned), two.matrix, 1e-9)
    connection = balanced_connect(one.factors, aligned, rank)
    below = dist(one.matrix, two.matrix, len(widths) - 1, rank)
    assert_close(connection.length, below, 1e-9)
    for v in vertical_projection(one.factors, connection.velocity, rank):
        assert_close(v, 0 * v, 1e-8, 1.0)
    chordal = align(two.factors, one.factors, rank)
    assert balanced_dist(one.factors, chordal, rank) >= below * (1 - 1e-9)
    stacked = [np.stack([w, v]) for w, v in zip(two.factors, aligned, strict=True)]
    for ends, end in zip(align_horizontally(stacked, one.factors, rank), aligned, strict=True):
        for found in ends:
            assert_close(found, end, 1e-7, 1.0)


def test_errors():
    with pytest.raises(ValueError, match="opposite signs"):
        align_horizontally((np.eye(2), np.diag([1.0, -1.0])), (np.eye(2), np.eye(2)))
