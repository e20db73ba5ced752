r"""Turns as curves of chords of balanced factors, and what they shrink to.

The metric is that of balanced factors with hidden layers as wide as the rank, whose last point may
move over the second matrix. The lift of a turn has the frames

.. math:: R_p(s) = e^{s ((1 - p/N) B + (p/N) A)}, \quad W_p = R_p Λ R_{p-1}^T,

with the blocks of the generators between the singular vectors, between ``R_0 = V`` and ``R_N = U``.
At depth one it is the turn itself.
"""

from typing import NamedTuple

import numpy
from scipy import linalg

from dlngeo.core.base.packing import Shape, pack, take, unpack
from dlngeo.core.geodesics.search.chords import SEGMENTS, redistribute, shorten
from dlngeo.core.geodesics.search.turns import Candidates, Turns
from dlngeo.core.networks.frames import BalancedFrames, SingularFrames
from dlngeo.core.networks.network import differential, end_to_end
from dlngeo.core.numerics.shooting import norms

# Length of a curve, in units of the shortest one of a pair, up to which it is followed.
_PROMISING = 1.01
# Distance of curves that are one, in units of the size of their points.
_NEAREST = 0.02


class Curves(NamedTuple):
    """Curves of chords of balanced factors, the shortest one of each pair first.

    Attributes
    ----------
    pair : array of int, shape=[c]
        Of which pair of matrices.
    end : SingularFrames
        The second matrices.
    points : array, shape=[c, k + 1, D]
    parts : array, shape=[c, k]
        See `dlngeo.core.geodesics.search.chords`.
    length : array, shape=[c]
    depth : int
    """

    pair: numpy.ndarray
    end: SingularFrames
    points: numpy.ndarray
    parts: numpy.ndarray
    length: numpy.ndarray
    depth: int

    @property
    def shapes(self) -> list[Shape]:
        """Shapes of the factors."""
        (rows, rank), columns = self.end.left.shape[-2:], self.end.right.shape[-2]
        widths = [columns, *[rank] * (self.depth - 1), rows]
        return list(zip(widths[1:], widths[:-1], strict=True))

    @property
    def velocity(self) -> numpy.ndarray:
        """The first velocities of the matrices, shape=[c, m, n]."""
        start = unpack(self.points[:, 0], self.shapes)
        chord = (self.points[:, 1] - self.points[:, 0]) / self.parts[:, :1]
        return differential(start, unpack(chord, self.shapes))

    def take(self, index: numpy.ndarray) -> "Curves":
        """Return some of the curves."""
        return Curves._make([*take(self[:-1], index), self.depth])

    def shortened(self) -> "Curves":
        """Return what they shrink to."""
        end = self.end if self.depth > 1 else None
        rank = self.end.sigma.shape[-1]
        points, length = shorten(self.points, self.parts, self.shapes, rank, end)
        curves = self._replace(points=points, length=length)
        return curves.take(numpy.lexsort((length, self.pair)))

    def refined(self, count: int) -> "Curves":
        """Return what they shrink to with more chords."""
        rank = self.end.sigma.shape[-1]
        points, parts = redistribute(self.points, count, self.shapes, rank)
        return self._replace(points=points, parts=parts).shortened()

    def promising(self) -> "Curves":
        """Return those that may be near the shortest geodesic, each of them once."""
        first = numpy.searchsorted(self.pair, self.pair)
        place = numpy.arange(len(self.pair)) - first
        is_kept = self.length <= _PROMISING * self.length[first]
        matrices = end_to_end(unpack(self.points, self.shapes))
        for step in range(1, place.max(initial=0) + 1):
            later = numpy.flatnonzero(place >= step)
            gap = abs(matrices[later] - matrices[later - step]).max(axis=(1, 2, 3))
            is_kept[later] &= gap > _NEAREST * abs(matrices[later]).max(axis=(1, 2, 3))
        return self.take(is_kept)


def curves_of_turns(candidates: Candidates, index: numpy.ndarray) -> Curves:
    """Return the curves to which some turns shrink, each of those that may be shortest once."""
    pair, turns = candidates.pair[index], candidates.turns.take(index)
    points = numpy.stack([_lift(turns, j / SEGMENTS) for j in range(SEGMENTS + 1)], axis=1)
    parts = numpy.full((len(pair), SEGMENTS), 1 / SEGMENTS)
    curves = Curves(pair, turns.target, points, parts, norms(parts), int(turns.depth))
    return curves.shortened().promising() if len(pair) else curves


def _lift(turns: Turns, part: float) -> numpy.ndarray:
    """Return balanced factors at a part of the way, shape=[c, D]."""
    left, sigma, right = turns.at(part)
    rank, depth = sigma.shape[-1], int(turns.depth)
    cores = [generator[:, :rank, :rank] for generator in (turns.right, turns.left)]
    hidden = [
        linalg.expm(part * ((1 - p / depth) * cores[0] + p / depth * cores[1]))
        for p in range(1, depth)
    ]
    return pack(BalancedFrames((right, *hidden, left), sigma ** (1 / depth)).layers)
