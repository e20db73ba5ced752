"""Relaxed balanced factors: construction, training upstairs and downstairs, counterexamples."""

import math

import numpy as np
import pytest

from dlngeo.core.networks.balancing import balance, factorize
from dlngeo.core.networks.network import end_to_end, moment_map
from dlngeo.intrinsic import intrinsic_counterexample, relaxed_balanced, relaxed_offsets
from dlngeo.manifolds import FixedRankMatrices, RelaxedDepthMetric
from dlngeo.solvers import Factorization, learning_flow
from tests.core.brute import assert_close, jacobian, random_factors
from tests.core.libraries import ARRAYS

TIGHT: dict = {"t_final": 0.5, "rtol": 1e-12, "atol": 1e-14, "n_saved": 6}

# Depths 2 to 5, square and rectangular, null vectors on each side, ties of the shifts.
TRAINED = [
    ((3, 3, 3), (0.5,), 3),
    ((3, 3, 3), (-0.5,), 3),
    ((3, 2, 4), (0.7,), 2),
    ((2, 2, 4), (0.6,), 2),
    ((2, 4, 3), (0.0,), 2),
    ((2, 3, 3, 3), (0.5, -0.4), 2),
    ((3, 3, 3, 3), (-0.5, 0.5), 3),
    ((3, 2, 2, 2, 4), (0.3, -0.6, 0.4), 2),
    ((2, 2, 2, 2, 2, 3), (0.3, -0.6, 0.2, 0.4), 2),
]


def matrix_of(shape, rank, seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(shape[0], rank)) @ rng.normal(size=(rank, shape[1]))


def assert_relaxed(factors, offsets, tolerance=1e-13):
    size = sum(np.sum(w**2) for w in factors)
    for moment, offset in zip(moment_map(tuple(factors)), offsets, strict=True):
        assert_close(moment, offset * np.eye(len(moment)), tolerance, scale=size)


@pytest.mark.parametrize(("widths", "offsets", "rank"), TRAINED)
@pytest.mark.parametrize("weight_decay", [0.0, 0.3])
def test_training_is_the_flow_downstairs(widths, offsets, rank, weight_decay):
    """To 1e-10, with a tight integrator; also while the offsets decay."""
    start = matrix_of((widths[-1], widths[0]), rank)
    loss = Factorization(matrix_of(start.shape, min(start.shape), seed=1))
    factors = relaxed_balanced(start, offsets, widths)
    options = {**TIGHT, "rank": rank, "weight_decay": weight_decay}
    up = learning_flow(loss, factors, **options)
    down = learning_flow(loss, start, offsets=offsets, widths=widths, **options)
    assert abs(up.observables[-1] - start).max() > 0.1
    assert_close(down.observables, up.observables, 1e-10)
    assert down.entropy is None
    here = [w[-1] for w in up.factors] if isinstance(up.factors, tuple) else up.factors[-1]
    decayed = [math.exp(-2 * weight_decay * 0.5) * c for c in offsets]
    assert_relaxed(here, decayed, 1e-10)


def test_training_runs_through_lower_rank_with_one_factor_at_the_top():
    """From ``det X > 0`` to a minimum with ``det X < 0``, which balanced training cannot reach."""
    start, loss = np.array([[1.0, 0.3], [0.1, 0.8]]), Factorization(np.diag([1.0, -1.0]))
    options: dict = {"t_final": 20.0, "rtol": 1e-9, "atol": 1e-12}
    down = learning_flow(loss, start, offsets=(0.5,), **options)
    up = learning_flow(loss, relaxed_balanced(start, (0.5,)), **options)
    assert down.success
    assert down.status == "reached t = 20."
    assert_close(down.observables, up.observables, 1e-6)
    assert_close(down.observables[-1], loss.target, 1e-6)
    from_zero = learning_flow(loss, np.zeros((2, 2)), offsets=(0.5,), **options)
    assert_close(from_zero.observables[-1], loss.target, 1e-6)
    tied = learning_flow(loss, start, offsets=(0.5, -0.5), t_final=60.0)
    assert not tied.success or "det X changed its sign" in tied.status or tied.loss[-1] > 0.4


