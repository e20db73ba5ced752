"""Which format a file is in."""

from pathlib import Path

from dlngeo.app.matrix_files.arrays import ArrayFile
from dlngeo.app.matrix_files.base import MatrixFile
from dlngeo.app.matrix_files.pictures import Picture
from dlngeo.app.matrix_files.tables import Table
from dlngeo.app.matrix_files.triples import Triples, delimiter_of_triples


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
    delimiter = delimiter_of_triples(path)
    return Table.read(path) if delimiter is None else Triples.read(path, delimiter)
