"""Text files that hold a matrix with missing entries: tables, and triples of entries.

Triples are for large matrices of which few entries are known.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy

from dlngeo.app.files.array_archives import save_arrays
from dlngeo.app.files.matrix_files import (
    ArrayFile,
    MatrixFile,
    Picture,
    WholeMatrix,
    refuse_infinite,
)
from dlngeo.app.files.table_layouts import Layout, Recognised, recognise
from dlngeo.app.files.text_tables import TextTable
from dlngeo.core.base.arrays import Array
from dlngeo.solvers.completion import Completion, Entries

TEXT_SUFFIXES = (".csv", ".tsv", ".txt", ".dat", ".data")
FACTORS = "factors.npz"

_OR_TRIPLES = ", or --triples if every row is one entry"


def read_matrix(path: Path, layout: Layout) -> MatrixFile:
    """Read a table or triples (.csv, .tsv, .txt, .dat), a NumPy array (.npy) or a picture.

    Raises
    ------
    ValueError
        If the file does not exist, does not hold a matrix of finite numbers, or may be read in
        two ways.
    """
    if not path.exists():
        raise ValueError(f"there is no file {path}: check the path.")
    if not path.is_file():
        what = "a folder" if path.is_dir() else "no regular file"
        raise ValueError(f"{path} is {what}: give a CSV or NPY file, or a picture.")
    suffix = path.suffix.lower()
    if suffix in TEXT_SUFFIXES:
        table = TextTable.read(path, layout.delimiter, layout.decimal)
        found = recognise(table, layout, path)
        kind = MatrixTable if found.roles is None else Triples
        return kind.of(table, found, path)
    if layout.told:
        raise ValueError(
            f"{path} is no text table, of which {' and '.join(layout.told)} could be told: leave "
            f"that out, or give the file one of the endings {', '.join(TEXT_SUFFIXES)}."
        )
    return ArrayFile.read(path) if suffix == ".npy" else Picture.read(path)


@dataclass(frozen=True, eq=False, kw_only=True)
class MatrixTable(WholeMatrix):
    """A matrix in a text table: all of its cells, and how many of them are names and labels."""

    table: TextTable
    found: Recognised

    @classmethod
    def of(cls, table: TextTable, found: Recognised, path: Path) -> "MatrixTable":
        """Return the matrix in a table."""
        cells = table.cells[int(found.header) :, int(found.index) :]
        matrix, is_text = table.numbers(cells)
        if is_text.any():
            row, column = numpy.argwhere(is_text)[0]
            raise ValueError(
                f"{path} holds the text {cells[row, column][:20]!r} in row {row + 1}, column "
                f"{column + 1}: keep numbers only, leave missing entries empty, and give "
                f"--delimiter and --decimal if they are not {table.delimiter} and {table.decimal}"
                f"{_OR_TRIPLES * (table.shape[1] > 2)}."
            )
        refuse_infinite(matrix, path)
        return cls(matrix=matrix, table=table, found=found)

    @property
    def advice_if_full(self) -> str:
        return super().advice_if_full + _OR_TRIPLES * (self.table.shape[1] > 2)

    @property
    def description(self) -> str:
        parts = ["with a header" if self.found.header else "without a header"]
        if self.found.index:
            name = f" {self.table.row(0)[0]!r}" if self.found.header else ""
            parts.append(f"labels of rows in the first column{name}")
        return f"{super().description}, {self.table.style}, {', '.join(parts)}"

    def _write(self, completed: Array, kept: Array, path: Path) -> None:
        """Write the kept cells as they were, and the others with ten digits."""
        cells = self.table.cells.copy()
        entries = cells[int(self.found.header) :, int(self.found.index) :]
        entries[~kept] = self.table.spell(completed[~kept])
        self.table.write(cells, path)


@dataclass(frozen=True, eq=False, kw_only=True)
class Triples(MatrixFile):
    """Entries of which rows and columns are named by labels, which are texts.

    Those without a value are to be predicted.

    Attributes
    ----------
    table : TextTable
    found : Recognised
    rows, columns : array of int, shape=[k]
        Positions of all entries, in the order in which labels first appear.
    row_labels, column_labels : list of str
    values : array, shape=[k]
        NaN where they are missing.
    """

    solver = "conjugate-gradient"

    table: TextTable
    found: Recognised
    rows: Array
    columns: Array
    row_labels: list[str]
    column_labels: list[str]
    values: Array

    @classmethod
    def of(cls, table: TextTable, found: Recognised, path: Path) -> "Triples":
        """Return the entries in a table."""
        assert found.roles is not None
        body, (*places, last) = table.rows(int(found.header)), found.roles
        values, is_text = body.column(last)
        if is_text.any():
            row = int(numpy.argmax(is_text))
            raise ValueError(
                f"{path} holds the value {body.cells[row, last][:20]!r} in row {row + 1}: "
                "keep numbers only, and leave values to be predicted empty."
            )
        refuse_infinite(values, path)
        labelled = []
        for what, place in zip(("row", "column"), places, strict=True):
            positions, labels = body.labels(place)
            if "" in labels:
                row = int(numpy.argmax(positions == labels.index("")))
                name = table.row(0)[place] if found.header else what
                raise ValueError(f"{path} has no {name} in row {row + 1}: every entry needs one.")
            labelled.append((positions, labels))
        (rows, row_labels), (columns, column_labels) = labelled
        return cls(
            table=table,
            found=found,
            rows=rows,
            columns=columns,
            row_labels=row_labels,
            column_labels=column_labels,
            values=values,
        )

    @property
    def shape(self) -> tuple[int, int]:
        return len(self.row_labels), len(self.column_labels)

    @property
    def description(self) -> str:
        assert self.found.roles is not None
        names = [f"{place + 1}" for place in range(self.table.shape[1])]
        if self.found.header:
            names = [repr(name) for name in self.table.row(0)]
        rows, columns, values = (names[place] for place in self.found.roles)
        unused = [name for place, name in enumerate(names) if place not in self.found.roles]
        n_known = int(numpy.isfinite(self.values).sum())
        n_places = len(numpy.unique(self.units))
        parts = [
            f"{self.values.size} triples of a {self.shape[0]} x {self.shape[1]} matrix",
            self.table.style,
            f"rows in column {rows}, columns in {columns}, values in {values}",
            f"{n_known} values known",
        ]
        if n_places < n_known:
            parts.append(f"of {n_places} entries: those given more than once are averaged")
        if unused:
            parts.append(f"not used: {', '.join(unused)}")
        return ", ".join(parts)

    @property
    def known(self) -> Entries:
        return Entries(self.rows, self.columns, self.values).chosen(numpy.isfinite(self.values))

    @property
    def units(self) -> Array:
        """Numbers of the places: an entry that is given twice is not learned and tested at once."""
        rows, columns, _ = self.known
        return rows * self.shape[1] + columns

    def write(self, completion: Completion, kept: Array, folder: Path, name: str) -> list[str]:
        """Write the triples with all values, and the factors of the whole matrix.

        ``factors.npz`` holds ``left``, ``right``, ``mean``, ``rows`` and ``columns``: the entry
        of two labels is ``mean`` plus the product of their rows of ``left`` and ``right``.
        """
        assert self.found.roles is not None
        is_predicted = ~numpy.isfinite(self.values)
        is_predicted[numpy.flatnonzero(~is_predicted)[~kept]] = True
        predicted = completion.at(self.rows[is_predicted], self.columns[is_predicted])
        cells, place = self.table.cells.copy(), self.found.roles[2]
        values = cells[int(self.found.header) :, place]
        values[is_predicted] = self.table.spell(predicted)
        self.table.write(cells, folder / name)
        if len(completion.factors) == 2:
            left, right = completion.factors
        else:  # of a flow, which has the whole matrix: beside it the smaller identity
            whole, (m, n) = completion.factors[0], self.shape
            left, right = (whole, numpy.eye(n)) if n <= m else (numpy.eye(m), whole.T)
        save_arrays(
            folder / FACTORS,
            {
                "left": left,
                "right": right,
                "mean": numpy.array(completion.mean),
                # Text as fixed-width characters, which files hold without pickle.
                "rows": numpy.array(self.row_labels),
                "columns": numpy.array(self.column_labels),
            },
        )
        return [name, FACTORS]
