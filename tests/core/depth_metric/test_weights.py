"""The weights of the depth metric against sums and divided differences of many digits."""

import math
from itertools import product
from typing import Any

import jax
import mpmath
import numpy as np
import pytest

from dlngeo.core.depth_metric.weights import LimitWeights, weights_of
from dlngeo.core.networks.blocks import Blocks
from tests.core.brute import assert_close, jacobi_matrix
from tests.core.libraries import ARRAYS

DEPTHS = [1, 2, 3, 10, math.inf]
DEPTH = pytest.mark.parametrize("depth", DEPTHS)
SIGMA = {
    "generic": [1.7, 1.1, 0.6, 0.2],
    "equal": [0.7, 0.7, 0.7, 0.7],
    "gap": [1 + 2e-12, 1 + 1e-12, 1.0, 0.5],
    "tiny": [1.0, 1e-3, 1e-6, 1e-9],
    "near one unit of the exponent": [math.e**0.5, 1.0, math.e**-0.1, math.e**-0.5],
}
SPECTRUM = pytest.mark.parametrize("spectrum", SIGMA)
SCALE = pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])


def spectrum_of(name: str, scale: float = 1.0) -> np.ndarray:
    return scale * np.array(SIGMA[name])


def divided_difference(nodes: list, depth: float) -> mpmath.mpf:
    """Return that of ``x^N`` at ``σ^{2/N}``, or of ``exp`` at ``2 log σ``, in 120 digits.

    Equal nodes are pulled apart by far less than round-off.
    """
    with mpmath.workdps(120):
        if depth == math.inf:
            points = [2 * mpmath.log(s) for s in nodes]
        else:
            points = [mpmath.mpf(s) ** (mpmath.mpf(2) / depth) for s in nodes]
        apart = mpmath.mpf(10) ** -40
        points = [x * (1 + i * apart) + 3 * i * apart for i, x in enumerate(points)]
        values = [mpmath.exp(x) if depth == math.inf else x ** int(depth) for x in points]
        for order in range(1, len(points)):
            values = [
                (values[i + 1] - values[i]) / (points[i + order] - points[i])
                for i in range(len(values) - 1)
            ]
        return values[0]


def differences(sigma: np.ndarray, order: int, depth: float, n_zeros: int = 0) -> np.ndarray:
    """Return the array of divided differences at ``order`` of the values and some zeros."""
    result = np.empty((len(sigma),) * order)
    for index in product(range(len(sigma)), repeat=order):
        nodes = [float(sigma[i]) for i in index] + [0.0] * n_zeros
        result[index] = divided_difference(nodes, depth)
    return result


@SPECTRUM
@SCALE
@DEPTH
def test_weights_are_first_divided_differences(spectrum, scale, depth):
    sigma = spectrum_of(spectrum, scale)
    weights = weights_of(sigma, depth)
    expected = differences(sigma, 2, depth)
    np.testing.assert_allclose(weights.core, expected, rtol=1e-13)
    np.testing.assert_allclose(weights.root, expected**0.5, rtol=1e-13)
    np.testing.assert_allclose(weights.sigma, sigma, rtol=1e-14)
    if depth < math.inf:
        expected = differences(sigma, 1, depth, 1)
        np.testing.assert_allclose(weights.null, expected, rtol=1e-13)
        np.testing.assert_allclose(weights.null_root, expected**0.5, rtol=1e-13)


@SPECTRUM
@SCALE
@DEPTH
def test_second_divided_differences(spectrum, scale, depth):
    """As a tensor, as a sum of positive terms, and towards the null spaces."""
    sigma = spectrum_of(spectrum, scale)
    weights = weights_of(sigma, depth)
    expected = differences(sigma, 3, depth)
    least = 0.0 if depth > 1 else 1e-30
    np.testing.assert_allclose(weights.second, expected, rtol=1e-13, atol=least)
    terms = list(weights.terms())
    assert all((kernel > 0).all() and (power > 0).all() for kernel, power in terms)
    total = sum((k[:, :, None] * power for k, power in terms), start=np.zeros((4, 4, 4)))
    np.testing.assert_allclose(total, expected, rtol=1e-13, atol=least)
    null = differences(sigma, 2, depth, 1) if depth < math.inf else np.zeros((4, 4))
    np.testing.assert_allclose(weights.null_second, null, rtol=1e-13, atol=least)


