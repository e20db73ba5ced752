r"""How a network learns: gradient descent on its factors, or on its end-to-end matrix.

Each descent holds where it starts and what is known of the network, gives the velocity of a state,
and brings states back to the space that the exact flow keeps. The start is checked; velocities are
of the inside of a loop and look no further than whether numbers are finite.
"""

import abc
import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy

from dlngeo.core.base.arrays import Array, round_off
from dlngeo.core.base.checks import real_array
from dlngeo.core.base.packing import pack
from dlngeo.core.base.vectors import Layers
from dlngeo.core.depth_metric.metric import check_observable, raise_index
from dlngeo.core.fibres.gram import damped_tangent_part
from dlngeo.core.networks.factors import (
    Factors,
    check_widths,
    default_widths,
    is_network,
    is_stack,
    layers_of,
    widths_of,
)
from dlngeo.core.networks.frames import frames_of_rank, singular_frames
from dlngeo.core.networks.network import moment_map
from dlngeo.core.networks.passes import backwards, forwards
from dlngeo.core.relaxed import metric as relaxed
from dlngeo.core.relaxed.strings import intrinsic_network
from dlngeo.networks.affine_layers import AffineLayers
from dlngeo.networks.linear_network import LinearNetwork
from dlngeo.solvers.flow_paths import is_finite

Slope = Callable[[Array], Array]
"""The gradient ``∇E(X)`` of the loss, at an end-to-end matrix."""


@dataclass(frozen=True, eq=False)
class Parameters:
    """Factors and biases of a network, with leading axes; they serve as a network."""

    factors: Layers
    biases: tuple[Array | None, ...]


class Descent(abc.ABC):
    """The flow of a network in one of its spaces; states are vectors, shape=[..., D].

    Attributes
    ----------
    start : array, shape=[D]
    rank : int
        Rank of the end-to-end matrix.
    widths : tuple of int, or None
        Those of the network whose entropy is told; None where it is not defined.
    keeps_rank : bool
        Whether the exact flow keeps the rank of a square matrix of full rank, and so the sign of
        its determinant.
    """

    start: Array
    rank: int
    widths: tuple[int, ...] | None
    keeps_rank: bool

    @abc.abstractmethod
    def velocity(self, time: float, state: Array, slope: Slope) -> Array | None:
        """Return the velocity of a state, shape=[D]; None where there is none."""

    def loss(self, loss: Any) -> Any:
        """Return a loss as a function of the observable."""
        return loss

    @abc.abstractmethod
    def observable(self, states: Array) -> Array:
        """Return what the loss is a function of: ``X``, or ``[X, b]`` of a network with biases."""

    def linear_map(self, states: Array) -> Array:
        """Return ``X``, shape=[..., m, n]."""
        return self.observable(states)

    @abc.abstractmethod
    def parameters(self, states: Array) -> Parameters:
        """Return the nearest points of the space, from which integration drifts."""

    @abc.abstractmethod
    def in_kind(self, states: Array) -> Factors:
        """Return factors or matrices in the form in which the start was given."""

    def moments(self, parameters: Parameters) -> Array | None:
        """Return ``‖μ(W)‖ / ‖W‖²``, shape=[...], of factors."""
        return None

    def moments_drift(self, times: Array, parameters: Parameters) -> Array | None:
        """Return how far ``μ`` is from that of the exact flow at times, over ``‖W‖²``."""
        return None


