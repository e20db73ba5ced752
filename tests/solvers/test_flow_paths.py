"""Flows of a vector: states at the saved times, endings, options."""

import numpy
import pytest

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
        ({"method": "Euler"}, "method must be one of DOP853, RK45, RK23, LSODA, got 'Euler'"),
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


def test_an_end_out_of_reach_ends_the_flow():
    """Steps of 1e-10 do not reach one: told after some thousands of them."""
    integration = Integration(1.0, 3, 1e-6, 1e-9, "RK23")
    path = flow_path(
        lambda t, x: numpy.array([-1e10 * (x[0] - numpy.sin(t))]),
        numpy.zeros(1),
        integration,
        name="flow",
        remedy="take LSODA.",
    )
    assert not path.success
    assert "take LSODA" in path.status
    assert path.n_evaluations < 20_000


@pytest.mark.parametrize("method", ["DOP853", "RK45"])
def test_a_stiff_flow_goes_on_by_steps_that_need_not_be_short(method):
    """Relaxation at the rate 1e6 to a slow motion: ``ẋ = -λ (x - sin t)``."""
    rates = numpy.array([1e6, 1.0])

    def end(n_copies: int):
        return flow_path(
            lambda t, x: -numpy.repeat(rates, n_copies) * (x - numpy.sin(t)),
            numpy.ones(2 * n_copies),
            Integration(n_copies**-2.0, 5, 1e-8, 1e-11, method),
            name="flow",
            remedy="",
        )

    path = end(1)
    assert path.success
    assert path.n_evaluations < 5_000
    t = path.times
    for rate, values in zip(rates, path.states.T, strict=True):
        slow = rate * (rate * numpy.sin(t) - numpy.cos(t)) / (1 + rate**2)
        exact = slow + (1 + rate / (1 + rate**2)) * numpy.exp(-rate * t)
        numpy.testing.assert_allclose(values, exact, atol=1e-6)
    # Jacobians of many entries cost more than short steps.
    assert end(300).n_evaluations > 15
