"""Alignment of two orbits of balanced factors along the geodesic between their matrices."""

from dlngeo.core.balanced.submanifold import checked_layers
from dlngeo.core.base.scales import at_unit_scale
from dlngeo.core.depth_metric.submersion import horizontal_lift
from dlngeo.core.geodesics.balanced_curves import balanced_exp
from dlngeo.core.geodesics.logarithm import log
from dlngeo.core.networks.factors import Factors, result_in_kind
from dlngeo.core.networks.network import end_to_end


def align_horizontally(factors: Factors, base_factors: Factors, rank: int | None = None) -> Factors:
    """Return the point of an orbit to which a horizontal geodesic leads from a base point.

    The geodesic lies over the shortest one between the end-to-end matrices that is found, and is
    as long: the point is the nearest of the orbit to the base point in the balanced manifold.

    Parameters
    ----------
    factors : array-like, shape=[..., N, d, d], or sequence of shape=[..., d_p, d_{p-1}]
        Balanced factors, of the orbit.
    base_factors : the same shapes
        Balanced factors, the base point.
    rank : int, optional
        Rank of the factors, ``min(widths)`` by default.

    Returns
    -------
    aligned : like factors

    Raises
    ------
    ValueError
        If the factors are not balanced of this rank, or the end-to-end matrices are square, of full
        rank and of determinants with opposite signs: no path joins the orbits.
    RuntimeError
        If no geodesic was found between the end-to-end matrices.

    References
    ----------
    THEORY 3.
    """
    (layers, base), rank = checked_layers(factors, base_factors, rank=rank)
    depth = len(layers)
    both, exponent = at_unit_scale(2 * depth, (*layers, *base))
    layers, base = both[:depth], both[depth:]
    velocity = log(end_to_end(base), end_to_end(layers), depth, rank)
    end = balanced_exp(base, horizontal_lift(base, velocity, rank), rank)
    return result_in_kind(end, factors, exponent)
