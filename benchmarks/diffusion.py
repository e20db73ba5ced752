"""The diffusion metric against geomstats' generic route, and its cost with size.

First the right-hand side of the geodesic equation of 20 losses of 10 parameters, against
geomstats' PullbackMetric of the graph, differentiated by autograd. Then the acceleration of a
forced geodesic of a two-layer network of 100 inputs, differentiated by autograd with no matrix of
gradients: time per sample and parameter, products of the conjugate gradients of its two solves,
and peak memory of the process. One core, medians.

    python benchmarks/diffusion.py
"""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
os.environ["GEOMSTATS_BACKEND"] = "autograd"

import math
import resource
import time
from collections.abc import Callable
from typing import Any

import autograd.numpy as anp
import geomstats.backend as gs
import numpy as np
from geomstats.geometry.base import ImmersedSet
from geomstats.geometry.euclidean import Euclidean

from dlngeo.core.gradient_noise import DiffusionGeometry, Products, SampleLosses
from dlngeo.manifolds import DiffusionMetric

SCALE = 0.5
INPUTS = 100


def median(rounds: int, function: Callable[[], Any]) -> float:
    """Return the median time of a call in milliseconds, after a first one."""
    function()
    times = []
    for _ in range(rounds):
        start = time.perf_counter()
        function()
        times.append(time.perf_counter() - start)
    return float(np.median(times)) * 1e3


class Graph(ImmersedSet):
    """Graph of the centred losses."""

    def __init__(self, losses: Callable, n: int, dim: int):
        self._losses, self._n = losses, n
        super().__init__(dim=dim)

    def _define_embedding_space(self) -> Euclidean:
        return Euclidean(self.dim + self._n)

    def immersion(self, point: Any) -> Any:
        values = self._losses(point)
        heights = math.sqrt(SCALE / self._n) * (values - gs.mean(values))
        return gs.concatenate([point, heights])


def against_geomstats(rng: np.random.Generator, n: int = 20, dim: int = 10) -> None:
    a, b = rng.standard_normal((n, dim)) / dim**0.5, rng.standard_normal(n)

    def losses(x: Any) -> Any:
        return anp.tanh(a @ x) ** 2 + anp.sin(b * (a @ x))

    ours = Euclidean(dim).equip_with_metric(DiffusionMetric, sample_losses=losses, scale=SCALE)
    theirs = Graph(losses, n, dim)
    x, v = rng.standard_normal((2, dim))
    state = np.stack([x, v])
    times = [
        median(rounds, lambda space=space: space.metric.geodesic_equation(state))
        for space, rounds in ((ours, 50), (theirs, 5))
    ]
    gap = abs(ours.metric.geodesic_equation(state) - theirs.metric.geodesic_equation(state)).max()
    print(f"{'geodesic equation':<32}{times[0]:>10.2f}{times[1]:>12.0f}{times[1] / times[0]:>8.0f}")
    print(f"{'':<4}difference {gap:.0e}")


def network(n: int, dim: int, rng: np.random.Generator) -> Callable:
    """Return the losses of a two-layer network with ``dim`` parameters."""
    hidden = dim // (INPUTS + 1)
    inputs, outputs = rng.standard_normal((n, INPUTS)), rng.standard_normal(n)

    def losses(x: Any) -> Any:
        first = anp.reshape(x[: hidden * INPUTS], (hidden, INPUTS))
        second = x[hidden * INPUTS :]
        signal = anp.tanh(inputs @ first.T / INPUTS**0.5) @ second / hidden**0.5
        return (signal - outputs) ** 2 / 2

    return losses


def by_size(rng: np.random.Generator) -> None:
    head = f"{'n':>6}{'D':>9}{'time [ms]':>12}{'ns / (n D)':>12}{'products':>12}{'peak [GiB]':>12}"
    print(head, "-" * len(head), sep="\n")
    for n, size in ((100, 1e4), (1000, 1e3), (1000, 1e4), (300, 1e5), (1000, 1e5)):
        dim = int(size) // (INPUTS + 1) * (INPUTS + 1)
        geometry = DiffusionGeometry(SampleLosses((dim,), network(n, dim, rng)), SCALE)
        x, v = rng.standard_normal((2, dim))
        calls = [0]

        def acceleration(geometry=geometry, x=x, v=v, calls=calls) -> np.ndarray:
            j = geometry.differential(x)

            def push(vector: np.ndarray) -> np.ndarray:
                calls[0] += 1
                return j.push(vector)

            counted = Products(push, j.pull)
            return -geometry.christoffel(x, v, v, counted) - geometry.gradient(x, counted)

        spent = median(3, acceleration)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
        print(
            f"{n:>6}{dim:>9}{spent:>12.0f}{spent * 1e6 / (n * dim):>12.1f}"
            f"{calls[0] // 4:>12}{peak:>12.2f}"
        )


def main() -> None:
    rng = np.random.default_rng(0)
    print(f"{'n = 20, D = 10':<32}{'own [ms]':>10}{'theirs [ms]':>12}{'ratio':>8}")
    against_geomstats(rng)
    print()
    by_size(rng)


if __name__ == "__main__":
    main()
