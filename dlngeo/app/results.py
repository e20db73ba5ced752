"""Results that commands write: whole or not at all."""

import contextlib
import os
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path


def check_folder(output: Path, names: Sequence[str]) -> None:
    """Refuse a folder to which files of these names cannot be written."""
    if output.exists() and not output.is_dir():
        raise ValueError(f"the output {output} is a file: give a folder.")
    _check_parent(output)
    for name in names:
        _refuse_folder(output / name)


def check_file(output: Path) -> None:
    """Refuse a file that cannot be written."""
    _check_parent(output)
    _refuse_folder(output)


def _check_parent(output: Path) -> None:
    if not output.parent.is_dir():
        raise ValueError(f"there is no folder {output.parent} for the output: make it first.")
    if not os.access(output.parent, os.W_OK):
        raise ValueError(f"the folder {output.parent} cannot be written to: choose another one.")


def _refuse_folder(output: Path) -> None:
    if output.is_dir():
        raise ValueError(f"the output {output} is a folder: remove it, or give another one.")


@contextlib.contextmanager
def results_folder(output: Path) -> Iterator[Path]:
    """Give an empty folder to write to, and move it, or the files in it, to the output."""
    # Beside the output, so that moving it there is one step.
    with tempfile.TemporaryDirectory(prefix=".dlngeo-", dir=output.parent) as scratch:
        results = Path(scratch) / "results"
        results.mkdir()
        yield results
        if not output.exists():
            results.rename(output)
            return
        for file in results.iterdir():
            file.replace(output / file.name)


@contextlib.contextmanager
def result_file(output: Path) -> Iterator[Path]:
    """Give a path to write to, and move the file there to the output."""
    with tempfile.TemporaryDirectory(prefix=".dlngeo-", dir=output.parent) as scratch:
        whole = Path(scratch) / output.name
        yield whole
        whole.replace(output)
