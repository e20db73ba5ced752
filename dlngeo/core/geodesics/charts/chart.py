"""Charts: coordinates in which geodesics are integrated."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import numpy

from dlngeo.core.base.arrays import transpose
from dlngeo.core.networks.blocks import Blocks, join
from dlngeo.core.networks.frames import SingularFrames
from dlngeo.core.numerics.integration import Trajectory, integrate

Matrices = Sequence[numpy.ndarray]
Bases = tuple[numpy.ndarray | None, numpy.ndarray | None]


class Chart(ABC):
    """Coordinates of points and velocities in which geodesics are tame up to the boundary.

    A state is one vector; points are of size one, and velocities at most.

    Attributes
    ----------
    tolerance : float
        Local error of a step, relative to the size of the points.
    nearest : float
        Part of the first gap below which the boundary counts as reached.
    ways_on : tuple of str
        Words for how geodesics can go on beyond the boundary.
    """

    tolerance: ClassVar[float] = 5e-11
    ways_on: ClassVar[tuple[str, ...]] = ()

    @property
    def nearest(self) -> float:
        return 0.0

    @abstractmethod
    def velocity(self, state: numpy.ndarray) -> tuple[numpy.ndarray, numpy.ndarray]:
        """Return the velocity of the geodesic flow, and the gap to the boundary.

        Parameters
        ----------
        state : array, shape=[b, n_state]

        Returns
        -------
        velocity : array, shape=[b, n_state]
        gap : array, shape=[b]
        """

    @abstractmethod
    def reverse(self, state: numpy.ndarray) -> numpy.ndarray:
        """Return the states of the same points with opposite velocities."""

    @abstractmethod
    def leave(self, state: numpy.ndarray) -> tuple[Matrices, Matrices]:
        """Return points and velocities, each as matrices, shape=[..., m_i, n_i]."""

    def flow(
        self,
        start: numpy.ndarray,
        end: numpy.ndarray,
        tolerance: float | numpy.ndarray,
        most_steps: int = 2_000,
    ) -> Trajectory:
        """Follow the geodesic flow; see `dlngeo.core.numerics.integration.integrate`."""
        return integrate(self.velocity, start, end, tolerance, most_steps, self.nearest)


@dataclass(frozen=True, eq=False)
class ObservableChart(Chart):
    """Coordinates of matrices of a rank.

    Attributes
    ----------
    bases : pair of array, shape=[..., m, rows], shape=[..., n, columns], or None
        Orthonormal bases in which rows and columns of the chart count; None for all of them.
    way_on : str, optional
        How geodesics go on beyond the boundary where they can, as `geodesic` says; by default
        they end there.
    """

    ways_on = ("continue", "cross")

    bases: Bases = field(default=(None, None), kw_only=True)
    way_on: str | None = field(default=None, kw_only=True)

    @abstractmethod
    def enter(self, frames: SingularFrames, tangent: Blocks) -> numpy.ndarray:
        """Return the state with the given frames of ``X``, and ``Ẋ`` split in them."""

    @abstractmethod
    def decompose(self, state: numpy.ndarray) -> tuple[SingularFrames, Blocks]:
        """Return frames of ``X``, and ``Ẋ`` split in them: the inverse of `enter`."""

    @abstractmethod
    def speed(self, frames: SingularFrames, tangent: Blocks) -> numpy.ndarray:
        """Return the norm of a velocity."""

    @abstractmethod
    def displacement(self, state: numpy.ndarray, frames: SingularFrames) -> Blocks:
        """Return by how much a point is off another matrix, split in the frames of that."""

    @abstractmethod
    def pull_back(
        self, displacement: Blocks, source: SingularFrames, target: SingularFrames
    ) -> Blocks:
        """Return the velocity at ``X`` of the straight line of the chart by a displacement."""

    @property
    def is_flat(self) -> bool:
        """Whether geodesics are straight lines, one between two points at most."""
        return False

    @property
    def is_mirror(self) -> bool:
        """Whether geodesics come back from the boundary."""
        return False

    def turn(
        self, state: numpy.ndarray, left: numpy.ndarray
    ) -> tuple[numpy.ndarray, numpy.ndarray]:
        """Return how geodesics go on from the boundary: see `integrate_on`."""
        return numpy.full_like(state, numpy.nan), 0 * left

    def reverse(self, state: numpy.ndarray) -> numpy.ndarray:
        frames, tangent = self.decompose(state)
        return self.enter(frames, -tangent)

    def leave(self, state: numpy.ndarray) -> tuple[Matrices, Matrices]:
        point, velocity = ([extend(matrix, *self.bases)] for matrix in self._pair(state))
        return point, velocity

    def _pair(self, state: numpy.ndarray) -> tuple[numpy.ndarray, ...]:
        frames, tangent = self.decompose(state)
        return frames.with_values(frames.sigma), join(tangent, frames.left, frames.right)


def compress(frames: SingularFrames, tangent: Blocks) -> tuple[SingularFrames, Blocks, Bases]:
    """Restrict rows and columns to the subspaces in which a geodesic stays.

    They are spanned by the frames and the velocity, of dimension ``2 r``: reflections at
    them are isometries that keep the initial data.
    """
    left, left_null, left_basis = restrict(frames.left, tangent.left_null)
    right, right_null, right_basis = restrict(frames.right, tangent.transposed().left_null)
    right_null = None if right_null is None else transpose(right_null)
    tangent = Blocks(tangent.core, left_null, right_null)
    return SingularFrames(left, frames.sigma, right), tangent, (left_basis, right_basis)


def restrict(
    frame: numpy.ndarray, columns: numpy.ndarray | None
) -> tuple[numpy.ndarray, numpy.ndarray | None, numpy.ndarray | None]:
    """Return columns in a basis of their common span, and the basis, if that is smaller."""
    rows, rank = frame.shape[-2:]
    if columns is None or rows <= 2 * rank:
        return frame, columns, None
    basis = numpy.linalg.qr(numpy.concatenate([frame + 0 * columns, columns], axis=-1))[0]
    return transpose(basis) @ frame, transpose(basis) @ columns, basis


def extend(
    matrix: numpy.ndarray, left: numpy.ndarray | None, right: numpy.ndarray | None
) -> numpy.ndarray:
    """Return a matrix in the entries from which `restrict` took it."""
    matrix = matrix if left is None else left @ matrix
    return matrix if right is None else matrix @ transpose(right)
