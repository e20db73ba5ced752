"""Which completions of a matrix the flows find: what depth is known to do, and how fast.

The laws are asymptotic ones of small starts and long times. Their derivations are ours, and
short: they are in the comments, and need no kernel of the package.
"""

import math

import numpy
import pytest

from dlngeo.core.networks.balancing import factorize
from dlngeo.manifolds import DeepFixedRank
from dlngeo.solvers import LeastSquaresProblem, MatrixCompletion, learning_flow, minimize

DIAGONAL = MatrixCompletion(numpy.eye(2), numpy.eye(2) > 0)
CORNER = MatrixCompletion(
    numpy.array([[0.0, 1.0], [1.0, 0.0]]), numpy.array([[False, True], [True, True]])
)
"""Entries 1, 1 and 0; the first one of the matrix is missing."""


def small_starts(size, count, seed=0):
    starts = numpy.random.default_rng(seed).normal(size=(count, 2, 2))
    return size * starts / numpy.linalg.norm(starts, axis=(-2, -1), keepdims=True)


def stages(loss, start, depth, t_final):
    """Yield flows that follow each other, each as long as all before."""
    state, options = (
        (start, {"depth": depth}) if math.isinf(depth) else (factorize(start, depth), {})
    )
    options |= {"rtol": 1e-8, "atol": 1e-12, "method": "LSODA", "n_saved": 10}
    clock, duration = 0.0, 4.0
    while clock < t_final:
        flow = learning_flow(loss, state, t_final=duration, **options)
        assert flow.success
        yield clock + flow.times[1:], flow.loss[1:], flow.observables[1:]
        state = flow.states[-1]
        clock = duration = clock + duration


def settled(start, depth):
    """Return the completion of a diagonal that a flow tends to."""
    for _, loss, matrices in stages(DIAGONAL, start, depth, 1e9):
        if loss[-1] < 1e-14:
            return matrices[-1]
    raise AssertionError("the flow has not settled")


def history(start, depth, t_final):
    columns = zip(*stages(CORNER, start, depth, t_final), strict=True)
    return tuple(numpy.concatenate(column) for column in columns)


def asymmetry(size, depth):
    ends = numpy.array([settled(start, depth) for start in small_starts(size, 6)])
    return numpy.median(abs(numpy.log(abs(ends[:, 0, 1] / ends[:, 1, 0]))))


def low_rank_task(n, rank, count):
    rng = numpy.random.default_rng(0)
    truth = rng.normal(size=(n, rank)) @ rng.normal(size=(rank, n))
    truth *= n / numpy.linalg.norm(truth)
    mask = numpy.zeros(n * n, dtype=bool)
    mask[rng.choice(n * n, count, replace=False)] = True
    return truth, MatrixCompletion(truth, mask.reshape(n, n))


def error_of_flow(depth):
    truth, loss = low_rank_task(30, 2, 300)
    start = numpy.stack([1e-3 ** (1 / depth) * numpy.eye(30)] * depth)
    flow = learning_flow(loss, start, t_final=20.0, n_saved=2, rtol=1e-5, atol=1e-8)
    assert flow.loss[-1] < 1e-3 * flow.loss[0]
    return ((flow.observables[-1] - truth) ** 2).mean()


def error_of_trust_regions(depth):
    truth, loss = low_rank_task(30, 2, 300)
    problem = LeastSquaresProblem(DeepFixedRank(30, 30, 10, depth), loss)
    result = minimize(problem, problem.spectral_point(1e-5), stop=lambda _, cost: cost < 1e-4)
    assert result.cost < 1e-4
    u, s, vt = result.point
    return (((u * s) @ vt - truth) ** 2).mean()


@pytest.mark.parametrize("error", [error_of_flow, error_of_trust_regions])
def test_depth_finds_the_matrix_of_low_rank(error):
    # The entries are fitted at every depth; at depth 1 the flow leaves all others at zero.
    errors = [error(depth) for depth in (1, 2, 3)]
    assert errors[0] > 0.4
    assert errors[1] < errors[0] / 2
    assert errors[2] < errors[1] / 10


