r"""Depth one at full rank: straight lines, up to where a singular value vanishes or beyond."""

from dataclasses import dataclass

import numpy

from dlngeo.core.base import packing
from dlngeo.core.base.arrays import transpose
from dlngeo.core.geodesics.charts.chart import ObservableChart
from dlngeo.core.networks.blocks import Blocks, join, split
from dlngeo.core.networks.frames import SingularFrames, singular_frames
from dlngeo.core.numerics.integration import Status, Trajectory


@dataclass(frozen=True, eq=False)
class StraightChart(ObservableChart):
    """The entries of ``m × n`` matrices of full rank: the chart of depth one.

    A state is the matrix and its velocity.

    Attributes
    ----------
    rows, columns : int
    """

    rows: int
    columns: int

    @property
    def is_flat(self) -> bool:
        return True

    def _pair(self, state: numpy.ndarray) -> tuple[numpy.ndarray, ...]:
        return packing.unpack(state, [(self.rows, self.columns)] * 2)

    def velocity(self, state: numpy.ndarray) -> tuple[numpy.ndarray, numpy.ndarray]:
        """Return the constant velocity, and the relative least singular value as the gap.

        Where straight lines go on there is none: the gap is one.
        """
        matrix, direction = self._pair(state)
        sigma = singular_frames(matrix, min(matrix.shape[-2:])).sigma
        gap = sigma[..., -1] - 1e-12 * sigma[..., 0]
        if self.way_on is not None:
            gap = numpy.ones_like(gap)
        return packing.pack([direction, 0 * direction]), gap

    def flow(
        self,
        start: numpy.ndarray,
        end: numpy.ndarray,
        tolerance: float | numpy.ndarray,
        most_steps: int = 2_000,
    ) -> Trajectory:
        """Follow the straight lines, in closed form.

        The rank falls at ``t`` if ``-1/t`` is an eigenvalue of ``X⁺ Ẋ``, and for rectangular
        matrices if it does fall there. All matrices are the completed space, which is flat.
        """
        matrix, direction = self._pair(start)
        if self.rows < self.columns:
            matrix, direction = transpose(matrix), transpose(direction)
        values = numpy.linalg.eigvals(numpy.linalg.pinv(matrix) @ direction)
        with numpy.errstate(divide="ignore", invalid="ignore"):
            times = numpy.nan_to_num((-1 / values).real, nan=-1.0)
        times = numpy.where((times > 0) & (times <= end[:, None]), times, numpy.inf)
        at = numpy.where(numpy.isfinite(times), times, 0.0)[..., None, None]
        there = matrix[:, None] + at * direction[:, None]
        sigma = numpy.linalg.svd(there, compute_uv=False)
        falls = sigma[..., -1] <= 1e-7 * sigma[..., 0].max(axis=-1, initial=1.0)[:, None]
        boundary = numpy.where(falls & (self.way_on is None), times, numpy.inf).min(axis=-1)
        time = numpy.minimum(end, boundary)
        state = start + time[:, None] * self.velocity(start)[0]
        status = numpy.where(boundary <= end, Status.BOUNDARY, Status.ARRIVED)
        zeros = numpy.zeros(len(start))
        return Trajectory(state, time, status, zeros, zeros.astype(int))

    def enter(self, frames: SingularFrames, tangent: Blocks) -> numpy.ndarray:
        velocity = join(tangent, frames.left, frames.right)
        return packing.pack([frames.with_values(frames.sigma) + 0 * velocity, velocity])

    def decompose(self, state: numpy.ndarray) -> tuple[SingularFrames, Blocks]:
        matrix, velocity = self._pair(state)
        frames = singular_frames(matrix, min(matrix.shape[-2:]))
        return frames, split(velocity, frames.left, frames.right)

    def speed(self, frames: SingularFrames, tangent: Blocks) -> numpy.ndarray:
        return tangent.norm()

    def displacement(self, state: numpy.ndarray, frames: SingularFrames) -> Blocks:
        matrix, _ = self._pair(state)
        return split(matrix - frames.with_values(frames.sigma), frames.left, frames.right)

    def pull_back(
        self, displacement: Blocks, source: SingularFrames, target: SingularFrames
    ) -> Blocks:
        velocity = join(displacement, target.left, target.right)
        return split(velocity, source.left, source.right)
