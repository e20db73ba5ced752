"""Spaces of geomstats under pymanopt's diagnostics, and against closed forms."""

import geomstats.backend as gs
import numpy
import pytest
from geomstats.geometry.hermitian import Hermitian
from geomstats.geometry.hypersphere import Hypersphere
from geomstats.geometry.minkowski import Minkowski
from geomstats.geometry.rank_k_psd_matrices import RankKPSDMatrices
from geomstats.geometry.spd_matrices import SPDMatrices

from dlngeo import BalancedFactors, from_geomstats
from dlngeo.manifolds import BalancedManifold
from tests.manifolds.pymanopt.geomstats_spaces import SPACES, closeness, depth, scaled, sym
from tests.manifolds.pymanopt.pymanopt_suite import assert_derivatives, assert_laws, bending_problem

EACH_SPACE = pytest.mark.parametrize("name", SPACES)


def manifold_of(name):
    return from_geomstats(SPACES[name]())


@EACH_SPACE
def test_gradient_and_hessian(name):
    manifold = manifold_of(name)
    point = manifold.random_point()
    vector = 0.2 * manifold.random_tangent_vector(point)
    assert_derivatives(bending_problem(manifold, point), point, vector)


@EACH_SPACE
def test_laws(name):
    manifold = manifold_of(name)
    assert_laws(manifold, manifold.random_point(), length=0.1)


@EACH_SPACE
def test_retraction_is_the_exponential(name):
    manifold = manifold_of(name)
    point = manifold.random_point()
    vector = 0.1 * manifold.random_tangent_vector(point)
    numpy.testing.assert_array_equal(
        manifold.retraction(point, vector), manifold.exp(point, vector)
    )


# The gradients of textbooks, of metrics that are not all induced by the embedding.
GRADIENTS = {
    "sphere": lambda x, g: g - x * (x @ g),
    "stiefel": lambda x, g: g - x @ g.T @ x,
    "grassmannian": lambda x, g: x @ sym(g) + sym(g) @ x - 2 * x @ sym(g) @ x,
    "spd-affine": lambda x, g: x @ sym(g) @ x,
    "so3": lambda x, g: x @ (x.T @ g - g.T @ x) / 2,
}


@pytest.mark.parametrize("name", GRADIENTS)
def test_gradients_in_closed_form(name, rng):
    manifold = manifold_of(name)
    point = manifold.random_point()
    gradient = rng.normal(size=point.shape)
    result = manifold.euclidean_to_riemannian_gradient(point, gradient)
    expected = GRADIENTS[name](point, gradient)
    # geomstats scales some metrics; the direction is the same, and the length told by the metric.
    slope = numpy.sum(gradient * expected)
    factor = slope / manifold.inner_product(point, expected, expected)
    assert closeness(result, factor * expected) < 1e-13


def test_multiple_of_a_metric(rng):
    """Its `riemannian_gradient` is that of the metric itself, in geomstats."""
    space = depth(3, 2, 2, 3)
    point, gradient = space.random_point(), rng.normal(size=(3, 2))
    expected = space.metric.riemannian_gradient(gradient, point) / 5
    manifold = from_geomstats(scaled(space, 5.0))
    result = manifold.euclidean_to_riemannian_gradient(point, gradient)
    numpy.testing.assert_allclose(result, expected, rtol=1e-12)


def test_balanced_manifold_is_balanced_factors(rng):
    space = BalancedManifold(widths=(3, 4, 2), rank=2)
    manifold, ours = from_geomstats(space), BalancedFactors((3, 4, 2), 2)
    point = space.random_point()
    arrays = rng.normal(size=(3, *space.shape))
    arrays[2] = space.to_tangent(arrays[2], point)
    result = manifold.euclidean_to_riemannian_hessian(point, *arrays)
    factors = ours.euclidean_to_riemannian_hessian(*map(space.to_factors, (point, *arrays)))
    numpy.testing.assert_allclose(result, space.from_factors(factors), atol=1e-12)


