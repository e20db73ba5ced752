"""Arrays in files: names of every kind, and types."""

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
