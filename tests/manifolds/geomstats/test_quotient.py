"""The derivative of O'Neill's tensor, against differences along a curve."""

import geomstats.backend as gs
import pytest

from dlngeo.manifolds import BalancedManifold, OrbitAction


@pytest.mark.parametrize(
    ("widths", "rank"),
    [((3, 3), 3), ((3, 3, 3), 3), ((4, 4, 4, 4), 2), ((4, 3, 5, 4), 2), ((3, 5, 2), 2)],
)
def test_derivative_of_integrability_tensor(widths, rank):
    gs.random.seed(11)
    space = BalancedManifold(widths=widths, rank=rank)
    space.equip_with_group_action(OrbitAction(space))
    space.equip_with_quotient()
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
