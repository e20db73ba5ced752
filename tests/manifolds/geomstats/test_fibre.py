"""Fibres as geomstats manifolds; runs under every geomstats backend."""

import geomstats.backend as gs
import pytest

from dlngeo.core.networks.balancing import balance, factorize
from dlngeo.core.networks.network import differential, end_to_end
from dlngeo.manifolds import BalancedManifold, Fibre, GroupMetric
from tests.manifolds.geomstats.spaces import every_vector, flat

WIDTHS = [
    (3, 3, 3),
    (2, 4, 3),
    (4, 2, 3),
    (2, 3, 3, 2),
    (4, 3, 2, 4),
    (3, 3, 3, 3),
    (1, 1, 1),
]


def fibre_of(widths, equip=True):
    factors = BalancedManifold(widths=widths, equip=False).random_point()
    space = BalancedManifold(widths=widths, equip=False)
    return Fibre.through(space.to_factors(factors), equip=equip)


@pytest.mark.parametrize("widths", WIDTHS)
def test_points_belong_and_have_the_matrix(widths):
    space = fibre_of(widths)
    points = space.random_point(4)
    assert points.shape == (4, *space.shape)
    assert gs.all(space.belongs(points, atol=1e-10))
    matrices = end_to_end(space.to_factors(points))
    assert gs.allclose(matrices, gs.stack([space.matrix] * 4), atol=1e-10)
    assert not gs.any(space.belongs(1.01 * points))
    assert not space.belongs(points[0, ..., :-1])
    bad = gs.copy(points)
    bad[1] = float("nan")
    assert [bool(b) for b in space.belongs(bad, atol=1e-10)] == [True, False, True, True]


@pytest.mark.parametrize("widths", WIDTHS)
def test_dimension_is_the_rank_of_the_tangent_projector(widths):
    space = fibre_of(widths)
    for point in (
        space.random_point(),
        space.from_factors(balance(space.to_factors(space.random_point()))),
    ):
        vectors = every_vector(space)
        tangent = flat(space, space.to_tangent(vectors, point))
        assert space.dim == int(gs.sum(gs.linalg.svd(tangent, compute_uv=False) > 1e-9))
        normal = flat(space, space.to_normal(vectors, point))
        assert gs.allclose(tangent + normal, gs.eye(space.embedding_space.dim), atol=1e-11)
        assert gs.allclose(tangent @ gs.transpose(normal), gs.zeros_like(tangent), atol=1e-11)


@pytest.mark.parametrize("widths", WIDTHS)
def test_tangent_vectors_keep_the_matrix(widths):
    space = fibre_of(widths)
    points = space.random_point(3)
    vectors = space.random_tangent_vec(points)
    assert gs.all(space.is_tangent(vectors, points, atol=1e-10))
    change = differential(space.to_factors(points), space.to_factors(vectors))
    assert gs.allclose(change, gs.zeros_like(change), atol=1e-10)
    normal = space.to_normal(gs.ones(space.shape), points)
    assert not gs.any(space.is_tangent(normal, points, atol=1e-6))


@pytest.mark.parametrize("widths", WIDTHS)
def test_projection_is_newton(widths):
    space = fibre_of(widths)
    point = space.random_point()
    moved = space.regularize(point + 1e-3 * gs.random.normal(size=space.shape))
    assert space.belongs(moved, atol=1e-12)
    assert gs.allclose(space.projection(moved), moved, atol=1e-12)


def test_random_points_leave_the_orbit_of_the_balanced_ones():
    # Between two wide layers a generic factor has full rank, a balanced one the rank of X.
    space = fibre_of((2, 4, 4, 2))
    middle = space.to_factors(space.random_point())[1]
    assert gs.linalg.matrix_rank(middle, tol=1e-9) == 4


@pytest.mark.parametrize("widths", [(3, 3, 3), (2, 4, 3), (4, 2, 3), (3, 3, 3, 3), (2, 3, 2, 3)])
def test_metrics(widths):
    """Both gradients of ``½‖W‖²`` represent its derivative in their metric."""
    space = fibre_of(widths)
    points = space.random_point(3)
    vectors = space.random_tangent_vec(points)
    slope = gs.sum(flat(space, points) * flat(space, vectors), axis=-1)
    gradient = space.metric.riemannian_gradient(points, points)
    assert gs.allclose(space.metric.inner_product(gradient, vectors, points), slope, atol=1e-9)
    size = gs.sum(flat(space, vectors) ** 2, axis=-1)
    assert gs.allclose(space.metric.squared_norm(vectors, points), size)
    group = fibre_of(widths, equip=False)
    group.equip_with_metric(GroupMetric)
    gradient = group.metric.riemannian_gradient(points, points)
    assert gs.all(space.is_tangent(gradient, points, atol=1e-9))
    assert gs.allclose(group.metric.inner_product(gradient, vectors, points), slope, atol=1e-7)
    both = group.metric.inner_product(vectors, gradient, points)
    assert gs.allclose(both, slope, atol=1e-7)
    assert gs.all(group.metric.squared_norm(vectors, points) > 0)


def test_group_metric_of_scalars():
    # d = 1, N = 2: V = (a w_1, -w_2 a), so that ⟨V, V'⟩ = a a'.
    space = Fibre(gs.array([[6.0]]), (1, 1, 1), equip=False)
    space.equip_with_metric(GroupMetric)
    point = space.from_factors((gs.array([[2.0]]), gs.array([[3.0]])))
    one = space.from_factors((gs.array([[2.0]]), gs.array([[-3.0]])))
    assert gs.allclose(space.metric.inner_product(one, -4 * one, point), -4.0)


def test_fibres_are_given_by_matrix_or_factors():
    matrix = gs.array([[1.0, 2.0, 0.0], [0.0, 1.0, 1.0]])
    space = Fibre(matrix, (3, 2, 4, 2))
    assert space.dim == 6 + 8 + 8 - 2 * (3 + 2 - 2)
    assert gs.allclose(Fibre.through(space.to_factors(space.random_point())).matrix, matrix)
    stack = factorize(gs.eye(2), 3)
    assert Fibre.through(stack).shape == (3, 2, 2)


def test_errors_say_what_is_defined():
    with pytest.raises(ValueError, match=r"rank below the smallest width 2 is singular"):
        Fibre(gs.ones((2, 2)), (2, 2, 2))
    with pytest.raises(ValueError, match=r"need one matrix of shape \(2, 3\)"):
        Fibre(gs.ones((2, 2)), (3, 2, 2))
    with pytest.raises(ValueError, match="depth 1 is a single point"):
        Fibre(gs.ones((2, 2)), (2, 2))
    space = Fibre(gs.eye(2), (2, 2, 2))
    with pytest.raises(ValueError, match="did not reach the fibre"):
        space.projection(gs.zeros((2, 2, 2)))
    wide = fibre_of((2, 4, 4, 2), equip=False)
    wide.equip_with_metric(GroupMetric)
    point = wide.from_factors(balance(wide.to_factors(wide.random_point())))
    with pytest.raises(ValueError, match="not tangent to the orbit"):
        wide.metric.squared_norm(wide.random_tangent_vec(point), point)
