"""Files that hold a matrix with missing entries: tables, arrays and pictures.

A file is read into its matrix, NaN where an entry is missing, and writes a completed matrix
in its own format.
"""

import csv
from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path

import numpy
from PIL import Image, ImageOps, UnidentifiedImageError

from dlngeo.core.arrays import Array

TABLES = (".csv", ".tsv", ".txt")
MISSING = ("", "na", "nan")


@dataclass(frozen=True, eq=False, kw_only=True)
class MatrixFile(ABC):
    """A matrix from a file.

    Attributes
    ----------
    matrix : array, shape=[m, n]
        NaN where an entry is missing.
    channels : int
        Columns that belong to one pixel, and are hidden together.
    """

    matrix: Array
    channels: int = 1

    def fitted(self, completed: Array) -> Array:
        """Return a completed matrix with its values cut to what the format can hold."""
        return completed

    @abstractmethod
    def write(self, completed: Array, kept: Array, path: Path) -> None:
        """Write a completed matrix; the entries that are kept are those that were read."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Table(MatrixFile):
    """A text table: the text of its cells, the header if it has one, and the delimiter."""

    cells: list[list[str]]
    header: list[str] | None
    delimiter: str

    def write(self, completed: Array, kept: Array, path: Path) -> None:
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
class ArrayFile(MatrixFile):
    """A NumPy array, and the type to write it in: double precision if integers were read."""

    dtype: numpy.dtype

    def write(self, completed: Array, kept: Array, path: Path) -> None:
        """Write an array of the same type."""
        numpy.save(path, numpy.where(kept, self.matrix, completed).astype(self.dtype))


@dataclass(frozen=True, eq=False, kw_only=True)
class Picture(MatrixFile):
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

    def fitted(self, completed: Array) -> Array:
        """Cut values to 0 ... 255."""
        return numpy.clip(completed, 0, 255)

    def write(self, completed: Array, kept: Array, path: Path) -> None:
        """Write the picture. Formats like JPEG change also the pixels that are kept."""
        matrix = self.fitted(numpy.where(kept, self.matrix, completed))
        pixels = numpy.rint(matrix).astype(numpy.uint8)
        if self.channels > 1:
            pixels = pixels.reshape(len(pixels), -1, self.channels)
        Image.fromarray(pixels).save(path, format=self.format, quality=95)


def read_matrix(path: Path) -> MatrixFile:
    """Read a table (.csv, .tsv, .txt), a NumPy array (.npy) or a picture.

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
        file = _read_table(path)
    else:
        file = _read_picture(path)
    if numpy.isinf(file.matrix).any():
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


def _read_table(path: Path) -> Table:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is no text in UTF-8: convert it.") from error
    lines = [line for line in text.splitlines() if line.strip()]
    if not lines:
        raise ValueError(f"{path} is empty: it needs one row of numbers in each line.")
    delimiter = max(",;\t", key=lines[-1].count)
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