class FactorDescent(Descent):
    r"""Upstairs: ``Ẇ = -dφ_W^*(∇E(X)) - η W - κ (I - Π_n) W``, and so for biases.

    States are the factors, one after the other, and after them the biases that there are.
    """

    def __init__(
        self,
        network: Factors,
        rank: int | None = None,
        weight_decay: float = 0.0,
        balancing: float = 0.0,
    ):
        self.weight_decay, self.balancing = weight_decay, balancing
        self._network = network
        self._kind = network.factors if is_network(network) else network
        layers = layers_of(self._kind)
        biases = network.biases if is_network(network) else (None,) * len(layers)
        self.widths, self.rank = check_widths(widths_of(layers), rank)
        self.has_bias = [bias is not None for bias in biases]
        self.is_affine = any(self.has_bias)
        if balancing and self.is_affine:
            raise ValueError("balancing= is for networks without biases.")
        columns = [bias[:, None] for bias in biases if bias is not None]
        self.start = pack([*layers, *columns])
        ends = [0, *itertools.accumulate(matrix.size for matrix in (*layers, *columns))]
        shapes = [matrix.shape for matrix in (*layers, *columns)]
        self._places = list(zip(ends[:-1], ends[1:], shapes, strict=True))
        defect = self.moments(self.parameters(self.start))
        self.keeps_rank = len(layers) > 1 and bool(defect < math.sqrt(round_off(defect)))

    def _split(self, states: Array) -> tuple[Sequence[Array], Sequence[Array | None]]:
        """Return factors, and biases as columns; of a network without any, none."""
        batch = states.shape[:-1]
        matrices = [states[..., a:b].reshape(*batch, *shape) for a, b, shape in self._places]
        if not self.is_affine:
            return matrices, ()
        depth = len(self.has_bias)
        columns = iter(matrices[depth:])
        return matrices[:depth], tuple(next(columns) if has else None for has in self.has_bias)

    def force(self, state: Array, slope: Slope) -> Array | None:
        """Return minus the gradient of the loss, shape=[D]; None where ``X`` overflows."""
        factors, biases = self._split(state)
        products = forwards(factors, biases)
        if not is_finite(products[-1]):
            return None
        moves = backwards(factors, products, -slope(products[-1]), biases)
        return numpy.concatenate(moves, axis=None)

    def velocity(self, time: float, state: Array, slope: Slope) -> Array | None:
        move = self.force(state, slope)
        if move is not None and self.weight_decay:
            move -= self.weight_decay * state
        if move is not None and self.balancing:
            layers = Layers(self._split(state)[0])
            move -= self.balancing * pack(damped_tangent_part(layers, layers))
        return move

    def loss(self, loss: Any) -> Any:
        return AffineLayers(self._network).loss(loss) if self.is_affine else loss

    def observable(self, states: Array) -> Array:
        return forwards(*self._split(states))[-1]

    def linear_map(self, states: Array) -> Array:
        return forwards(self._split(states)[0])[-1]

    def parameters(self, states: Array) -> Parameters:
        factors, biases = self._split(states)
        columns = biases or (None,) * len(factors)
        return Parameters(Layers(factors), tuple(b if b is None else b[..., 0] for b in columns))

    def network(self, state: Array) -> LinearNetwork:
        """Return the network of a state."""
        parameters = self.parameters(state)
        return LinearNetwork(parameters.factors, parameters.biases)

    def in_kind(self, states: Array) -> Factors:
        if is_stack(self._kind):
            return states.reshape(*states.shape[:-1], *self._kind.shape)
        return tuple(self._split(states)[0])

    def moments(self, parameters: Parameters) -> Array:
        return _relative(moment_map(parameters), parameters)

    def moments_drift(self, times: Array, parameters: Parameters) -> Array:
        decay = numpy.exp(-2 * (self.weight_decay + self.balancing) * times)[:, None, None]
        moments, first = moment_map(parameters), moment_map(self.parameters(self.start))
        return _relative(
            [m - decay * m_0 for m, m_0 in zip(moments, first, strict=True)], parameters
        )


def _relative(moments: Sequence[Array], parameters: Parameters) -> Array:
    squares = parameters.factors.squared_norm()
    total = sum(numpy.sum(moment**2, axis=(-2, -1)) for moment in moments)
    return numpy.sqrt(total) / numpy.where(squares > 0, squares, 1.0)


class MatrixDescent(Descent):
    """Downstairs: ``Ẋ = -A_X(∇E(X)) - η N X``, on matrices of a rank."""

    decay: float
    shape: tuple[int, int]

    @abc.abstractmethod
    def raise_index(self, time: float, matrix: Array, gradient: Array) -> Array:
        """Return ``A_X(∇E(X))``."""

    def velocity(self, time: float, state: Array, slope: Slope) -> Array | None:
        gradient = slope(self.observable(state))
        if not is_finite(gradient):
            return None
        (matrix,) = self.parameters(state).factors
        try:
            raised = self.raise_index(time, matrix, gradient)
        except ValueError:  # the core's: at infinite depth X must stay invertible
            return None
        return -(raised + self.decay * matrix).ravel()

    def observable(self, states: Array) -> Array:
        return states.reshape(*states.shape[:-1], *self.shape)

    def parameters(self, states: Array) -> Parameters:
        matrices = self.observable(states)
        if self.rank < min(self.shape):
            frames = singular_frames(matrices, self.rank)
            matrices = frames.with_values(frames.sigma)
        return Parameters(Layers([matrices]), (None,))

    def in_kind(self, states: Array) -> Array:
        return self.parameters(states).factors[0]


class DepthDescent(MatrixDescent):
    """Downstairs in the depth metric; at infinite depth ``N`` scales time."""

    def __init__(self, matrix: Array, depth: float, rank: int | None, weight_decay: float):
        self.rank, self.depth = check_observable(matrix, depth, rank), depth
        self.start, self.shape = matrix.ravel(), matrix.shape
        is_limit = depth == math.inf
        rows, columns = matrix.shape
        self.widths = None if is_limit else default_widths(rows, columns, depth)
        self.decay = weight_decay if is_limit else weight_decay * depth
        self.keeps_rank = depth > 1
        frames_of_rank(real_array(matrix, "the matrix"), self.rank)

    def raise_index(self, time: float, matrix: Array, gradient: Array) -> Array:
        return raise_index(matrix, gradient, self.depth, self.rank)


class RelaxedDescent(MatrixDescent):
    """Downstairs from relaxed balanced factors, whose offsets decay with the moment map."""

    def __init__(
        self,
        matrix: Array,
        offsets: Sequence[float],
        widths: Sequence[int] | None,
        rank: int | None,
        weight_decay: float,
    ):
        self.network = intrinsic_network(offsets, matrix.shape, widths, rank)
        self.rank, self.widths = self.network.rank, None
        self.start, self.shape = matrix.ravel(), matrix.shape
        depth = len(self.network.shifts)
        self.weight_decay, self.decay = weight_decay, weight_decay * depth
        self.keeps_rank = not self.network.is_complete and depth > 1
        frames_of_rank(real_array(matrix, "the matrix"), self.rank)

    def raise_index(self, time: float, matrix: Array, gradient: Array) -> Array:
        here = self.network.scaled(math.exp(-2 * self.weight_decay * time))
        return relaxed.raise_index(matrix, gradient, here)
