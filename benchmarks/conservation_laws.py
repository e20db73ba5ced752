"""Cost of counting conservation laws: against iterated brackets, and by size.

The peer expands the brackets of the gradient fields symbolically (SymPy's sparse polynomial
rings) and takes ranks at a point; both in one run, on one core. The published computation of 50
random linear networks, in SageMath, takes 34 minutes ([MGP23], their notebooks).

    python benchmarks/conservation_laws.py
"""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import sympy

sys.path.insert(0, str(Path(__file__).parents[1]))

from dlngeo.intrinsic import conservation_laws, conservation_laws_of, network_polynomials
from tests.intrinsic.networks import naive_lie_dimension

PUBLISHED = 34 * 60
BRACKETS = [(1, 2, 2, 1), (2, 2, 1), (1, 2, 2, 2), (2, 2, 2), (2, 2, 2, 1), (1, 3, 3, 2)]
SIZES = [(5, 5, 5, 5, 5), (10, 10, 10, 10), (1, 20, 20, 2), (12, 12, 12, 12, 12), (20,) * 5]


def timed(function: Callable, rounds: int = 1) -> tuple[float, object]:
    """Return the least time of a function, and its value."""
    times = []
    for _ in range(rounds):
        start = time.perf_counter()
        value = function()
        times.append(time.perf_counter() - start)
    return min(times), value


def random_networks() -> None:
    rng = np.random.default_rng(0)
    networks = [tuple(rng.integers(1, 6, size=rng.integers(3, 6)).tolist()) for _ in range(50)]
    print("50 random linear networks, 2 to 4 layers, widths 1 to 5")
    for bias in (False, True):
        seconds, found = timed(
            lambda bias=bias: [conservation_laws(widths, bias=bias) for widths in networks], 3
        )
        proved = sum(laws.is_proved for laws in found)
        complete = sum(laws.complete for laws in found)
        print(
            f"{'with' if bias else 'without'} biases: {seconds:.2f} s, {proved} proved, "
            f"{complete} complete"
            + ("" if bias else f"; published 34 min / own = {PUBLISHED / seconds:.0f}")
        )


def against_brackets() -> None:
    head = f"{'widths':<16}{'dim Lie':>8}{'own [ms]':>10}{'as a map [ms]':>15}"
    head += f"{'brackets [ms]':>15}{'ratio':>8}"
    print(head, "-" * len(head), sep="\n")
    for widths in BRACKETS:
        phi, variables = network_polynomials(widths)
        polynomials = [sympy.Poly(entry, *variables, domain="QQ") for entry in phi]
        own, laws = timed(partial(conservation_laws, widths), 5)
        general, _ = timed(partial(conservation_laws_of, phi, variables), 5)
        peer, dimension = timed(partial(naive_lie_dimension, polynomials))
        assert dimension == laws.lie_algebra_dimension
        name = "-".join(map(str, widths))
        print(
            f"{name:<16}{dimension:>8}{own * 1e3:>10.2f}{general * 1e3:>15.1f}{peer * 1e3:>15.0f}"
            f"{peer / own:>8.0f}"
        )


def by_size() -> None:
    head = f"{'widths':<20}{'parameters':>11}{'dim Lie':>9}{'laws':>7}{'time [s]':>10}"
    print(head, "-" * len(head), sep="\n")
    for widths in SIZES:
        seconds, laws = timed(partial(conservation_laws, widths))
        print(
            f"{'-'.join(map(str, widths)):<20}{laws.n_parameters:>11}"
            f"{laws.lie_algebra_dimension:>9}{laws.n_laws:>7}{seconds:>10.2f}"
        )


def main() -> None:
    random_networks()
    print()
    against_brackets()
    print()
    by_size()


if __name__ == "__main__":
    main()
