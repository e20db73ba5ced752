"""``dlngeo balance``: balance the factors of a saved network."""

import argparse
from pathlib import Path

import numpy

from dlngeo.app.array_archives import load_arrays, save_arrays
from dlngeo.app.results import check_file, result_file
from dlngeo.core.base.arrays import Array
from dlngeo.core.networks.balancing import balance
from dlngeo.core.networks.network import end_to_end, moment_map


def run(options: argparse.Namespace) -> None:
    """Run the command."""
    factors = _read(options.input)
    output = options.output
    check_file(output)
    layers = tuple(factors.values())
    product = end_to_end(layers)
    if not product.any():
        raise ValueError("the product of the factors is zero, of rank 0: there is no balanced one.")
    balanced = balance(layers, options.rank)
    change = numpy.linalg.norm(end_to_end(balanced) - product) / numpy.linalg.norm(product)
    with result_file(output) as file:
        save_arrays(file, dict(zip(factors, balanced, strict=True)))
    print(f"{'factor':<14}{'shape':<14}{'norm before':>14}{'after':>14}")
    for (name, before), after in zip(factors.items(), balanced, strict=True):
        shape = " x ".join(map(str, before.shape))
        norms = numpy.linalg.norm(before), numpy.linalg.norm(after)
        print(f"{name:<14}{shape:<14}{norms[0]:>14.6g}{norms[1]:>14.6g}")
    for label, network in (("before", layers), ("after", balanced)):
        size, imbalance = _squared_norm(network), _squared_norm(moment_map(network)) ** 0.5
        print(f"{label:<8}|W|^2 = {size:.10g}, moment map {imbalance / size:.1e} of it")
    print(f"product changed by {change:.1e} of its norm\nwritten to {output}")


def _squared_norm(matrices: tuple[Array, ...]) -> float:
    return float(sum((matrix**2).sum() for matrix in matrices))


def _read(path: Path) -> dict[str, Array]:
    """Return the factors of a file by their names."""
    factors = load_arrays(path)
    if not factors:
        raise ValueError(f"{path} holds no arrays: save the factors by numpy.savez.")
    for name, factor in factors.items():
        if factor.ndim != 2 or factor.dtype.kind not in "fiu":
            raise ValueError(
                f"{name} in {path} has shape {factor.shape} and type {factor.dtype}: every factor "
                "must be a matrix of real numbers."
            )
    return {name: factor.astype(float) for name, factor in factors.items()}
