"""Laws of geodesics of the balanced manifold, and of parallel transport along them."""

import numpy as np
import pytest
import torch

from dlngeo.core.balanced.submanifold import tangent_projection
from dlngeo.core.depth_metric.submersion import horizontal_lift, horizontal_projection
from dlngeo.core.geodesics.balanced_curves import (
    balanced_exp,
    balanced_geodesic,
    balanced_transport,
)
from dlngeo.core.geodesics.exponential import exp
from dlngeo.core.networks.balancing import factorize
from dlngeo.core.networks.network import differential, end_to_end, moment_map
from tests.core.brute import NETWORKS, assert_close, network
from tests.core.geodesics.charts.test_depth_root_chart import crossings
from tests.core.geodesics.test_observable_curves import assert_names_time

NETWORK = pytest.mark.parametrize("net", NETWORKS.values(), ids=NETWORKS)


def tangent_vectors(net, count: int, size: float, seed: int) -> tuple[np.ndarray, ...]:
    """Return random tangent vectors, neither horizontal nor vertical."""
    rng = np.random.default_rng(seed)
    noise = [size * rng.standard_normal((count, *w.shape)) / w.size**0.5 for w in net.factors]
    return tangent_projection(net.factors, tuple(noise), net.rank)


def square_norms(vector) -> np.ndarray:
    return sum(np.einsum("...ij,...ij->...", v, v) for v in vector)


@NETWORK
def test_balanced_geodesics(net):
    """They stay balanced, keep their speed, and their acceleration is normal."""
    velocity = tuple(v[0] for v in tangent_vectors(net, 1, 0.3, 1))
    curve = balanced_geodesic(net.factors, velocity, net.rank)
    times = np.linspace(-1, 1, 5)
    points, speeds = curve.point(times), curve.velocity(times)
    for moment in moment_map(points):
        assert_close(moment, 0 * moment, 1e-11, 1.0)
    assert_close(square_norms(speeds), np.full(5, square_norms(velocity)), 1e-10)
    assert_close(end_to_end(points)[2], net.matrix, 1e-12)
    nodes = 0.7 + 0.01 * np.arange(-3, 4)
    weights = np.array([-1, 9, -45, 0, 45, -9, 1]) / 0.6
    near, speeds = curve.point(nodes), curve.velocity(nodes)
    middle = tuple(w[3] for w in near)
    for w, v in zip(near, speeds, strict=True):
        assert_close(np.tensordot(weights, w, 1), v[3], 1e-9, 1.0)
    bent = tuple(np.tensordot(weights, v, 1) for v in speeds)
    for v in tangent_projection(middle, bent, net.rank):
        assert_close(v, 0 * v, 1e-9, 1.0)


@NETWORK
def test_horizontal_geodesics_project(net):
    """A horizontal geodesic lies over one of the depth metric, and stays horizontal."""
    velocity = tuple(v[0] for v in tangent_vectors(net, 1, 0.3, 2))
    velocity = horizontal_projection(net.factors, velocity, net.rank)
    curve = balanced_geodesic(net.factors, velocity, net.rank)
    end, speed = curve.point(1.0), curve.velocity(1.0)
    moved = differential(net.factors, velocity)
    assert_close(end_to_end(end), exp(net.matrix, moved, net.depth, net.rank), 1e-9)
    for one, other in zip(horizontal_projection(end, speed, net.rank), speed, strict=True):
        assert_close(one, other, 1e-9, 1.0)


@NETWORK
def test_balanced_transport(net):
    """An isometry of tangent spaces that takes velocities to velocities, and returns."""
    velocity = tuple(v[0] for v in tangent_vectors(net, 1, 0.3, 3))
    vectors = tangent_vectors(net, 3, 1.0, 4)
    vectors = tuple(np.concatenate([v, z[None]]) for v, z in zip(vectors, velocity, strict=True))
    curve = balanced_geodesic(net.factors, velocity, net.rank)
    end, speed = curve.point(1.0), curve.velocity(1.0)
    moved = balanced_transport(net.factors, velocity, vectors, net.rank)
    before, after = (sum(np.einsum("fij,gij->fg", v, v) for v in a) for a in (vectors, moved))
    assert_close(after, before, 1e-10)
    for one, v in zip(moved, speed, strict=True):
        assert_close(one[-1], v, 1e-10, 1.0)
    for one, other in zip(tangent_projection(end, moved, net.rank), moved, strict=True):
        assert_close(one, other, 1e-10, 1.0)
    back = balanced_transport(end, tuple(-v for v in speed), moved, net.rank)
    for one, other in zip(back, vectors, strict=True):
        assert_close(one, other, 1e-10, 1.0)
    # The change along the curve is normal.
    h = 0.01
    near = [
        balanced_transport(net.factors, tuple(t * z for z in velocity), vectors, net.rank)
        for t in 0.7 + h * np.arange(-3, 4)
    ]
    weights = np.array([-1, 9, -45, 0, 45, -9, 1]) / (60 * h)
    bent = tuple(np.tensordot(weights, np.stack(layer), 1) for layer in zip(*near, strict=True))
    for v in tangent_projection(curve.point(0.7), bent, net.rank):
        assert_close(v, 0 * v, 1e-8, 1.0)


