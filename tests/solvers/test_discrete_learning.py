"""Gradient descent: PyTorch's steps, the flow of small steps, noise, endings."""

import itertools
from typing import Any

import numpy
import pytest
import torch

from dlngeo.core.networks.network import end_to_end, moment_map
from dlngeo.networks import LinearNetwork, largest_step, sharpness
from dlngeo.solvers import (
    Factorization,
    LinearRegression,
    NetworkSamples,
    gradient_descent,
    learning_flow,
    sgd,
)

WIDTHS = (3, 4, 4, 2)
SHAPES = [(rows, columns) for columns, rows in itertools.pairwise(WIDTHS)]


def normal(*shape, seed=0):
    return numpy.random.default_rng(seed).normal(size=shape)


FACTORS = tuple(normal(*shape, seed=p) / 2 for p, shape in enumerate(SHAPES))
LOSS = LinearRegression(normal(20, 3), normal(20, 2, seed=1))


def trained_by_torch(network, n_steps, **options):
    """Return the parameters after steps of PyTorch's descent, factors first."""
    factors = [torch.tensor(w, requires_grad=True) for w in network.factors]
    biases = [b if b is None else torch.tensor(b, requires_grad=True) for b in network.biases]
    there = [b for b in biases if b is not None]
    optimizer = torch.optim.SGD([*factors, *there], **options)
    for _ in range(n_steps):
        optimizer.zero_grad()
        values = torch.tensor(LOSS.inputs)
        for w, b in zip(factors, biases, strict=True):
            values = torch.nn.functional.linear(values, w, b)
        (((values - torch.tensor(LOSS.outputs)) ** 2).sum() / 40).backward()
        optimizer.step()
    return [p.detach().numpy() for p in (*factors, *there)]


@pytest.mark.parametrize("biases", [[None] * 3, [normal(4), None, normal(2)]])
@pytest.mark.parametrize(("momentum", "weight_decay"), [(0.0, 0.0), (0.9, 0.0), (0.8, 0.02)])
def test_steps_are_those_of_pytorch(biases, momentum, weight_decay):
    network = LinearNetwork(FACTORS, biases)
    options: dict[str, Any] = {"momentum": momentum, "weight_decay": weight_decay}
    expected = trained_by_torch(network, 200, lr=0.05, **options)
    result = gradient_descent(LOSS, network, 0.05, n_steps=200, n_saved=5, **options)
    assert result.success
    assert result.steps.tolist() == [0, 50, 100, 150, 200]
    numpy.testing.assert_allclose(result.times, result.steps * 0.05 / (1 - momentum))
    there = [b[-1] for b in result.biases or () if b is not None]
    came = [*(w[-1] for w in result.factors), *there]
    for ours, theirs in zip(came, expected, strict=True):
        numpy.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-12)
    residual = result.network(LOSS.inputs) - LOSS.outputs
    assert result.loss[-1] == pytest.approx((residual**2).sum() / 40)


def test_a_schedule_of_step_sizes():
    sizes = [0.1 / (1 + k) for k in range(10)]
    result = gradient_descent(LOSS, FACTORS, lambda k: 0.1 / (1 + k), n_steps=10, n_saved=11)
    numpy.testing.assert_allclose(result.times, [0.0, *numpy.cumsum(sizes)])
    one = gradient_descent(LOSS, [w[3] for w in result.factors], sizes[3], n_steps=1)
    numpy.testing.assert_allclose(result.factors[1][4], one.factors[1][1], atol=1e-15)
    with pytest.raises(ValueError, match=r"step_size\(1\) must be at least zero"):
        gradient_descent(LOSS, FACTORS, lambda k: -k, n_steps=10)


