"""Matrices of low rank in singular frames, beside their dense forms by brute force."""

import math
from collections.abc import Sequence

import numpy as np

from dlngeo.core.networks.blocks import Blocks
from dlngeo.core.networks.frames import SingularFrames

INF = math.inf

SPECTRA = {
    "generic": np.array([1.7, 1.2, 0.8, 0.5]),
    "repeated": np.array([1.2, 1.2, 0.7, 0.7]),
    "equal": np.ones(4),
    "graded": np.array([1.0, 1e-3, 1e-6, 1e-6]),
    "small": 1e-6 * np.array([1.7, 1.2, 0.8, 0.5]),
    "large": 1e6 * np.array([1.7, 1.2, 0.8, 0.5]),
}

SHAPES = [(5, 4, 2), (4, 6, 1), (4, 4, 4), (5, 3, 3), (6, 6, 3)]


def orthonormal(rows: int, columns: int, rng: np.random.Generator) -> np.ndarray:
    """Return random orthonormal columns."""
    return np.linalg.qr(rng.standard_normal((rows, columns)))[0]


def frames_with(shape: Sequence[int], values: np.ndarray, seed: int = 0) -> SingularFrames:
    """Return random frames of the first two of the sizes, with the given singular values."""
    rng = np.random.default_rng(seed)
    left, right = (orthonormal(size, len(values), rng) for size in shape[:2])
    return SingularFrames(left, np.asarray(values), right)


POINTS = {
    f"{m}x{n}, rank {r}, {name}": frames_with((m, n), values[:r], seed=m + n + r)
    for m, n, r in SHAPES
    for name, values in SPECTRA.items()
}


def depths_at(frames: SingularFrames) -> list[float]:
    """Return depths of which the metric exists."""
    is_square = len(frames.left) == len(frames.right) == len(frames.sigma)
    return [1, 2, 3, 10, INF] if is_square else [1, 2, 3, 10]


def by_turns(spectra: Sequence[str]) -> list[tuple[str, SingularFrames, float]]:
    """Return name, frames and depth: every shape and depth with one spectrum, these by turns.

    So every two of shape, depth and spectrum meet, though not all three.
    """
    cases = []
    for i, (m, n, r) in enumerate(SHAPES):
        for j, depth in enumerate(depths_at(POINTS[f"{m}x{n}, rank {r}, generic"])):
            name = f"{m}x{n}, rank {r}, {spectra[(i + j) % len(spectra)]}"
            cases.append((f"{name}, N={depth}", POINTS[name], depth))
    return cases


def dense(frames: SingularFrames) -> np.ndarray:
    """Return the matrix."""
    return frames.left @ np.diag(frames.sigma) @ frames.right.T


def ambient(frames: SingularFrames, blocks: Blocks) -> np.ndarray:
    """Return a tangent vector as a matrix."""
    matrix = frames.left @ blocks.core @ frames.right.T
    if blocks.left_null is not None:
        matrix += blocks.left_null @ frames.right.T
    if blocks.right_null is not None:
        matrix += frames.left @ blocks.right_null
    return matrix


def projected(frames: SingularFrames, matrix: np.ndarray) -> np.ndarray:
    """Return the tangent part of a matrix, by dense projectors."""
    rows = np.eye(len(frames.left)) - frames.left @ frames.left.T
    columns = np.eye(len(frames.right)) - frames.right @ frames.right.T
    return matrix - rows @ matrix @ columns


def random_tangent(frames: SingularFrames, seed: int) -> Blocks:
    """Return Gaussian blocks, none where there is no null space."""
    rng = np.random.default_rng(seed)
    left, sigma, right = frames
    core, above, beside = (
        rng.standard_normal((k, len(sigma))) for k in map(len, (sigma, *frames[::2]))
    )
    return Blocks(
        core,
        above - left @ (left.T @ above) if len(left) > len(sigma) else None,
        (beside - right @ (right.T @ beside)).T if len(right) > len(sigma) else None,
    )


def combined(a: float, one: Blocks, b: float, other: Blocks) -> Blocks:
    """Return a linear combination of blocks."""
    pairs = zip(one, other, strict=True)
    return Blocks(*[None if x is None else a * x + b * y for x, y in pairs])


def _power(frame: np.ndarray, sigma: np.ndarray, exponent: float) -> np.ndarray:
    """Return ``(XXᵀ)^exponent`` of the frame, the identity for zero."""
    return np.eye(len(frame)) if exponent == 0 else frame * sigma ** (2 * exponent) @ frame.T


def operator(frames: SingularFrames, covector: np.ndarray, depth: float) -> np.ndarray:
    """Return ``A_{N,X}(P)``, a sum or an integral of products of dense powers."""
    left, sigma, right = frames
    if depth == INF:
        nodes, weights = np.polynomial.legendre.leggauss(60)
        pairs = zip(nodes.tolist(), weights.tolist(), strict=True)
        terms = [(w / 2, (1 - t) / 2, (1 + t) / 2) for t, w in pairs]
    else:
        terms = [(1.0, (depth - p) / depth, (p - 1) / depth) for p in range(1, int(depth) + 1)]
    return sum(w * _power(left, sigma, a) @ covector @ _power(right, sigma, b) for w, a, b in terms)


def truncated(matrix: np.ndarray, rank: int) -> np.ndarray:
    """Return the nearest matrix of a rank."""
    left, sigma, right = np.linalg.svd(matrix, full_matrices=False)
    return left[:, :rank] * sigma[:rank] @ right[:rank]
