"""The bundle of orbits and its quotient; runs under every geomstats backend."""

import geomstats.backend as gs
import pytest
from geomstats.geometry.quotient_metric import QuotientMetric

from dlngeo.manifolds import (
    BalancedManifold,
    FixedRankMatrices,
    OrbitAction,
)
from tests.manifolds.geomstats.spaces import (
    bundle_space,
)


@pytest.mark.parametrize(
    ("widths", "rank"),
    [((3, 3), 3), ((3, 3, 3), 3), ((4, 4, 4, 4), 2), ((4, 3, 5, 4), 2), ((3, 5, 2), 2)],
)
def test_derivative_of_integrability_tensor(widths, rank):
    gs.random.seed(11)
    space = bundle_space(widths, rank)
    bundle, project = space.fiber_bundle, space.to_tangent
    point = space.random_point()
    x, y, e = gs.random.normal(size=(3, *space.shape))
    x = bundle.horizontal_projection(x, point)

    def field_y(w):
        return bundle.horizontal_projection(y + gs.cos(w), w)

    def field_e(w):
        return project(e + gs.sin(w), w)

    def tensor(w):
        return bundle.integrability_tensor(field_y(w), field_e(w), w)

    def covariant_derivative(field):
        h = 1e-3
        near, far = [
            field(space.retraction(t * x, point)) - field(space.retraction(-t * x, point))
            for t in (h, 2 * h)
        ]
        return project((8 * near - far) / (12 * h), point)

    derivative, value = bundle.integrability_tensor_derivative(
        x,
        field_y(point),
        covariant_derivative(field_y),
        field_e(point),
        covariant_derivative(field_e),
        point,
    )
    assert gs.allclose(value, tensor(point), atol=1e-12)
    assert gs.allclose(derivative, covariant_derivative(tensor), atol=1e-7)
    assert derivative.shape == space.shape


def test_quotient_metric_of_geomstats_over_our_bundle():
    total = BalancedManifold(depth=3, width=3)
    total.equip_with_group_action(OrbitAction(total))
    quotient = total.equip_with_quotient()
    base = FixedRankMatrices(3, 3, equip=False)
    base.equip_with_metric(QuotientMetric, total_space=total)
    point = base.random_point(2)
    vector = base.random_tangent_vec(point)
    assert gs.allclose(
        base.metric.squared_norm(vector, point), quotient.metric.squared_norm(vector, point)
    )


def test_align_recovers_a_point_of_the_same_orbit():
    space = bundle_space((4, 3, 5, 4), 2)
    bundle = space.fiber_bundle
    base_point = space.random_point()
    point = bundle.lift(bundle.riemannian_submersion(base_point))
    assert not gs.allclose(point, base_point, atol=1e-2)
    assert gs.allclose(bundle.align(point, base_point), base_point, atol=1e-9)


@pytest.mark.parametrize(("widths", "rank"), [((4, 3, 5, 4), 2), ((3, 2, 4), 2), ((2, 3, 2), 1)])
def test_align_keeps_the_distance_of_the_base(widths, rank):
    space = bundle_space(widths, rank)
    bundle, (point, base_point) = space.fiber_bundle, space.random_point(2)
    aligned = bundle.align(point, base_point)
    below, base = map(bundle.riemannian_submersion, (point, base_point))
    assert gs.allclose(bundle.riemannian_submersion(aligned), below, atol=1e-8)
    assert gs.all(space.belongs(aligned, atol=1e-8))
    distance = space.quotient.metric.dist(below, base)
    assert gs.allclose(space.metric.dist(aligned, base_point), distance, atol=1e-8)


def test_align_refuses_orbits_that_no_path_joins():
    space = bundle_space((2, 2, 2))
    one, other = (
        space.fiber_bundle.lift(gs.array(x)) for x in ([[1.0, 0], [0, 2]], [[1.0, 0], [0, -2]])
    )
    with pytest.raises(ValueError, match="determinants have opposite signs"):
        space.fiber_bundle.align(other, one)


@pytest.mark.parametrize("widths", [(2, 2, 2), (3, 2, 4), (2, 3)])
def test_derivative_of_the_integrability_tensor_broadcasts(widths):
    """Every argument may have a batch of its own; both results have that of all."""
    space = bundle_space(widths, 2)
    bundle, point = space.fiber_bundle, space.random_point()
    fields = [
        space.to_tangent(gs.random.normal(size=(*batch, *space.shape)), point)
        for batch in ((3,), (), (2, 1), (), (2, 3))
    ]
    fields[:2] = [bundle.horizontal_projection(field, point) for field in fields[:2]]
    found = bundle.integrability_tensor_derivative(*fields, point)
    x, y, nabla_y, e, nabla_e = fields
    for i, j in ((0, 0), (1, 2)):
        one = (x[j], y, nabla_y[i, 0], e, nabla_e[i, j])
        for batch, single in zip(
            found, bundle.integrability_tensor_derivative(*one, point), strict=True
        ):
            assert batch.shape == (2, 3, *space.shape)
            assert gs.allclose(batch[i, j], single, atol=1e-12)


def test_vertical_and_horizontal_vectors_of_any_size():
    space = bundle_space((4, 3, 5, 4), 2)
    bundle, point = space.fiber_bundle, space.random_point()
    vector = space.random_tangent_vec(point)
    vertical = bundle.vertical_projection(vector, point)
    for scale in (1e-3, 1.0, 1e4):
        assert bundle.is_vertical(scale * vertical, point, atol=1e-11)
        assert bundle.is_horizontal(scale * (vector - vertical), point, atol=1e-11)
    assert not bundle.is_vertical(vector, point, atol=1e-11)
    assert not bundle.is_horizontal(vector, point, atol=1e-11)


def test_lift_refuses_another_rank():
    space = bundle_space((3, 3, 3), 2)
    with pytest.raises(ValueError, match="expected a matrix of rank 2"):
        space.fiber_bundle.lift(gs.eye(3))
    with pytest.raises(ValueError, match="expected rank 2"):
        space.fiber_bundle.lift(gs.ones((3, 3)))


def test_quotient_needs_the_action_first():
    with pytest.raises(ValueError, match="group_action"):
        BalancedManifold(depth=2, width=2).equip_with_quotient()


def test_bundle_needs_a_point():
    space = bundle_space((2, 2, 2))
    with pytest.raises(ValueError, match="base_point or a fiber_point"):
        space.fiber_bundle.horizontal_lift(gs.eye(2))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: OrbitAction(BalancedManifold(depth=2, width=2))(gs.eye(2), gs.ones((2, 2, 2))),
            "expected a group element of shape",
        ),
    ],
)
def test_errors_say_what_came_and_what_to_do(make, message):
    with pytest.raises(ValueError, match=message):
        make()
