"""Cost of Langevin dynamics: against a loop that takes one batched SVD a step, at the same law.

Both run Euler–Maruyama steps of 1000 chains with the energy ``½ ‖X‖²`` at ``β = 3``. The peer
steps in the entries of ``X`` with the Itô drift of THEORY 4, as one writes it in NumPy. The law
is measured against the quadrature of ``ρ(λ) e^{-βE}``. One core, one run, medians.

    python benchmarks/langevin.py
"""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import time
import tracemalloc

import numpy as np

from dlngeo import factorize
from dlngeo.sampling import langevin
from dlngeo.thermodynamics import Equilibrium

BETA, STEP, DEPTH, CHAINS = 3.0, 5e-3, 3, 1000
SIZES = [(2, 1000), (3, 600), (5, 300), (10, 60)]


def gradient(x: np.ndarray) -> np.ndarray:
    """Return ``∇E`` of ``E = ½ ‖X‖²``."""
    return x


def energy(x: np.ndarray) -> np.ndarray:
    """Return ``E``."""
    return np.einsum("nkl,nkl->n", x, x) / 2


def peer(x: np.ndarray, n_steps: int, rng: np.random.Generator) -> np.ndarray:
    """Run the Itô equation in the entries of ``X``, with a singular value decomposition a step."""
    size = x.shape[-1]
    identity = np.eye(size)
    p = np.arange(1, DEPTH + 1)
    for _ in range(n_steps):
        u, sigma, vt = np.linalg.svd(x)
        lam = sigma ** (1 / DEPTH)
        rows, columns = lam[:, :, None, None], lam[:, None, :, None]
        terms = rows ** (2 * (DEPTH - p)) * columns ** (2 * (p - 1))
        kernel = terms.sum(-1)
        slopes = (2 * (DEPTH - p) * terms).sum(-1) / kernel
        pairs = (slopes.sum(-1) - slopes[:, np.arange(size), np.arange(size)]) / 2
        entropic = pairs * lam ** (DEPTH - 2) + (DEPTH - 1) * lam ** (DEPTH - 2)
        slope = u.swapaxes(-1, -2) @ gradient(x) @ vt.swapaxes(-1, -2)
        noise = np.sqrt(2 * STEP / BETA * kernel) * rng.standard_normal(x.shape)
        core = noise - STEP * kernel * slope + STEP / BETA * entropic[:, None] * identity
        x = x + u @ core @ vt
    return x


def own(x: np.ndarray, n_steps: int, rng: np.random.Generator) -> np.ndarray:
    """Run the same chains by the package."""
    result = langevin(gradient, x, depth=DEPTH, beta=BETA, step_size=STEP, n_steps=n_steps, rng=rng)
    return result.observables


def speed() -> None:
    """Print the time of a step of a chain."""
    head = f"{'d':>3}{'own [µs]':>12}{'SVD loop [µs]':>16}{'ratio':>8}"
    print(f"a step of a chain, depth {DEPTH}, {CHAINS} chains\n{head}", "-" * len(head), sep="\n")
    for size, n_steps in SIZES:
        start = np.random.default_rng(0).standard_normal((CHAINS, size, size))
        times: dict = {own: [], peer: []}
        for run in times:
            run(start, 3, np.random.default_rng(1))
        for _ in range(7):
            for run, measured in times.items():
                begin = time.perf_counter()
                run(start, n_steps, np.random.default_rng(1))
                measured.append((time.perf_counter() - begin) / n_steps / CHAINS * 1e6)
        ratios = np.array(times[peer]) / np.array(times[own])
        print(
            f"{size:>3}{np.median(times[own]):>12.2f}{np.median(times[peer]):>16.2f}"
            f"{np.median(ratios):>8.1f}"
        )


def step_time(start, n_steps: int, **settings) -> float:
    """Return the time of a step in microseconds, without that of the start."""
    times = []
    for count in (1, n_steps):
        begin = time.perf_counter()
        langevin(
            gradient, start, beta=BETA, step_size=STEP, n_steps=count, rng=1,
            energy=energy, **settings,
        )  # fmt: skip
        times.append(time.perf_counter() - begin)
    return (times[1] - times[0]) / (n_steps - 1) * 1e6


def schemes() -> None:
    """Print the time of a step by each scheme, and of one chain alone."""
    start = np.random.default_rng(0).standard_normal((CHAINS, 3, 3))
    factors = factorize(start, DEPTH)
    runs: dict = {
        "Euler-Maruyama": (start, {"depth": DEPTH}),
        "of factors": (factors, {}),
        "Metropolis": (start, {"depth": DEPTH, "scheme": "metropolis"}),
        "second order": (start, {"depth": DEPTH, "scheme": "second-order"}),
    }
    times: dict = {name: [] for name in runs}
    for _ in range(9):
        for name, (initial, settings) in runs.items():
            times[name].append(step_time(initial, 60, **settings))
    print(f"\na step of {CHAINS} chains, d = 3, depth {DEPTH}")
    first = np.array(times["Euler-Maruyama"])
    for name, measured in times.items():
        ratio = np.median(np.array(measured) / first)
        print(f"  {name:<16}{np.median(measured) / 1e3:>8.2f} ms{ratio:>7.1f} times")
    alone = [step_time(start[:1], 3000, depth=DEPTH) for _ in range(5)]
    print(f"  one chain alone  {np.median(alone):.0f} µs")


def law() -> None:
    """Print mean singular values against quadrature."""
    print("\nmean singular values against quadrature, h = 0.005")
    for size in (2, 3):
        exact = Equilibrium(lambda s: (s**2).sum(-1) / 2, widths=(size,) * (DEPTH + 1), beta=BETA)
        quadrature = exact.mean(lambda s: s)
        start = np.random.default_rng(0).standard_normal((4 * CHAINS, size, size))
        result = langevin(
            gradient, start, depth=DEPTH, beta=BETA, step_size=STEP, n_steps=6000, rng=1,
            save_every=20,
        )  # fmt: skip
        values = result.trace["singular_values"][:, 50:].mean(axis=1)
        error = values.std(axis=0) / len(values) ** 0.5
        for k in range(size):
            mean = values[:, k].mean()
            print(
                f"  d = {size}, σ_{k + 1}: {mean:.5f} ± {error[k]:.5f}, exact {quadrature[k]:.5f}, "
                f"off by {100 * (mean / quadrature[k] - 1):+.2f}%"
            )


def memory() -> None:
    """Print peak memory by the number of steps."""
    start = np.random.default_rng(0).standard_normal((CHAINS, 3, 3))
    peaks = []
    for n_steps in (50, 500):
        tracemalloc.start()
        own(start, n_steps, np.random.default_rng(1))
        peaks.append(tracemalloc.get_traced_memory()[1] / 2**20)
        tracemalloc.stop()
    print(f"\npeak memory of 50 and 500 steps, d = 3: {peaks[0]:.2f} and {peaks[1]:.2f} MiB")


if __name__ == "__main__":
    speed()
    schemes()
    memory()
    law()
