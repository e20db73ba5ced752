r"""Boundary value problems by shooting, in batches.

Find initial velocities ``u`` whose geodesics end where they should. The end of a geodesic is
a smooth function of ``u`` that costs an integration; Jacobians by differences cost one for
every dimension, all of them in one batch.
"""

from collections.abc import Callable

import numpy

CONVERGED = 1e-10
"""Largest displacement of the end of an accepted geodesic."""

FINEST = 1e-12
"""Tolerance of the integrations in the last iterations."""

_COARSEST = 1e-8
_GOAL = 3e-11
_MOST_ITERATIONS = 40

Miss = Callable[[numpy.ndarray, numpy.ndarray, numpy.ndarray], numpy.ndarray]
"""``miss(index, u, tolerance)``: displacements ``[k, n]`` of the ends of the problems
``index [k]`` with velocities ``u [k, n]``; infinite where a geodesic does not arrive."""


def norms(vectors: numpy.ndarray) -> numpy.ndarray:
    """Return Euclidean norms, shape=[..., n] to [...]."""
    return numpy.sqrt(numpy.einsum("...i,...i->...", vectors, vectors))


def shoot(
    miss: Miss, start: numpy.ndarray, inverse: numpy.ndarray
) -> tuple[numpy.ndarray, numpy.ndarray]:
    """Return velocities for which the displacement vanishes, and the displacement left.

    Broyden's method from a given Jacobian; where it does not contract, one by differences
    takes its place, and where that does not, the step is shortened. A start that runs into
    the boundary is shortened first.

    Parameters
    ----------
    miss : callable
        See `Miss`.
    start : array, shape=[b, n]
        First guesses.
    inverse : array, shape=[b, n, n]
        Inverses of approximate Jacobians.

    Returns
    -------
    u : array, shape=[b, n]
    defect : array, shape=[b]
        Norm of the displacement; infinite if no start arrived.
    """
    u, inverse = start.copy(), inverse.copy()
    every = numpy.arange(len(u))
    ends = miss(every, u, numpy.full(len(u), _COARSEST))
    for _ in range(12):
        lost = every[~numpy.isfinite(ends).all(axis=1)]
        if not len(lost):
            break
        u[lost] *= 0.7
        ends[lost] = miss(lost, u[lost], numpy.full(len(lost), _COARSEST))
    defect = norms(ends)
    is_fresh = numpy.zeros(len(u), dtype=bool)
    share = numpy.ones(len(u))
    for _ in range(_MOST_ITERATIONS):
        active = every[(defect > _GOAL) & numpy.isfinite(defect) & (share > 1e-4)]
        if not len(active):
            break
        step = -share[active, None] * (inverse[active] @ ends[active, :, None])[..., 0]
        # Beyond half of the length the linear model means nothing.
        bound = norms(u[active]) / 2 + defect[active]
        step *= numpy.minimum(1, bound / numpy.maximum(norms(step), 1e-300))[:, None]
        tolerance = numpy.clip(1e-5 * defect[active], FINEST, _COARSEST)
        new = miss(active, u[active] + step, tolerance)
        new_defect = norms(new)
        is_better = new_defect < defect[active]
        contracts = new_defect < 0.2 * defect[active]
        better = active[is_better]
        inverse[better] = _updated(inverse[better], step[is_better], new[is_better] - ends[better])
        u[better] += step[is_better]
        ends[better], defect[better] = new[is_better], new_defect[is_better]
        # A step that does not help is shortened, if the Jacobian is not to blame; at the
        # level of round-off it is the last one.
        worse = active[~is_better]
        share[better] = 1.0
        share[worse] /= numpy.where(is_fresh[worse], 3.0, 1.0)
        share[worse[defect[worse] < CONVERGED / 10]] = 0.0
        is_fresh[better] = False
        stale = active[~contracts & ~is_fresh[active] & (share[active] > 0)]
        if len(stale):
            inverse[stale] = _inverse_jacobian(miss, stale, u[stale], ends[stale])
            is_fresh[stale] = True
    return u, defect


def _updated(inverse: numpy.ndarray, step: numpy.ndarray, change: numpy.ndarray) -> numpy.ndarray:
    """Return Broyden's update of inverse Jacobians, ``J step = change``."""
    image = (inverse @ change[..., None])[..., 0]
    row = numpy.einsum("bi,bij->bj", step, inverse)
    length = numpy.einsum("bi,bi->b", step, image)
    length = numpy.where(length == 0, numpy.inf, length)
    return inverse + (step - image)[:, :, None] * (row / length[:, None])[:, None, :]


def _inverse_jacobian(
    miss: Miss, index: numpy.ndarray, u: numpy.ndarray, ends: numpy.ndarray
) -> numpy.ndarray:
    """Return inverses of Jacobians by differences."""
    size, n = u.shape
    step = 1e-5 * numpy.maximum(1e-2, norms(u))[:, None, None]
    moved = (u[:, None, :] + step * numpy.eye(n)).reshape(-1, n)
    images = miss(numpy.repeat(index, n), moved, numpy.full(size * n, _COARSEST))
    change = (images.reshape(size, n, n) - ends[:, None, :]) / step
    jacobian = numpy.where(numpy.isfinite(change), change, 0.0).swapaxes(-1, -2)
    try:
        return numpy.linalg.inv(jacobian)
    except numpy.linalg.LinAlgError:  # a column was lost at the boundary
        return numpy.linalg.pinv(jacobian, rcond=1e-12)
