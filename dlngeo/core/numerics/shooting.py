r"""Boundary value problems by shooting, in batches.

Find initial velocities ``u`` whose geodesics end where they should. The end of a geodesic is
a smooth function of ``u`` that costs an integration; Jacobians by differences cost one for
every dimension, all of them in one batch.

A metric feeds `search` with *strategies*: ways to make attempts at pairs of points, in view of
what was found before. An *attempt* is a first guess and the *aims* through which it is
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

COARSEST = 1e-5
"""Tolerance of those in the first ones, and of the differences for Jacobians."""

# Displacement, relative to lengths below one, from which on the coarsest tolerance does not serve.
_NEAR = 1e-3
# What a step with a Jacobian by differences leaves of a displacement, about.
_GAIN = 0.03
_GOAL = 3e-11
_MOST_ITERATIONS = 40
# Length below which displacements are lost to round-off, and such a displacement.
_SHORTEST, _ROUND_OFF = 1e-5, 1e-14
# Part of their norms by which velocities of distinct geodesics differ.
_DISTINCT = 1e-6

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
    miss: Miss,
    start: numpy.ndarray,
    inverse: numpy.ndarray,
    goal: float = _GOAL,
    most_iterations: int = _MOST_ITERATIONS,
    renews: bool = True,
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
    goal : float
        Displacement at which the iterations end, relative to lengths below one.
    most_iterations : int
    renews : bool
        Whether Jacobians by differences take the place of those that do not contract.

    Returns
    -------
    u : array, shape=[b, n]
    defect : array, shape=[b]
        Norm of the displacement; infinite if no start arrived.
    """
    u, inverse = start.copy(), inverse.copy()
    every = numpy.arange(len(u))
    ends = miss(every, u, numpy.full(len(u), COARSEST))
    for _ in range(12):
        lost = every[~numpy.isfinite(ends).all(axis=1)]
        if not len(lost):
            break
        u[lost] *= 0.7
        ends[lost] = miss(lost, u[lost], numpy.full(len(lost), COARSEST))
    defect = norms(ends)
    near = every[defect < _NEAR * numpy.clip(norms(u), _SHORTEST, 1)]
    if len(near):
        ends[near] = miss(near, u[near], _tolerance(defect[near]))
        defect = norms(ends)
    is_fresh = numpy.zeros(len(u), dtype=bool)
    share = numpy.ones(len(u))
    # A Jacobian costs as many integrations as there are coordinates, and has to gain more.
    enough = _GAIN ** (1 / (1 + u.shape[1]))
    for _ in range(most_iterations):
        # Displacements count in units of lengths below one.
        unit = numpy.clip(norms(u), _SHORTEST, 1)
        active = every[(defect > goal * unit) & numpy.isfinite(defect) & (share > 1e-4)]
        if not len(active):
            break
        step = -share[active, None] * (inverse[active] @ ends[active, :, None])[..., 0]
        # Beyond half of the length the linear model means nothing.
        bound = norms(u[active]) / 2 + defect[active]
        step *= numpy.minimum(1, bound / numpy.maximum(norms(step), 1e-300))[:, None]
        new = miss(active, u[active] + step, _tolerance(defect[active]))
        new_defect = norms(new)
        is_better = new_defect < defect[active]
        contracts = new_defect < enough * defect[active]
        better = active[is_better]
        inverse[better] = _updated(inverse[better], step[is_better], new[is_better] - ends[better])
        u[better] += step[is_better]
        ends[better], defect[better] = new[is_better], new_defect[is_better]
        # A step that does not help is shortened, if the Jacobian is not to blame; at the
        # level of round-off it is the last one.
        worse = active[~is_better]
        share[better] = 1.0
        share[worse] /= numpy.where(is_fresh[worse] | (not renews), 3.0, 1.0)
        share[worse[defect[worse] < numpy.maximum(CONVERGED / 10 * unit[worse], _ROUND_OFF)]] = 0.0
        is_fresh[better] = False
        stale = active[~contracts & ~is_fresh[active] & (share[active] > 0) & renews]
        if len(stale):
            inverse[stale] = inverse_jacobian(miss, stale, u[stale], ends[stale])
            is_fresh[stale] = True
    return u, defect


def _tolerance(defect: numpy.ndarray) -> numpy.ndarray:
    """Return the tolerance of the integrations for a step from a displacement."""
    return numpy.clip(1e-4 * defect, FINEST, COARSEST)


