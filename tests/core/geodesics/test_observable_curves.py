"""Laws of geodesics of the depth metric against dense integrations, closed forms and geomstats."""

import math
import re

import numpy as np
import pytest
import torch
from geomstats.geometry.spd_matrices import SPDBuresWassersteinMetric, SPDMatrices
from scipy import linalg

from dlngeo.core.geodesics.exponential import exp
from dlngeo.core.geodesics.logarithm import dist, log
from dlngeo.core.geodesics.observable_curves import geodesic
from tests.core.brute import assert_close
from tests.core.geodesics.reference_geodesics import (
    hamiltonian_geodesic,
    lifted_geodesic,
    metric_operator,
    momentum_of,
    reference_geodesic,
)

INF = math.inf
DEPTHS = [1, 2, 3, 4, INF]


def rotation(size: int, seed: int) -> np.ndarray:
    """Return a random orthogonal matrix of determinant one."""
    q = np.linalg.qr(np.random.default_rng(seed).standard_normal((size, size)))[0]
    return q * np.append(np.linalg.det(q), np.ones(size - 1))


def with_values(rows: int, columns: int, values, seed: int) -> np.ndarray:
    """Return a matrix of random singular frames with the given values, signs included."""
    core = np.zeros((rows, columns))
    core[range(len(values)), range(len(values))] = values
    return rotation(rows, seed) @ core @ rotation(columns, seed + 1)


def motion(matrix: np.ndarray, size: float = 0.25, seed: int = 0) -> np.ndarray:
    """Return a tangent vector ``A X + X B`` of any rank, in proportion to ``X``."""
    rng = np.random.default_rng(seed)
    rows, columns = matrix.shape[-2:]
    a, b = rng.standard_normal((rows, rows)), rng.standard_normal((columns, columns))
    return size * (a @ matrix / rows**0.5 + matrix @ b / columns**0.5)


def gaussian(size: int, seed: int, sign: int = 1) -> np.ndarray:
    """Return a Gaussian matrix whose determinant has the given sign."""
    matrix = np.random.default_rng(seed).standard_normal((size, size))
    if np.linalg.det(matrix) * sign < 0:
        matrix[0] *= -1
    return matrix


POINTS = {
    "one number": (np.array([[1.3]]), 1),
    "d=2": (gaussian(2, 1), 2),
    "identity": (np.eye(3), 3),
    "repeated": (with_values(3, 3, [2.0, 1.0, 1.0], 1), 3),
    "close": (with_values(3, 3, [2.0, 1 + 1e-12, 1.0], 2), 3),
    "negative": (with_values(3, 3, [1.5, 1.0, -0.7], 3), 3),
    "d=5": (with_values(5, 5, [2.0, 1.4, 1.1, 0.8, 0.5], 4), 5),
    "wide": (with_values(3, 5, [1.7, 1.0, 0.6], 5), 3),
    "tall, rank 2": (with_values(5, 4, [1.5, 0.8], 6), 2),
    "tall, rank 2, repeated": (with_values(5, 4, [1.2, 1.2], 7), 2),
    "tall, rank 1": (with_values(5, 4, [1.5], 8), 1),
    "column": (with_values(4, 1, [1.5], 9), 1),
}
PROBLEMS = [
    pytest.param(matrix, motion(matrix), depth, rank, id=f"{name}-N={depth}")
    for name, (matrix, rank) in POINTS.items()
    for depth in DEPTHS
    if depth != INF or matrix.shape == (rank, rank)
]
PROBLEM = pytest.mark.parametrize(("matrix", "velocity", "depth", "rank"), PROBLEMS)
DEPTH = pytest.mark.parametrize("depth", DEPTHS)


def lifted_root(values: np.ndarray, depth: float) -> np.ndarray:
    """Return the coordinates ``λ``, or ``log σ`` at infinite depth, in which ``g^N`` is flat."""
    return np.log(values) if depth == INF else values ** (1 / depth)


def unlifted(root: np.ndarray, depth: float) -> np.ndarray:
    """Return the singular values of such coordinates."""
    return np.exp(root) if depth == INF else root**depth


def slope(values: np.ndarray, depth: float) -> np.ndarray:
    """Return ``dσ/dλ``."""
    return values if depth == INF else depth * values ** (1 - 1 / depth)


