r"""Coordinates in which geodesics of the balanced manifold are integrated.

Balanced factors have the form ``W_p = Q_p S Q_{p-1}^T`` with frames ``Q_p``, shape=[d_p, r], and
one symmetric ``S``. In it they stay balanced whatever the error, and ``S`` runs smoothly through
the boundary, where an eigenvalue vanishes. The frames turn, ``\dot Q_p = Q_p A_p + B_p``, by skew
``A_p`` and by ``B_p`` towards the null spaces, and one rotation of all of them with ``S`` is free.
With the weights ``w = (1, 2, ..., 2, 1)`` of the layers it is fixed by ``Σ_p w_p A_p = 0``, so that
the speed splits,

.. math:: \|\dot W\|^2 = N \|\dot S\|^2 + \sum_{p=1}^N \|A_p S - S A_{p-1}\|^2
          + \sum_{p=0}^N w_p \|B_p S\|^2.

Every layer may be rotated by itself: ``J_p = Q_p M_p Q_p^T + N_p Q_p^T - Q_p N_p^T`` is conserved,
with the momenta ``M_p`` of ``A_p`` and ``N_p = w_p B_p S^2``. In the eigenframe of ``S`` cosines
over the layers diagonalise the form of the ``A_p``,

.. math:: A_p = \sum_{j=1}^N \cos\frac{πjp}{N} \, \frac{\hat M_j}{n_j θ_j}, \quad
          \hat M_j = \sum_{p=0}^N \cos\frac{πjp}{N} M_p, \quad
          (θ_j)_{kl} = λ_k^2 + λ_l^2 - 2 λ_k λ_l \cos\frac{πj}{N},

with ``n_j = N``, but ``n_N = 2 N``, and the equations of motion are

.. math:: \dot M_p = [M_p, A_p] + B_p^T N_p - N_p^T B_p, \quad
          \dot N_p = N_p A_p - B_p M_p - Q_p B_p^T N_p, \quad
          N \ddot S = \mathrm{sym}\Big(2 \sum_{p=1}^N A_p S A_{p-1}
          + \sum_{p=0}^N w_p (B_p^T B_p - A_p^2) S\Big).

References
----------
Own derivation; THEORY 3.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from itertools import pairwise
from typing import NamedTuple

import numpy

from dlngeo.core.balanced.submanifold import normal_vector, second_form_in_frames
from dlngeo.core.base import packing
from dlngeo.core.base.arrays import (
    diagonal_matrix,
    eigh,
    off_diagonal,
    symmetric_part,
    transpose,
)
from dlngeo.core.geodesics.charts.chart import Chart, Matrices
from dlngeo.core.networks.frames import BalancedFrames
from dlngeo.core.numerics.integration import NEAREST, Trajectory, integrate_on

# Velocity of a value towards the boundary, in units of the value, from which on geodesics pass it.
_STEEPEST = 1e4


class _BalancedState(NamedTuple):
    """State of a geodesic, and of vectors along it.

    Layers are stacked, ``D`` the largest width; what belongs to no neuron is zero.

    Attributes
    ----------
    stretch, pace : array, shape=[..., r, r]
        ``S`` and its velocity.
    frames : array, shape=[..., N + 1, D, r]
        ``Q_0, ..., Q_N``.
    momenta : array, shape=[..., N + 1, r, r]
        ``M_0, ..., M_N``.
    drifts : array, shape=[..., N + 1, D, r]
        ``N_0, ..., N_N``; without rows if no layer is wider than the rank.
    vectors : sequence of array, shape=[..., k, d_p, d_{p-1}]
        Parallel vectors.
    """

    stretch: numpy.ndarray
    pace: numpy.ndarray
    frames: numpy.ndarray
    momenta: numpy.ndarray
    drifts: numpy.ndarray
    vectors: Matrices = ()

    def pack(self) -> numpy.ndarray:
        """Return the state as one vector, shape=[..., n_state]."""
        stacks = [_high(array) for array in (*self[2:5], *self.vectors)]
        return packing.pack([self.stretch, self.pace, *stacks])


def _high(stack: numpy.ndarray) -> numpy.ndarray:
    """Return stacks of matrices as high ones, shape=[..., k m, n]."""
    return stack.reshape(*stack.shape[:-3], stack.shape[-3] * stack.shape[-2], stack.shape[-1])


class _Rates(NamedTuple):
    """How a state moves, in the eigenframe ``E`` of ``S``.

    Attributes
    ----------
    lam, eigenframe : array, shape=[..., r], shape=[..., r, r]
    frames, momenta, drifts : array
        ``Q_p E``, ``Eᵀ M_p E`` and ``N_p E``.
    turns, moves : array, shape=[..., N + 1, r, r], shape=[..., N + 1, D, r]
        ``A_p`` and ``B_p``.
    """

    lam: numpy.ndarray
    eigenframe: numpy.ndarray
    frames: numpy.ndarray
    momenta: numpy.ndarray
    drifts: numpy.ndarray
    turns: numpy.ndarray
    moves: numpy.ndarray


@dataclass(frozen=True)
class BalancedChart(Chart):
    """Coordinates ``S, Ṡ, Q_p, M_p, N_p`` of networks of given widths, and parallel vectors.

    Attributes
    ----------
    widths : tuple of int
    rank, n_vectors : int
    goes_on : bool
        Whether geodesics go on where an eigenvalue of ``S`` vanishes, or end.
    """

    widths: tuple[int, ...]
    rank: int
    n_vectors: int = 0
    goes_on: bool = False

    ways_on = ("continue",)

    nearest = NEAREST

    @property
    def depth(self) -> int:
        """Number of factors."""
        return len(self.widths) - 1

    @property
    def _has_nulls(self) -> bool:
        return max(self.widths) > self.rank

    @cached_property
    def _weights(self) -> numpy.ndarray:
        """``w_p``, shape=[N + 1, 1, 1]."""
        return numpy.array([1.0, *[2.0] * (self.depth - 1), 1.0])[:, None, None]

    @cached_property
    def _modes(self) -> numpy.ndarray:
        """``cos(πjp/N)``, shape=[N, N + 1]."""
        j, p = numpy.arange(1, self.depth + 1), numpy.arange(self.depth + 1)
        return numpy.cos(numpy.pi * j[:, None] * p / self.depth)

    @property
    def _is_smooth(self) -> bool:
        """Whether the boundary is a place like others: equations of vectors lose digits there."""
        return self.goes_on and not self.n_vectors

    def enter(
        self, balanced: BalancedFrames, velocity: Matrices, vectors: Matrices = ()
    ) -> numpy.ndarray:
        """Return the state of factors in frames, with a tangent vector and vectors along it."""
        blocks = balanced.split(velocity)
        layers = balanced.layers
        frames = self._stack(balanced.frames)
        moments = []
        for p, frame in enumerate(balanced.frames):
            turned: numpy.ndarray = 0 * frame
            # J_p Q_p
            if p > 0:
                product = velocity[p - 1] @ transpose(layers[p - 1])
                turned = turned + (product - transpose(product)) @ frame
            if p < self.depth:
                product = transpose(velocity[p]) @ layers[p]
                turned = turned + (product - transpose(product)) @ frame
            moments.append(turned)
        turned = self._stack(moments)
        momenta = transpose(frames) @ turned
        momenta = (momenta - transpose(momenta)) / 2
        drifts = turned - frames @ momenta if self._has_nulls else turned[..., :0, :]
        pace = symmetric_part(sum(block.core for block in blocks)) / self.depth
        stretch = diagonal_matrix(balanced.lam) + 0 * pace
        return _BalancedState(stretch, pace, frames, momenta, drifts, vectors).pack()

    def _stack(self, arrays: Sequence[numpy.ndarray]) -> numpy.ndarray:
        """Return matrices ``[..., d_p, r]`` as one array, shape=[..., N + 1, D, r]."""
        batch = numpy.broadcast_shapes(*[array.shape[:-2] for array in arrays])
        stack = numpy.zeros((*batch, len(arrays), max(self.widths), self.rank))
        for p, array in enumerate(arrays):
            stack[..., p, : array.shape[-2], :] = array
        return stack

    def _unstack(self, stack: numpy.ndarray) -> tuple[numpy.ndarray, ...]:
        return tuple(stack[..., p, :width, :] for p, width in enumerate(self.widths))

    def unpack(self, packed: numpy.ndarray) -> _BalancedState:
        """Return the state of which `_BalancedState.pack` gives the vector."""
        rank, most, count = self.rank, max(self.widths), self.depth + 1
        heights = [most, rank, most if self._has_nulls else 0]
        shapes = [(count * height, rank) for height in heights]
        shapes += [(self.n_vectors * after, before) for before, after in pairwise(self.widths)]
        stretch, pace, *parts = packing.unpack(packed, [(rank, rank), (rank, rank), *shapes])
        heights += [after for _, after in pairwise(self.widths)]
        stacks = [
            part.reshape(*part.shape[:-2], number, height, part.shape[-1])
            for part, height, number in zip(
                parts, heights, [*[count] * 3, *[self.n_vectors] * self.depth], strict=True
            )
        ]
        frames, momenta, drifts, *vectors = stacks
        return _BalancedState(stretch, pace, frames, momenta, drifts, vectors)

    def reverse(self, state: numpy.ndarray) -> numpy.ndarray:
        parts = self.unpack(state)
        backwards = {name: -getattr(parts, name) for name in ("pace", "momenta", "drifts")}
        return parts._replace(**backwards).pack()

    def leave(self, state: numpy.ndarray) -> tuple[Matrices, Matrices]:
        parts = self.unpack(state)
        rates = self._rates(parts)
        core = transpose(rates.eigenframe) @ parts.pace @ rates.eigenframe
        return self._balanced(rates).layers, self._velocities(rates, core)

    def flow(
        self,
        start: numpy.ndarray,
        end: numpy.ndarray,
        tolerance: float | numpy.ndarray,
        most_steps: int = 2_000,
    ) -> Trajectory:
        if self._is_smooth or not self.goes_on:
            return super().flow(start, end, tolerance, most_steps)
        inner = partial(super().flow, most_steps=most_steps)
        return integrate_on(inner, self.turn, start, end, tolerance)

    def turn(
        self, state: numpy.ndarray, left: numpy.ndarray
    ) -> tuple[numpy.ndarray, numpy.ndarray]:
        """Return how geodesics go on from the boundary: see `integrate_on`.

        They pass it in one step of Heun's method. Beyond it every second frame vector of the value
        that vanished is turned, so that ``S`` stays positive.
        """
        change, least = self.velocity(state)
        rates, moved = self._rates(self.unpack(state)), self.unpack(change)
        last = rates.eigenframe[..., :1]
        pace = -(transpose(last) @ moved.stretch @ last)[:, 0, 0]
        # Along the boundary none goes on.
        goes_on = pace > _STEEPEST * least
        passed = numpy.minimum(2 * least / numpy.where(goes_on, pace, numpy.inf), left)
        step = passed[:, None]
        state = state + step / 2 * (change + self.velocity(state + step * change)[0])
        parts = self.unpack(numpy.where(goes_on[:, None], state, numpy.nan))
        rates = self._rates(parts)
        core = transpose(rates.eigenframe) @ parts.pace @ rates.eigenframe
        signs = numpy.where(rates.lam < 0, -1.0, 1.0)[:, None, :]
        frames = [
            frame * signs if p % 2 else frame
            for p, frame in enumerate(self._balanced(rates).frames)
        ]
        balanced = BalancedFrames(tuple(frames), abs(rates.lam))
        return self.enter(balanced, self._velocities(rates, core), parts.vectors), passed

    def _rates(self, parts: _BalancedState) -> _Rates:
        lam, frame = eigh(parts.stretch)
        every = frame[..., None, :, :]
        back = transpose(every)
        momenta = off_diagonal(back @ parts.momenta @ every)
        row, column = lam[..., None, :, None], lam[..., None, None, :]
        modes, count = self._modes, (*momenta.shape[:-3], self.depth + 1, self.rank**2)
        cosines = modes[:, 1, None, None]
        energies = row**2 + column**2 - 2 * row * column * cosines
        energies[..., -1, :, :] *= 2
        # No turn belongs to the diagonal, whose energies vanish at the boundary.
        energies = energies + numpy.eye(self.rank)
        amplitudes = (modes @ momenta.reshape(count)).reshape(energies.shape) / energies
        turns = modes.T @ amplitudes.reshape(*count[:-2], self.depth, self.rank**2)
        turns = turns.reshape(momenta.shape) / self.depth
        drifts = moves = parts.drifts
        if self._has_nulls:
            drifts = parts.drifts @ every
            moves = drifts / column**2 / self._weights
        return _Rates(lam, frame, parts.frames @ every, momenta, drifts, turns, moves)

    def _balanced(self, rates: _Rates) -> BalancedFrames:
        return BalancedFrames(self._unstack(rates.frames), rates.lam)

    def _velocities(self, rates: _Rates, core: numpy.ndarray) -> list[numpy.ndarray]:
        """Return the velocities of the factors; ``core`` is ``Ṡ`` in the eigenframe."""
        row, column = rates.lam[..., None, :, None], rates.lam[..., None, None, :]
        turns, frames = rates.turns, self._unstack(rates.frames)
        cores = core[..., None, :, :] + turns[..., 1:, :, :] * column - row * turns[..., :-1, :, :]
        velocities = [
            after @ cores[..., p, :, :] @ transpose(before)
            for p, (before, after) in enumerate(pairwise(frames))
        ]
        if not self._has_nulls:
            return velocities
        moves = self._unstack(rates.moves * column)
        return [
            velocity + moves[p + 1] @ transpose(frames[p]) + frames[p + 1] @ transpose(moves[p])
            for p, velocity in enumerate(velocities)
        ]

    def velocity(self, state: numpy.ndarray) -> tuple[numpy.ndarray, numpy.ndarray]:
        """Return the velocity of a state, and the least eigenvalue of ``S``."""
        parts = self.unpack(state)
        rates = self._rates(parts)
        lam, frame, frames, momenta, drifts, turns, moves = rates
        every = frame[..., None, :, :]
        back = transpose(every)
        row = lam[..., :, None]
        bent = (turns[..., 1:, :, :] * lam[..., None, None, :]) @ turns[..., :-1, :, :]
        squares = self._weights * (turns @ turns)
        turned = momenta @ turns
        turned = turned - transpose(turned)
        change = frames @ turns
        drifting = parts.drifts
        if self._has_nulls:
            squares = squares - self._weights * (transpose(moves) @ moves)
            lag = transpose(moves) @ drifts
            turned = turned + lag - transpose(lag)
            change = change + moves
            drifting = (drifts @ turns - moves @ momenta - frames @ lag) @ back
        force = 2 * bent.sum(axis=-3) - row * squares.sum(axis=-3)
        force = symmetric_part(force) / self.depth
        vectors: list[numpy.ndarray] = []
        if self.n_vectors:
            core = transpose(frame) @ parts.pace @ frame
            vectors = self._parallel(self._balanced(rates), self._velocities(rates, core), parts)
        motion = _BalancedState(
            parts.pace,
            frame @ force @ transpose(frame),
            change @ back,
            every @ turned @ back,
            drifting,
            vectors,
        )
        least = lam[..., 0]
        return motion.pack(), numpy.ones_like(least) if self._is_smooth else least

    def _parallel(
        self, balanced: BalancedFrames, velocity: Matrices, parts: _BalancedState
    ) -> list[numpy.ndarray]:
        """Return the derivatives ``II(Ẇ, V)`` of parallel vectors."""
        # With one more axis, that of the vectors.
        wide = BalancedFrames(
            tuple(q[..., None, :, :] for q in balanced.frames), balanced.lam[..., None, :]
        )
        along = wide.split([v[..., None, :, :] for v in velocity])
        bent = normal_vector(
            [layer[..., None, :, :] for layer in balanced.layers],
            second_form_in_frames(wide, along, wide.split(parts.vectors)),
        )
        # A single layer is flat at full rank, whatever the number of vectors.
        return [b + 0 * vector for b, vector in zip(bent, parts.vectors, strict=True)]