def test_long_steps_do_not_end_the_search():
    """Geodesics that reach the boundary, or leave the floating-point range, are replaced."""
    for name in ("depth-2", "depth-3", "balanced-flat", "product"):
        manifold = manifold_of(name)
        point = manifold.random_point()
        inwards = manifold.projection(point, -3 * point)
        with pytest.raises(ValueError, match="boundary"):
            manifold.exp(point, inwards)
        assert manifold.space.belongs(manifold.retraction(point, inwards), atol=1e-9)
    manifold = manifold_of("spd-affine")
    point = manifold.random_point()
    with numpy.errstate(all="ignore"):
        assert numpy.isfinite(manifold.retraction(point, 1e4 * point)).all()


def test_transport_is_parallel_where_geomstats_has_it():
    for name, is_parallel in (("sphere", True), ("depth-3", True), ("stiefel", False)):
        manifold = manifold_of(name)
        point = manifold.random_point()
        vector, other = (manifold.random_tangent_vector(point) for _ in range(2))
        end = manifold.exp(point, 0.3 * vector)
        moved = manifold.transport(point, end, other)
        assert (abs(manifold.norm(end, moved) - 1) < 1e-9) == is_parallel
        if not is_parallel:
            numpy.testing.assert_array_equal(moved, manifold.projection(end, other))


def test_squares_are_not_negative():
    """pymanopt takes their roots, also of what round-off leaves of a symmetric matrix."""
    manifold = manifold_of("spd-affine")
    skew = 1e-24 * numpy.array([[0.0, 1.0, 0.0], [-1.0, 0.0, 0.0], [0.0, 0.0, 0.0]])
    assert manifold.inner_product(numpy.eye(3), skew, skew) == 0
    assert manifold.norm(numpy.eye(3), skew) == 0


def test_points_that_change_in_place():
    """The basis that is kept is one of the values of the point."""
    manifold = manifold_of("spd-affine")
    point, gradient = manifold.random_point(), numpy.eye(3)
    first = manifold.euclidean_to_riemannian_gradient(point, gradient)
    point *= 2
    second = manifold.euclidean_to_riemannian_gradient(point, gradient)
    numpy.testing.assert_allclose(second, 4 * first, rtol=1e-12)


def test_errors_say_what_is_wrong(monkeypatch):
    with pytest.raises(ValueError, match="equip it first"):
        from_geomstats(SPDMatrices(3, equip=False))
    with pytest.raises(ValueError, match="expected a geomstats space with a metric, got int"):
        from_geomstats(3)
    with pytest.raises(ValueError, match="got Hermitian"):
        from_geomstats(Hermitian(2))
    sphere = manifold_of("sphere")
    point = sphere.random_point()
    with pytest.raises(ValueError, match=r"the point of shape \(5,\), got \(4,\)"):
        sphere.random_tangent_vector(point[:4])
    with pytest.raises(ValueError, match="the gradient of the cost of shape"):
        sphere.euclidean_to_riemannian_gradient(point, numpy.eye(5))
    with pytest.raises(ValueError, match="the gradient of the cost holds NaN"):
        sphere.euclidean_to_riemannian_gradient(point, numpy.nan * point)
    with pytest.raises(ValueError, match="the tangent vector holds NaN"):
        sphere.euclidean_to_riemannian_hessian(point, point, point, numpy.nan * point)
    for space, message in (
        (Minkowski(3), "not positive definite"),
        (RankKPSDMatrices(4, 2), "one of them is wrong"),
    ):
        manifold = from_geomstats(space)
        with pytest.raises(ValueError, match=message):
            manifold.random_tangent_vector(manifold.random_point())
    monkeypatch.setattr(gs, "__name__", "geomstats.autograd")
    with pytest.raises(ValueError, match="GEOMSTATS_BACKEND=numpy"):
        from_geomstats(Hypersphere(2))
