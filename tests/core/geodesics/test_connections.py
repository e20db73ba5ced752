"""Why no geodesic was found, and what is said of it."""

import numpy as np
import pytest

from dlngeo.core.geodesics.connections import Verdict
from dlngeo.core.geodesics.logarithm import connect, log
from dlngeo.core.geodesics.search.turn_search import TurnSearch
from dlngeo.core.numerics.shooting import search


def test_reasons_that_are_proved():
    """The tip of a cone, the half-turn at depth one, and the two components."""
    tip = np.diag([1.0, 0.0])
    assert connect(tip, -tip, 1, 1).verdict == Verdict.MAY_NOT_EXIST
    assert connect(np.eye(2), -np.eye(2), 1).verdict == Verdict.STRAIGHT_LINE_LEAVES
    mirror = np.diag([1.0, -1.0])
    assert connect(np.eye(2), mirror, 3, on_boundary="nan").verdict == Verdict.APART
    found = connect(np.eye(2), np.stack([-np.eye(2), 2 * np.eye(2)]), 1)
    np.testing.assert_array_equal(found.is_found, [False, True])
    with pytest.raises(RuntimeError, match=r"1 of 2, .*: the straight line"):
        log(np.eye(2), np.stack([-np.eye(2), 2 * np.eye(2)]), 1)


@pytest.mark.parametrize(("depth", "stretch"), [(2, 2.5), (5, 2.5), (np.inf, 8.0)])
def test_what_must_exist(depth, stretch, monkeypatch):
    """Paths shorter than those that touch the boundary, all of them at infinite depth."""

    def lose(self):
        return search(len(self.source.frames.sigma), self.source.dimension, [])

    monkeypatch.setattr(TurnSearch, "search", lose)
    x = np.diag([1.0, 0.5])
    lost = connect(x, np.stack([x @ np.diag([stretch, 1.0]), -x]), depth)
    far = Verdict.EXISTS if depth != 2 else Verdict.MAY_NOT_EXIST
    assert lost.verdict.tolist() == [Verdict.EXISTS, far]
    crossed = connect(x, -x, 3, on_boundary="cross")
    assert crossed.verdict == Verdict.NOT_REACHED
