"""Norms of vectors of any size; runs under every geomstats backend."""

import geomstats.backend as gs
import pytest

from tests.manifolds.geomstats.spaces import SPACES, tangent_vectors


@pytest.mark.parametrize("space", SPACES)
@pytest.mark.parametrize("scale", [1e-200, 1e160])
def test_norms_where_squares_are_out_of_range(space, scale):
    gs.random.seed(0)
    point = space.random_point()
    vectors = gs.stack(tangent_vectors(space, 3, point))
    expected = space.metric.norm(vectors, point)
    assert gs.allclose(space.metric.norm(scale * vectors, point) / scale, expected, rtol=1e-12)


@pytest.mark.parametrize("space", SPACES)
def test_norms_are_roots_of_inner_products(space):
    """Those of no vector are zero, and not of round-off."""
    point = space.random_point()
    (vector,) = tangent_vectors(space, 1, point)
    square = space.metric.inner_product(vector, vector, point)
    assert gs.allclose(space.metric.norm(vector, point) ** 2, square, rtol=1e-12)
    assert space.metric.norm(0 * vector, point) == 0
