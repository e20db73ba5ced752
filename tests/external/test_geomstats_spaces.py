"""geomstats' own test cases on the balanced manifold, its quotient and their bundle."""

import math

import geomstats.backend as gs
import pytest
from geomstats.geometry.quotient_metric import QuotientMetric
from geomstats.geometry.spd_matrices import SPDBuresWassersteinMetric, SPDMatrices
from geomstats.test.random import EmbeddedSpaceRandomDataGenerator, RandomDataGenerator
from geomstats.test.utils import IdentityPointTransformer
from geomstats.test_cases.geometry.fiber_bundle import FiberBundleTestCase
from geomstats.test_cases.geometry.group_action import GroupActionTestCase
from geomstats.test_cases.geometry.manifold import ManifoldTestCase
from geomstats.test_cases.geometry.mixins import ProjectionTestCaseMixins
from geomstats.test_cases.geometry.riemannian_metric import (
    RiemannianMetricComparisonTestCase,
    RiemannianMetricTestCase,
)

from dlngeo.manifolds import DepthMetric, FixedRankMatrices
from tests.external.geomstats_suite import Neighbourhood, check, laws, laws_on, partial_identity
from tests.manifolds.geomstats.spaces import bundle_space, depth_space, relaxed_space

ATOL = 1e-9

NETWORKS = [
    pytest.param((3, 3), 3, id="N=1,d=3,r=3"),
    pytest.param((3, 3, 3), 3, id="N=2,d=3,r=3"),
    pytest.param((4, 4, 4, 4), 2, id="N=3,d=4,r=2"),
    pytest.param((2, 2, 2, 2, 2), 2, id="N=4,d=2,r=2"),
    pytest.param((4, 3, 5, 4), 2, id="widths=(4,3,5,4),r=2"),
    pytest.param((2, 4, 3), 2, id="widths=(2,4,3),r=2"),
]

# Square matrices of full rank, with and without lower ranks, and rectangular ones.
MATRICES = [
    pytest.param((3, 3), 3, 1, id="3x3,r=3,N=1"),
    pytest.param((3, 4), 2, 1, id="3x4,r=2,N=1"),
    pytest.param((3, 3), 3, 2, id="3x3,r=3,N=2"),
    pytest.param((4, 4), 2, 3, id="4x4,r=2,N=3"),
    pytest.param((3, 2), 2, 3, id="3x2,r=2,N=3"),
    pytest.param((2, 2), 2, 10, id="2x2,r=2,N=10"),
    pytest.param((2, 2), 2, math.inf, id="2x2,r=2,N=inf"),
]

COMPONENTS = [
    pytest.param((3, 3), 1, "negative", id="3x3,N=1"),
    pytest.param((3, 3), 2, "positive", id="3x3,N=2"),
    pytest.param((2, 2), 3, "negative", id="2x2,N=3"),
    pytest.param((3, 3), 10, "positive", id="3x3,N=10"),
    pytest.param((2, 2), math.inf, "positive", id="2x2,N=inf"),
]

# Complete, with null vectors of a level of their own, and with tied shifts.
RELAXED = [
    pytest.param((2, 2), 2, (0.5,), id="2x2,r=2,c=.5"),
    pytest.param((3, 2), 1, (0.3, -0.6), id="3x2,r=1,c=.3,-.6"),
    pytest.param((2, 2), 2, (0.5, -0.5), id="2x2,r=2,c=.5,-.5"),
]

INTRINSIC = "needs intrinsic coordinates: geomstats has it for points that are vectors of them"
BELOW_FULL_RANK = (
    "below full rank the matrix in ambient coordinates is semidefinite; tested for full rank "
    "alone, below"
)
EXEMPT = {
    "test_covariant_riemann_tensor_bianchi_identity": INTRINSIC,
    "test_covariant_riemann_tensor_is_interchange_symmetric": INTRINSIC,
    "test_covariant_riemann_tensor_is_skew_symmetric_1": INTRINSIC,
    "test_covariant_riemann_tensor_is_skew_symmetric_2": INTRINSIC,
    "test_geodesic_equation_vec": INTRINSIC,
    "test_metric_matrix_is_spd": BELOW_FULL_RANK,
}


def base_space(widths, rank):
    return depth_space((widths[-1], widths[0]), rank, len(widths) - 1)


class ManifoldCase(ProjectionTestCaseMixins, ManifoldTestCase):
    def __init__(self, space):
        self.space = space
        self.data_generator = EmbeddedSpaceRandomDataGenerator(space)


@pytest.mark.parametrize("make_space", [bundle_space, base_space])
@pytest.mark.parametrize(
    ("widths", "rank", "law", "arguments"), laws_on(NETWORKS, ManifoldCase, exempt={})
)
def test_manifold(widths, rank, law, arguments, make_space):
    check(ManifoldCase(make_space(widths, rank)), law, arguments, ATOL)


