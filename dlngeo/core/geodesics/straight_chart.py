r"""Depth one at full rank: straight lines, up to where a singular value vanishes."""

from typing import NamedTuple

import numpy

from dlngeo.core.base.arrays import transpose
from dlngeo.core.networks.blocks import Blocks, join, split
from dlngeo.core.networks.frames import SingularFrames, singular_frames
from dlngeo.core.numerics.integration import Status, Trajectory


class FlatChart(NamedTuple):
    """The entries of ``m × n`` matrices of full rank: the chart of depth one.

    A packed state is the matrix and its velocity.

    Attributes
    ----------
    rows, columns : int
    """

    rows: int
    columns: int

    def _matrices(self, packed: numpy.ndarray) -> tuple[numpy.ndarray, numpy.ndarray]:
        pair = packed.reshape(*packed.shape[:-1], 2, self.rows, self.columns)
        return pair[..., 0, :, :], pair[..., 1, :, :]

    def velocity(self, packed: numpy.ndarray) -> tuple[numpy.ndarray, numpy.ndarray]:
        """Return the constant velocity, and the relative least singular value as the gap."""
        matrix, direction = self._matrices(packed)
        moved = numpy.zeros_like(packed)
        size = self.rows * self.columns
        moved[..., :size] = direction.reshape(len(packed), size)
        sigma = singular_frames(matrix, min(matrix.shape[-2:])).sigma
        return moved, sigma[..., -1] - 1e-12 * sigma[..., 0]

    def flow(
        self,
        start: numpy.ndarray,
        end: numpy.ndarray,
        tolerance: float | numpy.ndarray,
        most_steps: int = 2_000,
    ) -> Trajectory:
        """Follow the straight lines; see `dlngeo.core.numerics.integration.integrate`.

        The rank falls at ``t`` if ``-1/t`` is an eigenvalue of ``X⁺ Ẋ``, and for rectangular
        matrices if it does fall there.
        """
        matrix, direction = self._matrices(start)
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
        boundary = numpy.where(falls, times, numpy.inf).min(axis=-1)
        time = numpy.minimum(end, boundary)
        state = start + time[:, None] * self.velocity(start)[0]
        status = numpy.where(boundary <= end, Status.BOUNDARY, Status.ARRIVED)
        zeros = numpy.zeros(len(start))
        return Trajectory(state, time, status, zeros, zeros.astype(int))

    def enter(self, frames: SingularFrames, tangent: Blocks) -> numpy.ndarray:
        """Return the packed state with the given frames of ``X``, and ``Ẋ`` split in them."""
        velocity = join(tangent, frames.left, frames.right)
        matrix = frames.with_values(frames.sigma) + 0 * velocity
        size = self.rows * self.columns
        flat = [part.reshape(*part.shape[:-2], size) for part in (matrix, velocity)]
        return numpy.concatenate(flat, axis=-1)

    def opened(self, packed: numpy.ndarray) -> tuple[SingularFrames, Blocks]:
        """Return frames of ``X``, and ``Ẋ`` split in them: the inverse of `enter`."""
        matrix, velocity = self._matrices(packed)
        frames = singular_frames(matrix, min(matrix.shape[-2:]))
        return frames, split(velocity, frames.left, frames.right)

    def leave(self, packed: numpy.ndarray) -> tuple[numpy.ndarray, numpy.ndarray]:
        """Return the matrix ``X`` and the velocity ``Ẋ`` of a packed state."""
        return self._matrices(packed)

    def speed(self, frames: SingularFrames, tangent: Blocks) -> numpy.ndarray:
        """Return the Frobenius norm of a velocity."""
        blocks = [block for block in tangent if block is not None]
        return numpy.sqrt(sum(numpy.sum(block**2, axis=(-2, -1)) for block in blocks))

    def displacement(self, packed: numpy.ndarray, frames: SingularFrames) -> Blocks:
        """Return ``X - X_1`` in the frames of another matrix."""
        matrix, _ = self._matrices(packed)
        return split(matrix - frames.with_values(frames.sigma), frames.left, frames.right)

    def pull_back(
        self, displacement: Blocks, source: SingularFrames, target: SingularFrames
    ) -> Blocks:
        """Return the velocity at ``X`` of the straight line by a displacement."""
        moved = join(displacement, target.left, target.right)
        return split(moved, source.left, source.right)
