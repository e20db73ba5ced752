"""What chains are held against: quadrature, brute-force geometry, cubature of one step.

Nothing here calls the package but for its containers: every formula is written out again.
"""

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class SpectralLaw:
    r"""Stationary law of the singular values ``λ`` of the factors, by quadrature.

    .. math:: Π_{k<l} (λ_k^2 - λ_l^2) \, Π_k λ_k^{(d_0 - r) + (d_N - r)} \; e^{(S - β E)/κ}

    in the coordinates ``λ_1`` and ``t_k = λ_{k+1}/λ_k``, by Gauss' rule of Legendre in each. The
    energy is a function of the ``λ`` in descending order, shape=[..., r].
    """

    widths: tuple[int, ...]
    rank: int
    energy: Callable[[np.ndarray], np.ndarray]
    beta: float
    kappa: float = 1.0
    has_entropy: bool = True
    reach: float = 6.0

    def log_density(self, lam: np.ndarray) -> np.ndarray:
        """Return the logarithm of the density against ``Πdλ_k``, up to a constant."""
        depth, rank = len(self.widths) - 1, self.rank
        ends = self.widths[0] + self.widths[-1] - 2 * rank
        surplus = sum(width - rank for width in self.widths[1:-1])
        entropy = surplus * np.log(lam).sum(-1)
        volume = ends * np.log(lam).sum(-1)
        for k, l in itertools.combinations(range(rank), 2):
            squares = lam[..., k] ** 2, lam[..., l] ** 2
            volume = volume + np.log(squares[0] - squares[1])
            kernel = sum(squares[0] ** p * squares[1] ** (depth - 1 - p) for p in range(depth))
            entropy = entropy + np.log(kernel) / 2
        entropy = entropy if self.has_entropy else 0.0
        return volume + (entropy - self.beta * self.energy(lam)) / self.kappa

    def _nodes(self, uppers: Sequence[float]) -> tuple[np.ndarray, np.ndarray]:
        """Return nodes ``λ`` and logarithms of weights times density, below upper bounds."""
        x, w = np.polynomial.legendre.leggauss({1: 400, 2: 160, 3: 60}[self.rank])
        grids = np.meshgrid(*[u * (1 + x) / 2 for u in uppers], indexing="ij")
        weights = np.meshgrid(*[u * w / 2 for u in uppers], indexing="ij")
        lam = np.cumprod(np.stack(grids, -1), axis=-1)
        log = sum(np.log(weight) for weight in weights) + self.log_density(lam)
        return lam, log + np.log(lam[..., :-1]).sum(-1)

    def _uppers(self) -> list[float]:
        return [self.reach, *[1.0] * (self.rank - 1)]

    def mean(self, function: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
        """Return the mean of a function of ``λ``, shape=[..., r] to the shape [..., n]."""
        lam, log = self._nodes(self._uppers())
        weight = np.exp(log - log.max())
        values = function(lam)
        extra = values.ndim - weight.ndim
        weight = weight.reshape(*weight.shape, *[1] * extra)
        axes = tuple(range(self.rank))
        return (values * weight).sum(axes) / weight.sum(axes)

    def cdf(self, coordinate: int, bounds: Sequence[float]) -> np.ndarray:
        """Return the distribution function of ``λ_1`` (0) or of ``t_k`` at some bounds."""
        whole, total = self._log_mass(self._uppers()), []
        for bound in bounds:
            uppers = self._uppers()
            uppers[coordinate] = bound
            total.append(math.exp(self._log_mass(uppers) - whole))
        return np.array(total)

    def _log_mass(self, uppers: Sequence[float]) -> float:
        log = self._nodes(uppers)[1]
        return float(np.log(np.exp(log - log.max()).sum()) + log.max())

    def scores(self, lam: np.ndarray) -> dict[str, float]:
        """Return by how many standard errors independent samples, shape=[n, r], are off.

        Of the means of ``λ_k`` and ``λ_k²``, and of the shares below deciles of each coordinate.
        """
        n = len(lam)
        scores = {}

        def moments(lam: np.ndarray) -> np.ndarray:
            return np.concatenate([lam, lam**2], axis=-1)

        mean = self.mean(moments)
        deviation = np.sqrt(self.mean(lambda lam: moments(lam) ** 2) - mean**2)
        for i, score in enumerate((moments(lam).mean(0) - mean) / deviation * math.sqrt(n)):
            scores[f"mean of λ_{i % self.rank + 1}^{i // self.rank + 1}"] = float(score)
        coordinates = [lam[:, 0], *[lam[:, k + 1] / lam[:, k] for k in range(self.rank - 1)]]
        for k, values in enumerate(coordinates):
            bounds = np.quantile(values, np.linspace(0.1, 0.9, 9))
            shares = self.cdf(k, list(bounds))
            errors = np.sqrt(shares * (1 - shares) / n)
            below = (values[:, None] <= bounds).mean(0)
            for bound, score in zip(bounds, (below - shares) / errors, strict=True):
                scores[f"share of coordinate {k} below {bound:.3f}"] = float(score)
        return scores

    def samples(self, n: int, rng: np.random.Generator) -> np.ndarray:
        """Return independent samples of ``λ``, from the cells of the quadrature."""
        lam, log = self._nodes(self._uppers())
        lam, weight = lam.reshape(-1, self.rank), np.exp(log - log.max()).ravel()
        return lam[rng.choice(len(lam), size=n, p=weight / weight.sum())]


def rotations(n: int, size: int, rank: int, rng: np.random.Generator) -> np.ndarray:
    """Return uniformly distributed frames, shape=[n, size, rank]."""
    frame, triangle = np.linalg.qr(rng.standard_normal((n, size, rank)))
    return frame * np.sign(np.einsum("...kk->...k", triangle))[:, None, :]


def matrices(lam: np.ndarray, depth: int, rows: int, columns: int, rng: Any) -> np.ndarray:
    """Return matrices with the given ``λ`` and uniform frames."""
    n, rank = lam.shape
    left, right = (rotations(n, size, rank, rng) for size in (rows, columns))
    return left * lam[:, None, :] ** depth @ right.swapaxes(-1, -2)


def layers(lam: np.ndarray, widths: Sequence[int], rng: Any) -> tuple[np.ndarray, ...]:
    """Return balanced factors with the given ``λ`` and uniform frames."""
    n, rank = lam.shape
    frames = [rotations(n, width, rank, rng) for width in widths]
    pairs = itertools.pairwise(frames)
    return tuple(left * lam[:, None, :] @ right.swapaxes(-1, -2) for right, left in pairs)


# --- one step in closed form ------------------------------------------------------------


def cubature(size: int) -> tuple[np.ndarray, np.ndarray]:
    """Return nodes and weights exact for polynomials of degree five in standard normals.

    Stroud's rule of ``2n² + 1`` nodes; for up to six normals Gauss' rule of Hermite, which is
    exact to degree five in each.
    """
    if size <= 6:
        x, w = np.polynomial.hermite_e.hermegauss(3)
        nodes = np.stack(np.meshgrid(*[x] * size, indexing="ij"), -1).reshape(-1, size)
        weights = np.stack(np.meshgrid(*[w] * size, indexing="ij"), -1).reshape(-1, size)
        return nodes, weights.prod(-1) / (2 * math.pi) ** (size / 2)
    far, near = math.sqrt(size + 2), math.sqrt((size + 2) / 2)
    rows = [np.zeros(size)]
    shares = [2 / (size + 2)]
    for k in range(size):
        for sign in (1, -1):
            row = np.zeros(size)
            row[k] = sign * far
            rows.append(row)
            shares.append((4 - size) / (2 * (size + 2) ** 2))
    for k, l in itertools.combinations(range(size), 2):
        for one, other in itertools.product((1, -1), repeat=2):
            row = np.zeros(size)
            row[k], row[l] = one * near, other * near
            rows.append(row)
            shares.append(1 / (size + 2) ** 2)
    return np.array(rows), np.array(shares)


class _Replay:
    """Hands out given normals, a chain to a row, piece by piece.

    Uniform numbers are all alike.
    """

    def __init__(self, normals: np.ndarray, uniform: float = 0.5):
        self.normals, self.used, self.uniform = normals, 0, uniform

    def standard_normal(self, shape: Sequence[int]) -> np.ndarray:
        """Return the next normals, zeros where they have come to an end."""
        n, size = shape[0], math.prod(shape[1:])
        part = self.normals[:, self.used : self.used + size]
        self.used += size
        padded = np.zeros((n, size))
        padded[:, : part.shape[1]] = part
        return padded.reshape(shape)

    def random(self, n: int) -> np.ndarray:
        """Return uniform numbers."""
        return np.full(n, self.uniform)


def replay(normals: np.ndarray, uniform: float = 0.5) -> Any:
    """Return what stands in place of a generator, and hands out given normals."""
    return _Replay(normals, uniform)


def normals_of_a_step(kernel: Any, state: Any) -> int:
    """Return how many normals a step takes for each chain."""
    count = len((state.matrices if hasattr(state, "hidden") else state).lam)
    draws = replay(np.zeros((count, 0)))
    kernel.step(state, draws)
    return draws.used


def repeated(start: Any, n: int) -> Any:
    """Return a start of one chain for many."""
    if isinstance(start, tuple):
        return tuple(repeated(layer, n) for layer in start)
    return np.repeat(start, n, axis=0)


def product(layers: Sequence[np.ndarray]) -> np.ndarray:
    """Return ``W_N ... W_1``, batched."""
    result = layers[0]
    for layer in layers[1:]:
        result = layer @ result
    return result


def matrix_of(state: Any, depth: int) -> np.ndarray:
    """Return the end-to-end matrices of a state of any kernel."""
    state = state.matrices if hasattr(state, "hidden") else state
    return state.left * state.lam[:, None, :] ** depth @ state.right.swapaxes(-1, -2)


def after_a_step(kernel: Any, start: Any, depth: int, uniform: float = 1e-300) -> Any:
    """Return end-to-end matrices after a step from one point, and weights of their means."""
    size = normals_of_a_step(kernel, kernel.init(start))
    nodes, weights = cubature(size)
    state = kernel.init(repeated(start, len(nodes)))
    return matrix_of(kernel.step(state, replay(nodes, uniform)), depth), weights
