"""Logarithm and distance of the depth metric against closed forms and the exponential."""

import numpy as np
import pytest
from geomstats.geometry.spd_matrices import SPDBuresWassersteinMetric, SPDMatrices

from dlngeo.core.depth_metric.metric import lower_index, tangent_projection
from dlngeo.core.geodesics.charts.depth_root_chart import DepthRootChart
from dlngeo.core.geodesics.exponential import exp
from dlngeo.core.geodesics.logarithm import connect, dist, log, squared_dist
from tests.core.brute import assert_close
from tests.core.geodesics.reference_geodesics import momentum_of
from tests.core.geodesics.search.test_turns import pairs as gaussian_pairs
from tests.core.geodesics.test_exponential import CASES, curve, gradients, problem
from tests.core.geodesics.test_exponential import slope as derivative
from tests.core.geodesics.test_observable_curves import (
    DEPTH,
    INF,
    POINTS,
    PROBLEM,
    gaussian,
    lifted_root,
    motion,
)

# --- closed forms and libraries -------------------------------------------------------


@pytest.mark.parametrize("shape", [(3, 3), (2, 4)], ids=str)
def test_depth_one_is_flat_at_full_rank(shape):
    """``N = 1`` at full rank: straight lines."""
    rng = np.random.default_rng(13)
    matrix, velocity = np.eye(*shape), 0.2 * rng.standard_normal(shape)
    assert_close(log(matrix, matrix + velocity, 1), velocity, 1e-12)
    assert dist(matrix, matrix + velocity, 1) == pytest.approx(np.linalg.norm(velocity), rel=1e-12)


def test_bures_wasserstein():
    """Depth two on positive matrices: geomstats' Bures–Wasserstein metric, times two."""
    metric = SPDBuresWassersteinMetric(SPDMatrices(3, equip=False))
    square = np.random.default_rng(14).standard_normal((2, 5, 3, 3))
    base, point = square @ square.swapaxes(-1, -2) + 0.2 * np.eye(3)
    assert_close(log(base, point, 2), metric.log(point, base), 1e-8)
    assert_close(dist(base, point, 2), 2**0.5 * metric.dist(point, base), 1e-9)


@pytest.mark.parametrize("angle", [np.pi / 2, 3.0, np.pi])
@pytest.mark.parametrize("depth", [2, 3, 10, INF])
def test_scaled_rotations_are_a_flat_cone(depth, angle):
    """Of angle ``2π/N``, a cylinder at ``N = ∞``; at ``π`` both ways round are as short."""
    turn = rotation(angle)
    expected = 2**0.5 * angle
    if depth != INF:
        expected = (2 * depth) ** 0.5 * 2 * np.sin(angle / (2 * depth))
    assert dist(np.eye(2), turn, depth) == pytest.approx(expected, rel=1e-10)
    space = np.eye(3)
    space[1:, 1:] = turn
    if depth != 10:
        assert dist(np.eye(3), space, depth) == pytest.approx(expected, rel=1e-10)


def rotation(angle):
    """Return a rotation of the plane."""
    return np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])


def angle_between(u, v):
    """Return the angles of unit vectors."""
    return 2 * np.arctan2(np.linalg.norm(u - v, axis=-1), np.linalg.norm(u + v, axis=-1))


def cone(x, y, depth):
    r"""Return the distance of matrices of rank one.

    They are a cone over two spheres, ``g = N dλ² + λ² (g_S + g_S)``: with the angles ``α, β`` of
    the singular vectors and ``θ² = α² + β²``, least over their common sign,
    ``d² = N (λ² + μ² - 2 λ μ cos(θ/√N))``. A path through the tip is no shorter.
    """
    (u, sigma, v), (w, tau, z) = (np.linalg.svd(a) for a in (x, y))
    lam, mu = sigma[..., 0] ** (1 / depth), tau[..., 0] ** (1 / depth)
    ways = []
    for sign in (1, -1):
        alpha = angle_between(sign * u[..., :, 0], w[..., :, 0])
        beta = angle_between(sign * v[..., 0, :], z[..., 0, :])
        # On a line there is no way from one side to the other one.
        is_apart = (u.shape[-1] == 1) & (alpha > 1) | (v.shape[-1] == 1) & (beta > 1)
        ways.append(np.where(is_apart, np.inf, np.hypot(alpha, beta)))
    theta = np.minimum(np.minimum(*ways) / depth**0.5, np.pi)
    return (depth * (lam**2 + mu**2 - 2 * lam * mu * np.cos(theta))) ** 0.5