# --- the references -------------------------------------------------------------------


@pytest.mark.parametrize("depth", [2, 3, 4])
@pytest.mark.parametrize("name", ["d=2", "identity", "close", "negative", "d=5"])
def test_references_agree(name, depth):
    """Constrained mechanics and Hamilton's equations give the same geodesics."""
    matrix, _ = POINTS[name]
    lifted = lifted_geodesic(matrix, motion(matrix), depth)
    hamiltonian = hamiltonian_geodesic(matrix, motion(matrix), depth)
    assert_close(lifted[0], hamiltonian[0], 1e-11)
    assert_close(lifted[1], hamiltonian[1], 1e-11)


def test_references_agree_at_infinite_depth():
    """Geodesics of finite depth converge to the limit, with errors in powers of ``1/N``."""
    matrix = POINTS["d=2"][0]
    ends = [hamiltonian_geodesic(matrix, motion(matrix), depth)[0] for depth in (20, 40, 80)]
    limit = hamiltonian_geodesic(matrix, motion(matrix), INF)[0]
    assert_close((8 * ends[2] - 6 * ends[1] + ends[0]) / 3, limit, 1e-5)


def test_reference_below_full_rank_keeps_rank_and_energy():
    """At depth one on a stratum the reference stays there, with constant speed."""
    matrix, rank = POINTS["tall, rank 2"]
    point, velocity = reference_geodesic(matrix, motion(matrix), 1, rank)
    assert np.linalg.svd(point)[1][rank] < 1e-12
    assert np.linalg.norm(velocity) == pytest.approx(np.linalg.norm(motion(matrix)), rel=1e-12)


# --- exp and geodesic against the references ------------------------------------------


@PROBLEM
def test_geodesic_agrees_with_the_reference(matrix, velocity, depth, rank):
    """Points and velocities, and `exp`, agree with a dense integration."""
    scale = np.linalg.norm(matrix)
    point, speed = reference_geodesic(matrix, velocity, depth, rank)
    assert_close(exp(matrix, velocity, depth, rank), point, 1e-9, scale)
    curve = geodesic(matrix, velocity, depth, rank)
    middle, middle_speed = reference_geodesic(matrix, velocity, depth, rank, time=0.4)
    times = np.array([0.0, 0.4, 1.0])
    assert_close(curve.point(times), [matrix, middle, point], 1e-9, scale)
    assert_close(curve.velocity(times), [velocity, middle_speed, speed], 1e-9, scale)


@pytest.mark.parametrize(("size", "depth"), [(4, 2), (6, 3), (8, INF), (10, 2), (10, 3)])
def test_larger_matrices(size, depth):
    """Endpoints agree with a dense integration up to ten dimensions."""
    matrix = with_values(size, size, np.linspace(2.0, 0.4, size), 10)
    expected = hamiltonian_geodesic(matrix, motion(matrix, 0.15), depth)[0]
    found = exp(matrix, motion(matrix, 0.15), depth)
    assert_close(found, expected, 1e-9, np.linalg.norm(matrix))


@DEPTH
@pytest.mark.parametrize("tilt", [0.0, 1e-12, 1e-6, 1e-2])
def test_crossing_singular_values(tilt, depth):
    """Values that meet, exactly or nearly, exchange their places; frames may turn fast."""
    sigma = np.array([2.0, 1.0])
    root = lifted_root(sigma, depth)
    velocity = np.diag(slope(sigma, depth) * (root[::-1] - root))
    velocity = velocity + tilt * np.array([[0.0, 1.0], [-0.3, 0.0]])
    expected, speed = reference_geodesic(np.diag(sigma), velocity, depth)
    assert_close(exp(np.diag(sigma), velocity, depth), expected, 1e-9)
    assert_close(geodesic(np.diag(sigma), velocity, depth).velocity(1.0), speed, 1e-9)
    if tilt == 0:
        assert_close(expected, np.diag(sigma[::-1]), 1e-11)


# --- closed forms ---------------------------------------------------------------------


