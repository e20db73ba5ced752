"""``dlngeo balance``: balance the factors of a saved network."""

import argparse
import os
import tempfile
from pathlib import Path
from typing import Any


def add_parser(commands: Any) -> None:
    """Add the command to those of a parser."""
    balance = commands.add_parser(
        "balance",
        help="balance the factors of a saved network, which keeps its product",
        description="Replace the factors W_1, ..., W_N of a deep linear network by the balanced "
        "ones of least norm with the same product.",
    )
    balance.add_argument(
        "input",
        type=Path,
        metavar="FACTORS",
        help="an NPZ file that numpy.savez made, of the matrices W_1, ..., W_N in this order",
    )
    balance.add_argument(
        "--output",
        type=Path,
        metavar="FILE",
        required=True,
        help="NPZ file for the balanced factors, under the same names",
    )
    balance.add_argument(
        "--rank", type=int, help="rank of the product (default: the smallest width)"
    )
    balance.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    """Run the command."""
    import numpy

    from dlngeo.core.networks.balancing import balance
    from dlngeo.core.networks.network import end_to_end

    names, factors = _read(options.input)
    if not options.output.parent.is_dir():
        raise ValueError(f"there is no folder {options.output.parent} for the output: make it.")
    if options.output.is_dir():
        raise ValueError(f"the output {options.output} is a folder: give a file.")
    product = end_to_end(factors)
    if not product.any():
        raise ValueError("the product of the factors is zero, of rank 0: there is no balanced one.")
    balanced = balance(factors, options.rank)
    change = numpy.linalg.norm(end_to_end(balanced) - product) / numpy.linalg.norm(product)
    _write(options.output, dict(zip(names, balanced, strict=True)))
    print(f"{'factor':<14}{'shape':<14}{'norm before':>14}{'after':>14}")
    for name, before, after in zip(names, factors, balanced, strict=True):
        shape = " x ".join(map(str, before.shape))
        norms = numpy.linalg.norm(before), numpy.linalg.norm(after)
        print(f"{name:<14}{shape:<14}{norms[0]:>14.6g}{norms[1]:>14.6g}")
    for label, layers in (("before", factors), ("after", balanced)):
        print(
            f"{label:<8}|W|^2 = {_squared_norm(layers):.10g}, moment map "
            f"{_imbalance(layers):.1e} of it"
        )
    print(f"product changed by {change:.1e} of its norm\nwritten to {options.output}")


def _squared_norm(layers: Any) -> float:
    return float(sum((layer**2).sum() for layer in layers))


def _imbalance(layers: Any) -> float:
    """Return ``‖μ(W)‖ / ‖W‖²``."""
    from dlngeo.core.networks.network import moment_map

    squares = sum((moment**2).sum() for moment in moment_map(layers))
    return float(squares**0.5) / _squared_norm(layers)


def _read(path: Path) -> tuple[list[str], tuple[Any, ...]]:
    """Return names and factors of a file."""
    import zipfile

    import numpy

    if not path.is_file():
        raise ValueError(f"there is no file {path}: check the path.")
    try:
        with numpy.load(path, allow_pickle=False) as arrays:
            names = list(arrays.files)
            factors = tuple(arrays[name] for name in names)
    except (ValueError, EOFError, zipfile.BadZipFile, AttributeError, TypeError) as error:
        raise ValueError(
            f"{path} is no file of number arrays: save the factors by numpy.savez."
        ) from error
    for name, factor in zip(names, factors, strict=True):
        if factor.ndim != 2 or factor.dtype.kind not in "fiu":
            raise ValueError(
                f"{name} in {path} has shape {factor.shape} and type {factor.dtype}: every factor "
                "must be a matrix of real numbers."
            )
    return names, tuple(factor.astype(float) for factor in factors)


def _write(path: Path, arrays: dict[str, Any]) -> None:
    """Write an NPZ file, whole or not at all."""
    import numpy

    descriptor, scratch = tempfile.mkstemp(prefix=".dlngeo-", suffix=".npz", dir=path.parent)
    os.close(descriptor)
    try:
        numpy.savez(scratch, **arrays)
        os.replace(scratch, path)
    except BaseException:
        os.unlink(scratch)
        raise
