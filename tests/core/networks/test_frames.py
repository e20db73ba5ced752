"""Laws of `dlngeo.core.networks.frames`: singular frames, frames of balanced factors."""

import numpy as np
import pytest

from dlngeo.core.networks import frames
from tests.core.brute import NETWORKS, assert_close, network, product
from tests.core.libraries import ARRAYS

NETWORK = pytest.mark.parametrize("net", NETWORKS.values(), ids=NETWORKS)


@pytest.mark.parametrize(("m", "n"), [(4, 3), (3, 5), (3, 3)])
@pytest.mark.parametrize("r", [1, 2, 3])
def test_singular_frames_give_the_best_approximation(m, n, r):
    """Frames are orthonormal, and the error is the tail of the singular values."""
    matrix = np.random.default_rng(2).standard_normal((6, m, n))
    left, sigma, right = frames.singular_frames(matrix, r)
    assert_close(left.swapaxes(1, 2) @ left, np.broadcast_to(np.eye(r), (6, r, r)), 1e-14)
    assert_close(right.swapaxes(1, 2) @ right, np.broadcast_to(np.eye(r), (6, r, r)), 1e-14)
    error = matrix - left * sigma[:, None, :] @ right.swapaxes(1, 2)
    tail = np.linalg.svd(matrix, compute_uv=False)[:, r:]
    assert_close(np.sum(error**2, axis=(1, 2)), np.sum(tail**2, axis=1), 1e-13, scale=10.0)
    assert np.all(np.diff(sigma, axis=-1) <= 0)


def test_check_positive():
    """A zero among the first values is refused, with the remedy."""
    frames.check_positive(np.array([[1.0, 1e-12], [2.0, 1.0]]), 2)
    frames.check_positive(np.array([1.0, 0.0]), 1)
    frames.check_positive(np.zeros((0, 2)), 2)
    with pytest.raises(ValueError, match=r"zero to round-off \(1 of 2, .* index \[0\]\)"):
        frames.check_positive(np.array([[1.0, 1e-17], [2.0, 1.0]]), 2)


@NETWORK
def test_balanced_frames_diagonalise_every_factor(net):
    """``W_p = Q_p Λ Q_{p-1}ᵀ`` with orthonormal frames, also at repeated values."""
    found = frames.balanced_frames(net.factors, net.rank)
    assert found.depth == net.depth
    assert_close(found.lam, np.sort(np.diag(net.core))[::-1], 1e-14)
    for frame in found.frames:
        assert_close(frame.T @ frame, np.eye(net.rank), 1e-14)
    for p, factor in enumerate(net.factors):
        rebuilt = found.frames[p + 1] * found.lam @ found.frames[p].T
        assert_close(rebuilt, factor, 1e-13)
    rebuilt = found.frames[-1] * found.lam**net.depth @ found.frames[0].T
    assert_close(rebuilt, product(net.factors), 1e-13)


def test_balanced_frames_of_ill_conditioned_factors():
    """Frames stay orthonormal at a condition number of 1e6 per factor."""
    net = network((3, 3, 3, 3, 3), 3, [1e3, 1.0, 1e-3])
    found = frames.balanced_frames(net.factors)
    for p, factor in enumerate(net.factors):
        assert_close(found.frames[p].T @ found.frames[p], np.eye(3), 1e-14)
        assert_close(found.frames[p + 1] * found.lam @ found.frames[p].T, factor, 1e-9)


def test_balanced_frames_of_batches():
    """A batch is the stack of its elements."""
    nets = [network((4, 3, 5, 4), 2, seed=seed) for seed in range(4)]
    batch = [np.stack([net.factors[p] for net in nets]).reshape(2, 2, *w.shape)
             for p, w in enumerate(nets[0].factors)]  # fmt: skip
    found = frames.balanced_frames(batch, 2)
    assert found.lam.shape == (2, 2, 2)
    for p, factor in enumerate(batch):
        after, before = found.frames[p + 1], found.frames[p]
        assert_close(after * found.lam[..., None, :] @ before.swapaxes(-1, -2), factor, 1e-14)


def test_balanced_frames_refuse_unbalanced_factors():
    """Factors off balance, or of another rank, are refused with the remedy."""
    net = network((3, 3, 3), 3)
    first, second = net.factors
    tilted = (2 * first, second / 2)
    with pytest.raises(ValueError, match="balance the factors first"):
        frames.balanced_frames(tilted)
    nearly = (first * (1 + 1e-5), second / (1 + 1e-5))
    with pytest.raises(ValueError, match=r"factor 2 is off by .*e-0[56] of its norm"):
        frames.balanced_frames(nearly)
    frames.balanced_frames((first * (1 + 1e-9), second / (1 + 1e-9)))
    with pytest.raises(ValueError, match="expected a matrix of rank 2"):
        frames.balanced_frames(net.factors, 2)
    low = network((3, 3, 3), 2)
    with pytest.raises(ValueError, match="expected rank 3, but singular value 3 is zero"):
        frames.balanced_frames(low.factors, 3)
    with pytest.raises(ValueError, match="factor 2 holds NaN"):
        frames.balanced_frames((first, second * np.nan))


@pytest.mark.parametrize("library", ["torch", "jax"])
def test_balanced_frames_in_every_library(library):
    """NumPy, PyTorch and JAX give the same values, and float32 stays float32."""
    factors = network((3, 3, 3, 3), 2).factors
    expected = frames.balanced_frames(factors, 2).lam
    assert_close(frames.balanced_frames([*map(ARRAYS[library], factors)], 2).lam, expected, 1e-14)
    for make in (np.array, ARRAYS[library]):
        single = frames.balanced_frames([make(w.astype(np.float32)) for w in factors], 2).lam
        assert "float32" in str(single.dtype)
        assert_close(single, expected, 1e-5)


def test_complement():
    """The complement of a frame is orthonormal and orthogonal to it."""
    frame = np.linalg.qr(np.random.default_rng(10).standard_normal((6, 5, 2)))[0]
    null = frames.complement(frame)
    both = np.concatenate([frame, null], axis=-1)
    assert_close(both @ both.swapaxes(1, 2), np.broadcast_to(np.eye(5), (6, 5, 5)), 1e-14)
    assert frames.complement(np.eye(3)).shape == (3, 0)