@pytest.mark.parametrize("depth", [2, 3, 10, 30])
@pytest.mark.parametrize("shape", [(1, 2), (2, 1), (3, 3), (2, 4)], ids=str)
def test_rank_one_is_a_cone(shape, depth):
    """Gaussian pairs, orthogonal ones, and nearly antipodal ones."""
    rng = np.random.default_rng(depth)
    left, right = (rng.standard_normal((2, 30, size)) for size in shape)
    far, near = (right, left) if shape[0] == 1 else (left, right)
    far[1, 1], near[1, 1] = 1e-3 * far[1, 1] - far[0, 1], near[0, 1]
    x, y = left[..., :, None] * right[..., None, :]
    if 1 in shape:
        y[0] = -x[0]
    else:
        x[0], y[0] = 0, 0
        x[0, 0, 0], y[0, 1, 1] = 1, 2
    assert_close(dist(x, y, depth, 1), cone(x, y, depth), 1e-9)


# Explicit curves: both frames turn by a right angle, the large value follows a chord of a cone,
# the small one rests.
CURVES = [
    ((100, 0.01), 10, 3.150),
    ((100, 0.01), 3, 9.605),
    ((10, 0.1), 4, 3.4100),
    ((10, 0.1), 30, 1.1393),
    ((10, 0.1), INF, 6.2302),
]


@pytest.mark.parametrize(("values", "depth", "length"), CURVES)
def test_no_longer_than_explicit_curves(values, depth, length):
    """Also if reversed, transposed, turned, scaled, and for a target that is turned a little."""
    x, y = np.diag(values), np.diag(values[::-1])
    left, right = rotation(0.4), rotation(2.0)
    found = float(dist(x, y, depth))
    assert found <= length
    scale = 1.0 if depth == INF else 3.0 ** (1 / depth)
    ones = np.stack([y, x.T, left @ x @ right, 3 * x])
    others = np.stack([x, y.T, left @ y @ right, 3 * y])
    expected = found * np.array([1, 1, 1, scale])
    assert_close(dist(ones, others, depth), expected, 1e-8)
    assert dist(x, rotation(1e-4) @ y, depth) == pytest.approx(found, rel=1e-3)


# --- laws -----------------------------------------------------------------------------


@PROBLEM
def test_log_inverts_exp(matrix, velocity, depth, rank):
    """``log(X, exp(X, Z)) = Z``, and its norm is the distance."""
    end = exp(matrix, velocity, depth, rank)
    found = log(matrix, end, depth, rank)
    assert_close(found, velocity, 1e-8)
    assert_close(exp(matrix, found, depth, rank), end, 1e-9)
    if matrix.shape == (rank, rank):
        length = np.sum(velocity * momentum_of(matrix, velocity, depth)) ** 0.5
        assert dist(matrix, end, depth, rank) == pytest.approx(length, rel=1e-8)


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("depth", [2, 3, 4])
@pytest.mark.parametrize("size", [2, 3, 4, 5])
def test_random_pairs(size, depth, sign):
    """Any two Gaussian matrices of equal sign are joined, by no path below its bounds.

    Strata are totally geodesic, so that a shortest path ends at none. It is no shorter than
    between the singular values alone, where the metric is flat.
    """
    base, point = (
        np.stack([gaussian(size, 100 * seed + side, sign) for seed in range(15)]) for side in (0, 1)
    )
    velocity = log(base, point, depth)
    for x, v, y in zip(base, velocity, point, strict=True):
        assert_close(exp(x, v, depth), y, 1e-9, np.linalg.norm(x) + np.linalg.norm(y))
        norm = np.sum(v * momentum_of(x, v, depth)) ** 0.5
        assert dist(x, y, depth) == pytest.approx(norm, rel=1e-8)
        roots = [lifted_root(np.linalg.svd(matrix)[1], depth) for matrix in (x, y)]
        assert norm >= depth**0.5 * np.linalg.norm(roots[0] - roots[1]) - 1e-9


