r"""Boundary value problems by shooting, in batches.

Find initial velocities ``u`` whose geodesics end where they should. The end of a geodesic is
a smooth function of ``u`` that costs an integration; Jacobians by differences cost one for
every dimension, all of them in one batch.

A metric feeds `search` with *strategies*: ways to make attempts at pairs of points which no
strategy before has joined. An *attempt* is a first guess and the *aims* through which it is
followed, one after the other; one aim is plain shooting, several are a continuation. Velocities
have coordinates in an orthonormal basis.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple, Protocol

import numpy

from dlngeo.core.base.arrays import transpose
from dlngeo.core.base.packing import take

CONVERGED = 1e-10
"""Largest displacement of the end of an accepted geodesic."""

FINEST = 1e-12
"""Tolerance of the integrations in the last iterations."""

_COARSEST = 1e-8
_GOAL = 3e-11
_MOST_ITERATIONS = 40

Miss = Callable[[numpy.ndarray, numpy.ndarray, numpy.ndarray], numpy.ndarray]
"""``miss(index, u, tolerance)``: displacements ``[k, n]`` of the ends of the problems
``index [k]`` with velocities ``u [k, n]``; not finite where a geodesic does not arrive."""


def norms(vectors: numpy.ndarray) -> numpy.ndarray:
    """Return Euclidean norms, shape=[..., n] to [...]."""
    return numpy.sqrt(numpy.einsum("...i,...i->...", vectors, vectors))


def unit_vectors(vectors: numpy.ndarray) -> tuple[numpy.ndarray, numpy.ndarray]:
    """Return vectors over their norms, and the norms; zero stays."""
    length = norms(vectors)
    return vectors / numpy.where(length == 0, 1, length)[..., None], length


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


Solver = Callable[[Miss, numpy.ndarray, numpy.ndarray], tuple[numpy.ndarray, numpy.ndarray]]
"""What `shoot` is: from first guesses to velocities and the displacements that are left."""


class Aim(NamedTuple):
    """Where geodesics shall end.

    Attributes
    ----------
    miss : callable
        See `Miss`.
    inverse : array, shape=[b, n, n]
        Inverses of approximate Jacobians.
    part : float
        Part of the way to the second points at which the aims lie: from one aim to the next the
        guess grows in proportion.
    """

    miss: Miss
    inverse: numpy.ndarray
    part: float = 1.0


class Attempt(NamedTuple):
    """Guesses for some pairs, and the aims through which they are followed.

    Attributes
    ----------
    pairs : array of int, shape=[k]
        Which ones.
    start : array, shape=[k, n]
        Guesses of the velocities to the second points.
    aims : iterable of Aim
    gives_up : bool
        Whether it ends at the first of the aims that no pair reaches.
    """

    pairs: numpy.ndarray
    start: numpy.ndarray
    aims: Iterable[Aim]
    gives_up: bool = False


Strategy = Callable[[numpy.ndarray], Iterable[Attempt]]
"""From the pairs that no strategy before has joined to attempts at some of them."""


class Found(NamedTuple):
    """What a search has found.

    Attributes
    ----------
    velocity : array, shape=[b, n]
        Velocities of the shortest geodesics that were found; NaN where there is none.
    residual : array, shape=[b]
        Least displacement of an end.
    """

    velocity: numpy.ndarray
    residual: numpy.ndarray

    @property
    def is_found(self) -> numpy.ndarray:
        """Which pairs are joined, shape=[b]."""
        return numpy.isfinite(self.velocity).all(axis=1)


def search(
    count: int,
    dimension: int,
    strategies: Sequence[Strategy],
    solver: Solver = shoot,
    precision: float = CONVERGED,
) -> Found:
    """Join pairs of points by strategies in turn, and keep the shortest geodesics.

    Parameters
    ----------
    count, dimension : int
        Number of pairs, and of coordinates.
    strategies : sequence of Strategy
    solver : Solver
    precision : float
        Largest displacement of the end of an accepted geodesic.

    Returns
    -------
    found : Found
    """
    velocity = numpy.full((count, dimension), numpy.nan)
    length, residual = numpy.full((2, count), numpy.inf)
    for strategy in strategies:
        lost = numpy.flatnonzero(numpy.isinf(length))
        if not len(lost):
            break
        for pairs, u, aims, gives_up in strategy(lost):
            part = 1.0
            for aim in aims:
                u, defect = solver(aim.miss, u * (aim.part / part), aim.inverse)
                part = aim.part
                if gives_up and not (defect <= precision).any():
                    break
            residual[pairs] = numpy.fmin(residual[pairs], defect)
            reach = numpy.where(defect <= precision, norms(u), numpy.inf)
            is_shorter = reach < length[pairs]
            better = pairs[is_shorter]
            length[better], velocity[better] = reach[is_shorter], u[is_shorter]
    return Found(velocity, residual)


class Space(Protocol):
    """Points, and coordinates of their tangent vectors; a named tuple of arrays ``[b, ...]``."""

    @property
    def dimension(self) -> int:
        """Number ``n`` of coordinates."""

    def pack(self, vector: Any) -> numpy.ndarray:
        """Return the coordinates of a vector, shape=[..., n]."""

    def unpack(self, coordinates: numpy.ndarray) -> Any:
        """Return the vector of which `pack` gives the coordinates."""


def aim_at(
    target: Space,
    source: Space,
    gap: Callable,
    pull_back: Callable = lambda gap, source, target: gap,
    part: float = 1.0,
) -> Aim:
    """Return the aim at points.

    Parameters
    ----------
    target, source : Space
        Points, and where geodesics start, with orthonormal coordinates.
    gap : callable
        ``gap(source, target, velocity, length, tolerance)``: vectors at the target from there to
        where geodesics with unit velocities are after a length; NaN where they do not arrive.
    pull_back : callable
        ``pull_back(gap, source, target)``: about the change of the velocity that makes a gap,
        first of all that of a straight line.
    part : float
        See `Aim`.
    """

    here, there = (take(space, (slice(None), None)) for space in (source, target))
    gaps = there.unpack(numpy.eye(source.dimension)[None])
    inverse = transpose(here.pack(pull_back(gaps, here, there)))
    every = numpy.arange(len(inverse))

    def miss(index: numpy.ndarray, u: numpy.ndarray, tolerance: numpy.ndarray) -> numpy.ndarray:
        here, there = source, target
        if not numpy.array_equal(index, every):
            here, there = take(source, index), take(target, index)
        direction, length = unit_vectors(u)
        velocity = here.unpack(direction)
        with numpy.errstate(all="ignore"):  # a shot may go wild
            return there.pack(gap(here, there, velocity, length, tolerance))

    return Aim(miss, inverse, part)
