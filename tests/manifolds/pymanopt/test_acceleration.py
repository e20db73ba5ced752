"""Accelerations of geodesics of geomstats' metrics, against closed forms."""

import numpy
import pytest
from geomstats.geometry.product_manifold import ProductManifold
from scipy.linalg import solve_continuous_lyapunov

from dlngeo import from_geomstats
from dlngeo.core.depth_metric.connection import christoffel
from dlngeo.manifolds import BalancedManifold
from dlngeo.manifolds.pymanopt.acceleration import MeasuredAcceleration, acceleration_at
from tests.manifolds.pymanopt.geomstats_spaces import SPACES, closeness, depth, scaled, sym


def bures_acceleration(x, v, w):
    left, right = solve_continuous_lyapunov(x, v), solve_continuous_lyapunov(x, w)
    return 2 * sym(left @ x @ right)


ACCELERATIONS = {
    "sphere": lambda x, v, w: -x * (v @ w),
    "spd-affine": lambda x, v, w: sym(v @ numpy.linalg.solve(x, w)),
    "spd-bures": bures_acceleration,
    "so3": lambda x, v, w: x @ sym(x.T @ v @ x.T @ w),
    "grassmannian": lambda x, v, w: (numpy.eye(len(x)) - 2 * x) @ (v @ w + w @ v),
}


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
@pytest.mark.parametrize("name", ACCELERATIONS)
def test_accelerations_in_closed_form(name, scale):
    """The scale is that of the point, or on a compact space that of the metric."""
    space = SPACES[name]()
    if "spd" not in name:
        space = scaled(space, scale)
    manifold = from_geomstats(space)
    point = manifold.random_point() * (scale if "spd" in name else 1)
    vectors = numpy.array([manifold.random_tangent_vector(point) for _ in range(5)])
    result = acceleration_at(space.metric, point)(vectors[0], vectors)
    expected = numpy.array([ACCELERATIONS[name](point, vectors[0], w) for w in vectors])
    assert closeness(result, expected) < 1e-9


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
@pytest.mark.parametrize("name", ["depth-2", "depth-3", "depth-inf", "balanced-flat"])
def test_our_accelerations_are_those_of_our_geodesics(name, scale):
    space = SPACES[name]()
    manifold = from_geomstats(space)
    point = scale * manifold.random_point()
    vectors = numpy.array([manifold.random_tangent_vector(point) for _ in range(4)])
    exact, measured = (
        acceleration_at(space.metric, point),
        MeasuredAcceleration(space.metric, point),
    )
    # What is orthogonal to the manifold, and zero, does not count.
    size = numpy.linalg.norm(vectors[0]) ** 2 / numpy.linalg.norm(point)
    gap = exact(vectors[0], vectors) - measured(vectors[0], vectors)
    assert numpy.max(abs(gap)) < 1e-8 * max(size, numpy.max(abs(exact(vectors[0], vectors))))


def test_acceleration_against_one_basis_vector():
    """Also opposite ones, or none at all."""
    space = SPACES["circle"]()
    point, vector = numpy.array([1.0, 0.0]), numpy.array([0.0, 2.0])
    bent = acceleration_at(space.metric, point)(vector, numpy.array([-vector, 0 * vector]))
    numpy.testing.assert_allclose(bent, [4 * point, 0 * point], atol=1e-11)
    bent = acceleration_at(space.metric, point)(vector, 0 * vector[None])
    numpy.testing.assert_array_equal(bent, 0 * point[None])


def test_accelerations_in_products_are_exact():
    factors = [depth(3, 2, 2, 3), BalancedManifold(depth=2, width=2)]
    space = ProductManifold(factors)
    manifold = from_geomstats(space)
    point = manifold.random_point()
    vectors = numpy.array([manifold.random_tangent_vector(point) for _ in range(4)])
    result = acceleration_at(space.metric, point)(vectors[0], vectors)
    points, ones, others = map(space.project_from_product, (point, vectors[0], vectors))
    expected = space.embed_to_product(
        [
            -christoffel(points[0], ones[0], others[0], 3, 2),
            factors[1].second_fundamental_form(ones[1], others[1], points[1]),
        ]
    )
    assert closeness(result, expected) < 1e-14
    # The route for any metric agrees, to its accuracy.
    assert (
        closeness(MeasuredAcceleration(space.metric, point)(vectors[0], vectors), expected) < 1e-9
    )
