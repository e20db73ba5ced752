"""``dlngeo complete``: fill in a matrix by deep linear networks."""

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dlngeo.app.commands.files import check_folder, publish
from dlngeo.app.commands.tables import heading, line
from dlngeo.version import __version__

if TYPE_CHECKING:
    from dlngeo.app.matrix_files import MatrixFile
    from dlngeo.core.base.arrays import Array
    from dlngeo.solvers.completion import Completion

REPORTS = ("report.png", "result.json")
COMPARED_DEPTHS = (1, 2, 3)
DEFAULT_RANK = 40
HELD_OUT = 0.1
DEMO_FILE, DEMO_SIZE, DEMO_OBSERVED, DEMO_OUTPUT = "china.jpg", (320, 213), 0.3, "demo-output"


def add_parser(commands: Any) -> None:
    """Add the command to those of a parser."""
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
    complete.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    """Run the command."""
    import json
    import tempfile

    from threadpoolctl import threadpool_limits

    from dlngeo.app.matrix_files import Triples
    from dlngeo.solvers.completion import Completion, complete

    file, name = _input(options)
    output = _output(options, name)
    observed, held_out = _split(file, options)
    known = file.known
    shorter = min(file.shape)
    rank = min(DEFAULT_RANK, shorter) if options.rank is None else options.rank
    is_triples = isinstance(file, Triples)
    solver = options.solver or ("conjugate-gradient" if is_triples else "flow")
    completions: list[Completion] = []
    rows: list[dict[str, Any]] = []
    print(heading(COLUMNS))
    # One thread: in products with thin factors, threads wait for each other.
    with threadpool_limits(1):
        for depth in sorted({*COMPARED_DEPTHS, options.depth}):
            completion = complete(
                known.chosen(observed & ~held_out),
                known.chosen(held_out),
                file.shape,
                depth=depth,
                rank=rank,
                solver=solver,
                progress=sys.stderr.isatty(),
            )
            row = _row(completion, file, ~observed)
            print(line(COLUMNS, row), flush=True)
            completions.append(completion)
            rows.append(row)
    answer = next(c for c in completions if c.depth == options.depth)
    record = _record(name, file, observed, held_out, answer, options) | {"depths": rows}
    # Beside the output, so that moving it there is one step.
    with tempfile.TemporaryDirectory(prefix=".dlngeo-", dir=output.parent) as scratch:
        results = Path(scratch) / "results"
        results.mkdir()
        written = file.write(answer, observed, results, name)
        _write_report(results / "report.png", name, file, observed, completions, rows)
        (results / "result.json").write_text(json.dumps(record, indent=2) + "\n")
        publish(results, output)
    print(f"\nwritten to {output}: " + ", ".join((*written, *REPORTS)))


def _input(options: argparse.Namespace) -> tuple["MatrixFile", str]:
    """Return the matrix and the name of the file that is to hold it when completed."""
    from dlngeo.app.matrix_files import Picture, read_matrix

    if not options.demo:
        if options.input is None:
            raise ValueError("there is no input: give a CSV or NPY file or a picture, or --demo.")
        return read_matrix(options.input), options.input.name
    if options.input is not None:
        raise ValueError(f"--demo has its own picture: leave out {options.input}, or --demo.")
    from PIL import Image
    from sklearn.datasets import load_sample_image

    photograph = Image.fromarray(load_sample_image("china.jpg")).resize(DEMO_SIZE)
    return Picture.of(photograph, "PNG"), "china.png"


def _output(options: argparse.Namespace, name: str) -> Path:
    """Return the folder to write to, if its files can be written there."""
    from dlngeo.app.matrix_files import FACTORS

    output = options.output
    if output is None and options.demo:
        output = Path(DEMO_OUTPUT)
    if output is None:
        raise ValueError("there is no folder to write to: give --output DIR.")
    check_folder(output, (name, *REPORTS, FACTORS))
    if name in (*REPORTS, FACTORS):
        raise ValueError(f"the input has the name of a result, {name}: rename it.")
    if options.input is not None and output.resolve() == options.input.resolve().parent:
        raise ValueError(f"results in {output} would overwrite the input: give another folder.")
    return output


