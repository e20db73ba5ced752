"""Distances of the depth metric between all pairs of points."""

from collections.abc import Callable

import numpy

from dlngeo.core.base.arrays import Array, from_numpy, to_numpy
from dlngeo.core.base.checks import real_array
from dlngeo.core.depth_metric.metric import check_observable
from dlngeo.core.geodesics.logarithm import are_apart, check_joined, connect
from dlngeo.core.networks.frames import exact_frames

_BATCH = 500


def dist_pairwise(
    matrices: Array,
    depth: float,
    rank: int | None = None,
    advance: Callable[[int], object] | None = None,
) -> Array:
    """Return the lengths of the shortest geodesics found between all pairs of points.

    Every pair is searched for once, in batches; see `dlngeo.core.geodesics.logarithm.connect`
    for what is found.

    Parameters
    ----------
    matrices : array-like, shape=[k, m, n]
        Matrices of the given rank.
    depth : int or inf
        Depth ``N``.
    rank : int, optional
        Rank of the matrices, full by default.
    advance : callable, optional
        Is called with the number of pairs of every batch that is done.

    Returns
    -------
    distances : array-like, shape=[k, k]
        Symmetric; NaN where no geodesic was found.

    Raises
    ------
    ValueError
        If there is no list of matrices; otherwise as in `connect`.
    """
    points = to_numpy(real_array(matrices, "the matrices"))
    if points.ndim != 3:
        raise ValueError(f"expected a list of matrices, shape=[k, m, n], got shape {points.shape}.")
    # Errors tell of which points, not of which pairs of a batch.
    rank = check_observable(points, depth, rank)
    exact_frames(points, rank)
    check_joined(are_apart(points[:, None], points, rank))
    rows, columns = numpy.triu_indices(len(points), 1)
    distances = numpy.zeros((len(points), len(points)))
    for start in range(0, len(rows), _BATCH):
        one, other = (index[start : start + _BATCH] for index in (rows, columns))
        length = connect(points[one], points[other], depth, rank).length
        distances[one, other] = distances[other, one] = length
        if advance is not None:
            advance(len(one))
    return from_numpy(distances, matrices)
