"""Files that commands write: whole or not at all."""

from pathlib import Path


def publish(results: Path, output: Path) -> None:
    """Move a folder of finished files to its place, or the files into the folder there."""
    if not output.exists():
        results.rename(output)
        return
    for file in results.iterdir():
        file.replace(output / file.name)
