"""Problems with known minima on spaces of geomstats, by pymanopt's optimisers."""

import math

import autograd.numpy
import jax.numpy
import numpy
import pymanopt
import pytest
import torch
from geomstats.geometry.grassmannian import Grassmannian
from geomstats.geometry.hypersphere import Hypersphere
from geomstats.geometry.product_manifold import ProductManifold
from geomstats.geometry.spd_matrices import SPDAffineMetric, SPDBuresWassersteinMetric
from geomstats.geometry.special_orthogonal import SpecialOrthogonal
from geomstats.geometry.stiefel import Stiefel
from pymanopt.optimizers import ConjugateGradient
from scipy.linalg import expm

from dlngeo import from_geomstats
from dlngeo.core.networks.balancing import factorize
from dlngeo.manifolds import BalancedManifold
from tests.manifolds.pymanopt.geomstats_spaces import depth, spd, sym
from tests.manifolds.pymanopt.pymanopt_suite import assert_minimised, assert_quadratic

# Each problem is a space, a cost, and its minimum.


def rayleigh(rng):
    matrix = sym(rng.normal(size=(5, 5)))
    least = numpy.linalg.eigvalsh(matrix)[0]
    return Hypersphere(4), lambda x: x @ (matrix @ x), least


def brockett(rng):
    matrix = sym(rng.normal(size=(5, 5)))
    values = numpy.linalg.eigvalsh(matrix)
    weights = numpy.array([2.0, 1.0])
    return Stiefel(5, 2), lambda x: ((matrix @ x) * x * weights).sum(), weights @ values[:2]


def principal_subspace(rng):
    matrix = sym(rng.normal(size=(5, 5)))
    return (
        Grassmannian(5, 2),
        lambda x: (matrix * x).sum(),
        numpy.linalg.eigvalsh(matrix)[:2].sum(),
    )


def wahba(rng):
    matrix = rng.normal(size=(3, 3))
    *_, last = values = numpy.linalg.svd(matrix, compute_uv=False)
    best = values.sum() - (2 * last if numpy.linalg.det(matrix) < 0 else 0)
    return SpecialOrthogonal(3), lambda x: -(matrix * x).sum(), -best


def likelihood(metric):
    def problem(rng):
        matrix = sym(expm(sym(rng.normal(size=(3, 3)))))

        def cost(x):
            inverse = autograd.numpy.linalg.inv(x)
            return autograd.numpy.sum(inverse * matrix) + autograd.numpy.linalg.slogdet(x)[1]

        return spd(metric), cost, 3 + numpy.linalg.slogdet(matrix)[1]

    return problem


def low_rank(n):
    def problem(rng):
        target = rng.normal(size=(3, 4))
        rest = numpy.linalg.svd(target, compute_uv=False)[2]
        return depth(3, 4, 2, n), lambda x: ((x - target) ** 2).sum(), rest**2

    return problem


def interpolation(rng):
    target = numpy.eye(3) + 0.3 * rng.normal(size=(3, 3))
    return depth(3, 3, 3, math.inf), lambda x: ((x - target) ** 2).sum(), 0.0


def mixed(rng):
    """A sum over the factors of a product, two of them ours."""
    matrix, target = sym(rng.normal(size=(3, 3))), rng.normal(size=(3, 2))
    space = ProductManifold([Hypersphere(2), depth(3, 2, 1, 2), BalancedManifold(2, 2, rank=1)])

    def cost(x):
        axis, fit = x[:3], x[3:9].reshape(3, 2) - target
        product = x[13:17].reshape(2, 2) @ x[9:13].reshape(2, 2) - target[:2]
        return axis @ (matrix @ axis) + (fit**2).sum() + (product**2).sum()

    rest = [numpy.linalg.svd(part, compute_uv=False)[1] ** 2 for part in (target, target[:2])]
    return space, cost, numpy.linalg.eigvalsh(matrix)[0] + sum(rest)


PROBLEMS = {
    "rayleigh": rayleigh,
    "brockett": brockett,
    "subspace": principal_subspace,
    "wahba": wahba,
    "likelihood-affine": likelihood(SPDAffineMetric),
    "likelihood-bures": likelihood(SPDBuresWassersteinMetric),
    "low-rank-2": low_rank(2),
    "low-rank-3": low_rank(3),
    "interpolation": interpolation,
}


