"""Text tables of entries ``row,col,value``, for large matrices of which few are known."""

from dataclasses import dataclass
from pathlib import Path

import numpy
import pandas

from dlngeo.app.matrix_files.base import MatrixFile, refuse_infinite
from dlngeo.app.matrix_files.tables import DELIMITERS
from dlngeo.core.base.arrays import Array
from dlngeo.solvers.completion import Completion, Entries

HEADERS = (("row", "col", "value"), ("row", "column", "value"))
FACTORS = "factors.npz"


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


def delimiter_of_triples(path: Path) -> str | None:
    """Return the delimiter of a table of triples, None if the file is another table."""
    with path.open(encoding="utf-8-sig", errors="replace") as file:
        header = file.readline().strip().lower()
    for delimiter in DELIMITERS:
        if tuple(name.strip().strip('"') for name in header.split(delimiter)) in HEADERS:
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
