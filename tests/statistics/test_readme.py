"""What the README shows runs: its Python with whatever is drawn, its commands as they stand."""

import os
import re
import subprocess
import sys

import numpy
import pytest
from PIL import Image

from tests.documents import ROOT, code_blocks

README = ROOT / "README.md"


@pytest.mark.parametrize("seed", range(20))
def test_python_runs_whatever_is_drawn(seed):
    """In order, as in a notebook: later blocks use the names of those before."""
    numpy.random.seed(seed)  # noqa: NPY002, geomstats and pymanopt draw from it
    names: dict = {}
    blocks = code_blocks(README, "python")
    assert len(blocks) == 8
    for block in blocks:
        code, n_seeds = re.subn(r"(default_rng\(|rng=)0\b", rf"\g<1>{seed}", block)
        assert n_seeds == len(re.findall(r"rng\(|rng=\d", block))
        exec(compile(code, str(README), "exec"), names)


def commands():
    """Return the lines of shell that call dlngeo, those within the text too, in order."""
    text = README.read_text()
    found = re.findall(
        r"^\.venv/bin/dlngeo .*|(?<=`)dlngeo (?:--)?\w[^`]* [^`]+", text, re.MULTILINE
    )
    return [" ".join(line.split()).removeprefix(".venv/bin/") for line in found]


def test_commands_run(tmp_path):
    """On files of the names that they have; the problem to sample from in few steps."""
    rng = numpy.random.default_rng(0)
    rows, columns = numpy.nonzero(rng.random((8, 6)) < 0.7)
    lines = [
        f"{row},{column},{1 + (row * column) % 5},0"
        for row, column in zip(rows, columns, strict=True)
    ]
    (tmp_path / "ratings.csv").write_text("\n".join(["userId,movieId,rating,timestamp", *lines]))
    table = numpy.where(rng.random((12, 11)) < 0.8, rng.normal(size=(12, 11)), numpy.nan)
    numpy.savetxt(tmp_path / "table.csv", table, delimiter=",")
    Image.fromarray(rng.integers(0, 255, (12, 10), numpy.uint8)).save(tmp_path / "photo.png")
    numpy.savez(tmp_path / "network.npz", *rng.normal(size=(3, 4, 4)))
    shell = f'dlngeo() {{ "{sys.executable}" -m dlngeo "$@"; }}\n'
    lines = commands()
    assert len(lines) == 8
    for line in lines:
        done = subprocess.run(
            ["sh", "-c", shell + line],
            cwd=tmp_path,
            env=os.environ | {"PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, f"{line}\n{done.stderr}"
        if line.endswith("> sampling.toml"):
            problem = (tmp_path / "sampling.toml").read_text()
            problem = re.sub(r"steps = 24000", "steps = 240", problem)
            problem = re.sub(r"burn_in = 2000", "burn_in = 40", problem)
            (tmp_path / "sampling.toml").write_text(problem)
    written = {"completed", "balanced.npz", "sampling.toml", "sampled"}
    assert written <= {path.name for path in tmp_path.iterdir()}


def test_targets_of_make_exist():
    for path in (README, ROOT / "CONTRIBUTING.md"):
        lines = "\n".join(code_blocks(path, "sh"))
        targets = re.findall(r"^make (\w+)", lines, re.MULTILINE)
        assert targets
        subprocess.run(["make", "--dry-run", *targets], cwd=ROOT, check=True, capture_output=True)
