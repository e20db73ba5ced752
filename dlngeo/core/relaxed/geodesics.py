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
from dataclasses import dataclass

import numpy

from dlngeo.core.base import packing
from dlngeo.core.base.arrays import Array, eigh, from_numpy, quotient, to_numpy, transpose
from dlngeo.core.base.vectors import Layers
from dlngeo.core.geodesics.charts.chart import Chart, Matrices
from dlngeo.core.geodesics.curves import FieldAxes, Geodesic
from dlngeo.core.networks.factors import checked_matrix
from dlngeo.core.networks.network import adjoint_differential, differential, end_to_end
from dlngeo.core.relaxed.metric import gram_kernel, lower_index, relaxed_layers
from dlngeo.core.relaxed.strings import RelaxedNetwork


@dataclass(frozen=True)
class _RelaxedChart(Chart):
    """Horizontal geodesics, in units of the largest singular value of the factors.

    A state is the factors, the covector ``P``, the largest ``|τ_p|`` in these units, and
    vectors that are transported along.

    Attributes
    ----------
    network : RelaxedNetwork
    n_vectors : int
    """

    network: RelaxedNetwork
    n_vectors: int = 0

    tolerance = 1e-11
    # The covector grows without bound there, and the steps shrink in proportion to the gap.
    nearest = 1e-4

    @property
    def shares(self) -> list[float]:
        """The shifts in units of the largest ``|τ_p|``."""
        largest = max(map(abs, self.network.shifts)) or 1.0
        return [shift / largest for shift in self.network.shifts]

    def unpack(
        self, state: numpy.ndarray
    ) -> tuple[Matrices, numpy.ndarray, numpy.ndarray, numpy.ndarray]:
        """Return factors, covector, the largest shift, and vectors, shape=[..., k, m, n]."""
        widths = self.network.widths
        rows, columns = widths[-1], widths[0]
        shapes = [*zip(widths[1:], widths[:-1], strict=True), (rows, columns), (1, 1)]
        shapes.append((self.n_vectors * rows, columns))
        *layers, covector, spread, vectors = packing.unpack(state, shapes)
        vectors = vectors.reshape(*state.shape[:-1], self.n_vectors, rows, columns)
        return layers, covector, spread, vectors

    def reverse(self, state: numpy.ndarray) -> numpy.ndarray:
        layers, covector, spread, vectors = self.unpack(state)
        return _pack(layers, -covector, spread, vectors)

    def leave(self, state: numpy.ndarray) -> tuple[Matrices, Matrices]:
        layers, covector, _, _ = self.unpack(state)
        lift = adjoint_differential(layers, covector)
        return [end_to_end(layers)], [differential(layers, lift)]

    def velocity(self, state: numpy.ndarray) -> tuple[numpy.ndarray, numpy.ndarray]:
        layers, covector, spread, vectors = self.unpack(state)
        rank = self.network.rank
        left, left_frame = eigh(layers[-1] @ transpose(layers[-1]))
        right, right_frame = eigh(transpose(layers[0]) @ layers[0])
        shifts = [share * spread[..., 0] for share in self.shares]
        kernel = gram_kernel(
            [left - shift for shift in shifts], [right + (shifts[0] - shift) for shift in shifts]
        )
        # Ascending: null vectors come first. Between those of both sides nothing moves.
        kernel[..., : left.shape[-1] - rank, : right.shape[-1] - rank] = 0

        # Of D²φ and of the vectors: indices are lowered together.
        lift = adjoint_differential(layers, covector)
        bent = differential(layers, adjoint_differential(layers, covector, lift))
        upper = numpy.concatenate([bent[:, None], vectors], axis=1)
        left_frame, right_frame = left_frame[:, None], right_frame[:, None]
        core = quotient(transpose(left_frame) @ upper @ right_frame, kernel[:, None] + 0 * upper)
        lower = left_frame @ core @ transpose(right_frame)
        if self.n_vectors:
            wide, moves = ([w[:, None] for w in parts] for parts in (layers, lift))
            # A single layer is flat, whatever the number of vectors.
            lifts = adjoint_differential(wide, lower[:, 1:])
            vectors = differential(wide, moves, lifts) + 0 * vectors
        gap = numpy.sqrt(abs(left[..., -rank] - max(self.shares) * spread[..., 0, 0]))
        if self.network.is_complete:
            gap = numpy.ones_like(gap)
        return _pack(lift, -lower[:, 0], 0 * spread, vectors), gap


