"""Files that hold a matrix with missing entries: tables, arrays, pictures and triples.

A file is read into the entries that it holds, and writes a completed matrix in its own format.
"""

import csv
from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path

import numpy
import pandas
from PIL import Image, ImageOps, UnidentifiedImageError

from dlngeo.core.base.arrays import Array
from dlngeo.solvers.completion import Completion, Entries

TABLES = (".csv", ".tsv", ".txt")
MISSING = ("", "na", "nan")
DELIMITERS = ",;\t"
TRIPLE_HEADERS = (("row", "col", "value"), ("row", "column", "value"))
FACTORS = "factors.npz"


class MatrixFile(ABC):
    """The entries of a matrix from a file.

    Attributes
    ----------
    shape : tuple of int
    known : Entries
    """

    @property
    @abstractmethod
    def shape(self) -> tuple[int, int]: ...

    @property
    @abstractmethod
    def known(self) -> Entries: ...

    @property
    def units(self) -> Array:
        """Numbers of the known entries, the same for those that are hidden together."""
        return numpy.arange(self.known.values.size)

    def fitted(self, values: Array) -> Array:
        """Return values cut to what the format can hold."""
        return values

    @abstractmethod
    def write(self, completion: Completion, kept: Array, folder: Path, name: str) -> list[str]:
        """Write a completion, and return the names of the files.

        Of the known entries those that are kept, by a mask, stay as they were read.
        """


