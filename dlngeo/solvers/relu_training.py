r"""Gradient flow of a ReLU network, upstairs on parameters or downstairs on its path-lifting.

Upstairs ``θ̇ = -∂φᵀ∇f``, downstairs ``ż = -K(z, h_0) ∇f(z)`` with ``K = ∂φ ∂φᵀ`` a function of
the path-lifting ``z`` and the conserved values ``h_0`` of the start ([MPG25]; THEORY 6).
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy

from dlngeo.core.base.arrays import Array
from dlngeo.core.base.checks import choice, host_array
from dlngeo.core.base.functions import function
from dlngeo.intrinsic.relu.path_lifting import jacobian, lift, path_features
from dlngeo.intrinsic.relu.recovery import recover
from dlngeo.intrinsic.relu.relu_network import ReluNetwork, check_network
from dlngeo.intrinsic.relu.rescaling import (
    check_alive,
    conserved_values,
    horizontal_projection,
    rescale,
    scales_to,
    with_conserved_values,
)
from dlngeo.losses.gradients import check_start, with_gradient
from dlngeo.solvers.flow_paths import FlowOutcome, Integration, flow_path


@dataclass(frozen=True, eq=False)
class ReluFlow(FlowOutcome):
    """Gradient flow of a ReLU network, at the times that were saved.

    Attributes
    ----------
    states : array, shape=[t, D], or shape=[t, P] with ``space="paths"``
        What was integrated: parameters, path-liftings, or points of their orbits.
    parameters : array, shape=[t, D]
        Parameters; downstairs those that state and conserved values determine.
    loss : array, shape=[t]
    conserved_values : array, shape=[t, n_laws]
        Of the parameters; upstairs their drift measures the error of the integration.
    n_activation_changes : int
        How often a hidden neuron is switched on or off at an input, between saved times.
    n_sign_changes : int
        How often a weight or bias changes its sign, between saved times.
    """

    states: Array
    parameters: Array
    loss: Array
    conserved_values: Array
    n_activation_changes: int
    n_sign_changes: int


def relu_flow(
    loss: Callable[[Array], Any],
    network: ReluNetwork,
    initial: Array,
    inputs: Array,
    *,
    t_final: float | None = None,
    t_eval: Array | None = None,
    space: str = "parameters",
    gradient: Callable[[Array], Array] | None = None,
    rtol: float = 1e-4,
    atol: float = 1e-6,
    method: str = "RK23",
    n_saved: int = 100,
    progress: bool = False,
) -> ReluFlow:
    r"""Integrate the gradient flow of a ReLU network.

    Upstairs, of the parameters,

    .. math:: \dot θ = -∂φ(θ)^T ∇f(φ(θ)), \quad f(z) = E(A(x, θ) z),

    or its projection downstairs, from the same start, with ``h_0 = h(θ(0))``,

    .. math:: \dot z = -K(z, h_0) ∇f(z).

    ``"paths"`` integrates the entries of ``z`` on all paths, and finds ``θ`` by
    `dlngeo.intrinsic.recover`. ``"orbits"`` enumerates no path: ``z`` stands for an orbit of
    rescalings, and the state is the point on it with laws ``sign h_0``.

    Parameters
    ----------
    loss : callable
        ``E``, of the matrix of all outputs, shape=[n, n_outputs]. If it has a method
        ``gradient``, as `dlngeo.solvers.Factorization` of the targets has, that is taken; any
        other function is differentiated, by autograd, PyTorch or JAX. Targets have the shape of the
        outputs, ``[n, 1]`` for one output: of ``[n]`` NumPy would make differences of shape
        ``[n, n]``.
    network : ReluNetwork
    initial : array, shape=[D]
        Parameters to start from.
    inputs : array, shape=[n, n_inputs]
    t_final : float
        Final time, positive; by default the last of ``t_eval``.
    t_eval : array-like, shape=[t], optional
        Ascending times at which the flow is saved, in place of ``n_saved`` equidistant ones.
    space : str
        "parameters", "paths" or "orbits".
    gradient : callable, optional
        ``∇E``, if it is not to be found as above.
    rtol, atol : float
        Tolerances of the adaptive integrator.
    method : str
        One of those of `learning_flow`: DOP853, RK45, RK23, LSODA, RKC.
    n_saved : int
        Number of equidistant times at which the flow is saved, at least two.
    progress : bool
        Whether to show a progress bar.

    Returns
    -------
    result : ReluFlow
        If the step fails, values cease to be finite, or the keyboard interrupts, the flow
        up to there, with a status that says so.

    Raises
    ------
    ValueError
        If an argument does not fit, loss or gradient are not finite at the start, or,
        downstairs, a neuron is on no path of non-zero weights.

    Notes
    -----
    The velocity jumps where a neuron is switched on or off at an input. Often it points to the jump
    from both sides, and the flow slides along it: then the steps are as short as the tolerances,
    and a method of low order is cheapest. Where activations do not change, ``method="DOP853"``
    reaches any tolerance.

    Where all weights that leave a neuron vanish at once (with one output: one weight of the last
    layer), the path-lifting does not determine those that enter it. ``"orbits"`` passes such a
    point without loss, ``"paths"`` loses digits.

    References
    ----------
    [MPG25]; [MGP23]; THEORY 6.
    """
    integration = Integration(t_final, n_saved, rtol, atol, method, progress, t_eval)
    choice(space, "space", SPACES)
    inputs = check_network(network).check_inputs(host_array(inputs, "the inputs"))
    start = network.check_parameters(host_array(initial, "initial"))
    if start.ndim != 1 or inputs.ndim != 2:
        raise ValueError("expected the parameters of one network and one list of inputs.")
    value, slope = with_gradient(function(loss, "the loss"), gradient)
    check_start(value, slope, network.outputs(start, inputs))
    training = _Training(network, inputs, slope)
    state, descent, parameters_of = SPACES[space](training, start)

    def velocity(_: float, state: Array) -> Array | None:
        try:
            return descent(state)
        except ValueError:  # a neuron dies there
            return None

    path = flow_path(
        velocity,
        state,
        integration,
        name="ReLU flow",
        remedy="the loss ceases to be finite there, or a neuron dies, so that its path-lifting no "
        "longer determines its weights. Stop before, or correct the loss.",
    )
    parameters = parameters_of(path.states)
    is_active = training.activity(parameters)
    return ReluFlow(
        states=path.states,
        parameters=parameters,
        loss=numpy.array([float(value(y)) for y in network.outputs(parameters, inputs)]),
        conserved_values=conserved_values(network, parameters),
        n_activation_changes=int((is_active[1:] != is_active[:-1]).sum()),
        n_sign_changes=int((parameters[1:] * parameters[:-1] < 0).sum()),
        **path.outcome,
    )


class _Training:
    """The loss as a function of the parameters."""

    def __init__(self, network: ReluNetwork, inputs: Array, slope: Callable):
        self.network, self.inputs, self.slope = network, inputs, slope

    def gradient(self, parameters: Array) -> Array:
        """Return ``∂φᵀ ∇f``, by backpropagation."""
        network = self.network
        matrices = network.matrices(network.edge_vector(parameters))
        values = network.forward(matrices, self.inputs, relu=True)
        residual = self.slope(values[-1])
        adjoints = network.backward(matrices, residual, network.open_gates(values))
        return network.by_edges(values, adjoints)

    def path_gradient(self, parameters: Array, lifted: Array) -> Array:
        """Return ``∇f(z)``, on all paths; of the parameters only activations matter."""
        features = path_features(self.network, parameters, self.inputs)
        return numpy.einsum("io,iop->p", self.slope(features @ lifted), features)

    def activity(self, parameters: Array) -> Array:
        """Return which hidden neurons are active at each input, shape=[t, n, n_hidden]."""
        matrices = self.network.matrices(self.network.edge_vector(parameters))
        gates = self.network.open_gates(self.network.forward(matrices, self.inputs, relu=True))
        none = numpy.zeros((*parameters.shape[:-1], len(self.inputs), 0))
        return numpy.concatenate([none, *(g for g in gates if g is not None)], axis=-1)


Flow = tuple[Array, Callable[[Array], Array], Callable[[Array], Array]]
"""Where a flow starts, its velocity at a state, and the parameters of a list of states."""


def _on_parameters(training: _Training, start: Array) -> Flow:
    return start, lambda state: -training.gradient(state), lambda states: states


def _on_orbits(training: _Training, start: Array) -> Flow:
    network, conserved = training.network, conserved_values(training.network, start)
    # A section that is smooth also where z alone is not: where all weights that leave a neuron
    # vanish and h > 0 keeps those that enter it away from zero, or the reverse.
    section = numpy.sign(conserved)

    def velocity(state: Array) -> Array:
        scales = scales_to(network, state, conserved)
        gradient = training.gradient(rescale(network, state, scales))
        # Rescaling is linear and takes orbits to orbits.
        return -horizontal_projection(network, state, rescale(network, gradient, 1 / scales))

    def parameters(states: Array) -> Array:
        return with_conserved_values(network, states, conserved)

    return with_conserved_values(network, start, section), velocity, parameters


def _on_paths(training: _Training, start: Array) -> Flow:
    network, conserved = training.network, conserved_values(training.network, start)
    latest = [start]  # from which neurons take their signs, which path-liftings do not know

    def velocity(state: Array) -> Array:
        latest[0] = recover(network, state, conserved, latest[0])
        differential = jacobian(network, latest[0])
        return -differential @ (training.path_gradient(latest[0], state) @ differential)

    def parameters(states: Array) -> Array:
        points = [start]
        for state in states:
            points.append(recover(network, state, conserved, points[-1]))
        return numpy.stack(points[1:])

    # What the flow needs must be there at the start: later an error ends it.
    check_alive(network, start)
    jacobian(network, start)
    return lift(network, start), velocity, parameters


SPACES = {"parameters": _on_parameters, "paths": _on_paths, "orbits": _on_orbits}
