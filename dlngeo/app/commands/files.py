"""Files that commands write: whole or not at all."""

import os
from collections.abc import Sequence
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


def publish(results: Path, output: Path) -> None:
    """Move a folder of finished files to its place, or the files into the folder there."""
    if not output.exists():
        results.rename(output)
        return
    for file in results.iterdir():
        file.replace(output / file.name)
