r"""What kernels on the balanced manifold share: chains of factors.

.. math:: dW = -dφ_W^*(∇E) \, dt + \tfrac1β (\mathrm{tr}_v II + κ \, \mathrm{tr}_h II) \, dt
               + \sqrt{2/β} \, (P_v + \sqrt κ P_h) \, dB \quad \text{(Itô)},

whose projection by ``φ`` is the equation of end-to-end matrices: the entropic force is what
vertical noise leaves there. Equally, in the sense of Stratonovich and with independent noises,

.. math:: dW = -dφ_W^*\big(∇(E - S/β)\big) dt + \sqrt{2/β} \, P_v ∘ dB^1 + \sqrt{2κ/β} \, P_h ∘ dB^2

(own derivation): vertical fields keep ``X``, and of horizontal ones ``Σ_j (P_h e_j)²`` is the
Laplacian below.

At the boundary, where the sign of ``det X`` changes, a chain is *reflected*, in its last factor.
Where the least singular value is lost in round-off, ``σ_r < 100 ε σ_1``, the step is *rejected*: of
square matrices this cuts off some 0.1% of the law at depth 4, and 10% at depth 10, where the
Metropolis scheme, or chains of matrices, are the ones to take.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy

from dlngeo.core.base.arrays import round_off, transpose
from dlngeo.core.base.vectors import Layers
from dlngeo.core.networks.balancing import balance
from dlngeo.core.networks.blocks import join
from dlngeo.core.networks.frames import SingularFrames, singular_frames
from dlngeo.core.networks.network import end_to_end
from dlngeo.sampling.langevin_dynamics.equation import Equation
from dlngeo.sampling.langevin_dynamics.states import choose, is_finite, move


class FactorState(NamedTuple):
    """State of chains of balanced factors.

    Attributes
    ----------
    layers : Layers of array, shape=[chains, d_p, d_{p-1}]
    covector : array, shape=[chains, m, n]
        ``∇E`` there, along end-to-end matrices of the rank.
    n_reflections, n_rejected, n_stuck : array, shape=[chains]
        How often a step was reflected at the boundary; how often it was rejected because it ended
        where there is no finite state or gradient, or where round-off hides the smallest singular
        value; and how often in a row up to now.
    """

    layers: Layers
    covector: numpy.ndarray
    n_reflections: numpy.ndarray
    n_rejected: numpy.ndarray
    n_stuck: numpy.ndarray


@dataclass(eq=False)
class FactorKernel:
    """What is alike in all kernels whose states are balanced factors."""

    equation: Equation
    step_size: float

    def init(self, factors: Sequence[numpy.ndarray]) -> FactorState:
        """Return the state at factors, which are balanced first."""
        return self.initial_state(self.balance(Layers(factors)))

    def initial_state(self, layers: Layers) -> FactorState:
        """Return the state at balanced factors."""
        frames = singular_frames(end_to_end(layers), self.equation.rank)
        slope = self._along(self.equation.initial_covector(frames), frames)
        return FactorState(layers, slope, *numpy.zeros((3, len(slope)), dtype=int))

    def frames(self, state: FactorState) -> SingularFrames:
        """Return end-to-end matrices in singular frames."""
        return singular_frames(end_to_end(state.layers), self.equation.rank)

    def counts(self, state: FactorState) -> dict[str, numpy.ndarray]:
        """Return what was counted along each chain."""
        return {
            "n_reflections": state.n_reflections,
            "n_rejected": state.n_rejected,
            "n_stuck": state.n_stuck,
        }

    def factors(self, state: FactorState, rng: numpy.random.Generator) -> Layers:
        """Return the factors."""
        return state.layers

    def balance(self, layers: Layers) -> Layers:
        """Return the nearest point of the balanced manifold, to second order."""
        return Layers(balance(layers, self.equation.rank))

    def covector(self, layers: Layers) -> numpy.ndarray:
        """Return the gradient of the energy along end-to-end matrices of the rank."""
        frames = singular_frames(end_to_end(layers), self.equation.rank)
        return self._along(self.equation.covector(frames), frames)

    def _along(self, covector: numpy.ndarray, frames: SingularFrames) -> numpy.ndarray:
        slope = self.equation.blocks(covector, frames)
        return join(slope.tangent(), frames.left, frames.right)

    def keep(self, layers: Layers, before: Layers) -> tuple[Layers, numpy.ndarray]:
        """Return factors of a rank beyond doubt, those before elsewhere, and which are which."""
        is_kept = is_finite(*layers)
        layers = choose(is_kept, layers, before)
        # Kernels of the depth metric lie within the squares of the singular values.
        product = end_to_end(layers)
        is_kept = is_kept & is_finite(numpy.sum(product**2, axis=(-2, -1)))
        layers = choose(is_kept, layers, before)
        sigma = numpy.linalg.svd(end_to_end(layers), compute_uv=False)
        least = sigma[:, self.equation.rank - 1]
        is_kept = is_kept & (least > 100 * round_off(sigma) * sigma[:, 0]) & (least**2 > 0)
        return choose(is_kept, layers, before), is_kept

    def settle(self, state: FactorState, layers: Layers, is_kept: numpy.ndarray) -> FactorState:
        """Return the state after a step to factors near the manifold."""
        after = self.balance(choose(is_kept, layers, state.layers))
        is_reflected = numpy.zeros(len(is_kept), dtype=bool)
        if self.equation.is_open:
            signs = [numpy.linalg.slogdet(end_to_end(w))[0] for w in (state.layers, after)]
            is_reflected = signs[0] != signs[1]
            if is_reflected.any():
                last = after[-1].copy()
                least = numpy.linalg.svd(end_to_end(after)[is_reflected])[0][..., -1:]
                wrong = last[is_reflected]
                last[is_reflected] = wrong - 2 * least @ (transpose(least) @ wrong)
                after = Layers((*after[:-1], last))
        covector = self.covector(after)
        proposal = state._replace(
            layers=after, covector=covector, n_reflections=state.n_reflections + is_reflected
        )
        return move(state, proposal, is_kept & is_finite(covector))