@dataclass(frozen=True, eq=False, kw_only=True)
class WholeMatrix(MatrixFile):
    """A file that holds all entries of a matrix.

    Attributes
    ----------
    matrix : array, shape=[m, n]
        NaN where an entry is missing.
    channels : int
        Columns that belong to one pixel, and are hidden together.
    """

    matrix: Array
    channels: int = 1

    @property
    def shape(self) -> tuple[int, int]:
        return self.matrix.shape

    @property
    def known(self) -> Entries:
        rows, columns = numpy.nonzero(numpy.isfinite(self.matrix))
        return Entries(rows, columns, self.matrix[rows, columns])

    @property
    def units(self) -> Array:
        rows, columns, _ = self.known
        return rows * self.shape[1] + columns // self.channels

    def with_gaps(self, kept: Array) -> Array:
        """Return the matrix with NaN for all entries but those that are kept."""
        matrix = numpy.full(self.shape, numpy.nan)
        rows, columns, values = self.known.chosen(kept)
        matrix[rows, columns] = values
        return matrix

    def write(self, completion: Completion, kept: Array, folder: Path, name: str) -> list[str]:
        is_kept = numpy.isfinite(self.with_gaps(kept))
        self._write(completion.matrix, is_kept, folder / name)
        return [name]

    @abstractmethod
    def _write(self, completed: Array, kept: Array, path: Path) -> None:
        """Write a completed matrix; the entries that are kept are those that were read."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Table(WholeMatrix):
    """A text table: the text of its cells, the header if it has one, and the delimiter."""

    cells: list[list[str]]
    header: list[str] | None
    delimiter: str

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


@dataclass(frozen=True, eq=False, kw_only=True)
class ArrayFile(WholeMatrix):
    """A NumPy array, and the type to write it in: double precision if integers were read."""

    dtype: numpy.dtype

    def _write(self, completed: Array, kept: Array, path: Path) -> None:
        """Write an array of the same type."""
        numpy.save(path, numpy.where(kept, self.matrix, completed).astype(self.dtype))


@dataclass(frozen=True, eq=False, kw_only=True)
class Picture(WholeMatrix):
    """A picture: values 0 to 255, and Pillow's name of its format.

    A grey picture has one channel. A colour picture of shape (m, n, 3) is the matrix of
    shape (m, 3n), of three channels. Transparent pixels are missing.
    """

    format: str

    @classmethod
    def of(cls, image: Image.Image, format: str) -> "Picture":
        """Return the matrix of a picture in memory."""
        colours = "L" if image.mode in ("1", "L", "LA", "La") else "RGB"
        pixels = numpy.asarray(image.convert(colours), dtype=float)
        matrix = pixels.reshape(len(pixels), -1)
        if image.has_transparency_data:
            alpha = numpy.asarray(image.convert("RGBA"))[..., 3]
            is_missing = numpy.repeat(alpha == 0, len(colours), axis=1)
            matrix = numpy.where(is_missing, numpy.nan, matrix)
        return cls(matrix=matrix, channels=len(colours), format=format)

    def fitted(self, values: Array) -> Array:
        """Cut values to 0 ... 255."""
        return numpy.clip(values, 0, 255)

    def _write(self, completed: Array, kept: Array, path: Path) -> None:
        """Write the picture. Formats like JPEG change also the pixels that are kept."""
        matrix = self.fitted(numpy.where(kept, self.matrix, completed))
        pixels = numpy.rint(matrix).astype(numpy.uint8)
        if self.channels > 1:
            pixels = pixels.reshape(len(pixels), -1, self.channels)
        Image.fromarray(pixels).save(path, format=self.format, quality=95)


@dataclass(frozen=True, eq=False, kw_only=True)
class Triples(MatrixFile):
    """A text table of entries ``row,col,value``, for large matrices of which few are known.

    Rows and columns are named by labels, numbers or text. Entries without a value are to be
    predicted.

    Attributes
    ----------
    table : pandas.DataFrame
        The file, with three columns.
    rows, columns : array of int, shape=[k]
        Positions of all entries, in the order of the labels.
    row_labels, column_labels : array, shape=[m], shape=[n]
    delimiter : str
    """

    table: pandas.DataFrame
    rows: Array
    columns: Array
    row_labels: Array
    column_labels: Array
    delimiter: str

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
        is_predicted = ~numpy.isfinite(self._values)
        is_predicted[numpy.flatnonzero(~is_predicted)[~kept]] = True
        values = self._values
        places = self.rows[is_predicted], self.columns[is_predicted]
        values[is_predicted] = completion.at(*places)
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
        file: MatrixFile = _read_array(path)
    elif suffix in TABLES:
        delimiter = _delimiter_of_triples(path)
        file = _read_table(path) if delimiter is None else _read_triples(path, delimiter)
    else:
        file = _read_picture(path)
    if isinstance(file, WholeMatrix) and numpy.isinf(file.matrix).any():
        raise ValueError(f"{path} holds infinite entries: replace them, or leave them empty.")
    return file


def _read_array(path: Path) -> ArrayFile:
    try:
        matrix = numpy.load(path, allow_pickle=False)
    except (ValueError, EOFError) as error:
        raise ValueError(f"{path} is no NumPy file of numbers: save it by numpy.save.") from error
    if matrix.ndim != 2 or matrix.size == 0:
        raise ValueError(
            f"{path} holds an array of shape {matrix.shape}: a matrix needs two axes, none empty."
        )
    if matrix.dtype.kind not in "fiu":
        raise ValueError(f"{path} holds {matrix.dtype} entries: convert them to real numbers.")
    dtype = matrix.dtype if matrix.dtype.kind == "f" else numpy.dtype(float)
    return ArrayFile(matrix=matrix.astype(float), dtype=dtype)


def _delimiter_of_triples(path: Path) -> str | None:
    """Return the delimiter of a table of triples, None if the file is another table."""
    with path.open(encoding="utf-8-sig", errors="replace") as file:
        header = file.readline().strip().lower()
    for delimiter in DELIMITERS:
        names = tuple(name.strip().strip('"') for name in header.split(delimiter))
        if names in TRIPLE_HEADERS:
            return delimiter
    return None


def _read_triples(path: Path, delimiter: str) -> Triples:
    try:
        table = pandas.read_csv(path, sep=delimiter, skipinitialspace=True, encoding="utf-8-sig")
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
    if numpy.isinf(values).any():
        raise ValueError(f"{path} holds infinite entries: replace them, or leave them empty.")
    positions, labels = [], []
    for name in table.columns[:2]:
        if table[name].isna().any():
            place = int(numpy.argmax(table[name].isna()))
            raise ValueError(f"{path} has no {name} in row {place + 1}: every entry needs one.")
        codes, uniques = pandas.factorize(table[name], sort=True)
        positions.append(codes)
        uniques = numpy.asarray(uniques)
        # Text as fixed-width characters, which files hold without pickle.
        labels.append(uniques if uniques.dtype.kind in "iuf" else uniques.astype(str))
    return Triples(
        table=table.assign(**{table.columns[2]: values}),
        rows=positions[0],
        columns=positions[1],
        row_labels=labels[0],
        column_labels=labels[1],
        delimiter=delimiter,
    )


def _read_table(path: Path) -> Table:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is no text in UTF-8: convert it.") from error
    lines = [line for line in text.splitlines() if line.strip()]
    if not lines:
        raise ValueError(f"{path} is empty: it needs one row of numbers in each line.")
    delimiter = max(DELIMITERS, key=lines[-1].count)
    cells = [[cell.strip() for cell in row] for row in csv.reader(lines, delimiter=delimiter)]
    header = cells.pop(0) if any(_number(cell) is None for cell in cells[0]) else None
    if not cells:
        raise ValueError(f"{path} has a header but no rows: add rows of numbers.")
    for number, row in enumerate(cells, start=1):
        if len(row) != len(cells[0]):
            raise ValueError(
                f"{path} has {len(row)} columns in row {number}, but {len(cells[0])} in row 1: "
                "give every row the same number of cells, empty ones where entries are missing."
            )
        for column, cell in enumerate(row, start=1):
            if _number(cell) is None:
                raise ValueError(
                    f"{path} holds the text {cell[:20]!r} in row {number}, column {column}: keep "
                    "numbers only, and leave missing entries empty."
                )
    matrix = numpy.array([[_number(cell) for cell in row] for row in cells], dtype=float)
    return Table(matrix=matrix, cells=cells, header=header, delimiter=delimiter)


def _number(cell: str) -> float | None:
    """Return the number in a cell, NaN if it is missing, None if it is text."""
    if cell.lower() in MISSING:
        return numpy.nan
    try:
        return float(cell)
    except ValueError:
        return None


def _read_picture(path: Path) -> Picture:
    try:
        with Image.open(path) as image:
            name = str(image.format)
            picture = ImageOps.exif_transpose(image)
    except (UnidentifiedImageError, SyntaxError) as error:
        raise ValueError(
            f"{path} is not a table (.csv, .tsv, .txt), an array (.npy) or a picture that can be "
            "read: convert it to one of them."
        ) from error
    if picture.mode in ("I", "F") or picture.mode.startswith("I;"):
        raise ValueError(f"{path} has pixels of mode {picture.mode}: convert it to 8 bits.")
    return Picture.of(picture, name)
