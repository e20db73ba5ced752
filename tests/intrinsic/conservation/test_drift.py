"""Drift of laws along training: PyTorch, NumPy and autograd, by step size."""

import copy
from itertools import pairwise

import autograd
import numpy as np
import pytest
import sympy
import torch

from dlngeo.intrinsic import check_conservation, conservation_laws, conservation_laws_of
from dlngeo.intrinsic.conservation.network_laws import NetworkLaws
from dlngeo.solvers import Factorization, learning_flow

STEPS = (0.02, 0.01, 0.005)


def descend(widths, step, *, relu, bias, method=None, as_modules=False, **options):
    """Train a PyTorch network for one unit of time and return copies of its states."""
    torch.manual_seed(0)
    layers: list[torch.nn.Module] = []
    for before, after in pairwise(widths):
        layers += [torch.nn.Linear(before, after, bias=bias, dtype=torch.float64)]
        layers += [torch.nn.ReLU()] if relu else []
    model = torch.nn.Sequential(*(layers[:-1] if relu else layers))
    x = torch.randn(40, widths[0], dtype=torch.float64)
    y = torch.randn(40, widths[-1], dtype=torch.float64)
    optimiser = (method or torch.optim.SGD)(model.parameters(), lr=step, **options)
    states = []
    for _ in range(round(1 / step)):
        states.append(copy.deepcopy(model if as_modules else model.state_dict()))
        optimiser.zero_grad()
        ((model(x) - y) ** 2).mean().backward()
        optimiser.step()
    return states


@pytest.mark.parametrize("relu", [False, True])
@pytest.mark.parametrize("bias", [False, True])
def test_gradient_descent_drifts_in_proportion_to_the_step(relu, bias):
    runs = {step: descend((3, 6, 5, 2), step, relu=relu, bias=bias) for step in STEPS}
    kind = "relu" if relu else "linear"
    check = check_conservation(runs, kind=kind)
    laws = conservation_laws((3, 6, 5, 2), kind, bias).known
    assert check.names == laws.names
    np.testing.assert_array_equal(check.step_sizes, sorted(STEPS))
    assert check.drift.shape == check.relative_drift.shape == (3, len(laws.names))
    assert 0.9 < check.order < 1.1
    assert check.relative_drift.max() < 0.05
    # By hand, from the first of the laws.
    states = runs[STEPS[0]]
    inner = states[0].keys()
    values = []
    for state in states:
        arrays = [state[key].numpy() for key in inner]
        first, second = arrays[0], arrays[1 + bias]
        incoming = (first[0] ** 2).sum() + (arrays[1][0] ** 2 if bias else 0)
        values.append((second[:, 0] ** 2).sum() - incoming)
    np.testing.assert_allclose(
        check.drift[-1, 0], max(abs(v - values[0]) for v in values), rtol=1e-10
    )


def test_laws_of_linear_networks_do_not_hold_for_relu_networks():
    runs = {step: descend((3, 6, 5, 2), step, relu=True, bias=True) for step in STEPS}
    check = check_conservation(runs, kind="linear")
    assert check.order < 0.5
    assert "suspect" in check.status
    # Only those on the diagonal do.
    diagonal = [i for i, name in enumerate(check.names) if len(set(name[5:-1].split(","))) == 1]
    rest = np.setdiff1d(np.arange(len(check.names)), diagonal)
    assert check.relative_drift[0, rest].max() > 10 * check.relative_drift[0, diagonal].max()


@pytest.mark.parametrize(
    ("options", "order", "suspect"),
    [
        ({"weight_decay": 0.3}, 0, "weight decay"),
        ({"method": torch.optim.Adam}, 0, "Adam"),
        ({"momentum": 0.9}, 1, None),
    ],
    ids=["weight decay", "Adam", "momentum"],
)
def test_what_breaks_the_laws_is_suspected(options, order, suspect):
    runs = {step: descend((3, 4, 2), step, relu=True, bias=False, **options) for step in STEPS}
    check = check_conservation(runs, kind="relu")
    assert abs(check.order - order) < 0.2
    assert "momentum" not in check.status
    assert suspect in check.status if suspect else "suspect" not in check.status


def test_modules_and_state_dicts_are_the_same():
    states, modules = (
        descend((2, 3, 2), 0.05, relu=True, bias=True, as_modules=flag) for flag in (False, True)
    )
    one, other = (check_conservation(run, kind="relu") for run in (states, modules))
    np.testing.assert_array_equal(one.drift, other.drift)
    assert np.isnan(one.order)
    assert np.isnan(one.step_sizes).all()


