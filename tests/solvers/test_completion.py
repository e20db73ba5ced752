"""Completion of matrices: what is filled in, when the descent stops, what is refused."""

import numpy
import pytest

from dlngeo.solvers import Completion, Entries, complete

SHAPE = (14, 11)
RNG = numpy.random.default_rng(0)
TRUTH = 3 + numpy.outer(RNG.normal(size=SHAPE[0]), RNG.normal(size=SHAPE[1]))
PLACES = RNG.permutation(TRUTH.size)
ROWS, COLUMNS = PLACES // SHAPE[1], PLACES % SHAPE[1]
ENTRIES = Entries(ROWS, COLUMNS, TRUTH[ROWS, COLUMNS])
TRAINING, HELD_OUT = ENTRIES.chosen(slice(0, 110)), ENTRIES.chosen(slice(110, 125))


def run(**options) -> Completion:
    arguments: dict = {"depth": 2, "rank": 2} | options
    return complete(TRAINING, HELD_OUT, SHAPE, **arguments)


@pytest.mark.parametrize("solver", ["flow", "trust-regions", "conjugate-gradient"])
def test_a_matrix_of_rank_one_is_found(solver):
    result = run(solver=solver)
    assert result.success, result.status
    assert not result.interrupted
    assert result.held_out_error[result.stop] == result.held_out_error.min() < 0.1
    assert len(result.times) == len(result.training_error) == len(result.singular_values)
    assert (result.solver, result.depth, result.rank) == (solver, 2, 2)


@pytest.mark.parametrize("solver", ["flow", "conjugate-gradient"])
def test_the_errors_are_those_of_the_matrix(solver):
    result = run(solver=solver)
    rows, columns, values = HELD_OUT
    numpy.testing.assert_allclose(result.at(rows, columns), result.matrix[rows, columns])
    error = numpy.sqrt(numpy.mean((result.at(rows, columns) - values) ** 2))
    assert error == pytest.approx(result.held_out_error[result.stop], rel=1e-9)


def test_a_descent_that_runs_out_of_iterations_says_so():
    result = run(solver="steepest-descent", depth=7)
    assert not result.success
    assert result.status == "the descent has not ended: the answer may improve."


def test_the_flow_of_factors_and_of_the_matrix_are_one(monkeypatch):
    downstairs = run(depth=4, rank=3)
    monkeypatch.setattr("dlngeo.solvers.completion.SMALL", 0)
    upstairs = run(depth=4, rank=3)
    assert upstairs.n_evaluations != downstairs.n_evaluations
    assert upstairs.status == downstairs.status
    numpy.testing.assert_allclose(upstairs.times, downstairs.times)
    numpy.testing.assert_allclose(upstairs.matrix, downstairs.matrix, atol=1e-3)
    scale = upstairs.held_out_error.max()
    gap = abs(upstairs.held_out_error - downstairs.held_out_error)
    assert gap.max() < 1e-3 * scale


def test_many_layers_cost_no_more_than_few():
    result = run(depth=100)
    assert result.success, result.status
    assert result.n_evaluations < 10_000
    assert result.held_out_error.min() < 0.3 * result.held_out_error[0]


def test_depth_one_leaves_missing_entries_where_they_are():
    for center, before in ((False, 0.0), (True, TRAINING.values.mean())):
        result = run(depth=1, center=center)
        error = numpy.sqrt(numpy.mean((HELD_OUT.values - before) ** 2))
        assert result.mean == pytest.approx(before, rel=1e-14)
        assert result.held_out_error.min() > 0.9 * error


def rank_two():
    """Return a matrix of rank two, and two thirds of its entries."""
    rng = numpy.random.default_rng(0)
    matrix = rng.normal(size=(30, 2)) @ rng.normal(size=(2, 20))
    rows, columns = numpy.nonzero(rng.random(matrix.shape) > 1 / 3)
    return matrix, Entries(rows, columns, matrix[rows, columns])


@pytest.mark.parametrize(
    ("solver", "depth"),
    [
        *(("flow", depth) for depth in (2, 3)),
        *((solver, d) for solver in ("trust-regions", "conjugate-gradient") for d in (1, 2, 3)),
        ("steepest-descent", 2),
    ],
)
@pytest.mark.parametrize("unit", [1.0, 1e-200, 1e200])
def test_the_rank_is_that_of_what_comes_back(solver, depth, unit):
    matrix, entries = rank_two()
    entries = entries._replace(values=unit * entries.values)
    is_held_out = numpy.arange(entries.values.size) % 10 == 0
    training, held_out = entries.chosen(~is_held_out), entries.chosen(is_held_out)
    result = complete(training, held_out, matrix.shape, depth=depth, rank=2, solver=solver)
    completed = result.matrix / unit
    assert abs(completed - matrix).max() < 2e-5 * abs(matrix).max()
    sigma = numpy.linalg.svd(completed, compute_uv=False)
    assert sigma[2] < 1e-13 * sigma[0]


