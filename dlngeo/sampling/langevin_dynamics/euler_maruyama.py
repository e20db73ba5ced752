"""The scheme of Euler and Maruyama, of weak order one."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy

from dlngeo.core.networks.frames import SingularFrames
from dlngeo.sampling.langevin_dynamics import brownian
from dlngeo.sampling.langevin_dynamics.matrix_steps import (
    MatrixKernel,
    bounded,
    compiled_loops,
    fold,
    normal_blocks,
    retract,
    rotation,
    tilt,
)
from dlngeo.sampling.langevin_dynamics.states import choose, is_finite, move

LOOPS = "dlngeo.sampling.langevin_dynamics.compiled"


class MatrixState(NamedTuple):
    """State of chains of end-to-end matrices.

    Attributes
    ----------
    left, lam, right : array, shape=[chains, m, r], shape=[chains, r], shape=[chains, n, r]
        ``Y = left · diag(lam) · rightᵀ``; the values are in no order.
    covector : array, shape=[chains, m, n], or shape=[chains, r] for a spectral energy
        ``∇E`` there.
    n_reflections, n_rejected, n_stuck : array, shape=[chains]
        How often a step was reflected at the boundary, how often it was rejected because there
        is no finite state or gradient, and how often in a row up to now.
    """

    left: numpy.ndarray
    lam: numpy.ndarray
    right: numpy.ndarray
    covector: numpy.ndarray
    n_reflections: numpy.ndarray
    n_rejected: numpy.ndarray
    n_stuck: numpy.ndarray


@dataclass(eq=False)
class EulerMaruyama(MatrixKernel):
    r"""Euler–Maruyama in depth-root coordinates.

    .. math:: Δ_g = \tfrac1N Δ_Y + \text{squares of turns of the frames}

    Noise of the flat space of ``Y``, of variance ``1/N``, moves ``λ``; what the cometric has beyond
    it turns the frames, exactly orthogonally, so that it keeps ``λ``. No Itô drift is left
    (`dlngeo.sampling.langevin_dynamics.brownian.brownian_drift` is that of both), and none is
    unbounded at the boundary. Without energy and entropy ``λ`` has the right law at every step
    size.

    A singular value may change its sign, by which ``det`` changes its own; a confined chain is
    reflected there. Small square matrices of full rank take the compiled step, where there is
    Numba.
    """

    def __post_init__(self) -> None:
        loops = compiled_loops(self.equation, LOOPS, ("langevin_step",))
        self._compiled_step = None if loops is None else loops[0]

    def init(self, factors: Sequence[numpy.ndarray]) -> MatrixState:
        """Return the state over factors, of which a matrix may be the only one."""
        root = self.initial_root(factors)
        covector = self.equation.initial_covector(self.observable(root))
        return MatrixState(*root, covector, *numpy.zeros((3, len(covector)), dtype=int))

    def step(self, state: MatrixState, rng: numpy.random.Generator) -> MatrixState:
        """Return the state after a step."""
        advance = self._advance if self._compiled_step is None else self._advance_compiled
        root, covector, is_reflected, is_kept = advance(state, rng)
        n_reflections = state.n_reflections + is_reflected
        counts = (n_reflections, state.n_rejected, state.n_stuck)
        return move(state, MatrixState(*root, covector, *counts), is_kept & is_finite(covector))

    def counts(self, state: MatrixState) -> dict[str, numpy.ndarray]:
        """Return what was counted along each chain."""
        return {
            "n_reflections": state.n_reflections,
            "n_rejected": state.n_rejected,
            "n_stuck": state.n_stuck,
        }

    def _advance_compiled(
        self, state: MatrixState, rng: numpy.random.Generator
    ) -> tuple[SingularFrames, numpy.ndarray, numpy.ndarray, numpy.ndarray]:
        assert self._compiled_step is not None
        equation, covector = self.equation, state.covector
        root = start = self.root(state)
        if not equation.is_ambient:
            # In its own frames a gradient of singular values keeps its precision.
            identity = numpy.tile(numpy.eye(equation.rank), (len(root.sigma), 1, 1))
            start = root._replace(left=identity, right=identity)
            covector = equation.blocks(covector, self.observable(root)).core
        normals = rng.standard_normal(covector.shape)
        heat, noise = numpy.empty((2, len(normals)))
        heat[:] = self.step_size * equation.temperature()
        noise[:] = self.deviation(1)
        *after, matrix, is_reflected, is_kept = self._compiled_step(
            *start, covector, normals, equation.depth, self.step_size, heat, noise,
            equation.least, equation.determinant is not None,
        )  # fmt: skip
        root_after = SingularFrames(*after)
        if equation.is_ambient:
            return root_after, equation.slope(matrix), is_reflected, is_kept
        left, right = root.left @ root_after.left, root.right @ root_after.right
        root_after = root_after._replace(left=left, right=right)
        covector = equation.covector(self.observable(root_after))
        return root_after, covector, is_reflected, is_kept

    def _advance(
        self, state: MatrixState, rng: numpy.random.Generator
    ) -> tuple[SingularFrames, numpy.ndarray, numpy.ndarray, numpy.ndarray]:
        """Return ``Y`` after a step, its gradient, where it was reflected and where it is kept."""
        equation, root = self.equation, self.root(state)
        depth, scale = equation.depth, self.deviation()
        normals = normal_blocks(root, rng)
        tangent = self.drift(root, state.covector) + scale / math.sqrt(depth) * normals
        turns = brownian.surplus_turns(root.sigma, depth, scale * normals.core)
        left, right = root.left @ rotation(turns[0]), root.right @ rotation(turns[1])
        tangent, is_bounded = bounded(tangent)
        after = retract(SingularFrames(left, root.sigma, right), tangent)
        if equation.kappa > 0 and depth > 1:
            spread = self.deviation(2) * math.sqrt(1 - 1 / depth)
            angle = spread / numpy.maximum(abs(after.sigma), equation.least)
            left, right = (tilt(frame, angle, rng) for frame in (after.left, after.right))
            after = SingularFrames(left, after.sigma, right)
        is_kept = is_bounded & is_finite(*after) & self.is_bounded(after.sigma)
        after = SingularFrames(*choose(is_kept, after, root))
        after, is_reflected = fold(after, equation.determinant is not None)
        after = after._replace(sigma=numpy.maximum(after.sigma, equation.least))
        return after, equation.covector(self.observable(after)), is_reflected, is_kept
