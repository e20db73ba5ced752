"""``python -m dlngeo``: the command line."""

from dlngeo.app.cli import command

command()
