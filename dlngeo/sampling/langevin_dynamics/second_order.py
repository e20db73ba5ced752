"""A scheme of weak order two: flows of the parts of the generator, one after the other."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy

from dlngeo.core.base.arrays import transpose
from dlngeo.core.networks.frames import SingularFrames, complement, singular_frames
from dlngeo.sampling.langevin_dynamics import brownian
from dlngeo.sampling.langevin_dynamics.matrix_steps import (
    MatrixKernel,
    compiled_loops,
    fold,
    retract,
    rotation,
)
from dlngeo.sampling.langevin_dynamics.states import choose, is_finite, move

LOOPS = "dlngeo.sampling.langevin_dynamics.compiled_splitting"
NAMES = ("turn_frames", "move_root", "descend")


class SecondOrderState(NamedTuple):
    """State of chains of end-to-end matrices.

    Attributes
    ----------
    left, lam, right : array, shape=[chains, m, r], shape=[chains, r], shape=[chains, n, r]
        ``Y = left · diag(lam) · rightᵀ``; the values are in no order.
    n_reflections, n_rejected, n_stuck : array, shape=[chains]
        How often a step was reflected at the boundary, how often it was rejected because there
        is no finite state or gradient, and how often in a row up to now.
    """

    left: numpy.ndarray
    lam: numpy.ndarray
    right: numpy.ndarray
    n_reflections: numpy.ndarray
    n_rejected: numpy.ndarray
    n_stuck: numpy.ndarray


@dataclass(eq=False)
class SecondOrder(MatrixKernel):
    r"""Flows of turns, of flat noise and of the descent, and back: Strang's splitting.

    .. math:: \tfrac{κ}{β} Δ_g = \tfrac{κ}{βN} Δ_Y + \text{squares of turns}

    Turns keep ``λ`` and so their own law; as flat noise of rank-deficient matrices they are made of
    two flows of random fields that follow each other, with correlated Gaussian noise
    ``(η_1, η_2)`` of the covariance ``[[1/2, -1/2], [-1/2, 3/2]]``. Flat noise of matrices of full
    rank is exact, as is the rise of ``λ`` by the entropy of wide layers; the rest of the descent of
    the free energy is that of the midpoint rule. Near the boundary the order is lost.

    References
    ----------
    G. Strang, *On the construction and comparison of difference schemes*, SIAM J. Numer. Anal. 5
    (1968); M. Ninomiya, S. Ninomiya, *A new higher-order weak approximation scheme for stochastic
    differential equations and the Runge–Kutta method*, Finance Stoch. 13 (2009), Theorem 1.6.
    """

    def init(self, factors: Sequence[numpy.ndarray]) -> SecondOrderState:
        """Return the state over factors, of which a matrix may be the only one."""
        root = self.initial_root(factors)
        self.equation.initial_covector(self.observable(root))
        return SecondOrderState(*root, *numpy.zeros((3, len(root.sigma)), dtype=int))

    def __post_init__(self) -> None:
        self._loops = compiled_loops(self.equation, LOOPS, NAMES)

    def step(self, state: SecondOrderState, rng: numpy.random.Generator) -> SecondOrderState:
        """Return the state after a step."""
        path = (_Path if self._loops is None else _CompiledPath)(self, self.root(state), rng)
        path.turn()
        path.spread()
        path.descend()
        path.spread()
        path.turn()
        left, sigma, right = path.root
        proposal = state._replace(
            left=left,
            lam=numpy.maximum(sigma, self.equation.least),
            right=right,
            n_reflections=state.n_reflections + path.n_reflections,
        )
        return move(state, proposal, path.is_kept)

    def counts(self, state: SecondOrderState) -> dict[str, numpy.ndarray]:
        """Return what was counted along each chain."""
        return {
            "n_reflections": state.n_reflections,
            "n_rejected": state.n_rejected,
            "n_stuck": state.n_stuck,
        }


class _Path:
    """Where chains are within a step, how often they were reflected, and which are to be kept."""

    def __init__(self, kernel: "SecondOrder", root: SingularFrames, rng: numpy.random.Generator):
        self.kernel, self.root, self.rng = kernel, root, rng
        self.n_reflections = numpy.zeros(len(root.sigma), dtype=int)
        self.is_kept = numpy.ones(len(root.sigma), dtype=bool)

    def take(self, root: SingularFrames) -> None:
        """Go to other matrices, where they are bounded."""
        is_bounded = is_finite(*root) & self.kernel.is_bounded(root.sigma)
        self.root = SingularFrames(*choose(is_bounded, root, self.root))
        self.is_kept = self.is_kept & is_bounded

    def go(self, change: numpy.ndarray) -> None:
        """Go to the matrices of the rank that are nearest after a change."""
        is_bounded = is_finite(numpy.sum(change**2, axis=(-2, -1)))
        self.is_kept = self.is_kept & is_bounded
        change = choose(is_bounded, change, numpy.zeros_like(change))
        is_confined = self.kernel.equation.determinant is not None
        root, is_reflected = fold(add(self.root, change), is_confined)
        self.n_reflections = self.n_reflections + is_reflected
        self.take(root)

    def turn(self) -> None:
        """Turn the frames by noise, for half a step."""
        equation, root = self.kernel.equation, self.root
        if equation.depth == 1 or equation.kappa == 0:
            return
        rank, scale = equation.rank, self.kernel.deviation() / 2**0.5
        # Wider turns, near the boundary, are as random.
        *angles, tilts = (
            numpy.minimum(scale * angle, math.pi)
            for angle in (
                *brownian.turn_deviations(root.sigma, equation.depth),
                (1 - 1 / equation.depth) ** 0.5 / root.sigma[:, None, :],
            )
        )
        frames = [numpy.concatenate([f, complement(f)], axis=-1) for f in (root.left, root.right)]

        def draw() -> list[numpy.ndarray]:
            normals = self.rng.standard_normal((*root.sigma.shape, rank))
            common, opposite = (
                _skew(angle * numpy.tril(part, -1))
                for angle, part in zip(angles, (normals, transpose(normals)), strict=True)
            )
            cores = common + opposite, common - opposite
            return [
                _skew(tilts * _normals(frame[..., rank:], rank, self.rng), core)
                for frame, core in zip(frames, cores, strict=True)
            ]

        for turns in _correlated(draw(), draw()):
            frames = [frame @ exponential(t) for frame, t in zip(frames, turns, strict=True)]
        left, right = (frame[..., :rank] for frame in frames)
        self.take(SingularFrames(left, root.sigma, right))

    def spread(self) -> None:
        """Add flat noise, for half a step."""
        equation, root = self.kernel.equation, self.root
        scale = self.kernel.deviation() / (2 * equation.depth) ** 0.5
        shape = (len(root.sigma), root.left.shape[-2], root.right.shape[-2])
        if equation.rank == min(shape[1:]):
            self.go(scale * self.rng.standard_normal(shape))
            return
        for (noise,) in _correlated(*([scale * self.rng.standard_normal(shape)] for _ in range(2))):
            start, total = self.root, 0 * noise
            velocity = total
            for before, weight in ((0.0, 1 / 6), (0.5, 1 / 3), (0.5, 1 / 3), (1.0, 1 / 6)):
                at = add(start, before * velocity)
                velocity = at.join(at.split(noise).tangent())
                total = total + weight * velocity
            self.go(total)

    def descend(self) -> None:
        """Descend the free energy, for a step."""
        start, half = self.root, self.kernel.step_size / 2
        self.root = start._replace(sigma=start.sigma + self.kernel.rise(start.sigma, half))
        start = self.root
        for time in (half, self.kernel.step_size):
            covector = self.kernel.equation.covector(self.kernel.observable(self.root))
            is_known = is_finite(covector)
            self.is_kept = self.is_kept & is_known
            covector = choose(is_known, covector, numpy.zeros_like(covector))
            change = self.root.join(self.kernel.descent(self.root, covector, time))
            self.root = start
            self.go(change)
        lam = self.root.sigma
        self.root = self.root._replace(sigma=lam + self.kernel.rise(lam, half))


class _CompiledPath(_Path):
    """The same of small square matrices of full rank, by compiled loops."""

    def __init__(self, kernel: "SecondOrder", root: SingularFrames, rng: numpy.random.Generator):
        super().__init__(kernel, root, rng)
        assert kernel._loops is not None
        self._turned, self._moved, self._descent = kernel._loops
        self.temperature, self.deviation = numpy.empty((2, len(root.sigma)))
        self.temperature[:] = kernel.equation.temperature()
        # Of half a step.
        self.deviation[:] = kernel.deviation(1) / 2**0.5

    def turn(self) -> None:
        equation, (left, lam, right) = self.kernel.equation, self.root
        if equation.depth == 1 or equation.kappa == 0:
            return
        first, second = (self.rng.standard_normal(left.shape) for _ in range(2))
        normals = numpy.stack([0.5**0.5 * first, second - 0.5**0.5 * first])
        left, right = self._turned(left, lam, right, normals, equation.depth, self.deviation)
        self.root = SingularFrames(left, lam, right)

    def spread(self) -> None:
        scale = self.deviation[:, None, None] / self.kernel.equation.depth**0.5
        self.go(scale * self.rng.standard_normal(self.root.left.shape))

    def descend(self) -> None:
        equation, start = self.kernel.equation, self.root
        for time in (self.kernel.step_size / 2, self.kernel.step_size):
            frames = self.root
            if equation.is_ambient:
                slope = equation.slope(self.matrix)
            else:
                # In its own frames a gradient of singular values keeps its precision.
                observable = self.kernel.observable(frames)
                slope = equation.blocks(equation.covector(observable), observable).core
                identity = numpy.tile(numpy.eye(equation.rank), (len(slope), 1, 1))
                frames = frames._replace(left=identity, right=identity)
            is_known = is_finite(slope)
            self.is_kept = self.is_kept & is_known
            slope = choose(is_known, slope, numpy.zeros_like(slope))
            change = self._descent(*frames, slope, equation.depth, time, time * self.temperature)
            if not equation.is_ambient:
                change = self.root.left @ change @ transpose(self.root.right)
            self.root = start
            self.go(change)

    def go(self, change: numpy.ndarray) -> None:
        equation = self.kernel.equation
        *after, self.matrix, is_reflected, is_kept = self._moved(
            *self.root, change, equation.depth, equation.least, equation.determinant is not None
        )
        self.root = SingularFrames(*after)
        self.n_reflections = self.n_reflections + is_reflected
        self.is_kept = self.is_kept & is_kept


def add(root: SingularFrames, change: numpy.ndarray) -> SingularFrames:
    """Return the nearest matrices of the rank after a change, shape=[chains, m, n].

    Of square ones of full rank the values have the sign by which ``det`` changes.
    """
    rank = root.sigma.shape[-1]
    if rank == min(change.shape[1:]):
        return retract(root, root.split(change))
    return singular_frames(root.with_values(root.sigma) + change, rank)


def exponential(skew: numpy.ndarray) -> numpy.ndarray:
    """Return a rotation, the exponential to fourth order."""
    return rotation(skew - skew @ skew @ skew / 12)


def _correlated(
    first: Sequence[numpy.ndarray], second: Sequence[numpy.ndarray]
) -> list[list[numpy.ndarray]]:
    """Return the noise of two flows, of the covariance above, from independent noise."""
    half = [0.5**0.5 * a for a in first]
    return [half, [b - a for a, b in zip(half, second, strict=True)]]


def _normals(null: numpy.ndarray, rank: int, rng: numpy.random.Generator) -> numpy.ndarray:
    return rng.standard_normal((len(null), null.shape[-1], rank))


def _skew(below: numpy.ndarray, core: numpy.ndarray | None = None) -> numpy.ndarray:
    """Return skew matrices of their lower triangle, or of a core and what is below it."""
    if core is None:
        return below - transpose(below)
    corner = numpy.zeros((len(below), *[below.shape[1]] * 2))
    return numpy.block([[core, -transpose(below)], [below, corner]])
