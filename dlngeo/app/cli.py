"""The command line."""

import importlib
import io
import signal
import sys
import warnings
from argparse import Namespace
from collections.abc import Sequence
from typing import NoReturn

from dlngeo.app.blame import about, one_line, verdict
from dlngeo.app.checkpoints import remaining
from dlngeo.app.options import parser
from dlngeo.outcomes import is_interrupt
from dlngeo.runs.interrupts import ENDINGS, interruptible_by_signals, uninterrupted


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
            return _fail(128 + asked.number, str(stop) or "interrupted.")


def command() -> NoReturn:
    """Run the command line of this process, and end it."""
    code = main()
    for number in ENDINGS:  # what is left to do is the interpreter's
        signal.signal(number, signal.SIG_IGN)
    sys.exit(code)


def _run(arguments: Sequence[str] | None) -> int:
    if isinstance(sys.stdout, io.TextIOWrapper):
        # Names of files that are no text are printed all the same.
        sys.stdout.reconfigure(errors="backslashreplace")
    options = Namespace(command=None)
    try:
        # An interrupt can wait for it, and for what there is to say then.
        with uninterrupted():
            options = parser().parse_args(arguments)
        if options.command is None:
            parser().print_help()
            return 0
        source = getattr(options, "input", None) or getattr(options, "problem", None)
        with warnings.catch_warnings(), about(source):
            # Libraries warn of lines of code; what concerns the user is an error.
            warnings.simplefilter("ignore")
            # Only the module of this command, with the libraries that it needs, of which some crash
            # if an interrupt meets them half loaded.
            with uninterrupted():
                module = importlib.import_module(f"dlngeo.app.commands.{options.command}")
            module.run(options)
            sys.stdout.flush()
    except KeyboardInterrupt as stop:
        said = str(stop)
    except Exception as error:
        if not is_interrupt(error):
            return _fail(*verdict(error))
        said = ""
    else:
        return 0
    # Also before the command has begun there may be what it can go on from.
    kept = remaining(options.output) if options.command == "sample" else ""
    raise KeyboardInterrupt(said or (kept and f"interrupted; {kept}"))


def _fail(code: int, message: str) -> int:
    print(f"dlngeo: {one_line(message)}", file=sys.stderr)
    return code
