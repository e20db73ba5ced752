"""Laws of parallel transport, Jacobi fields and balanced geodesics, against brute force."""

from collections.abc import Callable
from itertools import combinations

import numpy as np
import pytest
import torch
from scipy.integrate import solve_ivp

from dlngeo.core.balanced.submanifold import tangent_projection
from dlngeo.core.depth_metric.metric import flat
from dlngeo.core.depth_metric.submersion import horizontal_projection
from dlngeo.core.geodesics.balanced_curves import (
    balanced_exp,
    balanced_geodesic,
    balanced_transport,
)
from dlngeo.core.geodesics.curves import geodesic
from dlngeo.core.geodesics.exponential import exp
from dlngeo.core.geodesics.transport import jacobi_field, parallel_transport
from dlngeo.core.networks.network import differential, end_to_end, moment_map
from tests.core.brute import NETWORKS, assert_close, jacobian, network, product, unflatten
from tests.core.geodesics.reference_geodesics import metric_operator, momentum_of
from tests.core.geodesics.test_curves import (
    INF,
    POINTS,
    PROBLEM,
    assert_names_time,
    motion,
    rotation,
    slope,
    with_values,
)

NETWORK = pytest.mark.parametrize("net", NETWORKS.values(), ids=NETWORKS)


def slopes(function: Callable, step: float = 2e-3) -> np.ndarray:
    """Return the derivative at zero, by differences of order four."""
    one = function(step) - function(-step)
    two = function(2 * step) - function(-2 * step)
    return (8 * one - two) / (12 * step)


def inner(matrix, a, b, depth, rank) -> np.ndarray:
    """Return all inner products of two lists of vectors."""
    return np.einsum("fij,gij->fg", a, flat(matrix, b, depth, rank))


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
    net = network((3, 4, 3), 2)
    velocity = tangent_projection(net.factors, tuple(0.1 * w for w in net.factors), 2)
    arrays = (matrix, motion(matrix), motion(matrix, 1.0, 5))
    for dtype, tolerance in ((torch.float64, 1e-12), (torch.float32, 1e-4)):
        tensors = [torch.tensor(array, dtype=dtype) for array in arrays]
        pairs = [
            (parallel_transport(x, z, v, 2, rank), jacobi_field(x, z, v, v, 2, rank)[1])
            for x, z, v in (tensors, arrays)
        ]
        pairs = list(zip(*pairs, strict=True))
        layers, moves = (
            tuple(torch.tensor(w, dtype=dtype) for w in v) for v in (net.factors, velocity)
        )
        pairs += zip(
            balanced_transport(layers, moves, moves, 2),
            balanced_transport(net.factors, velocity, velocity, 2),
            strict=True,
        )
        for found, expected in pairs:
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


EYE = np.eye(3)
BAD_CALLS = {
    "shape of the vectors": (lambda: parallel_transport(EYE, EYE, np.eye(2), 2), "shape"),
    "NaN in the vectors": (lambda: parallel_transport(EYE, EYE, np.nan * EYE, 2), "NaN"),
    "shape of the variation": (lambda: jacobi_field(EYE, EYE, EYE, np.eye(2), 2), "shape"),
    "word": (lambda: parallel_transport(EYE, EYE, EYE, 2, on_boundary="stop"), "on_boundary"),
    "rank": (lambda: parallel_transport(np.diag([1.0, 0.0]), np.eye(2), np.eye(2), 2), "rank"),
    "unbalanced": (lambda: balanced_exp((EYE, 2 * EYE), (EYE, EYE)), "balance"),
    "balanced, word": (lambda: balanced_exp((EYE, EYE), (EYE, EYE), on_boundary=""), "on_boundary"),
    "balanced, shape": (lambda: balanced_exp((EYE, EYE), (EYE,)), "shape"),
    "balanced, times": (lambda: balanced_geodesic((EYE,), (EYE,)).point(np.eye(2)), "times"),
    "balanced, NaN": (lambda: balanced_transport((EYE,), (EYE,), (np.nan * EYE,)), "NaN"),
}


@pytest.mark.parametrize(("call", "message"), BAD_CALLS.values(), ids=BAD_CALLS)
def test_errors(call, message):
    """Wrong arguments raise a ValueError that says what came."""
    with pytest.raises(ValueError, match=message):
        call()


# --- the balanced manifold ------------------------------------------------------------


def tangent_vectors(net, count: int, size: float, seed: int) -> tuple[np.ndarray, ...]:
    """Return random tangent vectors, neither horizontal nor vertical."""
    rng = np.random.default_rng(seed)
    noise = [size * rng.standard_normal((count, *w.shape)) / w.size**0.5 for w in net.factors]
    return tangent_projection(net.factors, tuple(noise), net.rank)


def square_norms(vector) -> np.ndarray:
    return sum(np.einsum("...ij,...ij->...", v, v) for v in vector)


@NETWORK
def test_balanced_geodesics(net):
    """They stay balanced, keep their speed, and their acceleration is normal."""
    velocity = tuple(v[0] for v in tangent_vectors(net, 1, 0.3, 1))
    curve = balanced_geodesic(net.factors, velocity, net.rank)
    times = np.linspace(-1, 1, 5)
    points, speeds = curve.point(times), curve.velocity(times)
    for moment in moment_map(points):
        assert_close(moment, 0 * moment, 1e-11, 1.0)
    assert_close(square_norms(speeds), np.full(5, square_norms(velocity)), 1e-10)
    assert_close(end_to_end(points)[2], net.matrix, 1e-12)
    nodes = 0.7 + 0.01 * np.arange(-3, 4)
    weights = np.array([-1, 9, -45, 0, 45, -9, 1]) / 0.6
    near, speeds = curve.point(nodes), curve.velocity(nodes)
    middle = tuple(w[3] for w in near)
    for w, v in zip(near, speeds, strict=True):
        assert_close(np.tensordot(weights, w, 1), v[3], 1e-9, 1.0)
    bent = tuple(np.tensordot(weights, v, 1) for v in speeds)
    for v in tangent_projection(middle, bent, net.rank):
        assert_close(v, 0 * v, 1e-9, 1.0)


