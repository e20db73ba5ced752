"""What the cells of a text table are: a matrix, with labels or without, or triples of entries.

What is not told is recognised from names and contents. Where two readings are left, the table is
refused, and the error names the option that decides.
"""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import numpy
import pandas

from dlngeo.app.files.text_tables import TextTable
from dlngeo.core.base.arrays import Array

IDENTIFIERS = frozenset(
    [
        *("row", "i", "col", "column", "j", "user", "customer", "reader", "critic"),
        *("item", "product", "business", "movie", "film", "book", "song", "track", "artist"),
    ]
)
"""Names of the rows and columns of triples, as are those of identifiers: user_id, movieId, uid."""

VALUES = frozenset(
    [
        *("value", "values", "val", "x", "entry", "overall"),
        *("rating", "ratings", "score", "scores", "stars"),
    ]
)
"""Names of the values of triples, as are those that end in rating, score or stars."""

ENDS_IN_ID = re.compile(r"(^|.*[^a-zA-Z])(id|Id|ID)|.*[a-z](Id|ID)|[ui]id")

INTEGER = re.compile(r"[+-]?\d+", re.ASCII)


@dataclass(frozen=True)
class Layout:
    """What was told of a text table; None stands for what is to be recognised.

    Attributes
    ----------
    delimiter, decimal : str, optional
        As in `TextTable`.
    header : bool, optional
        Whether the first row holds names.
    index : bool, optional
        Whether the first column of a matrix holds labels.
    triples : bool, optional
        Whether every row is an entry, with its row, column and value.
    columns : tuple of str, optional
        Names or numbers (from 1) of these three columns.
    """

    delimiter: str | None = None
    decimal: str | None = None
    header: bool | None = None
    index: bool | None = None
    triples: bool | None = None
    columns: tuple[str, ...] | None = None

    @property
    def told(self) -> tuple[str, ...]:
        """Names of what was told."""
        return tuple(name for name, value in vars(self).items() if value is not None)

    def spell(self, name: str, value: bool) -> str:
        """Return how a question is answered on the command line."""
        return f"--{name}" if value else f"--no-{name}"


@dataclass(frozen=True)
class Recognised:
    """What a table is.

    Attributes
    ----------
    header : bool
    index : bool
        Whether the first column of a matrix holds labels.
    roles : tuple of int, or None
        Columns of the rows, columns and values of triples; None for a matrix.
    """

    header: bool
    index: bool = False
    roles: tuple[int, int, int] | None = None


def recognise(table: TextTable, layout: Layout, path: Path) -> Recognised:
    """Tell what a table is.

    Raises
    ------
    ValueError
        If two readings are left, or what was told does not fit.
    """
    found = _Recogniser(table, layout, path).run()
    if found.header and table.shape[0] < 2:
        raise ValueError(f"{path} has a header but no rows: add rows of numbers.")
    return found


