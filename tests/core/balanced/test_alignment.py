"""Laws of the alignment of orbits."""

import numpy as np
import pytest

from dlngeo.core.balanced import alignment
from dlngeo.core.networks import network as nw
from tests.core.brute import NETWORKS, assert_close, flatten, network

NETWORK = pytest.mark.parametrize("net", NETWORKS.values(), ids=NETWORKS)


@NETWORK
def test_align_returns_to_the_base_point(net):
    """A rotated copy of a point is brought back to it."""
    rng = np.random.default_rng(12)
    rotations = [np.linalg.qr(rng.standard_normal((w, w)))[0] for w in net.widths[1:-1]]
    rotated = nw.act(rotations, net.factors)
    aligned = alignment.align(rotated, net.factors, net.rank)
    assert_close(flatten(aligned), flatten(net.factors), 1e-11)


@pytest.mark.parametrize(
    ("widths", "rank"), [((3, 3, 3), 3), ((4, 3, 5, 4), 2), ((4, 4, 4, 4), 2)], ids=str
)
def test_align_is_a_critical_point_of_the_distance(widths, rank):
    """The aligned point stays on the orbit, and the chord is orthogonal to it."""
    one, two = (network(widths, rank, seed=seed) for seed in (1, 2))
    aligned = alignment.align(one.factors, two.factors, one.rank)
    assert_close(nw.end_to_end(aligned), one.matrix, 1e-12)
    for moment in nw.moment_map(aligned):
        assert_close(moment, 0 * moment, 1e-13, scale=1.0)
    chord = flatten(two.factors) - flatten(aligned)
    assert chord @ chord <= np.sum((flatten(two.factors) - flatten(one.factors)) ** 2)
    for p in range(one.depth - 1):
        cross = aligned[p] @ two.factors[p].T + aligned[p + 1].T @ two.factors[p + 1]
        assert_close(cross, cross.T, 1e-11)


def test_align_says_when_it_has_not_converged():
    """Too few sweeps raise."""
    one, two = network((3, 3, 3), 3, seed=1), network((3, 3, 3), 3, seed=2)
    with pytest.raises(RuntimeError, match="not converged after 1 sweeps"):
        alignment.align(one.factors, two.factors, max_sweeps=1)
