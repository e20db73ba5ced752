"""The method of Ninomiya and Ninomiya, of weak order two: of factors."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy

from dlngeo.core.balanced.submanifold import tangent_projection
from dlngeo.core.base.vectors import Layers
from dlngeo.core.depth_metric.submersion import horizontal_projection, vertical_projection
from dlngeo.core.networks.balancing import factorize
from dlngeo.core.networks.factors import layers_of
from dlngeo.core.networks.network import adjoint_differential, end_to_end
from dlngeo.sampling.langevin_dynamics.factor_steps import FactorKernel, FactorState
from dlngeo.sampling.langevin_dynamics.states import choose, is_finite
from dlngeo.thermodynamics.boltzmann_entropy import entropy_gradient


@dataclass(eq=False)
class SecondOrder(FactorKernel):
    r"""Two flows of random vector fields that follow each other.

    With correlated Gaussian noise ``(η_1, η_2)`` of the covariance ``[[1/2, -1/2], [-1/2, 3/2]]``

    .. math:: W ← \exp\big(h V_0 + V(η_2)\big) \exp\big(V(η_1)\big) W, \quad
              V(η) = \sqrt{2h/β} \, P_v η + \sqrt{2hκ/β} \, P_h η',

    with ``V_0`` the lift of ``-grad F``. They are integrated by the classical Runge–Kutta method,
    whose stages `dlngeo.balance` takes back to the manifold. Where chains reach the boundary the
    order is lost.

    References
    ----------
    M. Ninomiya, S. Ninomiya, *A new higher-order weak approximation scheme for stochastic
    differential equations and the Runge–Kutta method*, Finance Stoch. 13 (2009), Theorem 1.6.
    """

    n_noises = 2

    def step(self, state: FactorState, rng: numpy.random.Generator) -> FactorState:
        """Return the state after a step."""
        first, second = (
            [
                Layers(rng.standard_normal(layer.shape) for layer in state.layers)
                for _ in range(self.n_noises)
            ]
            for _ in range(2)
        )
        half = math.sqrt(0.5)
        layers, is_kept = self._flow(state.layers, 0.0, [half * a for a in first])
        noises = [b - half * a for a, b in zip(first, second, strict=True)]
        layers, is_kept_too = self._flow(layers, self.step_size, noises)
        return self.settle(state, layers, is_kept & is_kept_too)

    def _flow(
        self, start: Layers, time: float, noises: Sequence[Layers]
    ) -> tuple[Layers, numpy.ndarray]:
        """Follow ``time · V_0 + V(noises)`` for a unit of time, by four stages."""
        is_kept = numpy.ones(len(start[0]), dtype=bool)
        total = velocity = 0 * start
        for before, weight in ((0.0, 1 / 6), (0.5, 1 / 3), (0.5, 1 / 3), (1.0, 1 / 6)):
            stage, is_near = self.keep(start + before * velocity, start)
            is_kept = is_kept & is_near
            velocity, is_known = self._field(self.balance(stage), time, noises)
            is_kept = is_kept & is_known
            total = total + weight * velocity
        after, is_near = self.keep(start + total, start)
        return self.balance(after), is_kept & is_near

    def _field(
        self, layers: Layers, time: float, noises: Sequence[Layers]
    ) -> tuple[Layers, numpy.ndarray]:
        """Return the velocity of a flow, and where the gradient is finite."""
        is_known = numpy.ones(len(layers[0]), dtype=bool)
        equation, rank = self.equation, self.equation.rank
        heat = 2 * self.step_size * equation.temperature(3)
        horizontal = Layers(horizontal_projection(layers, noises[0], rank))
        field = (heat * equation.kappa) ** 0.5 * horizontal
        for noise in noises[1:]:
            tangent = tangent_projection(layers, noise, rank)
            vertical = Layers(vertical_projection(layers, tangent, rank))
            field = field + heat**0.5 * vertical
        if time:
            matrix = end_to_end(layers)
            entropic = entropy_gradient(matrix, equation.widths, rank)
            slope = self.covector(layers)
            is_known = is_finite(slope)
            slope = choose(is_known, slope, 0 * matrix) - equation.temperature(3) * entropic
            field = field - time * Layers(adjoint_differential(layers, slope))
        return field, is_known


@dataclass(eq=False)
class HorizontalSecondOrder(SecondOrder):
    """The method of matrices: factors over them, as narrow as can be, without vertical noise."""

    n_noises = 1

    def init(self, factors: Sequence[numpy.ndarray]) -> FactorState:
        """Return the state over factors, of which a matrix may be the only one."""
        matrix, widths = end_to_end(factors), self.equation.widths
        rank, depth = self.equation.rank, self.equation.depth
        thin = (widths[0], *[rank] * (depth - 1), widths[-1])
        return self.initial_state(Layers(layers_of(factorize(matrix, depth, thin, rank))))
