"""Pictures of results, which are whole without them."""

import sys
from collections.abc import Callable
from pathlib import Path

from matplotlib.figure import Figure

from dlngeo.runs.outputs import written_files


def save_picture(folder: Path, name: str, draw: Callable[[], Figure]) -> list[str]:
    """Draw a picture to a folder of results; return its name, or nothing if that failed."""
    try:
        with written_files(folder) as scratch:
            draw().savefig(scratch / name, dpi=150)
    except Exception as error:  # of whatever kind: the results are there
        is_old = (folder / name).exists()
        earlier = "the one there is of an earlier run, and " * is_old
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        print(
            f"dlngeo: {name} could not be drawn ({reason}): {earlier}the other results are whole",
            file=sys.stderr,
        )
        return []
    except KeyboardInterrupt:
        raise KeyboardInterrupt(
            f"interrupted before {name} was drawn: the other results are in {folder}."
        ) from None
    return [name]
