"""The geomstats classes as their users meet them; runs under every geomstats backend."""

import itertools
import math

import geomstats.backend as gs
import pytest
from geomstats.geometry.hypersphere import Hypersphere
from geomstats.geometry.product_manifold import ProductManifold
from geomstats.geometry.quotient_metric import QuotientMetric
from geomstats.geometry.spd_matrices import SPDMatrices

from dlngeo.manifolds import (
    BalancedManifold,
    BalancedMetric,
    DepthMetric,
    FixedRankMatrices,
    OrbitAction,
)

WIDTHS = [
    widths
    for n in (2, 3, 4)
    for widths in itertools.product((1, 2, 4), repeat=n)
    if widths <= widths[::-1]
]


@pytest.fixture(autouse=True)
def _seed():
    gs.random.seed(7)


def flat(space, arrays):
    return gs.reshape(arrays, (*arrays.shape[: -space.point_ndim], -1))


def numerical_rank(matrix):
    return int(gs.sum(gs.linalg.svd(matrix, compute_uv=False) > 1e-9))


@pytest.mark.parametrize("widths", WIDTHS)
def test_dimension_of_balanced_manifold_is_rank_of_its_tangent_projector(widths):
    for rank in range(1, min(widths) + 1):
        space = BalancedManifold(widths=widths, rank=rank)
        point = space.random_point()
        ambient = gs.eye(space.embedding_space.dim)
        vectors = gs.reshape(ambient, (-1, *space.shape))
        assert space.dim == numerical_rank(flat(space, space.to_tangent(vectors, point)))


@pytest.mark.parametrize(("m", "n"), [(1, 1), (1, 3), (3, 3), (4, 2), (3, 5)])
def test_dimension_of_fixed_rank_matrices_is_rank_of_their_tangent_projector(m, n):
    for rank in range(1, min(m, n) + 1):
        space = FixedRankMatrices(m, n, rank=rank)
        vectors = gs.reshape(gs.eye(m * n), (-1, m, n))
        tangent = space.to_tangent(vectors, space.random_point())
        assert space.dim == numerical_rank(flat(space, tangent))


@pytest.mark.parametrize(("widths", "rank"), [((3, 3, 3), 3), ((4, 3, 5, 4), 2)])
def test_tangent_basis_is_orthonormal_and_splits_by_the_bundle(widths, rank):
    space = BalancedManifold(widths=widths, rank=rank)
    space.equip_with_group_action(OrbitAction(space))
    base = space.equip_with_quotient()
    point = space.random_point()
    basis = space.tangent_basis(point)
    gram = flat(space, basis) @ gs.transpose(flat(space, basis))
    assert gs.allclose(gram, gs.eye(space.dim), atol=1e-12)
    assert gs.all(space.fiber_bundle.is_horizontal(basis[: base.dim], point, atol=1e-12))
    assert gs.all(space.fiber_bundle.is_vertical(basis[base.dim :], point, atol=1e-12))


def test_mean_curvature_is_the_trace_of_the_second_fundamental_form():
    space = BalancedManifold(widths=(4, 3, 5, 4), rank=2)
    point = space.random_point()
    basis = space.tangent_basis(point)
    trace = gs.sum(space.second_fundamental_form(basis, basis, point), axis=0)
    assert gs.allclose(trace, space.mean_curvature_vector(point), atol=1e-11)
    assert not space.is_tangent(trace, point, atol=1e-6)


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


def test_random_points_are_reproducible():
    space = BalancedManifold(depth=2, width=3)
    gs.random.seed(3)
    first = space.random_point(2)
    gs.random.seed(3)
    assert gs.all(first == space.random_point(2))


def test_belongs_knows_strangers():
    space = BalancedManifold(depth=2, width=3, rank=2)
    point = space.random_point()
    assert space.belongs(point, atol=1e-10)
    assert not space.belongs(1.1 * point + gs.ones(space.shape), atol=1e-10)
    assert not space.belongs(BalancedManifold(depth=2, width=3).random_point(), atol=1e-10)
    assert not space.belongs(BalancedManifold(depth=2, width=3, rank=1).random_point(), atol=1e-10)
    assert not space.belongs(math.nan * point)
    assert not space.belongs(gs.ones((2, 2, 2)))
    assert not space.belongs(gs.array([[[1, 0, 0], [0, 1, 0], [0, 0, 1]]] * 2))
    assert BalancedManifold(depth=2, width=2).belongs(gs.array([[[1, 0], [0, 2]]] * 2))
    matrices = FixedRankMatrices(3, 4, rank=2)
    matrix = matrices.random_point()
    assert matrices.belongs(matrix, atol=1e-10)
    assert not matrices.belongs(FixedRankMatrices(3, 4).random_point(), atol=1e-10)
    assert not matrices.belongs(0 * matrix, atol=1e-10)
    assert not matrices.belongs(math.nan * matrix)