@pytest.mark.parametrize("momentum", [0.0, 0.5])
@pytest.mark.parametrize("weight_decay", [0.0, 0.3])
def test_small_steps_follow_the_flow_to_first_order(momentum, weight_decay):
    flow = learning_flow(
        LOSS, FACTORS, t_eval=[2.0], weight_decay=weight_decay, rtol=1e-11, atol=1e-13
    )
    errors, drifts = [], []
    for size in (0.02, 0.01, 0.005):
        result = gradient_descent(
            LOSS,
            FACTORS,
            size * (1 - momentum),
            n_steps=round(2 / size),
            momentum=momentum,
            weight_decay=weight_decay,
            n_saved=2,
        )
        assert result.times[-1] == pytest.approx(2.0)
        errors.append(abs(result.factors[1][-1] - flow.factors[1][0]).max())
        drifts.append(result.moment_map_drift[-1])
    for values in (errors, drifts):
        ratios = numpy.array(values[:-1]) / numpy.array(values[1:])
        numpy.testing.assert_allclose(ratios, 2, atol=0.2)


def test_it_tells_what_the_flow_tells():
    stack = normal(3, 3, 3)
    result = gradient_descent(Factorization(normal(3, 3, seed=5)), stack, 0.01, n_saved=4)
    assert result.factors.shape == (4, 3, 3, 3)
    x = end_to_end(result.factors)
    numpy.testing.assert_allclose(result.singular_values, numpy.linalg.svd(x, compute_uv=False))
    first, last = (moment_map(result.factors[k]) for k in (0, -1))
    drift = numpy.linalg.norm(last - first) / numpy.linalg.norm(result.factors[-1]) ** 2
    assert result.moment_map_drift[-1] == pytest.approx(drift)
    assert result.entropy.shape == (4,)
    assert result.sharpness is None


@pytest.mark.parametrize("library", ["autograd", "torch"])
def test_losses_of_any_library(library):
    target = normal(2, 3, seed=7)
    goal: Any = torch.tensor(target) if library == "torch" else target
    came = gradient_descent(lambda x: ((x - goal) ** 2).sum() / 2, FACTORS, 0.05, n_steps=20)
    expected = gradient_descent(Factorization(target), FACTORS, 0.05, n_steps=20)
    numpy.testing.assert_allclose(came.factors[0], expected.factors[0], atol=1e-14)


def test_batches_are_those_of_sgd():
    """The same draws from the same seed: `sgd` takes gradients sample by sample."""
    stack = normal(2, 3, 3) / 2
    inputs, outputs = normal(20, 3), normal(20, 3, seed=1)
    came = gradient_descent(
        LinearRegression(inputs, outputs), stack, 0.05, n_steps=30, batch=4, rng=0, n_saved=4
    )
    expected = sgd(
        NetworkSamples(inputs, outputs, (3, 3, 3)).samples,
        stack,
        learning_rate=0.05,
        batch_size=4,
        n_steps=30,
        replacement=False,
        n_saved=4,
        rng=0,
    )
    numpy.testing.assert_allclose(came.factors, expected.points[:, 0], atol=1e-13)
    whole = gradient_descent(LOSS, FACTORS, 0.05, n_steps=5, batch=20)
    full = gradient_descent(LOSS, FACTORS, 0.05, n_steps=5)
    numpy.testing.assert_allclose(whole.loss, full.loss, rtol=1e-13)


def test_noise_of_labels():
    """A step is that of the noisy outputs; on average that of the outputs."""
    inputs, outputs, noise = LOSS.inputs, LOSS.outputs, 0.3
    draw = numpy.random.default_rng(3).standard_normal(outputs.shape)
    result = gradient_descent(LOSS, FACTORS, 0.05, n_steps=1, label_noise=noise, rng=3)
    loss = LinearRegression(inputs, outputs + noise * draw)
    expected = gradient_descent(loss, FACTORS, 0.05, n_steps=1)
    numpy.testing.assert_allclose(result.factors[2], expected.factors[2], atol=1e-14)
    assert result.loss[0] == pytest.approx(float(LOSS(end_to_end(FACTORS))))
    # Noise with biases: an intercept more.
    network = LinearNetwork(FACTORS, [None, None, numpy.ones(2)])
    options: dict[str, Any] = {"n_steps": 3, "batch": 5, "label_noise": 0.1, "rng": 0}
    assert gradient_descent(LOSS, network, 0.05, **options).success


