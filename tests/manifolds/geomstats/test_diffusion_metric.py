"""The diffusion metric against spheres, geomstats' pullbacks and differences; every backend."""

import math
from typing import Any

import autograd.numpy as anp
import geomstats.backend as gs
import numpy as np
import pytest
from geomstats.geometry.base import ImmersedSet
from geomstats.geometry.euclidean import Euclidean
from geomstats.geometry.matrices import Matrices
from geomstats.geometry.product_manifold import ProductManifold
from geomstats.geometry.symmetric_matrices import SymmetricMatrices
from scipy.integrate import solve_ivp

from dlngeo.core.gradient_noise import geodesics as diffusion_geodesics
from dlngeo.manifolds import BalancedManifold, DiffusionMetric, Fibre
from tests.noisy_losses import waves, waves_by_hand

if gs.__name__.endswith("pytorch"):
    import torch

    XP: Any = torch
else:
    XP = anp

SHAPES = pytest.mark.parametrize(("n", "dim"), [(1, 2), (2, 2), (3, 5), (8, 3), (30, 2)])


def euclidean(dim, losses, scale=0.5, **options):
    space = Euclidean(dim)
    space.equip_with_metric(DiffusionMetric, sample_losses=losses, scale=scale, **options)
    return space


def wavy(n, dim, scale=0.5, size=1.0):
    """Return a space with derivatives by hand, of which there are many calls."""
    gradients, hvp = waves_by_hand(n, dim, 1, XP, gs.array)
    options = {
        "sample_gradients": lambda x: gradients(x / size),
        "sample_hvp": lambda x, v: hvp(x / size, v / size),
    }
    return euclidean(dim, None, scale, **options)


def vectors(space, count, size=1.0):
    return [size * gs.random.normal(size=(3, *space.shape)) for _ in range(count)]


def plane_wave(x):
    """Return losses whose graph at scale one is the unit sphere."""
    height = XP.sqrt(1 - XP.sum(x**2))
    return XP.stack([height, -height])


# --- known surfaces ---------------------------------------------------------------------


@pytest.mark.parametrize("dim", [2, 4])
def test_the_sphere(dim):
    space = euclidean(dim, plane_wave, scale=1.0)
    x, a, b, y = vectors(space, 4, 0.2)
    curvature = space.metric.sectional_curvature(a, b, x)
    assert gs.allclose(curvature, gs.ones(3), atol=1e-10)
    ends = [
        gs.concatenate([p, gs.sqrt(1 - gs.sum(p**2, axis=-1))[:, None]], axis=1) for p in (x, y)
    ]
    angle = gs.arccos(gs.sum(ends[0] * ends[1], axis=-1))
    assert gs.allclose(space.metric.dist(x, y), angle, atol=1e-9)


def test_a_paraboloid_and_a_saddle():
    """``K = det ∇²h / (1 + |∇h|²)²`` of a graph over the plane."""
    for sign in (1, -1):

        def losses(x, sign=sign):
            height = (x[0] ** 2 + sign * 2 * x[1] ** 2) / 2
            return XP.stack([height, -height])

        space = euclidean(2, losses, scale=1.0)
        x, a, b = vectors(space, 3)
        slope = 1 + x[:, 0] ** 2 + 4 * x[:, 1] ** 2
        curvature = space.metric.sectional_curvature(a, b, x)
        assert gs.allclose(curvature, sign * 2 / slope**2, atol=1e-10)


# --- geomstats' generic route -----------------------------------------------------------


class Graph(ImmersedSet):
    """The graph of the centred losses, with geomstats' metric of pullbacks."""

    def __init__(self, dim, n, losses, scale):
        self._n, self._losses, self._scale = n, losses, scale
        super().__init__(dim=dim)

    def _define_embedding_space(self):
        return Euclidean(self.dim + self._n)

    def immersion(self, point):
        if point.ndim > 1:
            return gs.stack([self.immersion(row) for row in point])
        values = self._losses(point)
        heights = math.sqrt(self._scale / self._n) * (values - gs.mean(values))
        return gs.concatenate([point, heights])


