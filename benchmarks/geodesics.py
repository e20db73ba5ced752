"""Geodesics of the depth metric against an integrator and shooting in SciPy.

Equal accuracy: the tolerance of the peer is the one whose error comes nearest to that of
the package, both against the peer at 1e-13. Points are Gaussian, velocities Gaussian with
``|Z|_g`` a fraction of the norm ``|W|`` of balanced factors; geodesics that reach the
boundary before time 1 are left out. Depth 3, one core, one run, medians.

    python benchmarks/geodesics.py
"""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import contextlib
import sys
import time
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
from peers import HamiltonianIntegrator

from dlngeo.core.base import compiled_loop
from dlngeo.core.geodesics import exp, log

DEPTH = 3
TOLERANCES = [1e-5, 1e-6, 1e-7, 1e-8, 1e-9, 1e-10, 1e-11, 1e-12, 1e-13]
EXACT = HamiltonianIntegrator(DEPTH, 1e-13)


class Problem(NamedTuple):
    """A point, a velocity, and where the geodesic is at time 1."""

    matrix: np.ndarray
    velocity: np.ndarray
    end: np.ndarray


def problems(size: int, fraction: float, count: int, rng: np.random.Generator) -> list[Problem]:
    """Return geodesics that stay off the boundary."""
    kept: list[Problem] = []
    while len(kept) < count:
        x, z = rng.standard_normal((2, size, size))
        u, sigma, vt = np.linalg.svd(x)
        s = sigma ** (2 / DEPTH)
        kernel = sum(s[:, None] ** (DEPTH - p) * s ** (p - 1) for p in range(1, DEPTH + 1))
        length = np.sqrt(np.sum((u.T @ z @ vt.T) ** 2 / kernel))
        z *= fraction * np.sqrt(DEPTH * np.sum(s)) / length
        try:
            kept.append(Problem(x, z, EXACT.exp(x, z)))
        except RuntimeError:
            continue
    return kept


def turned(base: list[Problem], count: int, rng: np.random.Generator) -> Problem:
    """Return a stack of problems, copies of the given ones in random frames."""
    size = len(base[0].matrix)
    left, right = np.linalg.qr(rng.standard_normal((2, count, size, size)))[0]
    stacks = [np.stack(arrays) for arrays in zip(*base, strict=True)]
    chosen = np.arange(count) % len(base)
    return Problem(*[left @ stack[chosen] @ right for stack in stacks])


def timed(function: Callable, *arguments: np.ndarray) -> tuple[float, np.ndarray]:
    """Return the time of a call in milliseconds, and its result."""
    start = time.perf_counter()
    result = function(*arguments)
    return (time.perf_counter() - start) * 1e3, result


def measured(
    function: Callable, cases: list[tuple[np.ndarray, np.ndarray, np.ndarray]]
) -> tuple[float, float]:
    """Return median time and median relative error over ``(first, second, expected)``."""
    times, errors = [], []
    for first, second, expected in cases:
        function(first, second)
        spent, found = timed(function, first, second)
        gap = np.linalg.norm(found - expected, axis=(-2, -1))
        times.append(spent)
        errors.append(np.median(gap / np.linalg.norm(expected, axis=(-2, -1))))
    return float(np.median(times)), float(np.median(errors))


def matched(method: str, cases: list, error: float) -> Callable:
    """Return the peer's method at the tolerance that comes nearest to an error."""
    tried: list[tuple[float, Callable]] = []
    for rtol in TOLERANCES:
        found = getattr(HamiltonianIntegrator(DEPTH, rtol), method)
        gap = np.log(max(measured(found, cases)[1], 1e-17) / max(error, 1e-17))
        tried.append((abs(gap), found))
        if gap < 0:
            break
    return min(tried, key=lambda pair: pair[0])[1]


def row(name: str, size: int, own: tuple[float, float], peer: tuple[float, float]) -> None:
    """Print one line of the table."""
    print(
        f"{name:<34}{size:>5}{own[0]:>12.2f}{own[1]:>10.0e}{peer[0]:>12.2f}{peer[1]:>10.0e}"
        f"{peer[0] / own[0]:>9.1f}"
    )


@contextlib.contextmanager
def without_numba() -> Iterator[None]:
    """Hide Numba, as if the extra ``fast`` were not installed."""
    sys.modules["numba"], numba = None, sys.modules["numba"]
    compiled_loop.cache_clear()
    yield
    sys.modules["numba"] = numba
    compiled_loop.cache_clear()


def main() -> None:
    rng = np.random.default_rng(0)

    def own_exp(x: np.ndarray, z: np.ndarray) -> np.ndarray:
        return exp(x, z, DEPTH)

    def own_log(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        return log(x, y, DEPTH)

    print(f"depth N = {DEPTH}, float64, one core, milliseconds and relative errors, medians\n")
    head = f"{'task':<34}{'d':>5}{'own':>12}{'error':>10}{'peer':>12}{'error':>10}{'ratio':>9}"
    print(head, "-" * len(head), sep="\n")

    for size in (2, 3, 5, 10):
        base = problems(size, 0.5, 30, rng)
        singles = [(p.matrix, p.velocity, p.end) for p in base]
        own = measured(own_exp, singles)
        row("exp", size, own, measured(matched("exp", singles, own[1]), singles))
        if size == 2:
            continue
        batch, few = turned(base, 1000, rng), turned(base, 50, rng)
        cases = [(batch.matrix, batch.velocity, batch.end)]
        own = measured(own_exp, cases)
        spent, error = measured(matched("exp", singles, own[1]), singles)
        row("1000 exps, peer called 1000 times", size, own, (1000 * spent, error))
        stacked = matched("exp", [(few.matrix, few.velocity, few.end)], own[1])
        row("1000 exps, peer on one stack", size, own, measured(stacked, cases))

    large = [(p.matrix, p.velocity, p.end) for p in problems(100, 0.1, 5, rng)]
    own = measured(own_exp, large)
    row("exp", 100, own, measured(matched("exp", large, own[1]), large))

    far = [(p.matrix, p.end, p.velocity) for p in problems(3, 0.25, 15, rng)]
    own = measured(own_log, far)
    row("log", 3, own, measured(matched("log", far, own[1]), far))
    base = problems(3, 0.1, 20, rng)
    near, batch = [(p.matrix, p.end, p.velocity) for p in base], turned(base, 200, rng)
    own = measured(own_log, [(batch.matrix, batch.end, batch.velocity)])
    spent, error = measured(matched("log", near, own[1]), near)
    row("200 logs of near pairs", 3, own, (200 * spent, error))

    print("\nthe same without compiled loops (extra `fast`), in place of the peer\n")
    for size in (3, 5, 10):
        base = problems(size, 0.5, 5, rng)
        batch = turned(base, 1000, rng)
        for name, cases in (
            ("exp", [(p.matrix, p.velocity, p.end) for p in base]),
            ("1000 exps", [(batch.matrix, batch.velocity, batch.end)]),
        ):
            own = measured(own_exp, cases)
            with without_numba():
                row(name, size, own, measured(own_exp, cases))


if __name__ == "__main__":
    main()
