"""Generator of the Langevin equation by automatic differentiation, to hold single steps against.

In a chart of end-to-end matrices, with the depth metric ``(A_{N,X})⁻¹`` as a dense matrix,

.. math:: L f = -⟨A ∇F, ∇f⟩ + \\frac{κ}{β} \\frac{1}{\\sqrt{G}} ∂_i (\\sqrt{G} g^{ij} ∂_j f).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import autograd.numpy as anp
import numpy as np
from autograd import grad, jacobian

from tests.core.brute import derivative, on_line, second_derivative


@dataclass(frozen=True)
class Problem:
    """An energy that is not spectral, on ``2 × 2`` matrices or on matrices of rank one."""

    widths: tuple[int, ...]
    rank: int
    beta: float = 2.0
    kappa: float = 1.0
    has_entropy: bool = True

    @property
    def depth(self) -> int:
        return len(self.widths) - 1

    @property
    def shape(self) -> tuple[int, int]:
        return self.widths[-1], self.widths[0]

    @property
    def point(self) -> np.ndarray:
        """Where steps begin, far from the boundary."""
        return np.asarray(self.matrix(self.coordinates))

    @property
    def coordinates(self) -> Any:
        if self.rank == 2:
            return anp.array([1.5, -0.2, 0.4, 0.9])
        rows, columns = self.shape
        return anp.array([1.2, *[0.7, -0.5][: rows - 1], *[0.4, 0.8][: columns - 1]])

    def matrix(self, coordinates: Any) -> Any:
        """Return the matrix with coordinates: the entries, or first column and first row."""
        if self.rank == 2:
            return coordinates.reshape(2, 2)
        rows, _ = self.shape
        first, column, row = coordinates[0], coordinates[1:rows], coordinates[rows:]
        left = anp.concatenate([anp.ones(1), column / first])
        return anp.outer(left, anp.concatenate([coordinates[:1], row]))

    def _cut(self, rows: Sequence[Sequence[float]]) -> np.ndarray:
        return np.array(rows)[: self.shape[0], : self.shape[1]]

    @property
    def target(self) -> np.ndarray:
        return self._cut([[1.0, 0.3, -0.4], [-0.6, 0.5, 0.2], [0.1, 0.7, -0.3]])

    @property
    def weight(self) -> np.ndarray:
        return self._cut([[1.0, 0.7, 0.5], [1.3, 0.9, 0.6], [0.8, 1.1, 1.2]])

    def energy(self, matrix: Any) -> Any:
        quadratic = (self.weight * (matrix - self.target) ** 2).sum((-2, -1)) / 2
        return quadratic + (matrix**4).sum((-2, -1)) / 20

    def gradient(self, matrix: Any) -> Any:
        """Return the Euclidean gradient of the energy."""
        return self.weight * (matrix - self.target) + matrix**3 / 5

    def function(self, matrix: Any) -> Any:
        """Return what is averaged after a step; no symmetry of the metric keeps it."""
        weight = self._cut([[1.0, 0.8, -0.5], [-0.6, 0.9, 0.4], [0.3, -0.7, 0.5]])
        return (
            anp.sin((weight * matrix).sum((-2, -1))) + (matrix**3 * weight[::-1]).sum((-2, -1)) / 5
        )

    def entropy(self, matrix: Any) -> Any:
        depth = self.depth
        surplus = sum(width - self.rank for width in self.widths[1:-1])
        square = anp.sum(matrix**2)
        if self.rank == 1:
            return surplus * anp.log(square) / (2 * depth)
        (x, y), det = self._eigenvalues(matrix @ matrix.T), anp.linalg.det(matrix)
        a, b = x ** (1 / depth), y ** (1 / depth)
        kernel = sum(a**p * b ** (depth - 1 - p) for p in range(depth))
        return anp.log(kernel) / 2 + surplus * anp.log(anp.abs(det)) / depth

    @staticmethod
    def _eigenvalues(square: Any) -> tuple[Any, Any]:
        mean = anp.trace(square) / 2
        spread = anp.sqrt(mean**2 - anp.linalg.det(square))
        return mean + spread, mean - spread

    def _power(self, square: Any, exponent: float) -> Any:
        if exponent == 0:
            return anp.eye(2)
        x, y = self._eigenvalues(square)
        slope = (x**exponent - y**exponent) / (x - y)
        return slope * square + (x**exponent - slope * x) * anp.eye(2)

    def metric(self, coordinates: Any) -> Any:
        """Return ``g_ij`` in the chart."""
        matrix, depth = self.matrix(coordinates), self.depth
        if self.rank == 2:
            a, b = matrix @ matrix.T, matrix.T @ matrix
            cometric = sum(
                anp.kron(self._power(a, (depth - p) / depth), self._power(b, (p - 1) / depth))
                for p in range(1, depth + 1)
            )
            return anp.linalg.inv(cometric)
        square = anp.sum(matrix**2)
        weight = square ** (1 - 1 / depth)
        velocities = anp.moveaxis(jacobian(self.matrix)(coordinates), -1, 0)
        along = anp.einsum("kl,ikl->i", matrix, velocities) / anp.sqrt(square)
        left = anp.einsum("kl,iml->ikm", matrix, velocities) / anp.sqrt(square)
        right = anp.einsum("kl,ikm->ilm", matrix, velocities) / anp.sqrt(square)
        core = anp.outer(along, along)
        sides = anp.einsum("ikm,jkm->ij", left, left) + anp.einsum("ilm,jlm->ij", right, right)
        return core / (depth * weight) + (sides - 2 * core) / weight

    def generator(self, function: Callable) -> Callable:
        """Return ``L f`` of a function of the coordinates."""

        def flux(c: Any) -> Any:
            metric = self.metric(c)
            volume = anp.sqrt(anp.linalg.det(metric))
            return volume * anp.linalg.solve(metric, grad(function)(c))

        def free_energy(c: Any) -> Any:
            matrix = self.matrix(c)
            entropy = self.entropy(matrix) if self.has_entropy else 0.0
            return self.energy(matrix) - entropy / self.beta

        def result(c: Any) -> Any:
            volume = anp.sqrt(anp.linalg.det(self.metric(c)))
            laplacian = anp.trace(jacobian(flux)(c)) / volume
            return self.kappa / self.beta * laplacian - grad(free_energy)(c) @ flux(c) / volume

        return result

    def expansion(self) -> tuple[float, float, float]:
        """Return ``f``, ``L f`` and ``L² f`` at the point, by differences of ``L f``."""
        c = self.coordinates
        once = self.generator(lambda x: self.function(self.matrix(x)))
        units = np.eye(len(c))
        drift = np.array([self.generator(lambda x, e=e: x @ e)(c) for e in units])
        cometric = np.linalg.inv(self.metric(c)) * self.kappa / self.beta
        twice = derivative(on_line(once, c, drift))
        for column in np.linalg.cholesky(cometric).T:
            twice = twice + second_derivative(on_line(once, c, column), 1e-2)
        return float(self.function(self.point)), float(once(c)), float(twice)

    def mean(self, matrices: np.ndarray, weights: np.ndarray) -> float:
        """Return the mean of the function."""
        return float(np.dot(np.asarray(self.function(matrices)), weights))

    def factors(self) -> tuple[np.ndarray, ...]:
        """Return balanced factors of the point with hidden frames that are not the identity."""
        left, sigma, right = np.linalg.svd(self.point)
        rng = np.random.default_rng(5)
        frames = [right.T[:, : self.rank]]
        for width in self.widths[1:-1]:
            frames.append(np.linalg.qr(rng.standard_normal((width, self.rank)))[0])
        frames.append(left[:, : self.rank])
        lam = sigma[: self.rank] ** (1 / self.depth)
        pairs = zip(frames[1:], frames[:-1], strict=True)
        return tuple((q * lam @ before.T)[None] for q, before in pairs)


def slope(steps: Sequence[float], errors: Sequence[float]) -> float:
    """Return the slope of errors in logarithms."""
    return float(np.polyfit(np.log(steps), np.log(np.abs(errors)), 1)[0])
