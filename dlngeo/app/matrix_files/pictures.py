"""Pictures, in which transparent pixels are missing."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy
from PIL import Image, ImageOps, UnidentifiedImageError

from dlngeo.app.matrix_files.base import WholeMatrix
from dlngeo.core.base.arrays import Array


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
        try:
            with Image.open(path) as image:
                name = str(image.format)
                picture = ImageOps.exif_transpose(image)
        except (UnidentifiedImageError, SyntaxError) as error:
            raise ValueError(
                f"{path} is not a table (.csv, .tsv, .txt), an array (.npy) or a picture that can "
                "be read: convert it to one of them."
            ) from error
        if picture.mode in ("I", "F") or picture.mode.startswith("I;"):
            raise ValueError(f"{path} has pixels of mode {picture.mode}: convert it to 8 bits.")
        return cls.of(picture, name)

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
        pixels = numpy.rint(self._pixels(completed)).astype(numpy.uint8)
        image = Image.fromarray(pixels if self.channels > 1 else pixels[..., 0])
        image.save(path, format=self.format, quality=95)