def start_of(space):
    if space.shape == (3, 3) and getattr(space, "rank", 0) == 3:
        return numpy.diag([1.0, 1.0, 2.0])  # on the side of the target
    return space.random_point()


@pytest.mark.parametrize("name", PROBLEMS)
def test_known_minima(name, rng):
    space, function, minimum = PROBLEMS[name](rng)
    manifold = from_geomstats(space)
    cost = pymanopt.function.autograd(manifold)(lambda x: function(x))
    assert_minimised(pymanopt.Problem(manifold, cost), start_of(space), minimum)


def test_known_minimum_in_a_product(rng):
    space, function, minimum = mixed(rng)
    manifold = from_geomstats(space)
    cost = pymanopt.function.autograd(manifold)(lambda x: function(x))
    assert_quadratic(pymanopt.Problem(manifold, cost), manifold.random_point(), minimum)


def test_known_minimum_on_the_balanced_manifold(rng):
    target = rng.normal(size=(3, 3))
    space = BalancedManifold(depth=2, width=3, rank=2)
    manifold = from_geomstats(space)

    @pymanopt.function.autograd(manifold)
    def cost(w):
        return autograd.numpy.sum((w[1] @ w[0] - target) ** 2)

    minimum = numpy.linalg.svd(target, compute_uv=False)[2] ** 2
    start = factorize(numpy.diag([1.0, 0.5, 0.0]), 2, rank=2)
    assert_quadratic(pymanopt.Problem(manifold, cost), start, minimum)


def test_frechet_mean_by_its_riemannian_gradient(rng):
    """Of commuting matrices it is the exponential of the mean of logarithms."""
    space = spd(SPDAffineMetric)
    manifold = from_geomstats(space)
    frame = numpy.linalg.qr(rng.normal(size=(3, 3)))[0]
    logs = rng.normal(size=(6, 3))
    data = frame * numpy.exp(logs)[:, None, :] @ frame.T

    @pymanopt.function.numpy(manifold)
    def cost(x):
        return float(numpy.sum(space.metric.squared_dist(x, data)))

    @pymanopt.function.numpy(manifold)
    def gradient(x):
        return -2 * numpy.sum(space.metric.log(data, x), axis=0)

    problem = pymanopt.Problem(manifold, cost, riemannian_gradient=gradient)
    optimizer = ConjugateGradient(verbosity=0, min_gradient_norm=1e-7)
    result = optimizer.run(problem, initial_point=numpy.eye(3))
    expected = frame * numpy.exp(numpy.mean(logs, axis=0)) @ frame.T
    numpy.testing.assert_allclose(result.point, expected, atol=1e-6)


def numpy_rayleigh(manifold, matrix):
    cost, gradient, hessian = (
        pymanopt.function.numpy(manifold)(function)
        for function in (
            lambda x: x @ (matrix @ x),
            lambda x: 2 * matrix @ x,
            lambda x, v: 2 * matrix @ v,
        )
    )
    return pymanopt.Problem(manifold, cost, euclidean_gradient=gradient, euclidean_hessian=hessian)


def torch_rayleigh(manifold, matrix):
    tensor = torch.from_numpy(matrix)
    cost = pymanopt.function.pytorch(manifold)(lambda x: x @ (tensor @ x))
    return pymanopt.Problem(manifold, cost)


def jax_rayleigh(manifold, matrix):
    cost = pymanopt.function.jax(manifold)(lambda x: x @ (jax.numpy.asarray(matrix) @ x))
    return pymanopt.Problem(manifold, cost)


@pytest.mark.parametrize("make", [numpy_rayleigh, torch_rayleigh, jax_rayleigh])
def test_costs_of_every_library(make, rng):
    manifold = from_geomstats(Hypersphere(4))
    matrix = sym(rng.normal(size=(5, 5)))
    start = manifold.random_point()
    assert_quadratic(make(manifold, matrix), start, numpy.linalg.eigvalsh(matrix)[0])