def test_offsets_may_be_an_array():
    kinds: list = [(0.5, 0.1), np.array([0.5, 0.1])]
    one, other = (
        learning_flow(Factorization(np.eye(2)), 2 * np.eye(2), offsets=offsets, t_final=0.1)
        for offsets in kinds
    )
    np.testing.assert_array_equal(one.states, other.states)


def test_gradient_of_the_metric_is_the_velocity_of_training():
    space = FixedRankMatrices(3, 4, rank=2, equip=False)
    space.equip_with_metric(RelaxedDepthMetric, offsets=(0.4, -0.2))
    matrix, covector = matrix_of((3, 4), 2), np.cos(np.arange(12.0)).reshape(3, 4)
    columns = jacobian(relaxed_balanced(matrix, (0.4, -0.2), (4, 2, 2, 3)))
    expected = (columns @ columns.T @ covector.ravel()).reshape(3, 4)
    assert_close(space.metric.riemannian_gradient(covector, matrix), expected, 1e-12)


@pytest.mark.parametrize(
    "matrix",
    [np.eye(3), np.diag([1.0, 1 + 1e-12, 2.0]), np.diag([1.0, 1e-6, 0.0]), np.zeros((3, 3))],
    ids=["identity", "gap", "deficient", "zero"],
)
@pytest.mark.parametrize("offsets", [(), (0.0,), (0.5,), (-0.5, 0.3), (0.5, -0.5), (1e-9,)])
@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
def test_construction_at_hard_points(matrix, offsets, scale):
    factors = relaxed_balanced(scale * matrix, offsets)
    assert factors.shape == (len(offsets) + 1, 3, 3)
    assert_close(end_to_end(factors), scale * matrix, 1e-13, scale=scale)
    assert_relaxed(factors, offsets)
    found = relaxed_offsets(factors)
    assert found.defect < 1e-14
    size = max(1.0, np.sum(factors**2))
    np.testing.assert_allclose(found.offsets, offsets, atol=1e-14 * size)


@pytest.mark.parametrize(
    ("widths", "offsets"),
    [((2, 4, 3), (0.0,)), ((1, 2, 3), (0.5,)), ((4, 3, 3), (-0.3,)), ((3, 2, 2, 4), (0.5, -0.5))],
)
@pytest.mark.parametrize("rank", [0, 1])
def test_construction_of_other_widths_and_lower_rank(widths, offsets, rank):
    matrix = matrix_of((widths[-1], widths[0]), rank)
    factors = relaxed_balanced(matrix, offsets, widths)
    assert [w.shape for w in factors] == list(zip(widths[1:], widths[:-1], strict=True))
    assert_close(end_to_end(factors), matrix, 1e-12, scale=1.0)
    assert_relaxed(factors, offsets, 1e-12)


def test_zero_offsets_are_balanced():
    matrix = matrix_of((3, 4), 3)
    ours, theirs = relaxed_balanced(matrix, (0, 0)), factorize(matrix, 3)
    assert_close(sum(np.sum(w**2) for w in ours), sum(np.sum(w**2) for w in theirs), 1e-12)


def test_batches_and_libraries():
    matrices = np.random.default_rng(0).normal(size=(5, 3, 4))
    batch = relaxed_balanced(matrices, (0.3,), (4, 3, 3))
    single = relaxed_balanced(matrices[2], (0.3,), (4, 3, 3))
    assert_close(end_to_end(batch), matrices, 1e-12)
    assert_close(end_to_end(single), end_to_end(batch)[2], 1e-12)
    assert relaxed_offsets(batch).offsets.shape == (5, 1)
    for make in ARRAYS.values():
        factors = relaxed_balanced(make(matrices), (0.3,), (4, 3, 3))
        assert_close(np.asarray(end_to_end(factors)), matrices, 1e-12)
        assert float(relaxed_offsets(factors).defect.max()) < 1e-14


