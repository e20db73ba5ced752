r"""How a network learns: gradient descent on its factors, or on its end-to-end matrix.

Each descent holds where it starts and what is known of the network, gives the velocity of a state
for the gradient ``∇E(X)`` there, and brings states back to the space that the exact flow keeps.
"""

import abc
import math
from collections.abc import Sequence

import numpy

from dlngeo.core.base.arrays import Array, round_off
from dlngeo.core.base.checks import real_array
from dlngeo.core.base.vectors import Layers
from dlngeo.core.depth_metric.metric import check_observable, raise_index
from dlngeo.core.fibres.gram import damped_tangent_part
from dlngeo.core.networks.factors import (
    Factors,
    check_widths,
    default_widths,
    in_kind,
    layers_of,
    widths_of,
)
from dlngeo.core.networks.frames import frames_of_rank, singular_frames
from dlngeo.core.networks.network import adjoint_differential, moment_map
from dlngeo.core.relaxed import metric as relaxed
from dlngeo.core.relaxed.strings import intrinsic_network


class Descent(abc.ABC):
    """The flow of a network in one of its spaces; states are tuples of matrices.

    Attributes
    ----------
    start : Layers
    rank : int
        Rank of the end-to-end matrix.
    widths : tuple of int, or None
        Those of the network whose entropy is told; None where it is not defined.
    keeps_rank : bool
        Whether the exact flow keeps the rank of a square matrix of full rank, and so the sign of
        its determinant.
    """

    start: Layers
    rank: int
    widths: tuple[int, ...] | None
    keeps_rank: bool

    @abc.abstractmethod
    def velocity(self, time: float, state: Layers, gradient: Array) -> Layers:
        """Return the velocity of a state, of the gradient ``∇E(X)`` there."""

    @abc.abstractmethod
    def nearest(self, states: Layers) -> Layers:
        """Return the nearest states of the space, from which integration drifts."""

    @abc.abstractmethod
    def in_kind(self, states: Layers) -> Factors:
        """Return states in the form in which the start was given."""

    def moments(self, states: Layers) -> Array | None:
        """Return ``‖μ(W)‖ / ‖W‖²``, shape=[...], of factors."""
        return None


class FactorDescent(Descent):
    r"""Upstairs: ``Ẇ = -dφ_W^*(∇E(X)) - η W - κ (I - Π_n) W``."""

    def __init__(self, factors: Factors, rank: int | None, weight_decay: float, balancing: float):
        self.start = Layers(layers_of(factors))
        self.widths, self.rank = check_widths(widths_of(self.start), rank)
        self.weight_decay, self.balancing = weight_decay, balancing
        self._kind = factors
        defect = self.moments(self.start)
        self.keeps_rank = len(self.start) > 1 and bool(defect < math.sqrt(round_off(defect)))

    def velocity(self, time: float, state: Layers, gradient: Array) -> Layers:
        velocity = -Layers(adjoint_differential(state, gradient)) - self.weight_decay * state
        if self.balancing:
            velocity -= self.balancing * damped_tangent_part(state, state)
        return velocity

    def nearest(self, states: Layers) -> Layers:
        return states

    def in_kind(self, states: Layers) -> Factors:
        return in_kind(states, self._kind)

    def moments(self, states: Layers) -> Array:
        squares = states.squared_norm()
        moments = sum(numpy.sum(moment**2, axis=(-2, -1)) for moment in moment_map(states))
        return numpy.sqrt(moments) / numpy.where(squares > 0, squares, 1.0)


class MatrixDescent(Descent):
    """Downstairs: ``Ẋ = -A_X(∇E(X)) - η N X``, on matrices of a rank."""

    decay: float

    @abc.abstractmethod
    def raise_index(self, time: float, matrix: Array, gradient: Array) -> Array:
        """Return ``A_X(∇E(X))``."""

    def velocity(self, time: float, state: Layers, gradient: Array) -> Layers:
        (matrix,) = self.nearest(state)
        return Layers([-self.raise_index(time, matrix, gradient) - self.decay * matrix])

    def nearest(self, states: Layers) -> Layers:
        (matrices,) = states
        if self.rank < min(matrices.shape[-2:]):
            frames = singular_frames(matrices, self.rank)
            matrices = frames.with_values(frames.sigma)
        return Layers([matrices])

    def in_kind(self, states: Layers) -> Array:
        return states[0]


class DepthDescent(MatrixDescent):
    """Downstairs in the depth metric; at infinite depth ``N`` scales time."""

    def __init__(self, matrix: Array, depth: float, rank: int | None, weight_decay: float):
        self.rank, self.depth = check_observable(matrix, depth, rank), depth
        self.start = Layers([matrix])
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
        self.start = Layers([matrix])
        depth = len(self.network.shifts)
        self.weight_decay, self.decay = weight_decay, weight_decay * depth
        self.keeps_rank = not self.network.is_complete and depth > 1
        frames_of_rank(real_array(matrix, "the matrix"), self.rank)

    def raise_index(self, time: float, matrix: Array, gradient: Array) -> Array:
        here = self.network.scaled(math.exp(-2 * self.weight_decay * time))
        return relaxed.raise_index(matrix, gradient, here)
