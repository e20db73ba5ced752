r"""The Langevin equation of infinite depth: of square matrices of full rank.

With the metric scaled by ``N``, as in the depth limit of [CMV22], and ``X = Q e^M O^T``, ``M``
symmetric,

.. math:: Δ_g = Δ_M + \text{squares of turns}, \quad
          dvol_g ∝ \prod_{k<l} |\log σ_k - \log σ_l| \prod_k d\log σ_k \, dQ \, dO,

with the flat Laplacian ``Δ_M`` of symmetric matrices, which alone moves ``log σ``, as Dyson's
Brownian motion. With ``x = \log σ_k - \log σ_l`` the turns are of both frames by the same angle, of
the variance ``(x/2 coth(x/2) - 1)/x²`` beyond that of ``M``, and by opposite ones, of
``tanh(x/2)/(2x)`` (own derivation).

Where ``det X = 0`` the volume is infinite, and as far away: no path leads from a component to the
other. Chains change it by jumps ``X → X - 2σ_d u_d v_dᵀ``, which keep volume and entropy.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy

from dlngeo.core.base.arrays import diagonal_matrix, off_diagonal, symmetric_part
from dlngeo.core.networks.frames import SingularFrames, singular_frames
from dlngeo.core.networks.jacobi import log_mean_kernel_derivative
from dlngeo.sampling.langevin_dynamics.equation import Equation
from dlngeo.sampling.langevin_dynamics.matrix_steps import FrameKernel, rotation
from dlngeo.sampling.langevin_dynamics.states import choose, is_finite, move

REACH = 340.0
"""Up to here ``|log σ|`` is followed: beyond, the squares of ``σ`` overflow or vanish."""


class LogarithmicState(NamedTuple):
    """State of chains at infinite depth.

    Attributes
    ----------
    left, logs, right : array, shape=[chains, d, d], shape=[chains, d], shape=[chains, d, d]
        ``X = left · diag(exp(logs)) · rightᵀ``; the values are in no order.
    covector : array, shape=[chains, d, d], or shape=[chains, d] for a spectral energy
        ``∇E`` there.
    n_rejected, n_stuck : array, shape=[chains]
        How often a step was rejected because there is no finite state or gradient, and how often
        in a row up to now.
    """

    left: numpy.ndarray
    logs: numpy.ndarray
    right: numpy.ndarray
    covector: numpy.ndarray
    n_rejected: numpy.ndarray
    n_stuck: numpy.ndarray


@dataclass(eq=False)
class LogarithmicEulerMaruyama(FrameKernel):
    """Euler–Maruyama in logarithmic coordinates, and jumps between the components."""

    def __post_init__(self) -> None:
        equation = self.equation
        if equation.crosses and equation.kappa > 0 and not equation.has_value:
            raise ValueError(
                "at infinite depth chains go from one sign of det X to the other by jumps, which "
                "need the energy (energy=): give it, or confine the chains (determinant=)."
            )

    def init(self, factors: Sequence[numpy.ndarray]) -> LogarithmicState:
        """Return the state at matrices.

        Raises
        ------
        ValueError
            If there is no law to sample, or no finite gradient.
        """
        left, sigma, right = singular_frames(factors[0], self.equation.rank)
        root = SingularFrames(left, numpy.log(sigma), right)
        if self.equation.crosses and not has_law(self.equation, self.observable(root)):
            raise ValueError(
                "there is no law to sample: at infinite depth the volume is infinite towards det X "
                "= 0, and the energy does not rise there. Add one that does, as "
                "SpectralExpression('log(s)**2 / 2', depth=inf); or confine the chains to a "
                "component (determinant=), to see how they run away."
            )
        covector = self.equation.initial_covector(self.observable(root))
        return LogarithmicState(*root, covector, *numpy.zeros((2, len(sigma)), dtype=int))

    def step(self, state: LogarithmicState, rng: numpy.random.Generator) -> LogarithmicState:
        """Return the state after a step."""
        root = self.root(state)
        proposal = self._advance(root, state.covector, rng)
        is_kept = is_finite(*proposal) & (abs(proposal.sigma) < REACH).all(axis=-1)
        proposal = SingularFrames(*choose(is_kept, proposal, root))
        if self.equation.crosses and self.equation.kappa > 0:
            proposal = self._jump(proposal, rng)
        covector = self.equation.covector(self.observable(proposal))
        after = LogarithmicState(*proposal, covector, state.n_rejected, state.n_stuck)
        return move(state, after, is_kept & is_finite(covector))

    def root(self, state: LogarithmicState) -> SingularFrames:
        """Return the frames and ``log σ``, in no order."""
        return SingularFrames(state.left, state.logs, state.right)

    def observable(self, root: SingularFrames) -> SingularFrames:
        """Return ``X`` in the same frames."""
        return root._replace(sigma=numpy.exp(root.sigma))

    def counts(self, state: LogarithmicState) -> dict[str, numpy.ndarray]:
        """Return what was counted along each chain."""
        return {"n_rejected": state.n_rejected, "n_stuck": state.n_stuck}

    def _advance(
        self, root: SingularFrames, covector: numpy.ndarray, rng: numpy.random.Generator
    ) -> SingularFrames:
        """Return the matrices after noise, and descent of the free energy."""
        equation, observable = self.equation, self.observable(root)
        sigma, heat = observable.sigma, self.step_size * equation.temperature(2)
        normals = self.deviation() * rng.standard_normal((*sigma.shape, equation.rank))
        slope = equation.blocks(covector, observable).core
        sums = sigma[:, :, None] + sigma[:, None, :]
        gap = root.sigma[:, :, None] - root.sigma[:, None, :]
        symmetric, slope_symmetric = symmetric_part(normals), symmetric_part(slope)
        derivative = off_diagonal(log_mean_kernel_derivative(sigma, sigma))
        core = symmetric - self.step_size / 2 * sums * slope_symmetric
        core = core + diagonal_matrix(root.sigma + heat * derivative.sum(axis=-1) / 2)
        # With half of the gap (σ_k - σ_l)/x = (σ_k + σ_l)/2 · tanh(x/2)/(x/2).
        common, opposite = _turns(gap)
        share = self.step_size * sums * opposite**2 * (slope - slope_symmetric)
        turn, counterturn = -common * symmetric, opposite * (normals - symmetric) - share
        values, vectors = numpy.linalg.eigh(symmetric_part(_finite(core)))
        left = root.left @ rotation(_finite(turn + counterturn)) @ vectors
        right = root.right @ rotation(_finite(turn - counterturn)) @ vectors
        is_lost = ~is_finite(core, turn, counterturn)
        values[is_lost] = numpy.nan
        return SingularFrames(left, values, right)

    def _jump(self, root: SingularFrames, rng: numpy.random.Generator) -> SingularFrames:
        """Return ``X - 2σ_d u_d v_dᵀ`` or ``X``, with the probabilities of the law."""
        equation, least = self.equation, numpy.argmin(root.sigma, axis=-1)
        signs = numpy.ones_like(root.sigma)
        signs[numpy.arange(len(signs)), least] = -1
        other = root._replace(right=root.right * signs[:, None, :])
        energy, after = (equation.values(self.observable(r)) for r in (root, other))
        log_ratio = equation.beta / equation.kappa * (energy - after)
        is_accepted = numpy.log(rng.random(len(signs))) < log_ratio
        return SingularFrames(*choose(is_accepted & numpy.isfinite(after), other, root))


def has_law(equation: Equation, matrix: SingularFrames) -> bool:
    r"""Tell whether the energy confines chains of infinite depth, where it is known.

    Towards ``det X = 0`` the density over ``L = -\log σ_d`` is ``L^p e^{-βE/κ}``,
    ``p = (d - 1)(1 - 1/2κ)``: ``βE/κ`` must grow faster than ``(p + 1) \log L``. It is measured
    twice, far out and where an energy that decomposes matrices still sees ``σ_d``.
    """
    if not equation.has_value or equation.kappa == 0:
        return True
    least = (equation.rank - 1) * (1 - 1 / (2 * equation.kappa)) + 1
    heat = equation.beta / equation.kappa

    def energy(distance: float) -> numpy.ndarray:
        sigma = matrix.sigma.copy()
        sigma[numpy.arange(len(sigma)), numpy.argmin(sigma, axis=-1)] *= math.exp(-distance)
        with numpy.errstate(all="ignore"):
            return equation.values(matrix._replace(sigma=sigma))

    def rises(distance: float) -> bool:
        far = energy(2 * distance)
        with numpy.errstate(invalid="ignore"):
            gain = heat * (far - energy(distance))
        return bool(((gain > least * math.log(2)) | numpy.isposinf(far)).all())

    return rises(15.0) or rises(150.0)


def _turns(gap: numpy.ndarray) -> tuple[numpy.ndarray, numpy.ndarray]:
    """Return the common turns by the symmetric part of noise, beyond its own, and the opposite."""
    half = gap / 2
    is_small = abs(half) < 1e-3
    safe = numpy.where(is_small, 1.0, half)
    # x coth x - 1 and tanh x / x, by their series near zero.
    excess = numpy.where(is_small, half**2 / 3, safe / numpy.tanh(safe) - 1)
    ratio = numpy.where(is_small, 1 - half**2 / 3, numpy.tanh(safe) / safe)
    common = numpy.where(is_small, half / 3, excess / safe) / 2 / (numpy.sqrt(1 + excess) + 1)
    return common, numpy.sqrt(ratio) / 2


def _finite(array: numpy.ndarray) -> numpy.ndarray:
    """Return an array with zeros for chains where it is not finite."""
    return numpy.where(is_finite(array)[:, None, None], array, 0.0)
