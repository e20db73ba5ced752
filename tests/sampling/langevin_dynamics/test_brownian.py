"""Brownian motion in depth-root coordinates, against charts and finite differences.

The brute force is the depth metric ``(A_{N,X})⁻¹`` from dense matrix powers, in the chart of
matrices of a rank by three of their blocks; its Laplace–Beltrami operator is the divergence of
a gradient, both by central differences.
"""

import functools
import math

import numpy as np
import pytest
from scipy import integrate

from dlngeo.core.depth_metric import roots
from dlngeo.core.networks.blocks import Blocks, join, split
from dlngeo.sampling.langevin_dynamics import brownian
from dlngeo.sampling.langevin_dynamics.euler_maruyama import rotation
from tests.core.brute import assert_close, derivative, on_line, power, second_derivative

SHAPES = [(1, 1, 1), (2, 2, 2), (3, 3, 3), (3, 2, 2), (2, 3, 1), (3, 3, 2), (1, 3, 1)]
SPECTRA = {
    "generic": [1.3, 0.9, 0.5],
    "equal": [0.9, 0.9, 0.9],
    "near": [1.0 + 1e-9, 1.0, 1.0 - 2e-9],
    "small": [1.2, 0.3, 0.15],
}
SHAPED = pytest.mark.parametrize("shape", SHAPES, ids=lambda s: f"{s[0]}x{s[1]}rank{s[2]}")
SPECTRAL = pytest.mark.parametrize("spectrum", SPECTRA)
DEEP = pytest.mark.parametrize("depth", [1, 2, 3, 5])


class Point:
    """A matrix of a rank and its surroundings, by brute force."""

    def __init__(self, shape, depth, spectrum="generic", seed=0):
        self.rows, self.columns, self.rank = shape
        self.depth = depth
        rng = np.random.default_rng([seed, *shape])
        # A full basis, of which the first columns are the frames.
        self.left_basis = np.linalg.qr(rng.standard_normal((self.rows,) * 2))[0]
        self.right_basis = np.linalg.qr(rng.standard_normal((self.columns,) * 2))[0]
        self.left = self.left_basis[:, : self.rank]
        self.right = self.right_basis[:, : self.rank]
        given = SPECTRA[spectrum] if isinstance(spectrum, str) else spectrum
        self.lam = np.array(given[: self.rank])
        self.root = self.left * self.lam @ self.right.T

    @property
    def dimension(self):
        return self.rank * (self.rows + self.columns - self.rank)

    def chart(self, coordinates):
        """Return the matrix ``Y`` near the point with the given coordinates, zero for it."""
        r = self.rank
        core, left, right = np.split(coordinates, [r * r, r * r + (self.rows - r) * r], axis=-1)
        core = core.reshape(r, r) + np.diag(self.lam)
        left, right = left.reshape(self.rows - r, r), right.reshape(r, self.columns - r)
        whole = np.block([[core, right], [left, left @ np.linalg.solve(core, right)]])
        return self.left_basis @ whole @ self.right_basis.T

    def observable(self, root):
        """Return ``X`` of ``Y``, by powers of a matrix."""
        return power_of(root @ root.T, (self.depth - 1) / 2, self.rank) @ root

    def cometric(self, matrix):
        """Return the dense matrix of ``A_{N,X}``."""
        n = self.depth
        a, b = matrix @ matrix.T, matrix.T @ matrix
        return sum(
            np.kron(self._power(a, (n - p) / n), self._power(b, (p - 1) / n))
            for p in range(1, n + 1)
        )

    def _power(self, square, exponent):
        return np.eye(len(square)) if exponent == 0 else power_of(square, exponent, self.rank)

    def velocities(self, coordinates, function):
        """Return the derivatives of a function of ``Y`` by the coordinates, as columns."""

        def values(coordinates):
            return np.ravel(function(self.chart(coordinates)))

        units = np.eye(self.dimension)
        return np.stack([derivative(on_line(values, coordinates, e)) for e in units], axis=1)

    def metric(self, coordinates):
        """Return the depth metric in the chart."""
        velocities = self.velocities(coordinates, self.observable)
        cometric = self.cometric(self.observable(self.chart(coordinates)))
        return velocities.T @ np.linalg.pinv(cometric, 1e-9, hermitian=True) @ velocities

    def laplacian(self, function):
        """Return the Laplace–Beltrami operator of ``g^N`` of a function of ``Y``."""

        def flux(coordinates):
            metric = self.metric(coordinates)
            slopes = self.velocities(coordinates, function)
            return math.sqrt(np.linalg.det(metric)) * np.linalg.solve(metric, slopes.T)

        here = np.zeros(self.dimension)
        total = sum(
            derivative(on_line(flux, here, e), 1e-2)[i]
            for i, e in enumerate(np.eye(self.dimension))
        )
        return total / math.sqrt(np.linalg.det(self.metric(here)))

    def blocks(self, vector):
        """Return a tangent vector of ``Y`` in frames."""
        return split(np.reshape(vector, self.root.shape), self.left, self.right)

    def normals(self):
        """Return an orthonormal basis of tangent vectors in frames."""
        r = self.rank
        for i in range(self.rows):
            for j in range(self.columns):
                if i < r or j < r:
                    unit = np.outer(self.left_basis[:, i], self.right_basis[:, j])
                    yield split(unit, self.left, self.right)

    def dense(self, blocks):
        """Return a tangent vector in frames as a flat one."""
        return np.ravel(join(blocks._replace(both_null=None), self.left, self.right))


