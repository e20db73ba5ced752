"""Depth-root coordinates: roots, kernels in exact arithmetic, bounds of the cometric, weights."""

import numpy as np
import pytest

from dlngeo.core.depth_metric.roots import cometric, depth_root, force, kernels, weigh
from tests.core.brute import assert_close

DEPTHS = pytest.mark.parametrize("depth", [1, 2, 3, 5, 10])


@pytest.mark.parametrize("depth", [1, 2, 3, 4, 10, 13, 16, 45])
@pytest.mark.parametrize(
    "lam",
    [[1.3, 0.9, 0.4], [1.0, 1.0, 1.0], [1.0, 1.0 + 1e-7, 1e-3], [1.1, *np.geomspace(1, 1e-2, 7)]],
)
def test_force_is_a_quotient_of_differences(lam, depth):
    """``B_klm`` in exact arithmetic, where coinciding values are moved apart by 1e-40.

    By terms and by doubling: three values change over at depth 12, eight at 16.
    """
    from mpmath import mp, mpf

    with mp.workdps(120):
        values = [mpf(x) + mpf(10) ** -40 * k for k, x in enumerate(lam)]

        def g(x, y):
            return (x**depth + y**depth) / (x + y)

        def h(x, y):
            return sum(x**i * y ** (depth - 1 - i) for i in range(depth))

        def b(k, l, m):
            x, y, z = values[k], values[l], values[m]
            if k == l:
                y = y + mpf(10) ** -40
            return (g(x, z) * h(y, z) - g(y, z) * h(x, z)) / (x - y)

        index = range(len(lam))
        exact = np.array([[[float(b(k, l, m)) for m in index] for l in index] for k in index])
    scale = max(np.abs(exact).max(), depth)
    for m in index:
        ones = np.zeros((len(lam), len(lam)))
        ones[:, m] = 1.0
        assert_close(force(np.array(lam), ones, 0 * ones, depth), exact[:, :, m], 1e-14, scale)
        assert_close(force(np.array(lam), 0 * ones, ones, depth), -exact[:, :, m], 1e-14, scale)


@pytest.mark.parametrize("depth", [1, 2, 3, 10])
def test_kernels_bound_the_metric(depth):
    """``1/N ≤ g/h ≤ 1``: the metric of the chart is near the flat one at any values."""
    lam = np.array([1.0, 0.3, 1e-3, 1e-9])
    _, g, h = kernels(lam, depth)
    assert np.all(g / h <= 1 + 1e-15)
    assert np.all(g / h >= 1 / depth - 1e-15)


@DEPTHS
@pytest.mark.parametrize("width", [1, 2, 3, 4])
def test_root_and_power_are_inverse(width, depth):
    matrix = np.random.default_rng([0, width]).normal(size=(5, width, width))
    left, lam, right = np.linalg.svd(depth_root(matrix, depth))
    again = left * lam[:, None, :] ** depth @ right
    np.testing.assert_allclose(again, matrix, atol=1e-13 * abs(matrix).max())


@DEPTHS
def test_cometric_is_bounded(depth):
    """Between ``1/N`` and one, at every scale of the gap."""
    for ratio in (1.0, 1 - 1e-9, 0.5, 1e-3, 1e-9):
        for scale in (1e-6, 1.0, 1e6):
            alpha = cometric(scale * np.array([1.0, ratio]), depth)
            assert ((1 / depth - 1e-14 <= alpha) & (alpha <= 1 + 1e-14)).all()
            assert_close(np.diag(alpha), np.full(2, 1 / depth), 1e-13)


def test_weights_are_of_the_symmetric_and_the_skew_part():
    core, even, odd = np.random.default_rng(0).normal(size=(3, 4, 4))
    even, odd = even + even.T, odd + odd.T
    found = weigh(core, even, odd)
    assert_close(found + found.T, even * (core + core.T), 1e-14)
    assert_close(found - found.T, odd * (core - core.T), 1e-14)
