r"""Search for the shortest geodesics between matrices: shooting along turns.

Shooting starts from the mean velocities of explicit curves, the turns of
`dlngeo.core.geodesics.search.turns`, in the order of their lengths: from all that are not clearly
longer than the shortest one, and from further ones as long as nothing is found. Where a turn leads
to no geodesic that is shorter than it, it is shortened first, by Birkhoff's process: points on it
move to the middle of the geodesics between their neighbours.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy

from dlngeo.core.base.packing import take
from dlngeo.core.geodesics.charts.chart import ObservableChart
from dlngeo.core.geodesics.observable_curves import chart_of
from dlngeo.core.geodesics.search.spaces import MatrixSpace, metric_space
from dlngeo.core.geodesics.search.turns import Candidates, Turns, shortest_turns
from dlngeo.core.networks.blocks import Blocks, join, split
from dlngeo.core.networks.frames import SingularFrames
from dlngeo.core.numerics.shooting import (
    CONVERGED,
    FINEST,
    Aim,
    Attempt,
    Found,
    aim_at,
    norms,
    search,
    shoot,
    unit_vectors,
)

MOST_STEPS = 100
"""Steps of an integration after which a shot counts as lost."""

PROMISING = 1.06
"""Length of a turn, in units of the shortest turn, up to which shooting starts from it."""

# Of the process of Birkhoff: segments of a curve, sweeps over half of the points in between, and
# the displacement up to which local geodesics are found.
_SEGMENTS, _SWEEPS, _ROUGH = 4, 12, 1e-5
# Turns that are followed, in any case, as long as nothing is found.
_FURTHER = 3
# Iterations after which a rough geodesic counts as lost.
_FEW = 16
# Part of its norm by which a rough velocity differs from one that was found, to be a new one.
_SAME = 1e-2
# Part of its norm by which a guess differs from a velocity found before, to be tried.
_NEAREST = 0.05


class TurnSearch(NamedTuple):
    """Search for geodesics between matrices of a rank, from their turns.

    Attributes
    ----------
    source, target : MatrixSpace
        First and second matrices, with orthonormal coordinates.
    chart : ObservableChart
    candidates : Candidates
    """

    source: MatrixSpace
    target: MatrixSpace
    chart: ObservableChart
    candidates: Candidates

    def search(self) -> Found:
        """Return the shortest geodesics that are found."""
        size = len(self.source.frames.sigma)
        return search(size, self.source.dimension, [self.along_turns])

    @property
    def _is_curved(self) -> bool:
        """Whether there are null spaces on both sides, where geodesics part fast."""
        return 0 not in (*self.source.left_null.shape, *self.source.right_null.shape)

    def along_turns(self, found: Found) -> Iterator[Attempt]:
        """Shoot from the mean velocities of turns that may lead to shorter geodesics."""
        pair, length, velocity, turns = self.candidates
        rank = self.candidates.rank
        is_promising = length <= PROMISING * length[rank == 0][pair]
        for place in range(rank.max(initial=-1) + 1):
            chosen = numpy.flatnonzero(rank == place)
            is_missing = ~found.is_found[pair[chosen]] & (place < _FURTHER)
            chosen = chosen[is_promising[chosen] | is_missing]
            chosen = chosen[found.is_new(pair[chosen], velocity[chosen], _NEAREST)]
            if not len(chosen):
                continue
            pairs, guess, least = pair[chosen], velocity[chosen], found.length[pair[chosen]]
            if place == 0:
                yield self._attempt(pairs, guess)
                reached = norms(found.every[-1][pairs])
            else:
                guess, reached = self._rough_geodesics(pairs, guess)
                hopeful = numpy.isinf(least) | (reached <= least)
                hopeful &= found.is_new(pairs, guess, _SAME)
                yield self._attempt(pairs[hopeful], guess[hopeful])
                if not self._is_curved:
                    reached = found.length[pairs]
            # There is a geodesic that is shorter than the turn, mostly the one found from it.
            chosen = chosen[~(reached <= (1 + CONVERGED) * length[chosen])]
            if len(chosen):
                yield self._attempt(pair[chosen], self._shorten(pair[chosen], turns.take(chosen)))

    def _rough_geodesics(
        self, pairs: numpy.ndarray, guess: numpy.ndarray
    ) -> tuple[numpy.ndarray, numpy.ndarray]:
        """Return about where guesses lead, and the lengths, infinite where they lead nowhere."""
        aim = self.aim(*take(self[:2], pairs))
        u, defect = shoot(aim.miss, guess, aim.inverse, _SAME / 10, _FEW)
        return u, numpy.where(defect <= _SAME / 10, norms(u), numpy.inf)

    def _attempt(self, pairs: numpy.ndarray, velocity: numpy.ndarray) -> Attempt:
        return Attempt(pairs, velocity, [self.aim(*take(self[:2], pairs))])

    def _shorten(self, pairs: numpy.ndarray, turns: Turns) -> numpy.ndarray:
        """Return the initial velocities of curves that are shortened by Birkhoff's process.

        Points on the turns move to the middle of the geodesics between their neighbours, every
        second one at a time.
        """
        source, target = take(self[:2], pairs)
        inner = [turns.at(j / _SEGMENTS) for j in range(1, _SEGMENTS)]
        nodes = [source.frames, *inner, target.frames]
        for sweep in range(_SWEEPS):
            moving = range(1 + sweep % 2, _SEGMENTS, 2)
            before, own, after = (
                SingularFrames(*map(numpy.concatenate, zip(*places, strict=True)))
                for places in ([nodes[j + side] for j in moving] for side in (-1, 0, 1))
            )
            middle = self._middle(metric_space(before, turns.depth), own, after)
            for place, j in enumerate(moving):
                part = slice(place * len(pairs), (place + 1) * len(pairs))
                nodes[j] = take(middle, part)
        return _SEGMENTS * self._local_log(source, nodes[1])[0]

    def _middle(
        self, before: MatrixSpace, own: SingularFrames, after: SingularFrames
    ) -> SingularFrames:
        """Return the middles of geodesics between near points; points stay where none is found."""
        u, is_found = self._local_log(before, after)
        direction, length = unit_vectors(u)
        velocity = before.unpack(direction)
        end = self._flow(before, velocity, length / 2, _ROUGH)
        is_found &= numpy.isfinite(end).all(axis=1)
        still = self.chart.enter(own, 0 * velocity)
        return self.chart.decompose(numpy.where(is_found[:, None], end, still))[0]

    def _local_log(
        self, source: MatrixSpace, target: SingularFrames
    ) -> tuple[numpy.ndarray, numpy.ndarray]:
        """Return about the velocities to near points, and which ones lead there."""
        aim = self.aim(source, source._replace(frames=target))
        start = numpy.zeros((len(target.sigma), source.dimension))
        u, defect = shoot(aim.miss, start, aim.inverse, _ROUGH, _FEW)
        return u, defect <= 1e2 * _ROUGH

    def aim(self, source: MatrixSpace, target: MatrixSpace, part: float = 1.0) -> Aim:
        """Return the aim at points."""

        def pull_back(gap: Blocks, here: MatrixSpace, there: MatrixSpace) -> Blocks:
            return self.chart.pull_back(gap, here.frames, there.frames)

        # Displacements in the chart have no weights.
        weights = source.weights.map(numpy.ones_like)
        return aim_at(target._replace(weights=weights), source, self._gap, pull_back, part)

    def _gap(
        self,
        source: MatrixSpace,
        target: MatrixSpace,
        velocity: Blocks,
        length: numpy.ndarray,
        tolerance: numpy.ndarray,
    ) -> Blocks:
        end = self._flow(source, velocity, length, tolerance)
        return self.chart.displacement(end, target.frames)

    def _flow(
        self,
        source: MatrixSpace,
        velocity: Blocks,
        length: numpy.ndarray,
        tolerance: numpy.ndarray | float,
    ) -> numpy.ndarray:
        state = self.chart.enter(source.frames, velocity)
        return self.chart.flow(state, length, tolerance, MOST_STEPS).arrival

    def turn_round(self, velocity: numpy.ndarray, pairs: numpy.ndarray) -> numpy.ndarray:
        """Return the velocities at their ends of the geodesics backwards."""
        source, target = take(self[:2], pairs)
        direction, length = unit_vectors(velocity)
        end = self._flow(source, source.unpack(direction), length, FINEST)
        frames, tangent = self.chart.decompose(end)
        ambient = join(tangent, frames.left, frames.right)
        back = -length[:, None, None] * ambient
        guess = target.pack(split(back, target.frames.left, target.frames.right))
        aim = self.aim(target, source)
        polished, defect = shoot(aim.miss, guess, aim.inverse)
        return numpy.where((defect <= CONVERGED)[:, None], polished, guess)


def turn_search(
    source: SingularFrames, target: SingularFrames, depth: float, on_boundary: str = "raise"
) -> TurnSearch:
    """Return the search for geodesics between matrices, shape=[b, ...]."""
    here, there = (metric_space(frames, depth) for frames in (source, target))
    rows, columns, rank = *here.matrix.shape[-2:], source.sigma.shape[-1]
    chart = chart_of(rows, columns, rank, depth, on_boundary=on_boundary)
    crosses = on_boundary == "cross" and rows == columns == rank and depth < numpy.inf
    return TurnSearch(here, there, chart, shortest_turns(here, there, depth, crosses))
