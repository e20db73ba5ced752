"""The command line."""

import importlib
import signal
import sys
import warnings
from collections.abc import Sequence
from typing import NoReturn

from dlngeo.app.options import parser
from dlngeo.runs.interrupts import ENDINGS, interruptible_by_signals


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code.

    Returns
    -------
    code : int
        0; 1 if the computation failed; 2 if the input does not serve; 130 if interrupted, 143 if
        terminated.
    """
    with interruptible_by_signals() as asked:
        try:
            return _run(arguments)
        except KeyboardInterrupt as stop:
            return _fail(str(stop) or "interrupted.", 128 + asked.number)


def command() -> NoReturn:
    """Run the command line of this process, and end it."""
    code = main()
    for number in ENDINGS:  # what is left to do is the interpreter's
        signal.signal(number, signal.SIG_IGN)
    sys.exit(code)


def _run(arguments: Sequence[str] | None) -> int:
    try:
        options = parser().parse_args(arguments)
        if options.command is None:
            parser().print_help()
            return 0
        with warnings.catch_warnings():
            # Results that are not finite are errors; NumPy's warnings name lines of code.
            warnings.simplefilter("ignore", RuntimeWarning)
            # Only the module of this command, with the libraries that it needs.
            importlib.import_module(f"dlngeo.app.commands.{options.command}").run(options)
    except (ValueError, OSError) as error:
        return _fail(_whole(error), 2)
    except (RuntimeError, ImportError) as error:
        return _fail(_whole(error), 1)
    except MemoryError as error:
        return _fail(f"there is not enough memory: make the problem smaller. ({error})", 1)
    return 0


def _whole(error: Exception) -> str:
    """Return the message of an error with the notes on it."""
    return " ".join([str(error), *getattr(error, "__notes__", ())])


def _fail(message: str, code: int) -> int:
    print(f"dlngeo: {' '.join(message.split())}", file=sys.stderr)
    return code