@pytest.mark.parametrize(
    "space", [BalancedManifold(depth=2, width=3, rank=2), FixedRankMatrices(3, 4, rank=2)]
)
def test_points_are_judged_one_by_one(space):
    points = gs.stack([space.random_point(), math.nan * space.random_point(), space.random_point()])
    assert [bool(value) for value in space.belongs(points, atol=1e-9)] == [True, False, True]
    assert not space.belongs(math.inf * points[0])


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e6])
@pytest.mark.parametrize(
    "space", [BalancedManifold(widths=(4, 3, 5, 4), rank=2), FixedRankMatrices(4, 5, rank=2)]
)
def test_tolerances_grow_with_the_numbers(space, scale):
    point = space.random_point(3, bound=scale)
    vector = space.to_tangent(scale * gs.random.normal(size=point.shape), point)
    assert gs.all(space.belongs(point, atol=1e-12))
    assert gs.all(space.is_tangent(vector, point, atol=1e-12))
    assert gs.all(space.belongs(space.projection(point), atol=1e-12))


def test_normal_vectors_are_not_tangent():
    space = FixedRankMatrices(3, 4, rank=2)
    point, vector = space.random_point(), gs.random.normal(size=(3, 4))
    normal = vector - space.to_tangent(vector, point)
    assert not space.is_tangent(normal, point, atol=1e-8)
    assert not space.is_tangent(gs.ones((4, 3)), point)


def test_projection_of_a_deficient_matrix_is_in_the_manifold():
    space = FixedRankMatrices(3, 3, rank=2)
    assert space.belongs(space.projection(gs.zeros((3, 3))))


def test_retraction_is_of_second_order():
    space = BalancedManifold(widths=(4, 3, 5, 4), rank=2)
    point = space.random_point()
    vector = space.random_tangent_vec(point)
    curved = space.second_fundamental_form(vector, vector, point)

    def defect(t):
        ahead = space.retraction(t * vector, point) - point - t * vector
        return gs.linalg.norm(flat(space, ahead - t**2 / 2 * curved))

    slope = math.log(defect(2e-3) / defect(1e-3)) / math.log(2)
    assert 2.9 < slope < 3.1


@pytest.mark.parametrize("depth", [1, 2, 3, 10, math.inf])
def test_depth_metric_and_cometric_are_inverse(depth):
    space = FixedRankMatrices(3, 3).equip_with_metric(DepthMetric, depth=depth)
    points = gs.stack([gs.eye(3), gs.eye(3) + 0.3 * gs.random.normal(size=(3, 3))])
    metric, cometric = space.metric.metric_matrix(points), space.metric.cometric_matrix(points)
    product = metric @ cometric
    assert gs.allclose(product, gs.broadcast_to(gs.eye(9), product.shape), atol=1e-10)
    log_determinant = gs.log(gs.linalg.det(metric))
    assert gs.allclose(space.metric.log_volume_density(points), log_determinant / 2, atol=1e-10)


@pytest.mark.parametrize(
    ("m", "n", "rank", "depth"),
    [(3, 3, 3, 1), (3, 3, 3, 4), (3, 3, 3, math.inf), (4, 5, 2, 1), (4, 5, 2, 3), (4, 5, 4, 2)],
)
def test_riemannian_gradient_represents_the_differential(m, n, rank, depth):
    space = FixedRankMatrices(m, n, rank=rank).equip_with_metric(DepthMetric, depth=depth)
    point = space.random_point(3)
    euclidean = gs.random.normal(size=(3, m, n))
    tangent = space.random_tangent_vec(point)
    gradient = space.metric.riemannian_gradient(euclidean, point)
    assert gs.all(space.is_tangent(gradient, point, atol=1e-9))
    assert gs.allclose(
        space.metric.inner_product(gradient, tangent, point),
        gs.sum(euclidean * tangent, axis=(-2, -1)),
    )
    assert gs.allclose(
        space.metric.inner_coproduct(euclidean, euclidean, point),
        space.metric.squared_norm(gradient, point),
    )


