"""The largest eigenvalue of operators of which it is known."""

import numpy
import pytest

from dlngeo.core.numerics.lanczos import largest_eigenvalue

RNG = numpy.random.default_rng(4)
SPECTRA = {
    "spread": RNG.normal(size=300),
    "a cluster at the top": numpy.concatenate([RNG.uniform(0, 1, 297), [2, 2, 2 - 1e-9]]),
    "all negative": -RNG.uniform(1, 2, 300),
    "positive and negative alike": numpy.concatenate([RNG.uniform(0, 1, 150)] * 2)
    * numpy.repeat([1, -1], 150),
    "a null space at the top": numpy.minimum(RNG.normal(size=300), 0),
    "a multiple of the identity": numpy.full(300, -3.0),
    "one number": numpy.array([-2.0]),
    "two values": numpy.repeat([1.0, 5.0], 20),
}


@pytest.mark.parametrize("scale", [1e-250, 1.0, 1e250])
@pytest.mark.parametrize("name", SPECTRA)
def test_largest_eigenvalue(name, scale):
    spectrum = scale * SPECTRA[name]
    frame = numpy.linalg.qr(RNG.normal(size=(len(spectrum),) * 2))[0]
    matrix = frame * spectrum @ frame.T
    value, is_converged = largest_eigenvalue(lambda v: matrix @ v, len(spectrum), 1e-10, 1000)
    assert is_converged
    assert abs(value - spectrum.max()) <= 1e-10 * abs(spectrum).max()


def test_zero_operator():
    assert largest_eigenvalue(lambda v: 0 * v, 50, 1e-10, 1000) == (0.0, True)


def test_too_few_steps_are_told():
    spectrum = numpy.linspace(0, 1, 300)
    value, is_converged = largest_eigenvalue(lambda v: spectrum * v, 300, 1e-10, 7)
    assert not is_converged
    assert 0 < value < 1
