"""Checkpoints of ``dlngeo sample``, in the folder of its results. Light, for the command line."""

from pathlib import Path

CHECKPOINTS = "checkpoints"
LABEL, STATES = ".dlngeo-problem", "run-*.npz"
"""Their folder, and in it what says of which problem they are, and the states."""


def remaining(output: Path | None) -> str:
    """Return where there are checkpoints for an output, and what they serve for, if there are."""
    folder = None if output is None else output / CHECKPOINTS
    if folder is None or not any(folder.glob(STATES)):
        return ""
    return (
        f"the checkpoints are in {folder}: give the same command to go on, or remove them to start "
        "anew."
    )
