"""Flows of a vector: states at the saved times, endings, options."""

from dataclasses import replace

import numpy
import pytest

from dlngeo.solvers import flow_paths
from dlngeo.solvers.flow_paths import METHODS, Integration, as_float, flow_path


def decay(start, integration, velocity=lambda t, x: -x):
    return flow_path(velocity, numpy.asarray(start), integration, name="decay", remedy="stop.")


@pytest.mark.parametrize("method", METHODS)
def test_states_at_equidistant_times(method):
    path = decay([1.0, 2.0], Integration(2.0, 5, 1e-8, 1e-10, method))
    assert path.success
    assert path.status == "reached t = 2."
    numpy.testing.assert_array_equal(path.times, [0.0, 0.5, 1.0, 1.5, 2.0])
    exact = numpy.exp(-path.times)[:, None] * [1.0, 2.0]
    numpy.testing.assert_allclose(path.states, exact, atol=1e-6)
    assert path.n_evaluations > 10


def test_outcome_is_all_but_the_states():
    path = decay([1.0], Integration(1.0, 2, 1e-6, 1e-9))
    assert set(path.outcome) == {"times", "n_evaluations", "success", "interrupted", "status"}
    assert path.outcome["times"] is path.times


def test_where_there_is_no_velocity_the_path_ends():
    path = decay([1.0], Integration(9.0, 10, 1e-6, 1e-9), lambda t, x: None if x[0] < 0.5 else -x)
    assert not path.success
    assert path.status.endswith(": stop.")
    assert path.times[-1] == pytest.approx(numpy.log(2), abs=1e-3)
    assert len(path.times) == len(path.states) == 2


def test_the_keyboard_keeps_what_was_reached():
    def interrupted(t, x):
        if t > 2:
            raise KeyboardInterrupt
        return -x

    path = decay([1.0], Integration(9.0, 10, 1e-6, 1e-9), interrupted)
    assert path.interrupted
    assert not path.success
    assert "start again from the last state" in path.status
    assert 0 < path.times[-1] <= 2


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"t_final": 0.0}, "t_final must be positive and finite, got 0.0"),
        ({"rtol": float("nan")}, "rtol must be positive"),
        ({"atol": float("inf")}, "atol must be positive"),
        ({"n_saved": 1}, "n_saved must be an integer of at least 2"),
        ({"method": "Euler"}, "method must be one of DOP853, RK45, RK23, LSODA, RKC, got 'Euler'"),
    ],
)
def test_options_are_checked(options, message):
    with pytest.raises(ValueError, match=message):
        Integration(**({"t_final": 1.0, "n_saved": 2, "rtol": 1e-6, "atol": 1e-9} | options))


def test_factors_become_floats():
    assert as_float([[[1, 2]], [[3], [4]]])[1].dtype == float
    assert isinstance(as_float([[[1, 2]], [[3], [4]]]), tuple)
    assert as_float(numpy.ones((2, 3, 3), dtype=int)).dtype == float
    with pytest.raises(ValueError, match=r"got shape \(3,\)"):
        as_float(numpy.ones(3))


@pytest.mark.parametrize("n_saved", [1, 2.5, "3", None, True, [3], 10**9, numpy.nan])
def test_numbers_of_saved_states(n_saved):
    with pytest.raises(ValueError, match="n_saved must be an integer of at least 2"):
        Integration(1.0, n_saved, 1e-6, 1e-9)


def follow(rates, end, integration):
    """Flow of ``ẋ = -λ (x - sin t)`` from ones."""
    return flow_path(
        lambda t, x: -rates * (x - numpy.sin(t)),
        numpy.ones(len(rates)),
        replace(integration, t_final=end),
        name="flow",
        remedy="",
    )


def exactly(rates, times):
    t = times[:, None]
    slow = rates * (rates * numpy.sin(t) - numpy.cos(t)) / (1 + rates**2)
    return slow + (1 + rates / (1 + rates**2)) * numpy.exp(-rates * t)


def test_an_end_out_of_reach_ends_the_flow(monkeypatch):
    """Steps of 1e-10 do not reach one: told after some thousands of them."""
    monkeypatch.setattr(flow_paths, "STRETCH", 3_000)
    path = follow(numpy.array([1e10]), 1.0, Integration(1.0, 3, 1e-6, 1e-9, "RK23"))
    assert not path.success
    assert path.status.startswith("came to t = ")
    assert "another method, LSODA for few numbers and RKC for many" in path.status
    assert path.n_evaluations < 10_000


