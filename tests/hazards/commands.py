"""Commands to run, and what is in the folders that they write."""

import json
from pathlib import Path
from typing import Any

import numpy

from tests.hazards.processes import hidden

PROBLEM = """[network]
shape = [2, 2]
depth = [1, 2, 3]
[energy]
name = "squared norm"
[langevin]
beta = [1.0, 4.0]
chains = 8
steps = 3000
step_size = 0.01
thinning = 20
"""

OFTEN = "import dlngeo.app.problems; dlngeo.app.problems.CHECKPOINT_SECONDS = 0.05"
"""That states are there to go on from in runs so short."""


TASK, TABLE = "problem$x$y_{.toml", "matrix$x$y_{.csv"
"""Names that Matplotlib would take for mathematics, in the titles of reports."""


def sample(folder: Path, n_workers: int) -> tuple[list[Any], dict[str, str]]:
    (folder / TASK).write_text(PROBLEM)
    arguments = ["sample", folder / TASK, "--workers", n_workers]
    return arguments, {"before": OFTEN} if n_workers == 1 else {}


def complete(folder: Path, n_workers: int) -> tuple[list[Any], dict[str, str]]:
    matrix = numpy.random.default_rng(0).normal(size=(8, 6)).round(3).astype(str)
    matrix[::3, ::2] = ""
    (folder / TABLE).write_text("\n".join(map(",".join, matrix)) + "\n")
    return ["complete", folder / TABLE], {}


def contents(folder: Path) -> dict[str, object]:
    """Return what is in the files of a folder, but for the time that it took."""
    found: dict[str, object] = {}
    for path in folder.iterdir():
        if path.is_dir() or path in hidden(folder):
            continue
        found[path.name] = path.read_bytes()
        if path.name == "table.csv":
            rows = path.read_text().splitlines()
            found[path.name] = [row.rsplit(",", 1)[0] for row in rows]
        elif path.suffix == ".json":
            record = json.loads(path.read_text())
            found[path.name] = [{**row, "seconds": 0} for row in record.pop("depths")]
    return found
