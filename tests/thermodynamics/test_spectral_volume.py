"""The volume over singular values, against Gram determinants of all motions."""

import math

import numpy as np
import pytest

from dlngeo.thermodynamics.boltzmann_entropy import log_stiefel_volume, spectral_entropy
from dlngeo.thermodynamics.spectral_volume import Coordinates, log_spectral_volume
from tests.core.brute import Network, flatten, skew_basis, velocity
from tests.thermodynamics.spectral_energies import SHAPES


def gram_volume(widths, lam):
    """Return the log volume of ``M`` over ``dλ`` from the Gram determinant of all motions."""
    rank = len(lam)
    frames = [np.eye(width)[:, :rank] for width in widths]
    net = Network(tuple(frames), np.diag(lam))
    still = [0 * frame for frame in frames]
    motions = []
    for turn in skew_basis(widths):
        changes = [a @ frame for a, frame in zip(turn, frames, strict=True)]
        if any(np.any(change) for change in changes):
            motions.append(Network(tuple(changes), 0 * net.core))
    motions += [Network(tuple(still), np.diag(unit)) for unit in np.eye(rank)]
    vectors = np.stack([flatten(velocity(net, motion)) for motion in motions])
    volume = sum(log_stiefel_volume(width, rank) for width in widths) - rank * math.log(2)
    return volume + np.linalg.slogdet(vectors @ vectors.T)[1] / 2


@pytest.mark.parametrize(("widths", "rank"), SHAPES)
def test_volume_is_a_gram_determinant(widths, rank):
    """Frames and values parametrise ``M``, with ``2^r`` signs of singular vectors too many."""
    lam = np.array([1.7, 0.9, 0.4])[:rank]
    expected = gram_volume(widths, lam)
    assert log_spectral_volume(lam, widths) == pytest.approx(expected, rel=1e-12)
    # Without orbits, and with orbits that weigh less.
    bare = log_spectral_volume(lam, widths, entropic=False)
    entropy = spectral_entropy(lam ** (len(widths) - 1), widths)
    assert bare + entropy == pytest.approx(expected, rel=1e-12)
    assert log_spectral_volume(lam, widths, 0.3) == pytest.approx(bare + entropy / 0.3, rel=1e-12)


@pytest.mark.parametrize(("leading", "size"), [(0, 1), (0, 3), (1, 3), (2, 3)])
def test_coordinates_change_volume_by_their_jacobian(leading, size):
    """Values fall, the leading one is where it is said to be, and ``|dλ/dy|`` is a determinant."""
    rng = np.random.default_rng(3)
    y = rng.normal(size=size)
    y[leading + 1 :] = abs(y[leading + 1 :])  # gaps
    # Coordinates are (log λ_i, differences above in falling order, gaps below).
    y = np.concatenate([y[leading : leading + 1], y[:leading], y[leading + 1 :]])

    def roots(point):
        return np.exp(Coordinates(leading).logs(point)[0])

    logs, gaps, change = Coordinates(leading).logs(y)
    assert logs[leading] == y[0]
    np.testing.assert_allclose(gaps, -np.diff(logs), rtol=1e-12)
    assert (gaps > 0).all()
    step = 1e-4
    columns = [
        (8 * (roots(y + step * e) - roots(y - step * e)) - roots(y + 2 * step * e)
         + roots(y - 2 * step * e)) / (12 * step)
        for e in np.eye(size)
    ]  # fmt: skip
    determinant = np.linalg.slogdet(np.stack(columns, axis=1))[1]
    assert change == pytest.approx(determinant, abs=1e-9)