def test_gradient_on_the_balanced_manifold_is_tangent():
    space = BalancedManifold(depth=3, width=3)
    point, vector = space.random_point(2), gs.random.normal(size=(2, 3, 3, 3))
    gradient = space.metric.riemannian_gradient(vector, point)
    assert gs.all(space.is_tangent(gradient, point, atol=1e-10))


def test_default_metrics():
    assert isinstance(BalancedManifold(depth=2, width=2).metric, BalancedMetric)
    space = FixedRankMatrices(2, 3)
    point, vector = space.random_point(), gs.random.normal(size=(2, 3))
    assert gs.allclose(space.metric.squared_norm(vector, point), gs.sum(vector**2))


def test_many_vectors_at_one_point_and_one_vector_at_many_points():
    space = BalancedManifold(depth=3, width=3)
    point, points = space.random_point(), space.random_point(4)
    vectors = space.random_tangent_vec(point, n_samples=4)
    assert vectors.shape == (4, 3, 3, 3)
    assert space.metric.inner_product(vectors, vectors[0], point).shape == (4,)
    assert space.metric.inner_product(vectors[0], vectors[0], points).shape == (4,)
    assert space.to_tangent(vectors[0], points).shape == (4, 3, 3, 3)
    assert space.is_tangent(vectors, point, atol=1e-10).shape == (4,)


@pytest.mark.parametrize("ours", ["balanced", "matrices", "flat"])
def test_product_with_spaces_of_geomstats(ours):
    space = {
        "balanced": lambda: BalancedManifold(depth=2, width=2),
        "flat": lambda: BalancedManifold(widths=(2, 3, 2), rank=2),
        "matrices": lambda: FixedRankMatrices(3, 3).equip_with_metric(DepthMetric, depth=3),
    }[ours]()
    product = ProductManifold([space, Hypersphere(2), SPDMatrices(3)])
    assert product.dim == space.dim + 2 + 6
    point = product.random_point(4)
    vector = product.random_tangent_vec(point)
    assert gs.all(product.belongs(point, atol=1e-9))
    assert gs.all(product.is_tangent(vector, point, atol=1e-9))
    parts = zip(
        product.factors,
        product.project_from_product(vector),
        product.project_from_product(point),
        strict=True,
    )
    total = sum(factor.metric.squared_norm(v, x) for factor, v, x in parts)
    assert gs.allclose(product.metric.squared_norm(vector, point), total)


