"""Sharpness of a regression, against Hessian-vector products of PyTorch in SciPy's Lanczos.

Networks of the widths of small image classifiers, with as many samples as rows of Gaussian inputs.
The peer differentiates the mean squared error of the outputs twice by autograd, at all samples,
and hands its products to SciPy's Lanczos at our tolerance. Seconds of one core, best of three
(the peer: of one), and the ratio; both find the same eigenvalue.

    python benchmarks/sharpness.py
"""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import itertools
import time
from collections.abc import Callable, Sequence

import numpy as np
import torch
from scipy.sparse.linalg import LinearOperator, eigsh

from dlngeo.losses import LinearRegression
from dlngeo.networks import sharpness

CASES = (
    ((64, 32, 32, 10), 1000),
    ((784, 100, 100, 10), 1000),
    ((784, 100, 100, 10), 10_000),
    ((784, 1000, 1000, 10), 1000),
)
TOLERANCE = 1e-10


def peer(factors: Sequence[np.ndarray], loss: LinearRegression) -> float:
    """Return the sharpness by products ``H v``, two passes backwards through all samples each."""
    inputs, outputs = torch.tensor(loss.inputs), torch.tensor(loss.outputs)
    layers = [torch.tensor(w, requires_grad=True) for w in factors]
    sizes = [w.numel() for w in layers]
    values = inputs
    for layer in layers:
        values = values @ layer.T
    error = ((values - outputs) ** 2).sum() / (2 * len(inputs))
    gradient = torch.autograd.grad(error, layers, create_graph=True)

    def product(vector: np.ndarray) -> np.ndarray:
        parts = torch.tensor(vector.ravel()).split(sizes)
        moved = [part.reshape(w.shape) for part, w in zip(parts, layers, strict=True)]
        second = torch.autograd.grad(gradient, layers, moved, retain_graph=True)
        return torch.cat([part.ravel() for part in second]).numpy()

    operator = LinearOperator((sum(sizes), sum(sizes)), matvec=product, dtype=float)
    start = np.random.default_rng(0).standard_normal(sum(sizes))
    return float(eigsh(operator, 1, v0=start, tol=TOLERANCE, return_eigenvectors=False)[0])


def best(function: Callable, factors: Sequence, data: Sequence, repeats: int) -> tuple:
    """Return a value, and the least number of seconds that it took.

    The loss is a new one every time: the second moment of the inputs is part of the cost.
    """
    seconds = []
    for _ in range(repeats):
        start = time.process_time()
        value = function(factors, LinearRegression(*data))
        seconds.append(time.process_time() - start)
    return value, min(seconds)


def main() -> None:
    """Print the table."""
    torch.set_num_threads(1)
    print(f"{'widths':20} {'samples':>8} {'sharpness':>10} {'dlngeo':>8} {'peer':>8} {'ratio':>6}")
    for widths, samples in CASES:
        rng = np.random.default_rng(0)
        factors = [
            rng.normal(size=(after, before)) / before**0.5
            for before, after in itertools.pairwise(widths)
        ]
        inputs = rng.normal(size=(samples, widths[0]))
        outputs = inputs @ rng.normal(size=(widths[0], widths[-1])) / widths[0] ** 0.5
        value, own = best(sharpness, factors, (inputs, outputs), 3)
        other, theirs = best(peer, factors, (inputs, outputs), 1)
        assert abs(value - other) < 1e-8 * value
        name = "-".join(map(str, widths))
        print(f"{name:20} {samples:8} {value:10.4f} {own:8.3f} {theirs:8.2f} {theirs / own:6.1f}")


if __name__ == "__main__":
    main()