def test_a_flow_that_gains_pace_is_not_given_up(monkeypatch):
    """Of ``ẋ = -x / (1 + t)``, whose every step is longer than the last by a factor."""
    monkeypatch.setattr(flow_paths, "STRETCH", 100)
    monkeypatch.setattr(flow_paths, "MOST", 100)
    path = decay([1.0], Integration(1e9, 3, 1e-10, 1e-12), lambda t, x: -x / (1 + t))
    assert path.success
    assert path.n_evaluations > 300


@pytest.mark.parametrize("method", ["DOP853", "RK45"])
@pytest.mark.parametrize("n_copies", [1, 300])
def test_a_stiff_flow_goes_on_by_steps_that_need_not_be_short(method, n_copies):
    """Relaxation at the rate 1e6 to a slow motion, of few numbers and of many."""
    rates = numpy.repeat([1e6, 1.0], n_copies)
    path = follow(rates, 1.0, Integration(1.0, 5, 1e-6, 1e-9, method))
    assert path.success
    assert path.n_evaluations < (5_000 if n_copies == 1 else 30_000)
    numpy.testing.assert_allclose(path.states, exactly(rates, path.times), atol=5e-6)


def test_times_to_save_may_be_given():
    path = decay([1.0], Integration(2.0, 2, 1e-9, 1e-12, t_eval=[0.5, 0.75, 1.9]))
    assert path.success
    numpy.testing.assert_array_equal(path.times, [0.5, 0.75, 1.9])
    numpy.testing.assert_allclose(path.states[:, 0], numpy.exp(-path.times), atol=1e-8)
    path = decay([1.0], Integration(None, 2, 1e-6, 1e-9, t_eval=[0, 3]))
    assert path.status == "reached t = 3."
    assert path.times.tolist() == [0, 3]
    # Where it ends early is saved as well.
    path = decay([1.0], Integration(9.0, 2, 1e-6, 1e-9, t_eval=[0.1, 8.0]), lambda t, x: None)
    assert not path.success
    assert path.times.tolist() == [0.0]


@pytest.mark.parametrize(
    ("t_final", "t_eval", "message"),
    [
        (None, None, "give t_final=, or t_eval="),
        (1.0, [0.5, 2.0], "t_eval must end by t_final=1, got 2"),
        (1.0, [0.5, 0.5], "ascending times from zero on"),
        (1.0, [-0.5, 0.5], "ascending times from zero on"),
        (1.0, [], "ascending times"),
        (1.0, [[0.5]], "ascending times"),
        (1.0, [0.1, numpy.nan], "t_eval holds NaN"),
        (None, [0.0], "t_final must be positive"),
    ],
)
def test_times_that_do_not_serve(t_final, t_eval, message):
    with pytest.raises(ValueError, match=message):
        Integration(t_final, 2, 1e-6, 1e-9, t_eval=t_eval)


@pytest.mark.parametrize("method", METHODS)
def test_an_event_ends_the_flow_where_it_is(method):
    integration = Integration(9.0, 10, 1e-9, 1e-12, method)
    path = flow_path(
        lambda t, x: -x,
        numpy.ones(2),
        integration,
        name="decay",
        remedy="",
        until=lambda x: x[0] - 0.1,
    )
    assert path.success
    assert "until= was met" in path.status
    assert path.times[-1] == pytest.approx(numpy.log(10), abs=1e-6)
    assert path.states[-1, 0] == pytest.approx(0.1, abs=1e-12)
    numpy.testing.assert_array_equal(path.times[:-1], [0.0, 1.0, 2.0])


def test_events_that_are_met_at_once_or_never():
    def run(until):
        return flow_path(
            lambda t, x: -x,
            numpy.ones(1),
            Integration(1.0, 3, 1e-6, 1e-9),
            name="decay",
            remedy="",
            until=until,
        )

    assert run(lambda x: 0.0).times.tolist() == [0.0]
    never = run(lambda x: 1.0)
    assert never.success
    assert never.status == "reached t = 1, but not until=."
    # A function that is not defined somewhere does not end it.
    assert run(lambda x: numpy.nan if x < 0.5 else 1.0).times[-1] == 1.0
