"""``dlngeo complete``: fill in a matrix by deep linear networks."""

import argparse
import json
import platform
import sys
from dataclasses import fields
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy
from PIL import Image
from sklearn.datasets import load_sample_image
from threadpoolctl import threadpool_limits

from dlngeo.app.blame import one_line
from dlngeo.app.completion_report import draw_completion_report
from dlngeo.app.files.matrix_files import MatrixFile, Picture
from dlngeo.app.files.matrix_tables import FACTORS, read_matrix
from dlngeo.app.files.table_layouts import Layout
from dlngeo.app.options import DEFAULT_RANK, DEMO_OBSERVED, DEMO_OUTPUT, LARGEST_DEPTH
from dlngeo.app.pictures import save_picture
from dlngeo.app.printed_tables import heading, line
from dlngeo.core.base.arrays import Array
from dlngeo.core.base.checks import fraction
from dlngeo.runs.outputs import hold_folder, written_files
from dlngeo.solvers.completion import Completion, complete
from dlngeo.version import __version__

PICTURE, RECORD = "report.png", "result.json"
RESULTS = (PICTURE, RECORD, FACTORS)
COMPARED_DEPTHS = (1, 2, 3)
HELD_OUT = 0.1
DEMO_FILE, DEMO_SIZE = "china.jpg", (320, 213)
LIBRARIES = ("numpy", "scipy", "scikit-learn", "pymanopt", "pandas", "pillow", "matplotlib")

COLUMNS = {
    "depth": ("depth", "d"),
    "hidden_width": ("width", "d"),
    "held_out_rmse": ("held-out RMSE", ".4g"),
    "hidden_rmse": ("hidden RMSE", ".4g"),
    "hidden_psnr_db": ("PSNR/dB", ".2f"),
    "seconds": ("seconds", ".1f"),
}


def run(options: argparse.Namespace) -> None:
    """Run the command."""
    if not 1 <= options.depth <= LARGEST_DEPTH:
        raise ValueError(f"--depth must be from 1 to {LARGEST_DEPTH}, got {options.depth}.")
    file, name = _input(options)
    solver = options.solver or file.solver
    if options.depth == 1 and solver == "flow" and options.rank is not None:
        raise ValueError(
            "the flow of depth 1 has no hidden layer, and every rank: leave out --rank, or take "
            "--solver conjugate-gradient."
        )
    output = _output(options, name)
    observed, held_out = _split(file, options)
    with hold_folder(output, (name, *RESULTS)):
        written = _complete(file, name, observed, held_out, solver, output, options)
    print(f"\nwritten to {output}: " + ", ".join(written))


def _complete(
    file: MatrixFile,
    name: str,
    observed: Array,
    held_out: Array,
    solver: str,
    output: Path,
    options: argparse.Namespace,
) -> list[str]:
    """Compare the depths, write the results, and return the names of their files."""
    known = file.known
    center = options.rank is None if options.center is None else options.center
    completions: list[Completion] = []
    rows: list[dict[str, Any]] = []
    print(f"{name}: {file.description}")
    unknown = _lines_without_entries(file)
    if unknown:
        print(f"no entries are known of {unknown}: what is written there says nothing")
    mean, spread = float(known.values.mean()), float(known.values.std())
    if center:
        print(f"the mean, {mean:.4g}, is taken off first")
    elif options.center is None and abs(mean) > spread:
        print(f"the mean, {mean:.4g}, is large: --center takes it off first, and adds to the rank")
    print(heading(COLUMNS))
    # One thread: in products with thin factors, threads wait for each other.
    with threadpool_limits(1):
        for depth in sorted({*COMPARED_DEPTHS, options.depth}):
            completion = complete(
                known.chosen(observed & ~held_out),
                known.chosen(held_out),
                file.shape,
                depth=depth,
                rank=min(DEFAULT_RANK, *file.shape) if options.rank is None else options.rank,
                solver=solver,
                center=center,
                progress=sys.stderr.isatty(),
            )
            row = _row(completion, file, ~observed)
            print(line(COLUMNS, row), flush=True)
            completions.append(completion)
            rows.append(row)
    answer = next(c for c in completions if c.depth == options.depth)
    record = _record(name, file, observed, held_out, answer, options) | {"depths": rows}
    with written_files(output) as results:
        written = file.write(answer, observed, results, name)
        (results / RECORD).write_text(json.dumps(record, indent=2) + "\n")
    return [
        *written,
        RECORD,
        *save_picture(
            output,
            PICTURE,
            lambda: draw_completion_report(
                completions,
                [_caption(row) for row in rows],
                file.pictures(observed, completions),
                observed=f"{observed.sum() / numpy.prod(file.shape):.0%} of the entries",
                title=f"Completion of {one_line(name)} by deep linear networks",
            ),
        ),
    ]


