"""The command line."""

import importlib
import sys
import warnings
from collections.abc import Sequence

from dlngeo.app.options import parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code.

    Returns
    -------
    code : int
        0; 1 if the computation failed; 2 if the input does not serve; 130 if interrupted.
    """
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
        return _fail(str(error), 2)
    except (RuntimeError, ImportError) as error:
        return _fail(str(error), 1)
    except MemoryError as error:
        return _fail(f"there is not enough memory: make the problem smaller. ({error})", 1)
    except KeyboardInterrupt as stop:
        return _fail(str(stop) or "interrupted: nothing was written.", 130)
    return 0


def _fail(message: str, code: int) -> int:
    print(f"dlngeo: {' '.join(message.split())}", file=sys.stderr)
    return code