def _pack(
    layers: Matrices, covector: numpy.ndarray, spread: numpy.ndarray, vectors: numpy.ndarray
) -> numpy.ndarray:
    rows, columns = vectors.shape[-2:]
    vectors = vectors.reshape(*vectors.shape[:-3], vectors.shape[-3] * rows, columns)
    return packing.pack([*layers, covector, spread, vectors])


def geodesic(
    matrix: Array, velocity: Array, network: RelaxedNetwork, *, on_boundary: str = "raise"
) -> Geodesic:
    r"""Return geodesics; errors as in `dlngeo.core.geodesics.geodesic`.

    A complete metric has no boundary: its geodesics run through matrices of lower rank. Else ``s``
    factors have the largest shift, and as ``σ_k ~ μ^s``, ``μ^2 = m_k - \max τ``, the metric is
    ``s dμ²``: the boundary is where it is for depth ``s``. The lift would go on beyond it as it
    does there, but the covector along which it is integrated grows like ``μ^{1-s}``.

    Parameters
    ----------
    matrix, velocity : array-like, shape=[..., m, n]
    network : RelaxedNetwork
    on_boundary : str
        What happens when a time is asked for at which a geodesic has reached the boundary: "raise"
        an error that names the time, or "nan".

    Returns
    -------
    geodesic : Geodesic

    References
    ----------
    [Che25]; own derivation; THEORY 3, 6.
    """
    return _problem(matrix, velocity, network, (), on_boundary)[0]


def _problem(
    matrix: Array,
    velocity: Array,
    network: RelaxedNetwork,
    fields: Sequence[Array],
    on_boundary: str = "raise",
) -> tuple[Geodesic[_RelaxedChart], FieldAxes, numpy.ndarray]:
    """Return geodesics with vectors, the axes of these, and their norms, shape=[..., k]."""
    x, z, *vectors = checked_host(network, matrix, velocity, *fields)
    axes = FieldAxes.of((x, z), vectors)
    x, z = axes.spread(x), axes.spread(z)
    layers = Layers(relaxed_layers(x, network))
    unit = numpy.max([numpy.linalg.norm(w, 2, axis=(-2, -1)) for w in layers], axis=0)
    unit = numpy.where(unit == 0, 1, unit)[..., None, None]
    layers = layers / unit
    covector = lower_index(x, z, network) * unit ** (len(layers) - 2.0)
    speed = Layers(adjoint_differential(tuple(layers), covector)).norm()
    covector = quotient(covector, speed[..., None, None] + 0 * covector)
    spread = max(map(abs, network.shifts)) / unit**2
    (gathered,) = [axes.gather(v) for v in vectors] or [x[..., None, :, :][..., :0, :, :]]
    (unit_vectors,), size = Layers([gathered]).unit()
    chart = _RelaxedChart(network, size.shape[-1])
    start = _pack(layers, covector, spread, unit_vectors)

    def result(matrices: Matrices) -> Array:
        return from_numpy(matrices[0], matrix)

    unit = unit[..., 0, 0] ** len(layers)
    return Geodesic(chart, start, unit, speed, result, on_boundary), axes, size


def checked_host(network: RelaxedNetwork, *matrices: Array) -> list[numpy.ndarray]:
    """Return matrices of the network's shape, on the host and in double precision."""
    shape = network.widths[-1], network.widths[0]
    return [to_numpy(checked_matrix(matrix, shape, matrices[0])) for matrix in matrices]


def parallel_transport(
    matrix: Array, direction: Array, vector: Array, network: RelaxedNetwork
) -> Array:
    """Transport a tangent vector in parallel along a geodesic, from time zero to one.

    Parameters
    ----------
    matrix, direction : array-like, shape=[..., m, n]
        Initial point and velocity of the geodesic.
    vector : array-like, shape=[..., m, n]
        Axes that it has more than the others count vectors along the same geodesics.
    network : RelaxedNetwork

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
    curve, axes, size = _problem(matrix, direction, network, (vector,))
    state, factor = curve.arrive()
    *_, vectors = curve.chart.unpack(state)
    return from_numpy(axes.scatter(factor * size[..., None, None] * vectors), vector)
