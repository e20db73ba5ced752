"""Worker processes, which the keyboard stops by way of their parent.

It stands apart from the commands, as every worker loads it.
"""

import contextlib
import multiprocessing
import signal
import sys
from collections.abc import Callable
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
    # A callback of a C library, as of Numba's compiler, prints the exception and goes on: what it
    # would print is not for the user, and it is asked once more when it is over.
    sys.unraisablehook = lambda _: _call_later(_leave)
    raise SystemExit


def _call_later(handler: Callable) -> None:
    if hasattr(signal, "setitimer"):  # where there are signals
        signal.signal(signal.SIGALRM, handler)
        signal.setitimer(signal.ITIMER_REAL, 0.05)
