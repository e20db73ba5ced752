"""pymanopt draws from NumPy's global generator: every test starts it anew."""

import numpy
import pytest


@pytest.fixture(autouse=True)
def _seed():
    numpy.random.seed(11)  # noqa: NPY002


@pytest.fixture
def rng():
    return numpy.random.default_rng(7)
