r"""Distances between networks, and networks on the way from one to another.

Rotations ``R_p`` of the hidden layers, ``W_p ↦ R_p W_p R_{p-1}ᵀ``, change parameters and nothing
else. Modulo them balanced networks are their end-to-end matrices, of one rank, and the distance of
parameter space along balanced networks is that of the depth metric (THEORY 3). Biases at the output
are numbers of their own, ``dist² + ‖b - b'‖²``.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy

from dlngeo.core.balanced.alignment import align
from dlngeo.core.base.arrays import Array
from dlngeo.core.base.checks import choice, flag, host_array
from dlngeo.core.base.vectors import Layers
from dlngeo.core.depth_metric.submersion import horizontal_lift
from dlngeo.core.geodesics.balanced_curves import balanced_geodesic
from dlngeo.core.geodesics.logarithm import dist, log
from dlngeo.core.networks.factors import Factors
from dlngeo.core.networks.frames import balanced_frames
from dlngeo.networks.linear_network import LinearNetwork

METRICS = ("depth", "aligned")
KINDS = ("linear", "aligned", "geodesic")


def distance(
    a: Factors,
    b: Factors,
    metric: str = "depth",
    *,
    rank: int | None = None,
    balance: bool = False,
) -> float:
    r"""Return the distance of two balanced networks, modulo rotations of their hidden layers.

    Parameters
    ----------
    a, b : LinearNetwork or factors
        Balanced networks of one depth and rank, from as many inputs to as many outputs.
    metric : str
        "depth": the length of the shortest path of balanced networks that is found, which is the
        distance of their end-to-end matrices in the depth metric. "aligned": the length of the
        straight line between the parameters, ``min_R ‖W - R · W'‖``, over the alignments that are
        found from either network, `dlngeo.core.balanced.align`; of the same hidden widths.
    rank : int, optional
        Rank of the end-to-end matrices, to round-off by default.
    balance : bool
        Whether networks are balanced first, at the same outputs, `LinearNetwork.balanced`, and cut
        to the rank if there is one. Otherwise those that are not balanced are refused.

    Returns
    -------
    distance : float

    Raises
    ------
    ValueError
        If networks are not balanced, or of different depths, widths or ranks, or if determinants
        of end-to-end matrices have opposite signs: no path of networks of full rank joins them.
    RuntimeError
        If no geodesic was found, or no alignment.

    Examples
    --------
    >>> import numpy as np
    >>> from dlngeo.networks import distance
    >>> rotation = np.array([[0.0, 1.0], [-1.0, 0.0]])
    >>> a = (np.diag([2.0, 1.0]), np.diag([2.0, 1.0]))
    >>> distance(a, (rotation @ a[0], a[1] @ rotation.T), "aligned")
    0.0

    References
    ----------
    [MY25]; THEORY 3.
    """
    choice(metric, "metric", METRICS)
    (a, b), rank = comparable((a, b), rank, balance)
    if metric == "depth":
        length = float(dist(a.matrix, b.matrix, a.depth, rank))
    else:
        _check_widths(a, b)
        pairs = (a.factors, b.factors), (b.factors, a.factors)
        length = min(
            float((Layers(align(one, other, rank)) - Layers(other)).norm()) for one, other in pairs
        )
    return math.hypot(length, float(numpy.linalg.norm(output_bias_of(a) - output_bias_of(b))))


def interpolate(
    a: Factors,
    b: Factors,
    t: Any = None,
    kind: str = "geodesic",
    *,
    rank: int | None = None,
    balance: bool = False,
) -> Any:
    r"""Return networks on the way from one to another.

    Parameters
    ----------
    a, b : LinearNetwork or factors
        Networks at times zero and one, or rotated copies of them.
    t : float or array-like, shape=[k], optional
        Times, eleven from zero to one by default.
    kind : str
        "linear": parameters on the straight line, of any two networks of the same widths.
        "aligned": on the straight line to the nearest rotated copy of the second network that is
        found. "geodesic": balanced networks on the shortest path that is found, with hidden layers
        as wide as those of the first network. Biases at the output are on straight lines.
    rank, balance
        As in `distance`; for "linear" they do not count.

    Returns
    -------
    network : LinearNetwork, or list of them

    Raises
    ------
    ValueError, RuntimeError
        As in `distance`; or if a geodesic has ended before such a time.

    Examples
    --------
    >>> import numpy as np
    >>> from dlngeo.networks import interpolate
    >>> a, b = np.array([[[1.0]], [[1.0]]]), np.array([[[3.0]], [[3.0]]])
    >>> float(round(interpolate(a, b, 0.5).matrix[0, 0], 12))
    4.0
    """
    times = numpy.linspace(0.0, 1.0, 11) if t is None else host_array(t, "the times")
    if times.ndim > 1:
        raise ValueError(f"times are a number or a list of them, got shape {times.shape}.")
    path = network_path(a, b, kind, rank, balance)
    networks = path(numpy.atleast_1d(times))
    return networks if times.ndim else networks[0]


def network_path(
    a: Factors, b: Factors, kind: str, rank: int | None, balance: bool
) -> Callable[[Array], list[LinearNetwork]]:
    """Return the networks on the way as a function of times, shape=[k]; see `interpolate`."""
    choice(kind, "kind", KINDS)
    if kind == "linear":
        a, b = LinearNetwork(a), LinearNetwork(b)
        _check_widths(a, b)
        return _straight(a, b)
    (a, b), rank = comparable((a, b), rank, balance)
    if kind == "aligned":
        _check_widths(a, b)
        return _straight(a, LinearNetwork(align(b.factors, a.factors, rank), b.biases))
    velocity = horizontal_lift(a.factors, log(a.matrix, b.matrix, a.depth, rank), rank)
    curve = balanced_geodesic(a.factors, velocity, rank)
    biases = output_bias_of(a), output_bias_of(b)
    has_bias = not (a.bias is None and b.bias is None)

    def on_geodesic(times: Array) -> list[LinearNetwork]:
        layers = curve.point(times)
        return [
            LinearNetwork(
                [layer[k] for layer in layers],
                [None] * (a.depth - 1) + [_between(*biases, t) if has_bias else None],
            )
            for k, t in enumerate(times)
        ]

    return on_geodesic


def comparable(
    networks: Sequence[Factors], rank: int | None, balance: bool
) -> tuple[list[LinearNetwork], int]:
    """Return balanced networks of one depth and rank, with biases at the output alone.

    Parameters
    ----------
    networks : sequence of LinearNetwork or factors
    rank, balance
        As in `distance`.
    """
    read = [LinearNetwork(network) for network in networks]
    shapes = {(network.depth, network.widths[0], network.widths[-1]) for network in read}
    if len(shapes) > 1:
        raise ValueError(
            "expected networks of one depth, from as many inputs to as many outputs, got widths "
            f"{', '.join(str(network.widths) for network in read)}."
        )
    ranks = [network.rank for network in read] if rank is None else [rank]
    if len(set(ranks)) > 1:
        raise ValueError(
            f"expected end-to-end matrices of one rank, got {ranks}: give rank={min(ranks)} and "
            "balance=True to cut them to it."
        )
    if flag(balance, "balance"):
        read = [network.balanced(ranks[0]) for network in read]
    for p, network in enumerate(read, start=1):
        try:
            balanced_frames(network.factors, ranks[0])
        except ValueError as error:
            raise ValueError(
                f"network {p} is not balanced, or not of rank {ranks[0]}: balance=True balances "
                "networks first, at the same outputs."
            ) from error
        if any(bias is not None for bias in network.biases[:-1]):
            raise ValueError(
                f"network {p} has biases in hidden layers: balance=True moves them to the output."
            )
    if ranks[0] == read[0].widths[0] == read[0].widths[-1]:
        signs = [numpy.linalg.slogdet(network.matrix)[0] for network in read]
        if len(set(signs)) > 1:
            raise ValueError(
                "no path of networks of full rank joins these: determinants of their end-to-end "
                f"matrices have the signs {', '.join('+' if s > 0 else '-' for s in signs)}. Only "
                'the straight line of parameters, of kind "linear", leads across a singular one.'
            )
    return read, ranks[0]


def _check_widths(a: LinearNetwork, b: LinearNetwork) -> None:
    if a.widths != b.widths:
        raise ValueError(
            f"expected networks of the same widths, got {a.widths} and {b.widths}: the geodesic of "
            "the depth metric joins networks of other hidden widths too."
        )


def _straight(a: LinearNetwork, b: LinearNetwork) -> Callable[[Array], list[LinearNetwork]]:
    def at(times: Array) -> list[LinearNetwork]:
        return [
            LinearNetwork(
                [_between(v, w, t) for v, w in zip(a.factors, b.factors, strict=True)],
                [
                    None if v is None and w is None else _between(_or_zero(v), _or_zero(w), t)
                    for v, w in zip(a.biases, b.biases, strict=True)
                ],
            )
            for t in times
        ]

    return at


def _or_zero(bias: Array | None) -> Any:
    return 0.0 if bias is None else bias


def output_bias_of(network: LinearNetwork) -> Array:
    """Return the bias at the output, shape=[d_N]."""
    return numpy.zeros(network.widths[-1]) + _or_zero(network.bias)


def _between(start: Any, end: Any, t: float) -> Any:
    return (1 - t) * start + t * end
