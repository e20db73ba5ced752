"""Laws of `curvature` against differences of the metric and exact arithmetic.

The curvature tensor is determined by its symmetries and by ``⟨R(a, b)b, a⟩``.
"""

import itertools
import math
from fractions import Fraction

import numpy as np
import pytest

from dlngeo.core.balanced import curvature
from dlngeo.core.balanced import submanifold as ba
from dlngeo.core.depth_metric import curvature as cv
from dlngeo.core.depth_metric import metric as ob
from dlngeo.core.depth_metric import ricci_operator as ro
from dlngeo.core.depth_metric import sources, weights
from dlngeo.core.depth_metric import submersion as sub
from dlngeo.core.networks import balancing
from dlngeo.core.networks.blocks import Blocks
from tests.core.brute import (
    NETWORKS,
    assert_close,
    derivative,
    flatten,
    moved,
    network,
    random_motion,
    second_derivative,
    tangent_projector,
    tangent_space,
    unflatten,
    velocity,
)
from tests.core.libraries import ARRAYS

NETWORK = pytest.mark.parametrize("net", NETWORKS.values(), ids=NETWORKS)


class Chart:
    """Coordinates of matrices of fixed rank, orthonormal at the point, and the metric in them.

    In the singular frames of the point, ``[[S + A, B], [C, C (S + A)^{-1} B]]``.
    """

    def __init__(self, matrix, depth, rank):
        self.left, sigma, right = np.linalg.svd(matrix)
        self.right, self.depth, self.rank = right.T, depth, rank
        self.shape, self.diagonal = matrix.shape, np.diag(sigma[:rank])
        self.weights = np.sqrt(self.kernel(sigma[:rank]))[: matrix.shape[0], : matrix.shape[1]]
        self.places = [k for k in np.ndindex(*matrix.shape) if min(k) < rank]

    def kernel(self, sigma):
        """Return ``r_kl``, padded for null spaces of any size; the diagonal one by one."""
        padded = np.concatenate([sigma, np.zeros(max(self.shape) - len(sigma))])
        if self.depth == math.inf:
            gap = np.log(padded[:, None] / padded)
            safe = np.where(gap == 0, 1.0, gap)
            return np.outer(padded, padded) * np.where(gap == 0, 1.0, np.sinh(safe) / safe)
        powers = [padded ** (2 * p / self.depth) for p in range(int(self.depth))]
        return sum(np.outer(one, other) for one, other in zip(powers[::-1], powers, strict=True))

    def matrix(self, coordinates):
        """Return the blocks, weighted."""
        blocks = np.zeros(self.shape)
        blocks[tuple(np.transpose(self.places))] = coordinates
        return self.weights * blocks

    def coordinates(self, vector):
        blocks = self.left.T @ vector @ self.right
        return np.array([blocks[place] / self.weights[place] for place in self.places])

    def metric(self, coordinates):
        """Return the matrix of the metric."""
        r, blocks = self.rank, self.matrix(coordinates)
        core = blocks[:r, :r] + self.diagonal
        inverse = np.linalg.inv(core)
        rows, columns = blocks[r:, :r] @ inverse, inverse @ blocks[:r, r:]
        outer, inner = np.vstack([np.eye(r), rows]), np.hstack([np.eye(r), columns])
        left, sigma, right = np.linalg.svd(outer @ core @ inner)
        kernel = self.kernel(sigma[:r])[: self.shape[0], : self.shape[1]]
        images = []
        for unit in np.eye(len(self.places)):
            d = self.matrix(unit)
            moving = d.copy()
            moving[r:, r:] += d[r:, :r] @ columns + rows @ d[:r, r:] - rows @ d[:r, :r] @ columns
            entries = left.T @ moving @ right.T
            images.append([entries[place] / kernel[place] ** 0.5 for place in self.places])
        stacked = np.array(images)
        return stacked @ stacked.T

    def riemann(self, a, b, step=1e-3):
        """Return ``⟨R(a, b)b, a⟩`` of two vectors in coordinates, by differences."""

        def slope(v):
            return derivative(lambda t: self.metric(t * v), step)

        def bend(v):
            return second_derivative(lambda t: self.metric(t * v), 2 * step)

        every = np.array([slope(unit) for unit in np.eye(len(a))])

        def christoffel(x, y):
            along = np.einsum("i,ijk->jk", x, every) @ y + np.einsum("i,ijk->jk", y, every) @ x
            return (along - np.einsum("mij,i,j->m", every, x, y)) / 2

        mixed = (bend(a + b) - bend(a - b)) / 4
        second = a @ bend(b) @ a + b @ bend(a) @ b - 2 * a @ mixed @ b
        first = christoffel(a, b) @ christoffel(a, b) - christoffel(a, a) @ christoffel(b, b)
        return first - second / 2


