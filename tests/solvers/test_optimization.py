"""Least squares problems on manifolds, and minimisation by pymanopt's optimisers."""

import itertools

import autograd.numpy as anp
import numpy
import pymanopt
import pytest
from pymanopt.manifolds import Euclidean, FixedRankEmbedded, Product, Stiefel

from dlngeo.manifolds import (
    BalancedFactors,
    DeepFixedRank,
    DepthMetric,
    FixedRankMatrices,
    from_geomstats,
)
from dlngeo.solvers import (
    Factorization,
    LeastSquaresProblem,
    MatrixSensing,
    SparseMatrixCompletion,
    minimize,
)
from dlngeo.solvers.optimization import SOLVERS
from tests.solvers.problems import M, N, completion, error, losses, matrix_of


@pytest.fixture(autouse=True)
def _seed():
    numpy.random.seed(0)  # noqa: NPY002 -- pymanopt draws from it


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("depth", [1, 2, 3])
def test_every_solver_completes_at_every_scale(depth, solver, scale):
    truth, loss = completion(scale=scale)
    minimum = minimize(
        LeastSquaresProblem(DeepFixedRank(60, 60, 3, depth), loss), solver=solver, tolerance=1e-8
    )
    assert minimum.success, minimum.status
    assert "converged" in minimum.status
    assert error(minimum, truth) < 1e-6
    assert minimum.costs[-1] == minimum.cost
    assert minimum.costs.shape == minimum.gradient_norms.shape == minimum.seconds.shape
    assert minimum.n_iterations == len(minimum.costs) - 1
    assert (numpy.diff(minimum.costs) <= 0).all()


def test_factors_and_frames_find_the_same():
    truth, loss = completion(size=30)
    for manifold in (BalancedFactors((30, 3, 30), 3), BalancedFactors((30, 5, 4, 30), 3)):
        minimum = minimize(LeastSquaresProblem(manifold, loss))
        assert minimum.success, minimum.status
        assert error(minimum, truth) < 1e-5


@pytest.mark.parametrize("depth", [1, 2, 4])
def test_trust_regions_converge_quadratically(depth):
    _, loss = completion()
    minimum = minimize(LeastSquaresProblem(DeepFixedRank(60, 60, 3, depth), loss), tolerance=1e-9)
    norms = minimum.gradient_norms / minimum.gradient_norms[0]
    before, last = norms[-2:]
    assert last < 1e-9
    # A linear rate would need steps of this factor all the way.
    assert last < before**1.5


def test_regression_of_full_rank_is_solved_by_least_squares():
    loss = losses()["regression"]
    exact = numpy.linalg.lstsq(loss.inputs, loss.outputs, rcond=None)[0].T
    minimum = minimize(LeastSquaresProblem(DeepFixedRank(M, N, N, 2), loss), tolerance=1e-10)
    assert minimum.success, minimum.status
    numpy.testing.assert_allclose(matrix_of(minimum.point), exact, atol=1e-7)


def test_sensing_recovers_a_matrix():
    rng = numpy.random.default_rng(5)
    truth = rng.normal(size=(8, 1)) @ rng.normal(size=(1, 7))
    sensors = rng.normal(size=(45, 8, 7))
    loss = MatrixSensing(sensors, numpy.einsum("kmn,mn->k", sensors, truth))
    minimum = minimize(LeastSquaresProblem(DeepFixedRank(8, 7, 1, 2), loss), tolerance=1e-9)
    assert error(minimum, truth) < 1e-7


@pytest.mark.parametrize("solver", SOLVERS)
def test_start_at_the_solution(solver):
    truth, _ = completion(size=20)
    u, s, vt = numpy.linalg.svd(truth)
    point = (u[:, :3], s[:3], vt[:3])
    problem = LeastSquaresProblem(DeepFixedRank(20, 20, 3, 2), Factorization(truth))
    minimum = minimize(problem, point, solver=solver)
    assert minimum.success
    assert minimum.n_iterations == 0
    assert "converged" in minimum.status


