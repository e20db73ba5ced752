"""Steps: which states are kept, and how they end."""

import numpy
import pytest

from dlngeo.solvers.step_paths import draw_batch, step_path


def halve(state, k):
    return state / 2


def run(step, n_steps=10, n_saved=3, **options):
    return step_path(step, numpy.ones(2), n_steps, n_saved, name="", remedy="Halve.", **options)


def test_states_after_nearly_equidistant_steps():
    path = run(halve)
    assert path.success
    assert path.status == "made all 10 steps."
    assert path.steps.tolist() == [0, 5, 10]
    numpy.testing.assert_array_equal(path.states[:, 0], 0.5**path.steps)
    assert run(halve, n_steps=2, n_saved=50).steps.tolist() == [0, 1, 2]


def test_events_end_the_steps():
    path = run(halve, until=lambda x: x[0] - 0.2)
    assert path.success
    assert path.steps.tolist() == [0, 3]
    assert path.status == "stopped after 3 steps, where until= was met."
    assert run(halve, until=lambda x: 1.0).status.endswith("but until= was not met.")
    assert run(halve, until=lambda x: 0.0).steps.tolist() == [0]


def test_what_has_no_next_state_ends_with_the_remedy():
    path = run(lambda x, k: x * (numpy.inf if k == 4 else 1))
    assert not path.success
    assert path.status == "stopped after 4 of 10 steps: it left all bounds. Halve."
    assert path.steps.tolist() == [0, 4]

    def fails(x, k):
        if k == 6:
            raise ValueError("no gradient.")
        return x

    assert run(fails).status == "stopped after 6 of 10 steps: no gradient. Halve."
    with pytest.raises(ValueError, match="no gradient"):
        run(lambda x, k: fails(x, 6))


def test_batches():
    rng = numpy.random.default_rng(0)
    assert sorted(draw_batch(rng, 5, 5, replacement=False)) == [0, 1, 2, 3, 4]
    assert len(set(draw_batch(rng, 2, 9, replacement=True))) == 2
