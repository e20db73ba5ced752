r"""Chains of factors: a chain of end-to-end matrices, and the frames of hidden layers over it.

.. math:: dW = -dφ_W^*\big(∇(E - S/β)\big) dt + \sqrt{2/β} \, P_v ∘ dB^1 + \sqrt{2κ/β} \, P_h ∘ dB^2
          \quad \text{(Stratonovich)}

of factors ``W_p = Q_p Λ Q_{p-1}ᵀ`` is the equation of ``X = Q_N Λ^N Q_0ᵀ`` and what carries the
hidden frames: they follow ``X`` horizontally, and vertical noise turns them. So every kernel of
matrices serves factors, up to the boundary and at every depth. In the law of ``X`` the hidden
frames are gauge: whatever rotation is independent of them keeps the uniform law of each orbit.

Turns ``Q_p A_p`` of the frames move the factors by the blocks ``A_p Λ - Λ A_{p-1}``. For a move of
``X`` by the relative turn ``D = A_N - A_0`` and the symmetric part ``dS`` of the core they are
horizontal if

.. math:: T_{kl} a_{kl} = λ_k λ_l \, D_{kl} \, e_{N-1} - (λ_l - λ_k) \, dS_{kl} \, (1, ..., 1)

in the frames that turn with the right ones (own derivation); vertical noise is Gaussian with the
covariance ``(h/β) T_kl^{-1}``, and towards the null space of a hidden layer ``h/(β λ_k²)``. The
Jacobi matrices ``T_kl`` are those of THEORY 2.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy

from dlngeo.core.base.arrays import diagonal_matrix, transpose
from dlngeo.core.base.vectors import Layers
from dlngeo.core.networks.frames import (
    BalancedFrames,
    SingularFrames,
    balanced_frames,
    singular_frames,
)
from dlngeo.core.networks.jacobi import jacobi_eigenpairs
from dlngeo.sampling.langevin_dynamics.matrix_steps import MatrixKernel, rotation, tilt


class FactorState(NamedTuple):
    """State of chains of balanced factors.

    Attributes
    ----------
    matrices : tuple
        State of the chain of end-to-end matrices.
    hidden : Layers of array, shape=[chains, d_p, r]
        Frames ``Q_1, ..., Q_{N-1}``.
    """

    matrices: Any
    hidden: Layers


@dataclass(eq=False)
class FactorKernel:
    """A kernel of factors, over one of end-to-end matrices."""

    kernel: MatrixKernel

    def init(self, factors: Sequence[numpy.ndarray]) -> FactorState:
        """Return the state at balanced factors."""
        hidden = balanced_frames(factors, self.kernel.equation.rank).frames[1:-1]
        return FactorState(self.kernel.init(factors), Layers(hidden))

    def step(self, state: FactorState, rng: numpy.random.Generator) -> FactorState:
        """Return the state after a step."""
        matrices = self.kernel.step(state.matrices, rng)
        if not state.hidden:
            return FactorState(matrices, state.hidden)
        before, after = self.kernel.root(state.matrices), self.kernel.root(matrices)
        turns, common = self._turns(before, after, rng)
        hidden = [
            self._noise(_orthonormal(frame @ turn @ common), after.sigma, rng)
            for frame, turn in zip(state.hidden, turns, strict=True)
        ]
        return FactorState(matrices, Layers(hidden))

    def frames(self, state: FactorState) -> SingularFrames:
        """Return end-to-end matrices in singular frames."""
        return self.kernel.frames(state.matrices)

    def counts(self, state: FactorState) -> dict[str, numpy.ndarray]:
        """Return what was counted along each chain."""
        return self.kernel.counts(state.matrices)

    def factors(self, state: FactorState) -> Layers:
        """Return the factors."""
        root = self.kernel.root(state.matrices)
        frames = BalancedFrames((root.right, *state.hidden, root.left), root.sigma)
        return Layers(frames.layers)

    def _turns(
        self, before: SingularFrames, after: SingularFrames, rng: numpy.random.Generator
    ) -> tuple[numpy.ndarray, numpy.ndarray]:
        """Return turns of hidden frames, shape=[N-1, chains, r, r], and that of the right one."""
        equation, lam = self.kernel.equation, before.sigma
        left = _turn(before.left, after.left)
        right = _turn(before.right, after.right)
        bend = left @ transpose(right)
        bend = (bend - transpose(bend)) / 2
        strain = right * after.sigma[:, None, :] @ transpose(right) - diagonal_matrix(lam)
        row, column = lam[:, None, :, None], lam[:, None, None, :]
        values, modes = jacobi_eigenpairs(lam, lam, equation.depth)
        flow = row * column * bend[:, None] * modes[:, -1, None, None]
        flow = flow - (column - row) * strain[:, None] * modes.sum(axis=1)[:, None, None]
        normals = numpy.tril(rng.standard_normal(values.shape), -1)
        noise = (self.kernel.step_size * equation.temperature(4) / values) ** 0.5
        skew = flow / values + noise * (normals - transpose(normals))
        return rotation(numpy.einsum("jp,njkl->pnkl", modes, skew)), right

    def _noise(
        self, frame: numpy.ndarray, lam: numpy.ndarray, rng: numpy.random.Generator
    ) -> numpy.ndarray:
        angle = (self.kernel.step_size * self.kernel.equation.temperature(2)) ** 0.5 / lam
        return tilt(frame, angle, rng)


def _turn(before: numpy.ndarray, after: numpy.ndarray) -> numpy.ndarray:
    """Return the rotation that is nearest to the product of two frames."""
    product = transpose(before) @ after
    if before.shape[-2] == before.shape[-1]:
        return product
    return singular_frames(product, product.shape[-1]).with_values(numpy.ones(product.shape[:-1]))


def _orthonormal(frame: numpy.ndarray) -> numpy.ndarray:
    """Return what a step of Newton's makes of columns that are orthonormal but for round-off."""
    return frame @ (1.5 * numpy.eye(frame.shape[-1]) - transpose(frame) @ frame / 2)
