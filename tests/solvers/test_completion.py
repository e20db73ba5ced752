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
    result = run(solver="steepest-descent")
    assert not result.success
    assert result.status == "the descent has not ended: the answer may improve."


def test_depth_one_leaves_missing_entries_where_they_are():
    result = run(depth=1)
    error = numpy.sqrt(numpy.mean((HELD_OUT.values - TRAINING.values.mean()) ** 2))
    assert result.held_out_error.min() > 0.9 * error


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"depth": 0}, "the depth must be at least 1"),
        ({"rank": 12}, "the rank must be between 1 and 11"),
        ({"solver": "newton"}, "the solver must be flow, trust-regions"),
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
        complete(equal, HELD_OUT, SHAPE, depth=2, rank=2)
    with pytest.raises(ValueError, match="too large for the flow"):
        complete(TRAINING, HELD_OUT, (10_000, 10_000), depth=2, rank=2)


@pytest.mark.parametrize("solver", ["flow", "trust-regions"])
def test_the_keyboard_interrupts(solver, monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("dlngeo.solvers.losses.LeastSquares.value", interrupted)
    monkeypatch.setattr("dlngeo.solvers.losses.LeastSquares.gradient", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run(solver=solver)
