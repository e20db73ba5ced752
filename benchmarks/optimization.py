"""Matrix completion by Riemannian optimisers, against pymanopt's own manifolds.

Noiseless completion from the same spectral start to a relative residual of 1e-6. Small: 100 x 100
of rank 5 with 3900 entries, well conditioned and with condition number 1000, medians over five
seeds (infinite if fewer than half arrive), against the conjugate gradient on FixedRankEmbedded and
on Product(Stiefel, Euclidean), with gradients by hand for all. At condition number 1000 also from a
start of a hundredth of the size, from which depth learns one singular value after the other.
Large: rank 10 with 200 entries a row, against the sparse products that
an iteration cannot avoid. One core.

    python benchmarks/optimization.py
"""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import resource
import time
from typing import Any

import numpy as np
import pymanopt
from pymanopt.manifolds import Euclidean, FixedRankEmbedded, Product, Stiefel

from dlngeo.manifolds import DeepFixedRank
from dlngeo.solvers import LeastSquaresProblem, MatrixCompletion, SparseMatrixCompletion, minimize

RESIDUAL = 1e-6
SEEDS = range(5)


def embedded_problem(loss: MatrixCompletion, rank: int) -> pymanopt.Problem:
    """Return the completion problem on pymanopt's FixedRankEmbedded."""
    manifold = FixedRankEmbedded(*loss.shape, rank)

    @pymanopt.function.numpy(manifold)
    def cost(u: Any, s: Any, vt: Any) -> Any:
        return loss((u * s) @ vt)

    @pymanopt.function.numpy(manifold)
    def gradient(u: Any, s: Any, vt: Any) -> Any:
        slope = loss.gradient((u * s) @ vt)
        columns = slope @ vt.T
        return columns * s, np.sum(u * columns, axis=0), s[:, None] * (u.T @ slope)

    return pymanopt.Problem(manifold, cost, euclidean_gradient=gradient)


def product_problem(loss: MatrixCompletion, rank: int) -> pymanopt.Problem:
    """Return the completion problem for ``X = U B`` on Product(Stiefel, Euclidean)."""
    rows, columns = loss.shape
    manifold = Product([Stiefel(rows, rank), Euclidean(rank, columns)])

    @pymanopt.function.numpy(manifold)
    def cost(u: Any, b: Any) -> Any:
        return loss(u @ b)

    @pymanopt.function.numpy(manifold)
    def gradient(u: Any, b: Any) -> Any:
        slope = loss.gradient(u @ b)
        return slope @ b.T, u.T @ slope

    @pymanopt.function.numpy(manifold)
    def hessian(u: Any, b: Any, u_dot: Any, b_dot: Any) -> Any:
        slope = loss.gradient(u @ b)
        change = loss.pull(loss.measure(u_dot @ b + u @ b_dot))
        return change @ b.T + slope @ b_dot.T, u_dot.T @ slope + u.T @ change

    return pymanopt.Problem(manifold, cost, euclidean_gradient=gradient, euclidean_hessian=hessian)


def run(problem: pymanopt.Problem, start: Any, solver: str, target: float) -> tuple[int, float]:
    """Return iterations and seconds to the target of the cost, infinite if it was not reached."""
    minimum = minimize(
        problem,
        start,
        solver=solver,
        max_iterations=100 if solver == "trust-regions" else 1000,
        tolerance=1e-14,
        stop=lambda point, cost: cost <= target,
    )
    reached = minimum.cost <= target
    return minimum.n_iterations, minimum.seconds[-1] if reached else np.inf


