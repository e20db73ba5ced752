"""The orthonormal basis of the tangent space."""

import numpy as np
import pytest

from dlngeo.core.balanced import basis
from dlngeo.core.balanced import submanifold as bm
from dlngeo.core.networks.balancing import balance
from tests.core.brute import (
    NETWORKS,
    Network,
    assert_close,
    network,
    tangent_projector,
    vertical_projector,
)
from tests.core.libraries import (
    ARRAYS,
)

NETWORK = pytest.mark.parametrize("net", NETWORKS.values(), ids=NETWORKS)


def basis_of(net: Network) -> tuple[np.ndarray, np.ndarray]:
    """Return the horizontal and the vertical vectors of the package's basis as rows."""
    parts = basis.tangent_basis(net.factors, net.rank)
    return tuple(
        np.concatenate([v.reshape(len(v), np.prod(v.shape[1:])) for v in part], axis=1)
        for part in parts
    )


@NETWORK
def test_basis_is_orthonormal_and_spans(net):
    """The basis is orthonormal, complete, and split in horizontal and vertical vectors."""
    horizontal, vertical = basis_of(net)
    widths, rank = net.widths, net.rank
    assert len(horizontal) == rank * (widths[0] + widths[-1] - rank)
    both = np.concatenate([horizontal, vertical])
    assert_close(both @ both.T, np.eye(bm.dimension(widths, rank)), 1e-13)
    assert_close(both.T @ both, tangent_projector(net), 1e-12)
    assert_close(vertical.T @ vertical, vertical_projector(net), 1e-11, scale=1.0)


@pytest.mark.parametrize("library", ["torch", "jax"])
def test_basis_in_every_library(library):
    """The basis spans the same space in every library, in the type of the point."""
    net = network((3, 3, 3, 3), 2)
    for dtype, tolerance in ((np.float64, 1e-13), (np.float32, 1e-5)):
        factors = [ARRAYS[library](w.astype(dtype)) for w in net.factors]
        parts = basis.tangent_basis(factors, 2)
        rows = [[np.asarray(v).reshape(len(v), -1) for v in part] for part in parts]
        both = np.concatenate([np.concatenate(part, axis=1) for part in rows])
        assert both.dtype == dtype
        assert_close(both.T @ both, tangent_projector(net), tolerance)


def test_batches():
    """The basis of a batch is the stack of bases, up to turns of each."""
    points = balance(np.random.default_rng(15).standard_normal((2, 3, 4, 3, 3)))
    horizontal, vertical = basis.tangent_basis(points)
    assert horizontal.shape == (9, 2, 3, 4, 3, 3)
    assert vertical.shape == (9, 2, 3, 4, 3, 3)
    for i, j in np.ndindex(2, 3):
        single = np.concatenate(basis.tangent_basis(points[i, j])).reshape(18, -1)
        both = np.concatenate([horizontal[:, i, j], vertical[:, i, j]]).reshape(18, -1)
        assert_close(both.T @ both, single.T @ single, 1e-12)
