r"""Logarithm and distance of the balanced manifold, by shooting.

The first guess is the tangent part of the chord in parameter space, and the first Jacobian
that of a straight line.
"""

import numpy

from dlngeo.core.balanced.basis import tangent_basis
from dlngeo.core.balanced.submanifold import checked_layers
from dlngeo.core.base.arrays import Array, from_numpy, namespace, to_numpy
from dlngeo.core.geodesics.balanced_curves import BalancedChart, BalancedState
from dlngeo.core.geodesics.charts import Connection, check_found
from dlngeo.core.networks.factors import Factors, in_kind
from dlngeo.core.networks.frames import balanced_frames
from dlngeo.core.numerics.integration import NEAREST, Status, integrate
from dlngeo.core.numerics.shooting import CONVERGED, FINEST, norms, shoot

_MOST_STEPS = 100


def _flat(layers: list[numpy.ndarray]) -> numpy.ndarray:
    """Return the entries of layers one after the other, shape=[..., n_parameters]."""
    flat = [w.reshape(*w.shape[:-2], w.shape[-2] * w.shape[-1]) for w in layers]
    return numpy.concatenate(flat, axis=-1)


def _basis(layers: list[numpy.ndarray], rank: int) -> numpy.ndarray:
    """Return an orthonormal basis of the tangent space, shape=[b, dim, n_parameters]."""
    groups = [_flat(list(group)) for group in tangent_basis(tuple(layers), rank)]
    return numpy.moveaxis(numpy.concatenate(groups, axis=0), 0, -2)


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
    parts = [tuple(map(to_numpy, part)) for part in parts]
    batch = numpy.broadcast_shapes(*[w.shape[:-2] for part in parts for w in part])
    shapes = [w.shape[-2:] for w in parts[0]]
    layers, ends = (
        [
            numpy.broadcast_to(w, (*batch, *shape)).reshape(-1, *shape)
            for w, shape in zip(part, shapes, strict=True)
        ]
        for part in parts
    )
    balanced = balanced_frames(layers, rank)
    balanced_frames(ends, rank)
    unit = balanced.lam[:, 0]
    layers, ends = ([w / unit[:, None, None] for w in part] for part in (layers, ends))
    source, target = _basis(layers, rank), _basis(ends, rank)
    flow = BalancedChart(tuple(q.shape[-2] for q in balanced.frames), rank)
    stretch = (balanced.lam / unit[:, None])[:, None, :] * numpy.eye(rank)
    goal = _flat(ends)

    def velocities(index: numpy.ndarray, u: numpy.ndarray) -> list[numpy.ndarray]:
        flat = numpy.einsum("bi,bin->bn", u, source[index])
        cuts = numpy.cumsum([rows * columns for rows, columns in shapes])[:-1]
        pieces = numpy.split(flat, cuts, axis=-1)
        return [v.reshape(-1, *shape) for v, shape in zip(pieces, shapes, strict=True)]

    def reach(index: numpy.ndarray, u: numpy.ndarray, tolerance: numpy.ndarray) -> numpy.ndarray:
        """Return the displacement of the ends in parameter space."""
        length = norms(u)
        pace = numpy.where(length == 0, 1, length)
        start = BalancedState(
            stretch[index],
            [q[index] for q in balanced.frames],
            [v[:, None] for v in velocities(index, u / pace[:, None])],
        )
        trajectory = integrate(flow.velocity, start.pack(), length, tolerance, _MOST_STEPS, NEAREST)
        reached = flow.unpack(trajectory.state).balanced()[0].layers
        is_arrived = (trajectory.status == Status.ARRIVED)[:, None]
        return numpy.where(is_arrived, _flat(reached) - goal[index], numpy.inf)

    def miss(index: numpy.ndarray, u: numpy.ndarray, tolerance: numpy.ndarray) -> numpy.ndarray:
        off = reach(index, u, tolerance)
        is_lost = ~numpy.isfinite(off).all(axis=1)
        off = numpy.einsum("bn,bin->bi", numpy.where(is_lost[:, None], 0.0, off), target[index])
        return numpy.where(is_lost[:, None], numpy.inf, off)

    chord = numpy.einsum("bn,bin->bi", goal - _flat(layers), source)
    inverse = numpy.einsum("bin,bjn->bij", source, target)
    u, _ = shoot(miss, chord, inverse)
    # The search sees displacements along the tangent space alone.
    every = numpy.arange(len(u))
    residual = norms(reach(every, u, numpy.full(len(u), FINEST)))
    is_found = residual <= 10 * CONVERGED
    velocity = numpy.where(is_found[:, None], u, numpy.nan)
    results = [
        from_numpy((unit[:, None, None] * v).reshape(*batch, *shape), array)
        for v, shape, array in zip(velocities(every, velocity), shapes, arrays, strict=False)
    ]
    length = numpy.where(is_found, norms(u) * unit, numpy.nan)
    return Connection(
        in_kind(results, factors),
        from_numpy(length.reshape(batch), arrays[0]),
        residual.reshape(batch),
        is_found.reshape(batch),
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
