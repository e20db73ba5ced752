"""Whom to blame for an error: the stage in which it came tells, not its kind.

While a file is read, whatever a library raises is the file's fault. Afterwards an error that this
package raises is a message to the user, and any other one a fault of the program.
"""

import contextlib
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import TypeGuard

from dlngeo.runs.outputs import MACHINE

LONGEST_MESSAGE = 800

PACKAGE = str(Path(__file__).parents[1])


@contextlib.contextmanager
def reading(path: Path, remedy: str) -> Iterator[None]:
    """Blame a file for what is raised while it is read.

    Parameters
    ----------
    path : Path
    remedy : str
        What the file is not, and what to do: the message of errors that a library raises.

    Raises
    ------
    ValueError
        Instead of any error but those of the system; its message names the file.
    """
    try:
        yield
    except Exception as error:
        if _is_of_system(error):
            error.filename = error.filename or str(path)
            raise
        if _is_message(error):
            with about(path):
                raise
        raise ValueError(f"{path} {remedy}. ({_said(error)})") from error


@contextlib.contextmanager
def about(path: Path | None) -> Iterator[None]:
    """Name the file, if there is one, that messages to the user are about."""
    try:
        yield
    except ValueError as error:
        if path is None or str(path) in str(error) or not _is_message(error):
            raise
        renamed = ValueError(f"{path}: {error}")
        for note in getattr(error, "__notes__", ()):
            renamed.add_note(note)
        raise renamed from error


def verdict(error: Exception) -> tuple[int, str]:
    """Return the exit code of a command that an error ended, and the message.

    The code is 2 if other input avoids it, and 1 if the machine or the program is to blame.
    """
    code, message = 1, str(error)
    if isinstance(error, MemoryError):
        message = " ".join(["there is not enough memory: make the problem smaller.", message])
    elif _is_of_system(error):
        code, message = 1 if error.errno in MACHINE else 2, _said(error)
    elif _is_message(error):
        code = 2 if isinstance(error, ValueError) else 1
    else:
        origin = _origin(error)
        where = f"{Path(origin.filename).name}, line {origin.lineno}"
        message = f"a fault of the program: {type(error).__name__}, {_said(error)} ({where})."
    return code, " ".join([message, *getattr(error, "__notes__", ())])


def _is_of_system(error: BaseException) -> TypeGuard[OSError]:
    # Libraries raise errors of this class, without a number, of damaged files.
    return isinstance(error, OSError) and error.errno is not None


def _is_message(error: BaseException) -> bool:
    """Tell whether this package raised an error, and not a library that it calls."""
    is_of_kind = isinstance(error, ValueError | RuntimeError | ImportError)
    return is_of_kind and _origin(error).filename.startswith(PACKAGE)


def _origin(error: BaseException) -> traceback.FrameSummary:
    """Return the line that raised an error."""
    return traceback.extract_tb(error.__traceback__)[-1]


def _said(error: BaseException) -> str:
    """Return what an error says, of the system without its number."""
    if _is_of_system(error):
        files = [str(name) for name in (error.filename, error.filename2) if name is not None]
        return ": ".join([*files[:1], error.strerror or "an error of the system"])
    return str(error) or type(error).__name__


def one_line(message: str) -> str:
    """Return a message in one line that can be printed anywhere, of at most 800 characters."""
    text = " ".join(message.split())
    if len(text) > LONGEST_MESSAGE:
        half = LONGEST_MESSAGE // 2
        text = f"{text[:half]} ... {text[-half:]}"
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)
