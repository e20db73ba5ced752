"""Worker processes, which the keyboard stops by way of their parent.

It stands apart from the commands, as every worker loads it.
"""

import contextlib
import multiprocessing
import signal
from concurrent.futures import ProcessPoolExecutor
from typing import Any


def process_pool(n_workers: int) -> Any:
    """Return the context of an executor, or of None for one process."""
    if n_workers == 1:
        return contextlib.nullcontext()
    context = multiprocessing.get_context("spawn")
    return ProcessPoolExecutor(n_workers, mp_context=context, initializer=_heed_the_parent)


def _heed_the_parent() -> None:
    """Leave it to the parent to end this process, which the keyboard of a terminal interrupts too.

    It ends by an exception, not at once, so that locks are given back.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, _leave)


def _leave(*_: Any) -> None:
    raise SystemExit
