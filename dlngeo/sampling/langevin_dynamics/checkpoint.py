"""Checkpoints of long runs: NPZ files without pickle, written whole or not at all."""

import hashlib
import json
import time
import zipfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy

from dlngeo.core.base.arrays import Array
from dlngeo.runs.outputs import OutputError, written_file
from dlngeo.sampling.langevin_dynamics.fingerprints import is_other_code
from dlngeo.version import __version__

TOLERANCE = 1e-6
"""Relative, of probes: machines differ in round-off."""


class Checkpoint:
    """The file of a run, and which run it is of.

    Parameters
    ----------
    path : Path
    settings : sequence
        Numbers, names and arrays that determine the run but for its functions and random numbers.
    seed : dict, optional
        State of the random numbers at the start, if they were given.
    seconds : float
        Time between checkpoints.
    code : str
        A digest of the functions' code.
    probe : callable
        Returns values of the functions at the start and around it.
    """

    def __init__(
        self,
        path: Path,
        settings: Sequence[Any],
        seed: Any,
        seconds: float,
        code: str,
        probe: Callable[[], Array],
    ):
        self.path, self.seconds, self._probe = path, seconds, probe
        self._trouble, self._is_of_other_code = "", False
        self._run = {
            "dlngeo": __version__,
            "run": _digest(settings),
            "seed": "" if seed is None else _digest([as_text(seed)]),
            "code": code,
            "probe": probe(),
        }
        self._written = time.monotonic()

    def is_due(self) -> bool:
        """Tell whether it is time to write."""
        return time.monotonic() - self._written >= self.seconds

    def restore(self, load: Callable[[dict[str, Array]], None]) -> None:
        """Let a run go on from the file, if there is one, by what takes its arrays.

        Raises
        ------
        ValueError
            If the file is no checkpoint, or of another run.
        """
        if not self.path.exists():
            return
        try:
            arrays = _load(self.path)
            run = {name: arrays.pop(name) for name in self._run}
        except Exception as error:
            raise self._no_checkpoint() from error
        version, own = str(run["dlngeo"]), self._run
        if version != __version__:
            raise self._of(f"dlngeo {version[:20]}, and this is {__version__}: go on with that")
        if run["run"] != own["run"] or (own["seed"] and run["seed"] != own["seed"]):
            raise self._of("a run with other settings, start or seed: call with those")
        # Functions that draw random numbers of their own differ from themselves.
        if not _is_near(run["probe"], own["probe"]) and _is_near(self._probe(), own["probe"]):
            raise self._of(
                "a run with another energy or gradient, which differs at the start or at multiples "
                "of it: call with that"
            )
        try:
            load(arrays)
        except Exception as error:
            raise self._no_checkpoint() from error
        self._is_of_other_code = is_other_code(str(run["code"]), own["code"])
        self._run["seed"] = str(run["seed"])

    def save(self, arrays: Mapping[str, Any]) -> None:
        """Replace the file by one with the given arrays, or note why that failed."""
        self._written = time.monotonic()
        try:
            with written_file(self.path) as scratch, scratch.open("xb") as file:
                whole = {**self._run, **arrays}
                numpy.savez(file, content=_content(whole), **whole)
            self._trouble = ""
        except OutputError as error:
            self._trouble = str(error)

    @property
    def remarks(self) -> str:
        """What to say of it at the end: whether the last write failed, and why."""
        remarks = ""
        if self._is_of_other_code:
            remarks += (
                " It went on from a checkpoint whose energy, gradient or record is written "
                "otherwise, with the same values at the start and at multiples of it."
            )
        if self._trouble:
            remarks += f" The last checkpoint is missing: {self._trouble}"
        return remarks

    def _no_checkpoint(self) -> ValueError:
        return ValueError(f"{self.path} is no checkpoint: give another path, or remove it.")

    def _of(self, other: str) -> ValueError:
        return ValueError(
            f"{self.path} is the checkpoint of {other}, give another path, or remove it."
        )


def as_text(state: Any) -> str:
    """Return the state of a bit generator, some of which hold arrays, as text."""
    return json.dumps(state, default=lambda array: array.tolist())


def _load(path: Path) -> dict[str, Array]:
    with zipfile.ZipFile(path) as archive:
        if any(member.compress_type != zipfile.ZIP_STORED for member in archive.infolist()):
            raise ValueError("members are compressed, and may be of any size")
    with numpy.load(path, allow_pickle=False) as file:
        arrays = dict(file)
    if str(arrays.pop("content")) != _content(arrays):
        raise ValueError("the content is not what was written")
    return arrays


def _content(arrays: Mapping[str, Any]) -> str:
    return _digest([(name, numpy.asarray(arrays[name])) for name in sorted(arrays)])


def _is_near(probe: Array, own: Array) -> bool:
    """Tell whether values are the same to round-off, NaN included."""
    if probe.shape != own.shape:
        return False
    return numpy.allclose(probe, own, rtol=TOLERANCE, atol=0.0, equal_nan=True)


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
