"""Checkpoints of long runs: NPZ files without pickle, written whole or not at all."""

import hashlib
import json
import os
import time
import uuid
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy


class Checkpoint:
    """The file of a run, and which run it is of.

    Parameters
    ----------
    path : Path
    settings : sequence
        Numbers, names and arrays that determine the run but for its random numbers.
    seed : dict, optional
        State of the random numbers at the start, if they were given.
    seconds : float
        Time between checkpoints.
    """

    def __init__(self, path: Path, settings: Sequence[Any], seed: Any, seconds: float):
        if not path.parent.is_dir():
            raise ValueError(f"there is no folder {path.parent} for the checkpoint: make it.")
        self.path, self.seconds = path, seconds
        self.run = _digest(settings)
        self.seed = "" if seed is None else _digest([as_text(seed)])
        self._written = time.monotonic()

    def is_due(self) -> bool:
        """Tell whether it is time to write."""
        return time.monotonic() - self._written >= self.seconds

    def read(self) -> dict[str, numpy.ndarray] | None:
        """Return the arrays of the file, None if there is no file.

        Raises
        ------
        ValueError
            If the file is no checkpoint, or of another run.
        """
        if not self.path.exists():
            return None
        try:
            with numpy.load(self.path, allow_pickle=False) as file:
                arrays = dict(file)
            run, seed = str(arrays.pop("run")), str(arrays.pop("seed"))
        except (ValueError, OSError, KeyError, EOFError, zipfile.BadZipFile) as error:
            raise ValueError(
                f"{self.path} is no checkpoint: give another path, or remove it."
            ) from error
        if run != self.run or (self.seed and seed != self.seed):
            raise ValueError(
                f"{self.path} is the checkpoint of a run with other settings, start or seed: call "
                "with those, give another path, or remove it."
            )
        self.seed = seed
        return arrays

    def write(self, arrays: dict[str, Any]) -> None:
        """Replace the file by one with the given arrays."""
        # By a name that is free, and with the mode of other files, which those of tempfile lack.
        scratch = self.path.with_name(f".{self.path.name}-{uuid.uuid4().hex}.npz")
        try:
            with scratch.open("xb") as file:
                numpy.savez(file, run=self.run, seed=self.seed, **arrays)
                file.flush()
                os.fsync(file.fileno())
            os.replace(scratch, self.path)
        except BaseException:
            scratch.unlink(missing_ok=True)
            raise
        self._written = time.monotonic()


def as_text(state: Any) -> str:
    """Return the state of a bit generator, some of which hold arrays, as text."""
    return json.dumps(state, default=lambda array: array.tolist())


def _digest(settings: Sequence[Any]) -> str:
    """Return a digest of numbers, names and arrays, nested in tuples."""
    state = hashlib.sha256()
    for item in settings:
        if isinstance(item, tuple):
            state.update(_digest(item).encode())
        elif isinstance(item, numpy.ndarray):
            state.update(str((item.shape, item.dtype)).encode())
            state.update(numpy.ascontiguousarray(item).tobytes())
        else:
            state.update(repr(item).encode())
        state.update(b";")
    return state.hexdigest()