@pytest.mark.parametrize("depth", [1, 2, 3, 10, INF])
@pytest.mark.parametrize("left", [-0.4, -0.999])
def test_singular_values_move_on_straight_lines(left, depth):
    """``X(t) = U diag((λ + tν)^N) Vᵀ``, also until little of a value is left."""
    sigma = np.array([3.0, 1.0, 1.0, 0.4])
    root = lifted_root(sigma, depth)
    nu = np.array([-0.2, 0.5, 0.0, left]) * (1.0 if depth == INF else root)
    u, vt = rotation(4, 11), rotation(4, 12)
    curve = geodesic(u * sigma @ vt, u * (slope(sigma, depth) * nu) @ vt, depth)
    times = np.array([0.0, 0.5, 0.9, 1.0])
    moved = unlifted(root + times[:, None] * nu, depth)
    assert_close(curve.point(times), u * moved[:, None, :] @ vt, 1e-9)


@pytest.mark.parametrize("shape", [(3, 3), (2, 4)], ids=str)
def test_depth_one_is_flat_at_full_rank(shape):
    """``N = 1`` at full rank: straight lines."""
    rng = np.random.default_rng(13)
    matrix, velocity = np.eye(*shape), 0.2 * rng.standard_normal(shape)
    assert_close(exp(matrix, velocity, 1), matrix + velocity, 1e-12)


def test_bures_wasserstein():
    """Depth two on positive matrices: geomstats' Bures–Wasserstein metric, times two."""
    metric = SPDBuresWassersteinMetric(SPDMatrices(3, equip=False))
    rng = np.random.default_rng(14)
    square = rng.standard_normal((2, 5, 3, 3))
    base = (square @ square.swapaxes(-1, -2) + 0.2 * np.eye(3))[0]
    velocity = motion(base, 0.2)
    velocity = velocity + velocity.swapaxes(-1, -2)
    assert_close(exp(base, velocity, 2), metric.exp(velocity, base), 1e-9)


# --- laws of geodesics ----------------------------------------------------------------


@DEPTH
@pytest.mark.parametrize("name", ["d=2", "identity", "close", "negative", "d=5"])
def test_conserved_quantities(name, depth):
    """Energy and the two momenta ``X Pᵀ - P Xᵀ`` and ``Xᵀ P - Pᵀ X`` do not change."""
    matrix = POINTS[name][0]
    times = np.linspace(0, 1, 6)
    curve = geodesic(matrix, motion(matrix), depth)
    quantities = []
    for x, v in zip(curve.point(times), curve.velocity(times), strict=True):
        p = momentum_of(x, v, depth)
        left, right = x @ p.T, x.T @ p
        parts = (np.sum(p * v), left - left.T, right - right.T)
        quantities.append(np.concatenate([np.ravel(part) for part in parts]))
    assert_close(quantities, np.broadcast_to(quantities[0], (6, len(quantities[0]))), 1e-9)


@PROBLEM
def test_a_geodesic_starts_again_and_turns_back(matrix, velocity, depth, rank):
    """From a point on it a geodesic goes on as before; backwards, it returns."""
    curve = geodesic(matrix, velocity, depth, rank)
    middle, speed = curve.point(0.4), curve.velocity(0.4)
    scale = np.linalg.norm(matrix)
    assert_close(exp(middle, 0.6 * speed, depth, rank), curve.point(1.0), 1e-9, scale)
    assert_close(exp(middle, -0.4 * speed, depth, rank), matrix, 1e-9, scale)
    backwards = geodesic(matrix, -velocity, depth, rank)
    assert_close(curve.point(-0.3), backwards.point(0.3), 1e-9, scale)
    assert_close(curve.velocity(-0.3), -backwards.velocity(0.3), 1e-9, scale)


@PROBLEM
def test_isometries(matrix, velocity, depth, rank):
    """Rotations of both sides and the transposition map geodesics to geodesics."""
    left, right = rotation(matrix.shape[0], 15), rotation(matrix.shape[1], 16)
    end, scale = exp(matrix, velocity, depth, rank), np.linalg.norm(matrix)
    turned = exp(left @ matrix @ right, left @ velocity @ right, depth, rank)
    assert_close(turned, left @ end @ right, 1e-9, scale)
    assert_close(exp(matrix.T, velocity.T, depth, rank), end.T, 1e-9, scale)


