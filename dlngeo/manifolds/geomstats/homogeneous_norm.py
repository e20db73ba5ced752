"""Norms of vectors of any size, whose squares may be out of range."""

import geomstats.backend as gs
from geomstats.geometry.riemannian_metric import RiemannianMetric

from dlngeo.core.base.arrays import Array
from dlngeo.manifolds.geomstats.checks import largest_entry
from dlngeo.manifolds.geomstats.door import CheckedArguments


class HomogeneousNorm(CheckedArguments, RiemannianMetric):
    """Metric whose norms are found in units of the largest entry, ``‖V‖ = c ‖V / c‖``."""

    def _argument_shape(self) -> tuple[int, ...]:
        return tuple(self._space.shape)

    def norm(self, vector: Array, base_point: Array | None = None) -> Array:
        ndim = self._space.point_ndim
        size = largest_entry(vector, ndim)
        size = gs.where(size > 0, size, gs.ones_like(size))
        unit = vector / size[(..., *[None] * ndim)]
        return size * gs.sqrt(self.inner_product(unit, unit, base_point))