if gs.has_autodiff():

    @SHAPES
    def test_metric_and_christoffels_are_those_of_the_pullback(n, dim):
        space = euclidean(dim, waves(n, dim, 1, XP, gs.array))
        graph = Graph(dim, n, waves(n, dim, 1, XP, gs.array), 0.5)
        (points,) = vectors(space, 1)
        for x in points:
            ours, theirs = space.metric, graph.metric
            assert gs.allclose(ours.metric_matrix(x), theirs.metric_matrix(x), atol=1e-12)
            assert gs.allclose(ours.christoffels(x), theirs.christoffels(x), atol=1e-12)
            derivative = theirs.inner_product_derivative_matrix(x)
            assert gs.allclose(ours.inner_product_derivative_matrix(x), derivative, atol=1e-12)

    def test_geodesics_are_those_of_the_pullback():
        space = wavy(4, 2)
        graph = Graph(2, 4, waves(4, 2, 1, XP, gs.array), 0.5)
        x, v = (array[0] for array in vectors(space, 2))

        def rates(_, state):
            moves = graph.metric.geodesic_equation(gs.array(state.reshape(2, 2)))
            return gs.to_numpy(moves).ravel()

        start = gs.to_numpy(gs.stack([x, v])).ravel()
        flow = solve_ivp(rates, (0, 1), start, "RK45", rtol=1e-7, atol=1e-8)
        assert gs.allclose(space.metric.exp(v, x), gs.array(flow.y[:2, -1]), atol=1e-6)


# --- differences ------------------------------------------------------------------------


def by_differences(function, x, step=1e-3):
    """Return derivatives by each coordinate, last, of fourth order."""
    columns = []
    for unit in gs.eye(x.shape[-1]):
        one = function(x + step * unit) - function(x - step * unit)
        two = function(x + 2 * step * unit) - function(x - 2 * step * unit)
        columns.append((8 * one - two) / (12 * step))
    return gs.stack(columns, axis=-1)


@SHAPES
def test_tensors_are_those_by_differences(n, dim):
    metric = wavy(n, dim).metric
    x = gs.random.normal(size=(dim,))
    derivative = by_differences(metric.metric_matrix, x)
    assert gs.allclose(metric.inner_product_derivative_matrix(x), derivative, atol=1e-8)
    lowered = (
        gs.einsum("lji->lij", derivative) + derivative - gs.einsum("ijl->lij", derivative)
    ) / 2
    symbols = gs.einsum("kl,lij->kij", gs.linalg.inv(metric.metric_matrix(x)), lowered)
    assert gs.allclose(metric.christoffels(x), symbols, atol=1e-8)
    moved = by_differences(metric.christoffels, x)  # k, i, j, l: ∂_l Γ^k_ij
    product = gs.einsum("ljm,mki->ijkl", symbols, symbols)
    expected = gs.einsum("lkij->ijkl", moved) - gs.einsum("ljik->ijkl", moved)
    expected = expected + product - gs.einsum("ijkl->ikjl", product)
    assert gs.allclose(metric.riemann_tensor(x), expected, atol=1e-8)
    a, b, c = gs.random.normal(size=(3, dim))
    of_vectors = gs.einsum("ijkl,j,k,i->l", expected, a, b, c)
    assert gs.allclose(metric.curvature(a, b, c, x), of_vectors, atol=1e-7)


