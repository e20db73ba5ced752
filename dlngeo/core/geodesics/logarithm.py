r"""Logarithm and distance of the depth metric: the shortest of the geodesics that are found.

Near matrices are joined by shooting along the straight line of the chart, and that is all where the
geodesic is proved to be the shortest. Elsewhere the search of
`dlngeo.core.geodesics.search.turn_search` goes from one of the two matrices to the other. Which one
it starts from is told by the singular values alone, and the geodesic is turned round where that is
the second one, so that distances are symmetric. Where they tell nothing, where null spaces on both
sides bend the space between far points, and where a shot fails, it goes both ways.
"""

from collections.abc import Callable

import numpy

from dlngeo.core.base.arrays import Array, from_numpy, namespace
from dlngeo.core.base.checks import in_batch
from dlngeo.core.base.packing import flatten_batch, take
from dlngeo.core.base.primitives import primitive, rules_of_gradients
from dlngeo.core.base.scales import square
from dlngeo.core.depth_metric.metric import lower_index
from dlngeo.core.geodesics.charts.chart import extend, restrict
from dlngeo.core.geodesics.connections import Connection, Verdict, check_found
from dlngeo.core.geodesics.injectivity import proved_radius
from dlngeo.core.geodesics.observable_curves import chart_of, checked_problem
from dlngeo.core.geodesics.search.bounds import CERTAIN, lower_bound
from dlngeo.core.geodesics.search.shots import Shots
from dlngeo.core.geodesics.search.spaces import metric_space
from dlngeo.core.geodesics.search.turn_search import turn_search
from dlngeo.core.networks.blocks import join
from dlngeo.core.networks.frames import SingularFrames, exact_frames
from dlngeo.core.numerics.shooting import CONVERGED, norms

# Relative error of the lengths of turns.
_ROUGH = 0.01
# Relative difference from which on singular values tell the first matrix from the second.
_EQUAL = 1e-7


def pairs_in_frames(
    x: numpy.ndarray, y: numpy.ndarray, rank: int, frames_of: Callable = exact_frames
) -> tuple[tuple[int, ...], tuple[numpy.ndarray, ...], tuple[SingularFrames, ...]]:
    """Return the batch shape of pairs of matrices, these one after the other, and their frames.

    The frames are found of the matrices as they are given: errors tell their places there.
    """
    parts = [x, y]
    for matrix in (x, y):
        left, sigma, right = frames_of(matrix, rank)
        parts += [left, sigma[..., None, :], right]
    batch, (x, y, *flat) = flatten_batch(*parts)
    frames = [SingularFrames(u, s[:, 0], v) for u, s, v in (flat[:3], flat[3:])]
    return batch, (x, y), tuple(frames)


def are_apart(x: numpy.ndarray, y: numpy.ndarray, rank: int) -> numpy.ndarray:
    """Tell which matrices no path joins: square ones of full rank with opposite determinants."""
    if not x.shape[-2] == x.shape[-1] == rank:
        return numpy.zeros(numpy.broadcast_shapes(x.shape[:-2], y.shape[:-2]), dtype=bool)
    return numpy.linalg.slogdet(x)[0] != numpy.linalg.slogdet(y)[0]


def check_joined(apart: numpy.ndarray) -> None:
    """Raise a ValueError if no path joins some of the pairs, shape=[...]."""
    if apart.any():
        raise ValueError(
            "no geodesic joins square matrices of full rank whose determinants have opposite "
            f"signs{in_batch(apart)}: take pairs of one sign."
        )


def _exchanged(
    source: SingularFrames, target: SingularFrames, where: numpy.ndarray
) -> tuple[SingularFrames, SingularFrames]:
    """Return the matrices, exchanged for some pairs."""
    index = numpy.where(where, 1, 0), numpy.arange(len(where))
    both = [numpy.stack(pair) for pair in zip(source, target, strict=True)]
    first = SingularFrames(*[array[index] for array in both])
    second = SingularFrames(*[array[1 - index[0], index[1]] for array in both])
    return first, second


