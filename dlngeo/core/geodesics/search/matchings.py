r"""Matchings: ways to join the singular triples of two matrices.

A matching joins every triple ``(u_k, σ_k, v_k)`` of the first matrix to one of the second, up to a
common sign of its vectors: it is another singular value decomposition of the second matrix.
"""

import itertools
from typing import NamedTuple

import numpy
from scipy.optimize import linear_sum_assignment

from dlngeo.core.depth_metric.weights import flat_values
from dlngeo.core.networks.frames import SingularFrames

MOST_MATCHINGS = 24
"""Matchings of a pair whose turns are followed."""

FARTHEST = 4.0
"""Length of a matching, in units of the least one, beyond which its turn is not followed."""

# Up to this rank all permutations are compared, and from there on those near the best ones.
_ALL_PERMUTATIONS = 4


class Matchings(NamedTuple):
    """Ways to match the singular triples of pairs of matrices.

    Attributes
    ----------
    pair : array of int, shape=[c]
        Of which pair.
    order : array of int, shape=[c, r]
        Triples of the second matrix in the order of those of the first.
    sign : array, shape=[c, r]
        Common signs of their vectors.
    """

    pair: numpy.ndarray
    order: numpy.ndarray
    sign: numpy.ndarray

    def match(self, target: SingularFrames) -> SingularFrames:
        """Return the triples of the second matrices in the order of the first, shape=[c, ...]."""
        order, sign = self.order[:, None, :], self.sign[:, None, :]
        left, right = (
            sign * numpy.take_along_axis(frame[self.pair], order, axis=-1)
            for frame in (target.left, target.right)
        )
        sigma = numpy.take_along_axis(target.sigma[self.pair], self.order, axis=-1)
        return SingularFrames(left, sigma, right)


def matchings(source: SingularFrames, target: SingularFrames, depth: float) -> Matchings:
    r"""Return the matchings whose turns may be short.

    They are ranked as if each triple moved on its own cone,

    .. math:: \sum_k f_k^2 + f_k'^2 - 2 f_k f_k' \cos \min(θ_k, π), \quad
              θ_k^2 = (α_k^2 + β_k^2) / N,

    with the angles between its vectors and those of its match. The frames of a matching can be
    turned into each other: those of a side without null space have determinants of equal signs.
    A value that becomes negative goes straight through the tip, ``(f_k + |f_k'|)^2``.

    Parameters
    ----------
    source, target : SingularFrames
        First and second matrices, shape=[b, ...]; see `with_signs`.
    depth : int or inf
    """
    count, rank = source.sigma.shape
    costs = cones(source, target, depth)
    # The sign of a triple that costs less, and what the other one costs more.
    regret = abs(costs[1] - costs[0])
    sign = numpy.where(costs[0] <= costs[1], 1.0, -1.0)
    orders = _orders(costs.min(axis=0))
    rows = numpy.arange(rank)
    every = numpy.arange(count)[:, None, None]
    least = costs.min(axis=0)[every, rows, orders].sum(axis=-1)
    flips = _subsets(rank)
    total = least[..., None] + regret[every, rows, orders] @ flips.T
    signs = sign[every, rows, orders][:, :, None, :] * numpy.where(flips, -1.0, 1.0)
    for here, there in ((source.left, target.left), (source.right, target.right)):
        if here.shape[-2] == rank:
            turned = numpy.linalg.det(here) * numpy.linalg.det(there)
            parity = numpy.linalg.det(numpy.eye(rank)[orders]) * turned[:, None]
            total = numpy.where(parity[..., None] * signs.prod(axis=-1) > 0, total, numpy.inf)
    total = total.reshape(count, orders.shape[1] * len(flips))
    best = numpy.argsort(total, axis=1, kind="stable")[:, :MOST_MATCHINGS]
    ranked = numpy.take_along_axis(total, best, axis=1)
    is_near = ranked <= FARTHEST**2 * ranked[:, :1] + 1e-300
    is_near &= numpy.isfinite(ranked)
    pair, place = numpy.nonzero(is_near)
    which, flip = numpy.divmod(best[pair, place], len(flips))
    return Matchings(pair, orders[pair, which], signs[pair, which, flip])


def with_signs(frames: SingularFrames) -> tuple[SingularFrames, numpy.ndarray]:
    """Return decompositions with up to two negative values, and of which matrices they are.

    The left vectors of negative values are turned. Paths to them cross ``det X = 0``.
    """
    count, rank = frames.sigma.shape
    signs = numpy.where(_subsets(rank), -1.0, 1.0)
    of_matrix = numpy.repeat(numpy.arange(count), len(signs))
    signs = numpy.tile(signs, (count, 1))
    left, sigma, right = (array[of_matrix] for array in frames)
    return SingularFrames(left * signs[:, None, :], sigma * signs, right), of_matrix


def _subsets(rank: int) -> numpy.ndarray:
    """Return which values belong to subsets of up to two, shape=[s, r]."""
    return numpy.stack(
        [
            numpy.isin(numpy.arange(rank), members)
            for size in range(min(rank, 2) + 1)
            for members in itertools.combinations(range(rank), size)
        ]
    )


def cones(source: SingularFrames, target: SingularFrames, depth: float) -> numpy.ndarray:
    """Return squared distances of triples, for both common signs, shape=[2, b, r, r].

    They are those of matrices of rank one, `matchings`.
    """
    before = flat_values(source.sigma, depth)[..., :, None]
    after = flat_values(target.sigma, depth)[..., None, :]
    left, right = _angles(source.left, target.left), _angles(source.right, target.right)
    squares = numpy.stack([left**2 + right**2, (numpy.pi - left) ** 2 + (numpy.pi - right) ** 2])
    squares = numpy.where(after < 0, 0.0, squares) if depth < numpy.inf else squares
    if depth == numpy.inf:
        return (before - after) ** 2 + squares
    angle = numpy.minimum(numpy.sqrt(squares / depth), numpy.pi)
    return (before - after) ** 2 + 4 * before * after * numpy.sin(angle / 2) ** 2


def _angles(frame: numpy.ndarray, other: numpy.ndarray) -> numpy.ndarray:
    """Return the angles between the columns of two frames, shape=[b, r, r]."""
    row, column = frame[..., :, :, None], other[..., :, None, :]
    apart, along = (numpy.sqrt(((row + sign * column) ** 2).sum(axis=-3)) for sign in (-1, 1))
    return 2 * numpy.arctan2(apart, along)


def _orders(costs: numpy.ndarray) -> numpy.ndarray:
    """Return permutations that may be good assignments, shape=[b, p, r]."""
    count, rank, _ = costs.shape
    if rank <= _ALL_PERMUTATIONS:
        every = numpy.array(list(itertools.permutations(range(rank))))
        return numpy.broadcast_to(every, (count, *every.shape))
    swaps = numpy.tile(numpy.arange(rank), (1 + rank * (rank - 1) // 2, 1))
    for row, (k, l) in zip(swaps[1:], itertools.combinations(range(rank), 2), strict=True):
        row[[k, l]] = l, k
    best = numpy.array([linear_sum_assignment(cost)[1] for cost in costs], dtype=int)
    best = best.reshape(count, rank)
    return best[:, swaps]
