"""Exact curves against learning flows, at every depth, and what is refused."""

from typing import Any

import numpy as np
import pytest

import dlngeo
from dlngeo.networks import LinearNetwork, exact_learning
from dlngeo.solvers import Factorization, LinearRegression, learning_flow
from tests.core.brute import assert_close
from tests.networks.test_riccati import CASES, layers_with, target_of

TARGET = np.random.default_rng(9).standard_normal((3, 3))
IDENTITIES = [np.eye(3)] * 3


def aligned(widths, rank, rng, goals):
    """Return a target and balanced factors with its singular vectors."""
    shape = (widths[-1], widths[0])
    left, right = (np.linalg.qr(rng.standard_normal((width, width)))[0] for width in shape)
    strengths = np.concatenate([rng.uniform(0.2, 1, rank), np.zeros(min(shape) - rank)])
    k = min(shape)
    start, target = (left[:, :k] * s @ right[:, :k].T for s in (strengths, goals[:k]))
    return target, dlngeo.factorize(start, len(widths) - 1, widths=widths, rank=rank)


@pytest.mark.parametrize(
    ("widths", "rank"),
    [((4, 3), 3), ((4, 3, 3), 3), ((3, 4, 4, 3), 3), ((5, 4, 4, 3), 2), ((3, 3, 3, 3, 3, 4), 3)],
)
@pytest.mark.parametrize("unit", [1e-3, 1.0, 1e3])
def test_curves_are_those_of_the_flow(widths, rank, unit):
    """Targets of low rank and of the other sign among them, in every unit."""
    depth = len(widths) - 1
    goals = np.array([1.7, 0.0, -0.4])
    target, factors = aligned(widths, rank, np.random.default_rng(depth), goals)
    factors = tuple(unit ** (1 / depth) * factor for factor in factors)
    end = 2.0 / unit ** (2 - 2 / depth)
    flow = learning_flow(
        Factorization(unit * target), factors, t_final=end, rtol=1e-12, atol=1e-300, n_saved=9
    )
    exact = exact_learning(unit * target, factors, flow.times)
    assert_close(exact.observables, flow.observables, 1e-10, scale=unit)
    assert_close(exact.loss, flow.loss, 1e-10, scale=unit**2)
    frames = np.linalg.svd(unit * target)
    strengths = np.einsum("mk,tmn,kn->tk", frames[0][:, :3], flow.observables, frames[2][:3])
    assert_close(exact.mode_strengths, strengths, 1e-10, scale=unit)


def test_repeated_values_of_the_start():
    """From the identity every symmetric target is aligned, whatever vectors the start picks."""
    target = TARGET + TARGET.T
    flow = learning_flow(
        Factorization(target), np.stack(IDENTITIES), t_final=1.0, rtol=1e-12, atol=1e-14
    )
    exact = exact_learning(target, IDENTITIES, flow.times)
    assert_close(exact.observables, flow.observables, 1e-9)


@pytest.mark.parametrize("case", CASES)
def test_two_layers_from_relaxed_starts(case):
    """Of any widths, to targets with which they share no singular vectors."""
    widths, offset, rank, kind = CASES[case]
    rng = np.random.default_rng(len(case))
    factors = layers_with(widths, offset, rank, rng)
    target = target_of(kind, (widths[2], widths[0]), rng)
    flow = learning_flow(
        Factorization(target), factors, t_final=4.0, rtol=1e-12, atol=1e-14, n_saved=9
    )
    exact = exact_learning(target, factors, flow.times)
    assert_close(exact.observables, flow.observables, 1e-9, scale=1.0)


@pytest.mark.parametrize("spread", [1.0, 1e-3, 1e3])
def test_regressions_on_whitened_inputs(spread):
    """The curve of the loss as it is given, its least value and its pace included."""
    rng = np.random.default_rng(3)
    inputs = spread * 8**0.5 * np.linalg.qr(rng.standard_normal((8, 3)))[0]
    loss = LinearRegression(inputs, spread * rng.standard_normal((8, 4)))
    network = LinearNetwork(dlngeo.balance([rng.standard_normal(s) for s in ((3, 3), (4, 3))]))
    flow = learning_flow(
        loss, network.factors, t_final=2 / spread**2, rtol=1e-12, atol=1e-14, n_saved=9
    )
    exact = exact_learning(loss, network, flow.times)
    assert_close(exact.observables, flow.observables, 1e-9)
    assert_close(exact.loss, flow.loss, 1e-9)
    same = exact_learning(Factorization(TARGET), IDENTITIES[:1], [0.3])
    np.testing.assert_array_equal(
        same.observables, exact_learning(TARGET, IDENTITIES[:1], [0.3]).observables
    )


def test_starts_at_zero_stay():
    for depth in (2, 3):
        curve = exact_learning(TARGET, np.zeros((depth, 3, 3)), 5.0)
        np.testing.assert_array_equal(curve.observables, np.zeros((1, 3, 3)))


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ((TARGET, IDENTITIES, 1.0), "at depth 3 the curve is known only if start and target"),
        ((TARGET, [TARGET, np.eye(3)], 1.0), "balance the factors first"),
        ((TARGET, [2 * np.eye(3), *IDENTITIES], 1.0), "expected balanced factors"),
        (
            (TARGET, [np.eye(4, 3), np.ones((2, 4)), np.eye(3, 2)], 1.0),
            "expected balanced factors of rank 2, but of the first one",
        ),
        ((TARGET, IDENTITIES, [1.0, -2.0]), "times must not be negative, got -2"),
        ((TARGET, np.eye(3), 1.0), r"shape \[..., N, d, d\]"),
        ((TARGET[:2], IDENTITIES, 1.0), r"a matrix of shape \(2, 3\)"),
        ((TARGET, IDENTITIES, np.nan), "times holds NaN"),
        ((TARGET, [], 1.0), "at least one factor"),
        (
            (LinearRegression(TARGET, TARGET), IDENTITIES, 1.0),
            "expected whitened inputs, .* eigenvalues are from",
        ),
        (
            (TARGET, LinearNetwork(IDENTITIES[:1], [np.ones(3)]), 1.0),
            "factors without biases",
        ),
    ],
)
def test_refused(arguments: Any, text):
    with pytest.raises(ValueError, match=text):
        exact_learning(*arguments)