class _Recogniser:
    """The first row and the first column of a table, and what they may be."""

    def __init__(self, table: TextTable, layout: Layout, path: Path):
        self.table, self.layout, self.path = table, layout, path
        self.names = table.row(0)
        self.top, self.is_name = table.numbers(self.names)
        self.body = table.rows(1)

    def run(self) -> Recognised:
        layout = self.layout
        if layout.columns is not None and layout.triples is False:
            raise ValueError("columns of triples were given, and that there are none: give one.")
        if layout.columns is not None:
            return self._triples(*self._columns(layout.columns))
        if layout.triples is not False:
            roles = self._roles()
            if roles is None and layout.triples:
                if len(self.names) < 3:
                    raise ValueError(
                        f"{self.path} has {len(self.names)} columns: triples need three, of row, "
                        "column and value."
                    )
                roles = 0, 1, 2
            if roles is not None:
                return self._triples(self._triples_header(roles), roles)
        header, index = self._matrix()
        if index and len(self.names) == 1:
            raise ValueError(f"{self.path} has labels but no columns: add columns of numbers.")
        return Recognised(header, index)

    def _triples(self, header: bool, roles: tuple[int, int, int]) -> Recognised:
        if self.layout.index:
            raise ValueError(
                f"{self.path} holds triples, which need no {self.layout.spell('index', True)}: "
                "other columns are not used."
            )
        return Recognised(header, roles=roles)

    def _columns(self, columns: tuple[str, ...]) -> tuple[bool, tuple[int, int, int]]:
        """Return whether there is a header, and the columns that names or numbers stand for."""
        if len(columns) != 3 or len(set(columns)) != 3:
            raise ValueError(
                "the columns of triples must be three, of row, column and value, as in "
                f"userId,movieId,rating or 1,2,3; got {','.join(columns)}."
            )
        is_named = self.layout.header is not False and all(name in self.names for name in columns)
        places = (
            [self.names.index(name) for name in columns]
            if is_named
            else [int(name) - 1 if INTEGER.fullmatch(name) else -1 for name in columns]
        )
        for name, place in zip(columns, places, strict=True):
            if not 0 <= place < len(self.names):
                raise ValueError(
                    f"{self.path} has no column {name}: its {len(self.names)} columns begin with "
                    f"{', '.join(self.names)[:80]}."
                )
        roles = places[0], places[1], places[2]
        return is_named or self._triples_header(roles), roles

    def _triples_header(self, roles: tuple[int, int, int]) -> bool:
        """Return whether the first row of triples holds names: it does if its value is one."""
        if self.layout.header is not None:
            return self.layout.header
        name = self.names[roles[2]]
        if self.is_name[roles[2]] and not name[0].isalpha():
            self._ask("header", f"its first row has the value {name[:20]!r}")
        return bool(self.is_name[roles[2]])

    def _roles(self) -> tuple[int, int, int] | None:
        """Return the columns of triples, None if the table is a matrix."""
        n_columns = len(self.names)
        if n_columns < 3:
            return None
        identifiers, values = [], []
        if self.layout.header is not False and self.is_name[1:].all():
            identifiers = [k for k, name in enumerate(self.names) if _is_identifier(name)]
            values = [k for k, name in enumerate(self.names) if _is_value(name)]
        if not values and n_columns == 3 and len(identifiers) == 2:
            values = [k for k in range(3) if k not in identifiers]
        if len(identifiers) >= 2 and values:
            if len(identifiers) > 2 or len(values) > 1:
                raise ValueError(
                    f"{self.path} holds triples of which the columns can be several of "
                    f"{', '.join(self.names)[:80]}: give --columns ROW,COLUMN,VALUE, or "
                    f"{self.layout.spell('triples', False)}."
                )
            return identifiers[0], identifiers[1], values[0]
        if not self.body.shape[0]:
            return None
        is_text = [self.body.column(column)[1] for column in range(3)]
        if is_text[0].all() and is_text[1].all() and not is_text[2].any():
            return 0, 1, 2
        if n_columns <= 4 and values == [2] and self._may_be_positions(whole=False):
            return 0, 1, 2
        if n_columns <= 4 and self._may_be_positions():
            self._ask("triples", "its first two columns may be positions or entries")
        return None

    def _may_be_positions(self, *, whole: bool = True) -> bool:
        """Tell whether the first two columns may be the labels of triples.

        They are whole, some of them occur twice, and most of the pairs once.
        """
        first = int(self.is_name[:3].any())
        rows, columns = (self._labels(column, first=first, whole=whole) for column in (0, 1))
        if rows is None or columns is None:
            return False
        n_pairs = len(set(zip(rows, columns, strict=True)))
        return max(len(set(rows)), len(set(columns))) < len(rows) < 2 * n_pairs

    def _labels(self, column: int, *, first: int = 1, whole: bool = True) -> list[str] | None:
        """Return a column from a row on if it may hold labels: none missing, and no fractions."""
        numbers, is_text = self.table.rows(first).column(column)
        texts = [text.strip() for text in self.table.rows(first).cells[:, column]]
        may_be = is_text | numpy.isfinite(numbers)
        if whole:
            is_whole = [INTEGER.fullmatch(text) is not None for text in texts]
            may_be = is_text | numpy.array(is_whole, dtype=bool)
        return texts if texts and may_be.all() else None

    def _matrix(self) -> tuple[bool, bool]:
        """Return whether a matrix has a header, and labels of its rows."""
        header = self.layout.header
        index = self.layout.index
        if header is None:
            header, has_labels = self._header()
            index = has_labels if index is None else index
        if index is None:
            index = self._index(header)
        return header, index

    def _header(self) -> tuple[bool, bool | None]:
        """Tell whether the first row holds names; and the first column labels, if that follows."""
        corner, rest = self.names[0], self.names[1:]
        if not self.is_name.any() and corner:
            if len(rest) and _counts(self.top, 0):
                self._ask("header", "its first row counts 0, 1, ... and may be names or entries")
            return False, None
        if not rest:
            return bool(self.is_name[0]), None
        if self.is_name[1:].any():
            blank = [place for place, name in enumerate(rest, 2) if not name]
            are_names = self.is_name[1:] | numpy.isnan(self.top[1:])
            if not are_names.all() or blank or not (self.is_name[0] or not corner):
                place = int(numpy.argmax(self.is_name[1:])) + 1
                self._ask(
                    "header",
                    f"its first row holds the text {self.names[place][:20]!r} among numbers or "
                    "empty cells",
                )
            return True, None
        labels = self._labels(0)
        counted = _ascend(self.top[1:])
        if corner:  # a name, before numbers
            _, is_text = self.body.column(0)
            if is_text.size and is_text.all() and not _are_different_integers(self.top[1:]):
                return False, True
            is_ordered = labels is not None and not is_text.any() and _ascend(_floats(labels))
            if corner[0].isalpha() and counted and is_ordered:
                return True, True
            self._ask(
                "header",
                f"its first row holds the text {corner[:20]!r} before numbers, which may be names "
                "or entries",
            )
        if labels is None or not counted:
            return False, None
        _, is_text = self.body.column(0)
        if is_text.all():
            return True, True
        if is_text.any() or not _ascend(_floats(labels)):
            return False, None
        if _counts(self.top[1:], 0) and _counts(_floats(labels), 0):
            return True, True
        self._ask("header", "its first row may be names or entries")

    def _index(self, header: bool) -> bool:
        """Tell whether the first column holds labels."""
        _, is_text = self.table.rows(int(header)).column(0)
        if len(self.names) == 1 or not is_text.size:
            return False
        if is_text.all():
            return True
        if is_text.any():
            place = int(numpy.argmax(is_text))
            cell = self.table.rows(int(header)).cells[place, 0]
            self._ask(
                "index",
                f"its first column holds the text {cell[:20]!r} in row {place + 1} among numbers",
            )
        labels = self._labels(0, first=int(header))
        if labels is None:
            if header and not self.names[0]:
                self._ask("index", "its first column has no name")
            return False
        numbers = _floats(labels)
        counts = _counts(numbers, 0) or _counts(numbers, 1)
        if not header:
            if counts and len(numbers) > 2:
                self._ask("index", "its first column counts its rows, and may be labels or entries")
            return False
        name = self.names[0]
        is_identifier = not name or _word(name) == "index" or _is_identifier(name)
        if is_identifier and _are_different_integers(numbers):
            return True
        if is_identifier or counts or (len(numbers) > 2 and _ascend(numbers)):
            self._ask("index", "its first column may be labels or entries")
        return False

    def _ask(self, name: str, why: str) -> NoReturn:
        yes, no = (self.layout.spell(name, value) for value in (True, False))
        what = {"header": "names", "index": "labels", "triples": "triples of entries"}[name]
        raise ValueError(f"{self.path}: {why}: give {yes} if it holds {what}, else {no}.")


