"""The two components of square matrices of full rank, by the sign of the determinant."""

from dlngeo.core.base.arrays import Array, namespace, transpose
from dlngeo.core.base.checks import shown
from dlngeo.core.networks.frames import SingularFrames

SIGNS = {"positive": 1, "negative": -1}
"""The components by name, and the signs of their determinants."""


def check_determinant(determinant: str | None) -> None:
    """Raise a ValueError if no component has that name, and it is not None."""
    if determinant is not None and not (isinstance(determinant, str) and determinant in SIGNS):
        raise ValueError(
            f"determinant must be 'positive', 'negative' or None, got {shown(determinant)}."
        )


def is_across(matrix: Array, determinant: str | None) -> Array:
    """Tell which matrices are of the other component than the one that is named, shape=[...].

    Where none is named there is no other: then matrices may have any shape.
    """
    xp = namespace(matrix)
    if determinant is None:
        return xp.zeros_like(matrix[..., 0, 0], dtype=xp.bool)
    return xp.linalg.slogdet(matrix)[0] == -SIGNS[determinant]


def determinant_sign(matrix: SingularFrames) -> Array:
    """Return the sign of ``det`` of square matrices of full rank, in frames, shape=[...].

    That of the frames is right where small values would be lost to round-off.
    """
    return namespace(matrix.left).linalg.slogdet(matrix.left @ transpose(matrix.right))[0]