def test_rank_too_high_is_told():
    """At depth one the additional singular values of a whole matrix go to zero."""
    truth, _ = completion(size=20)
    problem = LeastSquaresProblem(DeepFixedRank(20, 20, 4, 1), Factorization(truth))
    minimum = minimize(problem, problem.manifold.random_point())
    assert "seems to have rank 3" in minimum.status
    assert error(minimum, truth) < 1e-5


def test_rank_too_low_finds_the_best_of_the_rank():
    truth, _ = completion(size=20)
    problem = LeastSquaresProblem(DeepFixedRank(20, 20, 2, 3), Factorization(truth))
    minimum = minimize(problem, problem.manifold.random_point())
    assert minimum.success, minimum.status
    sigma = numpy.linalg.svd(truth, compute_uv=False)
    assert minimum.cost == pytest.approx(sigma[2] ** 2 / 2, rel=1e-9)


def test_row_without_entries():
    truth, loss = completion()
    kept = numpy.repeat(numpy.arange(60), numpy.diff(loss._starts)) != 7
    rows = numpy.repeat(numpy.arange(60), numpy.diff(loss._starts))[kept]
    loss = SparseMatrixCompletion(rows, loss._indices[kept], loss.data[kept], (60, 60))
    minimum = minimize(LeastSquaresProblem(DeepFixedRank(60, 60, 3, 2), loss))
    assert minimum.success, minimum.status
    found = matrix_of(minimum.point)
    others = numpy.arange(60) != 7
    assert numpy.linalg.norm((found - truth)[others]) < 1e-5 * numpy.linalg.norm(truth)
    assert numpy.isfinite(found).all()


def test_constant_matrix_has_rank_one():
    _, loss = completion()
    loss = SparseMatrixCompletion(
        numpy.repeat(numpy.arange(60), numpy.diff(loss._starts)),
        loss._indices,
        numpy.full(loss.data.size, 3.0),
        (60, 60),
    )
    minimum = minimize(LeastSquaresProblem(DeepFixedRank(60, 60, 1, 2), loss))
    numpy.testing.assert_allclose(matrix_of(minimum.point), 3.0, rtol=1e-5)


def user_cost(library, manifold, target):
    if library == "autograd":

        @pymanopt.function.autograd(manifold)
        def cost(u, s, vt):
            return anp.sum(((u * s) @ vt - target) ** 2)

    elif library == "pytorch":
        torch = pytest.importorskip("torch")
        data = torch.from_numpy(target)

        @pymanopt.function.pytorch(manifold)
        def cost(u, s, vt):
            return torch.sum(((u * s) @ vt - data) ** 2)

    else:
        jnp = pytest.importorskip("jax.numpy")

        @pymanopt.function.jax(manifold)
        def cost(u, s, vt):
            return jnp.sum(((u * s) @ vt - target) ** 2)

    return cost


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("library", ["autograd", "pytorch", "jax"])
def test_costs_of_users(library, solver):
    rng = numpy.random.default_rng(0)
    target = rng.normal(size=(6, 2)) @ rng.normal(size=(2, 5))
    manifold = DeepFixedRank(6, 5, 2, 2)
    problem = pymanopt.Problem(manifold, user_cost(library, manifold, target))
    minimum = minimize(problem, solver=solver, tolerance=1e-5)
    assert minimum.success, minimum.status
    assert error(minimum, target) < 1e-4


