"""Laws of parallel transport and Jacobi fields, against brute force."""

from collections.abc import Callable
from itertools import combinations

import numpy as np
import pytest
import torch
from scipy.integrate import solve_ivp

from dlngeo.core.depth_metric.connection import christoffel
from dlngeo.core.depth_metric.metric import lower_index
from dlngeo.core.geodesics.exponential import exp
from dlngeo.core.geodesics.observable_curves import geodesic
from dlngeo.core.geodesics.transport import jacobi_field, parallel_transport
from tests.core.brute import assert_close, jacobian, product, unflatten
from tests.core.geodesics.charts.test_depth_root_chart import crossings
from tests.core.geodesics.reference_geodesics import metric_operator, momentum_of
from tests.core.geodesics.test_observable_curves import (
    INF,
    POINTS,
    PROBLEM,
    assert_names_time,
    motion,
    rotation,
    slope,
    with_values,
)


def slopes(function: Callable, step: float = 2e-3) -> np.ndarray:
    """Return the derivative at zero, by differences of order four."""
    one = function(step) - function(-step)
    two = function(2 * step) - function(-2 * step)
    return (8 * one - two) / (12 * step)


def inner(matrix, a, b, depth, rank) -> np.ndarray:
    """Return all inner products of two lists of vectors."""
    return np.einsum("fij,gij->fg", a, lower_index(matrix, b, depth, rank))


def close_at_scale(actual, expected, tolerance: float, matrix):
    """Assert equality relative to the larger of vectors and base point."""
    scale = max(np.max(np.abs(expected), initial=0.0), np.max(np.abs(matrix)))
    assert_close(actual, expected, tolerance, scale)


# --- references -----------------------------------------------------------------------


def acceleration(matrix: np.ndarray, velocity: np.ndarray, depth: float, rank: int) -> np.ndarray:
    """Return ``Ẍ`` of a geodesic: ``D²φ`` of dense lifts, or Hamilton's equations at ``N = ∞``."""
    left, sigma, right = np.linalg.svd(matrix, full_matrices=False)
    left, sigma, right = left[:, :rank], sigma[:rank], right[:rank]
    if depth == INF:
        covector = momentum_of(matrix, velocity, depth)

        def energy(x: np.ndarray) -> float:
            return np.sum(covector * metric_operator(x, covector, depth)) / 2

        units = np.eye(matrix.size).reshape(-1, *matrix.shape)
        force = [slopes(lambda t, unit=unit: energy(matrix + t * unit)) for unit in units]
        change = slopes(lambda t: metric_operator(matrix + t * velocity, covector, depth))
        return change - metric_operator(matrix, np.reshape(force, matrix.shape), depth)
    if depth == 1:
        rows, columns = np.eye(len(matrix)) - left @ left.T, right.T @ right
        inverse = right.T / sigma @ left.T
        return 2 * rows @ velocity @ inverse @ velocity @ (np.eye(len(columns)) - columns)
    root = np.diag(sigma ** (1 / depth))
    factors = [root @ right, *[root] * (int(depth) - 2), left @ root]
    # The shortest velocity over Ẋ is horizontal.
    lift = np.linalg.lstsq(jacobian(factors), velocity.ravel(), rcond=1e-12)[0]
    lift = unflatten(lift, factors)
    total = np.zeros_like(matrix)
    for p, q in combinations(range(len(factors)), 2):
        moved = list(factors)
        moved[p], moved[q] = lift[p], lift[q]
        total += 2 * product(moved)
    return total


def reference_transport(matrix, velocity, vector, depth, rank) -> np.ndarray:
    """Return a parallel vector at time one, with ``Γ(Ẋ, E)`` the polar form of ``-Ẍ``."""
    start = np.stack([matrix, velocity, vector])

    def rates(_: float, state: np.ndarray) -> np.ndarray:
        x, v, e = state.reshape(start.shape)
        # Of equal size, so that no digits are lost.
        unit = np.linalg.norm(v) / np.linalg.norm(e)
        one, other = (acceleration(x, v + s * unit * e, depth, rank) for s in (1, -1))
        mixed = (one - other) / (4 * unit)
        return np.stack([v, acceleration(x, v, depth, rank), mixed]).ravel()

    flow = solve_ivp(rates, (0.0, 1.0), start.ravel(), "DOP853", rtol=1e-10, atol=1e-10)
    assert flow.success, flow.message
    return flow.y[:, -1].reshape(start.shape)[2]


