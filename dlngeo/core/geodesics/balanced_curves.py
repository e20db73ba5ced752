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

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import NamedTuple

import numpy

from dlngeo.core.balanced.submanifold import (
    checked_layers,
    normal_vector,
    second_form_in_frames,
    tangent_projection,
)
from dlngeo.core.base import packing
from dlngeo.core.base.arrays import (
    diagonal_matrix,
    eigh,
    from_numpy,
    namespace,
    symmetric_part,
    to_numpy,
    transpose,
)
from dlngeo.core.base.vectors import Layers
from dlngeo.core.geodesics.charts import Chart, Matrices
from dlngeo.core.geodesics.curves import FieldAxes, Geodesic
from dlngeo.core.networks.blocks import Blocks
from dlngeo.core.networks.factors import Factors, in_kind
from dlngeo.core.networks.frames import BalancedFrames, balanced_frames
from dlngeo.core.numerics.integration import NEAREST, Trajectory, integrate_on

# Velocity of a value towards the boundary, in units of the value, from which on geodesics pass it.
_STEEPEST = 1e4


class BalancedState(NamedTuple):
    """State of a geodesic, and of vectors along it.

    Attributes
    ----------
    stretch : array, shape=[..., r, r]
        ``S``.
    frames : sequence of array, shape=[..., d_p, r]
        ``Q_0, ..., Q_N``.
    vectors : sequence of array, shape=[..., k, d_p, d_{p-1}]
        Parallel vectors, of which ``Ẇ`` is the first.
    """

    stretch: numpy.ndarray
    frames: Matrices
    vectors: Matrices

    def pack(self) -> numpy.ndarray:
        """Return the state as one vector, shape=[..., n_state]."""
        vectors = [
            v.reshape(*v.shape[:-3], v.shape[-3] * v.shape[-2], v.shape[-1]) for v in self.vectors
        ]
        return packing.pack([self.stretch, *self.frames, *vectors])

    def balanced(self) -> tuple[BalancedFrames, numpy.ndarray]:
        """Return the frames in which ``S`` is diagonal, and its eigenframe."""
        lam, frame = eigh(self.stretch)
        return BalancedFrames(tuple(q @ frame for q in self.frames), lam), frame


@dataclass(frozen=True)
class BalancedChart(Chart):
    """Coordinates ``S, Q_p, Ẇ`` of networks of given widths, and parallel vectors.

    Attributes
    ----------
    widths : tuple of int
    rank, n_vectors : int
    goes_on : bool
        Whether geodesics go on beyond the boundary, where all widths are the rank.
    """

    widths: tuple[int, ...]
    rank: int
    n_vectors: int = 1
    goes_on: bool = False

    ways_on = ("continue",)

    nearest = NEAREST

    def unpack(self, packed: numpy.ndarray) -> BalancedState:
        """Return the state of which `BalancedState.pack` gives the vector."""
        count, batch = self.n_vectors, packed.shape[:-1]
        shapes = [(after, before) for before, after in pairwise(self.widths)]
        frames = [(width, self.rank) for width in self.widths]
        heights = [(count * rows, columns) for rows, columns in shapes]
        stretch, *parts = packing.unpack(packed, [(self.rank, self.rank), *frames, *heights])
        vectors = [
            part.reshape(*batch, count, *shape)
            for part, shape in zip(parts[len(frames) :], shapes, strict=True)
        ]
        return BalancedState(stretch, parts[: len(frames)], vectors)

    def reverse(self, state: numpy.ndarray) -> numpy.ndarray:
        parts = self.unpack(state)
        signs = numpy.where(numpy.arange(self.n_vectors) == 0, -1.0, 1.0)[:, None, None]
        return parts._replace(vectors=[signs * v for v in parts.vectors]).pack()

    def leave(self, state: numpy.ndarray) -> tuple[Matrices, Matrices]:
        parts = self.unpack(state)
        return parts.balanced()[0].layers, [v[..., 0, :, :] for v in parts.vectors]

    def turn(
        self, state: numpy.ndarray, left: numpy.ndarray
    ) -> tuple[numpy.ndarray, numpy.ndarray]:
        """Return how geodesics go on from the boundary: see `integrate_on`.

        They pass it in one step of Heun's method, which does not come nearer to where the second
        fundamental form loses digits. Beyond it every second frame vector of the value that
        vanished is turned, so that ``S`` stays positive.
        """
        change, least = self.velocity(state)
        lam, last = self._least(self.unpack(state))
        pace = -(transpose(last) @ self.unpack(change).stretch @ last)[:, 0, 0]
        # Along the boundary, or where a second value vanishes, none goes on.
        goes_on = (pace > _STEEPEST * least) & numpy.all(lam[:, 1:] > NEAREST, axis=1)
        goes_on &= set(self.widths) == {self.rank}
        passed = numpy.minimum(2 * least / numpy.where(goes_on, pace, numpy.inf), left)
        step = passed[:, None]
        state = state + step / 2 * (change + self.velocity(state + step * change)[0])
        parts = self.unpack(numpy.where(goes_on[:, None], state, numpy.nan))
        lam, last = self._least(parts)
        is_across = lam[:, None, :1] < 0
        stretch = parts.stretch - 2 * is_across * lam[:, None, :1] * last @ transpose(last)
        frames = [
            q - 2 * (p % 2) * is_across * (q @ last) @ transpose(last)
            for p, q in enumerate(parts.frames)
        ]
        return parts._replace(stretch=stretch, frames=frames).pack(), passed

    @staticmethod
    def _least(parts: BalancedState) -> tuple[numpy.ndarray, numpy.ndarray]:
        """Return the eigenvalues of ``S``, and the vector of the least one, shape=[b, r, 1]."""
        lam, frame = eigh(parts.stretch)
        return lam, frame[:, :, :1]

    def flow(
        self,
        start: numpy.ndarray,
        end: numpy.ndarray,
        tolerance: float | numpy.ndarray,
        most_steps: int = 2_000,
    ) -> Trajectory:
        if not self.goes_on:
            return super().flow(start, end, tolerance, most_steps)
        inner = partial(super().flow, most_steps=most_steps)
        return integrate_on(inner, self.turn, start, end, tolerance)

    def velocity(self, state: numpy.ndarray) -> tuple[numpy.ndarray, numpy.ndarray]:
        """Return the velocity of a state, and the least eigenvalue of ``S``."""
        parts = self.unpack(state)
        balanced, frame = parts.balanced()
        # With one more axis, that of the vectors.
        wide = BalancedFrames(tuple(q[:, None] for q in balanced.frames), balanced.lam[:, None])
        vectors = [v.tangent() for v in wide.split(parts.vectors)]
        stretch, frames, tangent = _motion(
            balanced, [v.map(lambda block: block[:, 0]) for v in vectors]
        )
        along = [v.map(lambda block: block[:, None]) for v in tangent]
        vectors = [
            v.map(lambda block, first: numpy.concatenate([first, block[:, 1:]], axis=1), first)
            for v, first in zip(vectors, along, strict=True)
        ]
        bent = normal_vector(
            [layer[:, None] for layer in balanced.layers],
            second_form_in_frames(wide, along, vectors),
        )
        # A single layer is flat at full rank, whatever the number of vectors.
        bent = [b + 0 * vector for b, vector in zip(bent, parts.vectors, strict=True)]
        back = transpose(frame)
        change = BalancedState(frame @ stretch @ back, [q @ back for q in frames], bent)
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
    stretch = symmetric_part(first.core)
    turn = -(first.core - stretch) / (rows + columns)
    # The A_p, and the B_p Λ.
    turns, drifts = [turn], [first.transposed().left_null]
    for block in velocity:
        source = block.core - stretch + rows * turns[-1]
        # From both of the entries (k, l) and (l, k) of A S.
        turns.append((source * columns - transpose(source) * rows) / (rows**2 + columns**2))
        drifts.append(block.left_null)
    motions = [
        frame @ turn if drift is None else frame @ turn + drift / columns
        for frame, turn, drift in zip(frames, turns, drifts, strict=True)
    ]
    tangent = [
        Blocks(
            turn * columns + stretch - rows * turn_before,
            drift,
            None if drift_before is None else transpose(drift_before),
        )
        for (turn_before, turn), (drift_before, drift) in zip(
            pairwise(turns), pairwise(drifts), strict=True
        )
    ]
    return stretch, motions, tangent