LAWS = [((2, 2), 2, 30), ((3, 3), 3, 2), ((3, 3), 3, INF), ((3, 3), 2, 3), ((2, 5), 2, 10)]


@pytest.mark.parametrize(("shape", "rank", "depth"), LAWS)
def test_distance(shape, rank, depth):
    """The distance is symmetric, invariant, zero on the diagonal, with the triangle."""
    count = 6
    x, y = gaussian_pairs(shape, rank, count)
    z, _ = gaussian_pairs(shape, rank, count, 1)
    if shape[0] == rank == shape[1]:
        z[:, 0] *= (np.linalg.slogdet(z)[0] * np.linalg.slogdet(x)[0])[:, None]
    rng = np.random.default_rng(2)
    left, right = (np.linalg.qr(rng.standard_normal((size, size)))[0] for size in shape)
    xy = dist(x, y, depth, rank)
    assert xy.shape == (count,)
    for one, other in [
        (y, x),
        (x.swapaxes(1, 2), y.swapaxes(1, 2)),
        (left @ x @ right, left @ y @ right),
    ]:
        assert_close(dist(one, other, depth, rank), xy, 1e-8)
    assert np.all(dist(x, z, depth, rank) <= xy + dist(y, z, depth, rank) + 1e-9)
    assert_close(dist(x, x, depth, rank), np.zeros(count), 1e-10, 1.0)
    assert_close(log(x, x, depth, rank), 0 * x, 1e-10, 1.0)


@pytest.mark.parametrize("size", [1e-3, 1e-6, 1e-9])
@DEPTH
def test_short_distances_keep_their_digits(size, depth):
    """To first order the distance is the norm of the difference, of matrices as they are stored."""
    matrix = POINTS["repeated"][0]
    step = (matrix + motion(matrix, size)) - matrix
    norm = np.sum(step * momentum_of(matrix + step / 2, step, depth)) ** 0.5
    tolerance = max(10 * size**2, 1e-15 / size)
    assert dist(matrix, matrix + step, depth) == pytest.approx(norm, rel=tolerance)


@pytest.mark.parametrize("factor", [1e-6, 1e6])
@pytest.mark.parametrize("depth", [1, 2, 3, INF])
@pytest.mark.parametrize("name", ["identity", "d=5"])
def test_scales(name, depth, factor):
    """``X → cX`` maps geodesics to geodesics, and lengths by ``c^{1/N}``."""
    matrix = POINTS[name][0]
    velocity = motion(matrix)
    end = exp(matrix, velocity, depth)
    assert_close(log(factor * matrix, factor * end, depth), factor * velocity, 1e-8)
    expected = factor ** (0 if depth == INF else 1 / depth) * dist(matrix, end, depth)
    assert dist(factor * matrix, factor * end, depth) == pytest.approx(expected, rel=1e-8)


@pytest.mark.parametrize(("shape", "rank", "depth"), CASES)
def test_squared_distance(shape, rank, depth):
    """By both points."""
    matrix, velocity, one, _ = problem(shape, rank)
    point = exp(matrix, velocity, depth, rank)
    other = tangent_projection(point, np.random.default_rng(9).standard_normal(shape), rank)

    def value(x, y):
        return squared_dist(x, y, depth, rank)

    here = derivative(lambda t: value(curve(matrix, one, rank, t), point))
    there = derivative(lambda t: value(matrix, curve(point, other, rank, t)))
    for found in gradients(value, matrix, point).values():
        assert_close(np.sum(np.asarray(found[0]) * one), here, 1e-7, 1.0)
        assert_close(np.sum(np.asarray(found[1]) * other), there, 1e-7, 1.0)


# --- errors ---------------------------------------------------------------------------