def _order(source: SingularFrames, target: SingularFrames) -> numpy.ndarray:
    """Return 1 where the first matrices have larger singular values, -1 the second ones, or 0.

    It is the first value that tells which differs.
    """
    scale = numpy.maximum(source.sigma, target.sigma)
    sign = numpy.sign(source.sigma - target.sigma) * (
        abs(source.sigma - target.sigma) > _EQUAL * scale
    )
    first = (sign != 0).argmax(axis=-1)
    return numpy.take_along_axis(sign, first[:, None], axis=-1)[:, 0]


def connect(
    matrix: Array,
    point: Array,
    depth: float,
    rank: int | None = None,
    *,
    on_boundary: str = "raise",
) -> Connection:
    r"""Return the shortest geodesics that were found between pairs of matrices.

    Every geodesic ends at the second matrix, as accurately as the residual tells. Which matrix
    comes first, transposition, rotations and scaling make no difference to the lengths.

    A geodesic is proved to be the shortest path (`is_certified`) if its length is the `bound`, than
    which no path is shorter: at rank one, at depth one and full rank, between matrices with the
    same singular vectors in order, between multiples of rotations of the plane, and between
    positive matrices at depth two; or if it is less than the `radius`, the larger
    `injectivity_bound` of the two points. Elsewhere it is the shortest one that was found. At
    finite depth the metric is incomplete: where every short path runs into the boundary there may
    be no shortest geodesic, and often none is found. Why none was found the `verdict` tells: where
    some path is known to be shorter than all that touch the boundary, a geodesic exists.

    Parameters
    ----------
    matrix, point : array-like, shape=[..., m, n]
        Matrices ``X`` and ``X_1`` of the given rank.
    depth : int or inf
        Depth ``N``.
    rank : int, optional
        Rank of the matrices, full by default.
    on_boundary : str
        What happens if square matrices of full rank have determinants of opposite signs, so that
        no path joins them: "raise" an error, or "nan", an infinite length without a velocity; or
        "cross", at a finite depth: all paths may cross ``det X = 0``, those between matrices of
        one sign too, and lengths are distances of the completed space, of which the exponential
        crosses in the same way. At depth one that is Euclidean, of rectangular matrices too.
        Paths are not looked for where two singular values vanish at once.

    Returns
    -------
    connection : Connection

    Raises
    ------
    ValueError
        If shapes, rank or depth do not fit, an entry is NaN or infinite, no path joins a pair, or
        geodesics cannot cross.

    References
    ----------
    THEORY 3.
    """
    x, y, rank = checked_problem(matrix, point, depth, rank)
    batch, (x, y), (source, target) = pairs_in_frames(x, y, rank)
    opposite = are_apart(x, y, rank)
    apart = opposite & (on_boundary != "cross")
    if on_boundary == "cross":
        _check_crossing(x, depth, rank)
    elif on_boundary == "raise":
        check_joined(apart.reshape(batch))
    elif on_boundary != "nan":
        raise ValueError(f'on_boundary is "raise", "nan" or "cross", got {on_boundary!r}.')
    unit = numpy.maximum(source.sigma[:, :1], target.sigma[:, :1])
    # A shortest geodesic stays in the common spans: reflections at them keep its ends.
    left, target_left, left_basis = restrict(source.left, target.left)
    right, target_right, right_basis = restrict(source.right, target.right)
    source = SingularFrames(left, source.sigma / unit, right)
    target = SingularFrames(target_left, target.sigma / unit, target_right)
    # Of the completed space the bounds hold for signed values; without a path all bounds do.
    sides = numpy.where(opposite[:, None] & (numpy.arange(rank) == rank - 1), -1.0, 1.0)
    signed = SingularFrames(target.left * sides[:, None, :], target.sigma * sides, target.right)
    bound = numpy.full(len(x), numpy.inf)
    joined = numpy.flatnonzero(~apart)
    bound[joined] = lower_bound(take(source, joined), take(signed, joined), depth)
    radius = numpy.maximum(proved_radius(source.sigma, depth), proved_radius(target.sigma, depth))
    velocity = numpy.full((len(x), left.shape[-2], right.shape[-2]), numpy.nan)
    length, residual, shortest = numpy.full((3, len(x)), numpy.inf)
    number, is_open = numpy.zeros(len(x), dtype=int), numpy.zeros(len(x), dtype=bool)

    def join_near() -> None:
        """Shoot along straight lines of the chart within the radius of one geodesic."""
        pairs = numpy.flatnonzero(bound < radius)
        if not len(pairs):
            return
        here, there = (metric_space(take(ends, pairs), depth) for ends in (source, target))
        rows, columns = here.matrix.shape[-2:]
        chart = chart_of(rows, columns, rank, depth, on_boundary=on_boundary)
        u, residual[pairs] = Shots(chart).near_log(here, there)
        is_sure = (residual[pairs] <= CONVERGED) & (norms(u) < radius[pairs])
        chosen, here, u = pairs[is_sure], take(here, is_sure), u[is_sure]
        velocity[chosen] = join(here.unpack(u), here.frames.left, here.frames.right)
        length[chosen], number[chosen] = norms(u), 1

    def go(pairs: numpy.ndarray, from_point: numpy.ndarray) -> None:
        """Search from first or from second matrices, and keep what is shorter."""
        ends = _exchanged(take(source, pairs), take(target, pairs), from_point)
        ways = turn_search(*ends, depth, on_boundary)
        found = ways.search()
        residual[pairs] = numpy.fmin(residual[pairs], found.residual)
        number[pairs] = numpy.maximum(number[pairs], found.number)
        is_open[pairs] |= found.is_hard | ways.is_open
        shortest[pairs] = numpy.minimum(shortest[pairs], ways.shortest)
        is_shorter = found.length < (1 - CONVERGED) * length[pairs]
        for back in (False, True):
            chosen = numpy.flatnonzero(is_shorter & (from_point == back))
            here, there = take(ways[:2], chosen)
            u = found.velocity[chosen]
            if back:
                here, u = there, ways.shots.turn_round(u, here, there)
            velocity[pairs[chosen]] = join(here.unpack(u), here.frames.left, here.frames.right)
        length[pairs[is_shorter]] = found.length[is_shorter]

    order = _order(source, target)
    join_near()
    is_far = ~apart & ~numpy.isfinite(length)
    far = numpy.flatnonzero(is_far)
    if len(far):
        go(far, order[far] < 0)
    # What is as short as its bound needs no second search.
    is_far &= ~(length <= (1 + CERTAIN) * bound)
    again = numpy.flatnonzero(is_far & ((order == 0) | is_open))
    if len(again):
        go(again, order[again] >= 0)
    velocity = unit[:, :, None] * extend(velocity, left_basis, right_basis)
    scale = 1.0 if depth == numpy.inf else unit[:, 0] ** (1 / depth)
    is_found = numpy.isfinite(length)
    length = numpy.where(is_found | apart, length * scale, numpy.nan)
    verdict = numpy.where(is_found, Verdict.FOUND, Verdict.NOT_REACHED)
    if on_boundary != "cross":
        is_known = (1 + _ROUGH) * shortest < _touching(source.sigma, target.sigma, depth)
        why = numpy.where(is_known, Verdict.EXISTS, Verdict.MAY_NOT_EXIST)
        if depth == 1 and rank == min(x.shape[-2:]):
            why[:] = Verdict.STRAIGHT_LINE_LEAVES
        verdict = numpy.where(is_found, verdict, numpy.where(apart, Verdict.APART, why))
    return Connection(
        from_numpy(velocity.reshape(*batch, *velocity.shape[1:]), matrix),
        from_numpy(length.reshape(batch), matrix),
        residual.reshape(batch),
        verdict.reshape(batch),
        (bound * scale).reshape(batch),
        (radius * scale).reshape(batch),
        number.reshape(batch),
    )


