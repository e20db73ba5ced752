"""Text files as tables of cells, whose text is kept: delimiters, decimal marks, missing entries."""

import csv
import itertools
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy
import pandas

from dlngeo.app.blame import reading
from dlngeo.core.base.arrays import Array
from dlngeo.core.base.memory import BYTES_PER_NUMBER, check_memory

DELIMITERS = {"tab": "\t", "semicolon": ";", "comma": ",", "space": " "}
"""By their names; any white space is one of the last kind."""

DECIMALS = {"point": ".", "comma": ","}

MISSING = frozenset(
    [
        *("", "na", "n/a", "#na", "#n/a", "#n/a n/a", "<na>", "nan", "-nan", "null", "none"),
        *("1.#ind", "-1.#ind", "1.#qnan", "-1.#qnan"),
    ]
)
"""Words for a missing entry, in any case: those of pandas."""

NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?|[+-]?inf(inity)?", re.ASCII | re.I)
WITH_COMMA = re.compile(r"[+-]?\d*,\d+(e[+-]?\d+)?", re.ASCII | re.I)
WITH_THOUSANDS = re.compile(r"[+-]?\d{1,3}(,\d{3})+", re.ASCII)

csv.field_size_limit(2**31 - 1)  # for long lines

SAMPLE, SAMPLE_LENGTH, LONG_LINE = 1000, 100_000, 300_000
"""Lines, and their characters, from which delimiter and decimal mark are guessed, two lines at
least, of which so many characters; all others are checked to follow."""

BLOCK, MOST_TEXTS = 2**24, 2**16
"""Bytes that are looked at in one piece, and different cells that are remembered."""


@dataclass(frozen=True, eq=False)
class TextTable:
    """A table of cells from a text file.

    Attributes
    ----------
    cells : array of str, shape=[m, n]
    delimiter, decimal : str
        Names in `DELIMITERS` and `DECIMALS`.
    comments : tuple of str
        Lines that begin with a hash and a space, before the first row.
    """

    cells: Array
    delimiter: str
    decimal: str
    comments: tuple[str, ...] = ()

    @classmethod
    def read(
        cls, path: Path, delimiter: str | None = None, decimal: str | None = None
    ) -> "TextTable":
        """Read a file in UTF-8; what is not given is guessed.

        Raises
        ------
        ValueError
            If it is no text, is empty, or has rows of different lengths, or if its commas may
            stand for decimals and for thousands.
        """
        with reading(path, "is no table of text in UTF-8: convert it"):
            _check_size(path)
            sample = _sample(path)
            comments = tuple(itertools.takewhile(_is_comment, sample))
            lines = [line for line in sample[len(comments) :] if line.strip()]
            if not lines:
                raise ValueError(f"{path} is empty: it needs one row of numbers in each line.")
            delimiter = delimiter or _guess_delimiter(lines)
            decimal = decimal or _guess_decimal(lines, delimiter, path)
            cells = _cells(path, len(comments), delimiter)
        return cls(cells, delimiter, decimal, comments)

    @property
    def shape(self) -> tuple[int, int]:
        return self.cells.shape

    @property
    def style(self) -> str:
        """What its rows look like, in words."""
        return f"{self.delimiter}-separated" + ", decimal commas" * (self.decimal == "comma")

    def rows(self, first: int) -> "TextTable":
        """Return the table from a row on."""
        return TextTable(self.cells[first:], self.delimiter, self.decimal)

    def row(self, place: int) -> list[str]:
        """Return the cells of a row, without white space around them."""
        return [cell.strip() for cell in self.cells[place]]

    def labels(self, column: int) -> tuple[Array, list[str]]:
        """Return the number of the label in each row of a column, and the labels.

        They are texts, in the order in which they first appear.
        """
        codes, texts = pandas.factorize(self.cells[:, column])
        stripped, labels = pandas.factorize(numpy.array([t.strip() for t in texts], dtype=object))
        return stripped[codes], list(labels)

    def numbers(self, texts: Sequence[str] | Array) -> tuple[Array, Array]:
        """Return the numbers in cells, NaN if missing, and a mask of those that hold text."""
        cells = numpy.asarray(texts, dtype=object)
        codes, uniques = pandas.factorize(cells.ravel())
        codes = codes.reshape(cells.shape)
        parsed = [_number(text, self.decimal) for text in uniques]
        is_text = numpy.array([number is None for number in parsed], dtype=bool)
        return numpy.array(parsed, dtype=float)[codes], is_text[codes]

    def column(self, place: int) -> tuple[Array, Array]:
        """Return the numbers in a column and a mask of text, as `numbers` does."""
        return self.numbers(self.cells[:, place])

    def spell(self, numbers: Iterable[float]) -> list[str]:
        """Return numbers with ten digits, as the table spells them."""
        return [f"{number:.10g}".replace(".", DECIMALS[self.decimal]) for number in numbers]

    def write(self, cells: Array, path: Path) -> None:
        """Write cells in the style of this table."""
        with path.open("w", encoding="utf-8", newline="") as file:
            file.writelines(self.comments)
            mark = DELIMITERS[self.delimiter]
            csv.writer(file, delimiter=mark, lineterminator="\n").writerows(cells)


def _number(text: str, decimal: str) -> float | None:
    """Return the number in a cell, NaN if it is missing, None if it is text."""
    text = text.strip()
    if text.lower() in MISSING:
        return numpy.nan
    if decimal == "comma":
        text = text.translate({ord(","): ".", ord("."): ","})
    return float(text) if NUMBER.fullmatch(text) else None


