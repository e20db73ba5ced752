"""Commands under bounds of time and memory, each in a process of its own.

A server loads the libraries once and forks for every command, so that a command costs a fork, and
its memory is what it takes beyond start-up.
"""

import importlib
import json
import os
import resource
import select
import signal
import subprocess
import sys
import time
import traceback
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dlngeo.app.cli import main
from dlngeo.sampling.diagnostics import load_arviz

ROOT = Path(__file__).parents[2]
MEMORY, SECONDS, WAIT = 2**30, 10, 60.0
"""Bounds beyond start-up: bytes of addresses, seconds of computing, and seconds of anything."""


@dataclass(frozen=True)
class Ended:
    """How a command ended: its exit code, negative for a signal, and what it printed."""

    code: int
    out: str
    err: str


class Server:
    """A process that runs commands, one after the other."""

    def __enter__(self) -> "Server":
        one_thread = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.hazards.bounded_commands"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=ROOT,
            env=os.environ | one_thread,
        )
        return self

    def __exit__(self, *error: object) -> None:
        assert self._process.stdin
        self._process.stdin.close()
        self._process.wait(WAIT)

    def run(self, arguments: list[str], folder: Path) -> Ended:
        """Run a command line in a folder."""
        process: Any = self._process
        request = [[os.fsencode(part).hex() for part in arguments], str(folder)]
        process.stdin.write(json.dumps(request).encode() + b"\n")
        process.stdin.flush()
        return Ended(**json.loads(process.stdout.readline()))


def _serve() -> None:
    for command in ("balance", "complete", "laws", "sample"):
        importlib.import_module(f"dlngeo.app.commands.{command}")
    load_arviz()
    answers = os.fdopen(os.dup(1), "w")
    for request in sys.stdin.buffer:
        arguments, folder = json.loads(request)
        line = [os.fsdecode(bytes.fromhex(part)) for part in arguments]
        print(json.dumps(_fork(line, folder)), file=answers, flush=True)


def _fork(arguments: list[str], folder: str) -> dict[str, Any]:
    start = time.perf_counter()
    (out, out_end), (err, err_end) = os.pipe(), os.pipe()
    child = os.fork()
    if not child:
        os.dup2(out_end, 1)
        os.dup2(err_end, 2)
        os.chdir(folder)
        size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (size + MEMORY, size + MEMORY))
        spent = int(time.process_time())
        resource.setrlimit(resource.RLIMIT_CPU, (spent + SECONDS, spent + SECONDS))
        code = 99
        try:
            code = main(arguments)
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)
    os.close(out_end)
    os.close(err_end)
    printed = {out: b"", err: b""}
    waiting = {out, err}
    while waiting:
        left = max(start + WAIT - time.perf_counter(), 0)
        ready, _, _ = select.select(list(waiting), [], [], left)
        if not ready:
            os.kill(child, signal.SIGKILL)
        for end in ready:
            part = os.read(end, 2**16)
            printed[end] += part
            if not part:
                waiting.discard(end)
    os.close(out)
    os.close(err)
    _, status = os.waitpid(child, 0)
    return {
        "code": os.waitstatus_to_exitcode(status),
        "out": printed[out].decode(errors="backslashreplace"),
        "err": printed[err].decode(errors="backslashreplace"),
    }


if __name__ == "__main__":
    _serve()
