"""Curvature of the metrics; runs under every geomstats backend."""

import math

import geomstats.backend as gs
import pytest
from geomstats.geometry.euclidean import Euclidean
from geomstats.geometry.quotient_metric import QuotientMetric
from geomstats.geometry.rank_k_psd_matrices import PSDBuresWassersteinMetric
from geomstats.geometry.riemannian_metric import RiemannianMetric
from geomstats.geometry.spd_matrices import SPDBuresWassersteinMetric, SPDMatrices

from dlngeo.manifolds import (
    BalancedManifold,
    BalancedMetric,
    DepthMetric,
    DiffusionMetric,
    FixedRankMatrices,
    OrbitAction,
)
from tests.manifolds.geomstats.spaces import (
    SPACES,
    flat,
    tangent_vectors,
)
from tests.noisy_losses import waves_by_hand


def noisy_space():
    """Return parameters with a metric of gradient noise."""
    gradients, hvp = waves_by_hand(3, 2, 1, gs, gs.array)
    space = Euclidean(2, equip=False)
    options = {"sample_gradients": gradients, "sample_hvp": hvp, "scale": 0.5}
    space.equip_with_metric(DiffusionMetric, sample_losses=None, **options)
    return space


@pytest.mark.parametrize("space", [*SPACES, noisy_space()])
def test_empty_batches(space):
    """No point or no vector gives no result, of the right shape."""
    point, metric = space.random_point(), space.metric
    vector = 0.1 * space.to_tangent(gs.random.normal(size=space.shape), point)
    point_0, vector_0 = (array[None][:0] for array in (point, vector))
    for p, v in ((point, vector_0), (point_0, vector), (point_0, vector_0)):
        for result in (
            metric.exp(v, p),
            metric.log(p, point_0),
            metric.parallel_transport(v, p, direction=v),
            metric.parallel_transport(vector_0, p, direction=vector),
            metric.curvature(v, v, v, p),
            metric.riemannian_gradient(v, p),
        ):
            assert result.shape == (0, *space.shape)
        for result in (
            metric.inner_product(v, v, p),
            metric.norm(v, p),
            metric.dist(p, point_0),
            metric.sectional_curvature(v, v, p),
        ):
            assert result.shape == (0,)
        times = gs.linspace(0.0, 1.0, 4)
        assert metric.geodesic(p, initial_tangent_vec=v)(times).shape == (0, 4, *space.shape)
    assert metric.metric_matrix(point_0).shape[0] == 0


@pytest.mark.parametrize("space", SPACES)
def test_curvatures_are_those_that_geomstats_takes_from_the_tensor(space):
    point = space.random_point()
    a, b, _ = tangent_vectors(space, 3, point)
    metric = space.metric
    generic = RiemannianMetric.sectional_curvature(metric, a, b, point)
    assert gs.allclose(metric.sectional_curvature(a, b, point), generic, atol=1e-11)
    directional = metric.directional_curvature(a, b, point)
    assert gs.allclose(directional, metric.curvature(b, a, b, point), atol=1e-13)
    # K = -⟨R(b, a)b, a⟩ / area in the signs of geomstats.
    norms = metric.squared_norm(a, point) * metric.squared_norm(b, point)
    area = norms - metric.inner_product(a, b, point) ** 2
    assert gs.allclose(-metric.inner_product(directional, a, point) / area, generic, atol=1e-11)
    assert metric.sectional_curvature(a, 2 * a, point) == 0


@pytest.mark.parametrize("space", SPACES)
def test_ricci_tensor_is_the_matrix_of_the_ricci_operator(space):
    point = space.random_point()
    a, b = tangent_vectors(space, 2, point)
    metric = space.metric
    tensor = metric.ricci_tensor(point)
    expected = flat(space, a) @ tensor @ flat(space, b)
    value = metric.inner_product(metric.ricci(a, point), b, point)
    assert gs.allclose(value, expected, atol=1e-10)
    assert gs.allclose(tensor, tensor.T, atol=1e-10)
    inverse = gs.array(metric.cometric_matrix(point))
    trace = gs.einsum("ij,ij->", inverse, tensor)
    assert gs.allclose(metric.scalar_curvature(point), trace, atol=1e-9)
    normal = gs.random.normal(size=space.shape)
    normal = flat(space, normal - space.to_tangent(normal, point))
    assert gs.allclose(tensor @ normal, 0 * normal, atol=1e-10)


