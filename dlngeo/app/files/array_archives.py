"""Arrays in files: their types, and archives of them under names of every kind."""

import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy

from dlngeo.core.base.arrays import Array


def save_arrays(path: Path, arrays: Mapping[str, Array]) -> None:
    """Write arrays as `numpy.savez` does, which takes some names for options of its own."""
    with zipfile.ZipFile(path, "w") as archive:
        for name, array in arrays.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                numpy.lib.format.write_array(member, numpy.asarray(array), allow_pickle=False)


def load_arrays(path: Path) -> dict[str, Array]:
    """Read the arrays of a file by their names, in its order.

    Raises
    ------
    ValueError
        If it is no such file, holds something else, or holds two arrays of one name.
    """
    if not path.is_file():
        raise ValueError(f"there is no file {path}: check the path.")
    try:
        with numpy.load(path, allow_pickle=False) as file:
            names, arrays = file.files, dict(file)
    except (ValueError, EOFError, zipfile.BadZipFile, AttributeError, TypeError) as error:
        raise ValueError(
            f"{path} is no file of number arrays: save the factors by numpy.savez."
        ) from error
    if len(names) > len(arrays):
        raise ValueError(f"{path} holds two arrays of one name: give every one its own.")
    for name, array in arrays.items():
        if not isinstance(array, numpy.ndarray):
            raise ValueError(f"{path} holds {name}, which is no array: take it out.")
    return arrays


def in_type(array: Array, dtype: numpy.dtype) -> Array:
    """Return an array in a type of floats; in double precision if it would overflow."""
    if dtype.kind != "f":
        return array
    with numpy.errstate(over="ignore"):
        converted = array.astype(dtype)
    return converted if numpy.isfinite(converted).all() else array