@SHAPES
def test_operators_are_the_matrices(n, dim):
    space = wavy(n, dim)
    metric = space.metric
    x, a, b = vectors(space, 3)
    g = metric.metric_matrix(x)
    inverse = gs.linalg.inv(g)
    assert gs.allclose(metric.inner_product(a, b, x), gs.einsum("ni,nij,nj->n", a, g, b))
    assert gs.allclose(metric.flat(a, x), gs.einsum("nij,nj->ni", g, a))
    assert gs.allclose(metric.flat(a, x), a + 0.5 * metric.diffusion(a, x))
    assert gs.allclose(metric.riemannian_gradient(a, x), gs.einsum("nij,nj->ni", inverse, a))
    assert gs.allclose(metric.inner_coproduct(a, b, x), gs.einsum("ni,nij,nj->n", a, inverse, b))
    assert gs.allclose(metric.cometric_matrix(x), inverse)
    expected = gs.log(gs.linalg.det(g)) / 2
    assert gs.allclose(metric.log_volume_density(x), expected, atol=1e-12)
    symbols = gs.einsum("nkij,ni,nj->nk", metric.christoffels(x), a, b)
    assert gs.allclose(metric.christoffel_action(a, b, x), symbols, atol=1e-12)
    riemann = gs.einsum("nijkl,nj,nk,ni->nl", metric.riemann_tensor(x), a, b, a)
    assert gs.allclose(metric.curvature(a, b, a, x), riemann, atol=1e-12)
    if dim > 1:
        plane = metric.squared_norm(a, x) * metric.squared_norm(b, x)
        plane = plane - metric.inner_product(a, b, x) ** 2
        curved = metric.inner_product(metric.curvature(a, b, b, x), a, x)
        assert gs.allclose(metric.sectional_curvature(a, b, x) * plane, curved, atol=1e-11)
    assert gs.allclose(metric.sectional_curvature(a, -2 * a, x), gs.zeros(3))


def test_one_point_and_many_vectors():
    space = wavy(4, 3)
    x, vs = gs.random.normal(size=(3,)), gs.random.normal(size=(5, 3))
    many = gs.stack([x] * 5)
    metric = space.metric
    for method in (metric.norm, metric.exp, metric.riemannian_gradient):
        assert gs.allclose(method(vs, x), method(vs, many), atol=1e-12)
    fields = metric.parallel_transport(vs, x, direction=vs[0])
    for v, field in zip(vs, fields, strict=True):
        assert gs.allclose(metric.parallel_transport(v, x, direction=vs[0]), field, atol=1e-9)


def test_geodesics_run_both_ways():
    space = wavy(4, 2)
    x, v = gs.random.normal(size=(2, 3, 2))
    path = space.metric.geodesic(x, initial_tangent_vec=v)
    times = gs.array([0.7, -0.4, 0.0, 1.0])
    points = path(times)
    assert points.shape == (3, 4, 2)
    for i, t in enumerate(gs.to_numpy(times)):
        assert gs.allclose(points[:, i], space.metric.exp(float(t) * v, x), atol=1e-9)


# --- limits and special cases -----------------------------------------------------------


def is_flat(space, atol=1e-13):
    x, a, b = vectors(space, 3)
    metric = space.metric
    return (
        gs.allclose(metric.exp(a, x), x + a, atol=atol)
        and gs.allclose(metric.log(b, x), b - x, atol=atol)
        and gs.allclose(metric.inner_product(a, b, x), gs.sum(a * b, axis=-1), atol=atol)
        and gs.allclose(metric.sectional_curvature(a, b, x), gs.zeros(3), atol=atol)
        and gs.allclose(metric.parallel_transport(b, x, direction=a), b, atol=atol)
    )


def test_flat_metrics():
    one = waves(1, 3, 1, XP, gs.array)
    noise = gs.array(np.random.default_rng(0).normal(size=(4, 3)))
    assert is_flat(wavy(5, 3, scale=0.0))
    assert is_flat(euclidean(3, one))
    assert is_flat(euclidean(3, lambda x: 0 * x[:2] + 3.0))
    assert is_flat(euclidean(3, lambda x: XP.concatenate([one(x)] * 4)))
    # Noise that is the same everywhere stretches space, but bends no path.
    stretched = euclidean(3, lambda x: noise @ x + XP.sum(x**2)).metric
    x, a = vectors(Euclidean(3), 2)
    assert gs.allclose(stretched.exp(a, x), x + a, atol=1e-13)
    assert gs.all(stretched.norm(a, x) > gs.linalg.norm(a, axis=-1) + 1e-3)


def test_the_scale_tends_to_zero():
    x, a = vectors(Euclidean(3), 2)
    gaps = [
        float(gs.amax(abs(wavy(5, 3, scale).metric.exp(a, x) - x - a))) for scale in (1e-3, 1e-4)
    ]
    assert 9.5 < gaps[0] / gaps[1] < 10.5


