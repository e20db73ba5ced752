"""Jacobian products of the path-lifting, against a pass forward and backward of PyTorch.

Each product needs the weights once forward and once backward, as a gradient does: the physical
limit is one such pass at one sample. Where the paths can be enumerated, the same product by the
Jacobian that automatic differentiation forms. One core, one run, medians.

    python benchmarks/path_lifting.py
"""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import time
from collections.abc import Callable

import numpy as np
import torch

from dlngeo.intrinsic import ReluNetwork, path_lifting, recover, rescaling

ROUNDS = 30
SMALL, LARGE = (8, 6, 5, 4), (784, 64, 32, 10)


def milliseconds(functions: dict[str, Callable], rounds: int = ROUNDS) -> dict[str, float]:
    """Return median times of functions that are run in turn."""
    times: dict[str, list[float]] = {name: [] for name in functions}
    for _ in range(rounds):
        for name, function in functions.items():
            start = time.perf_counter()
            function()
            times[name].append(1e3 * (time.perf_counter() - start))
    return {name: float(np.median(record)) for name, record in times.items()}


def torch_pass(widths: tuple[int, ...]) -> Callable:
    """Return a pass forward and backward at one sample, in double precision."""
    layers: list[torch.nn.Module] = []
    for before, after in zip(widths[:-1], widths[1:], strict=True):
        layers += [torch.nn.Linear(before, after), torch.nn.ReLU()]
    module = torch.nn.Sequential(*layers[:-1]).double()
    parameters, x = list(module.parameters()), torch.ones(1, widths[0], dtype=torch.float64)
    return lambda: torch.autograd.grad(module(x).sum(), parameters)


def torch_jacobian(network: ReluNetwork, theta: np.ndarray, vector: np.ndarray) -> Callable:
    """Return ``∂φᵀ ∂φ v`` from all paths, by automatic differentiation."""
    point, change = torch.asarray(theta), torch.asarray(vector)

    def lift(parameters: torch.Tensor) -> torch.Tensor:
        return path_lifting.lift(network, parameters)

    def product() -> torch.Tensor:
        pushed = torch.func.jvp(lift, (point,), (change,))[1]
        return torch.func.vjp(lift, point)[1](pushed)[0]

    return product


def main() -> None:
    torch.set_num_threads(1)
    rng = np.random.default_rng(0)
    head = f"{'product':<44}{'time [ms]':>11}{'/ pass of PyTorch':>19}"
    for widths in (SMALL, LARGE):
        network = ReluNetwork.from_widths(widths)
        theta, other, vector = 0.2 * rng.standard_normal((3, network.n_parameters))
        inputs = rng.standard_normal((10, widths[0]))
        values = rescaling.conserved_values(network, theta)
        moved = rescaling.rescale(network, theta, np.exp(rng.standard_normal(len(values))))
        calls: dict[str, Callable] = {
            "PyTorch, forward and backward": torch_pass(widths),
            "<φ(θ), φ(w)>": lambda: path_lifting.inner_product(network, theta, other),
            "∂φ(θ)ᵀ φ(w)": lambda: path_lifting.pullback(network, theta, other),
            "∂φ(θ)ᵀ ∂φ(θ) v": lambda: path_lifting.jacobian_product(network, theta, vector),
            "tangent kernel of 10 samples": lambda: path_lifting.tangent_kernel(
                network, theta, inputs
            ),
            "conservation laws": lambda: rescaling.conserved_values(network, theta),
            "scales from laws": lambda: rescaling.scales_to(network, moved, values),
        }
        if widths == SMALL:
            lifted = path_lifting.lift(network, theta)
            calls["∂φ(θ)ᵀ ∂φ(θ) v, all paths, PyTorch"] = torch_jacobian(network, theta, vector)
            calls["∂φ(θ)ᵀ ∂φ(θ) v, all paths, our Jacobian"] = lambda: (
                path_lifting.jacobian(network, theta)
                @ vector
                @ path_lifting.jacobian(network, theta)
            )
            calls["parameters from z and laws"] = lambda: recover(network, lifted, values, theta)
        milliseconds(calls, 3)  # caches
        times = milliseconds(calls)
        name = "-".join(map(str, widths))
        print(f"\n{name}: {network.n_parameters} parameters, {network.n_paths} paths")
        print(head, "-" * len(head), sep="\n")
        for call, spent in times.items():
            print(
                f"{call:<44}{spent:>11.3f}{spent / times['PyTorch, forward and backward']:>19.1f}"
            )


if __name__ == "__main__":
    main()
