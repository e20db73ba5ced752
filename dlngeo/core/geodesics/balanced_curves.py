r"""Geodesics of the balanced manifold, and parallel transport along them.

A geodesic of ``M_r`` as a submanifold of parameter space obeys ``Ẅ = II(Ẇ, Ẇ)``, and a
vector is parallel along it if ``V̇ = II(Ẇ, V)``.
"""

from collections.abc import Sequence

import numpy

from dlngeo.core.balanced.submanifold import checked_layers, tangent_projection
from dlngeo.core.base.arrays import from_numpy, namespace, to_numpy
from dlngeo.core.base.vectors import Layers
from dlngeo.core.geodesics.charts.balanced_chart import BalancedChart
from dlngeo.core.geodesics.charts.chart import Matrices
from dlngeo.core.geodesics.curves import FieldAxes, Geodesic
from dlngeo.core.networks.factors import Factors, in_kind
from dlngeo.core.networks.frames import balanced_frames


def _problem(
    factors: Factors,
    velocity: Factors,
    fields: Sequence[Factors],
    rank: int | None,
    on_boundary: str,
) -> tuple[Geodesic[BalancedChart], FieldAxes, numpy.ndarray]:
    """Return geodesics with fields, the axes of these, and their norms, shape=[..., f]."""
    parts, rank = checked_layers(factors, velocity, *fields, rank=rank)
    namespace(*sum(parts, start=()))
    layers, *vectors = (tuple(map(to_numpy, part)) for part in parts)
    move, *carried = (tangent_projection(layers, vector, rank) for vector in vectors)
    axes = FieldAxes.of((*layers, *move), [v for field in carried for v in field])
    balanced = balanced_frames([axes.spread(layer) for layer in layers], rank)
    widths = tuple(frame.shape[-2] for frame in balanced.frames)
    unit = balanced.lam[..., 0]
    motion = Layers(map(axes.spread, move)) / unit[..., None, None]
    pace = numpy.maximum(motion.norm(), 1.0)
    parallel, size = Layers(), numpy.zeros((*pace.shape, 0))
    for field in carried:
        parallel, size = Layers(map(axes.gather, field)).unit()
    goes_on = on_boundary == "continue" and set(widths) == {rank}
    chart = BalancedChart(widths, rank, size.shape[-1], goes_on)
    balanced = balanced._replace(lam=balanced.lam / unit[..., None])
    start = chart.enter(balanced, motion / pace[..., None, None], parallel)

    def result(matrices: Matrices) -> Factors:
        return in_kind([from_numpy(matrix, parts[0][0]) for matrix in matrices], factors)

    curve = Geodesic(chart, start, unit, pace, result, on_boundary)
    return curve, axes, size


def balanced_geodesic(
    factors: Factors,
    velocity: Factors,
    rank: int | None = None,
    *,
    on_boundary: str = "raise",
) -> Geodesic:
    r"""Return the geodesics of the balanced manifold, ``Ẅ = II(Ẇ, Ẇ)``.

    Horizontal ones project to geodesics of the depth metric.

    Parameters
    ----------
    factors : array-like, shape=[..., N, d, d], or sequence of shape=[..., d_p, d_{p-1}]
        Balanced factors, the initial points.
    velocity : the same shapes
        Initial velocities; a normal part is dropped.
    rank : int, optional
        Rank of the factors, ``min(widths)`` by default.
    on_boundary : str
        What happens when a time is asked for at which a geodesic has reached the boundary,
        where a singular value vanishes: "raise" an error that names the time; "nan"; or
        "continue" analytically, by factors of which all determinants change their signs, where
        all widths are the rank.

    Returns
    -------
    geodesic : Geodesic

    Raises
    ------
    ValueError
        If the factors are not balanced of this rank, shapes do not fit, or an entry is NaN
        or infinite.

    References
    ----------
    THEORY 2.
    """
    return _problem(factors, velocity, (), rank, on_boundary)[0]


def balanced_exp(
    factors: Factors,
    velocity: Factors,
    rank: int | None = None,
    *,
    on_boundary: str = "raise",
) -> Factors:
    """Return the exponential of the balanced manifold: the geodesic at time one.

    Parameters and errors as in `balanced_geodesic`.

    Returns
    -------
    point : like factors

    References
    ----------
    THEORY 2.
    """
    return balanced_geodesic(factors, velocity, rank, on_boundary=on_boundary).point(1.0)


def balanced_transport(
    factors: Factors,
    velocity: Factors,
    vectors: Factors,
    rank: int | None = None,
    *,
    on_boundary: str = "raise",
) -> Factors:
    r"""Transport tangent vectors in parallel along geodesics of the balanced manifold.

    They solve ``V̇ = II(Ẇ, V)``.

    Parameters
    ----------
    factors, velocity, rank, on_boundary
        As in `balanced_geodesic`.
    vectors : like factors
        Tangent vectors; a normal part is dropped. Axes that they have more than factors
        and velocity count vectors along the same geodesics, which are integrated once.

    Returns
    -------
    transported : like factors
        Tangent vectors at the end of the geodesic, at time one.

    Raises
    ------
    ValueError
        As `balanced_geodesic`, and if a geodesic reaches the boundary.

    References
    ----------
    THEORY 3.
    """
    curve, axes, size = _problem(factors, velocity, (vectors,), rank, on_boundary)
    state, factor = curve.arrive()
    size = factor * size[..., None, None]
    ends = [size * v for v in curve.chart.unpack(state).vectors]
    return curve.result([axes.scatter(end) for end in ends])
