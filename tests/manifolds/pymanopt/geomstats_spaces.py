"""Spaces of geomstats on which `from_geomstats` is tested."""

import math

import numpy
from geomstats.geometry.grassmannian import Grassmannian
from geomstats.geometry.hypersphere import Hypersphere
from geomstats.geometry.nfold_manifold import NFoldManifold
from geomstats.geometry.poincare_ball import PoincareBall
from geomstats.geometry.product_manifold import ProductManifold
from geomstats.geometry.spd_matrices import (
    SPDAffineMetric,
    SPDBuresWassersteinMetric,
    SPDMatrices,
)
from geomstats.geometry.special_orthogonal import SpecialOrthogonal
from geomstats.geometry.stiefel import Stiefel

from dlngeo.manifolds import BalancedManifold, DepthMetric, FixedRankMatrices


def sym(matrix):
    return (matrix + numpy.swapaxes(matrix, -1, -2)) / 2


def spd(metric, n=3):
    return SPDMatrices(n, equip=False).equip_with_metric(metric)


def depth(m, n, rank, depth):
    return FixedRankMatrices(m, n, rank=rank).equip_with_metric(DepthMetric, depth=depth)


def scaled(space, factor):
    space.metric = factor * space.metric
    return space


SPACES = {
    "sphere": lambda: Hypersphere(4),
    "circle": lambda: Hypersphere(1),
    "stiefel": lambda: Stiefel(5, 2),
    "grassmannian": lambda: Grassmannian(5, 2),
    "spd-affine": lambda: spd(SPDAffineMetric),
    "spd-bures": lambda: spd(SPDBuresWassersteinMetric),
    "so3": lambda: SpecialOrthogonal(3),
    "so3-vector": lambda: SpecialOrthogonal(3, point_type="vector"),
    "ball": lambda: PoincareBall(3),
    "depth-2": lambda: depth(3, 4, 2, 2),
    "depth-3": lambda: depth(3, 3, 3, 3),
    "depth-inf": lambda: depth(3, 3, 3, math.inf),
    "balanced-flat": lambda: BalancedManifold(widths=(3, 4, 2), rank=2),
    "balanced-stacked": lambda: BalancedManifold(depth=3, width=2),
    "product": lambda: ProductManifold(
        [Hypersphere(2), depth(3, 2, 2, 3), BalancedManifold(2, 2), spd(SPDAffineMetric, 2)]
    ),
    "product-stacked": lambda: ProductManifold([depth(2, 2, 2, 2), spd(SPDAffineMetric, 2)]),
    "power": lambda: NFoldManifold(Hypersphere(2), 3),
    "power-of-ours": lambda: NFoldManifold(depth(3, 2, 2, 2), 2),
    "multiple": lambda: scaled(depth(3, 2, 2, 3), 5.0),
}


def closeness(result, expected):
    """Return the largest difference, relative to the largest entry."""
    return numpy.max(abs(result - expected)) / numpy.max(abs(expected))