if gs.has_autodiff():  # the NumPy backend of geomstats has no derivatives

    @pytest.mark.parametrize("depth", [1, 2, 3, math.inf])
    def test_derivative_of_the_metric_at_the_identity(depth):
        space = FixedRankMatrices(2, 2).equip_with_metric(DepthMetric, depth=depth)
        vector = gs.array([[0.3, -1.0], [0.5, 0.2]])
        direction = gs.array([[1.0, 0.4], [-0.7, 0.9]])

        def energy(point):
            return gs.sum(vector * space.metric.riemannian_gradient(vector, point))

        _, gradient = gs.autodiff.value_and_grad(energy)(gs.eye(2))
        step = 1e-4
        difference = (
            energy(gs.eye(2) + step * direction) - energy(gs.eye(2) - step * direction)
        ) / (2 * step)
        assert gs.allclose(gs.sum(gradient * direction), difference, atol=1e-7)


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
    space = BalancedManifold(widths=(4, 3, 5, 4), rank=2)
    space.equip_with_group_action(OrbitAction(space))
    space.equip_with_quotient()
    bundle = space.fiber_bundle
    base_point = space.random_point()
    point = bundle.lift(bundle.riemannian_submersion(base_point))
    assert not gs.allclose(point, base_point, atol=1e-2)
    assert gs.allclose(bundle.align(point, base_point), base_point, atol=1e-9)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: BalancedManifold(depth=2), "either an integer depth and a width"),
        (lambda: BalancedManifold(depth=0, width=2), "depth=0"),
        (lambda: BalancedManifold(depth=2.5, width=2), "depth=2.5"),
        (lambda: BalancedManifold(depth=3, widths=(2, 2)), "leave out depth=3"),
        (lambda: BalancedManifold(widths=(3, 2), rank=3), "between 1 and the smallest width 2"),
        (lambda: BalancedManifold(widths=(3, 0)), "positive integers"),
        (lambda: FixedRankMatrices(3, 4, rank=4), "between 1 and the smallest width 3"),
        (lambda: FixedRankMatrices(3, 4).equip_with_metric(DepthMetric, depth=0), "got 0"),
        (lambda: FixedRankMatrices(3, 4).equip_with_metric(DepthMetric, depth=1.5), "got 1.5"),
        (lambda: SPDMatrices(3).equip_with_metric(DepthMetric, depth=2), "FixedRankMatrices"),
        (
            lambda: OrbitAction(BalancedManifold(depth=2, width=2))(gs.eye(2), gs.ones((2, 2, 2))),
            "expected a group element of shape",
        ),
        (
            lambda: FixedRankMatrices(3, 4).equip_with_metric(DepthMetric, depth=math.inf),
            "square matrices of full rank",
        ),
        (
            lambda: BalancedManifold(depth=2, width=2).to_tangent(
                gs.ones((2, 2, 2)),
                gs.ones((2, 2, 2))
                + gs.eye(2) * gs.ones((2, 1, 1)) * gs.reshape(gs.array([1.0, 2.0]), (2, 1, 1)),
            ),
            "balance the factors first",
        ),
        (
            lambda: BalancedManifold(depth=2, width=2).to_tangent(
                gs.ones((2, 3, 3)), BalancedManifold(depth=2, width=2).random_point()
            ),
            r"expected an array of shape \[..., 2, 2, 2\], got \(2, 3, 3\)",
        ),
    ],
)
def test_errors_say_what_came_and_what_to_do(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_vertical_and_horizontal_vectors_of_any_size():
    space = BalancedManifold(widths=(4, 3, 5, 4), rank=2)
    space.equip_with_group_action(OrbitAction(space))
    space.equip_with_quotient()
    bundle, point = space.fiber_bundle, space.random_point()
    vector = space.random_tangent_vec(point)
    vertical = bundle.vertical_projection(vector, point)
    for scale in (1e-3, 1.0, 1e4):
        assert bundle.is_vertical(scale * vertical, point, atol=1e-11)
        assert bundle.is_horizontal(scale * (vector - vertical), point, atol=1e-11)
    assert not bundle.is_vertical(vector, point, atol=1e-11)
    assert not bundle.is_horizontal(vector, point, atol=1e-11)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda s, x: s.metric.inner_product(x, x, gs.ones((4, 3))),
            r"\[..., 3, 4\], got \(4, 3\)",
        ),
        (lambda s, x: s.projection(gs.ones((4, 3))), r"\[..., 3, 4\], got \(4, 3\)"),
        (lambda s, x: s.projection(math.nan * x), "the point holds NaN"),
        (lambda s, x: s.to_tangent(x, gs.ones((4, 3))), r"\[..., 3, 4\], got \(4, 3\)"),
    ],
)
def test_fixed_rank_matrices_know_their_shape(call, message):
    space = FixedRankMatrices(3, 4, rank=2)
    with pytest.raises(ValueError, match=message):
        call(space, space.random_point())


def test_lift_refuses_another_rank():
    space = BalancedManifold(depth=2, width=3, rank=2)
    space.equip_with_group_action(OrbitAction(space))
    space.equip_with_quotient()
    with pytest.raises(ValueError, match="expected a matrix of rank 2"):
        space.fiber_bundle.lift(gs.eye(3))
    with pytest.raises(ValueError, match="expected rank 2"):
        space.fiber_bundle.lift(gs.ones((3, 3)))


def test_quotient_needs_the_action_first():
    with pytest.raises(ValueError, match="group_action"):
        BalancedManifold(depth=2, width=2).equip_with_quotient()


def test_bundle_needs_a_point():
    space = BalancedManifold(depth=2, width=2)
    space.equip_with_group_action(OrbitAction(space))
    space.equip_with_quotient()
    with pytest.raises(ValueError, match="base_point or a fiber_point"):
        space.fiber_bundle.horizontal_lift(gs.eye(2))
