"""Training of residual networks against the flow of infinite depth, by the number of layers.

The error is that of the end matrix along the flow, relative to its way; its order is the slope
between two rows. Times are those of one core, ratios to the flow of infinite depth in this run.

    python benchmarks/neural_ode.py
"""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import math
import time

import numpy as np

from dlngeo.intrinsic import linear_ode, residual_factors
from dlngeo.solvers import Factorization, learning_flow

OFFSETS = {"c = 0": 0.0, "c = 1": 1.0, "c = cos 3s": lambda s: np.cos(3 * s)}
LAYERS = (4, 8, 16, 32, 64)
T_FINAL = 0.5


def main() -> None:
    """Print errors, orders and times."""
    rng = np.random.default_rng(0)
    matrix, target = np.eye(4) + 0.3 * rng.normal(size=(4, 4)), np.eye(4) + rng.normal(size=(4, 4))
    loss = Factorization(target)
    options: dict = {"n_saved": 11, "rtol": 1e-8, "atol": 1e-10}
    begin = time.perf_counter()
    limit = learning_flow(loss, matrix, depth=math.inf, t_final=T_FINAL, **options).observables
    elapsed = time.perf_counter() - begin
    print(f"infinite depth, downstairs: {1e3 * elapsed:.0f} ms")
    print(f"{'':12}{'L':>6}{'error':>12}{'order':>8}{'time':>10}{'ratio':>8}")
    for name, offset in OFFSETS.items():
        ode, before = linear_ode(matrix, offset), 0.0
        for n_layers in LAYERS:
            factors = residual_factors(ode.layers(n_layers))
            begin = time.perf_counter()
            flow = learning_flow(loss, factors, t_final=T_FINAL / n_layers, **options)
            spent = time.perf_counter() - begin
            error = abs(flow.observables - limit).max() / abs(limit - matrix).max()
            order = f"{math.log2(before / error):.2f}" if before else ""
            print(
                f"{name:12}{n_layers:6}{error:12.2e}{order:>8}{1e3 * spent:7.0f} ms"
                f"{spent / elapsed:8.1f}"
            )
            before = error


if __name__ == "__main__":
    main()
