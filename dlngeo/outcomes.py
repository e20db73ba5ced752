"""How a run ended: what every result says of it, and Ctrl-C."""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True, eq=False, kw_only=True)
class Outcome:
    """What the result of a run says of how it ended.

    Attributes
    ----------
    success : bool
        Whether the run did what it was asked for.
    interrupted : bool
        Whether the keyboard stopped it.
    status : str
        How it ended, and what to do if it did not succeed.
    """

    success: bool
    interrupted: bool
    status: str


@dataclass
class Interruption:
    """Whether the keyboard stopped what ran under `interruptible`."""

    happened: bool = False


@contextlib.contextmanager
def interruptible() -> Iterator[Interruption]:
    """Let Ctrl-C end a block instead of the program, and tell so afterwards.

    What the block has done up to then stays, and goes into the result.
    """
    interruption = Interruption()
    try:
        yield interruption
    except KeyboardInterrupt:
        interruption.happened = True
