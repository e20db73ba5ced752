"""Spaces and arrays on which the classes of geomstats are tested."""

import math
from collections.abc import Sequence
from typing import Any

import geomstats.backend as gs
import numpy

from dlngeo.manifolds import (
    BalancedManifold,
    DepthMetric,
    FixedRankMatrices,
    OrbitAction,
    RelaxedDepthMetric,
)
from tests.external.geomstats_suite import Neighbourhood, partial_identity


def depth_space(
    shape: tuple[int, int], rank: int | None, depth: float, **options: Any
) -> FixedRankMatrices:
    m, n = shape
    space = FixedRankMatrices(m, n, rank=rank, equip=False, **options)
    return space.equip_with_metric(DepthMetric, depth=depth)


def relaxed_space(shape: tuple[int, int], rank: int | None, **options: Any) -> FixedRankMatrices:
    m, n = shape
    space = FixedRankMatrices(m, n, rank=rank, equip=False)
    return space.equip_with_metric(RelaxedDepthMetric, **options)


def bundle_space(widths: Sequence[int], rank: int | None = None) -> BalancedManifold:
    """Return a balanced manifold with its bundle of orbits and its quotient."""
    space = BalancedManifold(widths=widths, rank=rank)
    space.equip_with_group_action(OrbitAction(space))
    space.equip_with_quotient()
    return space


def near_identity(space: FixedRankMatrices) -> Neighbourhood:
    return Neighbourhood(space, partial_identity(space.shape, space.rank))


def flat(space, arrays):
    """Return points or vectors as vectors."""
    return gs.reshape(arrays, (*arrays.shape[: -space.point_ndim], -1))


def every_vector(space):
    """Return the basis of all arrays of the shape of a space."""
    size = math.prod(space.shape)
    return gs.reshape(gs.eye(size), (size, *space.shape))


def numbers(array) -> numpy.ndarray:
    return numpy.asarray(array.detach() if hasattr(array, "detach") else array)


SPACES = [
    depth_space((3, 3), None, 3),
    depth_space((3, 3), None, math.inf),
    depth_space((4, 3), 2, 2),
    depth_space((3, 4), 1, 1),
    BalancedManifold(depth=3, width=2),
    BalancedManifold(widths=(3, 2, 4), rank=1),
    BalancedManifold(widths=(3, 4), rank=2),
]


def tangent_vectors(space, count, point):
    vectors = gs.random.normal(size=(count, *space.shape))
    return [space.to_tangent(vector, point) for vector in vectors]
