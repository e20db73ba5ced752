"""Kernels of the metric of a graph against its matrices, directly and by products alone."""

import numpy as np
import pytest

from dlngeo.core.gradient_noise import graph_metric as gm
from dlngeo.core.gradient_noise.diffusion import DiffusionGeometry
from dlngeo.core.gradient_noise.samples import SampleLosses
from tests.core.libraries import ARRAYS
from tests.noisy_losses import waves, waves_by_hand

SHAPES = pytest.mark.parametrize("shape", [(1, 1), (1, 5), (5, 1), (3, 7), (7, 3), (4, 4)])
SCALES = pytest.mark.parametrize("size", [0.0, 1e-6, 1.0, 1e3])


def differential(shape, size, seed=0):
    return size * np.random.default_rng(seed).normal(size=(2, *shape))


def products(j):
    return gm.Products(
        lambda v: np.einsum("...nd,...d->...n", j, v), lambda w: np.einsum("...nd,...n->...d", j, w)
    )


@SHAPES
@SCALES
@pytest.mark.parametrize("library", ARRAYS)
def test_solves(shape, size, library):
    j = differential(shape, size)
    rng = np.random.default_rng(1)
    v, w = rng.normal(size=(3, 1, shape[1])), rng.normal(size=(3, 1, shape[0]))
    g = np.eye(shape[1]) + j.swapaxes(-1, -2) @ j
    k = np.eye(shape[0]) + j @ j.swapaxes(-1, -2)
    array = ARRAYS[library]
    forms = [array(j)] + ([products(j)] if library == "numpy" else [])
    for form in forms:
        for kernel, vector, expected in (
            (gm.lower_index, v, (g @ v[..., None])[..., 0]),
            (gm.raise_index, v, np.linalg.solve(g, v[..., None])[..., 0]),
            (gm.normal_solve, w, np.linalg.solve(k, w[..., None])[..., 0]),
            (
                gm.pull_and_raise,
                w,
                np.linalg.solve(g, j.swapaxes(-1, -2) @ w[..., None])[..., 0],
            ),
        ):
            found = np.asarray(kernel(form, array(vector)))
            # Round-off, by the condition number of g.
            reach = max(abs(expected).max(), abs(vector).max())
            np.testing.assert_allclose(
                found, expected, rtol=0, atol=1e-15 * (1 + 20 * size**2) * reach
            )
        product = gm.inner_product(form, array(v), array(2 * v))
        expected = 2 * np.einsum("...i,...ij,...j->...", v, g, v)
        np.testing.assert_allclose(product, expected, rtol=1e-13)
    np.testing.assert_allclose(gm.metric_matrix(array(j)), g, atol=1e-13 * (1 + size**2))
    density = np.linalg.slogdet(g)[1] / 2
    np.testing.assert_allclose(gm.log_volume_density(array(j)), density, rtol=1e-11, atol=1e-14)


def test_equations_that_are_too_stiff_are_refused():
    rows = np.diag(np.geomspace(1, 1e9, 200))
    with pytest.raises(RuntimeError, match="Lower the scale"):
        gm.normal_solve(products(rows), np.ones(200))


@pytest.mark.parametrize("by_hand", [False, True])
@pytest.mark.parametrize("shape", [(5, 90), (90, 5), (70, 80)])
def test_large_and_small_ways_agree(shape, by_hand, monkeypatch):
    """The same geometry with matrices, with their products, and by differentiation alone."""
    n, size = shape
    given = waves_by_hand(n, size) if by_hand else ()
    geometry = DiffusionGeometry(SampleLosses((size,), waves(n, size), *given), 2.0)
    rng = np.random.default_rng(0)
    x, a, b, c = rng.normal(size=(4, 2, size))
    results = []
    for direct in (0, 1000):
        monkeypatch.setattr(gm, "DIRECT", direct)
        assert isinstance(geometry.differential(x), gm.Products) == (direct == 0)
        results.append(
            [
                geometry.christoffel(x, a, b),
                geometry.curvature(x, a, b, c),
                geometry.sectional_curvature(x, a, b),
                geometry.gradient(x),
            ]
        )
    for one, other in zip(*results, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("scale", [0.0, 0.5])
def test_diffusion_is_the_covariance_of_the_gradients(scale):
    samples = SampleLosses((3,), waves(8, 3))
    x, v = np.random.default_rng(0).normal(size=(2, 4, 3))
    found = DiffusionGeometry(samples, scale).diffusion(x, v)
    for point, vector, image in zip(x, v, found, strict=True):
        covariance = np.cov(samples.matrix(point).T, bias=True)
        np.testing.assert_allclose(image, covariance @ vector, atol=1e-14)
