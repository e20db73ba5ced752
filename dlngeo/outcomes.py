"""How a run ended: what every result says of it, how results are printed, and Ctrl-C."""

import contextlib
import textwrap
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from typing import Any

WIDTH = 100


class Printed:
    """Results that are printed in a few lines, of arrays their shapes: a base of dataclasses."""

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        # A dataclass leaves alone what the class has.
        if "__repr__" not in vars(cls):
            cls.__repr__ = Printed.__repr__  # type: ignore[method-assign]

    def __repr__(self) -> str:
        """Return what it is, its arrays, its tables of them, and the rest, line by line."""
        shown: dict[str, list[str]] = {"arrays": [], "tables": [], "numbers": []}
        own = fields(self)  # type: ignore[arg-type] # of dataclasses
        for field in sorted(own, key=lambda field: field.name in ("success", "interrupted")):
            value = getattr(self, field.name)
            if field.name == "status" or not field.repr or value is None:
                continue
            if isinstance(value, Mapping):
                table = ", ".join(f"{name} {_brief(entry)}" for name, entry in value.items())
                shown["tables"].append(f"{field.name}: {table or 'empty'}")
            elif hasattr(value, "shape"):
                shown["arrays"].append(f"{field.name} {_brief(value)}")
            else:
                shown["numbers"].append(f"{field.name}={_brief(value)}")
        head = type(self).__name__
        status = textwrap.shorten(getattr(self, "status", ""), 3 * WIDTH, placeholder=" ...")
        lines = [f"{head}: {status}" if status else head]
        for name, entries in shown.items():
            if entries:
                text = ("; " if name == "tables" else ", ").join(entries)
                lines.append("  " + textwrap.shorten(text, WIDTH - 2, placeholder=" ..."))
        return "\n".join(lines)


def _brief(value: Any) -> str:
    """Return a text of an array by its shape, of a sequence of objects by their number."""
    if hasattr(value, "shape"):
        return str(list(value.shape)) if value.shape else f"{float(value):.6g}"
    if isinstance(value, tuple | list) and not hasattr(value, "_fields"):
        if value and all(hasattr(entry, "shape") for entry in value):
            return " ".join(map(_brief, value))
        if value and not all(isinstance(entry, int | float | str) for entry in value):
            return f"{len(value)} {type(value[0]).__name__}"
        return str(tuple(value))
    if isinstance(value, float):
        return f"{value:.6g}"
    if hasattr(value, "_fields") and all(hasattr(entry, "shape") for entry in value):
        return f"{type(value).__name__} of {_brief(value[0])}"
    is_plain = isinstance(value, bool | int | str | Printed)
    return repr(value).partition("\n")[0] if is_plain else type(value).__name__


@dataclass(frozen=True, eq=False, kw_only=True)
class Ending(Printed):
    """What is known of a run at its end; its ``status`` may be found when it is asked for.

    Attributes
    ----------
    success : bool
        Whether the run did what it was asked for.
    interrupted : bool
        Whether the keyboard stopped it.
    """

    success: bool
    interrupted: bool


@dataclass(frozen=True, eq=False, kw_only=True)
class Outcome(Ending):
    """What the result of a run says of how it ended.

    Attributes
    ----------
    status : str
        How it ended, and what to do if it did not succeed.
    """

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
    except (KeyboardInterrupt, SystemError) as error:
        if not is_interrupt(error):
            raise
        interruption.happened = True


def is_interrupt(error: BaseException) -> bool:
    """Tell whether an error is Ctrl-C, or what Python makes of it if it met compiled code."""
    cause: BaseException | None = error
    while isinstance(cause, SystemError):  # one of every call that it passed
        cause = cause.__cause__
    return isinstance(cause, KeyboardInterrupt)
