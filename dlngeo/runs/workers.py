"""Worker processes, which end with the block that uses them and with their parent.

It stands apart from the commands, as every worker loads it.
"""

import contextlib
import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import Executor, ProcessPoolExecutor
from multiprocessing.connection import wait
from multiprocessing.context import SpawnContext, SpawnProcess

from tqdm import tqdm

from dlngeo.runs.interrupts import uninterrupted


@contextlib.contextmanager
def process_pool(n_workers: int) -> Iterator[Executor | None]:
    """Give an executor, or None for one process; what it still does at the end is given up.

    Workers are killed wherever they are, so what they write must be whole at any moment. To ask
    them to end is not enough: inside a task the executor takes that for the task's own error.
    """
    if n_workers == 1:
        yield None
        return
    executor = ProcessPoolExecutor(n_workers, mp_context=_Context(), initializer=_heed_the_parent)
    try:
        yield executor
    finally:
        with uninterrupted():
            # First, as Python 3.11 fails to tell cancelled tasks of the death of workers.
            executor.shutdown(wait=False, cancel_futures=True)
            children = multiprocessing.active_children()
            for process in children:
                process.kill()
            for process in children:
                process.join()


class _Worker(SpawnProcess):
    """A process that begins whole: half begun, nobody would know of it, and it of no work."""

    def start(self) -> None:
        """Begin, with signals to the parent heeded afterwards."""
        with uninterrupted(), _deaf_children():
            super().start()


class _Context(SpawnContext):
    Process = _Worker  # type: ignore[assignment] # typed as the class itself


@contextlib.contextmanager
def _deaf_children() -> Iterator[None]:
    """Let processes that begin leave Ctrl-C to their parent, from their first moment on."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _heed_the_parent() -> None:
    """End with the parent, however that ends."""
    threading.Thread(target=_outlive_nobody, daemon=True).start()
    # Progress bars would make one for all processes, of which nobody tells the system's tracker
    # that it is given back.
    tqdm.set_lock(threading.RLock())


def _outlive_nobody() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    wait([parent.sentinel])
    os._exit(1)
