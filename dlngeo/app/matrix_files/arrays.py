"""NumPy arrays, in which NaN is missing."""

from dataclasses import dataclass
from pathlib import Path

import numpy

from dlngeo.app.matrix_files.base import WholeMatrix, refuse_infinite
from dlngeo.core.base.arrays import Array


@dataclass(frozen=True, eq=False, kw_only=True)
class ArrayFile(WholeMatrix):
    """A NumPy array, and the type to write it in: double precision if integers were read."""

    dtype: numpy.dtype

    @classmethod
    def read(cls, path: Path) -> "ArrayFile":
        try:
            matrix = numpy.load(path, allow_pickle=False)
        except (ValueError, EOFError) as error:
            raise ValueError(
                f"{path} is no NumPy file of numbers: save it by numpy.save."
            ) from error
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
        """Write an array of the same type."""
        numpy.save(path, completed.astype(self.dtype))
