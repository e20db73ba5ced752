r"""Integrals of ``e^{ℓ(y)}`` over boxes of a few dimensions, where ``ℓ`` is large and smooth.

The mass may sit in wells ``10^-6`` times as wide as the box. So its support comes first, by branch
and bound on ``ℓ``; then Gauss–Legendre rules of two orders, on boxes where ``ℓ`` varies little.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy

Function = Callable[[numpy.ndarray], numpy.ndarray]

_SAMPLES = numpy.array([0.0, 0.35, 0.7, 1.0])
_ORDERS = {1: (16, 13), 2: (12, 10), 3: (10, 8), 4: (8, 6)}
_SPREAD = {1: 6.0, 2: 8.0, 3: 10.0, 4: 10.0}
# What lies further below the peak is left out. Few dimensions show barriers between wells too.
_DEPTH = {1: 50.0, 2: 45.0, 3: 32.0, 4: 28.0}
_MOST_BOXES = 60_000
MOST_POINTS = 2**18
_NARROWEST = 1e-12
# So little of the mass may lie in boxes that are too narrow to be cut, in e-folds: at walls.
_RESOLVED = 14.0


@dataclass(frozen=True, eq=False)
class Boxes:
    """Boxes in ``ℝ^r``.

    Attributes
    ----------
    lower, width : array, shape=[m, r]
    """

    lower: numpy.ndarray
    width: numpy.ndarray

    def __getitem__(self, chosen: Any) -> "Boxes":
        return Boxes(self.lower[chosen], self.width[chosen])

    def points(self, fractions: numpy.ndarray) -> numpy.ndarray:
        """Return the tensor grid of fractions of the sides in every box, shape=[m, s^r, r]."""
        rank = self.lower.shape[-1]
        axes = numpy.meshgrid(*[fractions] * rank, indexing="ij")
        grid = numpy.stack(axes, axis=-1).reshape(-1, rank)
        return self.lower[:, None] + self.width[:, None] * grid

    def halve(self, axes: numpy.ndarray) -> "Boxes":
        """Return the boxes cut in two along the chosen axes, a mask of shape=[m, r]."""
        lower, width = self.lower, self.width
        for axis in range(lower.shape[-1]):
            chosen = axes[:, axis]
            width = width.copy()
            width[chosen, axis] /= 2
            upper = lower[chosen]
            upper[:, axis] += width[chosen, axis]
            lower = numpy.concatenate([lower, upper])
            width = numpy.concatenate([width, width[chosen]])
            axes = numpy.concatenate([axes, axes[chosen]])
        return Boxes(lower, width)


def concatenate(parts: list[Boxes]) -> Boxes:
    """Return all boxes of a list as one."""
    return Boxes(
        numpy.concatenate([part.lower for part in parts]),
        numpy.concatenate([part.width for part in parts]),
    )


def chunks(boxes: Boxes, points_per_box: int) -> list[Boxes]:
    """Return the boxes in parts whose points fit the memory."""
    count = max(1, MOST_POINTS // points_per_box)
    return [boxes[start : start + count] for start in range(0, len(boxes.lower), count)]


def _sample(function: Function, boxes: Boxes, fractions: numpy.ndarray) -> numpy.ndarray:
    """Return the values on the tensor grid of every box, shape=[m, s^r]."""
    size = len(fractions) ** boxes.lower.shape[-1]
    parts = [function(part.points(fractions)) for part in chunks(boxes, size)]
    return numpy.concatenate(parts) if parts else numpy.zeros((0, size))


def _variation(
    grid: numpy.ndarray, edge: float
) -> tuple[numpy.ndarray, numpy.ndarray, numpy.ndarray]:
    """Return largest value, what it may reach between samples, and the spread along each side.

    A value may be exceeded by as much as it differs from its neighbours. Where the support ends,
    at -inf, the function is taken to fall by at least ``edge``.
    """
    axes = tuple(range(1, grid.ndim))
    top = grid.max(axis=axes)
    low = numpy.where(grid > -numpy.inf, grid, numpy.inf).min(axis=axes)
    low = numpy.where(low < numpy.inf, low - edge, 0.0)
    grid = numpy.maximum(grid, low.reshape(-1, *[1] * len(axes)))
    spreads, jumps = [], 0 * grid
    for axis in axes:
        spreads.append(numpy.ptp(grid, axis=axis).reshape(len(grid), -1).max(axis=1))
        jump = abs(numpy.diff(grid, axis=axis))
        before, after = [[(0, 0)] * grid.ndim for _ in range(2)]
        before[axis], after[axis] = (1, 0), (0, 1)
        jumps = numpy.maximum(jumps, numpy.maximum(numpy.pad(jump, before), numpy.pad(jump, after)))
    reach = numpy.where(top > -numpy.inf, (grid + jumps).max(axis=axes), -numpy.inf)
    return top, reach, numpy.stack(spreads, axis=1)


def support(function: Function, lower: numpy.ndarray, upper: numpy.ndarray) -> tuple[Boxes, float]:
    r"""Return boxes that cover where ``ℓ`` is not far below its peak, and the peak.

    Branch and bound: a box is dropped if the largest value in it and the spread of values do not
    reach that level together, and cut as long as ``ℓ`` varies too much along a side.

    Parameters
    ----------
    function : callable
        ``ℓ``, from shape=[..., r] to shape=[...], ``-inf`` where there is no mass.
    lower, upper : array, shape=[r]
        Ends of the box to search.

    Returns
    -------
    boxes : Boxes
    peak : float
        Largest value met, ``-inf`` if there is no mass.

    Raises
    ------
    ValueError
        If ``ℓ`` is so rough that the boxes are too many, or has wells that double precision does
        not resolve.
    """
    rank = len(lower)
    spread = _SPREAD[rank]
    counts = numpy.ceil((upper - lower) / 2.0 ** (rank - 1)).astype(int)
    width = (upper - lower) / counts
    corners = numpy.stack(
        numpy.meshgrid(*[numpy.arange(count) for count in counts], indexing="ij"), axis=-1
    ).reshape(-1, rank)
    boxes = Boxes(lower + corners * width, numpy.broadcast_to(width, corners.shape))
    peak, leaves = -numpy.inf, []
    while len(boxes.lower):
        grid = _sample(function, boxes, _SAMPLES).reshape(-1, *[len(_SAMPLES)] * rank)
        top, reach, spreads = _variation(grid, 2 * spread)
        peak = max(peak, top.max())
        floor = peak - _DEPTH[rank]
        # The steepest sides first: others may turn out flat.
        is_rough = spreads > numpy.maximum(spread, spreads.max(axis=1) / 4)[:, None]
        is_cuttable = is_rough & (boxes.width > _NARROWEST)
        is_live = reach >= floor
        is_leaf = is_live & ~is_cuttable.any(axis=1)
        volumes = numpy.log(boxes.width).sum(axis=1)
        parts = boxes, top + volumes, reach + volumes, is_rough.any(axis=1)
        leaves.append(tuple(part[is_leaf] for part in parts))
        is_cut = is_live & ~is_leaf
        boxes = boxes[is_cut].halve(is_cuttable[is_cut])
        if len(boxes.lower) > _MOST_BOXES * 2**rank:
            raise ValueError(
                "the energy is too rough to integrate: expected a smooth function of the singular "
                "values, whose wells are not many. Smooth it, or take a smaller rank."
            )
    masses, bounds, is_rough = (numpy.concatenate([leaf[i] for leaf in leaves]) for i in (1, 2, 3))
    total = numpy.logaddexp.reduce(masses)
    if peak > -numpy.inf and not numpy.logaddexp.reduce(masses[is_rough]) < total - _RESOLVED:
        raise ValueError(
            "the energy has wells narrower than double precision resolves, a trillionth of their "
            "singular values, or does not confine them: lower it, or beta, or correct it."
        )
    has_mass = bounds >= total - _DEPTH[rank]
    return concatenate([leaf[0] for leaf in leaves])[has_mass], peak


class Cubature(NamedTuple):
    """A rule for integrals against ``e^{ℓ}``, normalised.

    Attributes
    ----------
    boxes : Boxes
    fractions : array, shape=[n]
        Nodes of the rule on ``[0, 1]``, along every side.
    masses : array, shape=[m, n^r]
        Weights of the nodes, which sum to one.
    log_integral : float
        ``log ∫ e^ℓ``.
    error : float
        Sum over boxes of the difference of two orders, relative to the integral: far above the
        error where ``ℓ`` is smooth, an estimate of it where it is not.
    """

    boxes: Boxes
    fractions: numpy.ndarray
    masses: numpy.ndarray
    log_integral: float
    error: float

    def mean(self, function: Function) -> Any:
        """Return ``Σ m_i f(y_i)`` for ``f`` from shape=[p, r] to shape=[p, ...].

        Over the nodes with mass: elsewhere ``f`` may be infinite.
        """
        total: Any = 0.0
        start = 0
        for part in chunks(self.boxes, self.masses.shape[1]):
            masses = self.masses[start : start + len(part.lower)]
            start += len(masses)
            points = part.points(self.fractions)[masses > 0]
            total = total + numpy.tensordot(masses[masses > 0], function(points), axes=(0, 0))
        return total


def rule(order: int) -> tuple[numpy.ndarray, numpy.ndarray]:
    """Return nodes and weights of Gauss and Legendre on ``[0, 1]``."""
    nodes, weights = numpy.polynomial.legendre.leggauss(order)
    return (nodes + 1) / 2, weights / 2


def _tensor(weights: numpy.ndarray, rank: int) -> numpy.ndarray:
    product = numpy.ones(1)
    for _ in range(rank):
        product = numpy.multiply.outer(product, weights).reshape(-1)
    return product


def integrate(function: Function, boxes: Boxes, peak: float, rtol: float) -> Cubature:
    """Return a rule for ``e^ℓ`` on boxes that are cut until two orders agree.

    Parameters
    ----------
    function : callable
        ``ℓ``, from shape=[..., r] to shape=[...].
    boxes : Boxes
    peak : float
        About the largest value, to scale by.
    rtol : float
        Bound of the error, relative; not reached if that would take too many boxes.

    Returns
    -------
    cubature : Cubature
    """
    rank = boxes.lower.shape[-1]
    order, lower_order = _ORDERS[rank]
    (fractions, weights), (fewer, fewer_weights) = rule(order), rule(lower_order)
    tensor, fewer_tensor = _tensor(weights, rank), _tensor(fewer_weights, rank)

    highest = numpy.polynomial.legendre.legvander(2 * fractions - 1, order - 1)[:, -2:]

    def evaluate(new: Boxes) -> tuple[Boxes, numpy.ndarray, numpy.ndarray]:
        volume = new.width.prod(axis=1)[:, None]
        masses = numpy.exp(_sample(function, new, fractions) - peak) * tensor * volume
        coarse = numpy.exp(_sample(function, new, fewer) - peak) * fewer_tensor * volume
        return new, masses, abs(masses.sum(axis=1) - coarse.sum(axis=1))

    def rough_axes(masses: numpy.ndarray) -> numpy.ndarray:
        """Return the axes along which the series of Legendre's polynomials falls slowest."""
        grid = masses.reshape(-1, *[order] * rank)
        tails = [
            abs(numpy.tensordot(grid, highest, axes=(axis, 0))).sum(axis=tuple(range(1, rank + 1)))
            for axis in range(1, rank + 1)
        ]
        return numpy.stack(tails, axis=1) >= numpy.max(tails, axis=0)[:, None] / 4

    boxes, masses, errors = evaluate(boxes)
    while True:
        total = masses.sum()
        is_bad = errors > rtol * total / len(errors)
        axes = rough_axes(masses[is_bad])
        n_after = len(errors) + (2 ** axes.sum(axis=1)).sum()
        if errors.sum() <= rtol * total or n_after > _MOST_BOXES:
            break
        new = evaluate(boxes[is_bad].halve(axes))
        boxes = concatenate([boxes[~is_bad], new[0]])
        masses = numpy.concatenate([masses[~is_bad], new[1]])
        errors = numpy.concatenate([errors[~is_bad], new[2]])
    log_integral, error = float(numpy.log(total) + peak), float(errors.sum() / total)
    return Cubature(boxes, fractions, masses / total, log_integral, error)
