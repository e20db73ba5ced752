"""Linear neural ODEs: closed forms, training in continuous depth, and the limit of layers."""

import math
from typing import Any

import autograd.numpy as anp
import numpy as np
import pytest
import torch
from autograd import grad
from scipy.integrate import solve_ivp
from scipy.linalg import expm

from dlngeo.core.networks.network import moment_map
from dlngeo.intrinsic import linear_ode, residual_factors, residual_law
from dlngeo.solvers import Factorization, learning_flow
from tests.core.brute import assert_close

OFFSETS = {"zero": 0.0, "constant": 0.7, "varying": lambda s: np.cos(3 * s) + s}
OFFSET = pytest.mark.parametrize("offset", OFFSETS.values(), ids=OFFSETS)
ROTATION = np.linalg.qr(np.random.default_rng(2).normal(size=(3, 3)))[0]
ROTATION = ROTATION * np.linalg.det(ROTATION)
MATRICES = {
    "identity": np.eye(3),
    "random": np.eye(3) + 0.5 * np.random.default_rng(0).normal(size=(3, 3)),
    "rotation": ROTATION,
    "half turn": np.diag([-1.0, -1.0, 1.0]),
    "two half turns": -np.eye(4),
    "tiny values": ROTATION @ np.diag([1.0, 1e-6, 1e-6]),
    "small": 1e-6 * ROTATION,
    "large": 1e6 * ROTATION,
    "number": np.array([[2.0]]),
}
MATRIX = pytest.mark.parametrize("matrix", MATRICES.values(), ids=MATRICES)


def values(offset, s):
    return (offset(s) if callable(offset) else offset) + 0 * s


@MATRIX
@OFFSET
def test_end_matrix(matrix, offset):
    ode = linear_ode(matrix, offset)
    assert_close(ode.flow(1.0), matrix, 1e-12)
    assert_close(ode.flow(0.0), np.eye(len(matrix)), 1e-14)
    assert_close(ode.rotation, -ode.rotation.T, 1e-15, scale=1.0)


@pytest.mark.parametrize("name", ["identity", "random", "half turn", "tiny values"])
@OFFSET
def test_flow_solves_the_equation(name, offset):
    """``Z' = A Z``, by SciPy."""
    matrix = MATRICES[name]
    ode = linear_ode(matrix, offset)

    def field(s, z):
        return (ode.coefficients(s) @ z.reshape(matrix.shape)).ravel()

    start = np.eye(len(matrix)).ravel()
    run = solve_ivp(field, (0, 1), start, t_eval=[0.4, 1], rtol=1e-12, atol=1e-13, method="DOP853")
    expected = run.y.T.reshape(2, *matrix.shape)
    assert_close(ode.flow(np.array([0.4, 1.0])), expected, 1e-10)


@MATRIX
@OFFSET
def test_law_and_gram_matrix(matrix, offset):
    """``S' = [A, Aᵀ] + c I`` and ``ZZᵀ = exp(S(1) - ∫ s c ds)``."""
    ode = linear_ode(matrix, offset)
    s, step = np.linspace(0.1, 0.9, 5), 1e-3

    def stretch(s):
        a = ode.coefficients(s)
        return a + a.swapaxes(-1, -2)

    rings = [stretch(s + k * step) - stretch(s - k * step) for k in (1, 2, 3)]
    slope = (45 * rings[0] - 9 * rings[1] + rings[2]) / (60 * step)
    a = ode.coefficients(s)
    transposed = a.swapaxes(-1, -2)
    rest = slope - (a @ transposed - transposed @ a)
    expected = values(offset, s)[:, None, None] * np.eye(len(matrix))
    assert_close(rest, expected, 1e-9, scale=10 + abs(a).max() ** 2)
    nodes, weights = np.polynomial.legendre.leggauss(40)
    nodes, weights = (nodes + 1) / 2, weights / 2
    moment = np.sum(weights * nodes * values(offset, nodes))
    gram = expm(stretch(np.array(1.0)) - moment * np.eye(len(matrix)))
    assert_close(gram, matrix @ matrix.T, 1e-11)