def inner(matrix, depth, rank, one, other):
    return np.sum(one * ob.lower_index(matrix, other, depth, rank), axis=(-2, -1))


def point_and_vectors(shape, rank, sigma, seed=0, count=3):
    """Return a matrix with random frames and given singular values, and tangent vectors."""
    rng = np.random.default_rng(seed)
    left, right = (np.linalg.qr(rng.standard_normal((d, d)))[0] for d in shape)
    matrix = left[:, :rank] * np.asarray(sigma)[:rank] @ right[:, :rank].T
    vectors = [left @ rng.standard_normal(shape) @ right.T for _ in range(count)]
    return matrix, [ob.tangent_projection(matrix, v, rank) for v in vectors]


DEPTHS = [1, 2, 3, 4, 10, math.inf]
SIGMA = {
    "generic": [1.7, 1.1, 0.8],
    "equal": [1.0, 1.0, 1.0],
    "gap": [1 + 1e-12, 1.0, 1 - 1e-12],
}
SHAPES = [((3, 3), 3), ((2, 2), 2), ((3, 2), 2), ((2, 4), 2), ((5, 4), 2), ((4, 3), 1)]
CASES = [
    (shape, rank, spectrum, depth)
    for (shape, rank), spectrum, depth in itertools.product(SHAPES, SIGMA, DEPTHS)
    if depth != math.inf or shape == (rank, rank)
]
DEEP = [(*case[:3], 45) for case in CASES if case[3] == 2]


# --- the observable space ---------------------------------------------------------------


@pytest.mark.parametrize(("shape", "rank", "spectrum", "depth"), CASES)
def test_curvature_is_that_of_the_metric_in_a_chart(shape, rank, spectrum, depth):
    """At repeated and close singular values as well."""
    matrix, (a, b, _) = point_and_vectors(shape, rank, SIGMA[spectrum])
    chart = Chart(matrix, depth, rank)
    x, y = chart.coordinates(a), chart.coordinates(b)
    x, y = x / np.linalg.norm(x), y / np.linalg.norm(y)
    a, b = (chart.left @ chart.matrix(v) @ chart.right.T for v in (x, y))
    expected = chart.riemann(x, y)
    value = inner(matrix, depth, rank, cv.riemann_curvature(matrix, a, b, b, depth, rank), a)
    np.testing.assert_allclose(value, expected, rtol=0, atol=2e-8)
    sectional = cv.sectional_curvature(matrix, a, b, depth, rank)
    area = 1 - (x @ y) ** 2
    np.testing.assert_allclose(sectional, expected / area, rtol=0, atol=2e-8 / area)


@pytest.mark.parametrize(("shape", "rank", "spectrum", "depth"), CASES)
def test_symmetries(shape, rank, spectrum, depth):
    """Two antisymmetries, the exchange of pairs, and Bianchi's identity."""
    matrix, (a, b, c, d) = point_and_vectors(shape, rank, SIGMA[spectrum], count=4)

    def tensor(x, y, z):
        return cv.riemann_curvature(matrix, x, y, z, depth, rank)

    def covariant(x, y, z, w):
        return inner(matrix, depth, rank, tensor(x, y, z), w)

    size = np.max(np.abs([tensor(a, b, c), tensor(b, c, a), tensor(c, a, b)]))
    assert_close(tensor(a, b, c), -tensor(b, a, c), 1e-13, size)
    assert_close(tensor(a, b, c) + tensor(b, c, a) + tensor(c, a, b), 0 * a, 1e-12, size)
    one = covariant(a, b, c, d)
    assert_close(
        [covariant(a, b, d, c), covariant(c, d, a, b)], [-one, one], 1e-12, max(size, abs(one))
    )


