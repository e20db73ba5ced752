"""Text files that hold a matrix with missing entries: tables, and triples of entries.

Triples are for large matrices of which few entries are known.
"""

import csv
from dataclasses import dataclass
from pathlib import Path

import numpy
import pandas

from dlngeo.app.matrix_files import (
    ArrayFile,
    MatrixFile,
    Picture,
    WholeMatrix,
    refuse_infinite,
)
from dlngeo.core.base.arrays import Array
from dlngeo.solvers.completion import Completion, Entries

DELIMITERS = ",;\t"
MISSING = ("", "na", "nan")
TRIPLE_HEADERS = (("row", "col", "value"), ("row", "column", "value"))
FACTORS = "factors.npz"


def read_matrix(path: Path) -> MatrixFile:
    """Read a table or triples (.csv, .tsv, .txt), a NumPy array (.npy) or a picture.

    Raises
    ------
    ValueError
        If the file does not exist or does not hold a matrix of finite numbers.
    """
    if not path.exists():
        raise ValueError(f"there is no file {path}: check the path.")
    if path.is_dir():
        raise ValueError(f"{path} is a folder: give a CSV or NPY file, or a picture.")
    suffix = path.suffix.lower()
    if suffix == ".npy":
        return ArrayFile.read(path)
    if suffix not in (".csv", ".tsv", ".txt"):
        return Picture.read(path)
    delimiter = _delimiter_of_triples(path)
    return TextTable.read(path) if delimiter is None else Triples.read(path, delimiter)


@dataclass(frozen=True, eq=False, kw_only=True)
class TextTable(WholeMatrix):
    """A text table: the text of its cells, the header if it has one, and the delimiter."""

    cells: list[list[str]]
    header: list[str] | None
    delimiter: str

    @classmethod
    def read(cls, path: Path) -> "TextTable":
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


@dataclass(frozen=True, eq=False, kw_only=True)
class Triples(MatrixFile):
    """Entries of which rows and columns are named by labels, numbers or text.

    Those without a value are to be predicted.

    Attributes
    ----------
    table : pandas.DataFrame
        The file, with three columns.
    rows, columns : array of int, shape=[k]
        Positions of all entries, in the order of the labels.
    row_labels, column_labels : array, shape=[m], shape=[n]
    delimiter : str
    """

    solver = "conjugate-gradient"

    table: pandas.DataFrame
    rows: Array
    columns: Array
    row_labels: Array
    column_labels: Array
    delimiter: str

    @classmethod
    def read(cls, path: Path, delimiter: str) -> "Triples":
        try:
            table = pandas.read_csv(
                path, sep=delimiter, skipinitialspace=True, encoding="utf-8-sig"
            )
        except (pandas.errors.ParserError, UnicodeDecodeError) as error:
            raise ValueError(f"{path} is no table of three columns: {error}") from error
        if table.empty:
            raise ValueError(f"{path} has a header but no rows: add rows of row, column and value.")
        values = pandas.to_numeric(table.iloc[:, 2], errors="coerce").astype(float)
        is_text = values.isna() & table.iloc[:, 2].notna()
        if is_text.any():
            place = int(numpy.argmax(is_text))
            raise ValueError(
                f"{path} holds the value {table.iloc[place, 2]!r} in row {place + 1}: keep numbers "
                "only, and leave values to be predicted empty."
            )
        refuse_infinite(values, path)
        rows, row_labels = _positions(table.iloc[:, 0], path)
        columns, column_labels = _positions(table.iloc[:, 1], path)
        return cls(
            table=table.assign(**{table.columns[2]: values}),
            rows=rows,
            columns=columns,
            row_labels=row_labels,
            column_labels=column_labels,
            delimiter=delimiter,
        )

    @property
    def shape(self) -> tuple[int, int]:
        return len(self.row_labels), len(self.column_labels)

    @property
    def _values(self) -> Array:
        return self.table.iloc[:, 2].to_numpy(dtype=float, copy=True)

    @property
    def known(self) -> Entries:
        return Entries(self.rows, self.columns, self._values).chosen(numpy.isfinite(self._values))

    def write(self, completion: Completion, kept: Array, folder: Path, name: str) -> list[str]:
        """Write the triples with all values, and the factors of the whole matrix.

        ``factors.npz`` holds ``left``, ``right``, ``mean``, ``rows`` and ``columns``: the entry
        of two labels is ``mean`` plus the product of their rows of ``left`` and ``right``.
        """
        values = self._values
        is_predicted = ~numpy.isfinite(values)
        is_predicted[numpy.flatnonzero(~is_predicted)[~kept]] = True
        values[is_predicted] = completion.at(self.rows[is_predicted], self.columns[is_predicted])
        self.table.assign(**{self.table.columns[2]: values}).to_csv(
            folder / name, sep=self.delimiter, index=False, float_format="%.10g"
        )
        # A flow has the whole matrix, and no second factor.
        left, right = (*completion.factors, numpy.eye(self.shape[1]))[:2]
        numpy.savez(
            folder / FACTORS,
            left=left,
            right=right,
            mean=completion.mean,
            rows=self.row_labels,
            columns=self.column_labels,
        )
        return [name, FACTORS]


def _delimiter_of_triples(path: Path) -> str | None:
    """Return the delimiter of a table of triples, None if the file is another table."""
    with path.open(encoding="utf-8-sig", errors="replace") as file:
        header = file.readline().strip().lower()
    for delimiter in DELIMITERS:
        if tuple(name.strip().strip('"') for name in header.split(delimiter)) in TRIPLE_HEADERS:
            return delimiter
    return None


def _positions(names: pandas.Series, path: Path) -> tuple[Array, Array]:
    """Return the positions of names among the labels, and the labels in order."""
    if names.isna().any():
        place = int(numpy.argmax(names.isna()))
        raise ValueError(f"{path} has no {names.name} in row {place + 1}: every entry needs one.")
    positions, uniques = pandas.factorize(names, sort=True)
    labels = numpy.asarray(uniques)
    # Text as fixed-width characters, which files hold without pickle.
    return positions, labels if labels.dtype.kind in "iuf" else labels.astype(str)
