"""Files that hold a matrix with missing entries, whole: arrays and pictures, and what they share.

A file is read into the entries that it holds; it writes a completed matrix in its own format, and
draws it.
"""

import io
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import matplotlib
import numpy
from PIL import Image, ImageOps

from dlngeo.app.blame import reading
from dlngeo.app.files.array_archives import in_type, load_array
from dlngeo.core.base.arrays import Array
from dlngeo.core.base.memory import BYTES_PER_NUMBER, check_memory
from dlngeo.solvers.completion import Completion, Entries


class MatrixFile(ABC):
    """The entries of a matrix from a file.

    Attributes
    ----------
    solver : str
        The one to complete it by, if none is asked for.
    shape : tuple of int
    known : Entries
    """

    solver: ClassVar[str]

    @property
    @abstractmethod
    def shape(self) -> tuple[int, int]: ...

    @property
    @abstractmethod
    def known(self) -> Entries: ...

    @property
    @abstractmethod
    def description(self) -> str:
        """What was read, in words."""

    @property
    def is_full(self) -> bool:
        """Whether every entry of the matrix is known."""
        return False

    @property
    def advice_if_full(self) -> str:
        """What to do if every entry is known."""
        return "give --observed FRACTION to hide some and measure the error"

    @property
    def units(self) -> Array:
        """Numbers of the known entries, the same for those that are hidden together."""
        return numpy.arange(self.known.values.size)

    def clip(self, values: Array) -> Array:
        """Return values cut to what the format can hold."""
        return values

    def signal_to_noise(self, rmse: float) -> float | None:
        """Return the peak signal over an error in dB, None if there is no peak or no error."""
        return None

    def pictures(self, kept: Array, completions: Sequence[Completion]) -> list[Array]:
        """Return colours of the matrix with the entries that are kept, completed, and as read.

        The last one is left out if all are kept. There are none of a matrix too large to draw.
        """
        return []

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

    solver = "flow"

    matrix: Array
    channels: int = 1

    @property
    def shape(self) -> tuple[int, int]:
        return self.matrix.shape

    @property
    def description(self) -> str:
        rows, columns = self.shape
        n_known = int(numpy.isfinite(self.matrix).sum())
        return f"{rows} x {columns} matrix, {n_known} of {self.matrix.size} entries known"

    @property
    def known(self) -> Entries:
        rows, columns = numpy.nonzero(numpy.isfinite(self.matrix))
        return Entries(rows, columns, self.matrix[rows, columns])

    @property
    def is_full(self) -> bool:
        return bool(numpy.isfinite(self.matrix).all())

    @property
    def units(self) -> Array:
        rows, columns, _ = self.known
        return rows * self.shape[1] + columns // self.channels

    def _with_gaps(self, kept: Array) -> Array:
        """Return the matrix with NaN for all entries but those that are kept."""
        matrix = numpy.full(self.shape, numpy.nan)
        rows, columns, values = self.known.chosen(kept)
        matrix[rows, columns] = values
        return matrix

    def _fill(self, gaps: Array, completion: Completion) -> Array:
        return numpy.where(numpy.isnan(gaps), self.clip(completion.matrix), gaps)

    def pictures(self, kept: Array, completions: Sequence[Completion]) -> list[Array]:
        gaps = self._with_gaps(kept)
        matrices = [gaps, *(self._fill(gaps, completion) for completion in completions)]
        if not kept.all():
            matrices.append(self.matrix)
        return self._paint(matrices)

    def _paint(self, matrices: Sequence[Array]) -> list[Array]:
        """Return colours of matrices, on the scale of the first; missing entries are white."""
        low, high = numpy.nanpercentile(matrices[0], [1, 99])
        colours = matplotlib.colormaps["cividis"].with_extremes(bad="white")
        scaled = [(matrix - low) / (high - low if high > low else 1.0) for matrix in matrices]
        return [
            colours(numpy.ma.masked_invalid(numpy.clip(matrix, 0, 1)))[..., :3] for matrix in scaled
        ]

    def write(self, completion: Completion, kept: Array, folder: Path, name: str) -> list[str]:
        gaps = self._with_gaps(kept)
        self._write(self._fill(gaps, completion), numpy.isfinite(gaps), folder / name)
        return [name]

    @abstractmethod
    def _write(self, completed: Array, kept: Array, path: Path) -> None:
        """Write a completed matrix; where a mask says so its entries are those that were read."""


