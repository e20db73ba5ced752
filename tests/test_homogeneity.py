"""Laws of homogeneity of public functions, far out in the range of floats.

They are exact, and known from theory: of arguments that are multiples by a power of two, the right
value, or an error that names its size where there is none.
"""

import math
from typing import Any

import numpy as np
import pytest

from tests.public_calls import BALANCED, CALLS, TANGENT, Call, W
from tests.test_odd_arguments import leaves

N = 3
UP = 2 * (N - 1) / N
"""Degree of ``A_{N,X}`` in ``X``."""

# Of each argument, or of several together, the degree of the result; or a list of those of the
# parts of the result.
LAWS: dict[str, dict[Any, Any]] = {
    "core.networks.end_to_end": {0: N},
    "core.networks.moment_map": {0: 2},
    "core.networks.balance": {0: 1},
    "core.networks.factorize": {0: 1 / N},
    "core.networks.act": {1: 1},
    "core.networks.infinitesimal_action": {0: 1, 1: 1},
    "core.networks.differential": {0: N - 1, 1: 1},
    "core.networks.adjoint_differential": {0: N - 1, 1: 1},
    "core.balanced.align": {0: 1, 1: 0},
    "core.balanced.tangent_basis": {0: 0},
    "core.balanced.balanced_curvature": {0: -2, 1: 1, 2: 1, 3: 1},
    "core.balanced.balanced_ricci": {0: -2, 1: 1},
    "core.balanced.balanced_scalar_curvature": {0: -2},
    "core.balanced.balanced_sectional_curvature": {0: -2, 1: 0, 2: 0},
    "core.balanced.mean_curvature": {0: -1},
    "core.balanced.second_fundamental_form": {0: -1, 1: 1, 2: 1},
    "core.balanced.tangent_projection": {0: 0, 1: 1},
    "core.balanced.weingarten_map": {0: -1, 1: 1, 2: 1},
    "core.depth_metric.christoffel": {0: -1, 1: 1, 2: 1},
    "core.depth_metric.riemann_curvature": {0: -2, 1: 1, 2: 1, 3: 1},
    "core.depth_metric.sectional_curvature": {0: -2 / N, 1: 0, 2: 0},
    "core.depth_metric.raise_index": {0: UP, 1: 1},
    "core.depth_metric.lower_index": {0: -UP, 1: 1},
    "core.depth_metric.tangent_projection": {0: 0, 1: 1},
    "core.depth_metric.ricci": {0: -2 / N, 1: 1},
    "core.depth_metric.scalar_curvature": {0: -2 / N},
    "core.depth_metric.horizontal_lift": {0: 1 - N, 1: 1},
    "core.depth_metric.horizontal_projection": {0: 0, 1: 1},
    "core.depth_metric.vertical_projection": {0: 0, 1: 1},
    "core.depth_metric.integrability_tensor": {0: -1, 1: 1, 2: 1},
    "core.fibres.algebra_element": {0: -1, 1: 1},
    "core.fibres.group_gradient": {0: 2, 1: 1},
    "core.fibres.group_inner_product": {0: -2, 1: 1, 2: 1},
    "core.fibres.normal_projection": {0: 0, 1: 1},
    "core.fibres.tangent_projection": {0: 0, 1: 1},
    "core.fibres.gram_solve": {0: 2 - 2 * N, 1: 1},
    "core.fibres.certificate": {0: 2},
    "core.fibres.kempf_ness": {0: 2},
    "core.fibres.kempf_ness_gradient": {0: 2},
    "core.fibres.kempf_ness_hessian": {0: 2, 2: 2},
    "core.fibres.limit_metrics": {0: 0},
    "core.fibres.schatten_minimum": {0: 2 / N},
    "core.fibres.schatten_norm": {0: 2},
    "core.geodesics.balanced_exp": {(0, 1): 1},
    "core.geodesics.balanced_transport": {(0, 1): 0, 2: 1},
    "core.geodesics.exp": {(0, 1): 1},
    "core.geodesics.log": {(0, 1): 1},
    "core.geodesics.dist": {(0, 1): 1 / N},
    "core.geodesics.squared_dist": {(0, 1): 2 / N},
    "core.geodesics.parallel_transport": {(0, 1): 0, 2: 1},
    "core.geodesics.jacobi_field": {(0, 1): 0, (2, 3): 1},
    "intrinsic.relaxed_offsets": {0: [2, 0]},
    "intrinsic.relu.rescaling.conserved_values": {1: 2},
    "intrinsic.relu.rescaling.horizontal_projection": {1: 0, 2: 1},
    "intrinsic.intrinsic_metric": {1: 2},
    "solvers.noise_spectrum": {0: [2, 0, 2, 0]},
    "manifolds.BalancedManifold.to_tangent": {0: 1, 1: 0},
    "manifolds.BalancedManifold.second_fundamental_form": {0: 1, 1: 1, 2: -1},
    "manifolds.BalancedMetric.inner_product": {0: 1, 1: 1, 2: 0},
    "manifolds.BalancedMetric.norm": {0: 1, 1: 0},
    "manifolds.BalancedMetric.exp": {(0, 1): 1},
    "manifolds.DepthMetric.inner_product": {0: 1, 1: 1, 2: -UP},
    "manifolds.DepthMetric.norm": {0: 1},
    "manifolds.DepthMetric.curvature": {0: 1, 1: 1, 2: 1, 3: -2},
    "manifolds.DiffusionMetric.inner_product": {0: 1, 1: 1},
    "manifolds.DiffusionMetric.sectional_curvature": {0: 0, 1: 0},
    "manifolds.OrbitBundle.horizontal_projection": {0: 1, 1: 0},
}


