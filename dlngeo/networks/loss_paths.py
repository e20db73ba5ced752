"""A loss on the way from one network to another, and its barrier."""

from dataclasses import dataclass, field
from typing import Any

import numpy

from dlngeo.core.base.arrays import Array
from dlngeo.core.base.checks import host_array
from dlngeo.core.networks.factors import Factors
from dlngeo.core.networks.network import end_to_end
from dlngeo.losses.gradients import with_gradient
from dlngeo.networks.affine_layers import AffineLayers
from dlngeo.networks.comparison import network_path
from dlngeo.networks.linear_network import LinearNetwork
from dlngeo.outcomes import Printed


@dataclass(frozen=True, eq=False)
class LossPath(Printed):
    r"""A loss on the way between two networks.

    Attributes
    ----------
    kind : str
        "linear", "aligned" or "geodesic", see `interpolate`.
    times : array, shape=[k]
    losses : array, shape=[k]
    barrier : float
        How far the loss rises above the chord of its ends, ``max_t L(t) - (1-t) L_0 - t L_1``.

    References
    ----------
    J. Frankle et al., *Linear mode connectivity and the lottery ticket hypothesis*, 2020;
    R. Entezari et al., *The role of permutation invariance in linear mode connectivity of neural
    networks*, 2022.
    """

    kind: str
    times: Array
    losses: Array
    barrier: float = field(init=False)

    def __post_init__(self) -> None:
        chord = numpy.interp(self.times, self.times[[0, -1]], self.losses[[0, -1]])
        object.__setattr__(self, "barrier", float((self.losses - chord).max()))


def loss_path(
    loss: Any,
    a: Factors,
    b: Factors,
    kind: str = "geodesic",
    times: Any = None,
    *,
    rank: int | None = None,
    balance: bool = False,
) -> LossPath:
    """Return a loss along the networks of `interpolate`.

    Parameters
    ----------
    loss : callable
        Of end-to-end matrices; of networks with biases of ``(X b)``, shape=[m, n+1], or a
        `LinearRegression`.
    a, b, kind, rank, balance
        As in `interpolate`.
    times : array-like, shape=[k], optional
        Increasing; 101 from zero to one by default.

    Returns
    -------
    path : LossPath

    Raises
    ------
    ValueError, RuntimeError
        As in `interpolate`.

    Examples
    --------
    >>> import numpy as np
    >>> from dlngeo.losses import Factorization
    >>> from dlngeo.networks import loss_path
    >>> a = np.array([[[2.0]], [[2.0]]])
    >>> loss = Factorization(np.array([[4.0]]))
    >>> loss_path(loss, a, -a, "linear").barrier, loss_path(loss, a, -a, "aligned").barrier
    (8.0, 0.0)
    """
    times = numpy.linspace(0, 1, 101) if times is None else host_array(times, "the times")
    if times.ndim != 1 or len(times) < 2 or not (numpy.diff(times) > 0).all():
        raise ValueError(f"times must be two or more increasing numbers, got {times.shape}.")
    networks = network_path(a, b, kind, rank, balance)(times)
    return LossPath(kind, times, numpy.array([loss_at(network, loss) for network in networks]))


def loss_at(network: LinearNetwork, loss: Any) -> float:
    """Return a loss of end-to-end matrices, or of ``(X b)``, at a network."""
    layers = AffineLayers(network)
    value, _ = with_gradient(layers.loss(loss), None)
    return float(value(end_to_end(layers.layers)))
