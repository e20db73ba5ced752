"""Losses on the way between networks, and their barriers."""

import numpy
import pytest

from dlngeo.core.networks.network import adjoint_differential
from dlngeo.losses import LinearRegression, MatrixCompletion
from dlngeo.networks import LinearNetwork, loss_path


def trained(seed, loss, widths):
    """Return a network after 600 steps of gradient descent."""
    rng = numpy.random.default_rng(seed)
    shapes = zip(widths[1:], widths[:-1], strict=True)
    factors = tuple(rng.normal(size=shape) / shape[1] ** 0.5 for shape in shapes)
    for _ in range(600):
        slope = loss.gradient(factors[2] @ factors[1] @ factors[0])
        steps = adjoint_differential(factors, slope)
        factors = tuple(w - 0.02 * step for w, step in zip(factors, steps, strict=True))
    return LinearNetwork(factors)


def test_the_barrier_between_trained_networks_is_one_of_hidden_coordinates():
    """Of a plain line of parameters 11.2, along the geodesic 0.021: two seeds, one problem."""
    rng = numpy.random.default_rng(4)
    target = rng.normal(size=(4, 2)) @ rng.normal(size=(2, 5))
    loss = MatrixCompletion(target, rng.random((4, 5)) < 0.7)
    a, b = (trained(seed, loss, (5, 8, 8, 4)) for seed in (1, 2))
    paths = {
        kind: loss_path(loss, a, b, kind, balance=True)
        for kind in ("linear", "aligned", "geodesic")
    }
    for path in paths.values():
        assert path.losses[[0, -1]].max() < 1e-6
    assert paths["linear"].barrier == pytest.approx(11.16, abs=0.01)
    assert paths["aligned"].barrier == pytest.approx(0.01551, abs=1e-4)
    assert paths["geodesic"].barrier == pytest.approx(0.02125, abs=1e-4)


def test_losses_are_those_at_the_networks_with_their_biases():
    rng = numpy.random.default_rng(0)
    inputs, outputs = rng.normal(size=(9, 3)), rng.normal(size=(9, 2))
    ends = [[rng.normal(size=shape) for shape in ((4, 3), (4,), (2, 4), (2,))] for _ in range(2)]
    a, b = (LinearNetwork([v, w], [c, d]) for v, c, w, d in ends)
    path = loss_path(LinearRegression(inputs, outputs), a, b, "linear", [0, 0.3, 1])
    expected = []
    for t in (0, 0.3, 1):
        v, c, w, d = ((1 - t) * p + t * q for p, q in zip(*ends, strict=True))
        expected.append((((inputs @ v.T + c) @ w.T + d - outputs) ** 2).sum() / 18)
    numpy.testing.assert_allclose(path.losses, expected, rtol=1e-12)
    rise = expected[1] - 0.7 * expected[0] - 0.3 * expected[2]
    assert path.barrier == pytest.approx(max(0.0, rise), rel=1e-12)
    assert f"barrier={path.barrier:.6g}" in repr(path)
    with pytest.raises(ValueError, match="two or more increasing numbers"):
        loss_path(LinearRegression(inputs, outputs), a, b, "linear", [0, 0])
