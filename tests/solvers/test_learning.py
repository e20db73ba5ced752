"""Learning flow: conserved quantities, projection, convergence, endings."""

import itertools
import math
from typing import Any

import autograd.numpy
import jax
import jax.numpy as jnp
import numpy
import pytest
import torch

from dlngeo.core.depth_metric.metric import raise_index
from dlngeo.core.networks.balancing import factorize
from dlngeo.core.networks.network import end_to_end, moment_map
from dlngeo.networks import LinearNetwork, exact_learning
from dlngeo.solvers import Factorization, LinearRegression, MatrixCompletion, learning_flow
from dlngeo.thermodynamics.boltzmann_entropy import entropy

jax.config.update("jax_enable_x64", True)


def normal(*shape, seed=0):
    return numpy.random.default_rng(seed).normal(size=shape)


def unbalanced(widths, seed=0):
    rng = numpy.random.default_rng(seed)
    shapes = zip(widths[1:], widths[:-1], strict=True)
    return tuple(rng.normal(size=shape) / math.sqrt(shape[1]) for shape in shapes)


def low_rank(rows, columns, rank):
    return normal(rows, rank, seed=5) @ normal(rank, columns, seed=6) / rank


@pytest.mark.parametrize("widths", [(3, 3, 3), (3, 3, 3, 3), (4, 2, 5, 3), (2, 6, 3)])
def test_moment_map_is_conserved(widths):
    factors = unbalanced(widths)
    result = learning_flow(Factorization(normal(widths[-1], widths[0])), factors, t_final=3.0)
    assert result.success
    for moment in moment_map(result.factors):
        numpy.testing.assert_allclose(moment, moment[:1].repeat(len(moment), 0), atol=1e-5)
    size = sum(numpy.sum(w**2, axis=(-2, -1)) for w in result.factors)
    norm = sum(numpy.sum(m**2, axis=(-2, -1)) for m in moment_map(result.factors)) ** 0.5
    numpy.testing.assert_allclose(result.moment_map_norm, norm / size)


@pytest.mark.parametrize("depth", [2, 3])
def test_large_targets_are_reached_and_held(depth):
    """The rate at the end is ``σ^{2-2/N}``: of explicit steps 200 000 would be needed."""
    target = 1e4 * (numpy.eye(3) + 0.3 * normal(3, 3, seed=0))
    start = tuple(0.5 * numpy.eye(3) + 0.1 * normal(depth, 3, 3, seed=2))
    result = learning_flow(Factorization(target), start, t_final=1.0, n_saved=5)
    assert result.success
    assert result.n_evaluations < 5_000
    numpy.testing.assert_allclose(result.observables[-1], target, atol=1e-2)
    for moment in moment_map(result.factors):
        numpy.testing.assert_allclose(moment[-1], moment[0], atol=1e-4)


def test_large_targets_of_many_numbers():
    """Of 648 at the rate 2e4, which explicit methods alone would need 1e6 evaluations for."""
    d = 18
    target = normal(d, d) + 2 * math.sqrt(d) * numpy.eye(d)
    target *= 1e4 / numpy.linalg.norm(target, 2)
    start = factorize(numpy.eye(d), 2)
    result = learning_flow(Factorization(target), start, t_final=0.3, n_saved=5)
    assert result.success
    assert result.n_evaluations < 15_000
    exact = exact_learning(target, start, result.times).observables
    numpy.testing.assert_allclose(result.observables, exact, atol=5e-6 * 1e4)


@pytest.mark.parametrize(
    ("shape", "depth", "rank", "weight_decay"),
    [
        ((3, 3), 2, None, 0.0),
        ((3, 3), 3, None, 0.1),
        ((4, 3), 3, None, 0.0),
        ((3, 4), 4, None, 0.1),
        ((5, 4), 3, 2, 0.0),
        ((5, 4), 2, 2, 0.1),
        ((3, 2), 1, None, 0.1),
    ],
)
def test_upstairs_projects_to_downstairs(shape, depth, rank, weight_decay):
    rows, columns = shape
    start = low_rank(rows, columns, rank or min(shape))
    loss = Factorization(normal(rows, columns, seed=1))
    rtol = 1e-9
    options = {"t_final": 2.0, "rank": rank, "rtol": rtol, "atol": rtol / 1000, "n_saved": 20}
    options["weight_decay"] = weight_decay
    up = learning_flow(loss, factorize(start, depth, rank=rank), **options)
    down = learning_flow(loss, start, depth=depth, **options)
    for name in ("times", "observables", "loss", "singular_values", "entropy"):
        numpy.testing.assert_allclose(
            getattr(up, name), getattr(down, name), rtol=1e3 * rtol, atol=1e3 * rtol, err_msg=name
        )
    assert down.factors is None
    assert down.moment_map_norm is None
    assert up.moment_map_norm.max() < 1e3 * rtol