def power_of(square, exponent, rank):
    """Return a power of a positive semidefinite matrix of a rank."""
    values, vectors = np.linalg.eigh(square)
    values, vectors = values[-rank:], vectors[:, -rank:]
    return vectors * values**exponent @ vectors.T


def test_powers_are_those_of_others():
    square = Point((3, 3, 3), 2).root
    square = square @ square.T
    assert_close(power_of(square, 0.3, 3), power(square, 0.3), 1e-13)


LAPLACIANS = [
    *[((2, 2, 2), spectrum, depth) for spectrum in SPECTRA for depth in (1, 2, 3, 5)],
    *[(shape, "generic", 3) for shape in SHAPES if shape != (2, 2, 2)],
    ((2, 3, 1), "generic", 1),
    ((3, 2, 2), "near", 2),
    ((1, 3, 1), "generic", 5),
    ((3, 3, 2), "equal", 2),
    ((3, 3, 3), "near", 5),
]


@pytest.mark.parametrize(("shape", "spectrum", "depth"), LAPLACIANS)
def test_drift_is_the_laplacian_of_the_entries(shape, spectrum, depth):
    """With the entries towards null spaces; it is diagonal in frames."""
    point = Point(shape, depth, spectrum)
    found = point.blocks(point.laplacian(lambda root: root))
    nulls = point.rows + point.columns - 2 * point.rank
    drift = brownian.brownian_drift(point.lam, depth) - (1 - 1 / depth) * nulls / point.lam
    scale = 1 + abs(drift).max()
    assert_close(found.core, np.diag(drift), 1e-6, scale=scale)
    for null in (found.left_null, found.right_null):
        if null is not None:
            assert_close(null, 0 * null, 1e-6, scale=scale)


@pytest.mark.parametrize(("shape", "spectrum", "depth"), LAPLACIANS[1::3])
def test_laplacian_is_flat_noise_and_turns(shape, spectrum, depth):
    """A step of turned frames and flat noise has, for a function, half the second derivative.

    Of the mean over the noise; the tilts towards null spaces come on top.
    """
    point = Point(shape, depth, spectrum)
    rng = np.random.default_rng(1)
    linear, square = rng.standard_normal((2, *point.root.shape))

    def function(root):
        return np.sum(linear * root) + np.sin(np.sum(square * root)) + np.sum(root**4)

    flat = math.sqrt(1 / depth)

    def after(normals, time):
        left, right = brownian.surplus_turns(point.lam, depth, time * normals.core)
        left, right = point.left @ rotation(left), point.right @ rotation(right)
        core = np.diag(point.lam) + time * flat * normals.core
        left_null, right_null = (
            np.zeros((n, point.rank)) if null is None else time * flat * null
            for n, null in (
                (point.rows, normals.left_null),
                (point.columns, None if normals.right_null is None else normals.right_null.T),
            )
        )
        corner = left_null @ np.linalg.solve(core, right_null.T)
        return function(left @ core @ right.T + left_null @ right.T + left @ right_null.T + corner)

    total = sum(second_derivative(functools.partial(after, n)) for n in point.normals())
    # Squares of tilts of the frames towards their null spaces, by the rest of the noise.
    weight = math.sqrt(1 - 1 / depth)
    for side, (size, basis) in enumerate(
        ((point.rows, point.left_basis), (point.columns, point.right_basis))
    ):
        for i in range(point.rank, size):
            for k in range(point.rank):

                def tilted(angle, i=i, k=k, side=side, basis=basis):
                    angle = weight * angle / point.lam[k]
                    frame = basis[:, : point.rank].copy()
                    frame[:, k] = math.cos(angle) * basis[:, k] + math.sin(angle) * basis[:, i]
                    frames = [point.left, point.right]
                    frames[side] = frame
                    return function(frames[0] * point.lam @ frames[1].T)

                total = total + second_derivative(tilted)
    expected = point.laplacian(lambda root: np.array(function(root)))
    assert_close(total, expected[0], 1e-6, scale=1 + abs(total))