def _touching(sigma: numpy.ndarray, other: numpy.ndarray, depth: float) -> numpy.ndarray:
    """Return what no path is shorter than that touches the boundary, shape=[b].

    If some path is shorter, a shortest one exists, and it is a geodesic. See THEORY 3.
    """
    if depth == numpy.inf:
        return numpy.full(len(sigma), numpy.inf)
    return depth**0.5 * (sigma[:, -1] ** (1 / depth) + other[:, -1] ** (1 / depth))


def _check_crossing(x: numpy.ndarray, depth: float, rank: int) -> None:
    """Raise a ValueError if geodesics of such matrices cannot cross the boundary."""
    rows, columns = x.shape[-2:]
    if depth == numpy.inf or rank < min(rows, columns) or (rows != columns and depth > 1):
        raise ValueError(
            "geodesics cross the boundary at a finite depth, of square matrices of full rank, and "
            f"at depth one of rectangular ones: got depth {depth}, shape {(rows, columns)} and "
            f'rank {rank}; leave out on_boundary="cross".'
        )


def log(
    matrix: Array,
    point: Array,
    depth: float,
    rank: int | None = None,
    *,
    on_boundary: str = "raise",
) -> Array:
    """Return the logarithm: the velocity at ``X`` of the shortest geodesic found to ``X_1``.

    It is the velocity of a geodesic that ends at ``X_1``, or an error. That no path is shorter is
    proved where `Connection.is_certified` says so, see `connect`.

    Parameters and errors as in `connect`.

    Returns
    -------
    velocity : array-like, shape=[..., m, n]

    Raises
    ------
    RuntimeError
        If no geodesic was found for a pair; `connect` tells for which.

    References
    ----------
    THEORY 3.
    """
    connection = connect(matrix, point, depth, rank, on_boundary=on_boundary)
    return check_found(connection, "connect").velocity


