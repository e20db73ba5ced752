r"""Geodesics of the metric of relaxed balanced networks.

Relaxed balanced factors form a manifold, of which ``φ`` is a Riemannian submersion as it is of
the balanced one: rotations of the hidden layers keep the offsets, and ``range dφ*`` is tangent
because gradient flows conserve them. Geodesics lift to horizontal factors,

.. math:: \dot W = V = dφ_W^*(P), \quad dφ\,dφ^*(\dot P) = -dφ(D(dφ^*)[V](P)), \quad
          \ddot X = D^2φ(V, V),

and these are what is integrated, in batches, on the host and in double precision. Where the
largest shift is that of one factor alone, the manifold is closed and the metric complete: its
geodesics run through matrices of lower rank.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy

from dlngeo.core.base.arrays import Array, eigh, from_numpy, quotient, to_numpy, transpose
from dlngeo.core.geodesics.charts import check_arrival, check_on_boundary, checked_times
from dlngeo.core.networks.factors import checked_matrix
from dlngeo.core.networks.network import adjoint_differential, differential, end_to_end
from dlngeo.core.numerics.integration import Status, integrate
from dlngeo.core.relaxed.metric import gram_kernel, lower_index, relaxed_layers
from dlngeo.core.relaxed.strings import RelaxedNetwork

TOLERANCE = 1e-11
"""Local error of a step, relative to the largest singular value of the factors."""

NEAREST = 1e-4
"""Part of the first gap below which the boundary counts as reached.

