"""What asks a program to end: Ctrl-C, and the signals of job schedulers and closed terminals."""

import contextlib
import signal
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from types import FrameType
from typing import Any

ENDINGS = tuple(
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)
)
"""Signals that ask to end."""


@dataclass
class Asked:
    """Which signal asked to end, the last one."""

    number: int = signal.SIGINT

    def interrupt(self, number: int, frame: FrameType | None) -> None:
        """Raise what Ctrl-C raises, wherever the program is."""
        self.number = number
        raise KeyboardInterrupt


@contextlib.contextmanager
def interruptible_by_signals() -> Iterator[Asked]:
    """Let every signal that asks to end interrupt a block as Ctrl-C does, and tell which it was.

    Those that are ignored, as ``nohup`` has it, stay so.
    """
    asked = Asked()
    with _handled(asked.interrupt):
        yield asked


@contextlib.contextmanager
def uninterrupted() -> Iterator[None]:
    """Let a block end, of seconds at most, before a signal that asks to end is heeded."""
    came: list[int] = []
    with _handled(lambda number, frame: came.append(number)):
        yield
    for number in came[-1:]:
        signal.raise_signal(number)


@contextlib.contextmanager
def _handled(handler: Any) -> Iterator[None]:
    """Give the signals that ask to end a handler; in other threads Python has none."""
    is_main = threading.current_thread() is threading.main_thread()
    before = {number: signal.getsignal(number) for number in ENDINGS} if is_main else {}
    mine = [number for number, old in before.items() if old not in (signal.SIG_IGN, None)]
    try:
        for number in mine:
            signal.signal(number, handler)
        yield
    finally:
        for number in mine:
            signal.signal(number, before[number])
