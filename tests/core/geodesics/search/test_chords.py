"""Curves of chords: their equations, and the geodesics to which they shrink."""

import numpy as np
import pytest

from dlngeo.core.base.packing import unpack
from dlngeo.core.geodesics.logarithm import connect
from dlngeo.core.geodesics.search.chords import _solve_chain, redistribute
from dlngeo.core.geodesics.search.lifted_turns import curves_of_turns
from dlngeo.core.networks.network import end_to_end
from tests.core.brute import assert_close
from tests.core.geodesics.search.test_turns import pairs, turns_of

SPACES = [((3, 3), 2, 1), ((3, 4), 2, 2), ((3, 3), 2, 3), ((3, 2), 2, 2), ((2, 2), 2, 3)]


def test_chains_are_solved():
    """As by one matrix for all blocks."""
    rng = np.random.default_rng(0)
    diagonal, above = rng.uniform(5, 6, (2, 4)), rng.standard_normal((2, 3, 3, 3))
    right = rng.standard_normal((2, 4, 3))
    for k in range(2):
        whole = np.kron(np.diag(diagonal[k]), np.eye(3))
        for j in range(3):
            here, there = slice(3 * j, 3 * j + 3), slice(3 * j + 3, 3 * j + 6)
            whole[here, there], whole[there, here] = above[k, j], above[k, j].T
        expected = np.linalg.solve(whole, right[k].reshape(-1)).reshape(4, 3)
        assert_close(_solve_chain(diagonal, above, right)[k], expected, 1e-12)


@pytest.mark.parametrize(("shape", "rank", "depth"), SPACES)
def test_turns_shrink_to_geodesics(shape, rank, depth):
    """Of many chords, lifted curves have their lengths and their first velocities."""
    x, y = pairs(shape, rank, 4, 2)
    turns = turns_of(x, y, rank, depth)
    curves = curves_of_turns(turns, np.arange(len(turns.pair)))
    for count in (16, 64):
        curves = curves.refined(count)
    first = np.unique(curves.pair, return_index=True)[1]
    matrices = end_to_end(unpack(curves.points, curves.shapes))
    assert_close(matrices[first, 0], x, 1e-12)
    assert_close(matrices[first, -1], y, 1e-12)
    found = connect(x, y, depth, rank)
    ratio = curves.length[first] / found.length
    assert (ratio > 1 - 2e-3).all()
    assert (ratio < 1 + 1e-5).all()
    scale = np.linalg.norm(found.velocity, axis=(1, 2), keepdims=True)
    assert_close(curves.velocity[first] / scale, found.velocity / scale, 0.02)


def test_chords_are_many_where_curves_bend():
    """Half of a curve is straight, half a semicircle far from where matrices lose their rank."""
    angle = np.linspace(0, np.pi, 9)
    arc = np.stack([np.sin(angle), 1 - np.cos(angle)], axis=1)
    line = np.stack([np.linspace(-np.pi, 0, 9)[:-1], np.zeros(8)], axis=1)
    plane = np.concatenate([line, arc])
    points = ((20 + plane)[:, None, :] * np.eye(2)).reshape(1, -1, 4)
    new, parts = redistribute(points, 24, [(2, 2)], 2)
    assert_close(new[:, [0, -1]], points[:, [0, -1]], 0.0)
    place = new[0, :, 0] - 20
    on_line = int((place < -1e-9).sum())
    # A share of π of the length, of which there are 2π, and of none of the half turn.
    assert abs(on_line - 24 * 0.5 / 1.5) <= 1
    sizes = np.linalg.norm(np.diff(new[0], axis=0), axis=1)
    assert_close(parts[0], sizes / sizes.sum(), 0.01)
