"""The largest eigenvalue of a symmetric operator, by Lanczos' recursion of three terms.

Without orthogonalisation against all earlier vectors, round-off makes copies of eigenvalues that
have been found; the ends of the spectrum are not moved by them, and three vectors are enough.
"""

from collections.abc import Callable

import numpy
import scipy.linalg

from dlngeo.core.base.arrays import Array


def largest_eigenvalue(
    product: Callable[[Array], Array], size: int, tolerance: float, most_steps: int
) -> tuple[float, bool]:
    """Return the largest eigenvalue, and whether it has converged.

    Parameters
    ----------
    product : callable
        The operator, from vectors to vectors, shape=[size].
    size : int
    tolerance : float
        Bound of the residual of the eigenvector, and so of the error, relative to the norm of
        the operator.
    most_steps : int
        Number of products after which it gives up.

    References
    ----------
    B. Parlett, *The symmetric eigenvalue problem*, SIAM 1998, ch. 13.
    """
    vector = numpy.random.default_rng(0).standard_normal(size)
    vector /= scipy.linalg.norm(vector)
    before, off_diagonal = numpy.zeros(size), 0.0
    diagonal: list[float] = []
    off_diagonals: list[float] = []
    while True:
        image = product(vector) - off_diagonal * before
        diagonal.append(float(vector @ image))
        image -= diagonal[-1] * vector
        off_diagonal = float(scipy.linalg.norm(image))  # at every scale, unlike NumPy's
        steps = len(diagonal)
        is_last = steps >= most_steps or off_diagonal == 0
        if is_last or steps % max(4, steps // 16) == 0 or steps == 1:
            value, share, norm = _ritz(diagonal, off_diagonals)
            is_converged = off_diagonal * share <= tolerance * norm
            if is_converged or is_last:
                return value, is_converged
        off_diagonals.append(off_diagonal)
        before, vector = vector, image / off_diagonal


def _ritz(diagonal: list[float], off_diagonals: list[float]) -> tuple[float, float, float]:
    """Return the largest eigenvalue, the last entry of its vector, and the norm."""
    last = len(diagonal) - 1
    # LAPACK squares the entries.
    unit = max(map(abs, diagonal + off_diagonals)) or 1.0
    matrix = numpy.divide(diagonal, unit), numpy.divide(off_diagonals, unit)
    values, vectors = scipy.linalg.eigh_tridiagonal(*matrix, select="i", select_range=(last, last))
    lowest = scipy.linalg.eigvalsh_tridiagonal(*matrix, select="i", select_range=(0, 0))
    norm = max(abs(float(values[0])), abs(float(lowest[0])))
    return unit * float(values[0]), abs(float(vectors[-1, 0])), unit * norm
