"""The connection of the depth metric, against differences of the metric and lifts to factors."""

import math

import autograd
import autograd.numpy as anp
import numpy as np
import pytest

from dlngeo.core.depth_metric.connection import christoffel
from tests.core.brute import (
    NETWORKS,
    assert_close,
    derivative,
    flatten,
    jacobian,
    power,
    product,
    random_motion,
    tangent_projector,
    unflatten,
    velocity,
)

POINTS = {
    "random": np.random.default_rng(0).standard_normal((3, 3)),
    "identity": np.eye(3),
    "gap": np.diag([1.0, 1 + 1e-12, 2.0]),
    "number": np.array([[-0.3]]),
    "wide": np.random.default_rng(1).standard_normal((2, 3)),
}


def dense_metric(matrix, depth):
    """Return the Gram matrix of the metric over the entries, by fractional powers."""
    parts: list
    if depth == math.inf:
        nodes, weights = np.polynomial.legendre.leggauss(24)
        parts = [((1 - s) / 2, (1 + s) / 2, w / 2) for s, w in zip(nodes, weights, strict=True)]
    else:
        parts = [((depth - p) / depth, (p - 1) / depth, 1.0) for p in range(1, depth + 1)]
    rows, columns = matrix @ matrix.T, matrix.T @ matrix
    return np.linalg.inv(sum(w * np.kron(power(rows, a), power(columns, b)) for a, b, w in parts))


@pytest.mark.parametrize(
    ("name", "depth"),
    [
        (name, d)
        for name in POINTS
        for d in (1, 2, 3, 10, math.inf)
        if (name, d) != ("wide", math.inf)
    ],
)
def test_symbols_are_those_of_the_metric(name, depth):
    """``2⟨Γ(Z, Z'), E⟩ = D_Z⟨Z', E⟩ + D_Z'⟨Z, E⟩ - D_E⟨Z, Z'⟩`` for every matrix ``E``."""
    matrix = POINTS[name]
    first, second = np.random.default_rng(2).standard_normal((2, *matrix.shape))

    def change(direction):
        return derivative(lambda t: dense_metric(matrix + t * direction, depth), 1e-3)

    units = np.eye(matrix.size).reshape(-1, *matrix.shape)
    lowered = change(first) @ second.ravel() + change(second) @ first.ravel()
    lowered = lowered - [first.ravel() @ change(unit) @ second.ravel() for unit in units]
    expected = np.linalg.solve(dense_metric(matrix, depth), lowered / 2)
    found = christoffel(matrix, first, second, depth)
    assert_close(found.ravel(), expected, 1e-7, scale=1 + np.max(np.abs(expected)))
    assert_close(found, christoffel(matrix, second, first, depth), 1e-13, scale=1.0)


DEEP = {name: net for name, net in NETWORKS.items() if net.depth > 1}


@pytest.mark.parametrize("net", DEEP.values(), ids=DEEP)
def test_symbols_are_second_derivatives_along_lifts(net):
    """``-D²φ(V, V')`` with the horizontal vectors over two velocities, of every rank."""
    dense = jacobian(net.factors) @ tangent_projector(net)
    velocities, lifts = [], []
    for seed in (3, 4):
        motion = random_motion(net, np.random.default_rng(seed))
        velocities.append(dense @ flatten(velocity(net, motion)))
        lift = np.linalg.pinv(dense, rcond=1e-9) @ velocities[-1]
        lifts.append(unflatten(lift, net.factors))
    expected = np.zeros(net.matrix.shape)
    for p, q in np.ndindex(net.depth, net.depth):
        if p != q:
            layers = list(net.factors)
            layers[p], layers[q] = lifts[0][p], lifts[1][q]
            expected = expected - product(layers)
    matrices = [v.reshape(net.matrix.shape) for v in velocities]
    found = christoffel(net.matrix, matrices[0], matrices[1], net.depth, net.rank)
    assert_close(found, expected, 1e-9)


def test_a_single_layer_of_low_rank_is_bent_by_its_null_spaces():
    """Curves ``(L + tA)(R + tB)ᵀ``: the acceleration that is normal is ``-Γ`` for depth one."""
    rng = np.random.default_rng(5)
    left, right, a, b = (rng.standard_normal((n, 2)) for n in (4, 5, 4, 5))
    matrix, speed = left @ right.T, a @ right.T + left @ b.T
    rows = np.eye(4) - left @ np.linalg.pinv(left)
    columns = np.eye(5) - right @ np.linalg.pinv(right)
    assert_close(christoffel(matrix, speed, speed, 1, 2), -2 * rows @ a @ b.T @ columns, 1e-11)


@pytest.mark.parametrize("scale", [1e-6, 1e6])
@pytest.mark.parametrize("depth", [1, 2, 10, math.inf])
def test_scales(depth, scale):
    """``Γ`` is of degree -1 in the point and bilinear."""
    matrix, first, second = np.random.default_rng(6).standard_normal((3, 3, 3))
    expected = christoffel(matrix, first, second, depth) / scale
    found = christoffel(scale * matrix, first, second, depth)
    assert_close(found, expected, 1e-11, scale=1 / scale)


@pytest.mark.parametrize("depth", [1, 2, 3])
def test_derivatives(depth):
    """Through the layers, where autograd follows, they are those by differences."""
    matrix, first, second, weight, direction = np.random.default_rng(7).standard_normal((5, 3, 3))

    def contracted(point):
        return anp.sum(weight * christoffel(point, first, second, depth))

    slope = np.sum(direction * autograd.grad(contracted)(matrix)) if depth > 1 else 0.0
    expected = derivative(lambda t: contracted(matrix + t * direction), 1e-3)
    assert slope == pytest.approx(expected, rel=1e-8, abs=1e-12)
