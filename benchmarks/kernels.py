"""Cost of the core kernels, in singular value decompositions of the same matrices.

Every kernel needs one decomposition; the table tells what it costs beyond. One core, one
run, medians. Peak memory is that of the kernel's own arrays, in copies of the factors.

    python benchmarks/kernels.py
"""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import time
import tracemalloc
from collections.abc import Callable
from functools import partial

import numpy as np

from dlngeo.core import balanced, depth_metric, networks

DEPTH = 3
SIZES = [(3, 1000), (10, 200), (50, 10), (200, 1)]
ROUNDS = 15


def seconds(function: Callable, reference: Callable) -> tuple[float, float]:
    """Return median times of two functions that are run in turn."""
    times: tuple[list[float], list[float]] = ([], [])
    for _ in range(ROUNDS):
        for run, record in zip((function, reference), times, strict=True):
            start = time.perf_counter()
            run()
            record.append(time.perf_counter() - start)
    return float(np.median(times[0])), float(np.median(times[1]))


def peak_bytes(function: Callable) -> int:
    """Return the peak of memory that a function allocates."""
    tracemalloc.start()
    function()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak


def kernels(x: np.ndarray, rng: np.random.Generator) -> dict[str, Callable]:
    """Return the kernels at balanced factors of a batch of matrices."""
    w = networks.factorize(x, DEPTH)
    v, z = rng.standard_normal(w.shape), rng.standard_normal(x.shape)
    return {
        "riemannian gradient": lambda: depth_metric.raise_index(x, z, DEPTH),
        "metric": lambda: depth_metric.lower_index(x, z, DEPTH),
        "horizontal lift": lambda: depth_metric.horizontal_lift(w, z),
        "tangent projection": lambda: balanced.tangent_projection(w, v),
        "second fundamental form": lambda: balanced.second_fundamental_form(w, v, v),
        "balance": lambda: networks.balance(w),
    }


def main() -> None:
    rng = np.random.default_rng(0)
    print(f"depth N = {DEPTH}, float64, one core, medians of {ROUNDS} rounds\n")
    head = (
        f"{'kernel':<26}{'d':>5}{'batch':>7}{'time [ms]':>12}{'/ SVD':>8}{'memory / factors':>18}"
    )
    print(head, "-" * len(head), sep="\n")
    for d, batch in SIZES:
        x = rng.standard_normal((batch, d, d))
        reference = partial(np.linalg.svd, x)
        for name, kernel in kernels(x, rng).items():
            own, svd = seconds(kernel, reference)
            memory = peak_bytes(kernel) / (DEPTH * x.nbytes)
            print(f"{name:<26}{d:>5}{batch:>7}{own * 1e3:>12.2f}{own / svd:>8.2f}{memory:>18.1f}")


if __name__ == "__main__":
    main()
