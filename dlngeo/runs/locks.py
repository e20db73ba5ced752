"""Locks on outputs: one run at a time holds a place, and whoever comes second is told who does."""

import errno
import fcntl
import os
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from dlngeo.runs.interrupts import uninterrupted

BUSY = (errno.EWOULDBLOCK, errno.EAGAIN, errno.EACCES)
LOCKLESS = (errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOLCK)
"""Errors where another run has the lock, and of file systems that know none."""

_open_files: set[int] = set()


def _close_files() -> None:
    for file in tuple(_open_files):
        _close(file)


def _close(file: int) -> None:
    _open_files.discard(file)
    os.close(file)


# Locks are the parent's alone: workers that outlive it would hold on to them.
os.register_at_fork(after_in_child=_close_files)


@contextmanager
def locked(path: Path, output: Path) -> Iterator[bool]:
    """Hold the lock of an output, a file beside it; tell whether the file system has locks.

    The system lets go of it when the process ends, in whatever way, so that none is ever stale: the
    file of a process that was killed is taken over.

    Raises
    ------
    ValueError
        If another run has it, with the name of that run.
    """
    with ExitStack() as stack:
        with uninterrupted():
            file, is_held = _acquire(path, output)
            stack.callback(_release, file, path)
        yield is_held


def _release(file: int, path: Path) -> None:
    with uninterrupted():
        path.unlink(missing_ok=True)
        _close(file)


def _acquire(path: Path, output: Path) -> tuple[int, bool]:
    while True:
        file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o666)
        _open_files.add(file)
        is_held = False
        try:
            is_held = _lock(file, output)
            # Whoever had it removes the file before it lets go.
            if not is_held or _is_at(file, path):
                _sign(file)
                return file, is_held
            _close(file)
        except BaseException:
            if is_held:
                path.unlink(missing_ok=True)
            _close(file)
            raise


def _lock(file: int, output: Path) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in LOCKLESS:
            return False
        if error.errno not in BUSY:
            raise
        owner = os.pread(file, 1000, 0).decode(errors="replace") or "another run"
        raise ValueError(
            f"{output} is in use by {owner}: wait for it to end, or give another path."
        ) from None
    return True


def _is_at(file: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(file), os.stat(path))
    except FileNotFoundError:
        return False


def _sign(file: int) -> None:
    """Write who holds the lock."""
    began = time.strftime("%Y-%m-%d %H:%M:%S")
    os.ftruncate(file, 0)
    os.pwrite(file, f"process {os.getpid()} on {socket.gethostname()} since {began}".encode(), 0)
