"""geomstats' own test cases on the diffusion metric."""

from typing import Any

import geomstats.backend as gs
import numpy as np
import pytest
from geomstats.geometry.euclidean import Euclidean
from geomstats.test_cases.geometry.riemannian_metric import RiemannianMetricTestCase

from dlngeo.manifolds import BalancedManifold, DiffusionMetric
from tests.external.geomstats_suite import Neighbourhood, check, laws, partial_identity
from tests.external.test_geomstats_spaces import ATOL, INTRINSIC
from tests.noisy_losses import quadratics, waves_by_hand

if gs.__name__.endswith("pytorch"):
    import torch

    XP: Any = torch
else:
    XP = np


class Case(RiemannianMetricTestCase):
    def __init__(self, space, centre):
        self.space = space
        self.data_generator = Neighbourhood(space, centre)


class Vectors(Neighbourhood):
    """Random vectors near zero; a linear space needs no projection."""

    def random_point(self, n_points=1):
        return 0.3 * gs.random.normal(
            size=(*(() if n_points == 1 else (n_points,)), self.space.dim)
        )


@pytest.mark.parametrize(("law", "arguments"), laws(RiemannianMetricTestCase, exempt={}))
@pytest.mark.parametrize(("n", "dim"), [(2, 3), (5, 2)])
def test_parameters(n, dim, law, arguments):
    space = Euclidean(dim)
    gradients, hvp = waves_by_hand(n, dim, 1, XP, gs.array)
    space.equip_with_metric(DiffusionMetric, scale=0.5, sample_gradients=gradients, sample_hvp=hvp)
    case = Case(space, gs.zeros(dim))
    case.data_generator = Vectors(space, gs.zeros(dim))
    check(case, law, arguments, ATOL)


EXEMPT = {
    "test_covariant_riemann_tensor_bianchi_identity": INTRINSIC,
    "test_covariant_riemann_tensor_is_interchange_symmetric": INTRINSIC,
    "test_covariant_riemann_tensor_is_skew_symmetric_1": INTRINSIC,
    "test_covariant_riemann_tensor_is_skew_symmetric_2": INTRINSIC,
    "test_geodesic_equation_vec": "a state of random point and vector: not flat ones",
}


SINGLE = [
    law for law in laws(RiemannianMetricTestCase, EXEMPT) if law.values[1].get("n_points") != 3
]


@pytest.mark.parametrize(("law", "arguments"), SINGLE)
def test_balanced_factors(law, arguments):
    space = BalancedManifold(depth=2, width=2, rank=1)
    point = gs.stack([partial_identity((2, 2), 1)] * 2)

    gradients, hvp = quadratics(3, space.shape, 0, gs.array)
    space.equip_with_metric(DiffusionMetric, scale=0.5, sample_gradients=gradients, sample_hvp=hvp)
    check(Case(space, point), law, arguments, ATOL)