def test_balanced_batches_and_stacks():
    """Stacks of equal widths, batches of velocities, times and fields."""
    net = network((3, 3, 3), 3)
    factors = np.stack(net.factors)
    velocity = np.stack(tangent_vectors(net, 2, 0.3, 5), axis=1)
    ends = balanced_exp(factors, velocity)
    assert ends.shape == (2, 2, 3, 3)
    curve = balanced_geodesic(factors, velocity)
    assert curve(np.array([0.5, 1.0, -1.0])).shape == (2, 3, 2, 3, 3)
    assert_close(curve(np.array([0.5, 1.0]))[:, 1], ends, 1e-12)
    vectors = np.stack(tangent_vectors(net, 4, 1.0, 6), axis=1)[:, None]
    moved = balanced_transport(factors, velocity, vectors)
    assert moved.shape == (4, 2, 2, 3, 3)
    one = balanced_transport(factors, velocity[1], vectors[2, 0])
    assert_close(moved[2, 1], one, 1e-10)
    scaled = balanced_exp(1e6 * factors, 1e6 * velocity)
    assert_close(scaled, 1e6 * ends, 1e-10)


@pytest.mark.parametrize("count", [1, 2])
@pytest.mark.parametrize(("widths", "rank"), [((3, 3), 3), ((3, 3, 3, 3), 3), ((4, 3, 5, 4), 2)])
def test_balanced_boundary(widths, rank, count):
    """A value that vanishes ends the geodesic; before, it runs straight."""
    net = network(widths, rank)
    lam, time = np.diag(net.core), 0.6257
    move = np.append(0.1 * np.ones(rank - count), -lam[rank - count :] / time)
    frames = zip(net.frames[1:], net.frames[:-1], strict=True)
    velocity = tuple(after * move @ before.T for after, before in frames)
    if set(widths) == {rank}:
        assert_names_time(lambda: balanced_exp(net.factors, velocity, rank), time)
    # Beside wider layers the frame vectors of a small value turn freely: few digits.
    with pytest.raises(ValueError, match=r"ends at time 0.62\d*: it reached the boundary"):
        balanced_exp(net.factors, velocity, rank)
    curve = balanced_geodesic(net.factors, velocity, rank, on_boundary="nan")
    for w, v, found in zip(net.factors, velocity, curve.point(np.array([0.5, 1.0])), strict=True):
        assert_close(found[0], w + 0.5 * v, 1e-10)
        assert np.isnan(found[1]).all()


@pytest.mark.parametrize("depth", [1, 2, 3])
def test_factors_go_on(depth):
    """Balanced, at the same speed, and back again; horizontal ones over those downstairs."""
    matrix, velocity = crossings(depth, 2)
    factors = tuple(np.moveaxis(factorize(matrix, depth), -3, 0))
    lift = horizontal_lift(factors, velocity)
    skew = tuple(np.random.default_rng(7).standard_normal((depth, 2, 3, 3)) * 0.2)
    slanted = tuple(v + s for v, s in zip(lift, tangent_projection(factors, skew, 3), strict=True))
    for start in (lift, slanted):
        curve = balanced_geodesic(factors, start, on_boundary="continue")
        times = np.array([0.6, 1.0])
        points, velocities = curve.point(times), curve.velocity(times)
        for w in points:
            assert (np.linalg.det(w[:, 1]) < 0).all()
        for moment in moment_map(points):
            assert_close(moment, 0 * moment, 1e-10, 1.0)
        assert_close(square_norms(velocities)[:, 1], square_norms(start), 1e-8)
        ends, back = (tuple(w[:, 1] for w in v) for v in (points, velocities))
        back = tuple(-v for v in back)
        again = balanced_exp(ends, back, on_boundary="continue")
        for w, expected in zip(again, factors, strict=True):
            assert_close(w, expected, 1e-8, 1.0)
        moved = balanced_transport(factors, start, start, on_boundary="continue")
        for v, expected in zip(moved, velocities, strict=True):
            assert_close(v, expected[:, 1], 1e-8, 1.0)
    below = exp(matrix, velocity, depth, on_boundary="continue")
    above = balanced_exp(factors, lift, on_boundary="continue")
    assert_close(end_to_end(above), below, 1e-8, 1.0)


def test_beside_wider_layers_factors_end():
    net = network((3, 4, 3), 3)
    velocity = tuple(-3 * w for w in net.factors)
    with pytest.raises(ValueError, match="it reached the boundary"):
        balanced_exp(net.factors, velocity, on_boundary="continue")


def test_tensors_give_tensors():
    """PyTorch gives the same values as tensors."""
    net = network((3, 4, 3), 2)
    velocity = tangent_projection(net.factors, tuple(0.1 * w for w in net.factors), 2)
    for dtype, tolerance in ((torch.float64, 1e-12), (torch.float32, 1e-4)):
        layers, moves = (
            tuple(torch.tensor(w, dtype=dtype) for w in v) for v in (net.factors, velocity)
        )
        pairs = zip(
            balanced_transport(layers, moves, moves, 2),
            balanced_transport(net.factors, velocity, velocity, 2),
            strict=True,
        )
        for found, expected in pairs:
            assert found.dtype == dtype
            assert_close(found.numpy(), expected, tolerance)


EYE = np.eye(3)
BAD_CALLS = {
    "unbalanced": (lambda: balanced_exp((EYE, 2 * EYE), (EYE, EYE)), "balance"),
    "word": (lambda: balanced_exp((EYE, EYE), (EYE, EYE), on_boundary=""), "on_boundary"),
    "shape": (lambda: balanced_exp((EYE, EYE), (EYE,)), "shape"),
    "times": (lambda: balanced_geodesic((EYE,), (EYE,)).point(np.eye(2)), "times"),
    "NaN": (lambda: balanced_transport((EYE,), (EYE,), (np.nan * EYE,)), "NaN"),
}


@pytest.mark.parametrize(("call", "message"), BAD_CALLS.values(), ids=BAD_CALLS)
def test_errors(call, message):
    """Wrong arguments raise a ValueError that says what came."""
    with pytest.raises(ValueError, match=message):
        call()