EYE = np.eye(3)
BAD_CALLS = {
    "opposite signs": (lambda: log(EYE, np.diag([1.0, 1.0, -1.0]), 2), "determinant"),
    "opposite signs, in a batch": (
        lambda: dist(EYE, np.stack([2 * EYE, np.diag([1.0, 1.0, -1.0])]), 3),
        "determinant",
    ),
    "opposite signs, infinite depth": (
        lambda: dist(EYE, np.diag([1.0, 1.0, -1.0]), INF),
        "determinant",
    ),
    "shape of the other point": (lambda: log(EYE, np.ones((3, 2)), 2), "shape"),
    "NaN in the other point": (lambda: dist(EYE, np.nan * EYE, 2), "NaN"),
    "half a layer": (lambda: log(EYE, 2 * EYE, 1.5), "depth"),
    "other point of lower rank": (lambda: log(EYE, np.diag([1.0, 1.0, 0.0]), 2), "rank"),
    "other point of higher rank": (lambda: log(np.diag([1.0, 1.0, 0.0]), EYE, 2, 2), "rank"),
}


@pytest.mark.parametrize(("call", "message"), BAD_CALLS.values(), ids=BAD_CALLS)
def test_errors(call, message):
    """Wrong arguments raise a ValueError that says what came."""
    with pytest.raises(ValueError, match=message):
        call()


# --- the completed space --------------------------------------------------------------


def across(depth, size=2, count=6):
    """Return pairs of Gaussian matrices, of opposite determinants and of equal ones."""
    x, y = np.random.default_rng([depth, size]).standard_normal((2, count, size, size))
    signs = np.where(np.arange(count) % 2, 1, -1) * np.sign(np.linalg.det(x) * np.linalg.det(y))
    return x, signs[:, None, None] * np.eye(size)[0] * y + (np.ones(size) - np.eye(size)[0]) * y


@pytest.mark.parametrize("shape", [(1, 1), (2, 2), (3, 3), (2, 4)], ids=str)
@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
def test_completed_depth_one_is_euclidean(scale, shape):
    x, y = scale * np.random.default_rng(0).standard_normal((2, 20, *shape))
    expected = np.linalg.norm(x - y, axis=(-2, -1))
    assert_close(dist(x, y, 1, on_boundary="cross"), expected, 1e-12, scale)
    assert_close(log(x, y, 1, on_boundary="cross"), y - x, 1e-12, scale)


@pytest.mark.parametrize("depth", [2, 3, 4, 10])
def test_completed_diagonal_matrices_are_flat(depth):
    """Signed singular values are 1-Lipschitz, and straight lines of their roots are paths."""
    roots = np.array(
        [[[1.2, 0.5], [1.0, -0.4]], [[2.0, 1.0], [1.5, -1.0]], [[1.0, 0.1], [0.1, -1]]]
    )
    x, y = (np.eye(2) * (np.sign(r) * abs(r) ** depth)[:, None, :] for r in roots.swapaxes(0, 1))
    found = dist(x, y, depth, on_boundary="cross")
    assert connect(x, y, depth, on_boundary="cross").is_certified[:2].all()
    assert_close(found[:2], depth**0.5 * np.linalg.norm(roots[:2, 0] - roots[:2, 1], axis=-1), 1e-9)
    # The large value may rather turn with its vectors, and the small one cross.
    assert found[2] <= depth**0.5 * np.linalg.norm(roots[2, 0] - roots[2, 1]) + 1e-9
    lam, mu = np.array([[0.3, 2.0], [-1.7, 0.4]])
    one, other = (
        (np.sign(r) * abs(r) ** depth)[:, None, None] for r in (lam, np.stack([mu[0], -mu[1]]))
    )
    expected = depth**0.5 * abs(lam - [mu[0], -mu[1]])
    assert_close(dist(one, other, depth, on_boundary="cross"), expected, 1e-10)


