r"""Logarithm and distance of the balanced manifold, by shooting.

The first guess is the tangent part of the chord in parameter space, and the first Jacobian
that of a straight line.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy

from dlngeo.core.balanced.basis import tangent_basis
from dlngeo.core.balanced.submanifold import checked_layers
from dlngeo.core.base.arrays import Array, diagonal_matrix, from_numpy, namespace, to_numpy
from dlngeo.core.base.packing import flatten_batch, pack, unpack
from dlngeo.core.geodesics.balanced_curves import BalancedChart, BalancedState
from dlngeo.core.geodesics.logarithm import Connection, check_found
from dlngeo.core.geodesics.turn_search import MOST_STEPS
from dlngeo.core.networks.factors import Factors, in_kind
from dlngeo.core.networks.frames import BalancedFrames, balanced_frames
from dlngeo.core.numerics.shooting import (
    CONVERGED,
    FINEST,
    Attempt,
    Found,
    Miss,
    aim_at,
    norms,
    search,
    shoot,
    unit_vectors,
)


class _FactorSpace(NamedTuple):
    """Balanced factors as points of parameter space, and coordinates of their tangent vectors.

    Attributes
    ----------
    balanced : BalancedFrames
    point : array, shape=[..., D]
    basis : array, shape=[..., n, D]
        Orthonormal basis of the tangent space.
    """

    balanced: BalancedFrames
    point: numpy.ndarray
    basis: numpy.ndarray

    @property
    def dimension(self) -> int:
        """Dimension of the balanced manifold."""
        return self.basis.shape[-2]

    def pack(self, vector: numpy.ndarray) -> numpy.ndarray:
        """Return the coordinates of the tangent part of a vector, shape=[..., n]."""
        return numpy.einsum("...i,...ni->...n", vector, self.basis)

    def unpack(self, coordinates: numpy.ndarray) -> numpy.ndarray:
        """Return the tangent vector with given coordinates, shape=[..., D]."""
        return numpy.einsum("...n,...ni->...i", coordinates, self.basis)


def _factor_space(layers: Sequence[numpy.ndarray], rank: int) -> _FactorSpace:
    groups = [pack(group) for group in tangent_basis(tuple(layers), rank)]
    basis = numpy.moveaxis(numpy.concatenate(groups), 0, -2)
    return _FactorSpace(balanced_frames(layers, rank), pack(layers), basis)


def balanced_connect(factors: Factors, point: Factors, rank: int | None = None) -> Connection:
    """Return geodesics of the balanced manifold that were found between pairs of points.

    Parameters
    ----------
    factors : array-like, shape=[..., N, d, d], or sequence of shape=[..., d_p, d_{p-1}]
        Balanced factors, the initial points.
    point : the same shapes
        Balanced factors, the points at time one.
    rank : int, optional
        Rank of the factors, ``min(widths)`` by default.

    Returns
    -------
    connection : Connection
        With velocities like the factors.

    Raises
    ------
    ValueError
        If the factors are not balanced of this rank, shapes do not fit, or an entry is NaN
        or infinite.

    References
    ----------
    THEORY 2.
    """
    parts, rank = checked_layers(factors, point, rank=rank)
    arrays = sum(parts, start=())
    namespace(*arrays)
    batch, flat = flatten_batch(*map(to_numpy, arrays))
    layers, points = flat[: len(parts[0])], flat[len(parts[0]) :]
    shapes = [w.shape[-2:] for w in layers]
    unit = balanced_frames(layers, rank).lam[:, :1, None]
    source, target = (_factor_space([w / unit for w in part], rank) for part in (layers, points))
    chart = BalancedChart(tuple(q.shape[-2] for q in source.balanced.frames), rank)

    def gap(
        here: _FactorSpace,
        there: _FactorSpace,
        velocity: numpy.ndarray,
        length: numpy.ndarray,
        tolerance: numpy.ndarray,
    ) -> numpy.ndarray:
        start = BalancedState(
            diagonal_matrix(here.balanced.lam),
            here.balanced.frames,
            [v[:, None] for v in unpack(velocity, shapes)],
        )
        trajectory = chart.flow(start.pack(), length, tolerance, MOST_STEPS)
        return pack(chart.leave(trajectory.arrival)[0]) - there.point

    def along_chords(found: Found) -> Iterator[Attempt]:
        chord = source.pack(target.point - source.point)
        yield Attempt(found.missing, chord, [aim_at(target, source, gap)])

    def solve(miss: Miss, start: numpy.ndarray, inverse: numpy.ndarray) -> tuple:
        u, _ = shoot(miss, start, inverse)
        direction, length = unit_vectors(u)
        tolerance = numpy.full(len(u), FINEST)
        # The search sees displacements along the tangent space alone.
        return u, norms(gap(source, target, source.unpack(direction), length, tolerance))

    found = search(len(unit), source.dimension, [along_chords], solve, 10 * CONVERGED)
    velocity = unpack(source.unpack(found.velocity), shapes)
    results = [
        from_numpy((unit * v).reshape(*batch, *shape), array)
        for v, shape, array in zip(velocity, shapes, arrays, strict=False)
    ]
    return Connection(
        in_kind(results, factors),
        from_numpy((norms(found.velocity) * unit[:, 0, 0]).reshape(batch), arrays[0]),
        found.residual.reshape(batch),
        found.is_found.reshape(batch),
        # Straight lines of parameter space are no longer.
        (norms(target.point - source.point) * unit[:, 0, 0]).reshape(batch),
        found.number.reshape(batch),
    )


def balanced_log(factors: Factors, point: Factors, rank: int | None = None) -> Factors:
    """Return the logarithm of the balanced manifold: the velocity of a geodesic to a point.

    Parameters and errors as in `balanced_connect`.

    Returns
    -------
    velocity : like factors

    Raises
    ------
    RuntimeError
        If no geodesic was found for a pair; `balanced_connect` tells for which.

    References
    ----------
    THEORY 2.
    """
    return check_found(balanced_connect(factors, point, rank)).velocity


def balanced_dist(factors: Factors, point: Factors, rank: int | None = None) -> Array:
    """Return the length of the geodesic that was found between points.

    Parameters and errors as in `balanced_log`.

    Returns
    -------
    dist : array-like, shape=[...]
    """
    return check_found(balanced_connect(factors, point, rank)).length
