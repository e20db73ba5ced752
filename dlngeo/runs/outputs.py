"""Outputs: held by one run, and written whole or not at all.

What is written stands under a hidden name in the folder that it is for until it is whole, so that
to put it into its place is one step of one file system. The name tells which output it is of: what
a run that was killed left of it goes when the next one holds the output.
"""

import errno
import hashlib
import os
import re
import shutil
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from dlngeo.runs.interrupts import uninterrupted
from dlngeo.runs.locks import locked

MACHINE = frozenset(
    [
        *(errno.EIO, errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.ENOMEM),
        *(errno.EMFILE, errno.ENFILE, errno.EAGAIN, errno.ESTALE, errno.EPIPE),
    ]
)
"""Errors of the system that are not the user's: no other input or place avoids them."""


class OutputError(RuntimeError):
    """A failure of the machine to write."""


@contextmanager
def hold_folder(folder: Path, names: Sequence[str]) -> Iterator[Path]:
    """Hold a folder, made if need be, to which files of these names can be written.

    It goes again if it was made and stays empty.

    Yields
    ------
    place : Path
        Where it is, at the end of links.

    Raises
    ------
    ValueError
        If nothing can be written there, or another run holds it.
    OutputError
        If the machine fails.
    """
    with ExitStack() as stack:
        with _explained(folder, is_before=True):
            place = _end_of(folder)
            if place.exists() and not place.is_dir():
                raise ValueError(f"the output {folder} is a file: give a folder.")
            _check_parent(place, folder)
            if not place.exists():
                with uninterrupted():
                    place.mkdir()
                    stack.callback(_remove_if_empty, place)
            for name in names:
                _check_file(folder / name)
            stack.enter_context(_held(place, "", folder))
        yield place


@contextmanager
def hold_file(path: Path) -> Iterator[Path]:
    """Hold a file, as `hold_folder` does a folder."""
    with ExitStack() as stack:
        with _explained(path, is_before=True):
            _check_file(path)
            place = _end_of(path)
            stack.enter_context(_held(place.parent, place.name, path))
        yield place


@contextmanager
def written_file(path: Path) -> Iterator[Path]:
    """Give a path to write to, and put the file there into its place when the block ends."""
    place = _end_of(path)
    scratch = _scratch(place.parent, place.name)
    try:
        with _explained(path):
            yield scratch
            _put({scratch: place}, place.parent)
    finally:
        scratch.unlink(missing_ok=True)


@contextmanager
def written_files(folder: Path) -> Iterator[Path]:
    """Give an empty folder to write to, and put the files there into their folder at the end."""
    scratch = _scratch(folder, "")
    try:
        with _explained(folder):
            scratch.mkdir()
            yield scratch
            files = sorted(scratch.iterdir())
            _put({file: _end_of(folder / file.name) for file in files}, _end_of(folder))
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


@contextmanager
def _explained(output: Path, *, is_before: bool = False) -> Iterator[None]:
    """Say what the system's errors mean, before there is something to write or at the end."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        if is_before and error.errno not in MACHINE:
            raise ValueError(
                f"the output {output} cannot be written ({reason}): choose another place."
            ) from error
        raise OutputError(
            f"{output} could not be written ({reason}), and stays as it was: make room there, or "
            "choose another place."
        ) from error


def _end_of(path: Path) -> Path:
    """Return the path at the end of links, which stay."""
    return Path(os.path.realpath(path))


def _check_parent(place: Path, path: Path) -> None:
    if not place.parent.is_dir():
        folder = place.parent if path.is_symlink() else path.parent
        raise ValueError(f"there is no folder {folder} for the output {path}: make it first.")


def _check_file(path: Path) -> None:
    """Refuse what cannot be replaced by a file."""
    place = _end_of(path)
    _check_parent(place, path)
    if place.is_dir():
        raise ValueError(f"the output {path} is a folder: remove it, or give another one.")
    if place.exists() and not place.is_file():
        raise ValueError(f"the output {path} is no regular file: remove it, or give another one.")
    if not os.access(place.parent, os.W_OK):
        raise ValueError(f"the folder {place.parent} cannot be written to: choose another one.")


@contextmanager
def _held(folder: Path, name: str, output: Path) -> Iterator[None]:
    hidden = _hidden(name)
    with locked(folder / f"{hidden}.lock", output) as is_locked:
        if is_locked:
            _sweep(folder, hidden)
        yield


def _sweep(folder: Path, hidden: str) -> None:
    """Remove what runs left that were killed: whoever holds the lock knows that they are gone."""
    for entry in list(os.scandir(folder)):
        if re.fullmatch(re.escape(hidden) + "-[0-9a-f]{32}", entry.name):
            if entry.is_dir(follow_symlinks=False):
                shutil.rmtree(entry.path, ignore_errors=True)
            else:
                Path(entry.path).unlink(missing_ok=True)


def _remove_if_empty(folder: Path) -> None:
    with suppress(OSError):
        folder.rmdir()


def _put(places: Mapping[Path, Path], folder: Path) -> None:
    """Put whole files of the file system of a folder into their places, all in a moment."""
    with ExitStack() as stack:
        moves = {}
        for file, place in places.items():
            whole = file
            # A link in the folder leads out of it, and maybe to another file system.
            if place.parent != folder:
                whole = _scratch(place.parent, place.name)
                stack.callback(whole.unlink, missing_ok=True)
                shutil.copyfile(file, whole)
            _synchronise(whole)
            moves[whole] = place
        with uninterrupted():
            for whole, place in moves.items():
                os.replace(whole, place)
        for parent in {place.parent for place in places.values()}:
            _synchronise(parent)


def _synchronise(path: Path) -> None:
    """Wait until the disk has what was written."""
    file = os.open(path, os.O_RDONLY)
    try:
        os.fsync(file)
    finally:
        os.close(file)


def _hidden(name: str) -> str:
    """Return how the hidden names of an output begin: they are short where its name is long."""
    return f".dlngeo-{hashlib.sha256(os.fsencode(name)).hexdigest()[:12]}"


def _scratch(folder: Path, name: str) -> Path:
    return folder / f"{_hidden(name)}-{uuid.uuid4().hex}"
