"""Text tables, in which empty cells are missing."""

import csv
from dataclasses import dataclass
from pathlib import Path

import numpy

from dlngeo.app.matrix_files.base import WholeMatrix, refuse_infinite
from dlngeo.core.base.arrays import Array

DELIMITERS = ",;\t"
MISSING = ("", "na", "nan")


@dataclass(frozen=True, eq=False, kw_only=True)
class Table(WholeMatrix):
    """A text table: the text of its cells, the header if it has one, and the delimiter."""

    cells: list[list[str]]
    header: list[str] | None
    delimiter: str

    @classmethod
    def read(cls, path: Path) -> "Table":
        try:
            text = path.read_text(encoding="utf-8-sig")
        except UnicodeDecodeError as error:
            raise ValueError(f"{path} is no text in UTF-8: convert it.") from error
        lines = [line for line in text.splitlines() if line.strip()]
        if not lines:
            raise ValueError(f"{path} is empty: it needs one row of numbers in each line.")
        delimiter = max(DELIMITERS, key=lines[-1].count)
        cells = [[cell.strip() for cell in row] for row in csv.reader(lines, delimiter=delimiter)]
        numbers = [[_number(cell) for cell in row] for row in cells]
        header = None
        if None in numbers[0]:
            header, numbers = cells.pop(0), numbers[1:]
        if not cells:
            raise ValueError(f"{path} has a header but no rows: add rows of numbers.")
        for place, row in enumerate(numbers):
            if len(row) != len(numbers[0]):
                raise ValueError(
                    f"{path} has {len(row)} columns in row {place + 1}, but {len(numbers[0])} in "
                    "row 1: give every row the same number of cells, empty ones where entries are "
                    "missing."
                )
            if None in row:
                column = row.index(None)
                raise ValueError(
                    f"{path} holds the text {cells[place][column][:20]!r} in row {place + 1}, "
                    f"column {column + 1}: keep numbers only, and leave missing entries empty."
                )
        matrix = numpy.array(numbers, dtype=float)
        refuse_infinite(matrix, path)
        return cls(matrix=matrix, cells=cells, header=header, delimiter=delimiter)

    def _write(self, completed: Array, kept: Array, path: Path) -> None:
        """Write the kept cells as they were, and the others with ten digits."""
        with path.open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file, delimiter=self.delimiter, lineterminator="\n")
            if self.header is not None:
                writer.writerow(self.header)
            for cells, row, is_kept in zip(self.cells, completed, kept, strict=True):
                writer.writerow(
                    cell if keep else f"{value:.10g}"
                    for cell, value, keep in zip(cells, row, is_kept, strict=True)
                )


def _number(cell: str) -> float | None:
    """Return the number in a cell, NaN if it is missing, None if it is text."""
    try:
        return numpy.nan if cell.lower() in MISSING else float(cell)
    except ValueError:
        return None