def refuse_infinite(values: Array, path: Path) -> None:
    """Raise a ValueError if an entry of a file is infinite."""
    if numpy.isinf(values).any():
        raise ValueError(f"{path} holds infinite entries: replace them, or leave them empty.")


@dataclass(frozen=True, eq=False, kw_only=True)
class ArrayFile(WholeMatrix):
    """A NumPy array, and the type to write it in: double precision if integers were read."""

    dtype: numpy.dtype

    @classmethod
    def read(cls, path: Path) -> "ArrayFile":
        matrix = load_array(path)
        if matrix.ndim != 2 or matrix.size == 0:
            raise ValueError(
                f"{path} holds an array of shape {matrix.shape}: a matrix needs two axes, none "
                "empty."
            )
        if matrix.dtype.kind not in "fiu":
            raise ValueError(f"{path} holds {matrix.dtype} entries: convert them to real numbers.")
        dtype = matrix.dtype if matrix.dtype.kind == "f" else numpy.dtype(float)
        refuse_infinite(matrix, path)
        return cls(matrix=matrix.astype(float), dtype=dtype)

    def _write(self, completed: Array, kept: Array, path: Path) -> None:
        """Write an array of the same type, if that can hold it."""
        numpy.save(path, in_type(completed, self.dtype))


@dataclass(frozen=True, eq=False, kw_only=True)
class Picture(WholeMatrix):
    """A picture: values 0 to 255, and Pillow's name of its format.

    A grey picture has one channel. A colour picture of shape (m, n, 3) is the matrix of
    shape (m, 3n), of three channels.
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

    @classmethod
    def read(cls, path: Path) -> "Picture":
        remedy = "is a picture that cannot be read: save it again"
        with reading(path, remedy), _opened(path) as image:
            width, height = image.size
            n_numbers = width * height * len(image.getbands())
            check_memory(BYTES_PER_NUMBER * n_numbers, str(path), "make the picture smaller")
            name = str(image.format)
            picture = ImageOps.exif_transpose(image)
            picture.load()
        if picture.mode in ("I", "F") or picture.mode.startswith("I;"):
            raise ValueError(f"{path} has pixels of mode {picture.mode}: convert it to 8 bits.")
        found = cls.of(picture, name)
        try:
            found._save(numpy.zeros(found.shape), io.BytesIO())
        except Exception as error:  # each format has its own
            raise ValueError(
                f"{path} is a picture of the format {name}, which cannot be written: convert it to "
                "PNG."
            ) from error
        return found

    def clip(self, values: Array) -> Array:
        """Cut values to 0 ... 255."""
        return numpy.clip(values, 0, 255)

    def signal_to_noise(self, rmse: float) -> float | None:
        return float(20 * numpy.log10(255 / rmse)) if rmse > 0 else None

    def _pixels(self, matrix: Array) -> Array:
        """Return values 0 to 255, shape=[m, n, channels], with missing entries in white."""
        values = self.clip(numpy.where(numpy.isfinite(matrix), matrix, 255.0))
        return values.reshape(len(matrix), -1, self.channels)

    def _paint(self, matrices: Sequence[Array]) -> list[Array]:
        pixels = [self._pixels(matrix) / 255 for matrix in matrices]
        return [numpy.broadcast_to(values, (*values.shape[:2], 3)) for values in pixels]

    def _write(self, completed: Array, kept: Array, path: Path) -> None:
        """Write the picture. Formats like JPEG change also the pixels that are kept."""
        self._save(completed, path)

    def _save(self, completed: Array, file: Path | io.BytesIO) -> None:
        pixels = numpy.rint(self._pixels(completed)).astype(numpy.uint8)
        image = Image.fromarray(pixels if self.channels > 1 else pixels[..., 0])
        image.save(file, format=self.format, quality=95)


def _opened(path: Path) -> Image.Image:
    """Return a picture of which the size is read, and not yet the pixels."""
    remedy = (
        "is not a table (.csv, .tsv, .txt), an array (.npy) or a picture that can be read: convert "
        "it to one of them"
    )
    with reading(path, remedy):
        return Image.open(path)