def test_samples_given_twice_change_nothing():
    losses = waves(3, 2, 1, XP, gs.array)
    once = euclidean(2, losses).metric
    twice = euclidean(2, lambda x: XP.concatenate([losses(x), losses(x)])).metric
    x, a, b = vectors(Euclidean(2), 3)
    assert gs.allclose(once.exp(a, x), twice.exp(a, x), atol=1e-10)
    assert gs.allclose(once.sectional_curvature(a, b, x), twice.sectional_curvature(a, b, x))


@pytest.mark.parametrize("size", [1e-6, 1e6])
def test_units_of_parameters_and_losses(size):
    """``x → s x`` with ``f → s f`` scales lengths by ``s`` and curvature by ``1/s²``."""
    plain, scaled = wavy(4, 2).metric, wavy(4, 2, size=size).metric
    x, a, b = gs.random.normal(size=(3, 2))
    assert gs.allclose(scaled.exp(size * a, size * x) / size, plain.exp(a, x), atol=1e-9)
    ends = plain.exp(a, x)
    assert gs.allclose(scaled.log(size * ends, size * x) / size, plain.log(ends, x), atol=1e-8)
    curvature = scaled.sectional_curvature(size * a, size * b, size * x)
    assert gs.allclose(size**2 * curvature, plain.sectional_curvature(a, b, x), atol=1e-10)


def test_derivatives_by_hand():
    by_hand = wavy(4, 3).metric
    metric = euclidean(3, waves(4, 3, 1, XP, gs.array)).metric
    x, a, b = gs.random.normal(size=(3, 3))
    assert gs.allclose(by_hand.exp(a, x), metric.exp(a, x), atol=1e-10)
    assert gs.allclose(by_hand.curvature(a, b, a, x), metric.curvature(a, b, a, x), atol=1e-12)


def test_minibatches_estimate_without_bias():
    losses = waves(6, 2, 1, XP, gs.array)
    space = euclidean(2, lambda x, i: losses(x)[i], n_samples=6, batch_size=2, rng=0)
    x = gs.array([0.4, -0.3])
    mean, draws = gs.zeros((2, 2)), 900
    for _ in range(draws):
        mean = mean + space.metric.metric_matrix(x) / draws
        space.metric.resample()
    exact = euclidean(2, losses).metric.metric_matrix(x)
    assert gs.allclose(mean, exact, atol=0.05 * float(gs.amax(exact - gs.eye(2))))
    whole = euclidean(2, lambda x, i: losses(x)[i], n_samples=6, batch_size=6, rng=0)
    assert gs.allclose(whole.metric.metric_matrix(x), exact, atol=1e-12)


def test_far_points():
    """Many more dimensions than are shot with Jacobians."""
    space = wavy(5, 80, scale=0.5)
    x, a = gs.random.normal(size=(2, 80))
    end = space.metric.exp(0.3 * a, x)
    assert gs.allclose(space.metric.log(end, x), 0.3 * a, atol=1e-8)


# --- other spaces -----------------------------------------------------------------------


def test_matrices_and_products_are_vectors_of_their_entries():
    losses = waves(4, 6, 1, XP, gs.array)
    plain = wavy(4, 6).metric
    matrices = Matrices(2, 3)
    matrices.equip_with_metric(
        DiffusionMetric, sample_losses=lambda x: losses(XP.reshape(x, (6,))), scale=0.5
    )
    product = ProductManifold([Matrices(1, 2), Matrices(2, 2)], point_ndim=1)
    product.equip_with_metric(DiffusionMetric, sample_losses=losses, scale=0.5)
    x, a = 0.5 * gs.random.normal(size=(2, 2, 6))
    expected = plain.exp(a, x)
    shaped = [gs.reshape(array, (2, 2, 3)) for array in (a, x)]
    assert gs.allclose(gs.reshape(matrices.metric.exp(*shaped), (2, 6)), expected, atol=1e-12)
    assert gs.allclose(product.metric.exp(a, x), expected, atol=1e-12)


