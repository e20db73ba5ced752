"""Logarithms of rotations, in batches."""

import numpy

from dlngeo.core.base.arrays import transpose


def rotation_log(rotation: numpy.ndarray) -> numpy.ndarray:
    """Return the principal logarithms of rotations, shape=[..., d, d].

    At half turns it is one of those that there are.
    """
    size = rotation.shape[-1]
    skew = (rotation - transpose(rotation)) / 2
    cosine, frame = numpy.linalg.eigh((rotation + transpose(rotation)) / 2)
    skew = transpose(frame) @ skew @ frame
    sine = numpy.sqrt((skew**2).sum(axis=-2))
    is_half = (cosine < 0) & (sine < 1e-9)
    ratio = numpy.where(sine < 1e-9, 1.0, numpy.arctan2(sine, cosine) / numpy.maximum(sine, 1e-300))
    ratio = numpy.where(is_half, 0.0, ratio)
    skew = skew * (ratio[..., :, None] + ratio[..., None, :]) / 2
    # Eigenvalues -1 come first, in pairs.
    for k in range(0, size - 1, 2):
        half = numpy.where(is_half[..., k] & is_half[..., k + 1], numpy.pi, 0.0)
        skew[..., k + 1, k] += half
        skew[..., k, k + 1] -= half
    return frame @ skew @ transpose(frame)
