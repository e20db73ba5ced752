"""Cost of curvature: against automatic differentiation, in decompositions, and by depth.

The peer differentiates the matrix of the depth metric twice (`torch.func`) and contracts
Christoffel symbols; it needs distinct singular values. One core, one run, medians.

    python benchmarks/curvature.py
"""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import math
import time
from collections.abc import Callable
from functools import partial

import numpy as np
import torch

from dlngeo.core import depth_metric, geodesics

TENSOR_CASES = [(2, 2), (3, 3), (4, 3)]
SVD_CASES: list[tuple[int, float]] = [(3, 3), (3, math.inf), (50, 3), (50, math.inf), (200, 5)]

DEPTHS: list[float] = [2, 3, 10, 30, 100, 1000, 10_000, math.inf]


def median(rounds: int, function: Callable) -> float:
    """Return the median time of a function, with its code and data in the caches."""
    times = []
    for _ in range(rounds):
        start = time.perf_counter()
        function()
        times.append(time.perf_counter() - start)
    return float(np.median(times))


def metric_matrix(x: torch.Tensor, d: int, depth: int) -> torch.Tensor:
    """Return the matrix of ``g^N`` in the entries of ``X``, row by row."""
    matrix = x.reshape(d, d)
    rows, left = torch.linalg.eigh(matrix @ matrix.T)
    columns, right = torch.linalg.eigh(matrix.T @ matrix)
    operator = torch.zeros(d * d, d * d, dtype=x.dtype)
    for p in range(1, depth + 1):
        by_rows = left * rows ** ((depth - p) / depth) @ left.T
        by_columns = right * columns ** ((p - 1) / depth) @ right.T
        operator = operator + torch.kron(by_rows, by_columns)
    return torch.linalg.inv(operator)


def christoffel(x: torch.Tensor, d: int, depth: int) -> torch.Tensor:
    """Return ``Γ^i_jk``."""
    slope = torch.func.jacfwd(metric_matrix)(x, d, depth)
    lower = (slope + slope.transpose(1, 2) - slope.permute(2, 0, 1)) / 2
    return torch.einsum("im,mjk->ijk", torch.linalg.inv(metric_matrix(x, d, depth)), lower)


def peer(x: torch.Tensor, a: torch.Tensor, b: torch.Tensor, d: int, depth: int) -> torch.Tensor:
    """Return the sectional curvature by automatic differentiation."""
    symbols, slope = christoffel(x, d, depth), torch.func.jacfwd(christoffel)(x, d, depth)
    vector = torch.einsum("ijkm,m,j,k->i", slope, a, b, b)
    vector = vector - torch.einsum("ijkm,m,j,k->i", slope, b, a, b)
    vector = vector + torch.einsum("ijm,mkl,j,k,l->i", symbols, symbols, a, b, b)
    vector = vector - torch.einsum("ijm,mkl,j,k,l->i", symbols, symbols, b, a, b)
    metric = metric_matrix(x, d, depth)
    area = (a @ metric @ a) * (b @ metric @ b) - (a @ metric @ b) ** 2
    return a @ metric @ vector / area


def against_autodiff(rng: np.random.Generator) -> None:
    head = f"{'sectional curvature':<24}{'own [ms]':>12}{'torch.func [ms]':>18}{'ratio':>8}"
    print(head + f"{'difference':>13}", "-" * (len(head) + 13), sep="\n")
    for d, depth in TENSOR_CASES:
        x, a, b = rng.standard_normal((3, d, d))
        point, one, two = (torch.tensor(array).reshape(-1) for array in (x, a, b))
        own = partial(depth_metric.sectional_curvature, x, a, b, depth)
        other = partial(peer, point, one, two, d, depth)
        difference = abs(float(own()) - float(other()))
        times = median(500, own), median(25, other)
        print(
            f"{f'd = {d}, N = {depth}':<24}{times[0] * 1e3:>12.3f}{times[1] * 1e3:>18.2f}"
            f"{times[1] / times[0]:>8.0f}{difference:>13.0e}"
        )


def against_svd(rng: np.random.Generator) -> None:
    head = f"{'kernel':<24}{'d':>5}{'N':>6}{'time [ms]':>12}{'/ SVD':>8}"
    print(head, "-" * len(head), sep="\n")
    for d, depth in SVD_CASES:
        x, a, b, c = rng.standard_normal((4, d, d))
        kernels = {
            "sectional curvature": partial(depth_metric.sectional_curvature, x, a, b, depth),
            "curvature tensor": partial(depth_metric.riemann_curvature, x, a, b, c, depth),
            "Ricci operator": partial(depth_metric.ricci, x, a, depth),
            "scalar curvature": partial(depth_metric.scalar_curvature, x, depth),
        }
        for name, kernel in kernels.items():
            rounds = 200 if d < 10 else 5
            own, svd = median(rounds, kernel), median(rounds, partial(np.linalg.svd, x))
            print(f"{name:<24}{d:>5}{depth:>6}{own * 1e3:>12.2f}{own / svd:>8.1f}")


def by_depth(rng: np.random.Generator) -> None:
    """Print the cost of kernels at well-conditioned matrices by depth."""
    names = [
        "sectional",
        "tensor",
        "Ricci",
        "scalar",
        "symbols",
        "exp",
        "log near",
        "transport",
    ]
    head = f"{'d':>3}{'N':>8}" + "".join(f"{name:>15}" for name in names)
    print("times [ms] by depth", head, "-" * len(head), sep="\n")
    for d in (3, 10):
        left, right = np.linalg.qr(rng.standard_normal((2, d, d)))[0]
        x = left * rng.uniform(1.0, 2.0, d) @ right
        a, b, c = rng.standard_normal((3, d, d)) / d
        near = x + 0.1 * a
        for depth in DEPTHS:
            kernels = [
                partial(depth_metric.sectional_curvature, x, a, b, depth),
                partial(depth_metric.riemann_curvature, x, a, b, c, depth),
                partial(depth_metric.ricci, x, a, depth),
                partial(depth_metric.scalar_curvature, x, depth),
                partial(depth_metric.christoffel, x, a, b, depth),
                partial(geodesics.exp, x, 0.1 * a, depth),
                partial(geodesics.log, x, near, depth),
                partial(geodesics.parallel_transport, x, 0.1 * a, b, depth),
            ]
            times = [median(7, kernel) for kernel in kernels]
            print(f"{d:>3}{depth:>8}" + "".join(f"{t * 1e3:>15.2f}" for t in times))


def main() -> None:
    torch.set_num_threads(1)
    rng = np.random.default_rng(0)
    print("single points, float64, one core, medians\n")
    against_autodiff(rng)
    print()
    against_svd(rng)
    print()
    by_depth(rng)


if __name__ == "__main__":
    main()
