r"""Depth-root coordinates: the chart in which geodesics of the depth metric are integrated.

A matrix of rank ``r`` is written ``X = Q S^N Oᵀ`` with frames ``Q, O`` and a symmetric
``S > 0``: the balanced network ``W_p = Q_p S Q_{p-1}ᵀ`` without its hidden frames. Along a
curve let ``Q̇ = Q A + ...`` and ``Ȯ = -O A + ...`` with the same skew ``A``; then ``S`` moves by
the symmetric part of the velocity alone. With the conjugate momenta ``p`` (symmetric, of
``S``), ``c`` (skew, of ``A``) and ``m_L, m_R`` (of the null spaces), in the eigenframe
``λ`` of ``S``, ``σ = λ^N``,

.. math:: H = \tfrac12 \sum_{kl} \left( α_{kl} p_{kl}^2
              + \frac{c_{kl}^2}{α_{kl} (λ_k + λ_l)^2} \right)
              + \tfrac12 \| m_L S^{-1} \|^2 + \tfrac12 \| m_R S^{-1} \|^2,
          \quad α_{kl} = \frac{g_{kl}}{h_{kl}}, \;
          g_{kl} = \frac{σ_k + σ_l}{λ_k + λ_l}, \;
          h_{kl} = \sum_{i+j=N-1} λ_k^i λ_l^j.

Since ``1/N ≤ α ≤ 1`` the metric stays near the flat one, also where ``λ → 0``: a geodesic
runs smoothly through ``det = 0``, where an eigenvalue of ``S`` changes sign. Beyond it the frames
are chosen anew, so that ``S`` stays positive: where ``λ_k + λ_l`` vanishes they are no coordinates.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple, Self

import numpy

from dlngeo.core.base import optional, packing
from dlngeo.core.base.arrays import eigh, symmetric_part, transpose
from dlngeo.core.depth_metric.roots import force, kernels
from dlngeo.core.geodesics.charts.chart import ObservableChart
from dlngeo.core.networks.blocks import Blocks, join, split
from dlngeo.core.networks.frames import SingularFrames
from dlngeo.core.numerics.integration import NEAREST, Status, Trajectory, integrate_on

COMPILED_UP_TO = 10
"""Largest rank for which compiled loops beat the calls of LAPACK and BLAS."""


class State(NamedTuple):
    """State of a geodesic of ``m × n`` matrices of rank ``r``.

    Attributes
    ----------
    stretch : array, shape=[..., r, r]
        ``S``.
    momentum : array, shape=[..., r, r]
        ``p``, symmetric.
    spin : array, shape=[..., r, r]
        ``c``, skew.
    left, right : array, shape=[..., m, r], shape=[..., n, r]
        Frames ``Q`` and ``O``.
    left_null, right_null : array, shape=[..., m, r], shape=[..., n, r]
        Momenta ``m_L, m_R`` towards the null spaces; no rows where there are none.
    """

    stretch: numpy.ndarray
    momentum: numpy.ndarray
    spin: numpy.ndarray
    left: numpy.ndarray
    right: numpy.ndarray
    left_null: numpy.ndarray
    right_null: numpy.ndarray

    def pack(self) -> numpy.ndarray:
        """Return the state as one vector, shape=[..., n_state]."""
        return packing.pack(self)

    @classmethod
    def unpack(cls, packed: numpy.ndarray, rows: int, columns: int, rank: int) -> Self:
        """Return the state of which `pack` gives the vector."""
        ends = (rows if rows > rank else 0, columns if columns > rank else 0)
        heights = (rank, rank, rank, rows, columns, *ends)
        return cls(*packing.unpack(packed, [(height, rank) for height in heights]))


@dataclass(frozen=True, eq=False)
class DepthRootChart(ObservableChart):
    """Depth-root coordinates of ``m × n`` matrices of a rank, for a finite depth.

    Attributes
    ----------
    rows, columns, rank, depth : int
    """

    rows: int
    columns: int
    rank: int
    depth: int

    @property
    def nearest(self) -> float:
        """Where there are null spaces, frames turn at once when it nearly hits the boundary."""
        return NEAREST if max(self.rows, self.columns) > self.rank else 0.0

    def _unpack(self, packed: numpy.ndarray) -> State:
        return State.unpack(packed, self.rows, self.columns, self.rank)

    def velocity(self, packed: numpy.ndarray) -> tuple[numpy.ndarray, numpy.ndarray]:
        r"""Return the velocity of the geodesic flow, and the least eigenvalue of ``S``.

        In the eigenframe of ``S``, with ``K_kl = c_kl/(λ_k + λ_l)``, ``a = p/h``,
        ``b = K/g`` and ``A_kl = h_kl b_kl/(λ_k + λ_l)``,

        .. math:: \dot S = α ∘ p, \quad
                  \dot p = -F(a, b) - (AK + KA) + \tfrac12 \{S, Γ_L + Γ_R\}, \quad
                  \dot c = [A, [S, p]] + \tfrac12 [Γ_R - Γ_L, S^2],

        with `force` ``F`` and the Gram matrices ``Γ`` of ``m_L S^{-2}`` and ``m_R S^{-2}``,
        by which the frames turn towards the null spaces.

        References
        ----------
        Own derivation; THEORY 3.
        """
        state = self._unpack(packed)
        lam, frame = eigh(state.stretch)
        back = numpy.ascontiguousarray(transpose(frame))
        # The momenta p and c, symmetric and skew, turn together, and so do Ṡ and A.
        both = back @ (state.momentum + state.spin) @ frame
        p = symmetric_part(both)
        c = both - p
        sums, g, h = kernels(lam, self.depth)
        a, k = p / h, c / sums
        b = k / g
        turn = h * b / sums
        middle = turn @ k
        p_dot = -force(lam, a, b, self.depth) - middle - transpose(middle)
        commutator = (lam[..., :, None] - lam[..., None, :]) * p
        twist = turn @ commutator
        both = frame @ (g * a + turn) @ back
        stretch = symmetric_part(both)
        rotation = both - stretch
        sides = []
        for sign, end, null in (
            (1, state.left, state.left_null),
            (-1, state.right, state.right_null),
        ):
            end_dot, null_dot = sign * end @ rotation, sign * null @ rotation
            if null.shape[-2]:
                momentum = null @ frame
                drift = momentum / lam[..., None, :] ** 2
                gram = transpose(momentum) @ drift
                p_dot = p_dot + sums / 2 * (transpose(drift) @ drift)
                twist = twist - sign / 2 * gram
                spin = commutator - sign * c
                end_dot = end_dot + drift @ back
                change = drift @ spin - end @ frame @ transpose(gram)
                null_dot = null_dot + change @ back
            sides.append((end_dot, null_dot))
        (left, left_null), (right, right_null) = sides
        both = frame @ (p_dot + twist - transpose(twist)) @ back
        momentum = symmetric_part(both)
        spin = both - momentum
        change = State(stretch, momentum, spin, left, right, left_null, right_null)
        return change.pack(), lam[..., 0]

    @property
    def is_mirror(self) -> bool:
        return self.way_on == "continue" and self.depth % 2 == 0

    def turn(
        self, packed: numpy.ndarray, left: numpy.ndarray
    ) -> tuple[numpy.ndarray, numpy.ndarray]:
        r"""Return how geodesics go on from the boundary: see `integrate_on`.

        Of square matrices of full rank, where ``λ_d = 0`` and no other value vanishes. Either
        ``λ_d`` comes back, that is its momentum ``p_dd`` changes its sign; or its left vector
        turns, and so does row ``d`` of the velocity: there ``g = h = λ_k^{N-1}``, and
        ``λ_k p_kd`` and ``c_kd`` change places. For odd ``N`` the latter continues a geodesic
        analytically, for even ``N`` the former, as ``X = Q S^N O^T`` tells.

        References
        ----------
        Own derivation; THEORY 3.
        """
        state = self._unpack(packed)
        lam, frame = eigh(state.stretch)
        back = transpose(frame)
        p, c = back @ state.momentum @ frame, back @ state.spin @ frame
        if not self.is_mirror:
            others = lam[..., 1:]
            p[..., 1:, 0], c[..., 1:, 0] = c[..., 1:, 0] / others, p[..., 1:, 0] * others
            p[..., 0, 1:], c[..., 0, 1:] = p[..., 1:, 0], -c[..., 1:, 0]
            last = frame[..., :, :1]
            state = state._replace(left=state.left - 2 * (state.left @ last) @ transpose(last))
        p[..., 0, 0] *= -1
        # Where two values vanish the metric has no limit.
        goes_on = numpy.all(lam[..., 1:] > NEAREST, axis=-1, keepdims=True)
        goes_on &= self.rows == self.columns == self.rank
        lam = numpy.where(goes_on, abs(lam), numpy.nan)
        stretch = frame * lam[..., None, :] @ back
        momentum, spin = (frame @ part @ back for part in (p, c))
        turned = state._replace(stretch=stretch, momentum=momentum, spin=spin)
        return turned.pack(), 0 * left

    def flow(
        self,
        start: numpy.ndarray,
        end: numpy.ndarray,
        tolerance: float | numpy.ndarray,
        most_steps: int = 2_000,
    ) -> Trajectory:
        """Follow the geodesic flow, by compiled loops or closed forms where there are any."""
        if self.way_on is None:
            return self._inner_flow(start, end, tolerance, most_steps)

        inner = partial(self._inner_flow, most_steps=most_steps)
        return integrate_on(inner, self.turn, start, end, tolerance)

    def _inner_flow(
        self,
        start: numpy.ndarray,
        end: numpy.ndarray,
        tolerance: float | numpy.ndarray,
        most_steps: int,
    ) -> Trajectory:
        """Follow the geodesic flow up to the boundary."""
        # The closed form knows no momentum at the boundary.
        if self.depth == 2 and self.way_on is None and self._is_straight(start):
            return self._straight_flow(start, end)
        compiled = None
        if self.rank <= COMPILED_UP_TO:
            compiled = optional.compiled_loop(
                "dlngeo.core.geodesics.charts.compiled", "integrate_geodesics"
            )
        if compiled is None:
            return super().flow(start, end, tolerance, most_steps)
        shape = (self.rows, self.columns, self.rank, self.depth)
        return compiled_flow(compiled, start, end, tolerance, most_steps, shape)

    def _is_straight(self, start: numpy.ndarray) -> bool:
        """Tell whether no geodesic of a batch has a momentum but that of ``S``."""
        state = self._unpack(start)
        others = (state.spin, state.left_null, state.right_null)
        return all(bool((abs(part) <= 1e-15).all()) for part in others)

    def _straight_flow(self, start: numpy.ndarray, end: numpy.ndarray) -> Trajectory:
        r"""Follow geodesics of depth two without spin, in closed form.

        Horizontal straight lines above: ``S(t)^2 = (I + t z) S^2 (I + t z)`` with ``z`` the
        solution of ``S z + z S = p``, and frames that rest. Those of positive matrices are the
        geodesics of Bures and Wasserstein. ``I + t z`` is singular at the boundary.

        References
        ----------
        [Che25]; THEORY 3.
        """
        state = self._unpack(start)
        lam, frame = eigh(state.stretch)
        back = transpose(frame)
        z = frame @ (back @ state.momentum @ frame / kernels(lam, 2)[0]) @ back
        slope = eigh(z)[0][:, 0]
        boundary = -1 / numpy.where(slope < 0, slope, -1e-300)
        time = numpy.minimum(end, boundary)
        square = state.stretch @ state.stretch
        step = numpy.eye(self.rank) + time[:, None, None] * z
        values, frame = eigh(step @ square @ step)
        lam = numpy.sqrt(numpy.maximum(values, 0))
        rate = z @ square @ step
        core = 2 * symmetric_part(transpose(frame) @ rate @ frame)
        with numpy.errstate(invalid="ignore"):  # at the boundary
            momentum = frame @ (core / kernels(lam, 2)[1]) @ transpose(frame)
        stretch = frame * lam[:, None, :] @ transpose(frame)
        status = numpy.where(boundary <= end, Status.BOUNDARY, Status.ARRIVED)
        zeros = numpy.zeros(len(start))
        packed = state._replace(stretch=stretch, momentum=momentum).pack()
        return Trajectory(packed, time, status, zeros, zeros.astype(int))

    def enter(self, frames: SingularFrames, tangent: Blocks) -> numpy.ndarray:
        lam = frames.sigma ** (1 / self.depth)
        sums, g, h = kernels(lam, self.depth)
        core = tangent.core
        # The momenta towards the null spaces are Ẋ Λ^{1-N} S.
        weight = (lam ** (2 - self.depth))[..., None, :]
        nulls = [
            core[..., :0, :] if block is None else block * weight
            for block in (tangent.left_null, tangent.transposed().left_null)
        ]
        state = State(
            lam[..., :, None] * numpy.eye(self.rank) + 0 * core,
            symmetric_part(core) / g,
            (core - transpose(core)) / (2 * h) * sums,
            frames.left + 0 * core[..., :1, :],
            frames.right + 0 * core[..., :1, :],
            *nulls,
        )
        return state.pack()

    def decompose(self, state: numpy.ndarray) -> tuple[SingularFrames, Blocks]:
        """Return frames of ``X``, and ``Ẋ`` split in them: the inverse of `enter`.

        The values are in no order. Beyond the boundary, where one would be negative, its
        left vector has turned instead.
        """
        stretch, momentum, spin, left, right, *nulls = self._unpack(state)
        lam, frame = eigh(stretch)
        back = transpose(frame)
        sums, g, h = kernels(lam, self.depth)
        core = g * (back @ momentum @ frame) + h * (back @ spin @ frame) / sums
        weight = (lam ** (self.depth - 2.0))[..., None, :]
        left_null, right_null = (
            null @ frame * weight if null.shape[-2] else None for null in nulls
        )
        sigma = lam**self.depth
        signs = numpy.where(sigma < 0, -1.0, 1.0)
        right_null = None if right_null is None else signs[..., :, None] * transpose(right_null)
        tangent = Blocks(signs[..., :, None] * core, left_null, right_null)
        frames = SingularFrames(left @ frame * signs[..., None, :], signs * sigma, right @ frame)
        return frames, tangent

    def speed(self, frames: SingularFrames, tangent: Blocks) -> numpy.ndarray:
        lam = frames.sigma ** (1 / self.depth)
        _, g, h = kernels(lam, self.depth)
        return tangent.scaled((g * h) ** -0.5, lam ** (1 - self.depth)).norm()

    def displacement(self, state: numpy.ndarray, frames: SingularFrames) -> Blocks:
        """Return ``Y - Y_1`` in the frames of another matrix, ``Y = Q S Oᵀ``."""
        here = self._unpack(state)
        root = here.left @ here.stretch @ transpose(here.right)
        target = frames.with_values(frames.sigma ** (1 / self.depth))
        return split(root - target, frames.left, frames.right)

    def pull_back(
        self, displacement: Blocks, source: SingularFrames, target: SingularFrames
    ) -> Blocks:
        root = join(displacement, target.left, target.right)
        tangent = split(root, source.left, source.right)
        lam = source.sigma ** (1 / self.depth)
        _, g, h = kernels(lam, self.depth)
        core = tangent.core
        core = h * symmetric_part(core) + g * (core - transpose(core)) / 2
        return tangent.scaled(1.0, lam ** (self.depth - 1))._replace(core=core)


def compiled_flow(
    integrate: Callable,
    start: numpy.ndarray,
    end: numpy.ndarray,
    tolerance: float | numpy.ndarray,
    most_steps: int,
    shape: tuple[int, int, int, int],
) -> Trajectory:
    """Follow a flow by a compiled loop, in one layout in memory, for which it is compiled once."""
    tolerance = numpy.broadcast_to(tolerance, end.shape)
    arrays = [numpy.array(array, order="C") for array in (start, end, tolerance)]
    return Trajectory(*integrate(*arrays, most_steps, shape))