@pytest.mark.parametrize("space", SPACES)
def test_shapes_of_batches(space):
    points, vectors = space.random_point(2), gs.random.normal(size=(3, 2, *space.shape))
    a, b, c = (space.to_tangent(vector, points) for vector in vectors)
    metric = space.metric
    assert metric.curvature(a, b, c, points).shape == (2, *space.shape)
    assert metric.directional_curvature(a, b, points).shape == (2, *space.shape)
    assert metric.ricci(a, points).shape == (2, *space.shape)
    assert metric.sectional_curvature(a, b, points).shape == (2,)
    assert metric.scalar_curvature(points).shape == (2,)
    size = math.prod(space.shape)
    assert metric.ricci_tensor(points).shape == (2, size, size)
    one = metric.ricci_tensor(points[1])
    assert gs.allclose(metric.ricci_tensor(points)[1], one, atol=1e-10)


class OppositeMetric(BalancedMetric):
    """The Frobenius metric with curvature in O'Neill's sign.

    The formula of geomstats' QuotientMetric is O'Neill's, whose tensor has the opposite sign
    of that of Connection.curvature.
    """

    def curvature(self, *args, **kwargs):
        return -super().curvature(*args, **kwargs)


@pytest.mark.parametrize(
    ("widths", "rank"),
    [((3, 3), 2), ((3, 3, 3), 3), ((4, 4, 4, 4), 2), ((4, 3, 5, 4), 2), ((3, 5, 2), 2)],
)
def test_curvature_is_that_of_the_quotient_metric_of_geomstats(widths, rank):
    space = BalancedManifold(widths=widths, rank=rank)
    space.equip_with_group_action(OrbitAction(space))
    quotient = space.equip_with_quotient()
    metric = quotient.metric
    space.equip_with_metric(OppositeMetric)
    point = quotient.random_point()
    a, b, c = tangent_vectors(quotient, 3, point)
    generic = QuotientMetric(quotient, space)
    expected = -generic.curvature(a, b, c, point)
    assert gs.allclose(metric.curvature(a, b, c, point), expected, atol=1e-10)
    expected = -generic.directional_curvature(a, b, point)
    assert gs.allclose(metric.directional_curvature(a, b, point), expected, atol=1e-10)


def test_depth_two_is_half_as_curved_as_bures_wasserstein():
    """With geomstats' bundle: ``K = 3 ‖ver(S_a S_b - S_b S_a)W / 2‖² / area``.

    The fields ``SW`` with symmetric ``S`` are horizontal and basic.
    """
    spd, matrices = SPDMatrices(3, equip=False), FixedRankMatrices(3, 3)
    bures = SPDBuresWassersteinMetric(spd)
    bundle = PSDBuresWassersteinMetric(spd)._fiber_bundle
    metric = matrices.equip_with_metric(DepthMetric, depth=2).metric
    point = spd.random_point()
    a, b = (v + v.T for v in gs.random.normal(size=(2, 3, 3)))
    factor = bundle.lift(point)
    s, t = (bundle.horizontal_lift(v, fiber_point=factor) @ gs.linalg.inv(factor) for v in (a, b))
    vertical = bundle.vertical_projection((s @ t - t @ s) @ factor, factor) / 2
    area = bures.squared_norm(a, point) * bures.squared_norm(b, point)
    area = area - bures.inner_product(a, b, point) ** 2
    expected = 3 * gs.sum(vertical**2) / area
    value = metric.sectional_curvature(a, b, point)
    assert gs.allclose(2 * value, expected, atol=1e-11)
    assert value > 1e-4
