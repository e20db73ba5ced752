"""Points, vectors and factors."""

import geomstats.backend as gs

from dlngeo.manifolds import (
    BalancedManifold,
)


def test_factors_and_points_translate():
    space = BalancedManifold(widths=(2, 4, 3))
    assert space.shape == (20,)
    points = space.random_point(5)
    assert [tuple(factor.shape) for factor in space.to_factors(points)] == [(5, 4, 2), (5, 3, 4)]
    assert gs.allclose(space.from_factors(space.to_factors(points)), points)
    stacked = BalancedManifold(depth=3, width=2)
    assert stacked.shape == (3, 2, 2)
    point = stacked.random_point()
    assert gs.allclose(stacked.from_factors(stacked.to_factors(point)), point)
    assert gs.allclose(stacked.from_factors(point), point)