@pytest.mark.parametrize(("shape", "rank", "spectrum", "depth"), [*CASES, *DEEP])
def test_ricci_and_scalar_curvature_are_traces(shape, rank, spectrum, depth):
    matrix, (a, b, _) = point_and_vectors(shape, rank, SIGMA[spectrum])
    chart = Chart(matrix, depth, rank)
    basis = np.array(
        [chart.left @ chart.matrix(e) @ chart.right.T for e in np.eye(len(chart.places))]
    )
    images = cv.riemann_curvature(matrix, basis, a, b, depth, rank)
    trace = np.sum(inner(matrix, depth, rank, images, basis))
    ricci = ro.ricci(matrix, a, depth, rank)
    scale = max(1.0, float(inner(matrix, depth, rank, a, a)))
    assert_close(inner(matrix, depth, rank, ricci, b), trace, 1e-11, 10 * scale)
    every = ro.ricci(matrix, basis, depth, rank)
    total = np.sum(inner(matrix, depth, rank, every, basis))
    assert_close(ro.scalar_curvature(matrix, depth, rank), total, 1e-11, 10 + abs(total))


@pytest.mark.parametrize("depth", [1, 2, 3, 10])
@pytest.mark.parametrize("shape", [(4, 3), (1, 4), (3, 3), (1, 1)])
def test_rank_one_is_a_cone_over_two_spheres(shape, depth):
    r"""``g = N dλ² + λ² (g_S + g_S)``, so that planes have ``K = (N - 1)/(Nλ²)`` along one
    sphere, ``-1/(Nλ²)`` across both, and zero along the ray."""
    lam = 1.3
    m, n = shape
    matrix = np.zeros(shape)
    matrix[0, 0] = lam**depth
    unit = 1 / (depth * lam**2)

    def entry(k, l):
        vector = np.zeros(shape)
        vector[k, l] = 0.7
        return vector

    planes = [((0, 0), (k, 0), 0) for k in range(1, m)] + [((0, 0), (0, l), 0) for l in range(1, n)]
    planes += [((k, 0), (0, l), -unit) for k in range(1, m) for l in range(1, n)]
    planes += [((1, 0), (k, 0), (depth - 1) * unit) for k in range(2, m)]
    planes += [((0, 1), (0, l), (depth - 1) * unit) for l in range(2, n)]
    for one, other, expected in planes:
        value = cv.sectional_curvature(matrix, entry(*one), entry(*other), depth, 1)
        np.testing.assert_allclose(value, expected, rtol=0, atol=1e-14)
    s, t = m - 1, n - 1
    scalar = unit * (depth * (s * (s - 1) + t * (t - 1)) - (s + t) * (s + t - 1))
    np.testing.assert_allclose(ro.scalar_curvature(matrix, depth, 1), scalar, rtol=0, atol=1e-13)


@pytest.mark.parametrize("depth", [2, 3, 4, math.inf])
def test_singular_values_alone_are_flat(depth):
    """On diagonal matrices the metric is flat, and they are totally geodesic."""
    matrix = np.diag([2.0, 1.0, 0.3])
    a, b = np.diag([1.0, -2.0, 0.5]), np.diag([0.3, 1.0, 0.1])
    assert_close(cv.riemann_curvature(matrix, a, b, b, depth), 0 * a, 1e-13, 1.0)
    assert abs(cv.sectional_curvature(matrix, a, b, depth)) < 1e-13


def solved(matrix, right):
    """Solve a system of fractions by elimination."""
    rows = [[*row, value] for row, value in zip(matrix, right, strict=True)]
    size = len(rows)
    for i in range(size):
        pivot = next(j for j in range(i, size) if rows[j][i] != 0)
        rows[i], rows[pivot] = rows[pivot], rows[i]
        rows[i] = [value / rows[i][i] for value in rows[i]]
        for j in range(size):
            if j != i and rows[j][i] != 0:
                factor = rows[j][i]
                rows[j] = [x - factor * y for x, y in zip(rows[j], rows[i], strict=True)]
    return [row[-1] for row in rows]


