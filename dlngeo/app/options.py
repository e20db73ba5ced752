"""What can be asked of the command line: the commands and their options.

It stands apart from the commands, which load libraries, so that ``dlngeo --help`` is quick.
"""

import argparse
import re
from pathlib import Path
from typing import Any, NoReturn

import shtab

from dlngeo.app.checkpoints import CHECKPOINTS
from dlngeo.version import __version__

DEFAULT_RANK = 40
DEMO_OBSERVED, DEMO_OUTPUT = 0.3, "demo-output"
SAMPLES, REPORT, TABLE = "samples.nc", "report.png", "table.csv"
"""Files that ``dlngeo sample`` writes."""


LARGEST_DEPTH = 100


class Parser(argparse.ArgumentParser):
    """A parser whose errors are `ValueError`s, for the caller to report."""

    def error(self, message: str) -> NoReturn:
        raise ValueError(f"{message} (see {self.prog} --help)")


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = Parser(prog="dlngeo", description="Riemannian geometry of deep linear networks.")
    parser.add_argument("--version", action="version", version=f"dlngeo {__version__}")
    shtab.add_argument_to(
        parser,
        "--print-completion",
        help="print what makes a shell complete this command, to put where it looks for it, and "
        "exit",
    )
    commands = parser.add_subparsers(dest="command", metavar="COMMAND")
    for add_command in (_add_complete, _add_balance, _add_sample, _add_laws):
        add_command(commands)
    return parser


def _whole(text: str) -> int:
    """Return an integer; Python would take 1_000 too."""
    if not re.fullmatch(r"[+-]?\d{1,18}", text, re.ASCII):
        raise argparse.ArgumentTypeError(f"expected an integer below 1e18, got {text[:40]!r}")
    return int(text)


