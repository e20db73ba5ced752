"""Tables that commands print."""

from collections.abc import Mapping
from typing import Any

Columns = Mapping[str, tuple[str, str]]
"""Of the keys of a row: title, and format of its values."""

_LEAST_WIDTH = 8


def heading(columns: Columns) -> str:
    """Return the titles in one line."""
    return "  ".join(title.rjust(_LEAST_WIDTH) for title, _ in columns.values())


def line(columns: Columns, row: Mapping[str, Any]) -> str:
    """Return a row, with a dash for None."""
    return "  ".join(
        ("-" if row[key] is None else format(row[key], spec)).rjust(max(len(title), _LEAST_WIDTH))
        for key, (title, spec) in columns.items()
    )