def test_manifolds_of_pymanopt():
    """A cost without Hessian, and one whose Hessian does not work there."""
    rng = numpy.random.default_rng(0)
    matrix = rng.normal(size=(5, 5))
    symmetric = matrix + matrix.T
    manifold = Stiefel(5, 2)

    @pymanopt.function.numpy(manifold)
    def cost(x):
        return -numpy.trace(x.T @ symmetric @ x)

    @pymanopt.function.numpy(manifold)
    def gradient(x):
        return -2 * symmetric @ x

    problem = pymanopt.Problem(manifold, cost, euclidean_gradient=gradient)
    minimum = minimize(problem, solver="conjugate-gradient")
    assert minimum.success, minimum.status
    assert -minimum.cost == pytest.approx(numpy.linalg.eigvalsh(symmetric)[-2:].sum(), rel=1e-9)
    target = rng.normal(size=(6, 2)) @ rng.normal(size=(2, 5))
    embedded = FixedRankEmbedded(6, 5, 2)
    problem = pymanopt.Problem(embedded, user_cost("autograd", embedded, target))
    assert minimize(problem, solver="conjugate-gradient").success


def test_stop():
    _, loss = completion()
    problem = LeastSquaresProblem(DeepFixedRank(60, 60, 3, 2), loss)
    seen = []

    def stop(point, cost):
        seen.append((point, cost))
        return len(seen) == 4

    minimum = minimize(problem, solver="conjugate-gradient", stop=stop)
    assert minimum.n_iterations == 3
    assert minimum.point is seen[-1][0]
    assert [cost for _, cost in seen] == list(minimum.costs)
    assert "as asked" in minimum.status
    assert not minimum.success


@pytest.mark.parametrize("solver", SOLVERS)
def test_too_few_iterations(solver):
    _, loss = completion()
    problem = LeastSquaresProblem(DeepFixedRank(60, 60, 3, 2), loss)
    minimum = minimize(problem, solver=solver, max_iterations=3)
    assert minimum.n_iterations <= 3
    assert not minimum.success
    assert "raise max_iterations" in minimum.status


@pytest.mark.parametrize("solver", SOLVERS)
def test_interrupt_keeps_what_was_found_and_resumes(solver, monkeypatch):
    truth, loss = completion()
    problem = LeastSquaresProblem(DeepFixedRank(60, 60, 3, 2), loss)
    pull, calls = SparseMatrixCompletion.pull, []

    def interrupted(self, residual):
        calls.append(1)
        if len(calls) == 15:
            raise KeyboardInterrupt
        return pull(self, residual)

    monkeypatch.setattr(SparseMatrixCompletion, "pull", interrupted)
    minimum = minimize(problem, solver=solver)
    assert minimum.interrupted
    assert not minimum.success
    assert "initial_point" in minimum.status
    resumed = minimize(problem, minimum.point, solver=solver, tolerance=1e-6)
    assert resumed.costs[0] == minimum.cost
    assert error(resumed, truth) < 1e-4


def test_progress_is_shown(capsys):
    _, loss = completion(size=20)
    problem = LeastSquaresProblem(DeepFixedRank(20, 20, 3, 1), loss)
    minimize(problem, progress=True)
    captured = capsys.readouterr()
    assert "trust-regions" in captured.err
    assert captured.out == ""
    minimize(problem)
    captured = capsys.readouterr()
    assert captured.err == captured.out == ""


def test_refusals():
    _, loss = completion(size=20)
    problem = LeastSquaresProblem(DeepFixedRank(20, 20, 3, 1), loss)
    with pytest.raises(ValueError, match="trust-regions, conjugate-gradient"):
        minimize(problem, solver="newton")
    with pytest.raises(ValueError, match="positive"):
        minimize(problem, tolerance=0)
    with pytest.raises(ValueError, match="shape"):
        minimize(problem, (numpy.eye(20)[:, :2], numpy.ones(2), numpy.eye(20)[:2]))
    with pytest.raises(ValueError, match=r"shape \(20, 19\)"):
        LeastSquaresProblem(DeepFixedRank(20, 19, 3, 1), loss)
    with pytest.raises(ValueError, match="DeepFixedRank or BalancedFactors"):
        LeastSquaresProblem(FixedRankEmbedded(20, 20, 3), loss)
    u, _, vt = problem.spectral_point()
    with pytest.raises(ValueError, match="NaN"):
        minimize(problem, (u, numpy.full(3, numpy.nan), vt))


