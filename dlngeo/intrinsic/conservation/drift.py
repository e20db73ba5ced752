"""How well conservation laws hold along real training."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import array_api_compat
import numpy

from dlngeo.core.base.checks import float_array
from dlngeo.core.networks.factors import is_network, parameters_of
from dlngeo.intrinsic.conservation.laws import ConservationLaws
from dlngeo.intrinsic.conservation.network_laws import NetworkLaws, check_network


@dataclass(frozen=True, eq=False)
class ConservationCheck:
    """Drift of conservation laws along trajectories, one for each step size.

    Attributes
    ----------
    names : tuple of str
        Names of the laws.
    step_sizes : array, shape=[s]
        Ascending; NaN for a single trajectory.
    drift : array, shape=[s, n]
        Largest ``|h(θ(t)) - h(θ(0))|``.
    relative_drift : array, shape=[s, n]
        The same, divided by the largest sum of the absolute values of the terms of ``h``; a law
        that vanishes, as at balanced factors, is no exception.
    order : float
        Slope of the logarithm of the drift against that of the step size, over all laws: one for
        gradient descent, with momentum or without. NaN for a single trajectory, or where the drift
        vanishes.
    status : str
        How well the laws hold, and what to suspect if they do not.
    """

    names: tuple[str, ...]
    step_sizes: numpy.ndarray
    drift: numpy.ndarray
    relative_drift: numpy.ndarray
    order: float
    status: str


def check_conservation(
    trajectory: Any,
    laws: Any = None,
    *,
    kind: str = "linear",
) -> ConservationCheck:
    r"""Measure how well conservation laws hold along training.

    The flow conserves them; gradient descent of step size ``η`` changes ``h`` by ``O(η²)`` a step,
    hence by ``O(η)`` over a given time.

    Parameters
    ----------
    trajectory : list of states, or factors with a leading axis of time, or dict
        A state is a state dict or module of PyTorch, a sequence of arrays
        ``W_1, b_1, W_2, b_2, ...`` (without any ``b_p``), a LinearNetwork, or a flat array of the
        parameters; of PyTorch, JAX or NumPy. States must be copies, as
        ``copy.deepcopy(model.state_dict())``.
        Factors with a leading axis of time, an array or tuple, are what
        `dlngeo.solvers.learning_flow` returns; of flat parameters, an array of shape ``[t, D]``. A
        dict of these, by step size, fits the order; the trajectories should span the same time.
    laws : ConservationLaws, NetworkLaws or PolynomialLaws, optional
        As of `conservation_laws` or `conservation_laws_of`. By default those of a network of the
        shapes that come.
    kind : str
        Kind of that network, "linear" or "relu".

    Returns
    -------
    check : ConservationCheck

    Raises
    ------
    ValueError
        If a trajectory is too short, its states are no copies, or the shapes do not fit.

    References
    ----------
    [MGP23]; THEORY 6.
    """
    is_single = not (isinstance(trajectory, Mapping) and trajectory)
    runs: dict[float, Any] = {float("nan"): trajectory} if is_single else dict(trajectory)
    try:
        steps = sorted(map(float, runs))
    except (TypeError, ValueError) as error:
        raise ValueError(
            "a dict of trajectories must have step sizes as keys; of state dicts give a list, one "
            "for each time."
        ) from error
    if not is_single and not all(0 < step < numpy.inf for step in steps):
        raise ValueError(f"step sizes must be positive, got {steps}.")
    known: Any = laws.known if isinstance(laws, ConservationLaws) else laws
    if known is not None and not hasattr(known, "magnitudes"):
        raise ValueError(
            "laws must be what conservation_laws or conservation_laws_of returns, got "
            f"{type(known).__name__}."
        )
    drifts, scales = [], []
    for step in sorted(runs, key=float):
        parameters = _stack(runs[step])
        if known is None:
            known = _laws_of(parameters, kind)
        is_flat = not isinstance(known, NetworkLaws) and not isinstance(parameters, numpy.ndarray)
        state = _flat(parameters) if is_flat else parameters
        values = numpy.asarray(known(state))
        drifts.append(abs(values - values[0]).max(0))
        scales.append(known.magnitudes(state).max(0))
    drift = numpy.array(drifts)
    scale = numpy.array(scales)
    relative = drift / numpy.where(scale > 0, scale, 1.0)
    order = _order(steps, drift)
    return ConservationCheck(
        names=known.names,
        step_sizes=numpy.array(steps),
        drift=drift,
        relative_drift=relative,
        order=order,
        status=_status(known.names, relative, order),
    )


def _status(names: Sequence[str], relative: numpy.ndarray, order: float) -> str:
    if not names:
        return "there are no laws: the network has no hidden layer."
    worst = int(numpy.argmax(relative.max(0)))
    status = f"largest relative drift {relative.max():.1e}, of {names[worst]}"
    if numpy.isfinite(order):
        status += f"; it falls like the power {order:.2f} of the step size"
        if order < 0.5:
            status += (
                ", which that of a gradient method does not: suspect weight decay, adaptive "
                "steps (Adam), normalisation, or layers of another kind"
            )
    return status + "."


def _order(steps: list[float], drift: numpy.ndarray) -> float:
    size = numpy.sqrt((drift**2).sum(1))
    if len(steps) < 2 or not (size > 0).all():
        return float("nan")
    return float(numpy.polyfit(numpy.log(steps), numpy.log(size), 1)[0])


def _stack(trajectory: Any) -> Any:
    """Return parameters with a leading axis of time: flat ones as an array, others as a list."""
    if isinstance(trajectory, list):
        states = [_arrays(state) for state in trajectory]
        if len(states) > 1 and _address(states[0][0]) == _address(states[-1][0]):
            raise ValueError(
                "the states are one and the same memory: training changes them in place. Save "
                "copies, copy.deepcopy(model.state_dict()) or array.copy()."
            )
        if len({tuple(array.shape for array in state) for state in states}) > 1:
            raise ValueError("the shapes of the parameters change along the trajectory.")
        stacked = [numpy.stack(arrays).astype(float) for arrays in zip(*states, strict=True)]
    elif isinstance(trajectory, tuple):
        stacked = [_array(array).astype(float) for array in trajectory]
    else:
        whole = _array(trajectory).astype(float)
        is_stack = whole.ndim == 4
        stacked = [whole[:, p] for p in range(whole.shape[1])] if is_stack else [whole]
    if not stacked or any(a.ndim < 2 or len(a) != len(stacked[0]) for a in stacked):
        raise ValueError(
            "expected a list of states, or factors with a leading axis of time: got neither."
        )
    if len(stacked[0]) < 2:
        raise ValueError("a trajectory needs at least two states: the first is compared to all.")
    if not all(numpy.isfinite(array).all() for array in stacked):
        raise ValueError("the trajectory holds NaN or infinite parameters: training diverged.")
    return stacked[0] if len(stacked) == 1 and stacked[0].ndim == 2 else stacked


def _arrays(state: Any) -> list[numpy.ndarray]:
    """Return the arrays of one state."""
    if hasattr(state, "state_dict"):
        state = state.state_dict()
    if isinstance(state, Mapping):
        return [_array(array) for array in state.values()]
    if is_network(state):
        state = parameters_of(state)
    if isinstance(state, (tuple, list)):
        return [_array(array) for array in state]
    array = _array(state)
    return list(array) if array.ndim == 3 else [array]


def _array(array: Any) -> numpy.ndarray:
    if array_api_compat.is_torch_array(array):
        return float_array(array.detach(), "the trajectory").cpu().numpy()
    result = numpy.asanyarray(array)
    if result.dtype == object:
        raise ValueError(
            f"expected arrays of parameters, got {type(array).__name__}. Of a learning_flow of "
            "factors give flow.factors, of a relu_flow flow.parameters and laws=."
        )
    return float_array(result, "the trajectory")


def _address(array: numpy.ndarray) -> int:
    return array.__array_interface__["data"][0]


def _flat(parameters: list[numpy.ndarray]) -> numpy.ndarray:
    return numpy.concatenate([array.reshape(len(array), -1) for array in parameters], -1)


def _laws_of(parameters: Any, kind: str) -> NetworkLaws:
    """Return the laws of a network of the shapes of parameters."""
    if isinstance(parameters, numpy.ndarray):
        raise ValueError("flat parameters do not tell their network: give its laws.")
    bias = any(array.ndim == 2 for array in parameters)
    weights = parameters[::2] if bias else parameters
    if any(array.ndim != 3 for array in weights):
        raise ValueError(
            "expected weights that are matrices, W_1, b_1, W_2, b_2, ..., or without any b_p: got "
            f"the shapes {[array.shape[1:] for array in parameters]}. Give the laws."
        )
    widths = (weights[0].shape[-1], *(weight.shape[-2] for weight in weights))
    return NetworkLaws(check_network(widths, kind), kind, bias)