@pytest.mark.parametrize("determinant", ["positive", "negative"])
@pytest.mark.parametrize(("law", "arguments"), laws(ManifoldCase, exempt={}))
def test_component(law, arguments, determinant):
    space = depth_space((3, 3), 3, 2, determinant=determinant)
    check(ManifoldCase(space), law, arguments, ATOL)


class MetricCase(RiemannianMetricTestCase):
    def __init__(self, space, centre):
        self.space = space
        self.data_generator = Neighbourhood(space, centre)


@pytest.mark.parametrize(
    ("widths", "rank", "law", "arguments"), laws_on(NETWORKS, MetricCase, EXEMPT)
)
def test_balanced_metric(widths, rank, law, arguments):
    space = bundle_space(widths, rank)
    centre = space.fiber_bundle.lift(partial_identity((widths[-1], widths[0]), rank))
    check(MetricCase(space, centre), law, arguments, ATOL)


@pytest.mark.parametrize(
    ("shape", "rank", "depth", "law", "arguments"), laws_on(MATRICES, MetricCase, EXEMPT)
)
def test_depth_metric(shape, rank, depth, law, arguments):
    space = depth_space(shape, rank, depth)
    check(MetricCase(space, partial_identity(shape, rank)), law, arguments, ATOL)


@pytest.mark.parametrize(
    ("shape", "depth", "determinant", "law", "arguments"),
    laws_on(COMPONENTS, RiemannianMetricTestCase, EXEMPT),
)
def test_depth_metric_at_random_points_of_a_component(shape, depth, determinant, law, arguments):
    """As the space draws them: every two have a logarithm."""
    space = depth_space(shape, None, depth, determinant=determinant)
    case = RiemannianMetricTestCase()
    case.space, case.data_generator = space, RandomDataGenerator(space, amplitude=10.0)
    check(case, law, arguments, ATOL)


@pytest.mark.parametrize(
    ("depth", "law", "arguments"),
    laws_on(
        [pytest.param(depth, id=f"N={depth}") for depth in (1, 2, 3)],
        RiemannianMetricTestCase,
        EXEMPT,
    ),
)
def test_completed_metric_at_gaussian_points(depth, law, arguments):
    """Of both components, and with vectors that cross from one to the other."""
    space = FixedRankMatrices(2, 2, equip=False)
    space.equip_with_metric(DepthMetric, depth=depth, on_boundary="cross")
    case = RiemannianMetricTestCase()
    case.space, case.data_generator = space, RandomDataGenerator(space)
    check(case, law, arguments, ATOL)


@pytest.mark.parametrize(
    ("shape", "rank", "offsets", "law", "arguments"), laws_on(RELAXED, MetricCase, EXEMPT)
)
def test_relaxed_depth_metric(shape, rank, offsets, law, arguments):
    space = relaxed_space(shape, rank, offsets=offsets)
    check(MetricCase(space, partial_identity(shape, rank)), law, arguments, ATOL)


@pytest.mark.parametrize("n_points", [1, 3])
@pytest.mark.parametrize("depth", [1, 2, 3, 10, math.inf])
def test_metric_matrix_is_spd_at_full_rank(depth, n_points):
    space = depth_space((3, 3), 3, depth)
    check(MetricCase(space, gs.eye(3)), "test_metric_matrix_is_spd", {"n_points": n_points}, ATOL)


class Component(RandomDataGenerator):
    """Random factors over one component of the matrices, as a space of matrices draws them."""

    def random_point(self, n_points=1):
        space = self.space
        if {space.widths[0], space.widths[-1]} != {space.rank}:
            return super().random_point(n_points)
        matrices = FixedRankMatrices(space.rank, space.rank, determinant="positive", equip=False)
        lifted = space.fiber_bundle.lift(matrices.random_point(n_points))
        if space.depth == 1:
            return lifted
        group = OrthogonalGroups(space.group_action, space.widths)
        return space.group_action(group.random_point(n_points), lifted)


class BundleCase(FiberBundleTestCase):
    def __init__(self, widths, rank):
        self.total_space = bundle_space(widths, rank)
        self.base = self.total_space.quotient
        self.data_generator = Component(self.total_space)


@pytest.mark.parametrize(
    ("widths", "rank", "law", "arguments"),
    laws_on(
        NETWORKS,
        BundleCase,
        exempt={"test_integrability_tensor_derivative_vec": "run below, with lifts that fit"},
    ),
)
def test_fiber_bundle(widths, rank, law, arguments):
    check(BundleCase(widths, rank), law, arguments, ATOL)


