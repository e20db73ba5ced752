"""Arrays in files: their types and sizes, and archives of them under names of every kind."""

import math
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import IO, NamedTuple

import numpy

from dlngeo.app.blame import reading
from dlngeo.core.base.arrays import Array
from dlngeo.core.base.memory import BYTES_PER_NUMBER, check_memory, in_words

MOST_UNPACKED, SMALL = 100, 2**24
"""How many times its size an array may unpack to, if it is not small. What networks learn does not
shrink like that."""


class Header(NamedTuple):
    """What an NPY file says of its array."""

    shape: tuple[int, ...]
    dtype: numpy.dtype

    @property
    def n_bytes(self) -> int:
        return math.prod(self.shape) * self.dtype.itemsize


def save_arrays(path: Path, arrays: Mapping[str, Array]) -> None:
    """Write arrays as `numpy.savez` does, which takes some names for options of its own."""
    with zipfile.ZipFile(path, "w") as archive:
        for name, array in arrays.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                numpy.lib.format.write_array(member, numpy.asarray(array), allow_pickle=False)


def load_array(path: Path) -> Array:
    """Read the array of an NPY file.

    Raises
    ------
    ValueError
        If it is no such file, or its array does not fit into memory.
    """
    with reading(path, "is no NumPy file of numbers: save it by numpy.save"), path.open("rb") as f:
        header = _header(f)
        _check_claim(header, path.stat().st_size - f.tell(), f"the array of {path}", "numpy.save")
        needed = max(header.n_bytes, BYTES_PER_NUMBER * math.prod(header.shape))
        check_memory(needed, str(path), "give a smaller one")
        f.seek(0)
        return numpy.lib.format.read_array(f, allow_pickle=False)


def load_arrays(path: Path) -> dict[str, Array]:
    """Read the arrays of a file by their names, in its order.

    Raises
    ------
    ValueError
        If it is no such file, holds something else or two arrays of one name, or does not fit into
        memory.
    """
    if not path.is_file():
        raise ValueError(f"there is no file {path}: check the path.")
    arrays = {}
    remedy = "is no file of number arrays: save the factors by numpy.savez"
    with reading(path, remedy), zipfile.ZipFile(path) as archive:
        members = {member.filename.removesuffix(".npy"): member for member in archive.infolist()}
        if len(members) < len(archive.infolist()):
            raise ValueError(f"{path} holds two arrays of one name: give every one its own.")
        for name, member in members.items():
            if member.file_size > max(MOST_UNPACKED * member.compress_size, SMALL):
                raise ValueError(
                    f"{name} in {path} unpacks to {in_words(member.file_size)}, more than "
                    f"{MOST_UNPACKED} times its size: save it by numpy.savez, uncompressed."
                )
        needed = BYTES_PER_NUMBER // 8 * sum(member.file_size for member in members.values())
        check_memory(needed, str(path), "give a smaller network")
        for name, member in members.items():
            with archive.open(member) as file:
                if file.read(len(numpy.lib.format.MAGIC_PREFIX)) != numpy.lib.format.MAGIC_PREFIX:
                    raise ValueError(f"{path} holds {name}, which is no array: take it out.")
            with archive.open(member) as file:
                header = _header(file)
                _check_claim(
                    header, member.file_size - file.tell(), f"{name} in {path}", "numpy.savez"
                )
            with archive.open(member) as file:
                arrays[name] = numpy.lib.format.read_array(file, allow_pickle=False)
                # To the end, where the checksum is compared.
                if file.read(1):
                    raise ValueError(f"{name} in {path} is followed by other data: take it out.")
    return arrays


def _header(file: IO[bytes]) -> Header:
    """Read what an NPY file says of its array, up to where its numbers begin."""
    major, _ = numpy.lib.format.read_magic(file)
    read = {
        1: numpy.lib.format.read_array_header_1_0,
        2: numpy.lib.format.read_array_header_2_0,
    }
    if major not in read:
        raise ValueError(f"an array in version {major} of the format holds no plain numbers.")
    shape, _, dtype = read[major](file)
    if not all(type(size) is int and size >= 0 for size in shape):
        raise ValueError(f"{shape!s:.80} is no shape: save the array again by numpy.")
    return Header(shape, dtype)


def _check_claim(header: Header, there: int, name: str, how: str) -> None:
    """Refuse an array that is none of numbers, or claims more bytes than are there."""
    if header.dtype.hasobject:
        raise ValueError(f"{name} holds Python objects: save numbers, by {how}.")
    if header.n_bytes > there:
        raise ValueError(
            f"{name} claims {in_words(header.n_bytes)} of numbers, but holds {in_words(there)}: "
            f"save it again by {how}."
        )


def in_type(array: Array, dtype: numpy.dtype) -> Array:
    """Return an array in a type of floats; in double precision if it would overflow."""
    if dtype.kind != "f":
        return array
    with numpy.errstate(over="ignore"):
        converted = array.astype(dtype)
    return converted if numpy.isfinite(converted).all() else array
