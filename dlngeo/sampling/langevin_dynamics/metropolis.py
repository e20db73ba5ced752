"""Metropolis-adjusted Langevin algorithm in depth-root coordinates."""

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy

from dlngeo.core.base.arrays import diagonal_matrix
from dlngeo.core.networks.blocks import Blocks, split
from dlngeo.core.networks.frames import SingularFrames
from dlngeo.sampling.langevin_dynamics import brownian
from dlngeo.sampling.langevin_dynamics.equation import Equation
from dlngeo.sampling.langevin_dynamics.matrix_steps import (
    added,
    drift,
    moved,
    normal_blocks,
    observable_frames,
    root_frames,
    times,
)
from dlngeo.thermodynamics.boltzmann_entropy import spectral_entropy


class MetropolisState(NamedTuple):
    """State of chains that accept or reject their steps.

    Attributes
    ----------
    left, lam, right : array, shape=[chains, m, r], shape=[chains, r], shape=[chains, n, r]
        ``Y = left · diag(lam) · rightᵀ``.
    covector : array, shape=[chains, m, n], or shape=[chains, r] for a spectral energy
        ``∇E`` there.
    log_density : array, shape=[chains]
        Logarithm of the target density, up to a constant.
    n_accepted, n_rejected : array, shape=[chains]
        Steps that were accepted, and proposals that had crossed the boundary.
    """

    left: numpy.ndarray
    lam: numpy.ndarray
    right: numpy.ndarray
    covector: numpy.ndarray
    log_density: numpy.ndarray
    n_accepted: numpy.ndarray
    n_rejected: numpy.ndarray

    @property
    def root(self) -> SingularFrames:
        """The matrices ``Y`` in their frames."""
        return SingularFrames(self.left, self.lam, self.right)


@dataclass(frozen=True)
class Metropolis:
    r"""Metropolis-adjusted Langevin algorithm: exact in the limit of many steps.

    The proposal is an Euler–Maruyama step of the equation in depth-root coordinates by the
    orthographic retraction, of which the step back is known in closed form and whose Jacobian
    determinants cancel, as both are cosines of the angles of one pair of tangent spaces. In these
    coordinates the Riemannian volume is that of Frobenius' metric, so that the target density is
    ``e^{-(β/κ) F_β}``, and the determinant of the cometric is constant.

    A proposal of the other sign of ``det`` is *rejected*, as one of infinite energy is.
    """

    equation: Equation
    step_size: float

    def init(self, matrix: numpy.ndarray) -> MetropolisState:
        """Return the state at matrices, shape=[chains, m, n]."""
        root = root_frames(matrix, self.equation)
        energy = self.equation.values(observable_frames(root, self.equation.depth))
        if not numpy.isfinite(energy).all():
            raise ValueError("the energy is not finite at every initial state: start elsewhere.")
        accepted, rejected = numpy.zeros((2, len(matrix)), dtype=int)
        log_density = self._log_density(root, energy)
        return MetropolisState(*root, self._covector(root), log_density, accepted, rejected)

    def step(self, state: MetropolisState, rng: numpy.random.Generator) -> MetropolisState:
        """Return the state after a step."""
        equation, root = self.equation, state.root
        scale = math.sqrt(2 * self.step_size * equation.kappa / equation.beta)
        kick = brownian.noise(root.sigma, equation.depth, normal_blocks(root, rng))
        threshold = numpy.log(rng.random(len(state.lam)))
        step = added(self._mean(root, state.covector), times(kick, scale))
        proposal = moved(root, step, orthographic=True)
        has_crossed = (proposal.sigma < 0).any(axis=-1)
        proposal = proposal._replace(sigma=numpy.maximum(abs(proposal.sigma), equation.least))
        energy = equation.values(observable_frames(proposal, equation.depth))
        is_open = numpy.isfinite(energy) & ~has_crossed
        # No gradient is asked for where the proposal is lost already.
        proposal = SingularFrames(*_chosen(is_open, proposal, root))
        covector = self._covector(proposal)
        log_density = self._log_density(proposal, numpy.where(is_open, energy, numpy.inf))
        back = split(
            root.with_values(root.sigma) - proposal.with_values(proposal.sigma),
            proposal.left,
            proposal.right,
        )
        back = added(back, times(self._mean(proposal, covector), -1.0))
        log_ratio = (
            log_density
            - state.log_density
            + brownian.log_noise_density(proposal.sigma, equation.depth, times(back, 1 / scale))
            - brownian.log_noise_density(root.sigma, equation.depth, kick)
        )
        is_accepted = threshold < log_ratio
        after = state._replace(
            left=proposal.left,
            lam=proposal.sigma,
            right=proposal.right,
            covector=covector,
            log_density=log_density,
        )
        after = MetropolisState(*_chosen(is_accepted, after, state))
        return after._replace(
            n_accepted=state.n_accepted + is_accepted, n_rejected=state.n_rejected + has_crossed
        )

    def _mean(self, root: SingularFrames, covector: numpy.ndarray) -> Blocks:
        equation = self.equation
        mean = drift(equation, root, covector, self.step_size)
        lam, depth = root.sigma, equation.depth
        heat = self.step_size * equation.kappa / equation.beta
        null_width = equation.widths[0] + equation.widths[-1] - 2 * equation.rank
        ito = heat * brownian.brownian_drift(lam, depth)
        ito = ito + brownian.radial_step(lam, -heat * (1 - 1 / depth) * null_width)
        return mean._replace(core=mean.core + diagonal_matrix(ito))

    def _covector(self, root: SingularFrames) -> numpy.ndarray:
        return self.equation.covector(observable_frames(root, self.equation.depth))

    def _log_density(self, root: SingularFrames, energy: numpy.ndarray) -> numpy.ndarray:
        equation = self.equation
        entropy = spectral_entropy(root.sigma**equation.depth, equation.widths)
        return (entropy - equation.beta * energy) / equation.kappa


def _chosen(condition: numpy.ndarray, one: tuple, other: tuple) -> list[numpy.ndarray]:
    """Return arrays whose chains are of one where the condition holds, else of the other."""
    return [
        numpy.where(condition.reshape(-1, *[1] * (a.ndim - 1)), a, b)
        for a, b in zip(one, other, strict=True)
    ]
