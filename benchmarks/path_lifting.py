"""Jacobian products of the path-lifting, against a pass forward and backward of PyTorch.

Each product needs the weights once forward and once backward, as a gradient does: the physical
limit is one such pass at one sample. Where the paths can be enumerated, also the same product by
automatic differentiation of all of them. One core, one run, medians.

    python benchmarks/path_lifting.py
"""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import itertools
import time
from collections.abc import Callable
from functools import partial

import numpy as np
import torch

from dlngeo.intrinsic import ReluNetwork, recover
from dlngeo.intrinsic.relu import path_lifting, rescaling

ROUNDS = 30
PASS = "PyTorch, forward and backward"


def milliseconds(functions: dict[str, Callable], rounds: int = ROUNDS) -> dict[str, float]:
    """Return median times of functions that are run in turn."""
    times: dict[str, list[float]] = {name: [] for name in functions}
    for _ in range(rounds):
        for name, function in functions.items():
            start = time.perf_counter()
            function()
            times[name].append(1e3 * (time.perf_counter() - start))
    return {name: float(np.median(record)) for name, record in times.items()}


def torch_pass(network: ReluNetwork) -> Callable:
    """Return a pass forward and backward at one sample, in double precision."""
    widths = network.sizes[1:]
    layers: list[torch.nn.Module] = []
    for before, after in itertools.pairwise(widths):
        layers += [torch.nn.Linear(before, after), torch.nn.ReLU()]
    module = torch.nn.Sequential(*layers[:-1]).double()
    parameters, x = list(module.parameters()), torch.ones(1, widths[0], dtype=torch.float64)
    return lambda: torch.autograd.grad(module(x).sum(), parameters)


def torch_product(network: ReluNetwork, theta: np.ndarray, vector: np.ndarray) -> Callable:
    """Return ``∂φᵀ ∂φ v`` from all paths, by automatic differentiation."""
    point, change = torch.asarray(theta), torch.asarray(vector)

    def lift(parameters: torch.Tensor) -> torch.Tensor:
        return path_lifting.lift(network, parameters)

    def product() -> torch.Tensor:
        pushed = torch.func.jvp(lift, (point,), (change,))[1]
        return torch.func.vjp(lift, point)[1](pushed)[0]

    return product


def products(network: ReluNetwork) -> dict[str, Callable]:
    """Return the products, and what they are measured against where paths can be enumerated."""
    rng = np.random.default_rng(0)
    theta, other, vector = 0.2 * rng.standard_normal((3, network.n_parameters))
    inputs = rng.standard_normal((10, network.n_inputs))
    values = rescaling.conserved_values(network, theta)
    moved = rescaling.rescale(network, theta, np.exp(rng.standard_normal(len(values))))
    calls: dict[str, Callable] = {
        PASS: torch_pass(network),
        "⟨φ(θ), φ(w)⟩": partial(path_lifting.inner_product, network, theta, other),
        "∂φ(θ)ᵀ φ(w)": partial(path_lifting.pullback, network, theta, other),
        "∂φ(θ)ᵀ ∂φ(θ) v": partial(path_lifting.jacobian_product, network, theta, vector),
        "tangent kernel of 10 samples": partial(
            path_lifting.tangent_kernel, network, theta, inputs
        ),
        "conservation laws": partial(rescaling.conserved_values, network, theta),
        "scales from laws": partial(rescaling.scales_to, network, moved, values),
    }
    if network.n_paths < 10_000:
        lifted = path_lifting.lift(network, theta)
        calls["∂φ(θ)ᵀ ∂φ(θ) v, all paths, PyTorch"] = torch_product(network, theta, vector)
        calls["θ from z and laws"] = partial(recover, network, lifted, values, theta)
    return calls


def main() -> None:
    torch.set_num_threads(1)
    head = f"{'product':<44}{'time [ms]':>11}{'/ pass':>8}"
    for widths in ((8, 6, 5, 4), (784, 64, 32, 10)):
        network = ReluNetwork.from_widths(widths)
        calls = products(network)
        milliseconds(calls, 3)  # caches
        times = milliseconds(calls)
        name = "-".join(map(str, widths))
        print(f"\n{name}: {network.n_parameters} parameters, {network.n_paths} paths")
        print(head, "-" * len(head), sep="\n")
        for call, spent in times.items():
            print(f"{call:<44}{spent:>11.3f}{spent / times[PASS]:>8.1f}")


if __name__ == "__main__":
    main()
