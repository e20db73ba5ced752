"""Least squares problems on manifolds: derivatives, and starts from the data."""

import numpy
import pytest

from dlngeo.manifolds import DeepFixedRank
from dlngeo.solvers import (
    Factorization,
    LeastSquaresProblem,
    minimize,
)
from tests.solvers.problems import MANIFOLDS, RANK, M, N, losses, matrix_of


@pytest.fixture(autouse=True)
def _seed():
    numpy.random.seed(0)  # noqa: NPY002 -- pymanopt draws from it


@pytest.mark.parametrize("loss", losses())
@pytest.mark.parametrize("manifold", MANIFOLDS)
def test_derivatives_are_those_of_the_loss(manifold, loss):
    manifold, loss = MANIFOLDS[manifold](), losses()[loss]
    problem = LeastSquaresProblem(manifold, loss)
    point = manifold.random_point()
    vector = manifold.random_tangent_vector(point)
    assert problem.cost(point) == pytest.approx(float(loss(matrix_of(point))), rel=1e-12)
    steps = 1e-3 * numpy.arange(-3, 4)
    costs = [float(loss(matrix_of(manifold.retraction(point, t * vector)))) for t in steps]
    # Sixth-order differences; the retraction is of second order.
    slope = numpy.dot([-1, 9, -45, 0, 45, -9, 1], costs) / 60e-3
    bend = numpy.dot([2, -27, 270, -490, 270, -27, 2], costs) / 180e-6
    gradient = problem.riemannian_gradient(point)
    hessian = problem.riemannian_hessian(point, vector)
    assert manifold.inner_product(point, gradient, vector) == pytest.approx(slope, rel=1e-7)
    assert manifold.inner_product(point, hessian, vector) == pytest.approx(bend, rel=1e-6)


def test_spectral_point_of_a_whole_matrix_is_its_best_approximation():
    target = numpy.random.default_rng(0).normal(size=(M, N))
    problem = LeastSquaresProblem(DeepFixedRank(M, N, RANK, 3), Factorization(target))
    u, s, vt = numpy.linalg.svd(target)
    best = (u[:, :RANK] * s[:RANK]) @ vt[:RANK]
    numpy.testing.assert_allclose(matrix_of(problem.spectral_point()), best, atol=1e-12)
    minimum = minimize(problem)
    assert minimum.success, minimum.status
    numpy.testing.assert_allclose(matrix_of(minimum.point), best, atol=1e-8)


def test_data_of_lower_rank_need_a_start():
    problem = LeastSquaresProblem(
        DeepFixedRank(4, 4, 2, 2), Factorization(numpy.outer(numpy.ones(4), numpy.arange(4.0)))
    )
    with pytest.raises(ValueError, match="initial point"):
        minimize(problem)