def test_sharpness_along_the_way_and_the_edge_of_stability():
    """Below the largest stable step it converges, above it swings or diverges."""
    target = numpy.diag([3.0, 2.0, 1.0])
    loss, start = Factorization(target), numpy.stack([numpy.eye(3)] * 3)
    result = gradient_descent(loss, start, 0.05, n_steps=300, n_saved=3, sharpness=True)
    assert result.sharpness[-1] == pytest.approx(3 * 3 ** (4 / 3), rel=1e-6)
    assert result.sharpness[0] == pytest.approx(sharpness(start, loss))
    edge = largest_step(result.network, loss)
    below = gradient_descent(loss, start, 0.9 * edge, n_steps=2000)
    assert "It has converged" in below.status
    above = gradient_descent(loss, start, 1.05 * edge, n_steps=2000)
    assert above.success
    assert "The loss swings" in above.status
    assert above.loss[-1] > 1e-3
    beyond = gradient_descent(loss, start, 5 * edge, n_steps=2000)
    assert not beyond.success
    assert beyond.status.startswith("diverged at step ")
    n_steps = int(beyond.status.split()[3].rstrip(":"))
    assert not gradient_descent(loss, start, 5 * edge, n_steps=n_steps).success
    assert "steps are stable up to" in beyond.status
    for values in (beyond.loss, beyond.factors, beyond.moment_map_norm):
        assert numpy.isfinite(values).all()


def test_descent_ends_at_a_level_of_the_loss():
    level = 0.8 * float(LOSS(end_to_end(FACTORS)))
    result = gradient_descent(LOSS, FACTORS, 0.01, until=level, n_saved=1001)
    assert result.success
    assert "where until= was met" in result.status
    assert result.loss[-1] <= level < result.loss[-2]
    at_once = gradient_descent(LOSS, FACTORS, 0.01, until=lambda x: -1.0)
    assert at_once.steps.tolist() == [0]


def test_the_keyboard_keeps_what_there_is():
    class Interrupted(Factorization):
        n_calls = 0

        def gradient(self, matrix):
            Interrupted.n_calls += 1
            if Interrupted.n_calls > 20:
                raise KeyboardInterrupt
            return super().gradient(matrix)

    result = gradient_descent(Interrupted(normal(2, 3)), FACTORS, 0.01, n_saved=3)
    assert result.interrupted
    assert not result.success
    assert "interrupted after 19 of 1000 steps" in result.status
    assert result.steps.tolist() == [0, 19]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"step_size": 0.0}, "step_size must be positive"),
        ({"step_size": "0.1"}, "step_size must be positive"),
        ({"momentum": 1.0}, "momentum must be at least 0 and less than 1"),
        ({"momentum": -0.1}, "momentum must be at least zero"),
        ({"weight_decay": -1.0}, "weight_decay"),
        ({"n_steps": 0}, "n_steps must be a positive integer"),
        ({"batch": 21}, "batch must be a positive integer and at most 20"),
        ({"batch": 0}, "batch must be a positive integer"),
        ({"label_noise": -0.1}, "label_noise"),
        ({"loss": Factorization(normal(2, 3)), "batch": 2}, "give a LinearRegression"),
        ({"loss": Factorization(normal(2, 3)), "label_noise": 0.1}, "give a LinearRegression"),
        ({"loss": Factorization(numpy.eye(3))}, "shape"),
        ({"loss": lambda x: numpy.nan * x.sum()}, "not finite at the start"),
        ({"factors": normal(2, 3)}, "moves factors, and got a matrix"),
        ({"sharpness": 1}, "sharpness must be True or False"),
        ({"n_saved": 1}, "n_saved"),
        ({"rng": "seed", "batch": 2}, "rng must be"),
    ],
)
def test_refusals(change, message):
    arguments: dict[str, Any] = {"loss": LOSS, "factors": FACTORS, "step_size": 0.1} | change
    with pytest.raises(ValueError, match=message):
        gradient_descent(**arguments)
