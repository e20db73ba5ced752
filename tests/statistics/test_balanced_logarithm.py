"""How often far balanced factors of one component are joined, and that both ends agree."""

import numpy as np
import pytest

from dlngeo.core.geodesics.balanced_curves import balanced_exp
from dlngeo.core.geodesics.balanced_logarithm import balanced_connect
from dlngeo.core.geodesics.connections import Verdict
from dlngeo.core.geodesics.logarithm import dist
from dlngeo.core.networks.balancing import factorize
from dlngeo.core.networks.equations import polar_factor
from dlngeo.core.networks.network import act, end_to_end

CASES = [((2, 2, 2), 2, 40), ((2, 2, 2, 2), 2, 30), ((3, 3, 3), 3, 10), ((3, 2, 4), 2, 20)]


def far_factors(widths, rank, count, seed):
    """Return factors over Gaussian matrices, turned at random by rotations."""
    rng = np.random.default_rng([seed, *widths])
    matrices = rng.standard_normal((count, widths[-1], widths[0]))
    if widths[0] == widths[-1] == rank:
        matrices[:, 0] *= np.linalg.slogdet(matrices)[0][:, None]
    factors = factorize(matrices, len(widths) - 1, widths, rank)
    layers = [factors[:, p] for p in range(len(widths) - 1)] if len(set(widths)) == 1 else factors
    turns = [polar_factor(rng.standard_normal((count, d, d))) for d in widths[1:-1]]
    signs = [np.linalg.slogdet(turn)[0] for turn in turns]
    lifts = np.linalg.svd(matrices, full_matrices=False)
    # The lift has the frames of the decomposition at its ends: of the sign of the right one.
    ends = np.linalg.slogdet(lifts[2])[0] if widths[0] == rank else np.ones(count)
    for turn, sign, width in zip(turns, signs, widths[1:-1], strict=True):
        if width == rank:
            turn[:, 0] *= (sign * ends)[:, None]
    return act(turns, tuple(layers))


@pytest.mark.parametrize(("widths", "rank", "count"), CASES, ids=str)
def test_far_pairs_are_joined_or_lead_through_the_boundary(widths, rank, count):
    one, two = (far_factors(widths, rank, count, seed) for seed in range(2))
    connection = balanced_connect(one, two, rank)
    found = connection.is_found
    missing = connection.verdict == Verdict.NOT_REACHED
    assert not missing.any(), f"{int(missing.sum())} of {count} pairs are not joined"
    assert found.mean() > 0.8
    first, second = (tuple(w[found] for w in factors) for factors in (one, two))
    velocity = tuple(v[found] for v in connection.velocity)
    for end, expected in zip(balanced_exp(first, velocity, rank), second, strict=True):
        np.testing.assert_allclose(end, expected, atol=1e-7)
    back = balanced_connect(second, first, rank)
    np.testing.assert_allclose(back.length, connection.length[found], rtol=1e-8)
    below = dist(end_to_end(first), end_to_end(second), len(widths) - 1, rank)
    assert (connection.length[found] >= below * (1 - 1e-8)).all()
