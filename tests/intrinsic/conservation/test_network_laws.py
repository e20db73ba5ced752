"""Known laws of networks: values, ranks, and what flows conserve."""

from itertools import pairwise

import autograd
import numpy as np
import pytest
from scipy.integrate import solve_ivp

from dlngeo.intrinsic import conservation_laws
from dlngeo.intrinsic.conservation.network_laws import known_count, scalar_parts
from tests.intrinsic.networks import (
    forward,
    linear_map,
    random_networks,
    size,
)


@pytest.mark.parametrize("kind", ["linear", "relu"])
@pytest.mark.parametrize("bias", [False, True])
def test_rank_of_the_known_laws(kind, bias):
    networks = random_networks(25, depths=[1, 2, 3, 4], widest=5, seed=3)
    for widths in [*networks, (4, 3, 3, 4), (1, 3, 3, 1), (2, 5, 2, 5, 2), (1, 1, 1, 1)]:
        laws = conservation_laws(widths, kind, bias)
        theta = np.random.default_rng(0).normal(size=laws.n_parameters)
        if len(widths) == 2:
            assert laws.known(theta).shape == (0,)
            assert laws.known.names == ()
            continue
        jacobian = autograd.jacobian(laws.known)(theta)
        assert jacobian.shape[0] == len(laws.known.names)
        rank = np.linalg.matrix_rank(jacobian)
        assert rank == known_count(widths, kind, bias) == laws.n_known


def flow(widths, bias, seed, *, start=None, end=0.3, event=None):
    """Return an accurate gradient flow of a random quadratic loss of end-to-end matrix and bias."""
    rng = np.random.default_rng(seed)
    phi = linear_map(widths, bias)
    theta = rng.normal(size=size(widths, bias)) if start is None else start
    target = rng.normal(size=phi(theta).shape)
    root = rng.normal(size=(len(target), len(target)))
    slope = autograd.grad(lambda t: 0.5 * ((root @ (phi(t) - target)) ** 2).sum())
    return solve_ivp(
        lambda _, t: -slope(t), (0, end), theta, "DOP853", rtol=1e-12, atol=1e-12, events=event
    )


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("widths", [(2, 3, 2), (1, 2, 2, 3), (3, 2, 4, 1, 2)], ids=str)
def test_laws_hold_along_flows_and_others_do_not(widths, bias):
    path = flow(widths, bias, 0).y.T
    laws = conservation_laws(widths, bias=bias)
    values = laws.known(path)
    assert values.shape[-1] == len(laws.known.names)
    scale = laws.known.magnitudes(path).max()
    assert abs(values - values[0]).max() < 1e-9 * scale
    # One side of a law alone is no law.
    incoming = (path[:, : widths[0]] ** 2).sum(1)
    assert abs(incoming - incoming[0]).max() > 1e-3 * scale
    if bias:
        # Without the biases the moment map is not conserved.
        first = path[:, : widths[0] * widths[1]].reshape(-1, widths[1], widths[0])
        start = (widths[0] + 1) * widths[1]
        second = path[:, start : start + widths[1] * widths[2]]
        second = second.reshape(-1, widths[2], widths[1])
        moment = second.swapaxes(1, 2) @ second - first @ first.swapaxes(1, 2)
        assert abs(moment - moment[0]).max() > 1e-3 * scale


def part_of_flow(widths, part, seed, change):
    """Return the parameters of some layers at the time when their product has changed enough."""
    sizes = np.cumsum([0] + [a * b for a, b in pairwise(widths)])
    inner = slice(sizes[part[0]], sizes[part[1]])
    inner_widths = widths[part[0] : part[1] + 1]
    start = np.random.default_rng(7).normal(size=size(widths))
    first = forward(start[inner], inner_widths, False)[0][0, 0]

    def event(_, theta):
        return abs(forward(theta[inner], inner_widths, False)[0][0, 0] - first) - abs(change)

    event.terminal = True  # type: ignore[attr-defined]
    path = flow(widths, False, seed, start=start, end=50.0, event=event)
    assert path.t_events[0].size
    end = path.y_events[0][0][inner]
    return np.sign(forward(end, inner_widths, False)[0][0, 0] - first), end


def test_scalar_parts_move_on_one_curve():
    """Inside (2, 1, 2, 2, 1) every loss moves the last three layers on the same curve."""
    widths = (2, 1, 2, 2, 1)
    assert scalar_parts(widths) == [((1, 2, 2, 1), 1)]
    ends: dict = {1.0: [], -1.0: []}
    for seed in range(5):
        sign, end = part_of_flow(widths, (1, 4), seed, 0.05)
        ends[sign].append(end)
    assert max(map(len, ends.values())) >= 3
    for group in ends.values():
        for end in group[1:]:
            np.testing.assert_allclose(end, group[0], atol=1e-8)
    # Not so if the last layer has two outputs: its first row alone tells the losses apart.
    other = [part_of_flow((2, 1, 2, 2, 2), (1, 4), seed, 0.05) for seed in range(5)]
    spread = max(abs(end - rest).max() for sign, end in other for s, rest in other if s == sign)
    assert spread > 1e-3


def test_parameters_in_every_form():
    laws = conservation_laws((2, 3, 4, 2), bias=True).known
    rng = np.random.default_rng(0)
    shapes = [(3, 2), (3,), (4, 3), (4,), (2, 4), (2,)]
    arrays = [rng.normal(size=(5, *shape)) for shape in shapes]
    flat = np.concatenate([array.reshape(5, -1) for array in arrays], 1)
    values = laws(flat)
    np.testing.assert_array_equal(values, laws(arrays))
    first, b, second = arrays[:3]
    moment = second.swapaxes(1, 2) @ second - first @ first.swapaxes(1, 2)
    moment = moment - b[:, :, None] * b[:, None, :]
    names = list(laws.names)
    for i, j in [(0, 0), (0, 2), (1, 2)]:
        place = names.index(f"mu_1[{i},{j}]")
        np.testing.assert_allclose(values[:, place], moment[:, i, j], rtol=1e-12, atol=1e-13)
    with pytest.raises(ValueError, match="shapes"):
        laws(arrays[:4])
    with pytest.raises(ValueError, match="35"):
        laws(flat[:, :-1])


@pytest.mark.parametrize("kind", ["linear", "relu"])
@pytest.mark.parametrize("library", ["torch", "jax"])
def test_known_laws_of_other_libraries(kind, library):
    laws = conservation_laws((2, 3, 2), kind).known
    theta = np.random.default_rng(0).normal(size=(2, 12))
    if library == "torch":
        import torch

        values = laws(torch.tensor(theta)).numpy()
    else:
        import jax.numpy

        values = np.asarray(laws(jax.numpy.asarray(theta)))
    np.testing.assert_allclose(values, laws(theta), rtol=1e-5, atol=1e-6)