def dist(
    matrix: Array,
    point: Array,
    depth: float,
    rank: int | None = None,
    *,
    on_boundary: str = "raise",
) -> Array:
    """Return the length of the shortest geodesic found from ``X`` to ``X_1``.

    It is at least the distance, and proved to be it where `Connection.is_certified` says so, see
    `connect`. Parameters and errors as in `log`.

    Returns
    -------
    dist : array-like, shape=[...]

    References
    ----------
    THEORY 3.
    """
    connection = connect(matrix, point, depth, rank, on_boundary=on_boundary)
    return check_found(connection, "connect").length


@primitive(static=("depth", "rank", "on_boundary"))
def _gradients(
    matrix: Array, point: Array, depth: float, rank: int | None, on_boundary: str
) -> tuple[Array, Array]:
    """Return the gradients of the squared distance by both points."""
    pairs = ((matrix, point), (point, matrix))
    here, there = (
        lower_index(x, log(x, y, depth, rank, on_boundary=on_boundary), depth, rank)
        for x, y in pairs
    )
    return -2 * here, -2 * there


@primitive(static=("depth", "rank", "on_boundary"), **rules_of_gradients(_gradients))
def squared_dist(
    matrix: Array,
    point: Array,
    depth: float,
    rank: int | None = None,
    *,
    on_boundary: str = "raise",
) -> Array:
    r"""Return the squared length of the shortest geodesic found from ``X`` to ``X_1``.

    It can be differentiated, once: by either point the gradient is ``-2`` times the covector
    of the logarithm to the other one, ``-2 A_{N,X}^{-1}(\log_X X_1)``.

    Parameters and errors as in `log`.

    Returns
    -------
    squared_dist : array-like, shape=[...]

    References
    ----------
    THEORY 3.
    """
    length = dist(matrix, point, depth, rank, on_boundary=on_boundary)
    xp = namespace(length)
    # Where no path joins points the distance is infinite, and no error.
    is_apart = xp.isinf(length)
    squares = square(xp.where(is_apart, xp.zeros_like(length), length), "the squared distance")
    return xp.where(is_apart, length, squares)
