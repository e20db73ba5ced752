r"""Search for the shortest geodesics between matrices: shooting along turns.

Shooting starts from the mean velocity of an explicit curve, the shortest of the turns of
`dlngeo.core.geodesics.search.turns`. Other turns follow that are not clearly longer, do not unroll
on longer straight lines than the geodesic found, and do not belong to it: from those that do, steps
with its Jacobian lead to it. They are shortened first, by Birkhoff's process: points on them move
to the middle of the geodesics between their neighbours. So is the first one where it leads to no
geodesic that is shorter than it, and as long as nothing is found further ones are; in the end so
are those of pairs for which the shortest geodesic found is a saddle of the length.

Where null spaces on both sides bend the space most, at depths one and two, all turns are shortened
as curves of chords (`dlngeo.core.geodesics.search.lifted_turns`), and shooting only starts from
what they shrink to; so are, in the end, those of pairs that nothing else joins.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy

from dlngeo.core.base.packing import take
from dlngeo.core.geodesics.injectivity import conjugate_radius
from dlngeo.core.geodesics.observable_curves import chart_of
from dlngeo.core.geodesics.search.bounds import CERTAIN, lower_bound
from dlngeo.core.geodesics.search.lifted_turns import curves_of_turns
from dlngeo.core.geodesics.search.shots import Shots
from dlngeo.core.geodesics.search.spaces import MatrixSpace, metric_space
from dlngeo.core.geodesics.search.turns import Candidates, shortest_turns
from dlngeo.core.networks.frames import SingularFrames
from dlngeo.core.numerics.shooting import (
    COARSEST,
    CONVERGED,
    Attempt,
    Found,
    inverse_jacobian,
    norms,
    search,
    shoot,
    unit_vectors,
)

PROMISING = 1.06
"""Length of a turn, in units of the shortest one, up to which it may lead to a shorter geodesic."""

# The same of turns that unroll on less than this part of the least length, where null spaces on
# both sides bend the space and elsewhere.
_SURE, _FARTHEST_CURVED, _FARTHEST = 1.005, 1.5, 1.12
# Length on which a turn unrolls, in units of the shortest geodesic that was found, from which on
# it is not followed.
_LONGER = 1.015
# Of the process of Birkhoff: segments of a curve, and sweeps over half of the points in between.
_SEGMENTS, _SWEEPS = 8, 6
# Largest depth at which all turns below full rank are shortened as curves of chords, and dimension
# of balanced factors up to which those of pairs are that nothing else joins. Numbers of chords,
# from which on the first velocity is a guess, and length, in units of theirs, up to which a
# geodesic may be what they shrink to.
_CHORDS_DEPTH, _DIMENSIONS, _FINER, _FINE, _AS_LONG = 2, 60, (16, 32, 64, 128), 32, 1 + 1e-4
# Turns that are followed, in any case, as long as nothing is found.
_FURTHER = 3
# Iterations in which a guess that belongs to a geodesic comes as near to it as this part.
_CHORDS, _NEAR = 10, 0.1


class _Basins(NamedTuple):
    """Geodesics that are known.

    Attributes
    ----------
    velocity : array, shape=[b, n]
    inverse : array, shape=[b, n, n]
        Inverses of the Jacobians of their ends; NaN where none is asked for.
    """

    velocity: numpy.ndarray
    inverse: numpy.ndarray


class TurnSearch(NamedTuple):
    """Search for geodesics between matrices of a rank, from their turns.

    Attributes
    ----------
    source, target : MatrixSpace
        First and second matrices, with orthonormal coordinates.
    shots : Shots
    candidates : Candidates
    """

    source: MatrixSpace
    target: MatrixSpace
    shots: Shots
    candidates: Candidates

    def search(self) -> Found:
        """Return the shortest geodesics that are found."""
        if self.shots.chart.is_flat:
            strategies = [self.along_first_turns]
        elif self.shots.chart.way_on is not None:
            strategies = [self.along_first_turns, self.across_boundary, self.along_further_turns]
        elif self._has_chords:
            strategies = [self.along_chords]
        else:
            others = [self.along_other_turns, self.along_further_turns, self.off_saddles]
            lost = [self.along_chords] if self._dimension <= _DIMENSIONS else []
            strategies = [self.along_first_turns, *others, *lost]
        return search(len(self.source.frames.sigma), self.source.dimension, strategies)

    @property
    def depth(self) -> float:
        """Depth ``N``."""
        return self.candidates.turns.depth

    @property
    def _is_curved(self) -> bool:
        """Whether there are null spaces on both sides, where geodesics part fast."""
        return 0 not in (*self.source.left_null.shape, *self.source.right_null.shape)

    @property
    def _has_chords(self) -> bool:
        """Whether turns are shortened as curves of chords: where they are far from geodesics."""
        return self._is_curved and self.depth <= _CHORDS_DEPTH

    @property
    def _dimension(self) -> float:
        """Dimension of the balanced factors with hidden layers as wide as the rank."""
        rank = self.source.frames.sigma.shape[-1]
        return self.source.dimension + (self.depth - 1) * rank * (rank - 1) / 2

    @property
    def shortest(self) -> numpy.ndarray:
        """Lengths of the shortest curves that are known: the first turns."""
        return self.candidates.length[self.candidates.rank == 0]

    @property
    def is_open(self) -> numpy.ndarray:
        """For which pairs turns to other geodesics are not far longer, where these part fast."""
        pair, length, _, _ = self.candidates
        is_near = length <= _FARTHEST_CURVED * self.shortest[pair]
        several = numpy.bincount(pair[is_near], minlength=len(self.source.frames.sigma)) > 1
        return several & (self._is_curved and not self._has_chords)

    def along_first_turns(self, found: Found) -> Iterator[Attempt]:
        """Shoot from the shortest turns."""
        pair, _, velocity, _ = self.candidates
        first = self.candidates.rank == 0
        yield self._attempt(pair[first], velocity[first])

    def across_boundary(self, found: Found) -> Iterator[Attempt]:
        """Shoot from all turns that may be better: of crossings chord steps tell nothing."""
        pair, length, velocity, _ = self.candidates
        yield self._first_shortened(found)
        first = self.candidates.rank == 0
        is_near = ~first & (length <= PROMISING * length[first][pair])
        yield from self._attempts(pair[is_near], velocity[is_near])

    def along_other_turns(self, found: Found) -> Iterator[Attempt]:
        """Shoot from what turns that may be better, and belong to no known geodesic, shrink to."""
        pair, _, velocity, _ = self.candidates
        yield self._first_shortened(found)
        chosen = self._hopeful(found)
        if not len(chosen):
            return
        basins = self._basins(found, pair[chosen])
        chosen = chosen[~self._are_in(basins, pair[chosen], velocity[chosen])]
        guess = self._shortened(chosen)
        is_new = ~self._are_in(basins, pair[chosen], guess)
        yield from self._attempts(pair[chosen[is_new]], guess[is_new])

    def along_further_turns(self, found: Found) -> Iterator[Attempt]:
        """Shoot from some turns more as long as nothing is found, as they are and shortened."""
        pair, _, velocity, _ = self.candidates
        for number in range(1, _FURTHER):
            for shrinks in (False, True):
                is_next = (self.candidates.rank == number) & ~found.is_found[pair]
                guess = self._shortened(is_next) if shrinks else velocity[is_next]
                yield self._attempt(pair[is_next], guess)

    def along_chords(self, found: Found) -> Iterator[Attempt]:
        """Shoot from curves of chords to which turns shrink, finer ones where that leads off."""
        pair, length, _, _ = self.candidates
        is_near = length <= _FARTHEST_CURVED * self.shortest[pair]
        curves = curves_of_turns(self.candidates, is_near & ~found.is_found[pair])
        for count in _FINER:
            if not len(curves.pair):
                return
            curves = curves.refined(count)
            if count >= _FINE:
                source = take(self.source, curves.pair)
                guess = source.pack(source.frames.split(curves.velocity))
                yield from self._attempts(curves.pair, guess)
                curves = curves.take(found.length[curves.pair] > _AS_LONG * curves.length)

    def off_saddles(self, found: Found) -> Iterator[Attempt]:
        """Shoot from shortened turns where the shortest that was found has conjugate points."""
        pair, rank, is_saddle = self.candidates.pair, self.candidates.rank, self._are_saddles(found)
        for number in range(_FURTHER):
            chosen = (rank == number) & is_saddle[pair]
            yield self._attempt(pair[chosen], self._shortened(chosen))

    def _are_saddles(self, found: Found) -> numpy.ndarray:
        """Tell which of the shortest geodesics found have an odd number of conjugate points.

        There the derivative of the end by the velocity changes its orientation. It is known between
        square matrices of full rank, of which the two have the same.
        """
        nulls = self.source.left_null.shape[-1] + self.source.right_null.shape[-1]
        if nulls or self.shots.chart.way_on is not None:
            return numpy.zeros(len(found.length), dtype=bool)
        radius = conjugate_radius(self.source.frames.sigma, self.depth)
        far = numpy.flatnonzero(found.length >= radius)
        if not len(far):
            return numpy.zeros(len(found.length), dtype=bool)
        basins = self._basins(found, far)
        return numpy.linalg.slogdet(numpy.nan_to_num(basins.inverse))[0] < 0

    def _hopeful(self, found: Found) -> numpy.ndarray:
        """Return which turns may lead to shorter geodesics than those found from the first ones."""
        pair, length, _, turns = self.candidates
        first, least = self.candidates.rank == 0, found.length[pair]
        shortest = self.shortest[pair]
        is_near = length <= PROMISING * shortest
        farthest = _FARTHEST_CURVED if self._is_curved else _FARTHEST
        others = numpy.flatnonzero(~first & (length <= farthest * shortest))
        if len(others):
            bound = lower_bound(self.source.frames, self.target.frames, self.depth)
            is_sure = found.length <= (1 + CERTAIN) * bound
            others = others[~is_sure[pair[others]]]
        if not len(others):
            return others
        unrolled, is_near, least = turns.take(others).unrolled(), is_near[others], least[others]
        if not self._is_curved:
            # What is longer than the turn is not to be trusted.
            is_near &= ~((unrolled > _LONGER * least) & (unrolled <= length[others]))
        return others[is_near | (unrolled <= _SURE * numpy.minimum(least, shortest[others]))]

    def _basins(self, found: Found, pairs: numpy.ndarray) -> "_Basins":
        """Return the geodesics found between some pairs, with Jacobians by differences."""
        pairs = numpy.unique(pairs[found.is_found[pairs]])
        aim, velocity = self.shots.aim(*take(self[:2], pairs)), found.velocity.copy()
        index, u = numpy.arange(len(pairs)), velocity[pairs]
        ends = aim.miss(index, u, numpy.full(len(pairs), COARSEST))
        inverse = numpy.full((*velocity.shape, velocity.shape[-1]), numpy.nan)
        inverse[pairs] = inverse_jacobian(aim.miss, index, u, ends)
        return _Basins(velocity, inverse)

    def _are_in(
        self, basins: "_Basins", pairs: numpy.ndarray, guess: numpy.ndarray
    ) -> numpy.ndarray:
        """Tell from which guesses steps with the Jacobians of known geodesics lead to these."""
        goal, inverse = take(basins, pairs)
        known = numpy.flatnonzero(numpy.isfinite(inverse).all(axis=(1, 2)))
        result = numpy.zeros(len(pairs), dtype=bool)
        aim, goal = self.shots.aim(*take(self[:2], pairs[known])), goal[known]
        u, defect = shoot(aim.miss, guess[known], inverse[known], _NEAR / 10, _CHORDS, False)
        result[known] = (defect <= _NEAR / 10) & (norms(u - goal) <= _NEAR * norms(goal))
        return result

    def _attempts(self, pairs: numpy.ndarray, velocity: numpy.ndarray) -> Iterator[Attempt]:
        """Yield attempts, for every pair one at a time; pairs are in order."""
        place = numpy.arange(len(pairs)) - numpy.searchsorted(pairs, pairs)
        for number in range(place.max(initial=-1) + 1):
            yield self._attempt(pairs[place == number], velocity[place == number])

    def _attempt(self, pairs: numpy.ndarray, velocity: numpy.ndarray) -> Attempt:
        aims = [self.shots.aim(*take(self[:2], pairs))] if len(pairs) else []
        return Attempt(pairs, velocity, aims)

    def _first_shortened(self, found: Found) -> Attempt:
        """Shoot from what first turns shrink to where all that was found is longer than they are.

        There is a geodesic that is shorter than the turn, mostly the one found from it.
        """
        pair, length, _, _ = self.candidates
        is_found = found.length[pair] <= (1 + CONVERGED) * length
        chosen = (self.candidates.rank == 0) & ~is_found
        return self._attempt(pair[chosen], self._shortened(chosen))

    def _shortened(self, chosen: numpy.ndarray) -> numpy.ndarray:
        """Return the initial velocities of turns that are shortened by Birkhoff's process.

        Points on the turns move to the middle of the geodesics between their neighbours, every
        second one at a time.
        """
        pairs, turns = self.candidates.pair[chosen], self.candidates.turns.take(chosen)
        source, target = take(self[:2], pairs)
        if not len(pairs):
            return self.candidates.velocity[chosen]
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
        return _SEGMENTS * self.shots.local_log(source, nodes[1])[0]

    def _middle(
        self, before: MatrixSpace, own: SingularFrames, after: SingularFrames
    ) -> SingularFrames:
        """Return the middles of geodesics between near points; points stay where none is found."""
        u, is_found = self.shots.local_log(before, after)
        direction, length = unit_vectors(u)
        velocity = before.unpack(direction)
        end = self.shots.flow(before, velocity, length / 2, COARSEST)
        is_found &= numpy.isfinite(end).all(axis=1)
        still = self.shots.chart.enter(own, 0 * velocity)
        return self.shots.chart.decompose(numpy.where(is_found[:, None], end, still))[0]


def turn_search(
    source: SingularFrames, target: SingularFrames, depth: float, on_boundary: str = "raise"
) -> TurnSearch:
    """Return the search for geodesics between matrices, shape=[b, ...]."""
    here, there = (metric_space(frames, depth) for frames in (source, target))
    rows, columns, rank = *here.matrix.shape[-2:], source.sigma.shape[-1]
    chart = chart_of(rows, columns, rank, depth, on_boundary=on_boundary)
    crosses = on_boundary == "cross" and rows == columns == rank and depth < numpy.inf
    return TurnSearch(here, there, Shots(chart), shortest_turns(here, there, depth, crosses))