def exact_sectional(lam, depth, a, b):
    """Return the sectional curvature at ``diag(λ^N)`` as a fraction, by O'Neill and Gauss.

    Normal and vertical fields are those of symmetric and skew matrices, with dense Gram
    matrices: nothing is diagonalised.
    """
    d, hidden = len(lam), range(1, depth)
    square = list(np.ndindex(d, d))
    kernel = {
        (k, l): sum(lam[k] ** (2 * (depth - p)) * lam[l] ** (2 * p - 2) for p in (*hidden, depth))
        for k, l in square
    }

    def lift(z):
        return [
            {
                (k, l): lam[k] ** (depth - p) * lam[l] ** (p - 1) * z[k][l] / kernel[k, l]
                for k, l in square
            }
            for p in range(1, depth + 1)
        ]

    def fields(sign):
        """Return ``E_p V_p - V_p E_{p-1}`` as a function of ``V``, for a basis of ``E``."""

        def field(p, k, l):
            element = {(k, l): 1, (l, k): sign if k != l else 1}

            def value(v):
                moved = [dict.fromkeys(square, Fraction(0)) for _ in range(depth)]
                for (i, j), weight in element.items():
                    for m in range(d):
                        moved[p - 1][i, m] += weight * v[p - 1][j, m]
                        moved[p][m, j] -= weight * v[p][m, i]
                return moved

            return value

        pairs = [(k, l) for k, l in square if (k <= l if sign > 0 else k < l)]
        return [field(p, k, l) for p in hidden for k, l in pairs]

    def dot(v, w):
        return sum(x[i] * y[i] for x, y in zip(v, w, strict=True) for i in square)

    point = [{(k, l): lam[k] if k == l else Fraction(0) for k, l in square}] * depth
    x, y = lift(a), lift(b)

    def product(symmetry, one, other):
        """Return the inner product of the normal or vertical parts of derivatives."""
        basis = fields(symmetry)
        directions = [field(point) for field in basis]
        gram = [[dot(v, w) for w in directions] for v in directions]
        left, right = ([-dot(field(v), w) for field in basis] for v, w in (one, other))
        return sum(u * v for u, v in zip(left, solved(gram, right), strict=True))

    normal = product(1, (x, x), (y, y)) - product(1, (x, y), (x, y))
    area = dot(x, x) * dot(y, y) - dot(x, y) ** 2
    return (normal + 3 * product(-1, (x, y), (x, y))) / area


@pytest.mark.parametrize(
    ("lam", "depth"),
    [
        (("1", "1/100000"), 3),
        (("1", "1/30"), 10),
        (("1000", "1"), 2),
        (("1", "1/1000"), 4),
        (("1", "1/50", "1/2500"), 3),
        (("3/2", "1", "1"), 3),
    ],
)
def test_tiny_singular_values_against_exact_arithmetic(lam, depth):
    lam = [Fraction(value) for value in lam]
    rng = np.random.default_rng(0)
    size = np.array([[float(max(k, l)) for l in lam] for k in lam]) ** (depth - 1)
    a, b = (size * rng.integers(1, 9, (len(lam), len(lam))) for _ in range(2))
    exact = exact_sectional(
        lam, depth, [[Fraction(x) for x in row] for row in a], [[Fraction(x) for x in r] for r in b]
    )
    matrix = np.diag([float(value**depth) for value in lam])
    found = cv.sectional_curvature(matrix, a, b, depth)
    np.testing.assert_allclose(found, float(exact), rtol=1e-9)


@pytest.mark.parametrize(
    ("lam", "depth"),
    [(("1", "1/80000"), 3), (("1", "1/1000", "1/100000"), 2), (("1", "1/900", "1/1000"), 3)],
)
def test_ricci_of_tiny_singular_values_is_an_exact_trace(lam, depth):
    """Sectional curvatures of planes are up to ``1/λ_r²``; most of that cancels."""
    lam = [Fraction(value) for value in lam]
    matrix = np.diag([float(value**depth) for value in lam])
    units = np.eye(len(lam) ** 2, dtype=int).reshape(-1, len(lam), len(lam))
    exact_units = [[[Fraction(int(x)) for x in row] for row in unit] for unit in units]
    planes = [[0] * len(units) for _ in units]
    for (i, a), (j, b) in itertools.combinations(enumerate(exact_units), 2):
        planes[i][j] = planes[j][i] = exact_sectional(lam, depth, a, b)
    exact = [sum(row) for row in planes]
    found = [(unit * ro.ricci(matrix, 1.0 * unit, depth)).sum() for unit in units]
    np.testing.assert_allclose(found, [float(value) for value in exact], rtol=1e-13, atol=1e-15)
    scalar = ro.scalar_curvature(matrix, depth)
    np.testing.assert_allclose(scalar, float(sum(exact)), rtol=1e-14)