@pytest.mark.parametrize("widths", [(3, 3, 3, 3), (2, 4, 3)], ids=str)
def test_learning_flows(widths):
    rng = np.random.default_rng(0)
    factors = tuple(rng.normal(size=(after, before)) for before, after in pairwise(widths))
    start = np.stack(factors) if len(set(widths)) == 1 else factors
    target = rng.normal(size=(widths[-1], widths[0]))
    flow = learning_flow(Factorization(target), start, t_final=2.0, rtol=1e-11, atol=1e-12)
    check = check_conservation(flow.states)
    assert check.relative_drift.max() < 1e-9
    # As a list of snapshots, and flat with the laws that are given.
    stacked = (
        flow.states
        if isinstance(flow.states, tuple)
        else tuple(flow.states[:, p] for p in range(len(widths) - 1))
    )
    snapshots = [tuple(layer[t] for layer in stacked) for t in range(len(flow.times))]
    flat = np.array([np.concatenate([w.ravel() for w in state]) for state in snapshots])
    laws = conservation_laws(widths)
    for trajectory in (snapshots, flat, list(flat)):
        again = check_conservation(trajectory, laws)
        np.testing.assert_array_equal(again.drift, check.drift)
    if isinstance(start, np.ndarray):
        again = check_conservation(list(flow.states))
        np.testing.assert_array_equal(again.drift, check.drift)


def test_laws_of_a_polynomial_map_along_autograd_descent():
    x = sympy.symbols("x:3")
    laws = conservation_laws_of(
        [x[0] * x[1] * x[2]], x, known=[x[0] ** 2 - x[1] ** 2, x[1] ** 2 - x[2] ** 2]
    )
    slope = autograd.grad(lambda t: (t[0] * t[1] * t[2] - 1) ** 2)

    def run(step):
        states = [np.array([0.9, 0.5, -0.4])]
        for _ in range(round(2 / step)):
            states.append(states[-1] - step * slope(states[-1]))
        return states

    check = check_conservation({step: run(step) for step in STEPS}, laws)
    assert check.names == laws.known.names
    assert 0.9 < check.order < 1.1
    np.testing.assert_allclose(
        check.relative_drift[0, 0],
        check.drift[0, 0] / max(t[0] ** 2 + t[1] ** 2 for t in run(min(STEPS))),
        rtol=1e-12,
    )
    # Factors of a network, for laws of flat parameters.
    factors = [[np.array([[c]]) for c in state] for state in run(0.01)]
    again = check_conservation(factors, laws)
    np.testing.assert_allclose(again.drift[0], check.drift[1], rtol=1e-12)


def test_networks_without_hidden_layers_have_no_laws():
    check = check_conservation([[np.eye(2)], [2 * np.eye(2)]])
    assert check.drift.shape == (1, 0)
    assert "no laws" in check.status


def test_what_stays_has_no_drift():
    state = [np.zeros((2, 2)), np.zeros((3, 2))]
    still = [state, [w.copy() for w in state]]
    check = check_conservation({0.1: still, 0.2: still})
    assert not check.drift.any()
    assert not check.relative_drift.any()
    assert np.isnan(check.order)


def test_drift_that_comes_back_counts():
    there = [np.eye(2), np.eye(2)]
    away = [2 * np.eye(2), np.eye(2)]
    check = check_conservation([there, away, [w.copy() for w in there]])
    np.testing.assert_array_equal(check.drift, [[3.0, 0.0, 3.0]])
    np.testing.assert_array_equal(check.relative_drift, [[3 / 5, 0.0, 3 / 5]])


def refusals():
    rng = np.random.default_rng(0)
    model = torch.nn.Linear(2, 2)
    one = [rng.normal(size=(2, 2)), rng.normal(size=(2, 2))]
    other = [rng.normal(size=(3, 2)), rng.normal(size=(2, 3))]
    bad = [one[0] * np.nan, one[1]]
    image = [rng.normal(size=(2, 2, 3, 3)), rng.normal(size=(2, 2))]
    flow = learning_flow(Factorization(np.eye(2)), tuple(one), t_final=0.1, n_saved=2)
    return {
        "one state": ([one], {}, "at least two"),
        "no state": ([], {}, "neither"),
        "views": ([model.state_dict(), model.state_dict()], {}, "copies"),
        "same module": ([model, model], {}, "copies"),
        "shapes": ([one, other], {}, "change along"),
        "diverged": ([one, bad], {}, "diverged"),
        "flat": (rng.normal(size=(3, 8)), {}, "give its laws"),
        "chain": ([[one[0], other[1]], [2 * one[0], other[1]]], {}, "expected parameters"),
        "convolution": ([image, [2 * w for w in image]], {}, "Give the laws"),
        "flow": (flow, {}, "flow.factors"),
        "list of a flow": ([flow], {}, "flow.parameters"),
        "keys": ({"weight": one, "bias": one}, {}, "step sizes"),
        "negative": ({-0.1: [one, one]}, {}, "positive"),
        "laws": ([one, [2 * w for w in one]], {"laws": np.linalg.norm}, "conservation_laws"),
        "kind": ([one, [2 * w for w in one]], {"kind": "tanh"}, "linear, relu"),
        "size": (
            [one, [2 * w for w in one]],
            {"laws": NetworkLaws((2, 3, 2), "linear", False)},
            "expected parameters",
        ),
    }


@pytest.mark.parametrize("case", refusals())
def test_refused(case):
    trajectory, options, message = refusals()[case]
    with pytest.raises(ValueError, match=message):
        check_conservation(trajectory, **options)
