"""The logarithm of the balanced manifold against its exponential."""

import numpy as np
import pytest
from scipy.linalg import expm

from dlngeo.core.geodesics.balanced_curves import balanced_exp
from dlngeo.core.geodesics.balanced_logarithm import balanced_connect, balanced_dist, balanced_log
from dlngeo.core.networks.frames import BalancedFrames, balanced_frames
from tests.core.brute import assert_close, network
from tests.core.geodesics.test_balanced_curves import square_norms, tangent_vectors

SHAPES = [((3, 3, 3), 3), ((2, 4, 3), 2), ((4, 3), 2), ((2, 2, 2, 2), 2)]


@pytest.mark.parametrize(("widths", "rank"), SHAPES, ids=str)
def test_there_and_back(widths, rank):
    """``log(W, exp(W, V)) = V``, and its norm is the distance."""
    net = network(widths, rank)
    vectors = tangent_vectors(net, 2, 0.2, 4)
    ends = balanced_exp(net.factors, vectors, net.rank)
    for found, vector in zip(balanced_log(net.factors, ends, net.rank), vectors, strict=True):
        assert_close(found, vector, 1e-8)
    length = balanced_dist(net.factors, ends, net.rank)
    assert_close(length, square_norms(vectors) ** 0.5, 1e-9)


def turned(factors, rank, seed, size=1.0):
    """Return balanced factors with frames turned at random, and other singular values."""
    rng = np.random.default_rng(seed)
    balanced = balanced_frames(factors, rank)
    rotations = []
    for frame in balanced.frames:
        noise = rng.standard_normal((frame.shape[-2], frame.shape[-2]))
        rotations.append(expm(size * (noise - noise.T)) @ frame)
    lam = balanced.lam * rng.uniform(0.7, 1.3, balanced.lam.shape)
    return tuple(BalancedFrames(tuple(rotations), lam).layers)


FAR = [((2, 2, 2), 2), ((2, 2, 2, 2), 2), ((3, 2, 4), 2), ((3, 3, 3), 1), ((3, 3), 2)]


@pytest.mark.parametrize(("widths", "rank"), FAR, ids=str)
def test_far_points_of_one_component(widths, rank):
    """Frames turn by any angles: geodesics end where they should, and are the same backwards."""
    first = network(widths, rank).factors
    points = [turned(first, rank, seed) for seed in range(2)]
    ends = tuple(np.stack(layer) for layer in zip(*points, strict=True))
    connection = balanced_connect(first, ends, rank)
    assert connection.is_found.all()
    for found, end in zip(balanced_exp(first, connection.velocity, rank), ends, strict=True):
        assert_close(found, end, 1e-8)
    assert_close(balanced_dist(ends, first, rank), connection.length, 1e-8)


@pytest.mark.parametrize("angle", [0.5, 2.0, 2.2])
def test_rank_one_is_a_cone(angle):
    """``d² = N (λ² + μ² - 2 λ μ cos θ)``, ``N θ² = Σ_p w_p α_p²``, up to ``θ = π``."""
    frames, lam, other = np.eye(3)[:, :1], np.array([1.3]), np.array([0.8])
    angles = np.array([0.3, -angle, 0.7 * angle, 0.2])
    ends = [np.array([[np.cos(a)], [np.sin(a)], [0.0]]) for a in angles]
    factors = BalancedFrames((frames,) * 4, lam).layers
    point = BalancedFrames(tuple(ends), other).layers
    theta = np.sqrt((np.array([1, 2, 2, 1]) * angles**2).sum() / 3)
    squared = 3 * (lam**2 + other**2 - 2 * lam * other * np.cos(theta))[0]
    connection = balanced_connect(tuple(factors), tuple(point), 1)
    if theta < np.pi:
        np.testing.assert_allclose(connection.length**2, squared, rtol=1e-8)
    else:
        assert not connection.length <= 3**0.5 * (lam + other)[0] * (1 - 1e-8)


COMPONENTS = [
    ((2, 2, 2), 2, "factor 1 has"),
    ((3, 2, 2, 4), 2, "factor 2 has"),
    ((2, 4, 2), 2, "the product of factors 1 to 2 has"),
    ((1, 3, 3, 1, 1), 1, "the product of factors 1 to 3 has"),
]


@pytest.mark.parametrize(("widths", "rank", "name"), COMPONENTS, ids=str)
def test_components(widths, rank, name):
    """A reflection of the frame of one layer as wide as the rank leads to another component."""
    factors = network(widths, rank).factors
    balanced = balanced_frames(factors, rank)
    p = [k for k, width in enumerate(widths) if width == rank][1]
    sign = np.array([*[1.0] * (rank - 1), -1.0])
    frames = list(balanced.frames)
    frames[p] = frames[p] * sign
    other = tuple(BalancedFrames(tuple(frames), balanced.lam).layers)
    with pytest.raises(ValueError, match=rf"{name} determinants of opposite signs: take pairs"):
        balanced_dist(factors, other)
    # A wider layer has room for a rotation in place of the reflection.
    for q in (k for k, width in enumerate(widths) if width > rank):
        frames = list(balanced.frames)
        noise = np.random.default_rng(q).standard_normal((widths[q], widths[q]))
        frames[q] = expm(0.2 * (noise - noise.T)) @ frames[q] * sign
        near = tuple(BalancedFrames(tuple(frames), balanced.lam).layers)
        assert balanced_connect(factors, near, rank).is_found


def test_what_is_not_found_is_told():
    """At depth one the chord is the only geodesic, and it may leave the component on the way."""
    point = (np.diag([1.0, 0.1]),)
    ends = (np.stack([np.diag([-1.0, -0.2]), np.diag([1.1, 0.2])]),)
    connection = balanced_connect(point, ends)
    np.testing.assert_array_equal(connection.is_found, [False, True])
    np.testing.assert_array_equal(np.isnan(connection.length), [True, False])
    for velocity in connection.velocity:
        np.testing.assert_array_equal(np.isnan(velocity).all(axis=(1, 2)), [True, False])
    with pytest.raises(RuntimeError, match=r"\(1 of 2, .* index \[0\]\): .* passes the boundary"):
        balanced_log(point, ends)