# --- parallel transport ---------------------------------------------------------------


@pytest.mark.parametrize("depth", [1, 2, 3, 5])
@pytest.mark.parametrize(
    "name", ["d=2", "identity", "repeated", "negative", "wide", "tall, rank 2"]
)
def test_transport_against_christoffel_symbols(name, depth):
    """``Ė = D²φ(V, V_E)`` in the entries of the matrix, with dense lifts."""
    matrix, rank = POINTS[name]
    vector = motion(matrix, 1.0, 5)
    expected = reference_transport(matrix, motion(matrix), vector, depth, rank)
    found = parallel_transport(matrix, motion(matrix), vector, depth, rank)
    assert_close(found, expected, 1e-8)


@pytest.mark.parametrize("name", ["d=2", "identity"])
def test_transport_of_infinite_depth_against_christoffel_symbols(name):
    """The symbols of Hamilton's equations, by finite differences of the kernel."""
    matrix, rank = POINTS[name]
    vector = motion(matrix, 1.0, 5)
    expected = reference_transport(matrix, motion(matrix), vector, INF, rank)
    assert_close(parallel_transport(matrix, motion(matrix), vector, INF), expected, 1e-7)


@PROBLEM
def test_transport_is_an_isometry_that_returns(matrix, velocity, depth, rank):
    """Inner products stay, the velocity goes to the velocity, and backwards all return."""
    vectors = np.stack([*(motion(matrix, 1.0, seed) for seed in (5, 6, 7)), velocity])
    curve = geodesic(matrix, velocity, depth, rank)
    end, speed = curve.point(1.0), curve.velocity(1.0)
    moved = parallel_transport(matrix, velocity, vectors, depth, rank)
    before = inner(matrix, vectors, vectors, depth, rank)
    norms = np.sqrt(np.diag(before))
    after = inner(end, moved, moved, depth, rank)
    assert_close((after - before) / norms / norms[:, None], 0 * before, 1e-9, 1.0)
    close_at_scale(moved[-1], speed, 1e-9, matrix)
    back = parallel_transport(end, -speed, moved, depth, rank)
    close_at_scale(back, vectors, 1e-9, matrix)
    left, _, right = np.linalg.svd(end)
    outside = left[:, rank:].T @ moved @ right[rank:].T
    close_at_scale(outside, 0 * outside, 1e-9, matrix)


@pytest.mark.parametrize("factor", [1e-6, 1e6])
@pytest.mark.parametrize("depth", [1, 2, 10, INF])
def test_transport_scales(depth, factor):
    """Transport and Jacobi fields keep with the scale of the matrix."""
    matrix = with_values(3, 3, [1.0, 0.1, 1e-3], 21)
    velocity = motion(matrix, 0.02)
    vectors = np.stack([motion(matrix, 1.0, seed) for seed in (5, 6)])
    x, z, v = (factor * array for array in (matrix, velocity, vectors))
    assert_close(
        parallel_transport(x, z, v, depth),
        factor * parallel_transport(matrix, velocity, vectors, depth),
        1e-9,
    )
    for one, other in zip(
        jacobi_field(x, z, v, v, depth),
        jacobi_field(matrix, velocity, vectors, vectors, depth),
        strict=True,
    ):
        assert_close(one, factor * other, 1e-9)


def test_transport_converges_with_depth():
    """Depth ``N`` tends to infinite depth like ``1/N``."""
    matrix = POINTS["repeated"][0]
    vector = motion(matrix, 1.0, 5)
    limit = parallel_transport(matrix, motion(matrix), vector, INF)
    errors = [
        np.linalg.norm(parallel_transport(matrix, motion(matrix), vector, depth) - limit)
        for depth in (50, 100)
    ]
    assert errors[0] < 0.05
    assert errors[0] / errors[1] == pytest.approx(2, rel=0.05)


