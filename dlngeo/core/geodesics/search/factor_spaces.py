"""Balanced factors as points of shooting problems, with coordinates of their tangent vectors."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy

from dlngeo.core.balanced.basis import tangent_basis
from dlngeo.core.base.packing import pack
from dlngeo.core.networks.frames import BalancedFrames, balanced_frames


class FactorSpace(NamedTuple):
    """Balanced factors as points of parameter space, and coordinates of their tangent vectors.

    Attributes
    ----------
    balanced : BalancedFrames
    point : array, shape=[..., D]
    basis : array, shape=[..., n, D]
        Orthonormal basis of the tangent space.
    """

    balanced: BalancedFrames
    point: numpy.ndarray
    basis: numpy.ndarray

    @property
    def dimension(self) -> int:
        """Dimension of the balanced manifold."""
        return self.basis.shape[-2]

    def pack(self, vector: numpy.ndarray) -> numpy.ndarray:
        """Return the coordinates of the tangent part of a vector, shape=[..., n]."""
        return numpy.einsum("...i,...ni->...n", vector, self.basis)

    def unpack(self, coordinates: numpy.ndarray) -> numpy.ndarray:
        """Return the tangent vector with given coordinates, shape=[..., D]."""
        return numpy.einsum("...n,...ni->...i", coordinates, self.basis)


def factor_space(layers: Sequence[numpy.ndarray], rank: int) -> FactorSpace:
    """Return the space of balanced factors, shape=[..., d_p, d_{p-1}]."""
    groups = [pack(group) for group in tangent_basis(tuple(layers), rank)]
    basis = numpy.moveaxis(numpy.concatenate(groups), 0, -2)
    return FactorSpace(balanced_frames(layers, rank), pack(layers), basis)