NETWORKS = pytest.mark.parametrize(
    ("widths", "rank"), [((2, 2, 2), 2), ((2, 3, 1), 1), ((2, 2), 1), ((2, 2, 2, 2), 1)]
)


def balanced(widths, rank, scale=0.5):
    """Return a balanced manifold, and losses of samples that the network should fit."""
    rng = np.random.default_rng(5)
    inputs, outputs = (
        gs.array(rng.normal(size=(4, widths[0]))),
        gs.array(rng.normal(size=(4, widths[-1]))),
    )
    space = BalancedManifold(widths=widths, rank=rank)
    shapes = [factor.shape for factor in space.embedding_space.factors]

    def losses(x):
        flat, signal = XP.reshape(x, (-1,)), inputs.T
        for rows, columns in shapes:
            signal = XP.reshape(flat[: rows * columns], (rows, columns)) @ signal
            flat = flat[rows * columns :]
        return XP.sum((signal.T - outputs) ** 2, axis=1) / 2

    space.equip_with_metric(DiffusionMetric, sample_losses=losses, scale=scale)
    return space, losses


def flattened(array, space):
    return gs.to_numpy(gs.reshape(array, (*array.shape[: array.ndim - space.point_ndim], -1)))


@NETWORKS
def test_no_noise_leaves_the_metric_of_the_balanced_manifold(widths, rank):
    space, _ = balanced(widths, rank, scale=0.0)
    plain = BalancedManifold(widths=widths, rank=rank).metric
    x = space.random_point()
    a, b = (0.3 * space.to_tangent(gs.random.normal(size=space.shape), x) for _ in range(2))
    metric = space.metric
    assert gs.allclose(metric.exp(a, x), plain.exp(a, x), atol=1e-10)
    transported = plain.parallel_transport(b, x, direction=a)
    assert gs.allclose(metric.parallel_transport(b, x, direction=a), transported, atol=1e-10)
    assert gs.allclose(metric.curvature(a, b, a, x), plain.curvature(a, b, a, x), atol=1e-12)


def embedded(space, losses, scale=0.5):
    """Return the embedding of balanced factors in ``ℝ^{P+n}``, for NumPy's differences."""

    def embed(x):
        values = gs.to_numpy(losses(x))
        heights = math.sqrt(scale / len(values)) * (values - values.mean())
        return np.concatenate([flattened(x, space), heights])

    return embed


@NETWORKS
def test_restriction_to_balanced_factors(widths, rank):
    """Second fundamental form of the embedded manifold by differences, and what follows."""
    space, losses = balanced(widths, rank)
    metric, embed = space.metric, embedded(space, losses)
    x = space.random_point()
    a, b, c, d = (
        space.tangent_basis(x)[:4]
        if space.dim > 3
        else [*space.tangent_basis(x), space.tangent_basis(x)[0]]
    )
    step = 1e-3

    def along(vector):
        one = embed(space.projection(x + step * vector)) - embed(
            space.projection(x - step * vector)
        )
        two = embed(space.projection(x + 2 * step * vector)) - embed(
            space.projection(x - 2 * step * vector)
        )
        return (8 * one - two) / (12 * step)

    frame = np.stack([along(vector) for vector in space.tangent_basis(x)])
    tangent = np.linalg.qr(frame.T)[0]

    def second(u, v):
        total = 0
        for s, t, sign in ((1, 1, 1), (1, -1, -1), (-1, 1, -1), (-1, -1, 1)):
            for h, weight in ((step, 4 / 3), (2 * step, -1 / 3)):
                moved = embed(space.projection(x + h * (s * u + t * v)))
                total = total + weight * sign * moved / (4 * h**2)
        return total - tangent @ (tangent.T @ total)

    def riemann(a, b, c, d):
        return second(b, c) @ second(a, d) - second(a, c) @ second(b, d)

    product = float(metric.inner_product(a, b, x))
    assert product == pytest.approx(along(a) @ along(b), abs=1e-8)
    curved = metric.curvature(a, b, c, x)
    assert float(metric.inner_product(curved, d, x)) == pytest.approx(riemann(a, b, c, d), abs=1e-6)
    plane = float(metric.squared_norm(a, x) * metric.squared_norm(b, x)) - product**2
    assert float(metric.sectional_curvature(a, b, x)) * plane == pytest.approx(
        riemann(a, b, b, a), abs=1e-6
    )
    # A gradient is the vector whose products are derivatives.
    slope = gs.random.normal(size=space.shape)
    gradient = metric.riemannian_gradient(slope, x)
    assert space.is_tangent(gradient, x, atol=1e-10)
    assert gs.allclose(metric.inner_product(gradient, a, x), gs.sum(slope * a), atol=1e-10)
    # Geodesics accelerate along normals alone.
    path = metric.geodesic(x, initial_tangent_vec=a + 0.5 * b)
    points = path(gs.array([-2 * step, -step, 0.0, step, 2 * step]))
    assert gs.all(space.belongs(points, atol=1e-9))
    weights = np.array([-1, 16, -30, 16, -1]) / (12 * step**2)
    bend = sum(w * embed(p) for w, p in zip(weights, points, strict=True))
    assert abs(tangent.T @ bend).max() < 1e-6
    assert np.linalg.norm(bend) > 1e-3