# --- Jacobi fields --------------------------------------------------------------------


@PROBLEM
def test_jacobi_fields_are_derivatives_of_exp(matrix, velocity, depth, rank):
    """By the velocity, and by the point with the velocity carried in parallel."""
    moves = np.stack([motion(matrix, 1.0, seed) for seed in (5, 6)])
    field, _ = jacobi_field(matrix, velocity, 0 * matrix, moves, depth, rank)
    expected = [slopes(lambda t, e=e: exp(matrix, velocity + t * e, depth, rank)) for e in moves]
    assert_close(field, expected, 1e-8)

    def end(t: float) -> np.ndarray:
        moved = exp(matrix, t * moves[0], depth, rank)
        carried = parallel_transport(matrix, t * moves[0], velocity, depth, rank)
        return exp(moved, carried, depth, rank)

    field, _ = jacobi_field(matrix, velocity, moves[0], 0 * matrix, depth, rank)
    assert_close(field, slopes(end), 1e-8)


@PROBLEM
def test_wronskian_of_jacobi_fields(matrix, velocity, depth, rank):
    """``⟨J, I'⟩ - ⟨J', I⟩`` is constant, and ``t Ẋ`` is a field."""
    starts = np.stack([motion(matrix, 1.0, seed) for seed in (5, 6, 7, 8)])
    j, dj = jacobi_field(matrix, velocity, starts[:2], starts[2:], depth, rank)
    curve = geodesic(matrix, velocity, depth, rank)
    before = inner(matrix, starts[:2], starts[2:], depth, rank)
    after = inner(curve.point(1.0), j, dj, depth, rank)
    scale = np.max(np.abs(before)) + np.max(np.abs(after))
    wronskian = before - before.T
    assert_close(after - after.T, wronskian, 1e-8, scale)
    j, dj = jacobi_field(matrix, velocity, 0 * matrix, velocity, depth, rank)
    close_at_scale(j, curve.velocity(1.0), 1e-9, matrix)
    close_at_scale(dj, curve.velocity(1.0), 1e-9, matrix)


@pytest.mark.parametrize("depth", [1, 2, 3, INF])
def test_at_rest(depth):
    """Along a point vectors stay, and Jacobi fields grow linearly."""
    matrix = POINTS["repeated"][0]
    e, k = motion(matrix, 1.0, 5), motion(matrix, 1.0, 6)
    assert_close(parallel_transport(matrix, 0 * matrix, e, depth), e, 1e-12)
    field, derivative = jacobi_field(matrix, 0 * matrix, e, k, depth)
    assert_close(field, e + k, 1e-12)
    assert_close(derivative, k, 1e-12)
    short = jacobi_field(matrix, 1e-9 * k, e, k, depth)[0]
    assert_close(short, e + k, 1e-8)


# --- batches, libraries, the boundary, errors ------------------------------------------


@pytest.mark.parametrize("depth", [1, 3, INF])
def test_fields_broadcast(depth):
    """Further axes of the vectors count vectors along the same geodesics."""
    points = np.stack([POINTS[name][0] for name in ("identity", "repeated")])[:, None]
    velocities = np.stack([motion(np.eye(3), 0.1, seed) for seed in range(3)])
    vectors = np.random.default_rng(1).standard_normal((4, 1, 3, 3, 3))
    moved = parallel_transport(points, velocities, vectors, depth)
    fields = jacobi_field(points, velocities, vectors, points, depth)
    assert moved.shape == fields[0].shape == fields[1].shape == (4, 2, 3, 3, 3)
    for f, b, c in np.ndindex(4, 2, 3):
        x, z, e = points[b, 0], velocities[c], vectors[f, 0, c]
        assert_close(moved[f, b, c], parallel_transport(x, z, e, depth), 1e-10)
        for one, other in zip(fields, jacobi_field(x, z, e, x, depth), strict=True):
            assert_close(one[f, b, c], other, 1e-9)
    assert parallel_transport(np.eye(3), np.eye(3), vectors[:0], depth).shape == (0, 1, 3, 3, 3)