@DEEP
@SPECTRAL
@SHAPED
def test_noise_has_the_covariance_of_the_cometric(shape, spectrum, depth):
    """Pushed from ``X``, by finite differences, to ``Y``."""
    point = Point(shape, depth, spectrum)
    noises = np.stack(
        [point.dense(brownian.noise(point.lam, depth, n)) for n in point.normals()], axis=1
    )
    here = np.zeros(point.dimension)
    roots = point.velocities(here, lambda root: root)
    expected = roots @ np.linalg.solve(point.metric(here), roots.T)
    assert_close(noises @ noises.T, expected, 1e-8)


@DEEP
@SPECTRAL
@SHAPED
def test_density_of_noise_is_gaussian(shape, spectrum, depth):
    """With one constant for all matrices: the determinant of the cometric."""
    point = Point(shape, depth, spectrum)
    normals = list(point.normals())
    noises = np.stack([point.dense(brownian.noise(point.lam, depth, n)) for n in normals], axis=1)
    volume = np.linalg.svd(noises, compute_uv=False)[: point.dimension].prod()
    assert_close(volume, depth ** (-point.rank / 2), 1e-12)
    draw = np.random.default_rng(0).standard_normal(point.dimension)
    noise = point.blocks(noises @ draw)
    assert_close(brownian.log_noise_density(point.lam, depth, noise), -np.sum(draw**2) / 2, 1e-12)


@DEEP
@SPECTRAL
@SHAPED
def test_descent_is_the_gradient_flow(shape, spectrum, depth):
    """``Y`` of ``X - t A_X(G)``, by finite differences."""
    point = Point(shape, depth, spectrum)
    covector = np.random.default_rng(2).standard_normal(point.root.shape)
    matrix = point.observable(point.root)
    found = brownian.descent(point.lam, split(covector, point.left, point.right), depth)
    here = np.zeros(point.dimension)
    slopes = point.velocities(here, lambda root: np.sum(covector * point.observable(root)))
    velocity = -point.velocities(here, lambda root: root) @ np.linalg.solve(
        point.metric(here), slopes[0]
    )
    assert_close(point.dense(found), velocity, 1e-8)
    if point.rank == min(point.rows, point.columns):
        # The same in X, from the formula in the ambient space.
        coordinates = np.linalg.lstsq(point.velocities(here, lambda root: root), velocity)[0]
        pushed = -point.cometric(matrix) @ np.ravel(covector)
        assert_close(point.velocities(here, point.observable) @ coordinates, pushed, 1e-7)


@DEEP
@pytest.mark.parametrize("shape", [(2, 2, 2), (3, 2, 2), (2, 3, 1), (3, 3, 2)], ids=str)
def test_volume_is_flat(shape, depth):
    """The density of the volume of ``g^N`` against that of Frobenius' metric of ``Y``."""
    densities = []
    for spectrum in SPECTRA:
        point = Point(shape, depth, spectrum)
        here = np.zeros(point.dimension)
        roots = point.velocities(here, lambda root: root)
        flat = np.linalg.det(roots.T @ roots)
        densities.append(math.sqrt(np.linalg.det(point.metric(here)) / flat))
    assert_close(densities, np.full(len(densities), depth ** (point.rank / 2)), 1e-7)