@pytest.mark.parametrize(
    ("shape", "offsets", "widths", "message"),
    [
        ((2, 2), (0.5,), (2, 3, 2), "layer 2 has only 2"),
        ((2, 2), (0.5,), (2, 2, 2, 2), "need 3 widths"),
        ((3, 3), (0.5,), (3, 2, 3), "expected a matrix of rank 2"),
        ((2, 2), (math.inf,), None, "finite"),
        ((2, 2), 0.5, None, "sequence of N-1 numbers"),
    ],
)
def test_refusals_say_why(shape, offsets, widths, message):
    with pytest.raises(ValueError, match=message):
        relaxed_balanced(np.eye(*shape), offsets, widths)
    with pytest.raises(ValueError, match="NaN"):
        relaxed_balanced(math.nan * np.eye(2), (0.5,))


@pytest.mark.parametrize(
    ("initial", "options", "message"),
    [
        (np.eye(2), {"offsets": (0.5,), "depth": 2}, "depth=2 and offsets"),
        (np.eye(2), {"depth": 2, "widths": (2, 2, 2)}, "widths= goes with offsets="),
        (np.ones((2, 2, 2)), {"offsets": (0.5,)}, "leave out offsets"),
        (np.eye(2), {"offsets": 0.5}, "sequence of N-1 numbers"),
        (np.eye(2), {"offsets": 0.0}, "sequence of N-1 numbers"),
        (np.ones((3, 1)), {"offsets": (0.5,), "widths": (1, 2, 3)}, "not of X"),
    ],
)
def test_learning_flow_refuses(initial, options, message):
    with pytest.raises(ValueError, match=message):
        learning_flow(Factorization(np.eye(2)), initial, t_final=1.0, **options)


# --- counterexamples ------------------------------------------------------------------


def normalised(widths, seed=0):
    return tuple(
        w / math.sqrt(w.shape[1]) for w in random_factors(widths, np.random.default_rng(seed))
    )


@pytest.mark.parametrize("widths", [(2, 2, 2), (3, 3, 3), (2, 2, 2, 2), (3, 2, 4), (2, 3, 2)])
def test_counterexamples_off_the_relaxed_balanced_set(widths):
    """The same ``X`` and ``μ``, other flows of ``X``: for losses that know nothing of it."""
    factors = normalised(widths)
    assert relaxed_offsets(factors).defect > 0.05
    result = intrinsic_counterexample(factors)
    assert result.found
    assert result.violation > 0.05
    assert result.gap > 0.02
    assert_close(end_to_end(result.other), end_to_end(factors), 1e-12)
    for one, other in zip(moment_map(result.other), moment_map(factors), strict=True):
        assert_close(one, other, 1e-12, scale=1.0)
    loss = Factorization(matrix_of((widths[-1], widths[0]), min(widths), seed=1))
    one, other = (
        learning_flow(loss, w, t_final=0.5, rtol=1e-9, atol=1e-12, n_saved=5).observables
        for w in (factors, result.other)
    )
    assert_close(one[0], other[0], 1e-12)
    assert abs(one[-1] - other[-1]).max() > 1e-2


@pytest.mark.parametrize(("widths", "offsets", "rank"), TRAINED)
def test_none_on_the_relaxed_balanced_set(widths, offsets, rank):
    factors = relaxed_balanced(matrix_of((widths[-1], widths[0]), rank), offsets, widths)
    result = intrinsic_counterexample(factors)
    assert not result.found
    assert result.violation < 1e-11
    assert "holds" in result.status


def test_one_where_null_vectors_have_two_levels():
    """Relaxed balanced, widths (1, 2, 3): the criterion fails as the metric refuses."""
    factors = relaxed_balanced(np.array([[1.0], [0.5], [-0.3]]), (0.5,), (1, 2, 3))
    assert intrinsic_counterexample(factors).found
    assert not intrinsic_counterexample(balance(factors)).found


def test_one_factor_has_no_counterexample():
    assert intrinsic_counterexample((np.eye(2),)).violation == 0
    assert intrinsic_counterexample(np.zeros((2, 2, 2))).violation == 0


def test_search_refuses():
    with pytest.raises(ValueError, match="not of a batch"):
        intrinsic_counterexample(np.ones((3, 2, 2, 2)))
    with pytest.raises(ValueError, match="distance"):
        intrinsic_counterexample(np.ones((2, 2, 2)), distance=-1.0)