def test_tensors_give_tensors():
    """PyTorch gives the same values as tensors."""
    matrix, rank = POINTS["tall, rank 2"]
    arrays = (matrix, motion(matrix), motion(matrix, 1.0, 5))
    for dtype, tolerance in ((torch.float64, 1e-12), (torch.float32, 1e-4)):
        tensors = [torch.tensor(array, dtype=dtype) for array in arrays]
        pairs = [
            (parallel_transport(x, z, v, 2, rank), jacobi_field(x, z, v, v, 2, rank)[1])
            for x, z, v in (tensors, arrays)
        ]
        for found, expected in zip(*pairs, strict=True):
            assert found.dtype == dtype
            assert_close(found.numpy(), expected, tolerance)


@pytest.mark.parametrize("depth", [1, 2, 3, 4])
def test_boundary_is_told(depth):
    """Transport names the time at which the geodesic ends, or gives NaN."""
    sigma, time = np.array([3.0, 1.0, 1.0]), 0.6257
    u, vt = rotation(3, 17), rotation(3, 18)
    matrix = u * sigma @ vt
    velocity = u * (slope(sigma, depth) * np.array([0.3, 0.1, -1 / time])) @ vt
    assert_names_time(lambda: parallel_transport(matrix, velocity, matrix, depth), time)
    assert_names_time(lambda: jacobi_field(matrix, velocity, matrix, matrix, depth), time)
    both = np.stack([velocity, 0.5 * velocity])
    found = parallel_transport(matrix, both, matrix, depth, on_boundary="nan")
    assert np.isnan(found[0]).all()
    assert_close(found[1], parallel_transport(matrix, both[1], matrix, depth), 1e-10)


@pytest.mark.parametrize("way", ["continue", "cross"])
@pytest.mark.parametrize("depth", [1, 2, 3, 4])
def test_beyond_the_boundary(depth, way):
    """Velocities are parallel, products are kept, and Jacobi fields are derivatives."""
    matrix, velocity = crossings(depth, 3)
    fields = np.random.default_rng(6).standard_normal((2, *matrix.shape))
    end = geodesic(matrix, velocity, depth, on_boundary=way).at(1.0)
    vectors = np.stack([velocity, *fields])
    moved = parallel_transport(matrix, velocity, vectors, depth, on_boundary=way)
    assert_close(moved[0], end.velocity, 1e-8, 1.0)
    for k in range(len(matrix)):
        before = inner(matrix[k], vectors[:, k], vectors[:, k], depth, None)
        after = inner(end.point[k], moved[:, k], moved[:, k], depth, None)
        assert_close(after, before, 1e-8)
    point, direction = fields
    turned = christoffel(matrix, point, velocity, depth)
    found, _ = jacobi_field(matrix, velocity, point, direction + turned, depth, on_boundary=way)

    def moved_end(step: float) -> np.ndarray:
        return exp(matrix + step * point, velocity + step * direction, depth, on_boundary=way)

    assert_close(found, slopes(moved_end, 2e-4), 1e-6, 1.0)


EYE = np.eye(3)
BAD_CALLS = {
    "shape of the vectors": (lambda: parallel_transport(EYE, EYE, np.eye(2), 2), "shape"),
    "NaN in the vectors": (lambda: parallel_transport(EYE, EYE, np.nan * EYE, 2), "NaN"),
    "shape of the variation": (lambda: jacobi_field(EYE, EYE, EYE, np.eye(2), 2), "shape"),
    "word": (lambda: parallel_transport(EYE, EYE, EYE, 2, on_boundary="stop"), "on_boundary"),
    "rank": (lambda: parallel_transport(np.diag([1.0, 0.0]), np.eye(2), np.eye(2), 2), "rank"),
}


@pytest.mark.parametrize(("call", "message"), BAD_CALLS.values(), ids=BAD_CALLS)
def test_errors(call, message):
    """Wrong arguments raise a ValueError that says what came."""
    with pytest.raises(ValueError, match=message):
        call()
