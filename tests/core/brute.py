"""Brute force: dense matrices, explicit curves and finite differences, nothing of the package.

A balanced network is written ``W_p = Q_p S Q_{p-1}ᵀ`` with frames ``Q_p`` and one symmetric
``S > 0``: moving the frames and ``S`` freely moves the network along its whole manifold,
also where eigenvalues of ``S`` coincide.
"""

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from scipy import linalg

Matrices = Sequence[np.ndarray]


def assert_close(actual: Any, expected: Any, tolerance: float = 1e-10, scale: Any = None):
    """Assert equality relative to the largest expected entry, or to a given scale."""
    actual, expected = np.asarray(actual), np.asarray(expected)
    assert actual.shape == expected.shape
    if scale is None:
        scale = float(np.max(np.abs(expected), initial=0.0))
    np.testing.assert_allclose(actual, expected, rtol=0, atol=tolerance * scale)


def flatten(matrices: Matrices) -> np.ndarray:
    """Return the entries of all matrices as one vector."""
    return np.concatenate([np.ravel(matrix) for matrix in matrices])


def unflatten(vector: np.ndarray, like: Matrices) -> tuple[np.ndarray, ...]:
    """Return the matrices of which `flatten` gives the vector."""
    ends = np.cumsum([matrix.size for matrix in like])[:-1]
    parts = np.split(vector, ends)
    return tuple(part.reshape(w.shape) for part, w in zip(parts, like, strict=True))


def random_factors(widths: Sequence[int], rng: np.random.Generator) -> tuple[np.ndarray, ...]:
    """Return Gaussian factors."""
    return tuple(rng.standard_normal((rows, columns)) for columns, rows in pairwise(widths))


def product(factors: Matrices) -> np.ndarray:
    """Return ``W_N ... W_1``."""
    return np.linalg.multi_dot(list(factors)[::-1]) if len(factors) > 1 else factors[0]


def jacobian(factors: Matrices) -> np.ndarray:
    """Return the dense matrix of ``dφ``, from Kronecker products."""
    columns = []
    for p, w in enumerate(factors):
        before, after = np.eye(factors[0].shape[1]), np.eye(w.shape[0])
        for layer in factors[:p]:
            before = layer @ before
        for layer in factors[p + 1 :]:
            after = layer @ after
        columns.append(np.kron(after, before.T))
    return np.concatenate(columns, axis=1)


def orthonormal_frame(width: int, rank: int, rng: np.random.Generator) -> np.ndarray:
    """Return a random matrix with orthonormal columns."""
    return np.linalg.qr(rng.standard_normal((width, rank)))[0]


class Network(NamedTuple):
    """A balanced network ``W_p = Q_p S Q_{p-1}ᵀ``, or the velocity of one."""

    frames: tuple[np.ndarray, ...]
    core: np.ndarray

    @property
    def factors(self) -> tuple[np.ndarray, ...]:
        return tuple(after @ self.core @ before.T for before, after in pairwise(self.frames))

    @property
    def widths(self) -> tuple[int, ...]:
        return tuple(len(frame) for frame in self.frames)

    @property
    def rank(self) -> int:
        return len(self.core)

    @property
    def depth(self) -> int:
        return len(self.frames) - 1

    @property
    def matrix(self) -> np.ndarray:
        return product(self.factors)


SPECTRA = {
    "generic": np.array([1.7, 1.1, 0.8, 0.6]),
    "equal": np.ones(4),
    "gap": 1 + 1e-12 * np.arange(4)[::-1],
}


def network(widths: Sequence[int], rank: int, spectrum: Any = "generic", seed: int = 0) -> Network:
    """Return a balanced network with random frames and the given values ``λ``."""
    rng = np.random.default_rng(seed)
    lam = SPECTRA[spectrum] if isinstance(spectrum, str) else np.asarray(spectrum)
    frames = [orthonormal_frame(width, rank, rng) for width in widths]
    return Network(tuple(frames), np.diag(lam[:rank]))


SHAPES: list[tuple[tuple[int, ...], int]] = [
    ((3, 3, 3), 3),
    ((3, 3, 3, 3, 3), 3),
    ((4, 3, 5, 4), 2),
    ((4, 4, 4, 4), 2),
    ((3, 5, 2), 2),
    ((4, 4, 4), 1),
    ((1, 3, 2, 1), 1),
    ((1, 1, 1), 1),
    ((2,) * 11, 2),
    ((2, 2), 2),
    ((4, 3), 2),
]
NETWORKS = {
    f"{'-'.join(map(str, widths))}_rank{rank}_{spectrum}": network(widths, rank, spectrum)
    for widths, rank in SHAPES
    for spectrum in SPECTRA
}


def random_motion(net: Network, rng: np.random.Generator) -> Network:
    """Return velocities of the frames, tangent to Stiefel manifolds, and of the core."""
    velocities = []
    for frame in net.frames:
        change = rng.standard_normal(frame.shape)
        inner = frame.T @ change
        velocities.append(change - frame @ (inner + inner.T) / 2)
    core = rng.standard_normal(net.core.shape)
    return Network(tuple(velocities), core + core.T)