# --- starts, ends, and manifolds of others ----------------------------------------------------


def test_an_inner_step_that_is_exactly_newtons():
    """After it the residual is zero, and a further inner step would divide by it."""
    for entries in itertools.product((-1, 0, 2), repeat=4):
        target = numpy.reshape(entries, (2, 2)).astype(float)
        problem = LeastSquaresProblem(DeepFixedRank(2, 2, 2, 1), Factorization(target))
        minimum = minimize(problem, (numpy.eye(2), numpy.ones(2), numpy.eye(2)), max_iterations=30)
        assert numpy.isfinite(minimum.costs).all()


def _approximation(scale=1.0):
    """Return a target, its best approximation of rank 3, and the cost by autograd."""
    target = numpy.random.default_rng(0).normal(size=(6, 5))
    u, s, vt = numpy.linalg.svd(target)
    manifold = DeepFixedRank(6, 5, 3, 2)

    @pymanopt.function.autograd(manifold)
    def cost(u, s, vt):
        return scale * anp.sum((u @ anp.diag(s) @ vt - target) ** 2)

    squares = LeastSquaresProblem(manifold, Factorization(target))
    return (u[:, :3], s[:3], vt[:3]), (squares, pymanopt.Problem(manifold, cost))


@pytest.mark.parametrize("scale", [1.0, 1e8])
@pytest.mark.parametrize("solver", SOLVERS)
def test_what_is_converged_stays_converged(solver, scale):
    """From the exact minimum and from a result there is no step to take, of every cost."""
    exact, problems = _approximation(scale)
    for problem in problems:
        minimum = minimize(problem, exact, solver=solver)
        assert (minimum.n_iterations, minimum.success) == (0, True), minimum.status
        found = minimize(problem, problem.manifold.random_point(), solver=solver)
        assert found.success, found.status
        assert found.n_iterations > 0
        again = minimize(problem, found.point, solver=solver)
        assert (again.n_iterations, again.success) == (0, True), again.status


@pytest.mark.parametrize("solver", SOLVERS)
def test_products_of_manifolds(solver):
    """A low-rank matrix and a row of means: against the alternating exact solution."""
    target = numpy.random.default_rng(1).normal(size=(4, 3))
    manifold = Product([DeepFixedRank(4, 3, 2, 2), Euclidean(3)])

    @pymanopt.function.autograd(manifold)
    def cost(u, s, vt, means):
        return anp.sum((u @ anp.diag(s) @ vt + means - target) ** 2) + anp.sum(means**2)

    means = numpy.zeros(3)
    for _ in range(3000):
        u, s, vt = numpy.linalg.svd(target - means, full_matrices=False)
        means = (target - (u[:, :2] * s[:2]) @ vt[:2]).sum(0) / 5
    u, s, vt = numpy.linalg.svd(target - means, full_matrices=False)
    minimum = minimize(
        pymanopt.Problem(manifold, cost),
        [(u[:, :2], s[:2] + 0.1, vt[:2]), 0 * means],
        solver=solver,
    )
    assert minimum.success, minimum.status
    assert minimum.cost == pytest.approx(s[2] ** 2 + (means**2).sum(), rel=1e-9)
    numpy.testing.assert_allclose(minimum.point[1], means, atol=1e-4)


def test_first_order_solvers_ask_for_no_hessian():
    manifold = Euclidean(3)
    function = pymanopt.function.numpy(manifold)
    problem = pymanopt.Problem(
        manifold,
        function(lambda x: float(((x - 1) ** 4).sum() + (x**2).sum())),
        euclidean_gradient=function(lambda x: 4 * (x - 1) ** 3 + 2 * x),
        euclidean_hessian=function(lambda x, v: pytest.fail("asked for a Hessian")),
    )
    for solver in SOLVERS[1:]:
        assert minimize(problem, numpy.full(3, 5.0), solver=solver).success