def trained(ode, target, t_final, n_nodes=28):
    """Train in continuous depth: ``A(s)`` at Gauss nodes, ``Z`` by collocation at them.

    The gradient by ``A(s)`` is ``Z(s)^{-T} Xᵀ ∇E Zᵀ(s)``, of ``E = ½‖X - T‖²``.
    """
    d = len(target)
    nodes, _ = np.polynomial.legendre.leggauss(n_nodes)
    s = (nodes + 1) / 2
    # Integration from zero to each node, and to one, of the interpolating polynomial.
    powers = np.polynomial.legendre.legvander(nodes, n_nodes - 1)
    sums = [np.polynomial.legendre.legint(unit, lbnd=-1) / 2 for unit in np.eye(n_nodes)]
    points = np.append(nodes, 1.0)
    integral = np.stack([np.polynomial.legendre.legval(points, c) for c in sums], axis=1)
    integral = integral @ np.linalg.inv(powers)

    def solved(a):
        # Z_i = I + Σ_j w_ij A_j Z_j.
        system = np.eye(n_nodes * d) - np.einsum("ij,jkl->ikjl", integral[:-1], a).reshape(
            n_nodes * d, -1
        )
        z = np.linalg.solve(system, np.tile(np.eye(d), (n_nodes, 1))).reshape(n_nodes, d, d)
        end = np.eye(d) + np.einsum("j,jkl->kl", integral[-1], a @ z)
        return z, end

    def field(_, state):
        z, end = solved(state.reshape(n_nodes, d, d))
        pulled = np.linalg.solve(z.swapaxes(-1, -2), end.T @ (end - target))
        return -(pulled @ z.swapaxes(-1, -2)).ravel()

    start = ode.coefficients(s).ravel()
    run = solve_ivp(field, (0, t_final), start, method="DOP853", rtol=1e-11, atol=1e-13)
    return solved(run.y[:, -1].reshape(n_nodes, d, d))[1]


@OFFSET
@pytest.mark.parametrize("name", ["identity", "random"])
def test_training_in_continuous_depth_is_the_flow_of_infinite_depth(name, offset):
    """To 1e-10, whatever the offset is."""
    matrix, target = MATRICES[name], np.diag([1.5, 1.0, 0.5]) + 0.2
    expected = learning_flow(
        Factorization(target), matrix, depth=math.inf, t_final=0.4, rtol=1e-12, atol=1e-14
    ).observables[-1]
    assert abs(expected - matrix).max() > 0.1
    assert_close(trained(linear_ode(matrix, offset), target, 0.4), expected, 1e-10)


def test_training_of_another_ode_is_another_flow():
    """Off the relaxed balanced coefficients ``X`` moves in another way."""
    ode = linear_ode(MATRICES["random"])
    target = np.diag([1.5, 1.0, 0.5])

    class Bent:
        @staticmethod
        def coefficients(s):
            wave = np.diag([1.0, -1.0, 0.0]) * np.sin(2 * math.pi * s)[:, None, None]
            return ode.coefficients(s) + wave

    s = np.linspace(0, 1, 400)
    end = np.eye(3)
    for a in Bent.coefficients((s[1:] + s[:-1]) / 2):
        end = expm(a / 399) @ end
    loss = Factorization(target)
    relaxed = learning_flow(loss, end, depth=math.inf, t_final=0.4).observables[-1]
    assert abs(trained(Bent, target, 0.4) - relaxed).max() > 1e-3


@OFFSET
def test_residual_networks_converge_at_first_order(offset):
    """The error of training ``L`` layers falls like ``1/L``."""
    matrix, target = MATRICES["random"], np.diag([1.5, 1.0, 0.5]) + 0.2
    loss, ode = Factorization(target), linear_ode(matrix, offset)
    options: dict = {"n_saved": 5, "rtol": 1e-7, "atol": 1e-9}
    limit = learning_flow(loss, matrix, depth=math.inf, t_final=0.4, **options).observables
    errors = []
    for n_layers in (8, 16, 32):
        factors = residual_factors(ode.layers(n_layers))
        flow = learning_flow(loss, factors, t_final=0.4 / n_layers, **options)
        errors.append(abs(flow.observables - limit).max())
    orders = np.log2(np.array(errors[:-1]) / np.array(errors[1:]))
    assert (orders > 0.95).all()
    assert (orders < 1.1).all()


