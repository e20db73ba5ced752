"""Locks: one run at a time, and no lock outlives the process that holds it."""

import errno
import fcntl
import os
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from dlngeo.runs.locks import locked

HOLDER = """
import sys, time
from pathlib import Path
from dlngeo.runs.locks import locked
with locked(Path(sys.argv[1]), Path("results")):
    print("held", flush=True)
    time.sleep(60)
"""


def test_another_process_is_named_and_its_death_is_noticed(tmp_path):
    path = tmp_path / "lock"
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(path)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    with process.stdout:
        assert process.stdout.readline() == "held\n"
    owner = re.escape(f"process {process.pid} on {socket.gethostname()} since 2")
    for _ in range(2):
        with (
            pytest.raises(ValueError, match=f"results is in use by {owner}"),
            locked(path, Path("results")),
        ):
            pass
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert path.exists()
    with locked(path, Path("results")) as is_held:
        assert is_held
    assert not path.exists()


def test_the_lock_of_this_process_excludes_it_too(tmp_path):
    path = tmp_path / "lock"
    with locked(path, path):
        with pytest.raises(ValueError, match=f"process {os.getpid()}"), locked(path, path):
            pass
        assert path.exists()
    with locked(path, path):
        pass


FORKING = """
import os, sys, time
from pathlib import Path
from dlngeo.runs.locks import locked
with locked(Path(sys.argv[1]), Path("results")):
    if os.fork() == 0:
        print(os.getpid(), flush=True)
    time.sleep(60)
"""


def test_a_forked_child_does_not_hold_it(tmp_path):
    """As a worker that outlives its parent."""
    path = tmp_path / "lock"
    process = subprocess.Popen(
        [sys.executable, "-c", FORKING, str(path)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    with process.stdout:
        child = int(process.stdout.readline())
    process.kill()
    process.wait()
    try:
        with locked(path, path) as is_held:
            assert is_held
    finally:
        os.kill(child, signal.SIGKILL)


def test_a_file_that_goes_while_it_is_locked_is_not_believed(tmp_path, monkeypatch):
    """Whoever had it removed it between the two calls of the second one."""
    path, flock = tmp_path / "lock", fcntl.flock
    calls: list[int] = []

    def late(*arguments):
        if not calls:
            path.unlink()
        calls.append(1)
        flock(*arguments)

    monkeypatch.setattr(fcntl, "flock", late)
    with locked(path, path):
        assert len(calls) == 2
        assert path.exists()


def test_file_systems_without_locks(tmp_path, monkeypatch):
    def unknown(*_):
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))

    monkeypatch.setattr(fcntl, "flock", unknown)
    with locked(tmp_path / "lock", tmp_path) as is_held:
        assert not is_held
    assert not os.listdir(tmp_path)