def test_geomstats_spaces_start_on_the_manifold():
    target = numpy.random.default_rng(2).normal(size=(5, 4))
    space = FixedRankMatrices(5, 4, rank=2).equip_with_metric(DepthMetric, depth=2)
    minimum = minimize(LeastSquaresProblem(from_geomstats(space), Factorization(target)))
    assert minimum.success, minimum.status
    values = numpy.linalg.svd(target, compute_uv=False)
    assert minimum.cost == pytest.approx((values[2:] ** 2).sum() / 2, rel=1e-12)
    assert numpy.linalg.matrix_rank(minimum.point) == 2
    frames = LeastSquaresProblem(Stiefel(5, 4), Factorization(target)).initial_point()
    numpy.testing.assert_allclose(frames.T @ frames, numpy.eye(4), atol=1e-14)


def test_an_infimum_on_the_boundary_ends_with_a_status():
    """Towards a matrix of the other component the descent stops where the rank falls."""
    space = FixedRankMatrices(4, 4).equip_with_metric(DepthMetric, depth=2)
    manifold = from_geomstats(space)

    @pymanopt.function.autograd(manifold)
    def cost(x):
        return anp.sum((x - anp.eye(4)) ** 2)

    start = numpy.random.default_rng(0).normal(size=(4, 4))
    start[0] *= -numpy.sign(numpy.linalg.det(start))
    minimum = minimize(pymanopt.Problem(manifold, cost), start)
    assert minimum.n_iterations > 3
    assert minimum.cost == pytest.approx(1, abs=0.1)
    assert "the minimum seems to have rank 3" in minimum.status
    if not minimum.success:
        assert "the descent left the manifold" in minimum.status


def test_advice_fits():
    """To a cost without bound, at round-off, and after the iterations that were asked for."""
    manifold = Euclidean(3)

    @pymanopt.function.autograd(manifold)
    def unbounded(x):
        return -anp.sum(x**4)

    @pymanopt.function.autograd(manifold)
    def valley(x):
        return anp.sum((1 - x[:-1]) ** 2 + 100 * (x[1:] - x[:-1] ** 2) ** 2)

    function = pymanopt.function.numpy(manifold)
    single = pymanopt.Problem(
        manifold,
        function(lambda x: float(numpy.float32(numpy.cosh(x - 1).sum()))),
        euclidean_gradient=function(lambda x: numpy.sinh(x - 1)),
        euclidean_hessian=function(lambda x, v: numpy.cosh(x - 1) * v),
    )
    for solver in SOLVERS:
        ends = minimize(pymanopt.Problem(manifold, unbounded), numpy.ones(3), solver=solver)
        assert "seems to have no lower bound" in ends.status
        ends = minimize(single, numpy.zeros(3), solver=solver, tolerance=1e-12)
        assert ends.success or "the cost is at round-off" in ends.status
        problem = pymanopt.Problem(manifold, valley)
        ends = minimize(problem, numpy.array([-1.2, 1, 1]), solver=solver, max_iterations=6)
        assert "not converged after 6 iterations" in ends.status


@pytest.mark.parametrize(
    ("point", "message"),
    [
        (numpy.eye(4), "initial_point must be a tuple of 3, .* got ndarray"),
        ((numpy.eye(4),), "got 1 of them"),
        ((numpy.ones((4, 2)), numpy.ones(3), numpy.ones((2, 4))), "expected a point"),
        ((numpy.ones((4, 2)), numpy.full(2, numpy.nan), numpy.ones((2, 4))), "NaN"),
        (3, "got int"),
    ],
)
def test_points_of_another_form(point, message):
    problem = LeastSquaresProblem(DeepFixedRank(4, 4, 2, 2), Factorization(numpy.eye(4)))
    with pytest.raises(ValueError, match=message):
        minimize(problem, point)
