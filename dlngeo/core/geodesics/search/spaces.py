"""Matrices as points of shooting problems, with coordinates of their tangent vectors."""

from typing import NamedTuple

import numpy

from dlngeo.core.base.arrays import transpose
from dlngeo.core.base.packing import pack, unpack
from dlngeo.core.depth_metric.weights import weights_of
from dlngeo.core.networks.blocks import Blocks
from dlngeo.core.networks.frames import SingularFrames, complement, tangent_at


class MatrixSpace(NamedTuple):
    """Matrices of a rank, and coordinates of their tangent vectors in frames.

    First come the entries of the core, then those of the blocks towards the left and the right
    null space in orthonormal bases, all of them divided by weights.

    Attributes
    ----------
    frames : SingularFrames
    left_null, right_null : array, shape=[..., m, m - r], shape=[..., n, n - r]
        Bases of the null spaces.
    weights : Blocks
        What broadcasts against the blocks of a tangent vector.
    """

    frames: SingularFrames
    left_null: numpy.ndarray
    right_null: numpy.ndarray
    weights: Blocks

    @property
    def matrix(self) -> numpy.ndarray:
        """The matrices, shape=[..., m, n]."""
        return self.frames.with_values(self.frames.sigma)

    @property
    def _shapes(self) -> list[tuple[int, int]]:
        rank = self.frames.sigma.shape[-1]
        return [(rank, rank), (self.left_null.shape[-1], rank), (rank, self.right_null.shape[-1])]

    @property
    def dimension(self) -> int:
        """Number of coordinates."""
        return sum(rows * columns for rows, columns in self._shapes)

    def pack(self, vector: Blocks) -> numpy.ndarray:
        """Return the coordinates of the tangent part of a vector, shape=[..., n]."""
        core, left, right, _ = vector.tangent().map(numpy.divide, self.weights)
        nulls = [] if left is None else [transpose(self.left_null) @ left]
        nulls += [] if right is None else [right @ self.right_null]
        return pack([core, *nulls])

    def blocks(self, coordinates: numpy.ndarray) -> tuple[numpy.ndarray, ...]:
        """Return coordinates as matrices, the null blocks in the bases of the null spaces."""
        return unpack(coordinates, self._shapes)

    def unpack(self, coordinates: numpy.ndarray) -> Blocks:
        """Return the tangent vector of which `pack` gives the coordinates."""
        core, left, right = self.blocks(coordinates)
        left, right = self.left_null @ left, right @ transpose(self.right_null)
        return tangent_at(self.frames, core, left, right).map(numpy.multiply, self.weights)


def matrix_space(frames: SingularFrames, weights: Blocks) -> MatrixSpace:
    """Return the space of matrices with given frames, shape=[b, ...]."""
    return MatrixSpace(frames, complement(frames.left), complement(frames.right), weights)


def metric_space(frames: SingularFrames, depth: float) -> MatrixSpace:
    """Return the space of matrices with coordinates that are orthonormal in the depth metric."""
    weights = weights_of(frames.sigma, depth)
    core, null = weights.root, weights.null_root
    return matrix_space(frames, Blocks(core, null[..., None, :], null[..., :, None]))