def _word(name: str) -> str:
    """Return a name in small letters, without what stands between words."""
    return re.sub(r"[\W_]", "", name.lower())


def _is_identifier(name: str) -> bool:
    word = _word(name)
    stem = word.removesuffix("id")
    return bool(word in IDENTIFIERS or stem in IDENTIFIERS or ENDS_IN_ID.fullmatch(name))


def _is_value(name: str) -> bool:
    word = _word(name)
    return word in VALUES or word.endswith(("rating", "score", "stars"))


def _floats(labels: list[str]) -> Array:
    return numpy.array([float(label) for label in labels])


def _counts(numbers: Array, first: int) -> bool:
    """Tell whether numbers are 0, 1, 2, ... or 1, 2, 3, ..., two at least."""
    return len(numbers) > 1 and numpy.array_equal(numbers, numpy.arange(len(numbers)) + first)


def _ascend(numbers: Array) -> bool:
    """Tell whether numbers, two at least, are integers in rising order."""
    is_rising = bool((numpy.diff(numbers) > 0).all())
    return len(numbers) > 1 and is_rising and numpy.array_equal(numbers, numpy.rint(numbers))


def _are_different_integers(numbers: Array) -> bool:
    is_whole = bool((numbers == numpy.rint(numbers)).all())
    return is_whole and len(pandas.unique(numbers)) == len(numbers)