def _number(text: str) -> float:
    """Return a finite number."""
    if not re.fullmatch(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?", text, re.ASCII | re.I):
        raise argparse.ArgumentTypeError(f"expected a number, got {text[:40]!r}")
    return float(text)


def _names(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(","))


def _path(text: str) -> Path:
    if not text or "\0" in text:
        raise argparse.ArgumentTypeError(f"expected the path of a file, got {text[:40]!r}")
    return Path(text)


def _add_file(command: Any, name: str, **options: Any) -> None:
    command.add_argument(name, type=_path, **options).complete = shtab.FILE


def _add_folder(command: Any, **options: Any) -> None:
    folder = command.add_argument("--output", type=_path, metavar="DIR", **options)
    folder.complete = shtab.DIRECTORY


def _add_complete(commands: Any) -> None:
    complete = commands.add_parser(
        "complete",
        help="fill the missing entries of a matrix by a deep linear network",
        description="Fill the missing entries of a matrix by a deep linear network, whose descent "
        "is stopped early by the error on held-out entries, and compare depths.",
        epilog="DIR gets the completed matrix in the format and under the name of INPUT (for "
        "triples also its factors), result.json and report.png, every one whole or not at all. An "
        "entry that is given k times counts as its average, k times.",
    )
    _add_file(
        complete,
        "input",
        nargs="?",
        metavar="INPUT",
        help="a text table (.csv, .tsv, .txt, .dat; empty cells, NaN, NA and NULL are missing), "
        "with or without header and labels of rows; triples of row, column and value, in the "
        "columns of a text table (empty values are predicted); an NPY array (NaN is missing), or a "
        "picture (transparent pixels are missing)",
    )
    _add_folder(complete, help="folder for the results, made if need be")
    complete.add_argument(
        "--solver",
        choices=("flow", "trust-regions", "conjugate-gradient", "steepest-descent"),
        help="the gradient flow of the network, or a Riemannian optimiser on matrices of rank "
        "--rank with the depth metric: less time, for large matrices (default: flow for matrices, "
        "conjugate-gradient for triples)",
    )
    complete.add_argument(
        "--depth",
        type=_whole,
        default=3,
        help=f"number of layers, at most {LARGEST_DEPTH} (default: 3)",
    )
    complete.add_argument(
        "--rank",
        type=_whole,
        help="width of the hidden layers, the largest rank of the completed matrix; the flow of "
        "depth 1 has no such layers, and ranks without bound "
        f"(default: {DEFAULT_RANK}, or the smaller side of the matrix)",
    )
    complete.add_argument(
        "--center",
        action=argparse.BooleanOptionalAction,
        help="take the mean of the entries off first, which may add one to the rank (default: no)",
    )
    complete.add_argument(
        "--observed",
        type=_number,
        metavar="FRACTION",
        help="keep this fraction of the known entries or pixels and hide the others, to measure "
        "the error on them",
    )
    complete.add_argument(
        "--seed", type=_whole, default=0, help="seed of what is hidden and held out (default: 0)"
    )
    complete.add_argument(
        "--demo",
        action="store_true",
        help="complete a photograph that comes with scikit-learn, from "
        f"{DEMO_OBSERVED:.0%}% of its pixels, into {DEMO_OUTPUT}",
    )
    table = complete.add_argument_group(
        "text tables",
        "What is not told is recognised, and printed. A table that may be read in two ways is "
        "refused, and the error names the option that decides.",
    )
    decides = {"action": argparse.BooleanOptionalAction, "default": None}
    table.add_argument("--header", **decides, help="the first row holds names")
    table.add_argument("--index", **decides, help="the first column of a matrix holds labels")
    table.add_argument(
        "--triples",
        **decides,
        help="every row is an entry: row, column and value in the first three columns; others are "
        "not used",
    )
    table.add_argument(
        "--columns",
        type=_names,
        metavar="ROW,COLUMN,VALUE",
        help="names, or numbers from 1, of the columns of triples, if not the first three",
    )
    table.add_argument("--delimiter", choices=("tab", "semicolon", "comma", "space"))
    table.add_argument("--decimal", choices=("point", "comma"), help="mark of decimals")


def _add_balance(commands: Any) -> None:
    balance = commands.add_parser(
        "balance",
        help="balance the factors of a saved network, which keeps its product",
        description="Replace the factors W_1, ..., W_N of a deep linear network by the balanced "
        "ones of least norm with the same product.",
    )
    _add_file(
        balance,
        "input",
        metavar="FACTORS",
        help="an NPZ file that numpy.savez made, of the matrices W_1, ..., W_N in this order",
    )
    _add_file(
        balance,
        "--output",
        metavar="FILE",
        required=True,
        help="NPZ file for the balanced factors, under the same names",
    )
    balance.add_argument(
        "--rank", type=_whole, help="rank of the product (default: the smallest width)"
    )


def _add_sample(commands: Any) -> None:
    sample = commands.add_parser(
        "sample",
        help="sample deep linear networks at temperatures, by Langevin dynamics",
        description="Run chains of the Riemannian Langevin equation of a deep linear network at "
        "several temperatures and depths, until they are in equilibrium.",
        epilog=f"DIR gets {SAMPLES} (ArviZ's InferenceData), {TABLE} and {REPORT}. If the command "
        "is interrupted, killed or fails, the same command goes on from its checkpoints, in "
        f"DIR/{CHECKPOINTS}; they go when it succeeds.",
    )
    _add_file(
        sample,
        "problem",
        nargs="?",
        metavar="PROBLEM",
        help="a TOML file: network, energy, chains (see --example)",
    )
    _add_folder(sample, help="folder for the results, made if need be")
    sample.add_argument(
        "--workers",
        type=_whole,
        default=1,
        metavar="N",
        help="processes that share the temperatures and depths; the results are the same for any "
        "number (default: 1)",
    )
    sample.add_argument(
        "--example",
        action="store_true",
        help="print a problem file that names all keys, to begin with: dlngeo sample --example > "
        "sampling.toml",
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
