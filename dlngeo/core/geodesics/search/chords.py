r"""Curves of chords: the shortest ones of balanced factors, between two points.

At depth one factors are the matrices themselves. With chords ``c_j`` that are passed in the parts
``h_j`` of the time a curve has the energy ``Σ ‖c_j‖² / h_j``, the square of its length if the pace
is even. Whatever the curve, its energy can be lowered, beyond the boundary too, until it is near a
geodesic; shooting finds that from far fewer guesses.

Where curves pass near the boundary they bend in a small part of their length: chords are
distributed anew, so that equal shares of the length and of the turning fall on each.
"""

from collections.abc import Sequence

import numpy

from dlngeo.core.base.arrays import transpose
from dlngeo.core.base.packing import Shape, pack, take, unpack
from dlngeo.core.geodesics.search.factor_spaces import factor_space
from dlngeo.core.networks.balancing import balance
from dlngeo.core.networks.equations import polar_factor
from dlngeo.core.networks.frames import BalancedFrames, SingularFrames
from dlngeo.core.networks.network import end_to_end
from dlngeo.core.numerics.shooting import norms

SEGMENTS = 8
"""Number of chords by which a curve is shortened first."""

_SHORTENINGS, _TRIALS = 40, 4
# Part of its energy by which a curve that is shortened on must have become less.
_GAIN = 1e-5
# Relative size of the least singular value from which on points are balanced.
_INSIDE = 1e-12


def shorten(
    points: numpy.ndarray,
    parts: numpy.ndarray,
    shapes: Sequence[Shape],
    rank: int,
    end: SingularFrames | None = None,
) -> tuple[numpy.ndarray, numpy.ndarray]:
    """Shorten curves of chords.

    Newton's method for the energy, as if the manifold were flat beyond the projections of
    neighbouring tangent spaces; steps are cut until the energy falls. Curves may pass the boundary.

    Parameters
    ----------
    points : array, shape=[c, k + 1, D]
        Balanced factors, one after the other.
    parts : array, shape=[c, k]
        ``h_j``.
    shapes : sequence of pairs of int
        Shapes of the factors.
    rank : int
    end : SingularFrames, optional
        Matrices over which the last point may move; by default both ends are fixed.

    Returns
    -------
    points : array, shape=[c, k + 1, D]
    length : array, shape=[c]
        Square root of the energy.
    """
    points = points.copy()
    energy = _energy(points, parts)
    active = numpy.arange(len(points))
    for _ in range(_SHORTENINGS):
        before, rest = energy[active], active
        step = numpy.zeros_like(points)
        step[active] = _newton_step(points[active], parts[active], shapes, rank, end is not None)
        for trial in range(_TRIALS):
            moved = points[rest] + 3.0**-trial * step[rest]
            inner = unpack(moved[:, 1:-1], shapes)
            sigma = numpy.linalg.svd(end_to_end(inner), compute_uv=False)
            is_inside = sigma[..., rank - 1] > _INSIDE * sigma[..., 0]
            is_less = numpy.asarray(is_inside.all(axis=1))
            tried, moved = rest[is_less], moved[is_less]
            moved[:, 1:-1] = pack(balance([layer[is_less] for layer in inner], rank))
            if end is not None:
                moved[:, -1] = _over(moved[:, -1], take(end, tried), shapes)
            new_energy = _energy(moved, parts[tried])
            is_less[is_less] = is_better = new_energy < energy[tried]
            points[rest[is_less]], energy[rest[is_less]] = moved[is_better], new_energy[is_better]
            rest = rest[~is_less]
        active = active[energy[active] < (1 - _GAIN) * before]
        if not len(active):
            break
    return points, energy**0.5


def _energy(points: numpy.ndarray, parts: numpy.ndarray) -> numpy.ndarray:
    chords = points[:, 1:] - points[:, :-1]
    return ((chords**2).sum(axis=2) / parts).sum(axis=1)


