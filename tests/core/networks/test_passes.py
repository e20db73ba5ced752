"""A pass forwards and one backwards, against the differential of the end-to-end map."""

import itertools
from typing import Any

import numpy
import pytest

from dlngeo.core.networks.network import adjoint_differential, end_to_end
from dlngeo.core.networks.passes import backwards, forwards

RNG = numpy.random.default_rng(0)


@pytest.mark.parametrize("widths", [(3, 5), (3, 4, 2), (2, 2, 2, 2), (5, 1, 3, 4)])
def test_passes_are_the_map_and_its_adjoint_differential(widths):
    factors = [RNG.normal(size=(m, n)) for n, m in itertools.pairwise(widths)]
    covector = RNG.normal(size=(widths[-1], widths[0]))
    products = forwards(factors)
    numpy.testing.assert_allclose(products[-1], end_to_end(factors))
    gradients = backwards(factors, products, covector)
    for came, expected in zip(gradients, adjoint_differential(factors, covector), strict=True):
        numpy.testing.assert_allclose(came, expected, atol=1e-13)


def test_biases_are_one_more_column():
    factors = [RNG.normal(size=shape) for shape in ((4, 3), (2, 4), (3, 2))]
    biases: list[Any] = [RNG.normal(size=(4, 1)), None, RNG.normal(size=(3, 1))]
    affine = forwards(factors, biases)[-1]
    x = RNG.normal(size=(3, 1))
    hidden = factors[1] @ (factors[0] @ x + biases[0])
    numpy.testing.assert_allclose(
        affine[:, :3] @ x + affine[:, 3:], factors[2] @ hidden + biases[2]
    )
    # Over leading axes.
    pairs = [
        [None if w is None else numpy.stack([w, 2 * w]) for w in ws] for ws in (factors, biases)
    ]
    numpy.testing.assert_allclose(forwards(*pairs)[-1][0], affine)