@DEEP
@SPECTRAL
def test_turns_and_flat_noise_are_the_noise(spectrum, depth):
    """``L Λ - Λ R`` is what they add, with skew ``L`` and ``R``."""
    lam = np.array(SPECTRA[spectrum])
    normals = np.random.default_rng(3).standard_normal((7, 3, 3))
    left, right = brownian.surplus_turns(lam, depth, normals)
    for turn in (left, right):
        assert_close(turn, -turn.swapaxes(-1, -2), 1e-14)
    expected = brownian.noise(lam, depth, Blocks(normals)).core
    found = left * lam - lam[:, None] * right + normals / math.sqrt(depth)
    assert_close(found, expected, 1e-13)


@DEEP
def test_turns_are_regular_where_values_meet(depth):
    """They are odd in the gap, and their quotient by it has a limit."""
    normals = np.random.default_rng(4).standard_normal((2, 2))
    symmetric = (normals + normals.T) / 2

    def common(gap):
        turns = brownian.surplus_turns(np.array([1 + gap, 1.0]), depth, normals)
        return (turns[0] + turns[1])[0, 1] / 2 / symmetric[0, 1]

    assert common(0.0) == 0.0
    # Near coincidence α is 1/N + c gap², so that the quotient is that of a difference of roots.
    for gap in (1e-1, 1e-2):
        alpha = roots.cometric(np.array([1 + gap, 1.0]), depth)[0, 1]
        assert_close(common(gap), (math.sqrt(alpha) - math.sqrt(1 / depth)) / -gap, 1e-9, scale=1.0)
    slopes = [common(gap) / gap for gap in (1e-3, 1e-6, 1e-9, -1e-9)]
    assert_close(slopes, np.full(4, slopes[0]), 2e-3, scale=1 + abs(slopes[0]))


@DEEP
@SPECTRAL
def test_entropic_drift_is_the_gradient_of_the_entropy(spectrum, depth):
    r"""``(1/N) ∂S/∂λ``, of ``½ Σ log r_kl`` by finite differences."""
    lam = np.array(SPECTRA[spectrum])

    def entropy(values):
        squares = values**2
        return sum(
            math.log(sum(squares[k] ** p * squares[l] ** (depth - 1 - p) for p in range(depth))) / 2
            for k, l in ((0, 1), (0, 2), (1, 2))
        )

    slopes = [derivative(on_line(entropy, lam, e)) for e in np.eye(3)]
    assert_close(brownian.entropic_drift(lam, depth), np.array(slopes) / depth, 1e-10, scale=1.0)


def test_radial_step_solves_its_equation():
    """Up to zero, where it ends."""
    lam = np.array([1.0, 0.3])
    for strength in (0.2, 1.0, -0.02):
        path = integrate.solve_ivp(
            lambda t, y, c=strength: c / y, (0, 1), lam, rtol=1e-11, atol=1e-13, method="DOP853"
        )
        assert_close(lam + brownian.radial_step(lam, strength), path.y[:, -1], 1e-9)
    assert_close(lam + brownian.radial_step(lam, -0.1), [math.sqrt(0.8), 0.0], 1e-15)
    assert (brownian.radial_step(lam, 0.0) == 0).all()


def test_everything_is_batched():
    """Leading axes of values and normals."""
    rng = np.random.default_rng(5)
    lam, normals = rng.uniform(0.2, 1.5, (4, 2, 3)), rng.standard_normal((4, 2, 3, 3))
    for function in (
        lambda a, b: brownian.descent(a, Blocks(b), 3).core,
        lambda a, b: brownian.noise(a, 3, Blocks(b)).core,
        lambda a, b: brownian.surplus_turns(a, 3, b)[0],
        lambda a, b: brownian.log_noise_density(a, 3, Blocks(b)),
        lambda a, b: brownian.brownian_drift(a, 3),
        lambda a, b: brownian.entropic_drift(a, 3),
    ):
        each = [[function(lam[i, j], normals[i, j]) for j in range(2)] for i in range(4)]
        assert_close(function(lam, normals), np.array(each), 1e-13)
