r"""Turns: explicit curves between two matrices, near the geodesics that are locally shortest.

Along the *turn* of a matching (`dlngeo.core.geodesics.search.matchings`) both frames turn at a
common pace,

.. math:: U(s) = U e^{s A}, \quad V(s) = V e^{s B},

while the singular values follow chords of cones. Diagonal matrices are flat in the coordinates
``f = √N σ^{1/N}`` (``log σ`` at infinite depth). A matrix of rank one whose vectors turn by the
angles ``α, β`` moves on a cone of angle ``θ = ((α² + β²)/N)^{1/2}``: in the plane its geodesic is
the chord from ``f`` to ``f' e^{iθ}``. So moves every value here, by the angle that its share of
the cost of the turn makes,

.. math:: f_k^2 θ_k^2 = \sum_l \frac{f_k^2}{f_k^2 + f_l^2} (c_{kl} + c_{lk}) + \dots, \quad
          c_{kl} = \frac{(A_{kl} σ_l - σ_k B_{kl})^2}{r_{kl}},

and the pace of the frames is the mean of those of the values. At rank one turns are geodesics.
Elsewhere they are longer by a few per cent than the geodesic to which they shrink, and their mean
velocity leads shooting to it. The straight line on which a turn unrolls, when its velocities are
transported to its start in parallel, is about as long as that geodesic. In the completed space,
where curves may cross ``det X = 0``, a value may become negative; it moves straight from ``f`` to
``-f'``.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy
from scipy import linalg

from dlngeo.core.base.arrays import transpose
from dlngeo.core.base.packing import pack, take, unpack
from dlngeo.core.depth_metric.connection import parallel_rates
from dlngeo.core.depth_metric.weights import flat_values, values_of_flat, weights_of
from dlngeo.core.geodesics.search.matchings import matchings, with_signs
from dlngeo.core.geodesics.search.spaces import MatrixSpace
from dlngeo.core.networks.blocks import Blocks
from dlngeo.core.networks.equations import polar_factor
from dlngeo.core.networks.frames import SingularFrames, tangent_at
from dlngeo.core.numerics.rotations import frame_log
from dlngeo.core.numerics.shooting import norms

_NODES = 8
# Steps, of Runge and Kutta, of parallel transport along a turn.
_STEPS = 4
_LARGEST_ANGLE = 3.0
# Relative gap below which singular values count as equal.
_EQUAL = 1e-5


class Turns(NamedTuple):
    """Turns of matchings.

    Attributes
    ----------
    source, target : SingularFrames
        Matched singular value decompositions, shape=[c, ...].
    nulls : tuple of array, shape=[c, m, m - r], shape=[c, n, n - r]
        Bases of the null spaces of the first matrices.
    left, right : array, shape=[c, m, m], shape=[c, n, n]
        Generators ``A, B`` in the frames and these bases.
    angles : array, shape=[c, r]
        Angles ``θ_k``.
    depth : int or inf
    """

    source: SingularFrames
    target: SingularFrames
    nulls: tuple[numpy.ndarray, numpy.ndarray]
    left: numpy.ndarray
    right: numpy.ndarray
    angles: numpy.ndarray
    depth: float

    def take(self, index: numpy.ndarray) -> "Turns":
        """Return some of the turns."""
        source, target, nulls, left, right, angles, depth = self
        arrays = take((source, target, nulls, left, right, angles), index)
        return Turns._make([*arrays, depth])

    def _turning(self, sigma: numpy.ndarray) -> list[numpy.ndarray]:
        """Return the velocity of turning frames in orthonormal coordinates: three blocks."""
        rank, weights = sigma.shape[-1], weights_of(abs(sigma), self.depth)
        left, right = self.left[..., :rank], transpose(self.right[..., :rank])
        row, column = sigma[..., :, None], sigma[..., None, :]
        null = (sigma / weights.null_root)[..., None, :]
        core = left[..., :rank, :] * column + row * right[..., :rank]
        nulls = [left[..., rank:, :] * null, transpose(null) * right[..., rank:]]
        return [core / weights.root, *nulls]

    def _values(self, part: numpy.ndarray) -> tuple[numpy.ndarray, ...]:
        """Return ``f``, its velocity, and the part and the velocity of the turn."""
        start, end = (flat_values(frames.sigma, self.depth) for frames in self[:2])
        if self.depth == numpy.inf:
            every = 0 * start[..., 0]
            return start + part * (end - start), end - start, every + part[..., 0], every + 1
        way = end * numpy.exp(1j * self.angles) - start
        point = start + part * way
        is_straight = self.angles < 1e-9
        angle = numpy.where(is_straight, 1.0, self.angles)
        turned = numpy.where(is_straight, part, numpy.angle(point) / angle)
        pace = numpy.where(is_straight, 1.0, (way / point).imag / angle)
        share = self.angles * start * abs(end) + 1e-300
        share = share / share.sum(axis=-1, keepdims=True)
        # A value that becomes negative moves on the real line.
        side = numpy.where(end < 0, numpy.sign(point.real), 1.0)
        flat, speed = side * abs(point), side * (point.conj() * way).real / abs(point)
        return flat, speed, (share * turned).sum(axis=-1), (share * pace).sum(axis=-1)

    def velocities(self, parts: numpy.ndarray) -> numpy.ndarray:
        """Return velocities at parts of the way, in frames that turn, shape=[k, c, n].

        The coordinates are those of `dlngeo.core.geodesics.search.spaces.MatrixSpace`.
        """
        flat, speed, _, pace = self._values(parts[:, None, None])
        pace = pace[..., None, None]
        core, *nulls = self._turning(values_of_flat(flat, self.depth))
        core = pace * core + (speed + 0 * flat)[..., None] * numpy.eye(flat.shape[-1])
        return pack([core, *[pace * null for null in nulls]])

    def unrolled(self) -> numpy.ndarray:
        r"""Return the lengths of the straight lines on which turns unroll, shape=[c].

        ``‖\int_0^1 P_{s → 0} v(s) ds‖`` with parallel transport ``P`` along the turn: in a flat
        space the least length of a path. Near the boundary, where frames turn at once, the few
        steps do not serve; then it may come out longer than the turn. Not for turns that cross.
        """
        step = 1 / _STEPS
        line = 0 * self._velocity(1.0)
        for end in numpy.arange(_STEPS, 0, -1) * step:
            late, middle, early = (self._rate(end - part * step) for part in (0.0, 0.5, 1.0))
            a = late(line)
            b = middle(line + step / 2 * a)
            c = middle(line + step / 2 * b)
            line = line + step / 6 * (a + 2 * b + 2 * c + early(line + step * c))
        return line.norm()

    def _velocity(self, part: float) -> Blocks:
        """Return velocities at a part of the way, as blocks in frames that turn."""
        heights = [generator.shape[-1] for generator in (self.left, self.right)]
        rank = self.angles.shape[-1]
        shapes = [(rank, rank), (heights[0] - rank, rank), (rank, heights[1] - rank)]
        blocks = unpack(self.velocities(numpy.array([part]))[0], shapes)
        return tangent_at(self.source, *blocks)

    def _rate(self, part: float) -> Callable[[Blocks], Blocks]:
        """Return the change, towards the start, of what is transported there and adds up."""
        flat, _, _, pace = self._values(numpy.array([[part]]))
        weights = weights_of(values_of_flat(flat, self.depth), self.depth)
        velocity = self._velocity(part)
        tangent = weights.vector(velocity)
        pace, rank = pace[..., None, None], flat.shape[-1]
        left, right = pace * self.left, pace * self.right

        def rate(e: Blocks) -> Blocks:
            field = parallel_rates(weights, tangent, e.map(lambda block: block[:, None]))
            still = field.tangent().map(lambda block: block[:, 0])
            whole = numpy.zeros((len(flat), left.shape[-1], right.shape[-1]))
            whole[:, :rank, :rank] = e.core
            if e.left_null is not None:
                whole[:, rank:, :rank] = e.left_null
            if e.right_null is not None:
                whole[:, :rank, rank:] = e.right_null
            turn = left @ whole - whole @ right
            turning = tangent_at(
                self.source, turn[:, :rank, :rank], turn[:, rank:, :rank], turn[:, :rank, rank:]
            )
            return velocity - still + turning

        return rate

    def at(self, part: float) -> SingularFrames:
        """Return the matrices at a part of the way."""
        flat, _, turn, _ = self._values(numpy.array([[part]]))
        turn = turn[..., None, None]
        left, right = (
            numpy.concatenate([frame, null], axis=-1)
            @ linalg.expm(turn * generator)[..., : frame.shape[-1]]
            for frame, null, generator in zip(
                self.source[::2], self.nulls, (self.left, self.right), strict=True
            )
        )
        sigma = values_of_flat(flat, self.depth)
        sides = numpy.where(sigma < 0, -1.0, 1.0)
        return SingularFrames(left * sides[..., None, :], abs(sigma), right)


class Candidates(NamedTuple):
    """The turns of pairs of matrices, the shortest one of each pair first.

    Attributes
    ----------
    pair : array of int, shape=[c]
        Of which pair.
    length : array, shape=[c]
    velocity : array, shape=[c, n]
        Their mean velocities, as tangent vectors at the first matrix.
    turns : Turns
    """

    pair: numpy.ndarray
    length: numpy.ndarray
    velocity: numpy.ndarray
    turns: Turns

    @property
    def rank(self) -> numpy.ndarray:
        """How many turns of the pair are shorter, shape=[c]."""
        return numpy.arange(len(self.pair)) - numpy.searchsorted(self.pair, self.pair)


def shortest_turns(
    source: MatrixSpace, target: MatrixSpace, depth: float, crosses: bool = False
) -> Candidates:
    """Return the turns of the matchings that may be short, and their mean velocities.

    Parameters
    ----------
    source, target : MatrixSpace
        First and second matrices, shape=[b, ...].
    depth : int or inf
    crosses : bool
        Whether they may cross ``det X = 0``.
    """
    here, rotation = _settled(source.frames, target.frames)
    there, _ = _settled(target.frames, here)
    of_pair = numpy.arange(len(rotation))
    if crosses:
        there, of_pair = with_signs(there)
    found = matchings(take(here, of_pair), there, depth)
    pair = of_pair[found.pair]
    first, second = take(source._replace(frames=here), pair), take(target, pair)
    every = _turns(first, second, found.match(there), depth)
    velocities = every.velocities((numpy.arange(_NODES) + 0.5) / _NODES)
    core, left, right = first.blocks(velocities.mean(axis=0))
    rotation = rotation[pair]
    back = transpose(rotation)
    velocity = pack([rotation @ core @ back, left @ back, rotation @ right])
    length = norms(velocities).mean(axis=0)
    ranking = numpy.lexsort((length, pair))
    return Candidates(pair[ranking], length[ranking], velocity[ranking], every.take(ranking))


def _settled(
    frames: SingularFrames, others: SingularFrames
) -> tuple[SingularFrames, numpy.ndarray]:
    """Turn frames of equal singular values, which are free, to be near those of other matrices.

    Returns
    -------
    frames : SingularFrames
    rotation : array, shape=[b, r, r]
        By which they were multiplied.
    """
    row, column = frames.sigma[:, :, None], frames.sigma[:, None, :]
    is_equal = abs(row - column) <= _EQUAL * numpy.maximum(row, column)
    overlap = transpose(frames.left) @ others.left + transpose(frames.right) @ others.right
    rotation = polar_factor(is_equal * overlap)
    return SingularFrames(frames.left @ rotation, frames.sigma, frames.right @ rotation), rotation


def _turns(
    source: MatrixSpace, target: MatrixSpace, matched: SingularFrames, depth: float
) -> Turns:
    """Return the turns of matchings.

    Parameters
    ----------
    source, target : MatrixSpace
        First and second matrices, shape=[c, ...].
    matched : SingularFrames
        The second ones as `dlngeo.core.geodesics.search.matchings.Matchings.match` returns them.
    depth : int or inf
    """
    frames = source.frames
    left = frame_log(frames.left, source.left_null, matched.left, target.left_null)
    right = frame_log(frames.right, source.right_null, matched.right, target.right_null)
    nulls = (source.left_null, source.right_null)
    result = Turns(frames, matched, nulls, left, right, numpy.zeros_like(matched.sigma), depth)
    if depth == numpy.inf:
        return result
    squares = 0.0
    for sigma in (frames.sigma, matched.sigma):
        core, left_null, right_null = result._turning(sigma)
        square = flat_values(sigma, depth) ** 2
        share = square[..., :, None] / (square[..., :, None] + square[..., None, :])
        cost = (share * (core**2 + transpose(core) ** 2)).sum(axis=-1)
        cost = cost + (left_null**2).sum(axis=-2) + (right_null**2).sum(axis=-1)
        squares = squares + cost / square / 2
    angles = numpy.minimum(numpy.sqrt(squares), _LARGEST_ANGLE)
    return result._replace(angles=numpy.where(matched.sigma < 0, 0.0, angles))
