"""The Metropolis-adjusted Langevin algorithm, exact in the limit: of matrices."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy

from dlngeo.core.base.arrays import diagonal_matrix, transpose
from dlngeo.core.base.checks import in_batch
from dlngeo.core.networks.blocks import Blocks, split
from dlngeo.core.networks.frames import SingularFrames
from dlngeo.sampling.langevin_dynamics import brownian
from dlngeo.sampling.langevin_dynamics.matrix_steps import (
    MatrixKernel,
    bounded,
    compiled_loops,
    fold,
    normal_blocks,
    retract,
)
from dlngeo.sampling.langevin_dynamics.states import choose, is_finite
from dlngeo.thermodynamics.boltzmann_entropy import spectral_entropy

LOOPS = "dlngeo.sampling.langevin_dynamics.compiled_metropolis"
NAMES = ("proposal", "log_return_density", "log_kernels")


class MetropolisState(NamedTuple):
    """State of chains that accept or reject their steps.

    Attributes
    ----------
    left, lam, right : array, shape=[chains, m, r], shape=[chains, r], shape=[chains, n, r]
        ``Y = left · diag(lam) · rightᵀ``.
    covector : array, shape=[chains, m, n], or shape=[chains, r] for a spectral energy
        ``∇E`` there.
    energy, entropy : array, shape=[chains]
        ``E`` and ``S`` there, this up to a constant.
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
        equation = self.equation
        if not equation.has_value or equation.kappa == 0:
            raise ValueError("the Metropolis scheme needs the energy (energy=) and kappa > 0.")
        self._loops = compiled_loops(equation, LOOPS, NAMES)

    def init(self, factors: Sequence[numpy.ndarray]) -> MetropolisState:
        """Return the state over factors, of which a matrix may be the only one."""
        root = self.initial_root(factors)
        energy = self.equation.values(self.observable(root))
        if not numpy.isfinite(energy).all():
            raise ValueError(
                "the energy is not finite at every initial state"
                f"{in_batch(~numpy.isfinite(energy))}: start elsewhere."
            )
        entropy = self._entropy(root)
        covector = self.equation.initial_covector(self.observable(root))
        accepted, rejected = numpy.zeros((2, len(energy)), dtype=int)
        return MetropolisState(*root, covector, energy, entropy, accepted, rejected)

    def step(self, state: MetropolisState, rng: numpy.random.Generator) -> MetropolisState:
        """Return the state after a step."""
        advance = self._advance if self._loops is None else self._advance_compiled
        after, is_open, log_ratio = advance(state, rng)
        gain, rise = after.energy - state.energy, after.entropy - state.entropy
        log_ratio = log_ratio + (rise - self.equation.beta * gain) / self.equation.kappa
        is_accepted = is_open & (numpy.log(rng.random(len(state.lam))) < log_ratio)
        n_rejected = state.n_rejected + ~is_open
        after = after._replace(n_accepted=state.n_accepted + 1, n_rejected=n_rejected)
        return choose(is_accepted, after, state._replace(n_rejected=n_rejected))

    def _advance_compiled(
        self, state: MetropolisState, rng: numpy.random.Generator
    ) -> tuple[MetropolisState, numpy.ndarray, numpy.ndarray]:
        assert self._loops is not None
        propose, log_return_density, log_kernels = self._loops
        equation, root, slope = self.equation, self.root(state), state.covector
        start, identity = root, numpy.tile(numpy.eye(equation.rank), (len(root.sigma), 1, 1))
        if not equation.is_ambient:
            # In its own frames a gradient of singular values keeps its precision.
            start = root._replace(left=identity, right=identity)
            slope = equation.blocks(slope, self.observable(root)).core
        normals = rng.standard_normal(slope.shape)
        heat, warmth = numpy.empty((2, len(normals)))
        heat[:] = self.step_size * equation.temperature()
        warmth[:] = equation.kappa * heat
        times = (equation.depth, self.step_size, heat, warmth)
        *after, matrix, has_left, is_kept = propose(
            *start, slope, normals, *times, equation.least, equation.determinant is not None
        )
        proposal = end = SingularFrames(*after)
        if not equation.is_ambient:
            # Both as they are in the frames of the proposal.
            start, end = proposal._replace(sigma=root.sigma), start._replace(sigma=proposal.sigma)
            start = start._replace(left=transpose(start.left), right=transpose(start.right))
            left, right = root.left @ proposal.left, root.right @ proposal.right
            proposal = proposal._replace(left=left, right=right)
            energy = equation.values(self.observable(proposal))
        else:
            energy = equation.value(matrix)
        is_open = numpy.isfinite(energy) & is_kept & ~has_left
        if not is_open.all():
            # No gradient is asked for where the proposal is lost already.
            proposal = SingularFrames(*choose(is_open, proposal, root))
            matrix = proposal.with_values(self.observable(proposal).sigma)
        if equation.is_ambient:
            covector = slope = equation.slope(matrix)
        else:
            covector = equation.covector(self.observable(proposal))
            slope = equation.blocks(covector, self.observable(proposal)).core
        back = log_return_density(*map(numpy.ascontiguousarray, start), *end, slope, *times)
        forth = -numpy.einsum("nkl,nkl->n", normals, normals) / 2
        after_state = state._replace(
            left=proposal.left, lam=proposal.sigma, right=proposal.right,
            covector=covector, energy=energy, entropy=log_kernels(proposal.sigma, equation.depth),
        )  # fmt: skip
        return after_state, is_open & is_finite(covector), back - forth

    def _advance(
        self, state: MetropolisState, rng: numpy.random.Generator
    ) -> tuple[MetropolisState, numpy.ndarray, numpy.ndarray]:
        """Return a proposal, where it is open, and the log ratio of the densities of proposals."""
        equation, root, depth = self.equation, self.root(state), self.equation.depth
        kick = brownian.noise(root.sigma, depth, normal_blocks(root, rng))
        step, is_bounded = bounded(self._mean(root, state.covector) + self.deviation() * kick)
        proposal, has_left = fold(
            retract(root, step, orthographic=True), equation.determinant is not None
        )
        proposal = proposal._replace(sigma=numpy.maximum(proposal.sigma, equation.least))
        energy = equation.values(self.observable(proposal))
        is_open = numpy.isfinite(energy) & is_bounded & ~has_left
        # No gradient is asked for where the proposal is lost already.
        proposal = SingularFrames(*choose(is_open, proposal, root))
        covector = self._covector(proposal)
        difference = root.with_values(root.sigma) - proposal.with_values(proposal.sigma)
        back = split(difference, proposal.left, proposal.right).tangent()
        back = 1 / self.deviation() * (back - self._mean(proposal, covector))
        log_ratio = brownian.log_noise_density(proposal.sigma, depth, back)
        log_ratio = log_ratio - brownian.log_noise_density(root.sigma, depth, kick)
        after = state._replace(
            left=proposal.left, lam=proposal.sigma, right=proposal.right,
            covector=covector, energy=energy, entropy=self._entropy(proposal),
        )  # fmt: skip
        return after, is_open & is_finite(covector), log_ratio

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
        if self._loops is not None:
            return self._loops[2](root.sigma, self.equation.depth)
        return spectral_entropy(root.sigma**self.equation.depth, self.equation.widths)