@SPECTRUM
@pytest.mark.parametrize("depth", [2, 3, 10])
def test_lifts_and_jacobi_matrices(spectrum, depth):
    """Lifts have unit norm and are geometric in the layers; `solve` inverts dense matrices."""
    sigma = spectrum_of(spectrum)
    lam = sigma ** (1 / depth)
    weights = weights_of(sigma, depth)
    lifts = np.concatenate([weights.before[:1], weights.after])
    np.testing.assert_allclose((lifts**2).sum(axis=0), 1, rtol=1e-13)
    np.testing.assert_array_equal(weights.before[1:], weights.after[:-1])
    ratio = np.broadcast_to(lam / lam[:, None], weights.after.shape)
    np.testing.assert_allclose(weights.after / weights.before, ratio, rtol=1e-12)
    source = np.random.default_rng(0).standard_normal((depth - 1, 4, 4))
    solution = weights.solve(source)
    for k, m in product(range(4), repeat=2):
        matrix = jacobi_matrix(lam[k], lam[m], depth)
        assert_close(matrix @ solution[:, k, m], source[:, k, m], 1e-12)


@pytest.mark.parametrize("gap", [0.0, 1e-9, 1.0, 12.0])
def test_functions_at_infinite_depth(gap):
    """``-u'' + x² u = (π² + x²) sin πs`` has the solution ``sin πs``, and ``∫ v² ds = 1``."""
    sigma = np.array([1.3 * math.exp(gap), 1.3])
    weights = LimitWeights(sigma)
    points, masses = np.polynomial.legendre.leggauss(len(weights.after))
    s, masses = (points + 1) / 2, masses / 2
    assert_close(np.einsum("s,skl->kl", masses, weights.after**2), np.ones((2, 2)), 1e-13)
    sine = np.broadcast_to(np.sin(math.pi * s)[:, None, None], weights.after.shape)
    x = np.log(sigma[:, None] / sigma)
    found = weights.solve((math.pi**2 + x**2) * sine)
    assert_close(found, masses[:, None, None] * sine, 1e-12)


@DEPTH
def test_blocks_are_raised_lowered_and_made_orthonormal(depth):
    sigma, rng = spectrum_of("generic"), np.random.default_rng(1)
    nulls = [] if depth == math.inf else [rng.standard_normal((2, 4)), rng.standard_normal((4, 3))]
    blocks = Blocks(rng.standard_normal((4, 4)), *nulls)
    weights = weights_of(sigma, depth)
    coordinates = weights.coordinates(blocks)
    lowered = weights.lower_index(blocks)
    assert_close(coordinates.inner(coordinates), blocks.inner(lowered), 1e-13)
    assert_close(blocks.core / weights.core, lowered.core, 1e-15)
    for same in (weights.vector(coordinates), weights.raise_index(lowered)):
        assert_close((same - blocks).norm(), 0.0, 1e-14, 1.0)


PROPERTIES = ["core", "null", "root", "null_root", "second", "null_second", "after", "before"]


def everything(sigma: Any, depth: float) -> list:
    """Return all arrays that weights are made of."""
    weights = weights_of(sigma, depth)
    terms = [array for term in weights.terms() for array in term]
    return [getattr(weights, name) for name in PROPERTIES] + terms


@pytest.mark.parametrize("library", ARRAYS)
@pytest.mark.parametrize("depth", [3, math.inf])
def test_every_library_and_batches(library, depth):
    """The same values from every library, and from a batch those of its entries."""
    sigma = np.stack([SIGMA["generic"], SIGMA["gap"]])
    singles = zip(*[everything(values, depth) for values in sigma], strict=True)
    evaluate = jax.jit(everything, static_argnums=1) if library == "jax" else everything
    for found, single in zip(evaluate(ARRAYS[library](sigma), depth), singles, strict=True):
        np.testing.assert_allclose(np.asarray(found), np.stack(single), rtol=1e-12)
