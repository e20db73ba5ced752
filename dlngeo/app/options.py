"""What can be asked of the command line: the commands and their options.

It stands apart from the commands, which load libraries, so that ``dlngeo --help`` is quick.
"""

import argparse
from pathlib import Path
from typing import Any

from dlngeo.version import __version__

DEFAULT_RANK = 40
DEMO_OBSERVED, DEMO_OUTPUT = 0.3, "demo-output"
SAMPLES, REPORT, TABLE = "samples.nc", "report.png", "table.csv"
"""Files that ``dlngeo sample`` writes."""


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = argparse.ArgumentParser(
        prog="dlngeo", description="Riemannian geometry of deep linear networks."
    )
    parser.add_argument("--version", action="version", version=f"dlngeo {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for add_command in (_add_complete, _add_balance, _add_sample, _add_laws):
        add_command(commands)
    return parser


def _add_complete(commands: Any) -> None:
    complete = commands.add_parser(
        "complete",
        help="fill the missing entries of a matrix by a deep linear network",
        description="Fill the missing entries of a matrix by a deep linear network, whose descent "
        "is stopped early by the error on held-out entries, and compare depths.",
        epilog="DIR gets the completed matrix in the format and under the name of INPUT (for "
        "triples also its factors), report.png and result.json: all of them, or nothing.",
    )
    complete.add_argument(
        "input",
        nargs="?",
        type=Path,
        metavar="INPUT",
        help="a CSV table (empty cells or NaN are missing), a CSV file of triples with the header "
        "row,col,value (empty values are predicted), an NPY array (NaN is missing), or a picture "
        "(transparent pixels are missing)",
    )
    complete.add_argument(
        "--output", type=Path, metavar="DIR", help="folder for the results, made if need be"
    )
    complete.add_argument(
        "--solver",
        choices=("flow", "trust-regions", "conjugate-gradient", "steepest-descent"),
        help="the gradient flow of the network, or a Riemannian optimiser on matrices of rank "
        "--rank with the depth metric: less time, for large matrices (default: flow for matrices, "
        "conjugate-gradient for triples)",
    )
    complete.add_argument("--depth", type=int, default=3, help="number of layers (default: 3)")
    complete.add_argument(
        "--rank",
        type=int,
        help="width of the hidden layers, the largest rank that depths from 2 on can reach "
        f"(default: {DEFAULT_RANK}, or the smaller side of the matrix)",
    )
    complete.add_argument(
        "--observed",
        type=float,
        metavar="FRACTION",
        help="keep this fraction of the known entries or pixels and hide the others, to measure "
        "the error on them",
    )
    complete.add_argument(
        "--seed", type=int, default=0, help="seed of what is hidden and held out (default: 0)"
    )
    complete.add_argument(
        "--demo",
        action="store_true",
        help="complete a photograph that comes with scikit-learn, from "
        f"{DEMO_OBSERVED:.0%}% of its pixels, into {DEMO_OUTPUT}",
    )


def _add_balance(commands: Any) -> None:
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


def _add_sample(commands: Any) -> None:
    sample = commands.add_parser(
        "sample",
        help="sample deep linear networks at temperatures, by Langevin dynamics",
        description="Run chains of the Riemannian Langevin equation of a deep linear network at "
        "several temperatures and depths, until they are in equilibrium.",
        epilog=f"DIR gets {SAMPLES} (ArviZ's InferenceData), {REPORT} and {TABLE}: all of them, or "
        "nothing. If the command is interrupted or killed, the same command goes on from its "
        "checkpoints, in DIR.checkpoints.",
    )
    sample.add_argument(
        "problem",
        type=Path,
        metavar="PROBLEM",
        help="a TOML file: network, energy, chains (see examples/sampling.toml)",
    )
    sample.add_argument(
        "--output",
        type=Path,
        metavar="DIR",
        required=True,
        help="folder for the results, made if need be",
    )
    sample.add_argument(
        "--workers",
        type=int,
        default=1,
        metavar="N",
        help="processes that share the temperatures and depths; the results are the same for any "
        "number (default: 1)",
    )


def _add_laws(commands: Any) -> None:
    laws = commands.add_parser(
        "laws",
        help="count the conservation laws of a network's gradient flow",
        description="Count the independent functions of the parameters that every gradient flow "
        "of a network conserves, exactly, and tell whether the known ones are all.",
    )
    laws.add_argument(
        "--widths",
        metavar="D0,D1,...",
        required=True,
        nargs="+",
        help="widths of the layers from the inputs to the outputs, of one or more networks, as in "
        "2,2,5,2,4",
    )
    laws.add_argument("--relu", action="store_true", help="ReLU networks (default: linear ones)")
    laws.add_argument("--bias", action="store_true", help="every layer has a bias")