@NETWORK
def test_horizontal_geodesics_project(net):
    """A horizontal geodesic lies over one of the depth metric, and stays horizontal."""
    velocity = tuple(v[0] for v in tangent_vectors(net, 1, 0.3, 2))
    velocity = horizontal_projection(net.factors, velocity, net.rank)
    curve = balanced_geodesic(net.factors, velocity, net.rank)
    end, speed = curve.point(1.0), curve.velocity(1.0)
    moved = differential(net.factors, velocity)
    assert_close(end_to_end(end), exp(net.matrix, moved, net.depth, net.rank), 1e-9)
    for one, other in zip(horizontal_projection(end, speed, net.rank), speed, strict=True):
        assert_close(one, other, 1e-9, 1.0)


@NETWORK
def test_balanced_transport(net):
    """An isometry of tangent spaces that takes velocities to velocities, and returns."""
    velocity = tuple(v[0] for v in tangent_vectors(net, 1, 0.3, 3))
    vectors = tangent_vectors(net, 3, 1.0, 4)
    vectors = tuple(np.concatenate([v, z[None]]) for v, z in zip(vectors, velocity, strict=True))
    curve = balanced_geodesic(net.factors, velocity, net.rank)
    end, speed = curve.point(1.0), curve.velocity(1.0)
    moved = balanced_transport(net.factors, velocity, vectors, net.rank)
    before, after = (sum(np.einsum("fij,gij->fg", v, v) for v in a) for a in (vectors, moved))
    assert_close(after, before, 1e-10)
    for one, v in zip(moved, speed, strict=True):
        assert_close(one[-1], v, 1e-10, 1.0)
    for one, other in zip(tangent_projection(end, moved, net.rank), moved, strict=True):
        assert_close(one, other, 1e-10, 1.0)
    back = balanced_transport(end, tuple(-v for v in speed), moved, net.rank)
    for one, other in zip(back, vectors, strict=True):
        assert_close(one, other, 1e-10, 1.0)
    # The change along the curve is normal.
    h = 0.01
    near = [
        balanced_transport(net.factors, tuple(t * z for z in velocity), vectors, net.rank)
        for t in 0.7 + h * np.arange(-3, 4)
    ]
    weights = np.array([-1, 9, -45, 0, 45, -9, 1]) / (60 * h)
    bent = tuple(np.tensordot(weights, np.stack(layer), 1) for layer in zip(*near, strict=True))
    for v in tangent_projection(curve.point(0.7), bent, net.rank):
        assert_close(v, 0 * v, 1e-8, 1.0)


def test_balanced_batches_and_stacks():
    """Stacks of equal widths, batches of velocities, times and fields."""
    net = network((3, 3, 3), 3)
    factors = np.stack(net.factors)
    velocity = np.stack(tangent_vectors(net, 2, 0.3, 5), axis=1)
    ends = balanced_exp(factors, velocity)
    assert ends.shape == (2, 2, 3, 3)
    curve = balanced_geodesic(factors, velocity)
    assert curve(np.array([0.5, 1.0, -1.0])).shape == (2, 3, 2, 3, 3)
    assert_close(curve(np.array([0.5, 1.0]))[:, 1], ends, 1e-12)
    vectors = np.stack(tangent_vectors(net, 4, 1.0, 6), axis=1)[:, None]
    moved = balanced_transport(factors, velocity, vectors)
    assert moved.shape == (4, 2, 2, 3, 3)
    one = balanced_transport(factors, velocity[1], vectors[2, 0])
    assert_close(moved[2, 1], one, 1e-10)
    scaled = balanced_exp(1e6 * factors, 1e6 * velocity)
    assert_close(scaled, 1e6 * ends, 1e-10)


@pytest.mark.parametrize("count", [1, 2])
@pytest.mark.parametrize(("widths", "rank"), [((3, 3), 3), ((3, 3, 3, 3), 3), ((4, 3, 5, 4), 2)])
def test_balanced_boundary(widths, rank, count):
    """A value that vanishes ends the geodesic; before, it runs straight."""
    net = network(widths, rank)
    lam, time = np.diag(net.core), 0.6257
    move = np.append(0.1 * np.ones(rank - count), -lam[rank - count :] / time)
    frames = zip(net.frames[1:], net.frames[:-1], strict=True)
    velocity = tuple(after * move @ before.T for after, before in frames)
    if set(widths) == {rank}:
        assert_names_time(lambda: balanced_exp(net.factors, velocity, rank), time)
    # Beside wider layers the frame vectors of a small value turn freely: few digits.
    with pytest.raises(ValueError, match=r"ends at time 0.62\d*: it reached the boundary"):
        balanced_exp(net.factors, velocity, rank)
    curve = balanced_geodesic(net.factors, velocity, rank, on_boundary="nan")
    for w, v, found in zip(net.factors, velocity, curve.point(np.array([0.5, 1.0])), strict=True):
        assert_close(found[0], w + 0.5 * v, 1e-10)
        assert np.isnan(found[1]).all()
