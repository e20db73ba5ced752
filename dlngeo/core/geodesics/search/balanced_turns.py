r"""Curves of balanced factors between two points: turns, and what they shrink to.

Both points have the form ``W_p = Q_p S Q_{p-1}^T``, the second one in many ways: with frames
``Q'_p g`` and ``g^T Λ' g`` for every rotation ``g`` of all frames at once. Along the *turn* of
``g`` every frame turns at its own steady pace, and ``S`` goes straight,

.. math:: Q_p(s) = e^{s Ω_p} Q_p, \quad Q_p(1) = Q'_p g, \quad S(s) = (1 - s) Λ + s g^T Λ' g.

In a layer as wide as the rank ``Q'_p g`` can be reached from ``Q_p`` if the determinants of the two
have equal signs, which fixes that of ``g``. The chord of the factors would be the shortest for the
polar factor of ``C = Σ_p w_p Λ' Q'_p^T Q_p Λ``, ``w = (1, 2, ..., 2, 1)``. Other turns flip some of
the singular vectors of ``C``.

Turns are a fourth longer than the geodesics to which they shrink: they are shortened
(`dlngeo.core.geodesics.search.chords`).
"""

import itertools
from typing import NamedTuple

import numpy
from scipy import linalg

from dlngeo.core.base.arrays import diagonal_matrix, transpose
from dlngeo.core.base.packing import pack, take
from dlngeo.core.networks.frames import BalancedFrames, complement
from dlngeo.core.numerics.rotations import frame_log

_MOST_FLIPS = 3
# Up to this rank all flips are compared, and from there on those of the least singular values.
_ALL_FLIPS = 5


class BalancedTurns(NamedTuple):
    """Turns between pairs of balanced factors.

    Attributes
    ----------
    stretch, change : array, shape=[c, r, r]
        ``Λ`` and ``g^T Λ' g - Λ``, in the frames of the first points.
    frames : tuple of array, shape=[c, d_p, r]
        ``Q_0, ..., Q_N``.
    generators : tuple of array, shape=[c, d_p, d_p]
        ``Ω_0, ..., Ω_N``.
    """

    stretch: numpy.ndarray
    change: numpy.ndarray
    frames: tuple[numpy.ndarray, ...]
    generators: tuple[numpy.ndarray, ...]

    def at(self, part: float) -> list[numpy.ndarray]:
        """Return the factors at a part of the way."""
        stretch = self.stretch + part * self.change
        frames = [
            linalg.expm(part * generator) @ frame
            for generator, frame in zip(self.generators, self.frames, strict=True)
        ]
        return [q @ stretch @ transpose(before) for before, q in itertools.pairwise(frames)]

    def points(self, count: int) -> numpy.ndarray:
        """Return the ends of equal parts of the way, shape=[c, count + 1, D]."""
        return numpy.stack([pack(self.at(j / count)) for j in range(count + 1)], axis=1)


def balanced_turns(
    source: BalancedFrames, target: BalancedFrames, most: int
) -> tuple[numpy.ndarray, BalancedTurns]:
    """Return the turns that may be shortest.

    Parameters
    ----------
    source, target : BalancedFrames
        First and second points, shape=[b, ...].
    most : int
        Number of turns of a pair.

    Returns
    -------
    pair : array of int, shape=[c]
        Of which pair.
    turns : BalancedTurns
    """
    rank = source.lam.shape[-1]
    weights = [1.0, *[2.0] * (source.depth - 1), 1.0]
    overlap = sum(
        weight * transpose(there) @ here
        for weight, here, there in zip(weights, source.frames, target.frames, strict=True)
    )
    overlap = target.lam[..., :, None] * overlap * source.lam[..., None, :]
    left, values, right = numpy.linalg.svd(overlap)
    flips = _flips(rank)
    loss = 2 * values @ (flips < 0).T
    parity = numpy.linalg.det(left @ right)[:, None] * flips.prod(axis=-1)
    for here, there in zip(source.frames, target.frames, strict=True):
        if here.shape[-2] == rank:
            turned = numpy.linalg.det(transpose(there) @ here)
            loss = numpy.where(parity * turned[:, None] > 0, loss, numpy.inf)
    chosen = numpy.argsort(loss, axis=1, kind="stable")[:, :most]
    pair, place = numpy.nonzero(numpy.isfinite(numpy.take_along_axis(loss, chosen, axis=1)))
    flip = flips[chosen[pair, place]]
    rotation = left[pair] * flip[:, None, :] @ right[pair]
    here, there = take(source, pair), take(target, pair)
    stretch = diagonal_matrix(here.lam)
    change = transpose(rotation) @ (there.lam[..., :, None] * rotation) - stretch
    generators = []
    for frame, goal in zip(here.frames, there.frames, strict=True):
        null, goal_null = complement(frame), complement(goal)
        basis = numpy.concatenate([frame, null], axis=-1)
        generator = frame_log(frame, null, goal @ rotation, goal_null)
        generators.append(basis @ generator @ transpose(basis))
    return pair, BalancedTurns(stretch, change, here.frames, tuple(generators))


def _flips(rank: int) -> numpy.ndarray:
    """Return signs, shape=[f, r], of singular vectors in the order of falling values."""
    places = range(rank) if rank <= _ALL_FLIPS else range(rank - _ALL_FLIPS, rank)
    signs = []
    for size in range(min(rank, _MOST_FLIPS) + 1):
        for flipped in itertools.combinations(places, size):
            signs.append([-1.0 if k in flipped else 1.0 for k in range(rank)])
    return numpy.array(signs)
