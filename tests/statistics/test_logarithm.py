"""How often the logarithm finds a geodesic between far pairs, and that it is the shortest.

Independent Gaussian matrices of equal determinant sign: 99.9 % of the pairs must be joined,
and none wrongly. Minutes long, so it has a target of its own: ``make statistics``.
"""

import numpy as np
import pytest

from dlngeo.core.geodesics.exponential import exp
from dlngeo.core.geodesics.logarithm import connect

COUNTS = {2: 500, 3: 250, 4: 80, 5: 24, 6: 8}
CASES = [(d, depth) for d in COUNTS for depth in (2, 3, 4)]


def gaussian_pairs(d: int, depth: int) -> tuple[np.ndarray, np.ndarray]:
    """Return pairs of Gaussian matrices whose determinants have equal signs."""
    rng = np.random.default_rng([d, depth])
    one, other = rng.standard_normal((2, COUNTS[d], d, d))
    other[:, 0] *= (np.linalg.slogdet(one)[0] * np.linalg.slogdet(other)[0])[:, None]
    return one, other


@pytest.fixture(scope="module")
def connections() -> dict:
    """Return points and connections for every case."""
    results = {}
    for d, depth in CASES:
        one, other = gaussian_pairs(d, depth)
        results[d, depth] = one, other, connect(one, other, depth)
    return results


def test_far_pairs_are_joined(connections):
    """At least 99.9 % of all pairs."""
    found = np.concatenate([connection.is_found for _, _, connection in connections.values()])
    assert found.mean() >= 0.999, f"{int((~found).sum())} of {found.size} pairs are not joined"


@pytest.mark.parametrize(("d", "depth"), CASES)
def test_no_answer_is_wrong(connections, d, depth):
    """The exponential leads to the point, and the length is the norm of the velocity."""
    one, other, connection = connections[d, depth]
    found = connection.is_found
    end = exp(one[found], connection.velocity[found], depth)
    error = np.linalg.norm(end - other[found], axis=(1, 2)) / np.linalg.norm(
        other[found], axis=(1, 2)
    )
    assert error.max() < 1e-9


@pytest.mark.parametrize(("d", "depth"), CASES)
def test_both_directions_have_one_length(connections, d, depth):
    """A geodesic found from the other end is not shorter."""
    one, other, connection = connections[d, depth]
    count = min(len(one), 60)
    back = connect(other[:count], one[:count], depth)
    both = connection.is_found[:count] & back.is_found
    ratio = connection.length[:count][both] / back.length[both]
    assert abs(ratio - 1).max() < 1e-8, "one of the two is not the shortest"


@pytest.mark.parametrize("depth", [2, 3, 10])
def test_completed_space_is_a_metric_space(depth):
    """Gaussian matrices of both components: all are joined, and no third one shortens a way."""
    points = np.random.default_rng(depth).standard_normal((24, 2, 2))
    first, second = np.triu_indices(len(points), 1)
    ones, others = points[first], points[second]
    found = connect(ones, others, depth, on_boundary="cross")
    assert found.is_found.all()
    ends = exp(ones, found.velocity, depth, on_boundary="cross")
    error = np.linalg.norm(ends - others, axis=(1, 2)) / np.linalg.norm(others, axis=(1, 2))
    assert error.max() < 1e-8
    lengths = np.zeros((len(points), len(points)))
    lengths[first, second] = lengths[second, first] = found.length
    through = (lengths[:, :, None] + lengths[None]).min(axis=1)
    assert (lengths - through).max() < 1e-8