def small(condition: float | None, scale: float = 1.0) -> None:
    """Print iterations and times of 100 x 100 matrices of rank 5."""
    size, rank, entries = 100, 5, 3900
    found: dict[tuple[str, str], list[tuple[int, float]]] = {}
    for seed in SEEDS:
        rng = np.random.default_rng(seed)
        left, right = rng.standard_normal((2, size, rank))
        if condition is not None:
            left, right = np.linalg.qr(left)[0], np.linalg.qr(right)[0]
            left = size * left * np.geomspace(1, 1 / condition, rank)
        truth = left @ right.T
        mask = np.zeros(size * size, dtype=bool)
        mask[rng.choice(size * size, entries, replace=False)] = True
        loss = MatrixCompletion(truth, mask.reshape(size, size))
        target = RESIDUAL**2 * float(loss.value(loss.data))
        start = LeastSquaresProblem(DeepFixedRank(size, size, rank, 1), loss)
        start = start.spectral_point(scale)
        u, s, vt = start
        embedded, product = embedded_problem(loss, rank), product_problem(loss, rank)
        start_embedded = embedded.manifold.random_point()._replace(u=u, s=s, vt=vt)
        start_product = [u, s[:, None] * vt]
        cases = [
            ("FixedRankEmbedded", embedded, start_embedded, "conjugate-gradient"),
            ("Product(Stiefel, Euclidean)", product, start_product, "conjugate-gradient"),
            ("Product(Stiefel, Euclidean)", product, start_product, "trust-regions"),
        ]
        for depth in (1, 2, 3, 4, 6):
            problem = LeastSquaresProblem(DeepFixedRank(size, size, rank, depth), loss)
            for solver in ("conjugate-gradient", "trust-regions"):
                cases.append((f"DeepFixedRank, depth {depth}", problem, start, solver))
        for name, problem, point, solver in cases:
            if seed == SEEDS[0]:  # a few steps first, to load and compile
                run(problem, point, solver, 0.9 * problem.cost(point))
            found.setdefault((name, solver), []).append(run(problem, point, solver, target))
    title = "well conditioned" if condition is None else f"condition number {condition:g}"
    title += "" if scale == 1 else f", start scaled by {scale:g}"
    print(f"\n100 x 100, rank 5, 3900 entries, {title}\n")
    head = f"{'manifold':<30}{'solver':<20}{'iterations':>12}{'ms':>9}{'ratio':>8}{'reached':>9}"
    print(head, "-" * len(head), sep="\n")
    reference = np.median([seconds for _, seconds in next(iter(found.values()))])
    for (name, solver), results in found.items():
        iterations, seconds = np.median(np.array(results), axis=0)
        ratio = f"{seconds / reference:.2f}" if np.isfinite(reference) else "-"
        reached = sum(np.isfinite(spent) for _, spent in results)
        print(
            f"{name:<30}{solver:<20}{iterations:>12.0f}{1e3 * seconds:>9.1f}"
            f"{ratio:>8}{reached:>7}/{len(SEEDS)}"
        )


def large(size: int, depth: int, rank: int = 10, per_row: int = 200) -> None:
    """Print one line for a large sparse matrix."""
    rng = np.random.default_rng(0)
    left, right = rng.standard_normal((2, size, rank))
    places = np.unique(rng.integers(0, size * size, size * per_row))
    rows, columns = places // size, places % size
    pieces = np.array_split(np.arange(len(places)), max(1, len(places) // 100_000))
    values = np.concatenate(
        [np.einsum("ek,ek->e", left[rows[p]], right[columns[p]]) for p in pieces]
    )
    loss = SparseMatrixCompletion(rows, columns, values, (size, size))
    problem = LeastSquaresProblem(DeepFixedRank(size, size, rank, depth), loss)
    start = problem.spectral_point()
    target = RESIDUAL**2 * float(loss.value(loss.data))
    run(problem, start, "conjugate-gradient", 0.9 * problem.cost(start))
    iterations, seconds = run(problem, start, "conjugate-gradient", target)
    unavoidable = []
    for _ in range(7):
        begin = time.perf_counter()
        matrix = loss.adjoint(loss.measure_product(left, right) - loss.data)
        _ = matrix @ right, matrix.T @ left
        unavoidable.append(time.perf_counter() - begin)
    alone = np.median(unavoidable)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(
        f"{size:>8}{depth:>7}{len(places):>12}{iterations:>12}{seconds:>9.2f}"
        f"{1e3 * seconds / iterations:>15.1f}{1e3 * alone:>12.1f}"
        f"{seconds / iterations / alone:>8.1f}{peak:>11.2f}"
    )


def main() -> None:
    small(None)
    small(1e3)
    small(1e3, scale=0.01)
    print("\nrank 10, conjugate gradient; products: residual, times V, transposed times U\n")
    head = (
        f"{'size':>8}{'depth':>7}{'entries':>12}{'iterations':>12}{'s':>9}{'ms/iteration':>15}"
        f"{'products':>12}{'ratio':>8}{'peak GiB':>11}"
    )
    print(head, "-" * len(head), sep="\n")
    for size in (2500, 5000, 10_000, 20_000):
        for depth in (1, 2, 3):
            large(size, depth)


if __name__ == "__main__":
    main()
