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


def frame_log(
    frame: numpy.ndarray, null: numpy.ndarray, goal: numpy.ndarray, goal_null: numpy.ndarray
) -> numpy.ndarray:
    """Return the generator of a rotation that takes a frame to another one, in the first.

    Parameters
    ----------
    frame, goal : array, shape=[..., d, r]
        Square frames must have determinants of equal signs.
    null, goal_null : array, shape=[..., d, d - r]
        Bases of their complements.

    Returns
    -------
    generator : array, shape=[..., d, d]
        Skew, in the basis of the frame and its complement.
    """
    start = numpy.concatenate([frame, null], axis=-1)
    left, _, right = numpy.linalg.svd(transpose(goal_null) @ null)
    end = numpy.concatenate([goal, goal_null @ left @ right], axis=-1)
    if null.shape[-1]:
        # The null space follows as it is nearest, but for a reflection of the farthest part.
        left[..., -1] *= numpy.sign(numpy.linalg.det(transpose(start) @ end))[..., None]
        end = numpy.concatenate([goal, goal_null @ left @ right], axis=-1)
    return rotation_log(transpose(start) @ end)