@OFFSET
def test_residual_law_tends_to_the_offset(offset):
    """At the same rate, to ``c(s) I`` at ``s = k/L``."""
    ode = linear_ode(MATRICES["random"], offset)
    errors = []
    for n_layers in (50, 100):
        s = np.arange(1, n_layers) / n_layers
        law = residual_law(ode.layers(n_layers))
        errors.append(abs(law - values(offset, s)[:, None, None] * np.eye(3)).max())
    assert errors[1] < 0.03
    assert 1.8 < errors[0] / errors[1] < 4.2


def test_residual_law_is_the_moment_map_and_conserved():
    ode, n_layers = linear_ode(MATRICES["random"], 0.7), 6
    coefficients = ode.layers(n_layers)
    factors = residual_factors(coefficients)
    assert_close(residual_law(coefficients), n_layers**2 * moment_map(factors), 1e-12)
    loss = Factorization(np.diag([1.5, 1.0, 0.5]))
    flow = learning_flow(loss, factors, t_final=0.4 / n_layers, rtol=1e-11, atol=1e-13, n_saved=3)
    after = residual_law(n_layers * (flow.factors[-1] - np.eye(3)))
    assert_close(after, residual_law(coefficients), 1e-9)


@pytest.mark.parametrize("make", [np.asarray, torch.asarray], ids=["numpy", "torch"])
def test_layers_may_come_as_a_sequence(make):
    coefficients = np.random.default_rng(0).normal(size=(5, 4, 3, 3))
    for batch in (coefficients, coefficients[0]):
        layers = [make(batch[..., k, :, :]) for k in range(4)]
        for function in (residual_factors, residual_law):
            for sequence in (layers, tuple(layers)):
                np.testing.assert_array_equal(function(sequence), function(make(batch)))


def test_time_of_training_in_layers():
    """In the norm ``(1/L) Σ‖A_k‖²`` coefficients move ``L`` times as fast as factors tell."""
    coefficients = np.random.default_rng(0).normal(size=(4, 2, 2))
    target = np.array([[1.0, 0.2], [0.0, 0.5]])

    def cost(a):
        end = anp.eye(2)
        for layer in a:
            end = (anp.eye(2) + layer / 4) @ end
        return anp.sum((end - target) ** 2) / 2

    velocity = -4 * grad(cost)(coefficients)
    step = 1e-5
    flow = learning_flow(
        Factorization(target), residual_factors(coefficients), t_final=step / 4, n_saved=2
    )
    moved = 4 * (flow.factors[-1] - flow.factors[0])
    assert_close(moved / step, velocity, 1e-4)


NO_OFFSETS: list[Any] = [np.ones(3), None]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: linear_ode(np.diag([1.0, -1.0])), "det X < 0"),
        (lambda: linear_ode(np.diag([1.0, 0.0])), "expected rank 2"),
        (lambda: linear_ode(np.ones((2, 3))), "infinite depth"),
        (lambda: linear_ode(np.ones((3, 2, 2))), "one matrix"),
        (lambda: linear_ode(math.nan * np.eye(2)), "NaN"),
        (lambda: linear_ode(np.eye(2), math.nan), "the offset must be a finite number"),
        (lambda: linear_ode(np.eye(2), *NO_OFFSETS[:1]), "the offset must be a finite number"),
        (lambda: linear_ode(np.eye(2), *NO_OFFSETS[1:]), "the offset must be a finite number"),
        (lambda: linear_ode(np.eye(2), lambda s: 1 / (s - 0.5 + 0 * s)), "offset must be finite"),
        (lambda: linear_ode(np.eye(2)).layers(0), "positive integer"),
        (lambda: residual_factors([]), "one or more"),
        (lambda: residual_factors([np.eye(2), np.eye(3)]), "of one shape"),
        (lambda: residual_factors([np.ones(2)]), "coefficient 1 must be a matrix"),
        (lambda: residual_factors(np.eye(2)), r"\[..., L, d, d\]"),
        (lambda: residual_law(np.ones((3, 2, 4))), r"\[..., L, d, d\]"),
    ],
)
@pytest.mark.filterwarnings("ignore:divide by zero")
def test_refusals(call, message):
    with pytest.raises(ValueError, match=message):
        call()
