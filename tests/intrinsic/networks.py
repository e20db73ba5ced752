"""Networks and algebra for the tests, with nothing of the package."""

from collections.abc import Callable, Sequence
from itertools import pairwise, product

import autograd.numpy as np
import sympy
from sympy.polys.matrices import DomainMatrix


def forward(theta: np.ndarray, widths: Sequence[int], bias: bool) -> tuple[np.ndarray, np.ndarray]:
    """Return the end-to-end matrix and bias of flat parameters ``W_1, b_1, W_2, ...``."""
    matrix, shift, start = np.eye(widths[0]), np.zeros(widths[0]), 0
    for before, after in pairwise(widths):
        weight = theta[start : start + before * after].reshape(after, before)
        start += before * after
        matrix, shift = weight @ matrix, weight @ shift
        if bias:
            shift = shift + theta[start : start + after]
            start += after
    return matrix, shift


def linear_map(widths: Sequence[int], bias: bool = False) -> Callable:
    """Return ``φ`` of a linear network, of flat parameters."""

    def phi(theta: np.ndarray) -> np.ndarray:
        matrix, shift = forward(theta, widths, bias)
        return np.concatenate([matrix.ravel(), shift]) if bias else matrix.ravel()

    return phi


def size(widths: Sequence[int], bias: bool = False) -> int:
    """Return the number of parameters."""
    return sum((before + bias) * after for before, after in pairwise(widths))


def path_incidence(widths: Sequence[int], bias: bool) -> np.ndarray:
    """Return which parameters stand on which path from an input or bias to an output."""
    offsets, start = [], 0
    for before, after in pairwise(widths):
        offsets.append((start, start + before * after))
        start += (before + bias) * after
    rows = []
    for first in range(-1, len(widths) - 2 if bias else 0):
        # A path from an input (first = -1), or from the bias of a neuron of a later layer.
        for neurons in product(*map(range, widths[first + 1 :])):
            row = np.zeros(start)
            begin = first + 1
            for step, (j, i) in enumerate(pairwise(neurons)):
                row[offsets[begin + step][0] + i * widths[begin + step] + j] = 1
            if first >= 0:
                row[offsets[first][1] + neurons[0]] = 1
            rows.append(row)
    if bias:
        for i in range(widths[-1]):
            rows.append(np.eye(start)[offsets[-1][1] + i])
    return np.array(rows)


def naive_lie_dimension(polynomials: list[sympy.Poly], most_levels: int = 9) -> int:
    """Return the rank of all iterated brackets at a random integer point, expanded by SymPy.

    Level by level, until two in a row add nothing.
    """
    gens = polynomials[0].gens
    ring = sympy.ring([str(x) for x in gens], sympy.QQ)[0]
    symbols = ring.gens
    entries = [ring.from_dict(dict(p.rep.to_dict())) for p in polynomials]
    generators = [[phi.diff(x) for x in symbols] for phi in entries]
    rng = np.random.default_rng(5)
    point = [int(k) for k in rng.integers(-50, 50, size=len(gens))]

    def bracket(u: list, v: list) -> list:
        return [
            sum((a.diff(x) * c for x, c in zip(symbols, v, strict=True)), ring.zero)
            - sum((b.diff(x) * c for x, c in zip(symbols, u, strict=True)), ring.zero)
            for a, b in zip(u, v, strict=True)
        ]

    def at(field: list) -> list:
        return [entry.evaluate(list(zip(symbols, point, strict=True))) for entry in field]

    level, rows, ranks = generators, [], []
    for _ in range(most_levels):
        rows += [[sympy.QQ.convert(sympy.QQ(c)) for c in at(field)] for field in level]
        ranks.append(DomainMatrix(rows, (len(rows), len(gens)), sympy.QQ).rank())
        if len(ranks) > 2 and ranks[-1] == ranks[-3]:
            return ranks[-1]
        level = [bracket(g, v) for g in generators for v in level]
    raise AssertionError(f"the ranks {ranks} still grow")


def random_networks(number, *, depths, widest, seed=0):
    rng = np.random.default_rng(seed)
    return [
        tuple(int(w) for w in rng.integers(1, widest + 1, size=rng.choice(depths) + 1))
        for _ in range(number)
    ]
