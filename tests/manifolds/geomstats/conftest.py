"""geomstats draws from one generator: every test starts it anew."""

import geomstats.backend as gs
import pytest


@pytest.fixture(autouse=True)
def _seed():
    gs.random.seed(7)
