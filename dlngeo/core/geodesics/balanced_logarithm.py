r"""Logarithm and distance of the balanced manifold: shooting along shortened turns.

First guesses are the first velocities of explicit curves between the two points
(`dlngeo.core.geodesics.search.balanced_turns`) that have been shortened. The shots go on beyond the
boundary, where a singular value vanishes, as the equations do; geodesics that are accepted stay
inside.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise
from typing import Any, NamedTuple

import numpy

from dlngeo.core.balanced.submanifold import checked_layers
from dlngeo.core.base.arrays import Array, from_numpy, namespace, to_numpy, transpose
from dlngeo.core.base.checks import in_batch
from dlngeo.core.base.packing import Shape, flatten_batch, pack, take, unpack
from dlngeo.core.geodesics.charts.balanced_chart import BalancedChart
from dlngeo.core.geodesics.connections import Connection, Verdict, check_found
from dlngeo.core.geodesics.injectivity import proved_radius_of_factors
from dlngeo.core.geodesics.search.balanced_turns import balanced_turns
from dlngeo.core.geodesics.search.chords import SEGMENTS, shorten
from dlngeo.core.geodesics.search.factor_spaces import FactorSpace, factor_space
from dlngeo.core.geodesics.search.shots import MOST_STEPS
from dlngeo.core.networks.factors import Factors, in_kind
from dlngeo.core.networks.frames import BalancedFrames, balanced_frames
from dlngeo.core.numerics.integration import Status
from dlngeo.core.numerics.shooting import (
    CONVERGED,
    Aim,
    Attempt,
    Found,
    Miss,
    aim_at,
    norms,
    search,
    shoot,
    unit_vectors,
)

# Turns of a pair that are shortened, and the length of a shortened curve, in units of the shortest,
# up to which it is followed.
_MOST_TURNS, _PROMISING = 3, 1.02
# Part of its norm by which a guess differs from another one, to be tried.
_NEAREST = 0.05
# Largest distance of the end of an accepted geodesic, in parameter space.
_PRECISION = 10 * CONVERGED
# The same for geodesics that pass the boundary, which are told of alone.
_PASSING = 1e-5
# Tolerance of the integrations that tell whether they do: exacter ones take too many steps near it.
_ROUGH = 1e-8


@dataclass(frozen=True)
class _Shots:
    """Shots at points, which go on beyond the boundary.

    Attributes
    ----------
    miss : callable
        Displacements along the tangent spaces, see `dlngeo.core.numerics.shooting.Miss`.
    stay_inside : callable
        From velocities, and distances of the ends, to which geodesics do not pass the boundary.
    """

    miss: Miss
    stay_inside: Callable[[numpy.ndarray, numpy.ndarray], numpy.ndarray]

    def __call__(
        self, index: numpy.ndarray, u: numpy.ndarray, tolerance: numpy.ndarray
    ) -> numpy.ndarray:
        return self.miss(index, u, tolerance)


def _shoot(
    shots: Any, start: numpy.ndarray, inverse: numpy.ndarray
) -> tuple[numpy.ndarray, numpy.ndarray]:
    """Return what `shoot` does; of what it finds only geodesics that stay inside count."""
    u, defect = shoot(shots, start, inverse)
    return u, numpy.where(shots.stay_inside(u, defect), defect, numpy.inf)


class _TurnSearch(NamedTuple):
    """Search for geodesics between balanced factors, from their turns.

    Attributes
    ----------
    source, target : FactorSpace
    chart : BalancedChart
    shapes : sequence of pairs of int
        Shapes of the factors.
    passes : array of bool, shape=[b]
        Between which points a geodesic was found that passes the boundary.
    """

    source: FactorSpace
    target: FactorSpace
    chart: BalancedChart
    shapes: Sequence[Shape]
    passes: numpy.ndarray

    def _gap(
        self,
        chart: BalancedChart,
        here: FactorSpace,
        there: FactorSpace,
        velocity: numpy.ndarray,
        length: numpy.ndarray,
        tolerance: numpy.ndarray,
    ) -> numpy.ndarray:
        """Return where geodesics are after a length, from the second points."""
        state = chart.enter(here.balanced, unpack(velocity, self.shapes))
        trajectory = chart.flow(state, length, tolerance, MOST_STEPS)
        return pack(chart.leave(trajectory.arrival)[0]) - there.point

    def _aim(self, pairs: numpy.ndarray) -> Aim:
        here, there = take((self.source, self.target), pairs)
        beyond = replace(self.chart, goes_on=True)
        aim = aim_at(there, here, partial(self._gap, beyond))

        def stay_inside(u: numpy.ndarray, defect: numpy.ndarray) -> numpy.ndarray:
            direction, length = unit_vectors(u)
            state = self.chart.enter(here.balanced, unpack(here.unpack(direction), self.shapes))
            with numpy.errstate(all="ignore"):  # a shot may have gone wild
                flow = self.chart.flow(state, length, _ROUGH, MOST_STEPS)
            is_inside = flow.status == Status.ARRIVED
            self.passes[pairs] |= ~is_inside & (defect <= _PASSING)
            return is_inside

        return aim._replace(miss=_Shots(aim.miss, stay_inside))

    def along_shortened_turns(self, found: Found) -> Iterator[Attempt]:
        """Shoot from the first velocities of the shortest curves."""
        pair, turns = balanced_turns(self.source.balanced, self.target.balanced, _MOST_TURNS)
        parts = numpy.full((len(pair), SEGMENTS), 1 / SEGMENTS)
        points, length = shorten(turns.points(SEGMENTS), parts, self.shapes, self.chart.rank)
        order = numpy.lexsort((length, pair))
        pair, points, length = pair[order], points[order], length[order]
        guess = SEGMENTS * take(self.source, pair).pack(points[:, 1] - points[:, 0])
        first = numpy.searchsorted(pair, pair)
        place = numpy.arange(len(pair)) - first
        is_promising = length <= _PROMISING * length[first]
        for count in range(_MOST_TURNS):
            chosen = numpy.flatnonzero(place == count)
            chosen = chosen[is_promising[chosen] | ~found.is_found[pair[chosen]]]
            yield self._attempt(found, pair[chosen], guess[chosen])

    def along_chords(self, found: Found) -> Iterator[Attempt]:
        """Shoot from the chords of parameter space, where no geodesic passes the boundary."""
        lost = found.missing
        lost = lost[~self.passes[lost]]
        chord = self.source.pack(self.target.point - self.source.point)
        yield self._attempt(found, lost, chord[lost])

    def _attempt(self, found: Found, pairs: numpy.ndarray, guess: numpy.ndarray) -> Attempt:
        is_new = found.is_new(pairs, guess, _NEAREST)
        pairs, guess = pairs[is_new], guess[is_new]
        return Attempt(pairs, guess, [self._aim(pairs)])


def _check_components(
    source: BalancedFrames, target: BalancedFrames, batch: tuple[int, ...]
) -> None:
    """Raise a ValueError if no path joins two points of a batch.

    The balanced manifold is the quotient of ``Π_p St(d_p, r)`` and the positive matrices by
    ``O(r)``. Of these factors those with ``d_p = r`` have two components each.
    """
    wide = [p for p, frame in enumerate(source.frames) if frame.shape[-2] == frame.shape[-1]]
    signs = [
        numpy.sign(numpy.linalg.det(transpose(target.frames[p]) @ source.frames[p])) for p in wide
    ]
    for (p, q), (sign, other) in zip(pairwise(wide), pairwise(signs), strict=True):
        apart = (sign != other).reshape(batch)
        if apart.any():
            name = f"factor {q}" if q == p + 1 else f"the product of factors {p + 1} to {q}"
            raise ValueError(
                f"no path of balanced factors of rank {source.lam.shape[-1]} joins points at which "
                f"{name} has determinants of opposite signs{in_batch(apart)}: take pairs of "
                "one sign."
            )


def balanced_connect(factors: Factors, point: Factors, rank: int | None = None) -> Connection:
    """Return the shortest geodesics of the balanced manifold found between pairs of points.

    The bound of the lengths is the chord in parameter space. A geodesic is proved to be the
    shortest path (`is_certified`) if it is straight, or shorter than the radius, a fraction of the
    distance to the boundary, which is zero where a hidden layer is wider than the rank.

    Parameters
    ----------
    factors : array-like, shape=[..., N, d, d], or sequence of shape=[..., d_p, d_{p-1}]
        Balanced factors, the initial points.
    point : the same shapes
        Balanced factors, the points at time one.
    rank : int, optional
        Rank of the factors, ``min(widths)`` by default.

    Returns
    -------
    connection : Connection
        With velocities like the factors.

    Raises
    ------
    ValueError
        If the factors are not balanced of this rank, shapes do not fit, an entry is NaN or
        infinite, or no path joins two points: the product of the factors between two layers
        that are as wide as the rank has determinants of opposite signs.

    Notes
    -----
    The manifold ends where a singular value vanishes, and there are pairs of which the shortest
    curves lead through there: they are joined by no geodesic, or by a longer one.

    References
    ----------
    THEORY 2.
    """
    parts, rank = checked_layers(factors, point, rank=rank)
    arrays = sum(parts, start=())
    namespace(*arrays)
    hosts = [tuple(map(to_numpy, part)) for part in parts]
    lam, _ = (balanced_frames(part, rank).lam for part in hosts)  # errors tell places in batches
    batch, (scale, *flat) = flatten_batch(lam[..., None, :], *hosts[0], *hosts[1])
    layers, points = flat[: len(parts[0])], flat[len(parts[0]) :]
    shapes = [w.shape[-2:] for w in layers]
    unit = scale[:, :, :1]
    source, target = (factor_space([w / unit for w in part], rank) for part in (layers, points))
    _check_components(source.balanced, target.balanced, batch)
    chart = BalancedChart(tuple(q.shape[-2] for q in source.balanced.frames), rank)
    ways = _TurnSearch(source, target, chart, shapes, numpy.zeros(len(unit), dtype=bool))

    strategies = [ways.along_shortened_turns, ways.along_chords]
    found = search(len(unit), source.dimension, strategies, _shoot, _PRECISION)
    velocity = unpack(source.unpack(found.velocity), shapes)
    results = [
        from_numpy((unit * v).reshape(*batch, *shape), array)
        for v, shape, array in zip(velocity, shapes, arrays, strict=False)
    ]
    # The bound of the radius is proved where no hidden layer is wider than the rank.
    is_narrow = all(rows == rank for rows, _ in shapes[:-1])
    largest = numpy.maximum(source.balanced.lam, target.balanced.lam)
    radius = is_narrow * proved_radius_of_factors(largest, len(shapes)) * unit[:, 0, 0]
    why = numpy.where(ways.passes, Verdict.PASSES_BOUNDARY, Verdict.NOT_REACHED)
    verdict = numpy.where(found.is_found, Verdict.FOUND, why)
    return Connection(
        in_kind(results, factors),
        from_numpy((norms(found.velocity) * unit[:, 0, 0]).reshape(batch), arrays[0]),
        found.residual.reshape(batch),
        verdict.reshape(batch),
        # Straight lines of parameter space are no longer.
        (norms(target.point - source.point) * unit[:, 0, 0]).reshape(batch),
        radius.reshape(batch),
        found.number.reshape(batch),
    )


def balanced_log(factors: Factors, point: Factors, rank: int | None = None) -> Factors:
    """Return the logarithm of the balanced manifold: the velocity of the shortest geodesic found.

    Parameters and errors as in `balanced_connect`.

    Returns
    -------
    velocity : like factors

    Raises
    ------
    RuntimeError
        If no geodesic was found for a pair; `balanced_connect` tells for which.

    References
    ----------
    THEORY 2.
    """
    return check_found(balanced_connect(factors, point, rank), "balanced_connect").velocity


def balanced_dist(factors: Factors, point: Factors, rank: int | None = None) -> Array:
    """Return the length of the shortest geodesic found between points, at least the distance.

    Parameters and errors as in `balanced_log`.

    Returns
    -------
    dist : array-like, shape=[...]
    """
    return check_found(balanced_connect(factors, point, rank), "balanced_connect").length
