"""BalancedFactors against pymanopt's diagnostics, its own manifolds, and known minima."""

import itertools
import math

import autograd.numpy
import jax.numpy
import numpy
import pymanopt
import pytest
import torch
from pymanopt.manifolds import Euclidean, FixedRankEmbedded, Product, Sphere

from dlngeo import BalancedFactors
from dlngeo.core.base.vectors import Layers
from dlngeo.core.networks.network import end_to_end, moment_map
from tests.manifolds.pymanopt.pymanopt_suite import (
    assert_derivatives,
    assert_laws,
    assert_minimised,
    assert_quadratic,
    bending_problem,
    retraction_slope,
)

NETWORKS = [
    pytest.param((2, 2, 2), None, id="2-2-2"),
    pytest.param((3, 4, 2, 4), 2, id="3-4-2-4,r=2"),
    pytest.param((4, 4, 4, 4), None, id="4-4-4-4"),
    pytest.param((3, 2), None, id="3-2"),
    pytest.param((3, 2), 1, id="3-2,r=1"),
    pytest.param((2, 3, 2, 3, 3, 2), 1, id="2-3-2-3-3-2,r=1"),
    pytest.param((3, 3, 3, 3, 3, 3), None, id="3-3-3-3-3-3"),
]
EACH_NETWORK = pytest.mark.parametrize(("widths", "rank"), NETWORKS)


def layers_of(point):
    return point if isinstance(point, tuple) else (point,)


def point_of(manifold):
    """Return a random point, on the scale of its distance from the boundary."""
    point = manifold.random_point()
    singular_values = numpy.linalg.svd(layers_of(point)[0], compute_uv=False)
    return point / singular_values[manifold.rank - 1]


def product(*layers):
    result = layers[0]
    for layer in layers[1:]:
        result = layer @ result
    return result


def approximation(manifold, target, decorator=pymanopt.function.autograd):
    """Return the problem of approximating a matrix by the product of the factors."""

    @decorator(manifold)
    def cost(*factors):
        return ((product(*factors) - target) ** 2).sum()

    return pymanopt.Problem(manifold, cost)


def truncation_error(target, rank):
    """Return what Eckart and Young say is left."""
    return float(numpy.sum(numpy.linalg.svd(target, compute_uv=False)[rank:] ** 2))


@EACH_NETWORK
def test_gradient_and_hessian(widths, rank):
    manifold = BalancedFactors(widths, rank)
    point = point_of(manifold)
    vector = 0.3 * manifold.random_tangent_vector(point)
    assert_derivatives(bending_problem(manifold, point), point, vector)


@EACH_NETWORK
def test_laws(widths, rank):
    manifold = BalancedFactors(widths, rank)
    assert_laws(manifold, point_of(manifold), length=0.3)


@EACH_NETWORK
def test_retraction_is_of_second_order(widths, rank):
    manifold = BalancedFactors(widths, rank)
    point = point_of(manifold)
    vector = 0.1 * manifold.random_tangent_vector(point)
    if manifold.depth == 1 and manifold.rank == min(widths):  # flat
        numpy.testing.assert_allclose(
            manifold.retraction(point, vector), manifold.exp(point, vector), atol=1e-12
        )
    else:
        assert abs(retraction_slope(manifold, point, vector) - 3) < 0.1


@EACH_NETWORK
def test_points_and_projection(widths, rank):
    manifold = BalancedFactors(widths, rank)
    point = point_of(manifold)
    end = manifold.retraction(point, 0.3 * manifold.random_tangent_vector(point))
    for layers in map(layers_of, (point, end)):
        assert all(numpy.max(abs(moment)) < 1e-12 for moment in moment_map(layers))
        assert numpy.linalg.matrix_rank(end_to_end(layers), tol=1e-10) == manifold.rank
    # The projection is orthogonal.
    ambient = manifold.random_tangent_vector(manifold.random_point())
    normal = ambient - manifold.projection(point, ambient)
    tangent = manifold.random_tangent_vector(point)
    assert abs(manifold.inner_product(point, normal, tangent)) < 1e-12


def test_random_points_are_on_both_sides():
    manifold = BalancedFactors((3, 3, 3))
    signs = {
        tuple(numpy.sign(numpy.linalg.det(layer)) for layer in manifold.random_point())
        for _ in range(40)
    }
    assert signs == set(itertools.product((-1.0, 1.0), repeat=2))


@pytest.mark.parametrize(
    ("widths", "rank"),
    [((3, 4, 2, 4), 2), ((4, 4, 4, 4), 2), ((4, 3), 1), ((2, 3, 2, 3, 3, 2), 1)],
)
def test_low_rank_approximation(widths, rank, rng):
    manifold = BalancedFactors(widths, rank)
    target = rng.normal(size=(widths[-1], widths[0]))
    problem = approximation(manifold, target)
    assert_minimised(problem, manifold.random_point(), truncation_error(target, rank))


def test_interpolation_at_full_rank():
    manifold = BalancedFactors((4, 4, 4, 4))
    start, end = manifold.random_point(), manifold.random_point()
    # Of the same sign of the determinant: only those are joined.
    target = product(*end)
    target[0] *= numpy.sign(numpy.linalg.det(target) * numpy.linalg.det(product(*start)))
    assert_quadratic(approximation(manifold, target), start, 0.0)


