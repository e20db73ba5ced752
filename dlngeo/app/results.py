"""Folders of results that commands write: whole or not at all."""

import contextlib
import os
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path


def check_folder(output: Path, names: Sequence[str]) -> None:
    """Refuse a folder to which files of these names cannot be written."""
    if output.exists() and not output.is_dir():
        raise ValueError(f"the output {output} is a file: give a folder.")
    if not output.parent.is_dir():
        raise ValueError(f"there is no folder {output.parent} for the output: make it first.")
    if not os.access(output.parent, os.W_OK):
        raise ValueError(f"the folder {output.parent} cannot be written to: choose another one.")
    for taken in (output / name for name in names):
        if taken.is_dir():
            raise ValueError(f"the output {taken} is a folder: remove it, or give another one.")


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