def size(array: np.ndarray) -> float:
    """Return the binary logarithm of the largest entry."""
    return math.log2(abs(array).max(initial=0.0) or 1.0)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("name", LAWS)
def test_homogeneity(name):
    call = CALLS[name]
    base = list(leaves(call()))
    for places, given in LAWS[name].items():
        places = places if isinstance(places, tuple) else (places,)
        degrees = given if isinstance(given, list) else [given] * len(base)
        for exponent in (-996, -663, -498, -99, 99, 498, 663, 996):  # divisible by the depth
            changes = {p: np.ldexp(call.arguments[p], exponent) for p in places}
            powers = [round(degree * exponent) for degree in degrees]
            sizes = [size(array) + k for array, k in zip(base, powers, strict=True)]
            if not -1074 <= min(sizes) <= max(sizes) < 1024:
                with pytest.raises(ValueError, match=r"out of range|overflows"):
                    call(changes)
            elif min(sizes) > -1000:  # below, entries lose digits
                found = leaves(call(changes))
                for array, result, k in zip(base, found, powers, strict=True):
                    back = np.ldexp(result, -k)
                    np.testing.assert_allclose(
                        back, array, rtol=0, atol=3e-9 * abs(array).max(initial=0.0)
                    )


@pytest.mark.parametrize("exponents", [(600, -700, 90), (-990, 990, 0), (0, 0, -900)])
def test_layers_of_different_sizes(exponents):
    """Products are homogeneous in each of the layers, and their velocities move with these."""
    total, powers = sum(exponents), np.array(exponents)[:, None, None]
    scaled, velocity = np.ldexp(W, powers), np.ldexp(TANGENT, powers)
    z = np.eye(3)
    laws: list[tuple[str, tuple, tuple, Any]] = [
        ("end_to_end", (W,), (scaled,), total),
        ("differential", (W, TANGENT), (scaled, velocity), total),
        ("adjoint_differential", (W, z), (scaled, z), total - powers),
    ]
    for name, given, changed, power in laws:
        function = CALLS[f"core.networks.{name}"].function
        result, power = function(*given), np.asarray(power)
        if (power + size(result) < 1000).all():
            expected = np.ldexp(result, power)
            np.testing.assert_allclose(function(*changed), expected, rtol=1e-9, atol=0)
        else:
            with pytest.raises(ValueError, match="out of range"):
                function(*changed)


def test_a_batch_of_many_sizes():
    """Every item has units of its own."""
    powers = np.array([-900, 0, 900])[:, None, None, None]
    factors, vectors = np.ldexp(BALANCED, powers), np.ldexp(TANGENT, -powers)
    call = Call(CALLS["core.balanced.tangent_projection"].function, factors, vectors)
    np.testing.assert_allclose(np.ldexp(call(), powers), [TANGENT] * 3, rtol=0, atol=1e-12)
