"""What is observed while a network learns: loss, singular values, moment map and entropy."""

import functools
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy

from dlngeo.core.base.arrays import Array, round_off, transpose
from dlngeo.core.base.checks import finite
from dlngeo.core.base.functions import ReturningNumbers, function
from dlngeo.core.base.vectors import Layers
from dlngeo.core.networks.factors import Factors, layers_of, widths_of
from dlngeo.core.networks.network import end_to_end
from dlngeo.losses.gradients import values_at
from dlngeo.networks.linear_network import LinearNetwork
from dlngeo.solvers.descents import Descent, FactorDescent, Parameters
from dlngeo.solvers.flow_paths import Event
from dlngeo.thermodynamics.boltzmann_entropy import spectral_entropy

_CHUNK = 2**20
"""So many entries may the end-to-end matrices have that are formed at once."""


@dataclass(frozen=True, eq=False, kw_only=True)
class LearningCurve:
    """States of a network that learns, at the times of a result, and what is observed of them.

    Attributes
    ----------
    times : array, shape=[t]
    states : factors or array, with a leading axis of length t
        What moved: factors upstairs, end-to-end matrices downstairs.
    biases : tuple of array, shape=[t, d_p], or None
        Those of a network with biases, None for a layer without.
    loss : array, shape=[t], or None
        ``E(X)``; None if only its gradient was given.
    """

    times: Array
    states: Factors
    biases: Any
    loss: Array
    descent: Descent = field(repr=False)

    @functools.cached_property
    def singular_values(self) -> Array:
        """Singular values of the end-to-end matrix, shape=[t, r]."""
        return _singular_values(self._parameters.factors, self.descent.rank)

    @functools.cached_property
    def moment_map_norm(self) -> Array:
        """``‖μ(W)‖ / ‖W‖²``, shape=[t]; None downstairs."""
        return self.descent.moments(self._parameters)

    @functools.cached_property
    def moment_map_drift(self) -> Array:
        """``‖μ(W) - μ_t‖ / ‖W‖²``, shape=[t], with that of the exact flow; None downstairs.

        It is ``μ_t = e^{-2(η+κ)t} μ(W(0))``: conserved without weight decay ``η`` and balancing
        ``κ``.
        """
        return self.descent.moments_drift(self.times, self._parameters)

    @functools.cached_property
    def entropy(self) -> Array:
        """Boltzmann entropy in nats, shape=[t]; None where it is not defined.

        That is at infinite depth, with offsets, and if the matrix has a lower rank than asked for.
        """
        return _entropy(self.singular_values, self.descent.widths)

    @property
    def _parameters(self) -> Parameters:
        layers = Layers([self.states]) if self.factors is None else Layers(layers_of(self.states))
        return Parameters(layers, self.biases or (None,) * len(layers))

    @property
    def factors(self) -> Factors:
        """Factors along the way, shape=[t, N, d, d] or a tuple; None downstairs."""
        return self.states if isinstance(self.descent, FactorDescent) else None

    @property
    def observables(self) -> Array:
        """End-to-end matrices along the way, shape=[t, m, n]; upstairs a new product."""
        return self.states if self.factors is None else end_to_end(self.factors)

    @property
    def network(self) -> Any:
        """The network at the end, with its biases; None downstairs."""
        if self.factors is None:
            return None
        is_tuple = isinstance(self.factors, tuple)
        last = [w[-1] for w in self.factors] if is_tuple else self.factors[-1]
        biases = self.biases and [b if b is None else b[-1] for b in self.biases]
        return LinearNetwork(last, biases)


def losses_along(loss: Any, value: Callable, descent: Descent, states: Array) -> Array:
    """Return the loss at states, shape=[t, D]."""
    # In pieces: all the end-to-end matrices may be much larger than the factors.
    size = max(1, _CHUNK // descent.observable(states[0]).size)
    pieces = [states[i : i + size] for i in range(0, len(states), size)]
    return numpy.concatenate([values_at(loss, value, descent.observable(p)) for p in pieces])


def curve_of(descent: Descent, times: Array, states: Array) -> dict[str, Any]:
    """Return what a `LearningCurve` keeps, but for the loss, of states at times, shape=[t, D]."""
    biases = descent.parameters(states).biases
    return {
        "times": times,
        "states": descent.in_kind(states),
        "biases": biases if any(b is not None for b in biases) else None,
        "descent": descent,
    }


def event_of(until: Any, value: Callable | None, descent: Descent) -> Event | None:
    """Return the event of a level of the loss, or of a function of ``X``, as one of states."""
    if until is None:
        return None
    if callable(until):
        measure = ReturningNumbers(function(until, "until"), "until")
        return lambda state: float(measure(descent.linear_map(state)))
    level = finite(until, "until, a level of the loss or a function of X,")
    if value is None:
        raise ValueError("until= as a level needs the loss: give loss=, or a function of X.")
    return lambda state: float(value(descent.observable(state))) - level


def _singular_values(layers: Layers, rank: int) -> Array:
    """Return the largest singular values of the end-to-end matrices, shape=[..., r]."""
    widths = widths_of(layers)
    cut = int(numpy.argmin(widths[:-1]))
    if cut == 0:
        matrix = end_to_end(layers)
    else:
        # Cut X = A B at the narrowest layer and keep what QR leaves of A and Bᵀ.
        left = numpy.linalg.qr(end_to_end(layers[cut:]), mode="r")
        right = numpy.linalg.qr(transpose(end_to_end(layers[:cut])), mode="r")
        matrix = left @ transpose(right)
    return numpy.linalg.svd(matrix, compute_uv=False)[..., :rank]


def _entropy(singular_values: Array, widths: tuple[int, ...] | None) -> Array:
    floor = round_off(singular_values) * singular_values[..., :1]
    if widths is None or (singular_values <= floor).any():
        return None
    return spectral_entropy(singular_values, widths)
