"""Methods that follow from others, and random frames."""

import math
from typing import Any

import numpy
import pytest

from dlngeo.manifolds.pymanopt import BalancedFactors, DeepFixedRank, from_geomstats
from dlngeo.manifolds.pymanopt.manifold_methods import ManifoldMethods, random_frames
from tests.manifolds.pymanopt.geomstats_spaces import SPACES


class Line(ManifoldMethods):
    """Positive numbers with the metric ``v w / x²``, on vectors of them."""

    def inner_product(self, point, tangent_vector_a, tangent_vector_b):
        return float(numpy.sum(tangent_vector_a * tangent_vector_b / point**2))

    def projection(self, point, vector):
        return vector - (vector @ point) / (point @ point) * point

    def exp(self, point, tangent_vector):
        return point * numpy.exp(tangent_vector / point)

    def log(self, point_a, point_b):
        return point_a * numpy.log(point_b / point_a)


def test_methods_that_follow_from_others():
    line, start, end = Line(), numpy.array([1.0, 4.0]), numpy.array([4.0, 1.0])
    assert line.norm(start, numpy.array([3.0, 16.0])) == 5.0
    numpy.testing.assert_allclose(line.transport(start, end, start), [-15 / 17, 60 / 17])
    numpy.testing.assert_allclose(line.pair_mean(start, end), [2.0, 2.0])


@pytest.mark.parametrize(
    "manifold",
    [BalancedFactors((2, 3, 2)), DeepFixedRank(3, 4, 2, 3), from_geomstats(SPACES["sphere"]())],
)
def test_every_manifold_has_them(manifold: Any):
    assert issubclass(type(manifold), ManifoldMethods)
    point = manifold.random_point()
    vector = manifold.random_tangent_vector(point)
    product = manifold.inner_product(point, vector, vector)
    assert manifold.norm(point, vector) == pytest.approx(math.sqrt(product), rel=1e-12)


def test_random_frames_are_orthonormal_and_uniform():
    """By Haar's measure an entry squared is ``1/d`` in the mean; values fall within [0, 1]."""
    frames, values = random_frames((4, 2), 2)
    assert [frame.shape for frame in frames] == [(4, 2), (2, 2)]
    for frame in frames:
        numpy.testing.assert_allclose(frame.T @ frame, numpy.eye(2), atol=1e-14)
    assert 1 > values[0] > values[1] > 0
    entries = numpy.array([random_frames((4,), 2)[0][0] for _ in range(2_000)])
    # Of variance (1/d)² 2 (d-1)/(d+2), over 2000 draws; signs are even.
    error = math.sqrt(2 * 3 / 6) / 4 / math.sqrt(2_000)
    assert numpy.all(abs((entries**2).mean(axis=0) - 1 / 4) < 5 * error)
    assert numpy.all(abs(entries.mean(axis=0)) < 5 * 0.5 / math.sqrt(2_000))
