"""The two components of square matrices of full rank, by the sign of the determinant."""

from dlngeo.core.base.arrays import Array, namespace, transpose
from dlngeo.core.base.checks import in_batch, shown
from dlngeo.core.networks.frames import SingularFrames

SIGNS = {"positive": 1, "negative": -1}
"""The components by name, and the signs of their determinants."""


def check_determinant(determinant: str | None, space: str, *, has_components: bool) -> None:
    """Raise a ValueError if there is no component of that name in a space, in words."""
    if determinant is None:
        return
    if not (isinstance(determinant, str) and determinant in SIGNS):
        raise ValueError(
            f"determinant must be 'positive', 'negative' or None, got {shown(determinant)}."
        )
    if not has_components:
        raise ValueError(f"{space} are one space: leave out determinant={determinant!r}.")


def check_initial(matrix: Array, determinant: str | None) -> None:
    """Raise a ValueError if matrices are not of the component that chains are confined to."""
    is_other = is_across(matrix, determinant)
    if bool(is_other.any()):
        raise ValueError(
            f"expected initial matrices with {determinant} determinants, got others"
            f"{in_batch(is_other)}: start there, or leave out determinant= to sample both "
            "components."
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