def _updated(inverse: numpy.ndarray, step: numpy.ndarray, change: numpy.ndarray) -> numpy.ndarray:
    """Return Broyden's update of inverse Jacobians, ``J step = change``."""
    image = (inverse @ change[..., None])[..., 0]
    row = numpy.einsum("bi,bij->bj", step, inverse)
    length = numpy.einsum("bi,bi->b", step, image)
    length = numpy.where(length == 0, numpy.inf, length)
    return inverse + (step - image)[:, :, None] * (row / length[:, None])[:, None, :]


def inverse_jacobian(
    miss: Miss, index: numpy.ndarray, u: numpy.ndarray, ends: numpy.ndarray
) -> numpy.ndarray:
    """Return inverses of Jacobians by differences, shape=[k, n, n].

    The displacements ``ends`` of the velocities are found as roughly as those beside them.
    """
    size, n = u.shape
    step = 1e-3 * numpy.maximum(1e-2, norms(u))[:, None, None]
    moved = (u[:, None, :] + step * numpy.eye(n)).reshape(-1, n)
    images = miss(numpy.repeat(index, n), moved, numpy.full(size * n, COARSEST))
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


class Found(NamedTuple):
    """What a search has found; it grows while the search goes on.

    Attributes
    ----------
    velocity : array, shape=[b, n]
        Velocities of the shortest geodesics that were found; NaN where there is none.
    length : array, shape=[b]
        Their norms; infinite where there is none.
    residual : array, shape=[b]
        Least displacement of an end.
    is_hard : array of bool, shape=[b]
        Which pairs some attempt did not join.
    every : list of array, shape=[b, n]
        All velocities that were found, from attempt to attempt.
    """

    velocity: numpy.ndarray
    length: numpy.ndarray
    residual: numpy.ndarray
    is_hard: numpy.ndarray
    every: list[numpy.ndarray]

    @property
    def is_found(self) -> numpy.ndarray:
        """Which pairs are joined, shape=[b]."""
        return numpy.isfinite(self.length)

    @property
    def missing(self) -> numpy.ndarray:
        """The pairs that are not joined, an index."""
        return numpy.flatnonzero(~self.is_found)

    @property
    def number(self) -> numpy.ndarray:
        """How many distinct geodesics were found, shape=[b]."""
        number = numpy.zeros(len(self.length), dtype=int)
        for place, u in enumerate(self.every):
            is_new = numpy.isfinite(u).all(axis=1)
            for earlier in self.every[:place]:
                is_new &= ~(norms(u - earlier) <= _DISTINCT * norms(u))
            number += is_new
        return number

    def is_new(self, pairs: numpy.ndarray, guess: numpy.ndarray, nearest: float) -> numpy.ndarray:
        """Tell which guesses are farther from all that was found than a part of its norm."""
        is_new = numpy.ones(len(pairs), dtype=bool)
        for earlier in self.every:
            u = earlier[pairs]
            is_new &= ~(norms(guess - u) <= nearest * norms(u))
        return is_new

    def add(self, pairs: numpy.ndarray, u: numpy.ndarray, defect: numpy.ndarray, precision: float):
        """Add what an attempt at some pairs has found."""
        self.residual[pairs] = numpy.fmin(self.residual[pairs], defect)
        has_arrived = defect <= precision
        length = numpy.where(has_arrived, norms(u), numpy.inf)
        is_shorter = length < self.length[pairs]
        better = pairs[is_shorter]
        self.length[better], self.velocity[better] = length[is_shorter], u[is_shorter]
        self.is_hard[pairs] |= ~has_arrived
        every = numpy.full_like(self.velocity, numpy.nan)
        every[pairs[has_arrived]] = u[has_arrived]
        self.every.append(every)


Strategy = Callable[[Found], Iterable[Attempt]]
"""From what the strategies before have found, and what is found meanwhile, to attempts."""


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
    found = Found(velocity, length, residual, numpy.zeros(count, dtype=bool), [])
    for strategy in strategies:
        for pairs, u, aims, gives_up in strategy(found):
            if not len(pairs):
                continue
            part = 1.0
            for aim in aims:
                u, defect = solver(aim.miss, u * (aim.part / part), aim.inverse)
                part = aim.part
                if gives_up and not (defect <= precision).any():
                    break
            found.add(pairs, u, defect, precision)
    return found


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