@pytest.mark.parametrize("depth", [2, 5, 40, math.inf])
def test_ricci_sums_by_layers_are_those_by_values(depth):
    """Of repeated and of tiny values too."""
    sigma = np.array([[1.0, 0.7, 0.7, 0.1], [1.0, 1.0, 1.0, 1.0], [1.0, 0.5, 1e-3, 1e-6]])
    at = weights.weights_of(sigma, depth)
    for one, other in zip(ro._sums_by_layers(at), ro._sums_by_values(at), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-11, atol=1e-13 * abs(one).max())


@pytest.mark.parametrize("depth", [2, 3, 40, 300])
@pytest.mark.parametrize("nulls", [(0, 0), (2, 0), (0, 1), (2, 1)])
def test_geometric_sources_are_those_of_the_layers(depth, nulls):
    """Forms, also of sources that are transposed, and what is pulled back."""
    rng = np.random.default_rng(0)
    sigma = np.array([[1.0, 0.7, 0.7, 0.1], [1.0, 1.0, 1.0, 1.0], [1.0, 0.5, 1e-3, 1e-6]])
    at = weights.FiniteWeights(sigma ** (1 / depth), depth)
    left, right = ((3, n, 4) if n else None for n in nulls)
    x, y, z = (
        Blocks(
            rng.standard_normal((3, 4, 4)),
            None if left is None else rng.standard_normal(left),
            None if right is None else rng.standard_normal(right).swapaxes(-1, -2),
        )
        for _ in range(3)
    )
    found = []
    for kind in (sources._GeometricSources, sources._LayerSources):
        own, other = kind(at).source(x, y), kind(at).source(z, x)
        solution = kind(at).solve(other)
        turned = own.swapaxes(-1, -2)
        forms = [np.sum(part * solution, axis=(-3, -2, -1)) for part in (own, turned)]
        pulled = kind(at).pull(y, solution)
        found.append([*forms, *[block for block in pulled if block is not None]])
    for one, expected in zip(*found, strict=True):
        assert_close(one, expected, 1e-12, abs(expected).max())


@pytest.mark.parametrize("depth", [2, 3, 40, 300])
def test_ricci_sums_by_doubling_are_those_over_layers(depth):
    """Of repeated and of tiny values too."""
    sigma = np.array([[1.0, 0.7, 0.7, 0.1], [1.0, 1.0, 1.0, 1.0], [1.0, 0.5, 1e-3, 1e-6]])
    at = weights.FiniteWeights(sigma ** (1 / depth), depth)
    for one, other in zip(ro._sums_of_forms(at), ro._sums_over_layers(at), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-11, atol=1e-12 * abs(other).max() + 1e-15)


@pytest.mark.parametrize(("shape", "planes"), [((2, 2), 1), ((3, 2), 3), ((3, 5), 9), ((5, 3), 9)])
@pytest.mark.parametrize("least", [1e-3, 1e-12, 1e-15])
def test_scalar_curvature_of_two_layers(shape, planes, least):
    """With null spaces of dimension (0, 0), (1, 0), (3, 1) terms of size ``1/s`` cancel."""
    matrix, _ = point_and_vectors(shape, 2, [1.0, least])
    expected = planes / (1 + least)
    np.testing.assert_allclose(ro.scalar_curvature(matrix, 2, 2), expected, rtol=1e-13)


@pytest.mark.parametrize("scale", [1e-300, 1e-160, 1e160, 1e300])
@pytest.mark.parametrize("depth", [1, 2, 3, 10, math.inf])
def test_curvature_at_extreme_scales(scale, depth):
    """``K(cX) = c^{-2/N} K(X)``, for vectors of another scale too."""
    matrix, (a, b, _) = point_and_vectors((3, 3), 3, SIGMA["equal"])
    factor = scale ** (-1 / depth)
    scalar = ro.scalar_curvature(matrix, depth) * factor * factor if depth > 1 else 0.0
    np.testing.assert_allclose(ro.scalar_curvature(scale * matrix, depth), scalar, rtol=1e-11)
    sectional = cv.sectional_curvature(matrix, a, b, depth) * factor * factor if depth > 1 else 0.0
    for first in (a, scale * a):
        found = cv.sectional_curvature(scale * matrix, first, scale * b, depth)
        np.testing.assert_allclose(found, sectional, rtol=1e-11)