def _problem(
    factors: Factors,
    velocity: Factors,
    fields: Sequence[Factors],
    rank: int | None,
    on_boundary: str,
) -> tuple[Geodesic[BalancedChart], FieldAxes, numpy.ndarray]:
    """Return geodesics with fields, the axes of these, and their norms, shape=[..., f]."""
    parts, rank = checked_layers(factors, velocity, *fields, rank=rank)
    namespace(*sum(parts, start=()))
    layers, *vectors = (tuple(map(to_numpy, part)) for part in parts)
    move, *carried = (tangent_projection(layers, vector, rank) for vector in vectors)
    axes = FieldAxes.of((*layers, *move), [v for field in carried for v in field])
    balanced = balanced_frames([axes.spread(layer) for layer in layers], rank)
    unit = balanced.lam[..., 0]
    motion = Layers(map(axes.spread, move)) / unit[..., None, None]
    pace = numpy.maximum(motion.norm(), 1.0)
    vectors, size = (motion / pace[..., None, None]).map(lambda v: v[..., None, :, :]), pace
    for field in carried:
        units, size = Layers(map(axes.gather, field)).unit()
        vectors = vectors.map(lambda *v: numpy.concatenate(v, axis=-3), units)
    widths = tuple(frame.shape[-2] for frame in balanced.frames)
    chart = BalancedChart(widths, rank, vectors[0].shape[-3], on_boundary == "continue")
    stretch = diagonal_matrix(balanced.lam / unit[..., None])
    state = BalancedState(stretch, balanced.frames, vectors)

    def result(matrices: Matrices) -> Factors:
        return in_kind([from_numpy(matrix, parts[0][0]) for matrix in matrices], factors)

    curve = Geodesic(chart, state.pack(), unit, pace, result, on_boundary)
    return curve, axes, size


def balanced_geodesic(
    factors: Factors,
    velocity: Factors,
    rank: int | None = None,
    *,
    on_boundary: str = "raise",
) -> Geodesic:
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
        where a singular value vanishes: "raise" an error that names the time; "nan"; or
        "continue" analytically, by factors of which all determinants change their signs. Only
        where all widths are the rank, and no second value vanishes at once: these errors remain.

    Returns
    -------
    geodesic : Geodesic

    Raises
    ------
    ValueError
        If the factors are not balanced of this rank, shapes do not fit, or an entry is NaN
        or infinite.

    References
    ----------
    THEORY 2.
    """
    return _problem(factors, velocity, (), rank, on_boundary)[0]


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
    curve, axes, size = _problem(factors, velocity, (vectors,), rank, on_boundary)
    state, factor = curve.arrive()
    size = factor * size[..., None, None]
    ends = [size * v[..., 1:, :, :] for v in curve.chart.unpack(state).vectors]
    return curve.result([axes.scatter(end) for end in ends])