@pytest.mark.parametrize("factor", [1e-6, 1e6])
@pytest.mark.parametrize("depth", [1, 2, 3, INF])
@pytest.mark.parametrize("name", ["identity", "d=5"])
def test_scales(name, depth, factor):
    """``X → cX`` maps geodesics to geodesics."""
    matrix = POINTS[name][0]
    velocity = motion(matrix)
    end = exp(matrix, velocity, depth)
    assert_close(exp(factor * matrix, factor * velocity, depth), factor * end, 1e-9)


@pytest.mark.parametrize("depth", [1, 2, 3])
def test_what_is_not_tangent_is_dropped(depth):
    """A velocity counts by its tangent part, as everywhere in the package."""
    matrix, rank = POINTS["tall, rank 2"]
    left, _, right = np.linalg.svd(matrix)
    outside = left[:, rank:] @ np.ones((3, 2)) @ right[rank:]
    found = exp(matrix, motion(matrix) + outside, depth, rank)
    assert_close(found, exp(matrix, motion(matrix), depth, rank), 1e-12)


# --- batches and libraries ------------------------------------------------------------


@pytest.mark.parametrize("depth", [1, 2, 3, INF])
def test_a_batch_is_a_stack_of_results(depth):
    """Elements of a batch do not see each other, and one argument serves many."""
    names = ["identity", "repeated", "close"]
    points = np.stack([POINTS[name][0] for name in names])[:, None]
    velocities = np.stack([motion(np.eye(3), 0.1 * k, seed=k) for k in range(4)])
    ends = exp(points, velocities, depth)
    assert ends.shape == (3, 4, 3, 3)
    times = np.array([0.2, 1.0])
    curve = geodesic(points, velocities, depth)
    assert curve.point(times).shape == curve.velocity(times).shape == (3, 4, 2, 3, 3)
    assert_close(curve.point(times)[:, :, 1], ends, 1e-9)
    assert curve.point(0.2).shape == (3, 4, 3, 3)
    logs, lengths = log(points, ends, depth), dist(points, ends, depth)
    assert_close(logs, np.broadcast_to(velocities, logs.shape), 1e-8)
    assert lengths.shape == (3, 4)
    for i, j in np.ndindex(3, 4):
        x, v = points[i, 0], velocities[j]
        assert_close(ends[i, j], exp(x, v, depth), 1e-9)
        assert_close(logs[i, j], log(x, ends[i, j], depth), 1e-9, 1.0)
        assert lengths[i, j] == pytest.approx(dist(x, ends[i, j], depth), rel=1e-9, abs=1e-12)
        assert_close(curve.velocity(0.2)[i, j], geodesic(x, v, depth).velocity(0.2), 1e-9, 1.0)


def test_empty_batch():
    """No matrices have no geodesics."""
    none = np.zeros((0, 3, 3))
    assert exp(none, none, 2).shape == log(none, none, 2).shape == (0, 3, 3)
    assert dist(none, none, 2).shape == (0,)


@pytest.mark.parametrize("depth", [2, 3, INF])
def test_tensors_give_tensors(depth):
    """PyTorch gives the same values as tensors; single precision stays so."""
    matrix = POINTS["repeated"][0]
    velocity = motion(matrix)
    end = exp(matrix, velocity, depth)
    expected = (end, log(matrix, end, depth), dist(matrix, end, depth))
    speed = geodesic(matrix, velocity, depth).velocity(0.5)
    for dtype, tolerance in ((torch.float64, 1e-9), (torch.float32, 1e-4)):
        x, v, y = (torch.tensor(array, dtype=dtype) for array in (matrix, velocity, end))
        found = (exp(x, v, depth), log(x, y, depth), dist(x, y, depth))
        for one, other in zip(found, expected, strict=True):
            assert isinstance(one, torch.Tensor)
            assert one.dtype == dtype
            assert_close(one.numpy(), other, tolerance)
        along = geodesic(x, v, depth).velocity(0.5)
        assert along.dtype == dtype
        assert_close(along.numpy(), speed, tolerance)


def test_integers_serve_as_floats():
    """A matrix of integers is a matrix."""
    assert_close(exp(np.diag([4, 1]), np.diag([4, 2]), 2), np.diag([9.0, 4.0]), 1e-10)


# --- the boundary ---------------------------------------------------------------------


