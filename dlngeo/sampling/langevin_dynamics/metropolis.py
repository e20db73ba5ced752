"""The Metropolis-adjusted Langevin algorithm, exact in the limit: of matrices."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy

from dlngeo.core.base.arrays import diagonal_matrix
from dlngeo.core.networks.blocks import Blocks, split
from dlngeo.core.networks.frames import SingularFrames
from dlngeo.sampling.langevin_dynamics import brownian
from dlngeo.sampling.langevin_dynamics.matrix_steps import (
    MatrixKernel,
    bounded,
    fold,
    normal_blocks,
    retract,
)
from dlngeo.sampling.langevin_dynamics.states import choose, is_finite
from dlngeo.thermodynamics.boltzmann_entropy import spectral_entropy


class MetropolisState(NamedTuple):
    """State of chains that accept or reject their steps.

    Attributes
    ----------
    left, lam, right : array, shape=[chains, m, r], shape=[chains, r], shape=[chains, n, r]
        ``Y = left · diag(lam) · rightᵀ``.
    covector : array, shape=[chains, m, n], or shape=[chains, r] for a spectral energy
        ``∇E`` there.
    energy, entropy : array, shape=[chains]
        ``E`` and ``S`` there.
    n_accepted, n_rejected : array, shape=[chains]
        Steps that were accepted, and proposals without a finite energy or gradient, or of the
        other component.
    """

    left: numpy.ndarray
    lam: numpy.ndarray
    right: numpy.ndarray
    covector: numpy.ndarray
    energy: numpy.ndarray
    entropy: numpy.ndarray
    n_accepted: numpy.ndarray
    n_rejected: numpy.ndarray


@dataclass(eq=False)
class Metropolis(MatrixKernel):
    r"""Langevin steps in depth-root coordinates, accepted or rejected.

    The proposal is an Euler–Maruyama step of the equation in depth-root coordinates by the
    orthographic retraction, of which the step back is known in closed form and whose Jacobian
    determinants cancel, as both are cosines of the angles of one pair of tangent spaces. In these
    coordinates the Riemannian volume is that of Frobenius' metric, so that the target density is
    ``e^{-(β/κ) F_β}``, and the determinant of the cometric is constant.

    A proposal of infinite energy is *rejected*, and of a confined chain one of the other sign of
    ``det``.
    """

    def __post_init__(self) -> None:
        if not self.equation.has_value or self.equation.kappa == 0:
            raise ValueError("the Metropolis scheme needs the energy (energy=) and kappa > 0.")

    def init(self, factors: Sequence[numpy.ndarray]) -> MetropolisState:
        """Return the state over factors, of which a matrix may be the only one."""
        root = self.initial_root(factors)
        energy = self.equation.values(self.observable(root))
        if not numpy.isfinite(energy).all():
            raise ValueError("the energy is not finite at every initial state: start elsewhere.")
        entropy = self._entropy(root)
        covector = self.equation.initial_covector(self.observable(root))
        accepted, rejected = numpy.zeros((2, len(energy)), dtype=int)
        return MetropolisState(*root, covector, energy, entropy, accepted, rejected)

    def step(self, state: MetropolisState, rng: numpy.random.Generator) -> MetropolisState:
        """Return the state after a step."""
        equation, root, depth = self.equation, self.root(state), self.equation.depth
        kick = brownian.noise(root.sigma, depth, normal_blocks(root, rng))
        threshold = numpy.log(rng.random(len(state.lam)))
        step, is_bounded = bounded(self._mean(root, state.covector) + self.deviation() * kick)
        proposal = retract(root, step, orthographic=True)
        proposal, has_left = fold(proposal, equation.determinant is not None)
        proposal = proposal._replace(sigma=numpy.maximum(proposal.sigma, equation.least))
        energy = equation.values(self.observable(proposal))
        is_open = numpy.isfinite(energy) & is_bounded & ~has_left
        # No gradient is asked for where the proposal is lost already.
        proposal = SingularFrames(*choose(is_open, proposal, root))
        covector = self._covector(proposal)
        is_open = is_open & is_finite(covector)
        entropy, gain = self._entropy(proposal), energy - state.energy
        difference = root.with_values(root.sigma) - proposal.with_values(proposal.sigma)
        back = split(difference, proposal.left, proposal.right).tangent()
        back = 1 / self.deviation() * (back - self._mean(proposal, covector))
        log_ratio = (
            (entropy - state.entropy - equation.beta * gain) / equation.kappa
            + brownian.log_noise_density(proposal.sigma, depth, back)
            - brownian.log_noise_density(root.sigma, depth, kick)
        )
        is_accepted = is_open & (threshold < log_ratio)
        n_accepted, n_rejected = state.n_accepted + is_accepted, state.n_rejected + ~is_open
        after = MetropolisState(*proposal, covector, energy, entropy, n_accepted, n_rejected)
        return choose(is_accepted, after, state._replace(n_rejected=n_rejected))

    def counts(self, state: MetropolisState) -> dict[str, numpy.ndarray]:
        """Return what was counted along each chain."""
        return {"n_accepted": state.n_accepted, "n_rejected": state.n_rejected}

    def _mean(self, root: SingularFrames, covector: numpy.ndarray) -> Blocks:
        equation, lam, depth = self.equation, root.sigma, self.equation.depth
        mean = self.drift(root, covector)
        heat = self.step_size * equation.kappa * equation.temperature(2)
        null_width = equation.widths[0] + equation.widths[-1] - 2 * equation.rank
        ito = heat * brownian.brownian_drift(lam, depth)
        ito = ito + brownian.radial_step(lam, -heat * (1 - 1 / depth) * null_width)
        return mean._replace(core=mean.core + diagonal_matrix(ito))

    def _covector(self, root: SingularFrames) -> numpy.ndarray:
        return self.equation.covector(self.observable(root))

    def _entropy(self, root: SingularFrames) -> numpy.ndarray:
        return spectral_entropy(root.sigma**self.equation.depth, self.equation.widths)
