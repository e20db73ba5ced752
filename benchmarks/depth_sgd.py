"""A step of DepthSGD against what it replaces and what it cannot do without.

For a matrix of m × n in single precision: the step in the metric of depth 3, the singular value
decomposition of the matrix, and training of three real layers in its place (products, their
derivatives and PyTorch's descent, on a gradient that is given). One core, milliseconds of
its time, medians.

    python benchmarks/depth_sgd.py
"""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import statistics
import time
from collections.abc import Callable

import torch

from dlngeo import end_to_end, factorize
from dlngeo.torch import DepthSGD

DEPTH = 3
STEP = 1e-9


def median(function: Callable[[], object], seconds: float = 1.0) -> float:
    """Return the median time of a call in milliseconds, after a first one."""
    function()
    times: list[float] = []
    while sum(times) < seconds or len(times) < 3:
        start = time.process_time()
        function()
        times.append(time.process_time() - start)
    return 1e3 * statistics.median(times)


def row(m: int, n: int) -> None:
    """Print the times for matrices of one shape."""
    matrix, gradient = torch.randn(m, n) / n**0.5, torch.randn(m, n)
    weight = torch.nn.Parameter(matrix.clone())
    weight.grad = gradient
    optimizer = DepthSGD([weight], lr=STEP, depth=DEPTH)
    layers = [torch.nn.Parameter(layer.clone()) for layer in factorize(matrix, DEPTH)]
    descent = torch.optim.SGD(layers, lr=STEP)

    def real_step() -> None:
        descent.zero_grad()
        end_to_end(tuple(layers)).backward(gradient)
        descent.step()

    ours = median(optimizer.step)
    svd = median(lambda: torch.linalg.svd(matrix, full_matrices=False))
    real = median(real_step)
    times = f"{ours:>12.2f}{svd:>10.2f}{real:>14.2f}"
    print(f"{m:>5} ×{n:>5}{times}{ours / svd:>12.2f}{ours / real:>14.1f}")


def main() -> None:
    """Print the table."""
    torch.manual_seed(0)
    torch.set_num_threads(1)
    times = f"{'step':>12}{'SVD':>10}{'real layers':>14}"
    print(f"{'matrix':>12}{times}{'step/SVD':>12}{'step/layers':>14}")
    for m, n in ((10, 10), (32, 64), (64, 64), (128, 784), (256, 256), (512, 512), (512, 784)):
        row(m, n)


if __name__ == "__main__":
    main()