def test_single_layer_is_the_embedded_manifold(rng):
    """At depth one pymanopt's manifolds of matrices are an independent route."""
    ours, theirs = BalancedFactors((4, 3), 2), FixedRankEmbedded(3, 4, 2)
    u, s, vt = theirs.random_point()
    point = (u * s) @ vt
    matrix = rng.normal(size=(3, 4))

    def embedded(vector):
        return u @ vector.M @ vt + vector.Up @ vt + u @ vector.Vp.T

    vector = ours.projection(point, matrix)
    assert isinstance(vector, numpy.ndarray)
    expected = theirs.projection((u, s, vt), matrix)
    numpy.testing.assert_allclose(vector, embedded(expected), atol=1e-13)
    u1, s1, vt1 = theirs.retraction((u, s, vt), 0.1 * expected)
    numpy.testing.assert_allclose(ours.retraction(point, 0.1 * vector), (u1 * s1) @ vt1, atol=1e-12)
    full, flat = BalancedFactors((4, 3)), Euclidean(3, 4)
    matrices = rng.normal(size=(4, 3, 4))
    numpy.testing.assert_allclose(
        full.euclidean_to_riemannian_hessian(*matrices),
        flat.euclidean_to_riemannian_hessian(*matrices),
        atol=1e-12,
    )
    assert math.isclose(full.dist(*matrices[:2]), flat.dist(*matrices[:2]), rel_tol=1e-9)


def numpy_problem(manifold, target):
    """Return the approximation of a matrix by two factors, with derivatives by hand."""

    @pymanopt.function.numpy(manifold)
    def cost(first, second):
        return numpy.sum((second @ first - target) ** 2)

    @pymanopt.function.numpy(manifold)
    def gradient(first, second):
        residual = second @ first - target
        return 2 * second.T @ residual, 2 * residual @ first.T

    @pymanopt.function.numpy(manifold)
    def hessian(first, second, move, other):
        residual = second @ first - target
        change = other @ first + second @ move
        return (
            2 * (other.T @ residual + second.T @ change),
            2 * (change @ first.T + residual @ move.T),
        )

    return pymanopt.Problem(manifold, cost, euclidean_gradient=gradient, euclidean_hessian=hessian)


def torch_problem(manifold, target):
    return approximation(manifold, torch.from_numpy(target), pymanopt.function.pytorch)


def jax_problem(manifold, target):
    return approximation(manifold, jax.numpy.asarray(target), pymanopt.function.jax)


@pytest.mark.parametrize("make", [approximation, numpy_problem, torch_problem, jax_problem])
def test_costs_of_every_library(make, rng):
    manifold = BalancedFactors((3, 4, 3), 2)
    target = rng.normal(size=(3, 3))
    problem, start = make(manifold, target), manifold.random_point()
    assert_derivatives(problem, start, 0.1 * manifold.random_tangent_vector(start))
    assert_quadratic(problem, start, truncation_error(target, 2))


def test_in_a_product_of_pymanopt(rng):
    balanced = BalancedFactors((3, 2, 3))
    manifold = Product([balanced, Sphere(3)])
    target = rng.normal(size=(3, 3))
    matrix = numpy.diag([-1.0, 2.0, 3.0])

    @pymanopt.function.autograd(manifold)
    def cost(first, second, axis):
        fit = autograd.numpy.sum((second @ first - target) ** 2)
        return fit + axis @ (matrix @ axis)

    problem = pymanopt.Problem(manifold, cost)
    assert_quadratic(problem, manifold.random_point(), truncation_error(target, 2) - 1)


@pytest.mark.parametrize("scale", [1e-6, 1e6])
def test_scales_and_repeated_values(scale):
    """At scaled identities, the usual initialisation."""
    manifold = BalancedFactors((3, 3, 3, 3))
    point = Layers(scale * numpy.eye(3) for _ in range(3))
    vector = 0.1 * scale * manifold.random_tangent_vector(point)
    size = scale * numpy.sqrt(manifold.rank)
    assert abs(manifold.dist(point, manifold.exp(point, vector)) - 0.1 * scale) < 1e-9 * size
    gap = manifold.exp(point, vector) - manifold.retraction(point, vector)
    assert manifold.norm(point, gap) < 1e-3 * size

    @pymanopt.function.autograd(manifold)
    def cost(*factors):
        return sum(autograd.numpy.sum(autograd.numpy.sin(factor / scale)) for factor in factors)

    assert_derivatives(pymanopt.Problem(manifold, cost), point, 3 * vector)


def test_errors_say_what_is_wrong():
    manifold = BalancedFactors((3, 4, 2), 2)
    point = manifold.random_point()
    vector = manifold.random_tangent_vector(point)
    with pytest.raises(ValueError, match=r"factors, W_1 first, of arrays of shapes .*, got"):
        manifold.projection(point, vector[::-1])
    with pytest.raises(ValueError, match="expected factors"):
        manifold.retraction(point[:1], vector)
    with pytest.raises(ValueError, match="NaN"):
        manifold.projection(point, numpy.nan * vector)
    with pytest.raises(ValueError, match="NaN"):
        manifold.retraction(point, numpy.inf * vector)
    with pytest.raises(ValueError, match="balance the factors first"):
        manifold.projection(Layers((2 * point[0], point[1])), vector)
    with pytest.raises(ValueError, match="expected rank 2, but singular value 2 is zero"):
        manifold.retraction(point, -1.0 * point)
    with pytest.raises(ValueError, match="reach"):
        manifold.exp(point, -2.0 * point)
    with pytest.raises(ValueError, match="rank must be an integer between 1 and"):
        BalancedFactors((3, 4, 2), 3)
