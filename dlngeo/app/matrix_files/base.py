"""What every file of a matrix answers, and what those of whole matrices share."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import matplotlib
import numpy

from dlngeo.core.base.arrays import Array
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
    def is_full(self) -> bool:
        """Whether every entry of the matrix is known."""
        return False

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
