"""``dlngeo balance``: balance the factors of a saved network."""

import argparse
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy

from dlngeo.app.files.array_archives import in_type, load_arrays, save_arrays
from dlngeo.core.base.arrays import Array
from dlngeo.core.base.checks import real_array
from dlngeo.core.networks.balancing import balance
from dlngeo.core.networks.network import end_to_end, moment_map
from dlngeo.runs.outputs import hold_file, written_file


def run(options: argparse.Namespace) -> None:
    """Run the command."""
    factors = _read(options.input)
    with hold_file(options.output):
        balanced, lines = _balance(factors, options)
        with written_file(options.output) as file:
            save_arrays(file, balanced)
    print(*lines, f"written to {options.output}", sep="\n")


def _balance(
    factors: Mapping[str, Array], options: argparse.Namespace
) -> tuple[dict[str, Array], list[str]]:
    """Return balanced factors, and what to say of them."""
    layers = tuple(
        real_array(factor.astype(float), f"{name} in {options.input}")
        for name, factor in factors.items()
    )
    # In units of their own, so that products neither overflow nor underflow.
    units = [float(abs(layer).max(initial=0.0)) for layer in layers]
    if not all(units):
        raise ValueError("the product of the factors is zero, of rank 0: there is no balanced one.")
    scaled = tuple(layer / unit for layer, unit in zip(layers, units, strict=True))
    product = end_to_end(scaled)
    if not product.any():
        raise ValueError("the product of the factors is zero, of rank 0: there is no balanced one.")
    common = balance(scaled, options.rank)
    change = numpy.linalg.norm(end_to_end(common) - product) / numpy.linalg.norm(product)
    unit = float(numpy.exp(numpy.log(units).mean()))
    balanced = {
        name: in_type(unit * layer, factor.dtype)
        for (name, factor), layer in zip(factors.items(), common, strict=True)
    }
    lines = [f"{'factor':<14}{'shape':<14}{'norm before':>14}{'after':>14}"]
    for name, before in zip(factors, layers, strict=True):
        shape = " x ".join(map(str, before.shape))
        norms = _norm([before]), _norm([balanced[name]])
        lines.append(f"{name:<14}{shape:<14}{norms[0]:>14.6g}{norms[1]:>14.6g}")
    for label, network in (("before", layers), ("after", tuple(balanced.values()))):
        size = _norm(network)
        imbalance = _norm(moment_map(tuple(layer.astype(float) / size for layer in network)))
        lines.append(f"{label:<8}|W| = {size:.10g}, moment map {imbalance:.1e} of |W|^2")
    lines.append(f"product changed by {change:.1e} of its norm")
    return balanced, lines


def _norm(matrices: Sequence[Array]) -> float:
    """Return the norm of all entries, without overflow."""
    unit = max((float(abs(matrix).max()) for matrix in matrices), default=0.0)
    if unit == 0:
        return 0.0
    return unit * math.sqrt(sum(float(((matrix / unit) ** 2).sum()) for matrix in matrices))


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
    return factors
