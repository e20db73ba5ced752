r"""Geodesics of the balanced manifold, and parallel transport along them.

A geodesic of ``M_r`` as a submanifold of parameter space obeys ``Ẅ = II(Ẇ, Ẇ)``, and a
vector is parallel along it if ``V̇ = II(Ẇ, V)``. The factors are integrated in the form

.. math:: W_p = Q_p S Q_{p-1}^T, \quad \dot Q_p = Q_p A_p + B_p,

with frames ``Q_p`` and one symmetric ``S``, in which they stay balanced whatever the error,
and in which ``S`` runs smoothly through the boundary, where an eigenvalue vanishes. In the
eigenframe of ``S`` the first velocity has the core ``\dot S + \{S, A_1\}``, if the frames of
both ends are told to turn by opposite ``A_0 = -A_1``, and the others tell the other ``A_p``
by the cores ``\dot S + A_p S - S A_{p-1}`` (own derivation).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, NamedTuple

import numpy

from dlngeo.core.balanced.submanifold import (
    checked_layers,
    normal_vector,
    second_form_in_frames,
    tangent_projection,
)
from dlngeo.core.base.arrays import eigh, from_numpy, namespace, symmetric_part, to_numpy, transpose
from dlngeo.core.geodesics.charts import TOLERANCE, check_arrival, check_on_boundary, checked_times
from dlngeo.core.geodesics.transport import by_geodesic, field_axes
from dlngeo.core.networks.blocks import Blocks
from dlngeo.core.networks.factors import Factors, in_kind, layers_of
from dlngeo.core.networks.frames import BalancedFrames, balanced_frames
from dlngeo.core.numerics.integration import NEAREST, Status, integrate

Layers = Sequence[numpy.ndarray]


class FlowState(NamedTuple):
    """State of a geodesic, and of fields along it.

    Attributes
    ----------
    stretch : array, shape=[b, r, r]
        ``S``.
    frames : list of array, shape=[b, d_p, r]
        ``Q_0, ..., Q_N``.
    velocity : list of array, shape=[b, d_p, d_{p-1}]
        ``Ẇ``.
    fields : list of array, shape=[b, f, d_p, d_{p-1}]
        Parallel vectors.
    """

    stretch: numpy.ndarray
    frames: Layers
    velocity: Layers
    fields: Layers

    def pack(self) -> numpy.ndarray:
        """Return the state as one vector, shape=[b, n_state]."""
        parts = [self.stretch, *self.frames, *self.velocity, *self.fields]
        return numpy.concatenate([part.reshape(len(part), -1) for part in parts], axis=-1)

    def balanced(self) -> tuple[BalancedFrames, numpy.ndarray]:
        """Return the frames in which ``S`` is diagonal, and its eigenframe."""
        lam, frame = eigh(self.stretch)
        return BalancedFrames(tuple(q @ frame for q in self.frames), lam), frame


class BalancedFlow(NamedTuple):
    """The geodesic flow of networks of given widths, with fields.

    Attributes
    ----------
    widths : tuple of int
    rank, n_fields : int
    """

    widths: tuple[int, ...]
    rank: int
    n_fields: int

    def unpack(self, packed: numpy.ndarray) -> FlowState:
        """Return the state of which `FlowState.pack` gives the vector."""
        layers = [(after, before) for before, after in pairwise(self.widths)]
        groups: list[list[tuple[int, ...]]] = [
            [(self.rank, self.rank)],
            [(width, self.rank) for width in self.widths],
            [*layers],
            [(self.n_fields, *shape) for shape in layers],
        ]
        position = 0
        parts: list[list[numpy.ndarray]] = []
        for shapes in groups:
            group = []
            for shape in shapes:
                piece = packed[:, position : position + math.prod(shape)]
                group.append(piece.reshape(len(packed), *shape))
                position += math.prod(shape)
            parts.append(group)
        return FlowState(parts[0][0], *parts[1:])

    def rates(self, packed: numpy.ndarray) -> tuple[numpy.ndarray, numpy.ndarray]:
        """Return the velocity of a state, and the least eigenvalue of ``S``."""
        state = self.unpack(packed)
        balanced, frame = state.balanced()
        layers = balanced.layers
        stretched, moved, tangent = _motion(balanced, balanced.split(state.velocity))
        bent = second_form_in_frames(balanced, tangent, tangent)
        acceleration = normal_vector(layers, bent)
        # With one more axis, that of the fields.
        wide = BalancedFrames(tuple(q[:, None] for q in balanced.frames), balanced.lam[:, None])
        along = [Blocks(*[x if x is None else x[:, None] for x in v]) for v in tangent]
        bent = second_form_in_frames(wide, along, wide.split(state.fields))
        changes = normal_vector([layer[:, None] for layer in layers], bent)
        # A single layer is flat at full rank, whatever the number of fields.
        fields = [c + 0 * field for c, field in zip(changes, state.fields, strict=True)]
        back = transpose(frame)
        change = FlowState(
            frame @ stretched @ back, [q @ back for q in moved], acceleration, fields
        )
        return change.pack(), balanced.lam[:, 0]


def _motion(
    balanced: BalancedFrames, velocity: Sequence[Blocks]
) -> tuple[numpy.ndarray, list[numpy.ndarray], list[Blocks]]:
    """Return the velocities of ``S`` and of the frames, and that of the factors by them.

    All in the eigenframe of ``S``. The last is tangent to round-off: towards the boundary the
    second fundamental form would divide by ``λ`` what is not.
    """
    lam, frames = balanced.lam, balanced.frames
    rows, columns = lam[..., :, None], lam[..., None, :]
    first = velocity[0]
    stretched = symmetric_part(first.core)
    turn = -(first.core - stretched) / (rows + columns)
    drift = None if first.right_null is None else transpose(first.right_null) / columns
    turns, drifts = [turn], [drift]
    for block in velocity:
        source = block.core - stretched + rows * turns[-1]
        # From both of the entries (k, l) and (l, k) of A S.
        turns.append((source * columns - transpose(source) * rows) / (rows**2 + columns**2))
        drifts.append(None if block.left_null is None else block.left_null / columns)
    moved = [
        frame @ turn if drift is None else frame @ turn + drift
        for frame, turn, drift in zip(frames, turns, drifts, strict=True)
    ]
    tangent = [
        Blocks(
            turn * columns + stretched - rows * turn_before,
            None if drift is None else drift * columns,
            None if drift_before is None else rows * transpose(drift_before),
        )
        for (turn_before, turn), (drift_before, drift) in zip(
            pairwise(turns), pairwise(drifts), strict=True
        )
    ]
    return stretched, moved, tangent


class _Problem(NamedTuple):
    """Initial states of geodesics in units in which they are of order one.

    Attributes
    ----------
    flow : BalancedFlow
    start : FlowState
    unit, pace : array, shape=[b]
        Largest singular value, and units of arc length in time one, at least one.
    extra, batch : tuple of int
        Axes that count fields along the same geodesics, and those of geodesics.
    size : array, shape=[b, f]
        Norms of the fields.
    """

    flow: BalancedFlow
    start: FlowState
    unit: numpy.ndarray
    pace: numpy.ndarray
    extra: tuple[int, ...]
    batch: tuple[int, ...]
    size: numpy.ndarray


def _problem(
    factors: Factors, velocity: Factors, fields: Sequence[Factors], rank: int | None
) -> _Problem:
    parts, rank = checked_layers(factors, velocity, *fields, rank=rank)
    namespace(*sum(parts, start=()))
    layers, moves, *vectors = (tuple(map(to_numpy, part)) for part in parts)
    vectors = [tangent_projection(layers, vector, rank) for vector in vectors]
    tangent = tangent_projection(layers, moves, rank)
    extra, batch = field_axes((*layers, *tangent), [v for vector in vectors for v in vector])

    def flat(parts: Layers) -> list[numpy.ndarray]:
        return [by_geodesic(part, (), batch)[:, 0] for part in parts]

    balanced = balanced_frames(flat(layers), rank)
    unit = balanced.lam[:, 0]
    velocities = [v / unit[:, None, None] for v in flat(tangent)]
    pace = numpy.maximum(numpy.sqrt(sum(numpy.sum(v**2, axis=(-2, -1)) for v in velocities)), 1.0)
    # No field is a vector of no axis.
    spread = [[by_geodesic(v, extra, batch) for v in vector] for vector in vectors] or [
        [numpy.zeros((len(unit), 0, *layer.shape[-2:])) for layer in layers]
    ]
    size = numpy.sqrt(sum(numpy.sum(v**2, axis=(-2, -1)) for v in spread[0]))
    scale = numpy.where(size == 0, 1.0, size)[..., None, None]
    start = FlowState(
        (balanced.lam / unit[:, None])[:, None, :] * numpy.eye(rank),
        list(balanced.frames),
        [v / pace[:, None, None] for v in velocities],
        [v / scale for v in spread[0]],
    )
    widths = tuple(frame.shape[-2] for frame in balanced.frames)
    return _Problem(
        BalancedFlow(widths, rank, size.shape[1]), start, unit, pace, extra, batch, size
    )


def _in_library(
    layers: Layers, is_lost: numpy.ndarray, shape: tuple[int, ...], like: Factors
) -> Factors:
    """Return layers in the batch, library and kind of the arguments, NaN where lost."""
    first = layers_of(like)[0]
    results = []
    for layer in layers:
        layer = numpy.where(is_lost.reshape(-1, *[1] * (layer.ndim - 1)), numpy.nan, layer)
        results.append(from_numpy(layer.reshape(*shape, *layer.shape[-2:]), first))
    return in_kind(results, like)


@dataclass(frozen=True)
class BalancedGeodesic:
    """Geodesics of the balanced manifold with given initial points and velocities.

    Made by `balanced_geodesic`. Every time is reached by an integration of its own.
    """

    _problem: _Problem
    _like: Factors
    _on_boundary: str

    def __call__(self, t: Any) -> Factors:
        """Return the points at times ``t``; see `point`."""
        return self.point(t)

    def point(self, t: Any) -> Factors:
        """Return the factors at times ``t``.

        Parameters
        ----------
        t : float or array-like, shape=[n_times]
            Times, of any sign.

        Returns
        -------
        point : like the initial factors
            With one more axis, behind those of the batch, for a list of times.

        Raises
        ------
        ValueError
            If a geodesic reaches the boundary of the manifold before; the message tells
            when.
        """
        return self._at(t)[0]

    def velocity(self, t: Any) -> Factors:
        """Return the velocities at times ``t``; arguments and errors as in `point`."""
        return self._at(t)[1]

    def _at(self, t: Any) -> tuple[Factors, Factors]:
        times = checked_times(t)
        flow, start, unit, pace, _, batch, _ = self._problem
        b, n = len(unit), times.size
        direction = numpy.tile(numpy.where(times.reshape(-1) < 0, -1.0, 1.0), b)
        unit, pace = numpy.repeat(unit, n), numpy.repeat(pace, n) * direction
        state = flow.unpack(numpy.repeat(start.pack(), n, axis=0))
        # On a geodesic run backwards the velocity is the opposite one.
        state = state._replace(velocity=[direction[:, None, None] * v for v in state.velocity])
        length = numpy.tile(times.reshape(-1), b) * pace
        trajectory = integrate(flow.rates, state.pack(), length, TOLERANCE, nearest=NEAREST)
        if self._on_boundary == "raise":
            check_arrival(trajectory.status, trajectory.time / pace)
        state = flow.unpack(trajectory.state)
        point = [unit[:, None, None] * layer for layer in state.balanced()[0].layers]
        velocity = [(unit * pace)[:, None, None] * v for v in state.velocity]
        is_lost = trajectory.status != Status.ARRIVED
        shape = (*batch, *times.shape)
        return (
            _in_library(point, is_lost, shape, self._like),
            _in_library(velocity, is_lost, shape, self._like),
        )


def balanced_geodesic(
    factors: Factors,
    velocity: Factors,
    rank: int | None = None,
    *,
    on_boundary: str = "raise",
) -> BalancedGeodesic:
    r"""Return the geodesics of the balanced manifold, ``Ẅ = II(Ẇ, Ẇ)``.

    Horizontal ones project to geodesics of the depth metric.

    Parameters
    ----------
    factors : array-like, shape=[..., N, d, d], or sequence of shape=[..., d_p, d_{p-1}]
        Balanced factors, the initial points.
    velocity : the same shapes
        Initial velocities; a normal part is dropped.
    rank : int, optional
        Rank of the factors, ``min(widths)`` by default.
    on_boundary : str
        What happens when a time is asked for at which a geodesic has reached the boundary,
        where a singular value vanishes: "raise" an error that names the time, or "nan".

    Returns
    -------
    geodesic : BalancedGeodesic

    Raises
    ------
    ValueError
        If the factors are not balanced of this rank, shapes do not fit, or an entry is NaN
        or infinite.

    References
    ----------
    THEORY 2.
    """
    check_on_boundary(on_boundary)
    return BalancedGeodesic(_problem(factors, velocity, (), rank), factors, on_boundary)


def balanced_exp(
    factors: Factors,
    velocity: Factors,
    rank: int | None = None,
    *,
    on_boundary: str = "raise",
) -> Factors:
    """Return the exponential of the balanced manifold: the geodesic at time one.

    Parameters and errors as in `balanced_geodesic`.

    Returns
    -------
    point : like factors

    References
    ----------
    THEORY 2.
    """
    return balanced_geodesic(factors, velocity, rank, on_boundary=on_boundary).point(1.0)


def balanced_transport(
    factors: Factors,
    velocity: Factors,
    vectors: Factors,
    rank: int | None = None,
    *,
    on_boundary: str = "raise",
) -> Factors:
    r"""Transport tangent vectors in parallel along geodesics of the balanced manifold.

    They solve ``V̇ = II(Ẇ, V)``.

    Parameters
    ----------
    factors, velocity, rank, on_boundary
        As in `balanced_geodesic`.
    vectors : like factors
        Tangent vectors; a normal part is dropped. Axes that they have more than factors
        and velocity count vectors along the same geodesics, which are integrated once.

    Returns
    -------
    transported : like factors
        Tangent vectors at the end of the geodesic, at time one.

    Raises
    ------
    ValueError
        As `balanced_geodesic`, and if a geodesic reaches the boundary.

    References
    ----------
    THEORY 3.
    """
    check_on_boundary(on_boundary)
    flow, start, _, pace, extra, batch, size = _problem(factors, velocity, (vectors,), rank)
    trajectory = integrate(flow.rates, start.pack(), pace, TOLERANCE, nearest=NEAREST)
    if on_boundary == "raise":
        check_arrival(trajectory.status, trajectory.time / pace)
    ends = flow.unpack(trajectory.state).fields
    is_lost = numpy.broadcast_to(trajectory.status != Status.ARRIVED, size.shape[::-1])
    ends = [(size[..., None, None] * end).swapaxes(0, 1) for end in ends]
    ends = [end.reshape(-1, *end.shape[-2:]) for end in ends]
    return _in_library(ends, is_lost, (*extra, *batch), factors)
