"""Distances as distances: laws that hold for all pairs of many random matrices.

For each shape, rank and depth, of Gaussian matrices (of one component), all pairs are connected:

- lost: pairs without a geodesic; the reasons stand below the table;
- asymmetry: largest relative difference of the distance of a pair exchanged;
- isometry: the same of a pair transposed, rotated and scaled;
- triangle: largest excess of a distance over the way through a third matrix, relative;
- bound: largest quotient of lower bound and length; at rank one, the distance in closed form;
- closed form: at rank one, largest relative difference from it;
- shorter: pairs, of some, for which shooting from random velocities leads to a shorter geodesic,
  and the least quotient of the lengths.

    python benchmarks/distance_laws.py [matrices] [pairs shot at] [starts]

Forty-six matrices make 1035 pairs; all cases take some seven minutes on one core.
"""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import sys
import time

import numpy as np

from dlngeo.core.depth_metric import lower_index
from dlngeo.core.geodesics import Verdict, connect, exp

CASES: list[tuple[tuple[int, int], int, float]] = [
    ((2, 2), 2, 3),
    ((2, 2), 2, 30),
    ((3, 3), 3, 1),
    ((3, 3), 3, 2),
    ((3, 3), 3, 10),
    ((3, 3), 3, np.inf),
    ((4, 4), 4, 3),
    ((2, 5), 2, 10),
    ((3, 3), 2, 1),
    ((3, 3), 2, 2),
    ((3, 4), 2, 5),
    ((4, 4), 1, 3),
    ((1, 2), 1, 30),
]


def gaussian(shape: tuple[int, int], rank: int, count: int, rng: np.random.Generator) -> np.ndarray:
    """Return matrices of a rank that paths join."""
    left, right = (
        rng.standard_normal((count, *size)) for size in ((shape[0], rank), (rank, shape[1]))
    )
    matrices = left @ right
    if shape[0] == shape[1] == rank:
        matrices[:, 0] *= np.linalg.slogdet(matrices)[0][:, None]
    return matrices


def rank_one_distance(x: np.ndarray, y: np.ndarray, depth: float) -> np.ndarray:
    """Return the distances of matrices of rank one, a cone over two spheres."""
    (u, s, v), (p, t, q) = (np.linalg.svd(a, full_matrices=False) for a in (x, y))
    best = np.full(len(x), np.inf)
    for sign in (1, -1):
        squares = 0.0
        is_apart = np.zeros(len(x), dtype=bool)
        for a, b in ((u[:, :, 0], p[:, :, 0]), (v[:, 0], q[:, 0])):
            cosine = sign * np.sum(a * b, axis=1)
            sine = np.linalg.norm(b * sign - cosine[:, None] * a, axis=1)
            squares = squares + np.arctan2(sine, cosine) ** 2
            is_apart |= (a.shape[1] == 1) & (cosine < 0)
        angle = np.minimum(np.sqrt(squares / depth), np.pi)
        lam, mu = s[:, 0] ** (1 / depth), t[:, 0] ** (1 / depth)
        length = np.sqrt(depth * ((lam - mu) ** 2 + 4 * lam * mu * np.sin(angle / 2) ** 2))
        best = np.minimum(best, np.where(is_apart, np.inf, length))
    return best


def shot(
    x: np.ndarray,
    y: np.ndarray,
    velocity: np.ndarray,
    length: float,
    space: tuple[int, float],
    starts: int,
    rng: np.random.Generator,
) -> float:
    """Return the least length that Newton's method finds from random velocities, over a length."""
    rank, depth = space
    noise = rng.standard_normal((starts, *x.shape))
    size = np.linalg.norm(velocity) / np.linalg.norm(noise, axis=(1, 2))
    guess = velocity + (rng.uniform(0.2, 2, starts) * size)[:, None, None] * noise
    guess *= (np.linalg.norm(velocity) / np.linalg.norm(guess, axis=(1, 2)))[:, None, None]
    units = np.eye(x.size).reshape(-1, *x.shape)
    step, goal = 1e-5 * np.linalg.norm(velocity), 1e-7 * np.linalg.norm(y)
    gap = np.full(starts, np.inf)
    for _ in range(12):
        moved = guess[:, None] + step * np.concatenate([0 * units[:1], units])
        ends = exp(x, moved, depth, rank, on_boundary="nan").reshape(starts, len(units) + 1, -1)
        miss = y.reshape(-1) - ends[:, 0]
        gap = np.linalg.norm(miss, axis=1)
        is_lost = ~(abs(ends).max(axis=(1, 2)) < 1e6 * abs(y).max())
        guess[is_lost] *= 0.7
        active = np.flatnonzero(~is_lost & (gap > goal))
        if not len(active) and not is_lost.any():
            break
        jacobian = (ends[active, 1:] - ends[active, :1]).swapaxes(1, 2) / step
        change = (np.linalg.pinv(jacobian, rcond=1e-4) @ miss[active, :, None])[..., 0]
        most = np.linalg.norm(guess[active], axis=(1, 2)) / 2
        change *= np.minimum(1, most / np.linalg.norm(change, axis=1))[:, None]
        guess[active] += change.reshape(-1, *x.shape)
    arrived = guess[gap <= goal]
    if not len(arrived):
        return np.inf
    squares = np.sum(arrived * lower_index(x, arrived, depth, rank), axis=(1, 2))
    return float(np.sqrt(squares.min()) / length)


