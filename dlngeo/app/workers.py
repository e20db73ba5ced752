"""Worker processes, which the keyboard stops by way of their parent.

It stands apart from the commands, as every worker loads it.
"""

import contextlib
import multiprocessing
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import Executor, ProcessPoolExecutor

from tqdm import tqdm


@contextlib.contextmanager
def process_pool(n_workers: int) -> Iterator[Executor | None]:
    """Give an executor, or None for one process; what it still does at the end is given up.

    Workers are killed wherever they are, so what they write must be whole at any moment. To ask
    them to end is not enough: inside a task the executor takes that for the task's own error.
    """
    if n_workers == 1:
        yield None
        return
    context = multiprocessing.get_context("spawn")
    executor = ProcessPoolExecutor(n_workers, mp_context=context, initializer=_heed_the_parent)
    try:
        yield executor
    finally:
        for process in multiprocessing.active_children():
            process.kill()
        executor.shutdown()


def _heed_the_parent() -> None:
    """Leave it to the parent to end this process, which the keyboard interrupts too."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # Progress bars would make one for all processes, of which nobody tells the system's tracker
    # that it is given back.
    tqdm.set_lock(threading.RLock())