@pytest.mark.parametrize("n_reps", [2, 3])
@pytest.mark.parametrize(("widths", "rank"), NETWORKS)
def test_integrability_tensor_derivative_vec(widths, rank, n_reps, monkeypatch):
    """The law lifts vectors of the total space, as if the base were a section of it."""
    case = BundleCase(widths, rank)
    bundle = case.total_space.fiber_bundle
    monkeypatch.setattr(
        bundle,
        "horizontal_lift",
        lambda vector, fiber_point: bundle.horizontal_projection(vector, fiber_point),
    )
    check(case, "test_integrability_tensor_derivative_vec", {"n_reps": n_reps}, ATOL)


class OrthogonalGroups:
    """Product of the orthogonal groups of the hidden layers."""

    def __init__(self, action, widths):
        self._action, self._hidden = action, widths[1:-1]
        self.identity = self._element([gs.eye(width) for width in self._hidden])

    def random_point(self, n_points=1):
        batch = () if n_points == 1 else (n_points,)
        return self._element(
            [gs.linalg.qr(gs.random.normal(size=(*batch, d, d)))[0] for d in self._hidden]
        )

    def inverse(self, group_elem):
        return self._element([gs.moveaxis(g, -1, -2) for g in self._action.to_matrices(group_elem)])

    def _element(self, matrices):
        if len(self._action.group_elem_shape) == 3:
            return gs.stack(matrices, axis=-3)
        return gs.concatenate([gs.reshape(g, (*g.shape[:-2], -1)) for g in matrices], axis=-1)


class ActionCase(GroupActionTestCase):
    def __init__(self, widths, rank):
        self.space = bundle_space(widths, rank)
        self.group_action = self.space.group_action
        self.group = OrthogonalGroups(self.group_action, widths)
        self.data_generator = RandomDataGenerator(self.space)
        self.group_data_generator = RandomDataGenerator(self.group)


@pytest.mark.parametrize(
    ("widths", "rank", "law", "arguments"), laws_on(NETWORKS[1:], ActionCase, exempt={})
)
def test_group_action(widths, rank, law, arguments):
    check(ActionCase(widths, rank), law, arguments, ATOL)


class QuotientComparisonCase(RiemannianMetricComparisonTestCase):
    """geomstats' generic quotient metric of the bundle against the closed form."""

    def __init__(self, widths, rank):
        self.space = FixedRankMatrices(widths[-1], widths[0], rank=rank, equip=False)
        self.space.equip_with_metric(QuotientMetric, total_space=bundle_space(widths, rank))
        self.other_space = base_space(widths, rank)
        centre = partial_identity((widths[-1], widths[0]), rank)
        self.data_generator = Neighbourhood(self.space, centre)
        self.point_transformer = IdentityPointTransformer()


@pytest.mark.parametrize(
    "law",
    [
        "test_inner_product_random",
        "test_norm_random",
        "test_squared_norm_random",
        "test_normalize_random",
        "test_exp_random",
    ],
)
@pytest.mark.parametrize("n_points", [1, 3])
@pytest.mark.parametrize(("widths", "rank"), NETWORKS)
def test_quotient_metric_is_depth_metric(widths, rank, n_points, law):
    check(QuotientComparisonCase(widths, rank), law, {"n_points": n_points}, ATOL)


@pytest.mark.parametrize(("widths", "rank"), NETWORKS)
def test_geodesics_of_the_quotient_metric(widths, rank):
    arguments = {"n_points": 3, "n_times": 3}
    check(QuotientComparisonCase(widths, rank), "test_geodesic_ivp_random", arguments, ATOL)


@pytest.mark.parametrize(("widths", "rank"), NETWORKS)
def test_quotient_metric_measures_distances_from_above(widths, rank):
    """It takes the distance to the point that `align` finds, chordally nearest in the orbit."""
    case = QuotientComparisonCase(widths, rank)
    gs.random.seed(0)
    start, end = case.data_generator.random_point(4), case.data_generator.random_point(4)
    excess = case.space.metric.dist(start, end) - case.other_space.metric.dist(start, end)
    assert gs.all(excess > -ATOL)
    assert gs.all(excess < 1e-4)


def test_depth_2_is_twice_bures_wasserstein():
    spd = SPDMatrices(4, equip=False).equip_with_metric(SPDBuresWassersteinMetric)
    space = depth_space((4, 4), 4, 2)
    gs.random.seed(0)
    point = spd.random_point(5)
    a, b = spd.random_tangent_vec(point), spd.random_tangent_vec(point)
    ours = space.metric.inner_product(a, b, point)
    assert gs.allclose(ours, 2 * spd.metric.inner_product(a, b, point), rtol=1e-10, atol=0)