@pytest.mark.parametrize("spectrum", [[1.7, 1.1, 0.8], [1.0, 1.0, 1.0], [1.0, 0.1, 0.1]])
def test_infinite_depth_is_a_limit(spectrum):
    """Extrapolated in ``1/N`` from the depths 8, 16, ..., 256."""
    matrix, (a, b, c) = point_and_vectors((3, 3), 3, spectrum)

    def limit(of_depth):
        values = [of_depth(2**i) for i in range(3, 9)]
        for order in range(1, 6):
            pairs = itertools.pairwise(values)
            values = [fine + (fine - coarse) / (2**order - 1) for coarse, fine in pairs]
        return values[0]

    def sectional(depth):
        return cv.sectional_curvature(matrix, a, b, depth) / depth

    def tensor(depth):
        return cv.riemann_curvature(matrix, a, b, c, depth)

    def ricci(depth):
        return ro.ricci(matrix, a, depth) / depth

    def scalar(depth):
        return ro.scalar_curvature(matrix, depth) / depth

    assert_close(cv.sectional_curvature(matrix, a, b, math.inf), limit(sectional), 1e-8, 1.0)
    assert_close(cv.riemann_curvature(matrix, a, b, c, math.inf), limit(tensor), 1e-8)
    assert_close(ro.ricci(matrix, a, math.inf), limit(ricci), 1e-8)
    assert_close(ro.scalar_curvature(matrix, math.inf), limit(scalar), 1e-8, 1.0)


def test_infinite_depth_reaches_far_apart_singular_values():
    """``Δlog σ = 30``: turned frames and other nodes give the same, and nothing overflows."""
    sigma = np.exp([15.0, 0.0, -15.0])
    matrix = np.diag(sigma)
    root = ob.raise_index(matrix, np.ones((3, 3)), math.inf) ** 0.5
    rng = np.random.default_rng(0)
    a, b = root * rng.standard_normal((2, 3, 3))
    value = cv.sectional_curvature(matrix, a, b, math.inf)
    nodes = weights._NODES, weights._MODES
    weights._NODES, weights._MODES = 128, 120
    weights._limit_modes.cache_clear()
    try:
        finer = cv.sectional_curvature(matrix, a, b, math.inf)
    finally:
        weights._NODES, weights._MODES = nodes
        weights._limit_modes.cache_clear()
    assert np.isfinite(value)
    np.testing.assert_allclose(value, finer, rtol=1e-11)


@pytest.mark.parametrize("scale", [1e-6, 1e6])
@pytest.mark.parametrize("depth", [2, 3, 10, math.inf])
def test_scaling(scale, depth):
    """``K(cX) = c^{-2/N} K(X)``."""
    matrix, (a, b, _) = point_and_vectors((3, 3), 3, SIGMA["generic"])
    factor = scale ** (-2 / depth)
    for kernel in (
        lambda x: cv.sectional_curvature(x, a, b, depth),
        lambda x: ro.scalar_curvature(x, depth),
        lambda x: ro.ricci(x, a, depth),
    ):
        assert_close(kernel(scale * matrix), factor * kernel(matrix), 1e-11)


@pytest.mark.parametrize("depth", [1, 2, 3, math.inf])
def test_flat_cases_and_degenerate_planes(depth):
    """No NaN from planes that are none: zero, the rule of geomstats."""
    rng = np.random.default_rng(0)
    number, one, other = rng.standard_normal((3, 1, 1))
    assert cv.sectional_curvature(number, one, other, depth) == 0
    assert abs(cv.riemann_curvature(number, one, other, one, depth)) < 1e-15
    matrix, a = rng.standard_normal((2, 3, 3))
    for vector in (a, -0.7 * a, 0 * a):
        assert cv.sectional_curvature(matrix, a, vector, depth) == 0
        assert cv.sectional_curvature(matrix, vector, a, depth) == 0
    if depth == 1:
        b = rng.standard_normal((3, 3))
        assert cv.sectional_curvature(matrix, a, b, 1) == 0
        assert not np.any(cv.riemann_curvature(matrix, a, b, b, 1))
        assert not np.any(ro.ricci(matrix, a, 1))
        assert ro.scalar_curvature(matrix, 1) == 0


# --- the balanced manifold --------------------------------------------------------------


def acceleration(net, motion):
    """Return the normal part of the acceleration of a curve, ``II(V, V)``."""
    bent = second_derivative(lambda t: flatten(moved(net, motion, t).factors), 0.01)
    return bent - tangent_projector(net) @ bent