def test_observations_are_those_of_the_states():
    start = factorize(low_rank(5, 4, 2), 3, widths=(4, 3, 3, 5), rank=2)
    result = learning_flow(Factorization(normal(5, 4)), start, t_final=1.0, rank=2, n_saved=5)
    x = result.observables
    numpy.testing.assert_allclose(result.loss, Factorization(normal(5, 4))(x))
    numpy.testing.assert_allclose(
        result.singular_values, numpy.linalg.svd(x, compute_uv=False)[:, :2]
    )
    expected = entropy(x, (4, 3, 3, 5), rank=2)
    numpy.testing.assert_allclose(result.entropy, expected)


def test_stack_stays_a_stack():
    result = learning_flow(Factorization(normal(3, 3)), normal(2, 3, 3), t_final=0.5, n_saved=7)
    assert result.factors.shape == (7, 2, 3, 3)
    assert result.observables.shape == (7, 3, 3)
    assert result.times[0] == 0
    assert result.times[-1] == 0.5


def test_weight_decay_shrinks_the_moment_map():
    factors, rate = unbalanced((3, 4, 2)), 0.4
    loss = LinearRegression(normal(9, 3), normal(9, 2))
    result = learning_flow(loss, factors, t_final=2.0, weight_decay=rate, rtol=1e-9, atol=1e-12)
    (moment,) = moment_map(result.factors)
    decayed = numpy.exp(-2 * rate * result.times)[:, None, None] * moment[0]
    numpy.testing.assert_allclose(moment, decayed, atol=1e-7)


def test_loss_decreases_at_the_rate_of_the_metric():
    loss = MatrixCompletion(normal(4, 3), normal(4, 3, seed=1) > -0.5)
    result = learning_flow(
        loss, normal(4, 3, seed=2), depth=3, t_final=0.5, rtol=1e-10, n_saved=201
    )
    assert (numpy.diff(result.loss) < 0).all()
    gradient = loss.gradient(result.observables)
    rate = -numpy.sum(gradient * raise_index(result.observables, gradient, 3), axis=(-2, -1))
    measured = (result.loss[2:] - result.loss[:-2]) / (result.times[2:] - result.times[:-2])
    numpy.testing.assert_allclose(measured, rate[1:-1], rtol=5e-3, atol=1e-5)


def test_flow_to_the_target_in_closed_form():
    # Along a diagonal, depth 2: dσ/dt = 2σ(τ - σ), a logistic curve.
    target, start = numpy.array([2.0, 0.5]), numpy.array([0.1, 0.3])
    loss = Factorization(numpy.diag(target))
    result = learning_flow(loss, numpy.diag(start), depth=2, t_final=3.0, rtol=1e-10, atol=1e-12)
    growth = numpy.exp(2 * target * result.times[:, None])
    expected = target * start * growth / (target + start * (growth - 1))
    diagonal = numpy.einsum("tkk->tk", result.observables)
    numpy.testing.assert_allclose(diagonal, expected, atol=1e-8)


def test_error_falls_with_the_tolerance():
    loss, start = Factorization(normal(3, 3)), factorize(normal(3, 3, seed=1), 3)
    exact = learning_flow(loss, start, t_final=2.0, rtol=1e-12, atol=1e-14).observables
    errors = [
        abs(learning_flow(loss, start, t_final=2.0, rtol=r, atol=r).observables - exact).max()
        for r in (1e-3, 1e-5, 1e-7, 1e-9)
    ]
    assert all(smaller < larger / 5 for larger, smaller in itertools.pairwise(errors))


@pytest.mark.parametrize("method", ["DOP853", "RK45", "RK23", "LSODA"])
def test_methods_agree(method):
    loss, start = Factorization(normal(3, 2)), factorize(normal(3, 2, seed=1), 2)
    reference = learning_flow(loss, start, t_final=1.0, rtol=1e-10, atol=1e-12)
    result = learning_flow(loss, start, t_final=1.0, rtol=1e-7, atol=1e-9, method=method)
    assert result.success
    numpy.testing.assert_allclose(result.observables, reference.observables, atol=2e-5)