def moved(net: Network, motion: Network, time: float) -> Network:
    """Return the balanced network some time along the motion."""
    pairs = zip(net.frames, motion.frames, strict=True)
    frames = tuple(linalg.polar(frame + time * velocity)[0] for frame, velocity in pairs)
    return Network(frames, net.core + time * motion.core)


def velocity(net: Network, motion: Network) -> tuple[np.ndarray, ...]:
    """Return the velocity of the factors, by the product rule."""
    layers = zip(pairwise(net.frames), pairwise(motion.frames), strict=True)
    return tuple(
        d_after @ net.core @ before.T
        + after @ motion.core @ before.T
        + after @ net.core @ d_before.T
        for (before, after), (d_before, d_after) in layers
    )


def _range(matrix: np.ndarray) -> np.ndarray:
    """Return an orthonormal basis of the column space."""
    left, values, _ = np.linalg.svd(matrix, full_matrices=False)
    return left[:, values > 1e-9 * values[0]]


def tangent_space(net: Network) -> np.ndarray:
    """Return an orthonormal basis of the tangent space, from all motions."""
    still = Network(tuple(0 * frame for frame in net.frames), 0 * net.core)
    vectors = []
    for p, frame in enumerate(net.frames):
        for index in np.ndindex(frame.shape):
            change = np.zeros_like(frame)
            change[index] = 1.0
            inner = frame.T @ change
            change -= frame @ (inner + inner.T) / 2
            frames = (*still.frames[:p], change, *still.frames[p + 1 :])
            vectors.append(flatten(velocity(net, Network(frames, still.core))))
    for index in np.ndindex(net.core.shape):
        core = np.zeros_like(net.core)
        core[index] = 1.0
        vectors.append(flatten(velocity(net, Network(still.frames, core + core.T))))
    return _range(np.stack(vectors, axis=1))


def tangent_projector(net: Network) -> np.ndarray:
    """Return the dense orthogonal projector on the tangent space."""
    basis = tangent_space(net)
    return basis @ basis.T


def horizontal_projector(net: Network) -> np.ndarray:
    """Return the dense projector on the tangent vectors orthogonal to the kernel of dφ."""
    basis = _range(tangent_projector(net) @ jacobian(net.factors).T)
    return basis @ basis.T


def vertical_projector(net: Network) -> np.ndarray:
    """Return the dense projector on the tangent vectors in the kernel of dφ."""
    return tangent_projector(net) - horizontal_projector(net)


def on_line(function: Callable, start: np.ndarray, direction: np.ndarray) -> Callable:
    """Return a function on a straight line, of the time."""
    return lambda time: function(start + time * direction)


def derivative(curve: Callable[[float], Any], step: float = 5e-3) -> Any:
    """Return the derivative at zero by eighth-order central differences."""
    rings = [curve(k * step) - curve(-k * step) for k in (1, 2, 3, 4)]
    return (672 * rings[0] - 168 * rings[1] + 32 * rings[2] - 3 * rings[3]) / (840 * step)


def second_derivative(curve: Callable[[float], Any], step: float = 5e-3) -> Any:
    """Return the second derivative at zero by sixth-order central differences."""
    middle = curve(0.0)
    rings = [curve(k * step) + curve(-k * step) - 2 * middle for k in (1, 2, 3)]
    return (270 * rings[0] - 27 * rings[1] + 2 * rings[2]) / (180 * step**2)


def jacobi_matrix(a: float, b: float, depth: int) -> np.ndarray:
    """Return the dense tridiagonal Toeplitz matrix ``T``."""
    off = np.full(max(depth - 2, 0), -a * b)
    return np.diag(np.full(depth - 1, a**2 + b**2)) + np.diag(off, 1) + np.diag(off, -1)


def power(symmetric: np.ndarray, exponent: float) -> np.ndarray:
    """Return a power of a positive semidefinite matrix, with ``S⁰ = I``."""
    if exponent == 0:
        return np.eye(len(symmetric))
    values, vectors = np.linalg.eigh(symmetric)
    values[values < 1e-14 * values[-1]] = 0.0
    return vectors * values**exponent @ vectors.T


def skew_basis(widths: Sequence[int]) -> list[tuple[np.ndarray, ...]]:
    """Return the skew matrices ``E_kl - E_lk`` of each hidden layer, zero in the others."""
    basis = []
    for p, width in enumerate(widths):
        for k in range(width):
            for l in range(k):
                element = [np.zeros((d, d)) for d in widths]
                element[p][k, l], element[p][l, k] = 1.0, -1.0
                basis.append(tuple(element))
    return basis


def orbit_velocity(element: Matrices, factors: Matrices) -> tuple[np.ndarray, ...]:
    """Return ``(a_p W_p - W_p a_{p-1})_p`` with zeros at the two ends."""
    ends = [np.zeros((factors[0].shape[1],) * 2), np.zeros((factors[-1].shape[0],) * 2)]
    padded = [ends[0], *element, ends[1]]
    return tuple(padded[p + 1] @ w - w @ padded[p] for p, w in enumerate(factors))
