"""Pictures as matrices: what cannot be written again is refused when it is read."""

import struct

import pytest
from PIL import Image

from dlngeo.app.files.matrix_files import Picture


def test_formats_that_cannot_be_written(tmp_path):
    """As that of Sun, which Pillow only reads."""
    header = struct.pack(">8I", 0x59A66A95, 4, 2, 8, 8, 1, 0, 0)
    (tmp_path / "a.ras").write_bytes(header + bytes(8))
    with pytest.raises(ValueError, match="of the format SUN, which cannot be written"):
        Picture.read(tmp_path / "a.ras")
    for format in ("PNG", "GIF", "TIFF", "JPEG", "BMP", "WEBP"):
        Image.new("RGB", (4, 2)).save(tmp_path / "picture", format)
        assert Picture.read(tmp_path / "picture").shape == (2, 12)
