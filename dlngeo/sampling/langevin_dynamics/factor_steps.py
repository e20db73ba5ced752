r"""Langevin dynamics on the balanced manifold: chains of factors.

.. math:: dW = -dφ_W^*(∇E) \, dt + \tfrac1β (\mathrm{tr}_v II + κ \, \mathrm{tr}_h II) \, dt
               + \sqrt{2/β} \, (P_v + \sqrt κ P_h) \, dB \quad \text{(Itô)},

whose projection by ``φ`` is the equation of end-to-end matrices: the entropic force is what
vertical noise leaves there. Equally, in the sense of Stratonovich and with independent noises,

.. math:: dW = -dφ_W^*\big(∇(E - S/β)\big) dt + \sqrt{2/β} \, P_v ∘ dB^1 + \sqrt{2κ/β} \, P_h ∘ dB^2

(own derivation): vertical fields keep ``X``, and of horizontal ones ``Σ_j (P_h e_j)²`` is the
Laplacian below.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy

from dlngeo.core.balanced.submanifold import tangent_projection
from dlngeo.core.base.arrays import Array, round_off, transpose
from dlngeo.core.depth_metric.submersion import horizontal_projection, vertical_projection
from dlngeo.core.networks.balancing import balance, factorize
from dlngeo.core.networks.blocks import join
from dlngeo.core.networks.factors import layers_of
from dlngeo.core.networks.frames import BalancedFrames, SingularFrames, singular_frames
from dlngeo.core.networks.network import adjoint_differential, end_to_end
from dlngeo.sampling.langevin_dynamics.equation import Diverged, Equation
from dlngeo.thermodynamics.boltzmann_entropy import entropy_gradient

Layers = tuple[Array, ...]


class FactorState(NamedTuple):
    """State of chains of balanced factors.

    Attributes
    ----------
    layers : tuple of array, shape=[chains, d_p, d_{p-1}]
    n_reflections, n_rejected : array, shape=[chains]
        How often a step was reflected at the boundary, and how often it was rejected because
        it ended where round-off hides the smallest singular value.
    """

    layers: Layers
    n_reflections: numpy.ndarray
    n_rejected: numpy.ndarray


def initial_state(layers: Layers) -> FactorState:
    """Return the state at balanced factors."""
    counts = numpy.zeros((2, len(layers[0])), dtype=int)
    return FactorState(layers, *counts)


@dataclass(frozen=True)
class FactorEulerMaruyama:
    r"""Euler–Maruyama in the tangent space, then back by `balance`: of weak order one.

    ``W ← bal(W + P_W(-h ∇L) + √(2h/β) (P_v + √κ P_h) ξ)``. The retraction is of second order, so
    that it moves by just the normal part of the drift.

    Near a boundary that is no wall, of rectangular or rank-deficient matrices, it is right for
    ``λ`` well above the noise of a step, ``√(2h/β)``, alone: below that chains linger.

    Where the sign of ``det X`` changes the chain is *reflected*, in its last factor. Where the
    least singular value is lost in round-off, ``σ_r < 100 ε σ_1``, the step is *rejected*: of
    square matrices this cuts off some 0.1% of the law at depth 4, and 10% at depth 10, where the
    Metropolis scheme, or chains of matrices, are the ones to take.
    """

    equation: Equation
    step_size: float

    def init(self, factors: Layers) -> FactorState:
        """Return the state at factors, which are balanced first."""
        return initial_state(layers_of(balance(factors, self.equation.rank)))

    def step(self, state: FactorState, rng: numpy.random.Generator) -> FactorState:
        """Return the state after a step."""
        equation, layers = self.equation, state.layers
        scale = math.sqrt(2 * self.step_size / equation.beta)
        noise = tuple(scale * rng.standard_normal(layer.shape) for layer in layers)
        noise = tangent_projection(layers, noise, equation.rank)
        if equation.kappa != 1:
            horizontal = horizontal_projection(layers, noise, equation.rank)
            noise = combined(noise, horizontal, math.sqrt(equation.kappa) - 1)
        descent = adjoint_differential(layers, _covector(equation, layers))
        after = combined(combined(layers, descent, -self.step_size), noise, 1.0)
        return _settled(equation, state, *_kept(equation, after, layers))


@dataclass(frozen=True)
class SecondOrder:
    r"""The method of Ninomiya and Ninomiya, of weak order two.

    Two flows of random vector fields follow each other, with correlated Gaussian noise
    ``(η_1, η_2)`` of the covariance ``[[1/2, -1/2], [-1/2, 3/2]]``:

    .. math:: W ← \exp\big(h V_0 + V(η_2)\big) \exp\big(V(η_1)\big) W, \quad
              V(η) = \sqrt{2h/β} \, P_v η + \sqrt{2hκ/β} \, P_h η',

    with ``V_0`` the lift of ``-grad F``. They are integrated by the classical Runge–Kutta method,
    whose stages `balance` takes back to the manifold.

    Chains of end-to-end matrices are lifted horizontally, without vertical noise. The boundary is
    treated as in `FactorEulerMaruyama`; where chains reach it the order is lost.

    References
    ----------
    M. Ninomiya, S. Ninomiya, *A new higher-order weak approximation scheme for stochastic
    differential equations and the Runge–Kutta method*, Finance Stoch. 13 (2009), Theorem 1.6.
    """

    equation: Equation
    step_size: float
    has_vertical_noise: bool = True

    def init(self, initial: Array | Layers) -> FactorState:
        """Return the state at factors or at matrices."""
        rank = self.equation.rank
        if self.has_vertical_noise:
            return initial_state(layers_of(balance(initial, rank)))
        ends = self.equation.widths[0], self.equation.widths[-1]
        widths = (ends[0], *[rank] * (self.equation.depth - 1), ends[1])
        return initial_state(layers_of(factorize(initial, self.equation.depth, widths, rank)))

    def step(self, state: FactorState, rng: numpy.random.Generator) -> FactorState:
        """Return the state after a step."""
        shapes = [layer.shape for layer in state.layers]
        n_noises = 2 if self.has_vertical_noise else 1
        first, second = (
            [[rng.standard_normal(shape) for shape in shapes] for _ in range(n_noises)]
            for _ in range(2)
        )
        half = math.sqrt(0.5)
        one = [[half * a for a in noise] for noise in first]
        other = [combined(b, a, -half) for a, b in zip(first, second, strict=True)]
        layers, is_kept = self._flow(state.layers, 0.0, one)
        layers, is_kept_too = self._flow(layers, self.step_size, other)
        return _settled(self.equation, state, layers, is_kept & is_kept_too)

    def _flow(
        self, start: Sequence[Array], time: float, noises: Sequence[Sequence[Array]]
    ) -> tuple[Layers, numpy.ndarray]:
        """Follow ``time · V_0 + V(noises)`` for a unit of time, by four stages."""
        is_kept = numpy.ones(len(start[0]), dtype=bool)
        total: Sequence[Array] = [0 * layer for layer in start]
        velocity = total
        for before, weight in ((0.0, 1 / 6), (0.5, 1 / 3), (0.5, 1 / 3), (1.0, 1 / 6)):
            stage, is_near = _kept(self.equation, combined(start, velocity, before), start)
            is_kept = is_kept & is_near
            velocity = self._field(layers_of(balance(stage, self.equation.rank)), time, noises)
            total = combined(total, velocity, weight)
        after, is_near = _kept(self.equation, combined(start, total, 1.0), start)
        return layers_of(balance(after, self.equation.rank)), is_kept & is_near

    def _field(
        self, layers: Layers, time: float, noises: Sequence[Sequence[Array]]
    ) -> Sequence[Array]:
        equation = self.equation
        rank, heat = equation.rank, 2 * self.step_size / equation.beta
        horizontal = horizontal_projection(layers, tuple(noises[0]), rank)
        field = tuple(math.sqrt(heat * equation.kappa) * layer for layer in horizontal)
        if self.has_vertical_noise:
            tangent = tangent_projection(layers, tuple(noises[1]), rank)
            vertical = vertical_projection(layers, tangent, rank)
            field = combined(field, vertical, math.sqrt(heat))
        if time:
            matrix = end_to_end(layers)
            entropic = entropy_gradient(matrix, equation.depth, equation.widths, rank)
            slope = _covector(equation, layers) - entropic / equation.beta
            field = combined(field, adjoint_differential(layers, slope), -time)
        return field


def random_factors(
    frames: SingularFrames, widths: Sequence[int], rng: numpy.random.Generator
) -> Layers:
    """Return balanced factors over matrices in frames, from the uniform law of each orbit."""
    n_chains, rank = frames.sigma.shape
    columns = [frames.right]
    for width in widths[1:-1]:
        frame, triangle = numpy.linalg.qr(rng.standard_normal((n_chains, width, rank)))
        # With the signs that make R's diagonal positive Q is uniform; those of LAPACK are not.
        diagonal = numpy.einsum("...kk->...k", triangle)
        columns.append(frame * numpy.copysign(1.0, diagonal)[..., None, :])
    columns.append(frames.left)
    lam = frames.sigma ** (1 / (len(widths) - 1))
    return tuple(BalancedFrames(tuple(columns), lam).layers)


def combined(one: Sequence[Array], other: Sequence[Array], weight: float) -> Layers:
    """Return ``one + weight · other``."""
    return tuple(a + weight * b for a, b in zip(one, other, strict=True))


def _covector(equation: Equation, layers: Layers) -> Array:
    """Return the gradient of the energy along end-to-end matrices of the rank."""
    frames = singular_frames(end_to_end(layers), equation.rank)
    slope = equation.blocks(equation.covector(frames), frames)
    return join(slope._replace(both_null=None), frames.left, frames.right)


def _kept(
    equation: Equation, layers: Sequence[Array], before: Sequence[Array]
) -> tuple[Layers, numpy.ndarray]:
    """Return factors whose rank is beyond doubt, those before elsewhere, and which are which."""
    matrix = end_to_end(tuple(layers)) if all(numpy.isfinite(a).all() for a in layers) else None
    if matrix is None or not numpy.isfinite(matrix).all():
        raise Diverged("the factors leave every bound: take a smaller step_size.")
    sigma = numpy.linalg.svd(matrix, compute_uv=False)
    # Kernels of the depth metric lie within the squares of the singular values.
    if not numpy.isfinite(sigma[:, 0] ** 2).all():
        raise Diverged("the factors leave every bound: take a smaller step_size.")
    least = sigma[:, equation.rank - 1]
    is_kept = (least > 100 * round_off(sigma) * sigma[:, 0]) & (least**2 > 0)
    return _chosen(is_kept, layers, before), is_kept


def _chosen(condition: numpy.ndarray, one: Sequence[Array], other: Sequence[Array]) -> Layers:
    """Return factors whose chains are of one where the condition holds, else of the other."""
    pairs = zip(one, other, strict=True)
    return tuple(numpy.where(condition[:, None, None], a, b) for a, b in pairs)


def _settled(
    equation: Equation, state: FactorState, layers: Layers, is_kept: numpy.ndarray
) -> FactorState:
    """Return the state after a step to factors near the manifold."""
    before = state.layers
    chosen = _chosen(is_kept, layers, before)
    after = list(layers_of(balance(chosen, equation.rank)))
    is_reflected = numpy.zeros(len(is_kept), dtype=bool)
    if equation.is_open:
        signs = [numpy.linalg.slogdet(end_to_end(tuple(w)))[0] for w in (before, after)]
        is_reflected = signs[0] != signs[1]
        if is_reflected.any():
            last = after[-1][is_reflected]
            least = numpy.linalg.svd(end_to_end(tuple(after))[is_reflected])[0][..., -1:]
            after[-1] = after[-1].copy()
            after[-1][is_reflected] = last - 2 * least @ (transpose(least) @ last)
    return FactorState(
        tuple(after), state.n_reflections + is_reflected, state.n_rejected + ~is_kept
    )