@pytest.mark.parametrize("solver", ["flow", "conjugate-gradient"])
@pytest.mark.parametrize("center", [False, True])
def test_entries_given_several_times_count_as_their_average(solver, center):
    once = run(solver=solver, center=center)
    twice = Entries(*[numpy.r_[array, array[::-1]] for array in TRAINING])
    same = complete(twice, HELD_OUT, SHAPE, depth=2, rank=2, solver=solver, center=center)
    numpy.testing.assert_allclose(same.matrix, once.matrix, atol=1e-3)  # of the integrator
    numpy.testing.assert_allclose(same.training_error[0], once.training_error[0], rtol=1e-6)
    # Copies that differ, by as much up as down, are the same data.
    change = numpy.where(numpy.arange(twice.values.size) < TRAINING.values.size, 0.5, -0.5)
    change[TRAINING.values.size :] = -change[: TRAINING.values.size][::-1]
    split = twice._replace(values=twice.values + change)
    same = complete(split, HELD_OUT, SHAPE, depth=2, rank=2, solver=solver, center=center)
    numpy.testing.assert_allclose(same.matrix, once.matrix, atol=1e-3)  # of the integrator
    numpy.testing.assert_allclose(same.training_error[0], once.training_error[0], rtol=1e-6)


def test_an_entry_given_more_often_has_more_weight():
    rows, columns = numpy.indices((2, 2)).reshape(2, -1)
    values = numpy.array([1.0, 0.0, 0.0, 1.0])
    # Of [[1, 0], [0, 1]] the matrix of rank one next to it keeps the entry that counts more.
    entries = Entries(*[numpy.r_[array, array[[0, 0]]] for array in (rows, columns, values)])
    averages, n_copies = entries.averaged()
    numpy.testing.assert_array_equal(n_copies, [3, 1, 1, 1])
    numpy.testing.assert_array_equal(averages.values, values)
    training, held_out = entries.chosen([0, 1, 3, 4, 5]), entries.chosen([2])
    result = complete(training, held_out, (2, 2), depth=2, rank=1, solver="conjugate-gradient")
    assert abs(result.matrix[0, 0] - 1) < abs(result.matrix[1, 1] - 1)


@pytest.mark.parametrize("solver", ["conjugate-gradient", "trust-regions"])
def test_few_entries_start_at_a_lower_rank(solver):
    values = numpy.array([1.0, 2.0, 4.0])
    training = Entries(numpy.array([0, 0, 1]), numpy.array([0, 1, 0]), values)
    training = training.chosen([0, 1])
    held_out = Entries(numpy.array([1]), numpy.array([0]), values[2:])
    result = complete(training, held_out, (3, 3), depth=2, rank=3, solver=solver)
    # Fitted to a thousandth, as the held-out entry, of another row, does not follow.
    numpy.testing.assert_allclose(result.at(*training[:2]), training.values, rtol=2e-3)
    assert numpy.linalg.matrix_rank(result.matrix) == 1


def test_errors_of_held_out_entries_are_weighed():
    twice = Entries(*[numpy.r_[array, array[:5]] for array in HELD_OUT])
    shifted = twice._replace(values=twice.values + (numpy.arange(len(twice.values)) % 2 - 0.5))
    result = complete(TRAINING, shifted, SHAPE, depth=2, rank=2, solver="conjugate-gradient")
    averages, n_copies = shifted.averaged()
    squares = (result.at(*averages[:2]) - averages.values) ** 2
    expected = numpy.sqrt((n_copies * squares).sum() / n_copies.sum())
    assert result.held_out_error[result.stop] == pytest.approx(expected, rel=1e-9)


def test_entries_are_averaged():
    entries = Entries(numpy.array([1, 0, 1, 1]), numpy.array([2, 3, 2, 0]), numpy.arange(4.0))
    averages, n_copies = entries.averaged()
    numpy.testing.assert_array_equal(averages, [[0, 1, 1], [3, 0, 2], [1.0, 3.0, 1.0]])
    numpy.testing.assert_array_equal(n_copies, [1, 1, 2])
    assert entries.variation == 2.0
    large = Entries(numpy.zeros(2, int), numpy.zeros(2, int), numpy.full(2, 1.5e308))
    assert large.averaged()[0].values == 1.5e308


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"depth": 0}, "the depth must be a positive integer"),
        ({"rank": 12}, "the rank must be an integer between 1 and the smallest width 11"),
        ({"solver": "newton"}, "the solver must be one of flow, trust-regions"),
    ],
)
def test_options_that_do_not_fit(options, message):
    with pytest.raises(ValueError, match=message):
        run(**options)


def test_entries_that_do_not_serve():
    nothing = ENTRIES.chosen(slice(0))
    with pytest.raises(ValueError, match="there are none of one kind"):
        complete(TRAINING, nothing, SHAPE, depth=2, rank=2)
    equal = TRAINING._replace(values=numpy.ones(len(TRAINING.values)))
    with pytest.raises(ValueError, match="all equal"):
        complete(equal, HELD_OUT, SHAPE, depth=2, rank=2, center=True)
    zero = TRAINING._replace(values=numpy.zeros(len(TRAINING.values)))
    with pytest.raises(ValueError, match="all zero"):
        complete(zero, HELD_OUT, SHAPE, depth=2, rank=2)
    tiny = TRAINING._replace(values=1e-310 * TRAINING.values)
    with pytest.raises(ValueError, match="below the range of double precision"):
        complete(tiny, HELD_OUT, SHAPE, depth=2, rank=2)
    with pytest.raises(ValueError, match="held-out entries are training entries too"):
        complete(ENTRIES, HELD_OUT, SHAPE, depth=2, rank=2)
    with pytest.raises(ValueError, match="too large for the flow"):
        complete(TRAINING, HELD_OUT, (10_000, 10_000), depth=2, rank=2)


@pytest.mark.parametrize("solver", ["flow", "trust-regions"])
def test_the_keyboard_interrupts(solver, monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("dlngeo.losses.linear_measurements.LeastSquares.value", interrupted)
    monkeypatch.setattr("dlngeo.losses.linear_measurements.LeastSquares.gradient", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run(solver=solver)