def combined(one, other, sign):
    """Return the sum or the difference of two motions."""
    frames = tuple(a + sign * b for a, b in zip(one.frames, other.frames, strict=True))
    return type(one)(frames, one.core + sign * other.core)


@NETWORK
def test_balanced_curvature_is_that_of_the_embedding(net):
    """Gauss' equation with accelerations of curves, by differences."""
    rng = np.random.default_rng(0)
    motions = [random_motion(net, rng) for _ in range(4)]
    vectors = [velocity(net, motion) for motion in motions]

    def form(i, j):
        plus, minus = (acceleration(net, combined(motions[i], motions[j], s)) for s in (1, -1))
        return (plus - minus) / 4

    expected = form(1, 2) @ form(0, 3) - form(0, 2) @ form(1, 3)
    x, y, z, _ = vectors
    value = flatten(curvature.balanced_curvature(net.factors, x, y, z, net.rank))
    scale = np.prod([np.linalg.norm(flatten(v)) for v in vectors])
    assert_close(value @ flatten(vectors[3]), expected, 1e-8, scale)
    assert_close(tangent_projector(net) @ value, value, 1e-11, scale)
    a, b = (flatten(v) for v in vectors[:2])
    area = (a @ a) * (b @ b) - (a @ b) ** 2
    sectional = curvature.balanced_sectional_curvature(net.factors, x, y, net.rank)
    numerator = form(0, 0) @ form(1, 1) - form(0, 1) @ form(0, 1)
    if net.core.shape == (1, 1) and area <= 1e-20 * scale:
        assert sectional == 0
    else:
        assert_close(sectional, numerator / area, 1e-7, max(1.0, 1 / area**0.5))


@NETWORK
def test_balanced_ricci_and_scalar_curvature_are_traces(net):
    rng = np.random.default_rng(1)
    a, b = (velocity(net, random_motion(net, rng)) for _ in range(2))
    basis = tangent_space(net).T
    units = unflatten_all(basis, net.factors)
    images = curvature.balanced_curvature(net.factors, units, a, b, net.rank)
    trace = sum(np.sum(i * u) for i, u in zip(images, units, strict=True))
    ricci = flatten(curvature.balanced_ricci(net.factors, a, net.rank))
    scale = np.linalg.norm(flatten(a)) * np.linalg.norm(flatten(b))
    assert_close(ricci @ flatten(b), trace, 1e-11, 10 * scale)
    every = curvature.balanced_ricci(net.factors, units, net.rank)
    total = sum(np.sum(i * u) for i, u in zip(every, units, strict=True))
    assert_close(curvature.balanced_scalar_curvature(net.factors, net.rank), total, 1e-11, 100.0)


def unflatten_all(vectors, like):
    """Return flat vectors as a batch of factors."""
    return tuple(np.stack(m) for m in zip(*[unflatten(v, like) for v in vectors], strict=True))


def test_balanced_degenerate_planes():
    net = network((3, 3, 3), 3)
    a = velocity(net, random_motion(net, np.random.default_rng(0)))
    zero, multiple = (tuple(t * layer for layer in a) for t in (0.0, 0.3))
    for other in (a, zero, multiple):
        assert curvature.balanced_sectional_curvature(net.factors, a, other) == 0
        assert curvature.balanced_sectional_curvature(net.factors, other, a) == 0


@pytest.mark.parametrize(("widths", "rank"), [((3, 3, 3), 3), ((4, 3, 5, 4), 2), ((3, 5, 2), 2)])
def test_submersions_do_not_decrease_curvature(widths, rank):
    """``K(X, Y) = K(lifts) + 3 ‖A_X Y‖²``, with dense vertical projectors."""
    net = network(widths, rank)
    rng = np.random.default_rng(2)
    a, b = (
        ob.tangent_projection(net.matrix, rng.standard_normal(net.matrix.shape), rank)
        for _ in range(2)
    )
    x, y = (sub.horizontal_lift(net.factors, v, rank) for v in (a, b))
    neill = flatten(sub.integrability_tensor(net.factors, x, y, rank))
    u, v = flatten(x), flatten(y)
    area = (u @ u) * (v @ v) - (u @ v) ** 2
    above = curvature.balanced_sectional_curvature(net.factors, x, y, rank)
    below = cv.sectional_curvature(net.matrix, a, b, len(widths) - 1, rank)
    assert_close(below, above + 3 * neill @ neill / area, 1e-12, 1.0)


# --- arrays -----------------------------------------------------------------------------


