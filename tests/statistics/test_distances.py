"""Distances are distances: at every shape, rank and depth, between far pairs.

Gaussian matrices that a path joins: all are joined, but for pairs whose short paths run into the
boundary; distances are symmetric, invariant, obey the triangle, are above their bounds, and no
longer than what shooting finds from other starts.
"""

import numpy as np
import pytest

from dlngeo.core.geodesics.logarithm import connect
from dlngeo.core.geodesics.search.turn_search import turn_search
from dlngeo.core.networks.frames import exact_frames
from dlngeo.core.numerics.shooting import CONVERGED, norms, shoot
from tests.core.geodesics.search.test_turns import pairs

INF = np.inf

# Shapes, ranks and depths, with numbers of pairs, and of pairs that may have no shortest geodesic
# because all short paths run into the boundary.
SPACES = [
    ((2, 2), 2, 3, 20, 0),
    ((2, 2), 2, 30, 20, 0),
    ((2, 2), 2, INF, 4, 0),
    ((2, 5), 2, 1, 6, 3),
    ((3, 3), 3, 2, 5, 0),
    ((3, 3), 3, 10, 6, 0),
    ((3, 3), 2, 1, 12, 0),
    ((3, 3), 2, 2, 4, 0),
    ((3, 3), 2, 3, 5, 0),
    ((3, 3), 2, 10, 6, 0),
    ((2, 5), 2, 10, 12, 0),
    ((1, 2), 1, 30, 20, 0),
    ((4, 4), 1, 3, 20, 0),
    ((4, 4), 4, 3, 3, 0),
]


@pytest.mark.parametrize(("shape", "rank", "depth", "count", "missing"), SPACES)
def test_distances_are_distances(shape, rank, depth, count, missing):
    x, y = pairs(shape, rank, count, 1)
    z, _ = pairs(shape, rank, count, 2)
    if shape == (rank, rank):
        z[:, 0] *= (np.linalg.slogdet(x)[0] * np.linalg.slogdet(z)[0])[:, None]
    xy = connect(x, y, depth, rank)
    lost = int((~xy.is_found).sum())
    assert lost <= missing, f"{lost} of {count} pairs are not joined"
    rng = np.random.default_rng(3)
    left, right = (np.linalg.qr(rng.standard_normal((n, n)))[0] for n in shape)
    for one, other in [
        (y, x),
        (x.swapaxes(1, 2), y.swapaxes(1, 2)),
        (left @ x @ right, left @ y @ right),
    ]:
        again = connect(one, other, depth, rank).length
        np.testing.assert_allclose(again, xy.length, rtol=1e-8)
    assert np.nanmax(xy.bound / xy.length) <= 1 + 1e-9
    around = [connect(a, b, depth, rank).length for a, b in ((x, z), (z, y))]
    assert not np.any(xy.length > sum(around) * (1 + 1e-9))


@pytest.mark.parametrize(("shape", "rank", "depth", "count", "missing"), SPACES)
def test_no_other_start_leads_to_a_shorter_geodesic(shape, rank, depth, count, missing):
    """Shooting from the mean velocities of turns, disturbed at random."""
    x, y = pairs(shape, rank, count, 1)
    found = connect(x, y, depth, rank).length
    frames = [exact_frames(matrix, rank) for matrix in (x, y)]
    unit = frames[0].sigma[:, :1]
    start, end = (f._replace(sigma=f.sigma / unit) for f in frames)
    search = turn_search(start, end, depth)
    first = search.candidates.rank == 0
    guess, rng = search.candidates.velocity[first], np.random.default_rng(4)
    aim = search.shots.aim(search.source, search.target)
    for size in np.linspace(0.1, 1.0, 8):
        noise = rng.standard_normal(guess.shape)
        noise *= size * (norms(guess) / norms(noise))[:, None]
        u, defect = shoot(aim.miss, guess + noise, aim.inverse)
        length = norms(u) * (1 if depth == INF else unit[:, 0] ** (1 / depth))
        is_shorter = (defect <= CONVERGED) & (length < found * (1 - 1e-8))
        assert not is_shorter.any(), f"{length[is_shorter]} for {found[is_shorter]}"