@pytest.mark.parametrize(("depth", "size"), [(2, 2), (4, 2), (3, 3)])
def test_completed_distances(depth, size):
    """Between components and within them: ends, symmetry, isometries, triangles, shortcuts."""
    x, y = across(depth, size)
    velocity = log(x, y, depth, on_boundary="cross")
    assert_close(exp(x, velocity, depth, on_boundary="cross"), y, 1e-8, 1.0)
    turns = np.linalg.qr(np.random.default_rng(1).standard_normal((2, size, size)))[0]
    ones = np.stack([x, y, x.swapaxes(-1, -2), turns[0] @ x @ turns[1], 3 * x])
    others = np.stack([y, x, y.swapaxes(-1, -2), turns[0] @ y @ turns[1], 3 * y])
    lengths = dist(ones, others, depth, on_boundary="cross")
    expected = np.stack([lengths[0]] * 4 + [3 ** (1 / depth) * lengths[0]])
    assert_close(lengths, expected, 1e-8)
    norm = np.sqrt(np.sum(velocity * lower_index(x, velocity, depth), axis=(-2, -1)))
    assert_close(norm, lengths[0], 1e-8)
    bound = connect(x, y, depth, on_boundary="cross").bound
    assert ((bound > 0) & (bound <= lengths[0] + 1e-9)).all()
    within = dist(x[1::2], y[1::2], depth)
    assert (lengths[0, 1::2] <= within + 1e-8).all()
    third = np.roll(y, 1, axis=0)
    ways = dist(np.stack([x, third]), np.stack([third, y]), depth, on_boundary="cross").sum(axis=0)
    assert (lengths[0] <= ways + 1e-8).all()


def test_what_no_path_joins():
    """An infinite distance on request, and pairs beside it as ever."""
    x, y = across(2)
    found = connect(x, y, 2, on_boundary="nan")
    np.testing.assert_array_equal(found.is_found, [False, True] * 3)
    np.testing.assert_array_equal(np.isinf(found.length), [True, False] * 3)
    np.testing.assert_array_equal(np.isinf(found.bound), [True, False] * 3)
    assert np.isnan(found.velocity[::2]).all()
    assert_close(dist(x, y, 2, on_boundary="nan")[1::2], dist(x[1::2], y[1::2], 2), 1e-12)
    assert np.isinf(squared_dist(x, y, INF, on_boundary="nan")[::2]).all()
    with pytest.raises(ValueError, match=r"signs \(3 of 6, the first at index \[0\]\)"):
        dist(x, y, 2)
    for case in (
        lambda: dist(x, y, INF, on_boundary="cross"),
        lambda: log(x[:, :1], y[:, :1], 2, on_boundary="cross"),
        lambda: dist(x, x, 2, 1, on_boundary="cross"),
        lambda: log(x, y, 2, on_boundary="continue"),
    ):
        with pytest.raises(ValueError, match=r'"cross"|rank 1'):
            case()


@pytest.mark.parametrize("depth", [1, 2, 3])
def test_gradients_of_completed_distances(depth):
    x, y = (a[0] for a in across(depth))
    one, other = np.random.default_rng(2).standard_normal((2, 2, 2))

    def squared(a, b):
        return squared_dist(a, b, depth, on_boundary="cross").sum()

    by_first = derivative(lambda t: squared(x + t * one, y))
    by_second = derivative(lambda t: squared(x, y + t * other))
    for found in gradients(squared, x, y).values():
        assert_close(np.sum(np.asarray(found[0]) * one), by_first, 1e-7, 1.0)
        assert_close(np.sum(np.asarray(found[1]) * other), by_second, 1e-7, 1.0)


@pytest.mark.parametrize("scale", [1e20, 1e150, 1e-200])
def test_far_apart_in_size(scale, monkeypatch):
    """What is as short as its bound is not searched for again, however many turns are as long."""
    rng = np.random.default_rng(11)
    x, step = rng.normal(size=(2, 3, 3))
    y = x + 0.1 * step
    shots, flow = [], DepthRootChart.flow

    def counted(self, *args):
        shots.append(1)
        return flow(self, *args)

    monkeypatch.setattr(DepthRootChart, "flow", counted)
    there, back = connect(x, scale * y, 3), connect(scale * y, x, 3)
    assert bool(there.is_certified)
    assert float(there.residual) <= 1e-10
    np.testing.assert_allclose(float(there.length), float(back.length), rtol=1e-12)
    assert len(shots) < 300
