"""Arrays in files: names of every kind, and types."""

import zipfile

import numpy
import pytest

from dlngeo.app.files.array_archives import in_type, load_arrays, save_arrays


def test_names_of_every_kind(tmp_path):
    arrays = {name: numpy.arange(3.0) for name in ("file", "allow_pickle", "a/b", "é", "x.npy")}
    save_arrays(tmp_path / "arrays.npz", arrays)
    assert list(load_arrays(tmp_path / "arrays.npz")) == list(arrays)


@pytest.mark.parametrize(
    ("largest", "dtype", "kept"),
    [(6e4, "f2", "f2"), (9e4, "f2", "f8"), (9e4, "f4", "f4"), (1e40, "f4", "f8"), (2, "i4", "f8")],
)
def test_types_hold_what_is_written(largest, dtype, kept):
    converted = in_type(numpy.array([1.0, largest]), numpy.dtype(dtype))
    assert converted.dtype == numpy.dtype(kept)
    assert converted[1] == pytest.approx(largest, rel=1e-3)


@pytest.mark.parametrize("method", [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_compressed_arrays_of_every_kind(tmp_path, method):
    matrix = numpy.arange(6.0).reshape(2, 3)
    kinds = {
        "columns": numpy.asfortranarray(matrix),
        "bytes": matrix.astype(">f8"),
        "half": matrix.astype("f2"),
        "part": matrix[:, ::2],
    }
    with zipfile.ZipFile(tmp_path / "arrays.npz", "w", method) as archive:
        for name, array in kinds.items():
            with archive.open(f"{name}.npy", "w") as member:
                numpy.lib.format.write_array(member, array)
    read = load_arrays(tmp_path / "arrays.npz")
    for name, array in kinds.items():
        assert numpy.array_equal(read[name], array)
        assert read[name].dtype == array.dtype


def test_arrays_that_unpack_to_much_more_are_refused(tmp_path):
    numpy.savez_compressed(tmp_path / "small.npz", numpy.zeros(10**5))
    assert load_arrays(tmp_path / "small.npz")["arr_0"].shape == (10**5,)
    numpy.savez_compressed(tmp_path / "large.npz", numpy.zeros(3 * 10**6))
    with pytest.raises(ValueError, match=r"arr_0 in .*large\.npz unpacks to 22\.9 MiB, more than"):
        load_arrays(tmp_path / "large.npz")
