"""Commands in processes of their own: begun, asked to end, killed, and what they leave."""

import contextlib
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

ENVIRONMENT = os.environ | {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}


class Command:
    """``dlngeo`` in a session of its own, with all processes that it begins."""

    def __init__(self, *arguments: Any, before: str = "", **options: Any):
        program = ["-m", "dlngeo"]
        if before:
            program = ["-c", f"{before}\nfrom dlngeo.app.cli import command; command()"]
        self.process = subprocess.Popen(
            [sys.executable, *program, *map(str, arguments)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=ENVIRONMENT,
            start_new_session=True,
            **options,
        )

    def ask(self, number: int, seconds: float) -> None:
        """Send a signal after a while; those of the keyboard go to all processes of a terminal."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(seconds)
        if self.process.poll() is None and number == signal.SIGINT:
            os.killpg(self.process.pid, number)
        elif self.process.poll() is None:
            self.process.send_signal(number)

    def end(self, seconds: float = 100.0) -> tuple[int, str]:
        """Wait for the end; return the exit code and what was printed as an error."""
        _, error = self.process.communicate(timeout=seconds)
        return self.process.returncode, error

    def left(self) -> list[int]:
        """Return the processes that it began and that are there, five seconds later at most."""
        end = time.monotonic() + 5
        while (alive := list(_of_group(self.process.pid))) and time.monotonic() < end:
            time.sleep(0.05)
        return alive


def run(*arguments: Any, **options: Any) -> tuple[int, str]:
    """Run a command to its end; return its exit code and what it printed as an error."""
    command = Command(*arguments, **options)
    ending = command.end()
    assert not command.left()
    return ending


def _of_group(group: int) -> Iterator[int]:
    """Yield the processes of a group that have not ended."""
    listed = subprocess.run(
        ["ps", "-A", "-o", "pid=,pgid=,stat="], capture_output=True, text=True, check=True
    )
    for line in listed.stdout.splitlines():
        process, own, state = line.split()
        if int(own) == group and not state.startswith("Z"):
            yield int(process)


def moments(seed: int, longest: float, number: int) -> Sequence[float]:
    """Return random numbers of seconds."""
    chance = random.Random(seed)
    return [chance.uniform(0, longest) for _ in range(number)]


def hidden(folder: Path) -> list[Path]:
    """Return what is in a folder and is neither a result nor a checkpoint."""
    return [path for path in folder.rglob("*") if path.name.startswith(".dlngeo-")]
