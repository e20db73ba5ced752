"""The command line.

Each command imports what it needs when it runs, so that ``dlngeo --help`` is quick.
"""

import argparse
import sys
from collections.abc import Sequence

from dlngeo.app.commands import balance, complete, laws, sample
from dlngeo.version import __version__


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="dlngeo", description="Riemannian geometry of deep linear networks."
    )
    parser.add_argument("--version", action="version", version=f"dlngeo {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for command in (complete, balance, sample, laws):
        command.add_parser(commands)
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code.

    Returns
    -------
    code : int
        0; 1 if the computation failed; 2 if the input does not serve; 130 if interrupted.
    """
    options = _parser().parse_args(arguments)
    try:
        options.run(options)
    except (ValueError, OSError) as error:
        return _fail(str(error), 2)
    except (RuntimeError, ImportError) as error:
        return _fail(str(error), 1)
    except KeyboardInterrupt as stop:
        return _fail(str(stop) or "interrupted: nothing was written.", 130)
    return 0


def _fail(message: str, code: int) -> int:
    print(f"dlngeo: {' '.join(message.split())}", file=sys.stderr)
    return code
