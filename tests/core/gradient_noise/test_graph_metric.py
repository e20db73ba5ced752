"""Kernels of the metric of a graph against its matrices, directly and by products alone."""

import itertools

import numpy as np
import pytest

from dlngeo.core.gradient_noise import graph_metric as gm
from tests.core.libraries import ARRAYS

SHAPES = [(1, 1), (1, 5), (5, 1), (3, 7), (7, 3), (4, 4)]
SIZES = [0.0, 1e-6, 1.0, 1e3]
# NumPy at all, the other libraries at one size for every shape.
CASES = [("numpy", *pair) for pair in itertools.product(SHAPES, SIZES)]
CASES += [
    (library, shape, SIZES[(i + j) % 4])
    for i, library in enumerate(("torch", "jax"))
    for j, shape in enumerate(SHAPES)
]


def differential(shape, size, seed=0):
    return size * np.random.default_rng(seed).normal(size=(2, *shape))


def products(j):
    return gm.Products(
        lambda v: np.einsum("...nd,...d->...n", j, v), lambda w: np.einsum("...nd,...n->...d", j, w)
    )


@pytest.mark.parametrize(("library", "shape", "size"), CASES)
def test_solves(library, shape, size):
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
