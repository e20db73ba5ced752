"""The door of the geomstats classes."""

import geomstats.backend as gs
import numpy as np
import pytest
import torch

from dlngeo.manifolds import BalancedManifold, DepthMetric, FixedRankMatrices

SPACE = FixedRankMatrices(3, 3).equip_with_metric(DepthMetric, depth=2)
NETWORKS = BalancedManifold(depth=2, width=3)
X, Z = gs.array(np.random.default_rng(0).normal(size=(2, 3, 3)))


def test_subclasses_do_not_change_what_a_product_is():
    matrix = Z.view(np.matrix) if isinstance(Z, np.ndarray) else Z
    expected = SPACE.metric.inner_product(Z, Z, X)
    assert float(SPACE.metric.inner_product(matrix, matrix, X)) == pytest.approx(float(expected))


@pytest.mark.parametrize("place", range(3))
@pytest.mark.parametrize(
    ("bad", "error", "message"),
    [
        (np.full((3, 3), np.nan), ValueError, "holds NaN"),
        (np.ones((3, 3)) * 1j, ValueError, "of type complex128"),
        (np.ma.masked_array(np.ones((3, 3)), np.eye(3) > 0), ValueError, "masked"),
        (np.ones((3, 2)), ValueError, r"expected an array of shape \[..., 3, 3\], got \(3, 2\)"),
        (2.0, TypeError, "convert lists and tables"),
        ([[1.0]], TypeError, "convert lists and tables"),
    ],
)
def test_every_argument_is_checked(place, bad, error, message):
    arguments = [Z, Z, X]
    arguments[place] = bad
    with pytest.raises(error, match=message):
        SPACE.metric.inner_product(*arguments)


def test_keywords_pass_the_same_door():
    with pytest.raises(ValueError, match="the base_point holds NaN"):
        SPACE.metric.exp(Z, base_point=np.nan * X)


def test_tensors_need_their_backend():
    if "pytorch" in gs.__name__:
        assert torch.is_tensor(SPACE.metric.norm(torch.eye(3), X))
    else:
        with pytest.raises(TypeError, match="is a tensor, but geomstats runs on"):
            SPACE.metric.norm(torch.eye(3), X)


def test_judges_take_every_shape_and_nan():
    points = gs.stack([X, np.nan * X])
    assert SPACE.belongs(points).tolist() == [True, False]
    assert not bool(SPACE.belongs(X[:2]))
    with pytest.raises(TypeError, match="convert lists and tables"):
        SPACE.belongs([[1.0, 0.0], [0.0, 1.0]])


@pytest.mark.parametrize("space", [SPACE, NETWORKS])
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n_samples": 10**9}, "do not fit into memory"),
        ({"n_samples": 0}, "n_samples must be a positive integer"),
        ({"n_samples": "2"}, "n_samples must be a positive integer"),
        ({"n_samples": True}, "n_samples must be a positive integer"),
        ({"bound": np.nan}, "bound must be a finite number"),
        ({"bound": "1"}, "bound must be a finite number"),
    ],
)
def test_samples(space, options, message):
    with pytest.raises(ValueError, match=message):
        space.random_point(**options)