def observable_kernels(matrix, a, b, c):
    for depth, rank in ((1, 2), (3, 2)):
        yield cv.riemann_curvature(matrix, a, b, c, depth, rank)
        yield cv.sectional_curvature(matrix, a, b, depth, rank)
        yield ro.ricci(matrix, a, depth, rank)
        yield ro.scalar_curvature(matrix, depth, rank)


def limit_kernels(matrix, a, b, c):
    yield cv.riemann_curvature(matrix, a, b, c, math.inf)
    yield cv.sectional_curvature(matrix, a, b, math.inf)
    yield ro.ricci(matrix, a, math.inf)
    yield ro.scalar_curvature(matrix, math.inf)


def balanced_kernels(matrix, a, b, c):
    rank = min(matrix.shape[-2:])
    factors = balancing.factorize(matrix, 3)
    x, y, z = (sub.horizontal_lift(factors, v, rank) for v in (a, b, c))
    yield curvature.balanced_sectional_curvature(factors, x, y)
    yield curvature.balanced_scalar_curvature(factors)
    for result in (
        curvature.balanced_curvature(factors, x, y, z),
        curvature.balanced_ricci(factors, ba.tangent_projection(factors, x)),
    ):
        yield from result if isinstance(result, tuple) else [result]


FAMILIES = [
    (observable_kernels, (4, 3), 2),
    (limit_kernels, (3, 3), 3),
    (balanced_kernels, (3, 2), 2),
    (balanced_kernels, (2, 2), 2),
]


# JAX compiles every shape anew: those of full rank are in the table of kernels.
@pytest.mark.parametrize(
    ("kernels", "shape", "rank", "library"),
    [*((*family, "torch") for family in FAMILIES), *((*FAMILIES[i], "jax") for i in (0, 2))],
)
def test_values_in_every_library(kernels, shape, rank, library):
    matrix, vectors = point_and_vectors(shape, rank, SIGMA["generic"])
    arrays = [ARRAYS[library](array) for array in (matrix, *vectors)]
    values = list(kernels(*arrays))
    for value, expected in zip(values, kernels(matrix, *vectors), strict=True):
        assert type(value) is type(arrays[0])
        assert_close(np.asarray(value), expected, 1e-11, 1 + np.max(np.abs(expected)))


@pytest.mark.parametrize(("kernels", "shape", "rank"), FAMILIES)
def test_batches_broadcast(kernels, shape, rank):
    """Points along one axis, vectors along another."""
    points = [point_and_vectors(shape, rank, SIGMA["generic"], seed) for seed in range(3)]
    matrix = np.stack([matrix for matrix, _ in points])[:, None]
    vectors = np.random.default_rng(0).standard_normal((3, 2, *shape))
    batched = list(kernels(matrix, *vectors))
    for i, j in np.ndindex(3, 2):
        single = kernels(matrix[i, 0], *[v[j] for v in vectors])
        for value, expected in zip(batched, single, strict=True):
            lead = value.shape[: value.ndim - expected.ndim]
            part = np.broadcast_to(value, (*np.broadcast_shapes(lead, (3, 2)), *expected.shape))
            assert_close(part[i, j], expected, 1e-11, 1 + np.max(np.abs(expected)))


def test_derivatives_are_refused():
    import torch

    matrix, vectors = point_and_vectors((3, 3), 3, SIGMA["generic"])
    point = torch.tensor(matrix, requires_grad=True)
    a, b, _ = map(torch.tensor, vectors)
    with pytest.raises(NotImplementedError, match="not implemented"):
        cv.sectional_curvature(point, a, b, 3).backward()
    with pytest.raises(NotImplementedError, match="not implemented"):
        ro.scalar_curvature(point, math.inf).backward()


def test_errors_say_what_was_expected():
    matrix, (a, b, c) = point_and_vectors((4, 3), 2, SIGMA["generic"])
    with pytest.raises(ValueError, match="expected rank 3"):
        ro.scalar_curvature(matrix, 2)
    with pytest.raises(ValueError, match="infinite depth"):
        ro.scalar_curvature(matrix, math.inf, 2)
    with pytest.raises(ValueError, match="shape"):
        cv.riemann_curvature(matrix, a, b, c[:2], 2, 2)
    with pytest.raises(ValueError, match="balance the factors"):
        curvature.balanced_scalar_curvature((2 * np.eye(3), np.eye(3)))