def laws(
    shape: tuple[int, int], rank: int, depth: float, count: int, shots: int, starts: int
) -> dict[str, str]:
    """Return the entries of the table for a shape, a rank and a depth."""
    rng = np.random.default_rng(0)
    points = gaussian(shape, rank, count, rng)
    rows, columns = np.triu_indices(count, 1)
    x, y = points[rows], points[columns]
    start = time.process_time()
    found = connect(x, y, depth, rank)
    cost = 1e3 * (time.process_time() - start) / len(x)
    length, is_lost = found.length, ~found.is_found

    def deviation(other: np.ndarray) -> float:
        """Return the largest relative difference, infinite where one of both is lost."""
        if np.any(np.isnan(other) != is_lost):
            return np.inf
        return float(np.nanmax(abs(other / length - 1), initial=0.0))

    left, right = (np.linalg.qr(rng.standard_normal((size, size)))[0] for size in shape)
    scale = 10.0
    moved = (scale * (left @ a @ right).swapaxes(1, 2) for a in (x, y))
    unit = 1.0 if depth == np.inf else scale ** (1 / depth)
    table = np.zeros((count, count))
    table[rows, columns] = table[columns, rows] = np.where(is_lost, np.inf, length)
    ways = np.min(table[:, :, None] + table[None] + np.diag(np.full(count, np.inf))[..., None], 1)
    known = {"lost": f"{is_lost.sum()}"}
    reasons = [Verdict(verdict).reason for verdict in found.verdict[is_lost]]
    known["why"] = "; ".join(f"{reasons.count(why)}: {why}" for why in dict.fromkeys(reasons))
    known["asymmetry"] = f"{deviation(connect(y, x, depth, rank).length):.0e}"
    known["isometry"] = f"{deviation(connect(*moved, depth, rank).length / unit):.0e}"
    ways = ways[rows, columns]
    known["triangle"] = f"{np.max((length - ways)[~is_lost] / length[~is_lost]):.0e}"
    known["bound"] = f"{np.max((found.bound / length)[~is_lost]):.6f}"
    if rank == 1:
        known["closed form"] = f"{deviation(rank_one_distance(x, y, depth)):.0e}"
    chosen = np.flatnonzero(~is_lost)[:: max(1, int((~is_lost).sum()) // max(shots, 1))][:shots]
    best = [
        shot(x[k], y[k], found.velocity[k], length[k], (rank, depth), starts, rng) for k in chosen
    ]
    known["shorter"] = f"{sum(b < 1 - 1e-6 for b in best)}/{len(best)}"
    if best:
        known["shorter"] += f" {min(best):.5f}"
    known["ms"] = f"{cost:.1f}"
    return known


HEADS = {
    "lost": 6,
    "asymmetry": 10,
    "isometry": 10,
    "triangle": 10,
    "bound": 10,
    "closed form": 12,
    "shorter": 14,
    "ms": 8,
}


def main() -> None:
    """Print the table."""
    count, shots, starts = [*map(int, sys.argv[1:]), *[46, 20, 50][len(sys.argv) - 1 :]]
    print(f"{count * (count - 1) // 2} pairs of each, {shots} of them shot at from {starts} starts")
    print(f"{'':20}" + "".join(f"{head:>{width}}" for head, width in HEADS.items()))
    why = []
    for shape, rank, depth in CASES:
        entries = laws(shape, rank, depth, count, shots, starts)
        name = f"{shape[0]} x {shape[1]}, {rank}, N = {depth:g}"
        print(
            f"{name:20}"
            + "".join(f"{entries.get(head, '-'):>{width}}" for head, width in HEADS.items()),
            flush=True,
        )
        if entries["why"]:
            why.append(f"{name}: {entries['why']}")
    print("\n".join(["", "Lost:", *(why or ["none"])]))


if __name__ == "__main__":
    main()
