"""What optimisation asks of any pymanopt manifold."""

import numpy
import pytest
from pymanopt.manifolds import Euclidean, FixedRankEmbedded, Product, Sphere

from dlngeo.manifolds import (
    BalancedFactors,
    DeepFixedRank,
    DepthMetric,
    FixedRankMatrices,
    from_geomstats,
)
from dlngeo.manifolds.pymanopt.points import checked_point, rank_of, size_of

SPACE = FixedRankMatrices(4, 3, rank=2).equip_with_metric(DepthMetric, depth=2)


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
def test_sizes_grow_with_the_point(scale):
    """At depth ``N`` they are ``‖σ^{1/N}‖/√N``: factors that grow share the growth."""
    numpy.random.seed(0)  # noqa: NPY002 -- pymanopt draws from it
    u, s, vt = DeepFixedRank(4, 3, 2, 2).random_point()
    s = scale * s
    for depth in (1, 2, 3):
        expected = numpy.linalg.norm(s ** (1 / depth)) / depth**0.5
        assert size_of(DeepFixedRank(4, 3, 2, depth), (u, s, vt)) == pytest.approx(expected)
    assert size_of(FixedRankEmbedded(4, 3, 2), (u, s, vt)) == pytest.approx(numpy.linalg.norm(s))
    matrix = (u * s) @ vt
    expected = numpy.linalg.norm(s**0.5) / 2**0.5
    assert size_of(from_geomstats(SPACE), matrix) == pytest.approx(expected)
    assert size_of(Euclidean(4, 3), matrix) == pytest.approx(numpy.linalg.norm(s))
    product = Product([DeepFixedRank(4, 3, 2, 1), Euclidean(3)])
    expected = numpy.hypot(numpy.linalg.norm(s), scale * 3**0.5)
    assert size_of(product, [(u, s, vt), scale * numpy.ones(3)]) == pytest.approx(expected)


def test_sizes_where_there_is_no_way_to_zero():
    """A sphere has the size that pymanopt says, and so has zero."""
    assert size_of(Sphere(3), numpy.array([1.0, 0, 0])) == pytest.approx(numpy.pi)
    assert size_of(Euclidean(3), numpy.zeros(3)) == pytest.approx(3**0.5)


def test_ranks():
    assert rank_of(from_geomstats(SPACE)) == rank_of(DeepFixedRank(4, 3, 2, 2)) == 2
    assert rank_of(BalancedFactors((3, 2, 4), 2)) == 2
    assert rank_of(Euclidean(3)) is None


def test_points_keep_their_layout():
    product = Product([DeepFixedRank(4, 3, 2, 1), Euclidean(3)])
    point = product.random_point()
    found = checked_point(product, [tuple(map(numpy.ndarray.tolist, point[0])), [1, 2, 3]])
    numpy.testing.assert_array_equal(found[1], [1.0, 2.0, 3.0])
    numpy.testing.assert_array_equal(found[0][0], point[0].u)
    with pytest.raises(ValueError, match=r"initial_point must have shape \(3,\), got \(2,\)"):
        checked_point(Euclidean(3), [1, 2])
    for bad in (point[0], [point[0]], [point[0][:2], point[1]]):
        with pytest.raises(ValueError, match=r"must be a tuple of \d"):
            checked_point(product, bad)
    with pytest.raises(ValueError, match=r"initial_point\[1\] is of type"):
        checked_point(product, [point[0], "abc"])