# --- errors -----------------------------------------------------------------------------


def test_spaces_and_arguments_that_do_not_fit():
    losses = waves(3, 3, 1, XP, gs.array)
    fibre = Fibre(gs.eye(2), (2, 2, 2))
    for space in (SymmetricMatrices(2), fibre):
        with pytest.raises(ValueError, match="second fundamental form"):
            space.equip_with_metric(DiffusionMetric, sample_losses=losses)
    for scale in (-1.0, float("nan"), math.inf):
        with pytest.raises(ValueError, match="scale must be"):
            euclidean(3, losses, scale)
    with pytest.raises(ValueError, match="n_samples"):
        euclidean(3, losses, batch_size=2)
    with pytest.raises(ValueError, match="integer of at least 2"):
        euclidean(3, losses, n_samples=3, batch_size=1)
    metric = wavy(3, 3).metric
    with pytest.raises(ValueError, match="batch_size"):
        metric.resample()
    with pytest.raises(ValueError, match=r"expected an array of shape \[..., 3\]"):
        metric.exp(gs.ones(3), gs.ones(2))
    with pytest.raises(ValueError, match="NaN"):
        metric.exp(gs.ones(3), gs.array([1.0, float("nan"), 0.0]))
    with pytest.raises(ValueError, match="give one"):
        metric.geodesic(gs.ones(3))
    space, _ = balanced((2, 2, 2), 2)
    with pytest.raises(NotImplementedError, match="christoffel_action"):
        space.metric.christoffels(space.random_point())


def test_losses_that_cease_to_be_finite(monkeypatch):
    monkeypatch.setattr(diffusion_geodesics, "MOST_EVALUATIONS", 1_000)
    space = euclidean(2, lambda x: XP.log(XP.stack([x[0], 2 + x[1]])))
    inside = gs.array([1.0, 0.0])
    assert np.isfinite(gs.to_numpy(space.metric.exp(gs.array([0.5, 0.0]), inside))).all()
    with pytest.raises(ValueError, match="NaN or infinite"):
        space.metric.metric_matrix(gs.array([-1.0, 0.0]))
    # The point zero is infinitely far away, but not along the other coordinate.
    with pytest.raises(ValueError, match="could not be continued"):
        euclidean(2, lambda x: XP.sqrt(XP.stack([x[0], 2 + x[1]]))).metric.exp(
            gs.array([-9.0, 0.0]), inside
        )


def test_points_that_no_geodesic_joins(monkeypatch):
    """Between them the losses are not defined."""
    monkeypatch.setattr(diffusion_geodesics, "SHOOTING_EVALUATIONS", 1_000)
    space = euclidean(1, lambda x: XP.stack([XP.sqrt(x[0] ** 2 - 0.1), x[0]]))
    with pytest.raises(RuntimeError, match="no geodesic was found"):
        space.metric.log(gs.array([-1.0]), gs.array([1.0]))
    with pytest.raises(ValueError, match="NaN or infinite"):
        space.metric.log(gs.array([0.0]), gs.array([1.0]))