def test_completions_of_a_diagonal_at_depth_two():
    # X_ij = u_i·v_j, and each pair (u_i, v_i) moves alone, by u̇ = (1 - u·v) v and v̇ = (1 - u·v) u.
    # A small one grows along u + v, to a unit vector w: a = b = w_1·w_2, on the curve ab = 1 only
    # if w_1 = ±w_2.
    for start in small_starts(1e-5, 6):
        first, second = factorize(start, 2)
        w = second + first.T
        w /= numpy.linalg.norm(w, axis=-1, keepdims=True)
        numpy.testing.assert_allclose(settled(start, 2), w @ w.T, atol=1e-4)


@pytest.mark.parametrize("depth", [3, 4, math.inf])
def test_completions_of_a_diagonal_are_of_rank_one(depth):
    ends = numpy.array([settled(start, depth) for start in small_starts(1e-5, 6)])
    numpy.testing.assert_allclose(ends[:, 0, 1] * ends[:, 1, 0], 1, atol=0.02)


@pytest.mark.parametrize("depth", [2, 3, 4])
def test_completions_concentrate_by_a_power_of_the_start(depth):
    # Near zero, at rank one, d ln σ = Nσ^{1-2/N} cos θ dt and dθ = -2σ^{1-2/N} sin θ dt for the
    # angle θ of the singular vectors: sin θ ~ σ^{-2/N}.
    ratio = asymmetry(1e-3, depth) / asymmetry(1e-5, depth)
    assert abs(math.log(ratio) / math.log(100) - 2 / depth) < 0.05


def test_completions_concentrate_by_the_logarithm_of_the_start_at_infinite_depth():
    sizes = numpy.array([1e-1, 1e-3, 1e-5])
    inverse = numpy.array([1 / asymmetry(size, math.inf) for size in sizes])
    steps = numpy.diff(inverse)
    assert steps[0] > 1
    assert abs(steps[1] / steps[0] - 1) < 0.1


@pytest.mark.parametrize("depth", [3, 4, math.inf])
def test_missing_entry_grows_without_bound(depth):
    # det X > 0 is kept, so |x X_11| > X_01 X_10, from which the bound for losses ℓ < 1/4.
    start = numpy.array([[0.02, 0.01], [-0.01, 0.02]])
    times, loss, matrices = history(start, depth, 1e4)
    assert (numpy.linalg.det(matrices) > 0).all()
    entry = abs(matrices[:, 0, 0])
    low = loss < 0.25
    bound = (1 - numpy.sqrt(loss[low])) ** 2 / numpy.sqrt(2 * loss[low])
    assert (entry[low] > bound).all()
    sigma = numpy.linalg.svd(matrices[-1], compute_uv=False)
    assert sigma[0] > 50
    assert sigma[1] < 0.02
    # In the valley X ≈ [[x, 1], [1, D/x]], D = 1 + det X, the ones stay where they are if the
    # gradient there is -X_11/x; then it is -X_11/x² in the leading singular frame q ≈ (1, 1/x), and
    # ẋ = N x^{2-2/N} X_11/x²: d x^{2+2/N} = (2+2/N) N D dt. At infinite depth without the N.
    product = 1 + numpy.linalg.det(matrices[-1])
    assert abs(entry[-1] * math.sqrt(2 * loss[-1]) / product - 1) < 1e-3
    power = 2 + 2 / depth
    rate = numpy.diff(entry[-2:] ** power)[0] / numpy.diff(times[-2:])[0]
    expected = power * (1 if math.isinf(depth) else depth) * product
    assert abs(rate / expected - 1) < 0.01


def test_determinant_at_infinite_depth():
    # In the valley above d log|det X| = -tr(Xᵀ∇E) dt = D (2 - D) / x² dt, and dx = D/x dt, so that
    # det X / ((1 - det X) x) is constant: det X tends to 1, or to -1 at a finite x.
    start = numpy.array([[0.02, 0.01], [-0.01, 0.02]])
    matrices = history(start, math.inf, 1e4)[2]
    entry = abs(matrices[:, 0, 0])
    determinant = numpy.linalg.det(matrices)[entry > 100]
    assert determinant[-1] > determinant[0] + 0.1
    constant = determinant / ((1 - determinant) * entry[entry > 100])
    numpy.testing.assert_allclose(constant, constant[-1], rtol=5e-3)


def test_missing_entry_stays_bounded_from_the_other_sign():
    start = numpy.array([[0.02, 0.01], [0.01, -0.02]])
    for depth in (1, 2, 3, math.inf):
        loss, matrices = history(start, depth, 1e4)[1:]
        assert loss[-1] < 1e-12
        assert abs(matrices[-1, 0, 0]) < 20