def _newton_step(
    points: numpy.ndarray,
    parts: numpy.ndarray,
    shapes: Sequence[Shape],
    rank: int,
    is_free: bool,
) -> numpy.ndarray:
    """Return tangent vectors at the points, shape=[c, k + 1, D], at a free end vertical ones."""
    last = points.shape[1] - (not is_free)
    space = factor_space(unpack(points[:, 1:last], shapes), rank)
    stiffness = 1 / parts
    pace = stiffness[..., None] * (points[:, 1:] - points[:, :-1])
    diagonal, force = stiffness.copy(), -pace
    diagonal[:, :-1] += stiffness[:, 1:]
    force[:, :-1] += pace[:, 1:]
    if is_free:
        horizontal = rank * (shapes[-1][0] + shapes[0][1] - rank)
        space.basis[:, -1, :horizontal] = 0.0
    overlaps = space.basis[:, :-1] @ transpose(space.basis[:, 1:])
    couplings = -stiffness[:, 1 : last - 1, None, None] * overlaps
    solution = _solve_chain(diagonal[:, : last - 1], couplings, space.pack(force[:, : last - 1]))
    step = numpy.zeros_like(points)
    step[:, 1:last] = space.unpack(solution)
    # Beyond half of its size the linear model of a point means nothing.
    bound = norms(points) / 2
    return step * numpy.minimum(1, bound / numpy.maximum(norms(step), 1e-300))[..., None]


def _over(points: numpy.ndarray, end: SingularFrames, shapes: Sequence[Shape]) -> numpy.ndarray:
    """Return factors over matrices that are nearest, layer by layer, to what is not quite so."""
    lam = end.sigma ** (1 / len(shapes))
    frames = [end.right]
    for layer in unpack(points, shapes)[:-1]:
        frames.append(polar_factor(layer @ (frames[-1] * lam[..., None, :])))
    return pack(BalancedFrames((*frames, end.left), lam).layers)


def _solve_chain(
    diagonal: numpy.ndarray, above: numpy.ndarray, right: numpy.ndarray
) -> numpy.ndarray:
    """Solve symmetric equations of which only neighbours are coupled, by elimination.

    Parameters
    ----------
    diagonal : array, shape=[c, k]
        Multiples of the identity.
    above : array, shape=[c, k - 1, n, n]
        Blocks above the diagonal.
    right : array, shape=[c, k, n]
    """
    count, n = right.shape[1:]
    blocks = diagonal[..., None, None] * numpy.eye(n)
    solution = right[..., None].copy()
    for j in range(count - 1):
        ratio = transpose(numpy.linalg.solve(blocks[:, j], above[:, j]))
        blocks[:, j + 1] -= ratio @ above[:, j]
        solution[:, j + 1] -= ratio @ solution[:, j]
    for j in range(count - 1, -1, -1):
        if j + 1 < count:
            solution[:, j] -= above[:, j] @ solution[:, j + 1]
        solution[:, j] = numpy.linalg.solve(blocks[:, j], solution[:, j])
    return solution[..., 0]


def redistribute(
    points: numpy.ndarray, count: int, shapes: Sequence[Shape], rank: int
) -> tuple[numpy.ndarray, numpy.ndarray]:
    """Distribute the points of curves anew: as many to a part of the length as to half a turn.

    Parameters
    ----------
    points : array, shape=[c, k + 1, D]
        Balanced factors, one after the other.
    count : int
        Number of chords that come out.
    shapes : sequence of pairs of int
        Shapes of the factors.
    rank : int

    Returns
    -------
    points : array, shape=[c, count + 1, D]
    parts : array, shape=[c, count]
        Parts of the time at an even pace.
    """
    chords = points[:, 1:] - points[:, :-1]
    sizes = norms(chords)
    directions = chords / sizes[..., None]
    angles = 2 * numpy.arcsin(numpy.minimum(norms(directions[:, 1:] - directions[:, :-1]) / 2, 1))
    ends = numpy.zeros_like(sizes[:, :1])
    shares = sizes / sizes.sum(axis=1, keepdims=True)
    turning = numpy.concatenate([ends, angles], axis=1) + numpy.concatenate([angles, ends], axis=1)
    places, times = (
        numpy.concatenate([ends, numpy.cumsum(weights, axis=1)], axis=1)
        for weights in (shares + turning / (2 * numpy.pi), shares)
    )
    goals = numpy.linspace(0, 1, count + 1) * places[:, -1:]
    which = (places[:, None, 1:-1] <= goals[:, :, None]).sum(axis=2)

    def at(values: numpy.ndarray, where: numpy.ndarray) -> numpy.ndarray:
        return numpy.take_along_axis(values, where, axis=1)

    low = at(places, which)
    part = (goals - low) / (at(places, which + 1) - low)
    time = at(times, which) + part * at(shares, which)
    new = at(points, which[..., None]) + part[..., None] * at(chords, which[..., None])
    new[:, 0], new[:, -1] = points[:, 0], points[:, -1]
    new[:, 1:-1] = pack(balance(unpack(new[:, 1:-1], shapes), rank))
    return new, numpy.diff(time, axis=1)
