"""What the spaces share: arrays of one shape, of which constraints and a projector tell more."""

from abc import abstractmethod

import geomstats.backend as gs
from geomstats.geometry.manifold import Manifold
from geomstats.vectorization import get_batch_shape

from dlngeo.core.base.arrays import Array
from dlngeo.manifolds.geomstats.checks import finite_points, is_small
from dlngeo.manifolds.geomstats.door import CheckedArguments


class EmbeddedSpace(CheckedArguments, Manifold):
    """Submanifold of a space of matrices, or of a product of such spaces.

    Parameters
    ----------
    embedding_space : Matrices or ProductManifold
    dim : int
    equip : bool
        If True, equip with the default metric.
    """

    def __init__(self, embedding_space: Manifold, dim: int, equip: bool):
        self.embedding_space = embedding_space
        super().__init__(dim=dim, shape=embedding_space.shape, intrinsic=False, equip=equip)

    def _argument_shape(self) -> tuple[int, ...]:
        return tuple(self.shape)

    def belongs(self, point: Array, atol: float = gs.atol) -> Array:
        if tuple(point.shape[-self.point_ndim :]) != self.shape:
            return gs.zeros(tuple(point.shape[: -self.point_ndim]), dtype=bool)
        is_finite, point = finite_points(point, self.point_ndim)
        return gs.logical_and(is_finite, self._fulfils(point, atol))

    @abstractmethod
    def _fulfils(self, point: Array, atol: float) -> Array:
        """Tell which finite points of the right shape fulfil the constraints."""

    def is_tangent(self, vector: Array, base_point: Array, atol: float = gs.atol) -> Array:
        if tuple(vector.shape[-self.point_ndim :]) != self.shape:
            return gs.zeros(get_batch_shape(self.point_ndim, base_point, vector), dtype=bool)
        return is_small(vector - self.to_tangent(vector, base_point), vector, atol, self.point_ndim)


def gaussian(n_samples: int, *shape: int) -> Array:
    """Return arrays of Gaussian numbers, with a batch axis where geomstats has one."""
    return gs.random.normal(size=shape if n_samples == 1 else (n_samples, *shape))


def in_unit_ball(n_samples: int, dim: int, *shape: int) -> Array:
    """Return arrays in the unit ball, with a batch axis where geomstats has one.

    The norm is distributed as in a ball of dimension ``dim``, uniformly if that is the size.
    """
    step = gaussian(n_samples, *shape)
    axes = tuple(range(-len(shape), 0))
    square = gs.sum(step**2, axis=axes, keepdims=True)
    # The part of the radius of which balls have the part u of their volume.
    share = gs.random.rand(*square.shape) ** (1 / dim)
    return share * step / gs.sqrt(square)