def _input(options: argparse.Namespace) -> tuple[MatrixFile, str]:
    """Return the matrix and the name of the file that is to hold it when completed."""
    if not options.demo:
        if options.input is None:
            raise ValueError("there is no input: give a CSV or NPY file or a picture, or --demo.")
        layout = {field.name: getattr(options, field.name) for field in fields(Layout)}
        return read_matrix(options.input, Layout(**layout)), options.input.name
    if options.input is not None:
        raise ValueError(f"--demo has its own picture: leave out {options.input}, or --demo.")
    photograph = Image.fromarray(load_sample_image(DEMO_FILE)).resize(DEMO_SIZE)
    return Picture.of(photograph, "PNG"), "china.png"


def _output(options: argparse.Namespace, name: str) -> Path:
    """Return the folder to write to."""
    output = options.output
    if output is None and options.demo:
        output = Path(DEMO_OUTPUT)
    if output is None:
        raise ValueError("there is no folder to write to: give --output DIR.")
    if name in RESULTS:
        raise ValueError(f"the input has the name of a result, {name}: rename it.")
    if options.input is not None and output.resolve() == options.input.resolve().parent:
        raise ValueError(f"results in {output} would overwrite the input: give another folder.")
    return output


def _split(file: MatrixFile, options: argparse.Namespace) -> tuple[Array, Array]:
    """Return masks over the known entries: of the observed, and of the held-out among them."""
    if file.known.values.size == 0:
        raise ValueError("all entries are missing: there is nothing to learn from.")
    if options.observed is not None:
        part = fraction(options.observed, "--observed")
    elif options.demo:
        part = DEMO_OBSERVED
    elif file.is_full:
        raise ValueError(f"no entries are missing: {file.advice_if_full}.")
    else:
        part = 1.0
    if options.seed < 0:
        raise ValueError(f"--seed must be at least 0, got {options.seed}.")
    random = numpy.random.default_rng(options.seed)
    # Entries of one unit, the channels of a pixel, are hidden together.
    units, unit_of_entry = numpy.unique(file.units, return_inverse=True)

    def draw(places: Array, part: float) -> Array:
        return random.choice(places, max(1, round(part * places.size)), replace=False)

    observed = draw(numpy.arange(units.size), part)
    if observed.size < 2:
        raise ValueError("only one entry is observed: two are needed, to learn and to test.")
    held_out = draw(observed, HELD_OUT)
    masks = numpy.zeros((2, units.size), dtype=bool)
    masks[0, observed] = masks[1, held_out] = True
    return masks[0, unit_of_entry], masks[1, unit_of_entry]


def _lines_without_entries(file: MatrixFile) -> str:
    """Return how many rows and columns there is nothing to predict from, if any."""
    places = zip(file.shape, file.known[:2], ("rows", "columns"), strict=True)
    empty = [(size - len(numpy.unique(known)), what) for size, known, what in places]
    return " and ".join(f"{number} {what}" for number, what in empty if number)


def _row(completion: Completion, file: MatrixFile, hidden: Array) -> dict[str, Any]:
    """Return what is reported of one depth."""
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
        (rows, columns, values), n_copies = file.known.chosen(hidden).averaged()
        errors = file.clip(completion.at(rows, columns)) - values
        # In units of the largest, so that squares do not overflow.
        unit = abs(errors).max() or 1.0
        rmse = float(unit * numpy.sqrt(numpy.average((errors / unit) ** 2, weights=n_copies)))
        row["hidden_rmse"] = rmse
        row["hidden_psnr_db"] = file.signal_to_noise(rmse)
    return row


def _caption(row: dict[str, Any]) -> str:
    which = "held_out" if row["hidden_rmse"] is None else "hidden"
    caption = f"RMSE {row[which + '_rmse']:#.3g} on {which.replace('_', '-')} entries"
    if row["hidden_psnr_db"] is not None:
        caption += f", PSNR {row['hidden_psnr_db']:.1f} dB"
    return caption


def _record(
    name: str,
    file: MatrixFile,
    observed: Array,
    held_out: Array,
    answer: Completion,
    options: argparse.Namespace,
) -> dict[str, Any]:
    """Return what the result was made of."""
    return {
        "input": "demo" if options.demo else str(options.input),
        "completed": name,
        "read": file.description,
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
            "mean": answer.mean,
            "solver": answer.solver,
            "observed": options.observed,
            "seed": options.seed,
            "held_out": HELD_OUT,
        },
        "versions": {
            "dlngeo": __version__,
            "python": platform.python_version(),
            **{library: version(library) for library in LIBRARIES},
        },
    }