def assert_names_time(call, time: float):
    """Assert that a call raises a ValueError that names a time to four digits."""
    with pytest.raises(ValueError, match=r"\d") as caught:
        call()
    numbers = [float(word) for word in re.findall(r"\d+\.\d+(?:e[+-]?\d+)?", str(caught.value))]
    assert any(abs(number - time) < 2e-4 * time for number in numbers), str(caught.value)


@pytest.mark.parametrize("depth", [1, 2, 3, 4])
@pytest.mark.parametrize("count", [1, 2])
def test_boundary_is_told(count, depth):
    """One value that vanishes, or two at once that keep the sign, end the geodesic."""
    sigma, time = np.array([3.0, 1.0, 1.0]), 0.6257
    nu = np.array([0.3, *[0.1] * (2 - count), *[-1 / time] * count])
    u, vt = rotation(3, 17), rotation(3, 18)
    matrix, velocity = u * sigma @ vt, u * (slope(sigma, depth) * nu) @ vt
    assert_names_time(lambda: exp(matrix, velocity, depth), time)
    curve = geodesic(matrix, velocity, depth)
    moved = unlifted(lifted_root(sigma, depth) + 0.6 * nu, depth)
    assert_close(curve.point(0.6), u * moved @ vt, 1e-9)
    assert_names_time(lambda: curve.point(np.array([0.1, 1.0])), time)


def test_boundary_of_a_geodesic_that_turns():
    """On positive matrices at depth two ``X(t) = (I + tS) X (I + tS)``, ``SX + XS = Ẋ``."""
    matrix = np.diag([1.5, 1.0, 0.5])
    velocity = motion(matrix, seed=3)
    velocity = velocity + velocity.T - 0.5 * np.eye(3)
    move = linalg.solve_continuous_lyapunov(matrix, velocity)
    time = -1 / np.linalg.eigvalsh(move)[0]
    before = np.eye(3) + 0.99 * time * move
    assert_close(exp(matrix, 0.99 * time * velocity, 2), before @ matrix @ before, 1e-9)
    assert_names_time(lambda: exp(matrix, 1.3 * time * velocity, 2), 1 / 1.3)


def test_infinite_depth_has_no_boundary():
    """At infinite depth every geodesic goes on for ever."""
    found = exp(np.diag([2.0, 1.0]), np.diag([0.0, -8.0]), INF)
    assert_close(found, np.diag([2.0, math.exp(-8.0)]), 1e-10)


# --- errors ---------------------------------------------------------------------------

EYE = np.eye(3)
BAD_CALLS = {
    "shape of the velocity": (lambda: exp(EYE, np.eye(2), 2), "shape"),
    "no matrix": (lambda: exp(np.ones(3), np.ones(3), 2), "shape"),
    "NaN in the point": (lambda: exp(np.nan * EYE, EYE, 2), "NaN"),
    "NaN in the velocity": (lambda: exp(EYE, np.nan * EYE, 2), "NaN"),
    "NaN in a geodesic": (lambda: geodesic(EYE, np.nan * EYE, 2).point(1.0), "NaN"),
    "depth zero": (lambda: exp(EYE, EYE, 0), "depth"),
    "rank too large": (lambda: exp(EYE, EYE, 2, rank=4), "rank"),
    "point of lower rank": (lambda: exp(np.diag([1.0, 1.0, 0.0]), EYE, 2), "rank"),
    "rectangular, infinite depth": (lambda: exp(np.eye(2, 3), np.eye(2, 3), INF), "infinite depth"),
}


@pytest.mark.parametrize(("call", "message"), BAD_CALLS.values(), ids=BAD_CALLS)
def test_errors(call, message):
    """Wrong arguments raise a ValueError that says what came."""
    with pytest.raises(ValueError, match=message):
        call()


def test_reference_operator_is_symmetric():
    """The references' own operator is self-adjoint and positive."""
    matrix = POINTS["d=5"][0]
    p, q = np.random.default_rng(20).standard_normal((2, 5, 5))
    for depth in DEPTHS:
        one = np.sum(q * metric_operator(matrix, p, depth))
        assert one == pytest.approx(np.sum(p * metric_operator(matrix, q, depth)), rel=1e-12)
        assert np.sum(p * metric_operator(matrix, p, depth)) > 0