def _is_comment(line: str) -> bool:
    return line.startswith("# ") or line.strip() == "#"


def _split(lines: Iterable[str], delimiter: str, *, strict: bool = False) -> Any:
    """Return a reader of the cells in lines; a strict one refuses quotes that are not closed."""
    if delimiter == "space":
        lines = (line.strip().replace("\t", " ") for line in lines)
    mark = DELIMITERS[delimiter]
    return csv.reader(lines, delimiter=mark, skipinitialspace=True, strict=strict)


def _is_blank(row: list[str]) -> bool:
    return not row or (len(row) == 1 and not row[0].strip())


def _guess_delimiter(lines: list[str]) -> str:
    """Return the delimiter that makes rows of one length, and of these most cells numbers."""
    guesses = {}
    for name in DELIMITERS:
        rows = list(_split(lines, name))
        cells = [cell for row in rows for cell in row]
        n_numbers = sum(
            any(_number(cell, mark) is not None for mark in _possible_decimals(name))
            for cell in cells
        )
        lengths = {len(row) for row in rows}
        if max(lengths) > 1:
            guesses[name] = len(lengths) == 1, n_numbers / len(cells)
    return max(guesses, key=lambda name: guesses[name]) if guesses else "comma"


def _possible_decimals(delimiter: str) -> tuple[str, ...]:
    return ("point",) if delimiter == "comma" else ("point", "comma")


def _guess_decimal(lines: list[str], delimiter: str, path: Path) -> str:
    """Return the decimal mark of a table."""
    cells = {cell.strip() for row in _split(lines, delimiter) for cell in row}
    with_comma = {cell for cell in cells if WITH_COMMA.fullmatch(cell)}
    if delimiter == "comma" or not with_comma:
        return "point"
    if any("." in cell and NUMBER.fullmatch(cell) for cell in cells):
        return "point"
    if all(WITH_THOUSANDS.fullmatch(cell) for cell in with_comma):
        raise ValueError(
            f"{path} holds {min(with_comma)!r}, whose comma may stand for decimals or thousands: "
            "give --decimal comma, or take the commas out."
        )
    return "comma"


def _sample(path: Path) -> list[str]:
    """Return the first lines, of very long ones the beginnings."""
    lines: list[str] = []
    length = 0
    with path.open(encoding="utf-8-sig") as file:
        while len(lines) < SAMPLE and (len(lines) < 2 or length < SAMPLE_LENGTH):
            line = part = file.readline(LONG_LINE)
            if not line:
                break
            lines.append(line)
            length += len(line)
            while len(part) == LONG_LINE and not part.endswith("\n"):
                part = file.readline(LONG_LINE)
    return lines


def _check_size(path: Path) -> None:
    """Refuse a file that is no text, or whose cells do not fit into memory."""
    n_lines, n_cells = 1, 0
    with path.open("rb") as file:
        while block := file.read(BLOCK):
            if b"\0" in block:
                line = n_lines + block[: block.index(b"\0")].count(b"\n")
                raise ValueError(f"{path} holds a NUL in line {line}: it is no text in UTF-8.")
            n_lines += block.count(b"\n")
            # Between two cells there may be many spaces.
            n_cells += max(map(block.count, (b"\t", b";", b",", b"\n")))
            check_memory(BYTES_PER_NUMBER * n_cells + file.tell(), str(path), "give a smaller one")


def _cells(path: Path, n_comments: int, delimiter: str) -> Array:
    """Return the cells of a file, which come in rows of one length."""
    n_columns = 0

    def each() -> Iterator[str]:
        nonlocal n_columns
        # Texts that occur often are kept once.
        texts: dict[str, str] = {}
        with path.open(encoding="utf-8-sig") as file:
            for row in _rows(path, itertools.islice(file, n_comments, None), n_comments, delimiter):
                n_columns = len(row)
                yield from map(texts.setdefault, row, row)
                if len(texts) > MOST_TEXTS:
                    texts.clear()

    cells = numpy.fromiter(each(), dtype=object)
    if not n_columns:
        raise ValueError(f"{path} is empty: it needs one row of numbers in each line.")
    return cells.reshape(-1, n_columns)


def _rows(path: Path, lines: Iterator[str], n_before: int, delimiter: str) -> Iterator[list[str]]:
    """Yield the rows of a table, without blank ones; refuse rows of different lengths."""
    reader = _split(lines, delimiter, strict=True)
    length = n_rows = n_blank = 0
    for row in reader:
        if len(row) == length > 1:  # the usual case
            n_rows += 1
            yield row
            continue
        if _is_blank(row):
            n_blank += 1
            continue
        line = reader.line_num + n_before
        length = length or len(row)
        if len(row) != length:
            hint = ""
            if n_rows == 1 and len(row) == length + 1:
                hint = " If the first column holds labels, give it a name."
            raise ValueError(
                f"{path} has {len(row)} columns in line {line}, but {length} before: give every "
                "row the same number of cells, empty ones where entries are missing, and the right "
                f"--delimiter.{hint}"
            )
        n_rows += 1
        if length == 1 and n_blank:
            raise ValueError(
                f"{path} has a blank line before line {line}, in a table of one column: take it "
                "out, or write NaN if it is a missing entry."
            )
        yield row