The covector grows without bound there, and the steps shrink in proportion to the gap.
"""


class _Lift(NamedTuple):
    """Horizontal geodesics, in units of the largest singular value of the factors.

    A packed state is the factors, the covector ``P``, the largest ``|τ_p|`` in these units, and
    vectors that are transported along.

    Attributes
    ----------
    network : RelaxedNetwork
    n_vectors : int
    """

    network: RelaxedNetwork
    n_vectors: int

    @property
    def shares(self) -> list[float]:
        """The shifts in units of the largest ``|τ_p|``."""
        largest = max(map(abs, self.network.shifts)) or 1.0
        return [shift / largest for shift in self.network.shifts]

    def unpack(self, packed: numpy.ndarray) -> tuple[list, numpy.ndarray, numpy.ndarray, list]:
        """Return factors, covector, the largest shift and the vectors of a state."""
        widths = self.network.widths
        matrix = (widths[-1], widths[0])
        shapes = [*zip(widths[1:], widths[:-1], strict=True), matrix, (1, 1)]
        shapes += [matrix] * self.n_vectors
        ends = numpy.cumsum([rows * columns for rows, columns in shapes])[:-1]
        pieces = numpy.split(packed, ends, axis=-1)
        parts = [p.reshape(*p.shape[:-1], *shape) for p, shape in zip(pieces, shapes, strict=True)]
        depth = len(widths) - 1
        return parts[:depth], parts[depth], parts[depth + 1], parts[depth + 2 :]

    def velocity(self, packed: numpy.ndarray) -> tuple[numpy.ndarray, numpy.ndarray]:
        """Return the velocity of the geodesic flow, and the gap to the boundary."""
        layers, covector, spread, vectors = self.unpack(packed)
        rank = self.network.rank
        left, left_frame = eigh(layers[-1] @ transpose(layers[-1]))
        right, right_frame = eigh(transpose(layers[0]) @ layers[0])
        shifts = [share * spread[..., 0] for share in self.shares]
        kernel = gram_kernel(
            [left - shift for shift in shifts], [right + (shifts[0] - shift) for shift in shifts]
        )
        # Ascending: null vectors come first. Between those of both sides nothing moves.
        kernel[..., : left.shape[-1] - rank, : right.shape[-1] - rank] = 0

        def lowered(vector: numpy.ndarray) -> numpy.ndarray:
            core = quotient(transpose(left_frame) @ vector @ right_frame, kernel)
            return left_frame @ core @ transpose(right_frame)

        lift = adjoint_differential(layers, covector)
        change = -lowered(differential(layers, adjoint_differential(layers, covector, lift)))
        moved = [
            differential(layers, lift, adjoint_differential(layers, lowered(vector)))
            for vector in vectors
        ]
        gap = numpy.sqrt(abs(left[..., -rank] - max(self.shares) * spread[..., 0, 0]))
        if self.network.is_complete:
            gap = numpy.ones_like(gap)
        return _packed([*lift, change, 0 * spread, *moved]), gap


def _packed(parts: Sequence[numpy.ndarray]) -> numpy.ndarray:
    return numpy.concatenate([part.reshape(*part.shape[:-2], -1) for part in parts], axis=-1)


def _size(matrices: Sequence[numpy.ndarray]) -> numpy.ndarray:
    """Return Frobenius norms, shape=[..., 1, 1], of vectors of matrices."""
    return sum(numpy.sum(m * m, axis=(-2, -1), keepdims=True) for m in matrices) ** 0.5


class Arrival(NamedTuple):
    """Ends of geodesics, and how the integration went.

    Attributes
    ----------
    point : array, shape=[..., m, n]
    vectors : list of array, shape=[..., m, n]
        Vectors transported to there.
    status : array of int, shape=[...]
        `Status.ARRIVED`, or why the geodesic has ended.
    end : array, shape=[...]
        Time that was reached.
    """

    point: numpy.ndarray
    vectors: list[numpy.ndarray]
    status: numpy.ndarray
    end: numpy.ndarray


def follow(
    matrix: numpy.ndarray,
    velocity: numpy.ndarray,
    network: RelaxedNetwork,
    time: numpy.ndarray,
    vectors: Sequence[numpy.ndarray] = (),
    tolerance: float | numpy.ndarray = TOLERANCE,
    most_steps: int = 2_000,
) -> Arrival:
    """Follow geodesics to a time of any sign, all in one batch.

    Parameters
    ----------
    matrix, velocity : array, shape=[..., m, n]
    network : RelaxedNetwork
        One that `dlngeo.core.relaxed.strings.check_intrinsic` lets pass.
    time : array, shape=[...]
    vectors : sequence of array, shape=[..., m, n]
        Tangent vectors to transport.
    tolerance : float or array, shape=[b]
        Local error of a step.
    most_steps : int
        Number of trial steps after which a geodesic counts as stalled.

    Returns
    -------
    arrival : Arrival

    References
    ----------
    [Che25]; own derivation; THEORY 3, 6.
    """
    time = numpy.asarray(time, dtype=float)
    batch = numpy.broadcast_shapes(
        time.shape, matrix.shape[:-2], velocity.shape[:-2], *[v.shape[:-2] for v in vectors]
    )
    shape = (-1, *matrix.shape[-2:])
    matrix, velocity, *carried = (
        numpy.broadcast_to(a, (*batch, *a.shape[-2:])).reshape(shape)
        for a in (matrix, velocity, *vectors)
    )
    time = numpy.broadcast_to(time, batch).reshape(-1)
    lift = _Lift(network, len(carried))
    layers = list(relaxed_layers(matrix, network))
    norm = numpy.max([numpy.linalg.norm(w, 2, axis=(-2, -1)) for w in layers], axis=0)
    norm = numpy.where(norm == 0, 1, norm)[:, None, None]
    layers = [layer / norm for layer in layers]
    covector = lower_index(matrix, velocity, network) * norm ** (len(layers) - 2.0)
    speed = _size(adjoint_differential(layers, covector))
    covector = quotient(covector, speed + 0 * covector) * numpy.sign(time)[:, None, None]
    spread = max(map(abs, network.shifts)) / norm**2
    sizes = [_size([vector]) for vector in carried]
    unit_vectors = [quotient(v, size + 0 * v) for v, size in zip(carried, sizes, strict=True)]
    trajectory = integrate(
        lift.velocity,
        _packed([*layers, covector, spread, *unit_vectors]),
        abs(time) * speed[:, 0, 0],
        tolerance,
        most_steps,
        NEAREST,
    )
    layers, _, _, moved = lift.unpack(trajectory.state)
    is_lost = (trajectory.status != Status.ARRIVED)[:, None, None]
    results = [norm ** len(layers) * end_to_end(layers)]
    results += [size * vector for vector, size in zip(moved, sizes, strict=True)]
    point, *moved = (
        numpy.where(is_lost, numpy.nan, a).reshape(*batch, *shape[1:]) for a in results
    )
    reached = quotient(trajectory.time, speed[:, 0, 0]) * numpy.sign(time)
    end = numpy.where(is_lost[:, 0, 0], reached, time)
    return Arrival(point, moved, trajectory.status.reshape(batch), end.reshape(batch))


def path(
    matrix: Array,
    velocity: Array,
    network: RelaxedNetwork,
    times: Array,
    *,
    on_boundary: str = "raise",
) -> Array:
    """Return points of geodesics at times ``t``; arguments and errors as in `geodesics.geodesic`.

    Parameters
    ----------
    matrix, velocity : array-like, shape=[..., m, n]
    network : RelaxedNetwork
        One that `dlngeo.core.relaxed.strings.check_intrinsic` lets pass.
    times : float or array-like, shape=[n_times]
    on_boundary : str
        "raise" or "nan".

    Returns
    -------
    point : array-like, shape=[..., m, n] or [..., n_times, m, n]

    References
    ----------
    [Che25]; THEORY 3, 6.
    """
    check_on_boundary(on_boundary)
    x, z = checked_host(network, matrix, velocity)
    times = checked_times(times)
    if times.ndim:
        x, z = x[..., None, :, :], z[..., None, :, :]
    arrival = follow(x, z, network, times)
    if on_boundary == "raise":
        check_arrival(arrival.status, arrival.end)
    return from_numpy(arrival.point, matrix)


def checked_host(network: RelaxedNetwork, *matrices: Array) -> list[numpy.ndarray]:
    """Return matrices of the network's shape, on the host and in double precision."""
    rows, columns = network.widths[-1], network.widths[0]
    return [to_numpy(checked_matrix(matrix, rows, columns)) for matrix in matrices]


def parallel_transport(
    matrix: Array, direction: Array, vector: Array, network: RelaxedNetwork
) -> Array:
    """Transport a tangent vector in parallel along a geodesic, from time zero to one.

    Parameters
    ----------
    matrix, direction : array-like, shape=[..., m, n]
        Initial point and velocity of the geodesic.
    vector : array-like, shape=[..., m, n]
    network : RelaxedNetwork
        One that `dlngeo.core.relaxed.strings.check_intrinsic` lets pass.

    Returns
    -------
    transported : array-like, shape=[..., m, n]

    Raises
    ------
    ValueError
        If the geodesic ends before at the boundary.

    References
    ----------
    THEORY 3, 6.
    """
    x, z, v = checked_host(network, matrix, direction, vector)
    arrival = follow(x, z, network, numpy.ones(()), [v])
    check_arrival(arrival.status, arrival.end)
    return from_numpy(arrival.vectors[0], vector)