def _split(file: "MatrixFile", options: argparse.Namespace) -> tuple["Array", "Array"]:
    """Return masks over the known entries: of the observed, and of the held-out among them."""
    import numpy

    from dlngeo.app.matrix_files import WholeMatrix

    known = file.known.values.size
    if known == 0:
        raise ValueError("all entries are missing: there is nothing to learn from.")
    is_full = isinstance(file, WholeMatrix) and known == file.matrix.size
    if options.observed is None and not options.demo and is_full:
        raise ValueError(
            "no entries are missing: give --observed FRACTION to hide some and measure the error."
        )
    fraction = options.observed
    if fraction is None:
        fraction = DEMO_OBSERVED if options.demo else 1.0
    elif not 0 < fraction < 1:
        raise ValueError(f"--observed must be between 0 and 1, got {fraction}.")
    if options.seed < 0:
        raise ValueError(f"--seed must be at least 0, got {options.seed}.")
    random = numpy.random.default_rng(options.seed)
    # Entries of one unit, the channels of a pixel, are hidden together.
    units, unit_of_entry = numpy.unique(file.units, return_inverse=True)

    def drawn(places: Any, part: float) -> Any:
        return random.choice(places, max(1, round(part * places.size)), replace=False)

    observed = drawn(numpy.arange(units.size), fraction)
    if observed.size < 2:
        raise ValueError("only one entry is observed: two are needed, to learn and to test.")
    held_out = drawn(observed, HELD_OUT)
    masks = numpy.zeros((2, units.size), dtype=bool)
    masks[0, observed] = masks[1, held_out] = True
    return masks[0, unit_of_entry], masks[1, unit_of_entry]


def _row(completion: "Completion", file: "MatrixFile", hidden: "Array") -> dict[str, Any]:
    """Return what is reported of one depth."""
    import numpy

    from dlngeo.app.matrix_files import Picture

    has_width = completion.depth > 1 or completion.solver != "flow"
    row: dict[str, Any] = {
        "depth": completion.depth,
        "hidden_width": completion.rank if has_width else None,
        "held_out_rmse": float(completion.held_out_error[completion.stop]),
        "hidden_rmse": None,
        "hidden_psnr_db": None,
        "stopping_time": float(completion.times[completion.stop]),
        "final_time": float(completion.times[-1]),
        "evaluations": completion.n_evaluations,
        "seconds": round(completion.seconds, 2),
    }
    if hidden.any():
        rows, columns, values = file.known.chosen(hidden)
        errors = file.fitted(completion.at(rows, columns)) - values
        row["hidden_rmse"] = rmse = float(numpy.sqrt(numpy.mean(errors**2)))
        if isinstance(file, Picture) and rmse > 0:
            row["hidden_psnr_db"] = float(20 * numpy.log10(255 / rmse))
    return row


COLUMNS = {
    "depth": ("depth", "d"),
    "hidden_width": ("width", "d"),
    "held_out_rmse": ("held-out RMSE", ".4g"),
    "hidden_rmse": ("hidden RMSE", ".4g"),
    "hidden_psnr_db": ("PSNR/dB", ".2f"),
    "seconds": ("seconds", ".1f"),
}


def _write_report(
    path: Path,
    name: str,
    file: "MatrixFile",
    observed: "Array",
    completions: list["Completion"],
    rows: list[dict[str, Any]],
) -> None:
    import numpy

    from dlngeo.app.completion_report import draw_completion_report
    from dlngeo.app.matrix_files import Picture, WholeMatrix

    captions = []
    for row in rows:
        which = "held_out" if row["hidden_rmse"] is None else "hidden"
        caption = f"RMSE {row[which + '_rmse']:#.3g} on {which.replace('_', '-')} entries"
        if row["hidden_psnr_db"] is not None:
            caption += f", PSNR {row['hidden_psnr_db']:.1f} dB"
        captions.append(caption)
    panels: dict[str, Any] = {}
    if isinstance(file, WholeMatrix):
        given = file.with_gaps(observed)
        is_missing = numpy.isnan(given)
        panels = {
            "observed": given,
            "matrices": [
                numpy.where(is_missing, file.fitted(c.matrix), given) for c in completions
            ],
            "truth": None if observed.all() else file.matrix,
            "channels": file.channels if isinstance(file, Picture) else None,
        }
    title = f"Completion of {name} by deep linear networks"
    figure = draw_completion_report(completions, captions, title=title, **panels)
    figure.savefig(path, dpi=150)


def _record(
    name: str,
    file: "MatrixFile",
    observed: "Array",
    held_out: "Array",
    answer: "Completion",
    options: argparse.Namespace,
) -> dict[str, Any]:
    """Return what the result was made of."""
    import platform
    from importlib.metadata import version

    libraries = ("numpy", "scipy", "scikit-learn", "pymanopt", "pandas", "pillow", "matplotlib")
    return {
        "input": "demo" if options.demo else str(options.input),
        "completed": name,
        "shape": list(file.shape),
        "entries": {
            "known": observed.size,
            "observed": int(observed.sum()),
            "held_out": int(held_out.sum()),
            "hidden": int((~observed).sum()),
        },
        "parameters": {
            "depth": options.depth,
            "rank": answer.rank,
            "solver": answer.solver,
            "observed": options.observed,
            "seed": options.seed,
            "held_out": HELD_OUT,
        },
        "versions": {
            "dlngeo": __version__,
            "python": platform.python_version(),
            **{library: version(library) for library in libraries},
        },
    }