def test_three_ways_to_give_a_loss():
    target = normal(3, 2)
    start = factorize(normal(3, 2, seed=1), 2)
    loss = Factorization(target)
    own = learning_flow(loss, start, t_final=1.0)
    traced = learning_flow(lambda x: autograd.numpy.sum((x - target) ** 2) / 2, start, t_final=1.0)
    libraries: list[Any] = [(torch.tensor(target), torch.sum), (jnp.array(target), jnp.sum)]
    for array, total in libraries:

        def distance(x, y=array, add=total):
            return add((x - y) ** 2) / 2

        own = learning_flow(distance, start, t_final=1.0)
        numpy.testing.assert_allclose(own.loss, traced.loss, rtol=1e-9)
    bare = learning_flow(None, start, t_final=1.0, gradient=loss.gradient)
    numpy.testing.assert_allclose(traced.observables, own.observables, atol=1e-10)
    numpy.testing.assert_allclose(traced.loss, own.loss, atol=1e-10)
    numpy.testing.assert_array_equal(bare.observables, own.observables)
    assert bare.loss is None


def test_losses_of_pytorch_of_every_kind():
    """Modules with parameters, functions with a backward pass of their own, gradients inside."""
    target = normal(3, 2)
    goal = torch.nn.Parameter(torch.tensor(target))

    class Distance(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.goal = goal

        def forward(self, x):
            return ((x - self.goal) ** 2).sum() / 2

    class Square(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            ctx.save_for_backward(x)
            return (x**2).sum() / 2

        @staticmethod
        def backward(ctx, weight):
            return weight * ctx.saved_tensors[0]

    def penalised(x):
        value = ((x - goal.detach()) ** 2).sum() / 2
        (slope,) = torch.autograd.grad(value, x, create_graph=True)
        return value + (slope**2).sum() / 20

    start = factorize(normal(3, 2, seed=1), 2)
    expected = learning_flow(Factorization(target), start, t_final=1.0, n_saved=3).factors
    losses: list[Any] = [Distance(), lambda x: Square.apply(x - goal)]
    for loss in losses:
        flow = learning_flow(loss, start, t_final=1.0, n_saved=3)
        numpy.testing.assert_allclose(flow.factors[0], expected[0], atol=1e-12)
    assert goal.grad is None
    flow = learning_flow(penalised, start, t_eval=[0.5 / 1.1, 1 / 1.1])
    numpy.testing.assert_allclose(flow.factors[0], expected[0][1:], atol=1e-5)


def test_infinite_depth_is_the_limit():
    # Time is scaled by the depth.
    loss, start = Factorization(normal(3, 3)), numpy.eye(3) + normal(3, 3, seed=1) / 5
    limit = learning_flow(loss, start, depth=math.inf, t_final=1.0, weight_decay=0.2)
    depth = 400
    deep = learning_flow(loss, start, depth=depth, t_final=1.0 / depth, weight_decay=0.2)
    assert limit.entropy is None
    numpy.testing.assert_allclose(limit.observables, deep.observables, atol=0.02)


def test_entropy_is_none_below_the_rank():
    result = learning_flow(Factorization(normal(3, 3)), numpy.zeros((2, 3, 3)), t_final=1.0)
    assert result.success
    assert result.entropy is None
    assert (result.moment_map_norm == 0).all()


def test_interrupt_returns_what_was_reached():
    loss = Factorization(normal(3, 3))
    calls = []

    def gradient(x):
        calls.append(1)
        if len(calls) > 60:
            raise KeyboardInterrupt
        return loss.gradient(x)

    start = normal(2, 3, 3, seed=1)
    result = learning_flow(loss, start, t_final=50.0, gradient=gradient)
    assert result.interrupted
    assert not result.success
    assert "interrupted" in result.status
    assert 0 < result.times[-1] < 50
    assert len(result.times) == len(result.loss) == len(result.factors)
    whole = learning_flow(loss, start, t_final=result.times[-1], n_saved=2)
    numpy.testing.assert_allclose(result.factors[-1], whole.factors[-1], atol=1e-5)


@pytest.mark.parametrize("method", ["DOP853", "LSODA"])
def test_gradient_that_ceases_to_be_finite(method):
    def gradient(x):
        return numpy.where(x > 1.5, numpy.nan, x - 2.0)

    result = learning_flow(
        None, numpy.ones((1, 1)), depth=2, t_final=9.0, gradient=gradient, method=method
    )
    assert not result.success
    assert "finite" in result.status
    assert numpy.isfinite(result.observables).all()
    assert result.times[-1] < 9.0


def test_loss_that_ceases_to_be_finite():
    result = learning_flow(
        lambda x: math.nan if x[0, 0] > 1.5 else 0.0,
        numpy.ones((1, 1)),
        depth=2,
        t_final=9.0,
        gradient=lambda x: x - 2.0,
    )
    assert not result.success
    assert "the loss is not finite" in result.status
    assert numpy.isfinite(result.loss).all()
    assert len(result.loss) == len(result.times) == len(result.observables)
    assert result.observables.max() <= 1.5


def test_blow_up_ends_with_a_status():
    # dσ/dt = 2σ² reaches infinity at t = 1/2.
    result = learning_flow(None, numpy.ones((1, 1)), depth=2, t_final=1.0, gradient=lambda x: -x)
    assert not result.success
    assert result.times[-1] == pytest.approx(0.5, abs=1e-3)
    assert numpy.isfinite(result.observables).all()


SQUARE = factorize(numpy.eye(3), 2)


@pytest.mark.parametrize(
    ("initial", "change", "message"),
    [
        (SQUARE, {"t_final": -1.0}, "t_final must be positive"),
        (SQUARE, {"t_final": math.nan}, "t_final must be positive"),
        (SQUARE, {"rtol": 0.0}, "rtol must be positive"),
        (SQUARE, {"weight_decay": -0.1}, "weight_decay"),
        (SQUARE, {"n_saved": 1}, "n_saved"),
        (SQUARE, {"method": "Euler"}, "DOP853"),
        (SQUARE, {"depth": 2}, "leave out depth"),
        (SQUARE, {"rank": 4}, "rank"),
        (SQUARE, {"loss": None}, "the loss, unless there is a gradient, must be a function"),
        (
            SQUARE,
            {"gradient": lambda x: x[:2]},
            "gradient of the loss must return an array",
        ),
        (SQUARE, {"gradient": lambda x: x * math.nan}, "not finite at the start"),
        (SQUARE, {"loss": Factorization(numpy.eye(2))}, "shape"),
        (SQUARE * math.nan, {}, "NaN"),
        ((numpy.ones((2, 3)), numpy.ones((3, 3))), {}, "chain"),
        ((numpy.ones((1, 2, 3)),), {}, "initial must be"),
        (numpy.ones(3), {}, "initial must be"),
        (numpy.eye(3), {}, "give depth="),
        (numpy.eye(3), {"depth": 0}, "depth"),
        (numpy.ones((3, 2)), {"depth": math.inf}, "infinite depth"),
    ],
)
def test_refusals(initial, change, message):
    arguments = {"loss": Factorization(numpy.eye(3)), "t_final": 1.0} | change
    with pytest.raises(ValueError, match=message):
        learning_flow(arguments.pop("loss"), initial, **arguments)


def test_progress_bar(capsys):
    learning_flow(Factorization(numpy.eye(3)), SQUARE, t_final=1.0, progress=True)
    assert "learning flow" in capsys.readouterr().err


@pytest.mark.parametrize("rtol", [1e-2, 1e-6])
def test_flow_of_lower_rank_keeps_the_rank_at_any_tolerance(rtol):
    """The step errors that leave the rank neither stop the flow nor stay in its matrices."""
    rng = numpy.random.default_rng(0)
    start = rng.standard_normal((5, 2)) @ rng.standard_normal((2, 4))
    loss = Factorization(rng.standard_normal((5, 4)))
    flow = learning_flow(loss, start, depth=3, rank=2, t_final=20.0, rtol=rtol, atol=rtol / 1e3)
    assert flow.success
    singular_values = numpy.linalg.svd(flow.observables, compute_uv=False)
    assert (singular_values[:, 2] <= 1e-14 * singular_values[:, 0]).all()
    best = numpy.linalg.svd(loss.target, compute_uv=False)[:2]
    numpy.testing.assert_allclose(flow.singular_values[-1], best, rtol=rtol)


@pytest.mark.parametrize("upstairs", [True, False])
def test_status_tells_when_round_off_steps_over_the_boundary(upstairs):
    """The exact flow keeps the sign of ``det X``; a flow that does not says so."""
    start = numpy.array([[1.0, 0.3], [0.1, 0.8]])
    loss = Factorization(numpy.diag([1.0, -1.0]))
    if upstairs:
        flow = learning_flow(loss, factorize(start, 2), t_final=60.0)
    else:
        flow = learning_flow(loss, start, depth=2, t_final=60.0)
    assert "det X changed its sign" in flow.status
    same_sign = Factorization(numpy.diag([1.0, 0.5]))
    assert learning_flow(same_sign, start, depth=2, t_final=5.0).status == "reached t = 5."


def test_a_start_of_higher_rank_is_refused():
    """A matrix downstairs must have the rank of the flow."""
    with pytest.raises(ValueError, match="expected a matrix of rank 1, but singular value 2"):
        learning_flow(Factorization(numpy.eye(2)), numpy.eye(2), depth=2, rank=1, t_final=1.0)


@pytest.mark.parametrize(
    ("loss", "message"),
    [
        (lambda x: x**2, r"the loss must return one number, got shape \(2, 2\)"),
        (lambda x: float(x.sum()), "write it with autograd.numpy.* or give its gradient"),
    ],
)
def test_a_loss_that_cannot_be_differentiated_is_refused(loss, message):
    """The error names the ways out."""
    with pytest.raises(ValueError, match=message):
        learning_flow(loss, numpy.eye(2), depth=2, t_final=1.0)


@pytest.mark.parametrize("weight_decay", [0.0, 0.2])
def test_balancing_decays_the_moment_map_at_its_rate(weight_decay):
    rng = numpy.random.default_rng(0)
    factors = tuple(rng.normal(size=shape) for shape in ((4, 3), (4, 4), (3, 4)))
    flow = learning_flow(
        Factorization(numpy.diag([3.0, 2.0, 1.0])),
        factors,
        t_final=0.5,
        balancing=3.0,
        weight_decay=weight_decay,
        rtol=1e-11,
        atol=1e-13,
        n_saved=5,
    )
    assert flow.success
    for p, moments in enumerate(moment_map(flow.factors)):
        expected = numpy.exp(-2 * (3 + weight_decay) * flow.times)[:, None, None]
        numpy.testing.assert_allclose(moments, expected * moment_map(factors)[p], atol=1e-8)


def test_fast_balancing_tends_to_the_flow_downstairs():
    """A fast and a slow flow: the distance falls like the ratio of their times."""
    rng = numpy.random.default_rng(0)
    factors = rng.normal(size=(3, 3, 3))
    loss = Factorization(numpy.diag([3.0, 2.0, 1.0]))
    options: dict = {"t_final": 0.3, "n_saved": 20, "rtol": 1e-9, "atol": 1e-12}
    downstairs = learning_flow(loss, end_to_end(factors), depth=3, **options).observables
    distances = [
        abs(learning_flow(loss, factors, balancing=rate, **options).observables - downstairs).max()
        for rate in (0.0, 50.0, 100.0, 200.0)
    ]
    assert distances[0] > 1
    ratios = numpy.array(distances[1:-1]) / numpy.array(distances[2:])
    numpy.testing.assert_allclose(ratios, 2, atol=0.25)


def test_balancing_refuses():
    loss = Factorization(numpy.eye(2))
    with pytest.raises(ValueError, match="balancing must be"):
        learning_flow(loss, numpy.ones((2, 2, 2)), t_final=1.0, balancing=-1.0)
    with pytest.raises(ValueError, match="no fibre"):
        learning_flow(loss, numpy.eye(2), depth=2, t_final=1.0, balancing=1.0)


def test_a_level_of_the_loss_ends_the_flow():
    """The logistic curve of depth 2: ``σ' = 2σ(τ - σ)``, met where ``τ - σ = √(2E)``."""
    tau, sigma, level = 2.0, 0.1, 1e-4
    start, loss = numpy.full((1, 1), sigma), Factorization(numpy.full((1, 1), tau))
    flow = learning_flow(
        loss, start, depth=2, t_final=50.0, until=level, t_eval=[0.5, 1.0], rtol=1e-10, atol=1e-13
    )
    assert flow.success
    assert flow.loss[-1] == pytest.approx(level, rel=1e-9)
    end = tau - math.sqrt(2 * level)
    exact = numpy.log(end * (tau - sigma) / (sigma * (tau - end))) / (2 * tau)
    numpy.testing.assert_allclose(flow.times, [0.5, 1.0, exact], rtol=1e-8)
    bare = learning_flow(
        None,
        start,
        depth=2,
        t_final=50.0,
        gradient=loss.gradient,
        until=lambda x: end - x[0, 0],
        rtol=1e-10,
        atol=1e-13,
    )
    assert bare.times[-1] == pytest.approx(exact, rel=1e-8)
    with pytest.raises(ValueError, match="until= as a level needs the loss"):
        learning_flow(None, start, depth=2, t_final=1.0, gradient=loss.gradient, until=0.1)
    options: dict = {"until": "end"}
    with pytest.raises(ValueError, match="until, a level of the loss"):
        learning_flow(loss, start, depth=2, t_final=1.0, **options)


def test_the_flow_may_end_near_lower_rank():
    def margin(x):
        return numpy.linalg.svd(x, compute_uv=False)[-1] - 1e-3

    loss = Factorization(numpy.diag([1.0, -1.0]))
    start = factorize(numpy.array([[1.0, 0.3], [0.1, 0.8]]), 2)
    flow = learning_flow(loss, start, t_final=60.0, until=margin)
    assert flow.success
    assert flow.times[-1] < 20
    assert flow.singular_values[-1, -1] == pytest.approx(1e-3, rel=1e-9)
    assert "det X" not in flow.status


def test_biases_learn_too():
    """What a network with biases keeps is ``μ - b bᵀ``; it fits outputs with a mean."""
    rng = numpy.random.default_rng(0)
    factors = unbalanced((3, 4, 2, 3))
    network = LinearNetwork(factors, [rng.normal(size=4), None, rng.normal(size=3)])
    inputs = rng.normal(size=(20, 3))
    loss = LinearRegression(inputs, inputs @ rng.normal(size=(3, 3)) + [1.0, 2.0, 3.0])
    flow = learning_flow(loss, network, t_final=2.0, rtol=1e-10, atol=1e-12, n_saved=5)
    assert flow.success
    assert flow.loss[-1] < flow.loss[0] / 3
    assert [b if b is None else b.shape for b in flow.biases] == [(5, 4), None, (5, 3)]
    for before, after in zip(moment_map(network), moment_map(flow.network), strict=True):
        numpy.testing.assert_allclose(after, before, atol=1e-8)
    assert flow.moment_map_drift.max() < 1e-9
    residual = flow.network(inputs) - loss.outputs
    assert flow.loss[-1] == pytest.approx((residual**2).sum() / 40)
    # Any other loss is one of [X, b].
    same = learning_flow(
        lambda affine: loss.with_intercept(affine),
        network,
        gradient=loss.with_intercept.gradient,
        t_final=2.0,
        rtol=1e-10,
        atol=1e-12,
        n_saved=5,
    )
    numpy.testing.assert_array_equal(same.loss, flow.loss)
    decay = learning_flow(loss, network, t_final=1.0, rtol=1e-10, atol=1e-12, weight_decay=0.3)
    assert decay.moment_map_drift.max() < 1e-9
    with pytest.raises(ValueError, match="without biases"):
        learning_flow(loss, network, t_final=1.0, balancing=1.0)


def test_a_network_without_biases_is_its_factors():
    factors = unbalanced((3, 4, 2))
    loss = Factorization(normal(2, 3))
    flow = learning_flow(loss, LinearNetwork(factors), t_final=1.0, n_saved=3)
    assert flow.biases is None
    expected = learning_flow(loss, factors, t_final=1.0, n_saved=3)
    numpy.testing.assert_array_equal(flow.loss, expected.loss)
    numpy.testing.assert_array_equal(flow.network.factors[1], expected.factors[1][-1])
    assert learning_flow(loss, normal(2, 3), depth=2, t_final=1.0).network is None


@pytest.mark.parametrize("depth", [2, 3])
def test_status_leaves_the_sign_of_round_off_alone(depth):
    loss = Factorization(numpy.diag([3.0, -2.0, 1.0]))
    for seed in range(3):
        left, right = numpy.random.default_rng(seed).normal(size=(2, 3, 1))
        flow = learning_flow(loss, factorize(left @ right.T, depth, rank=1), t_final=1.0)
        assert "sign" not in flow.status
