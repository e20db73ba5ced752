"""Shots between matrices: geodesics from one matrix, and by how much they miss another one."""

from typing import NamedTuple

import numpy

from dlngeo.core.geodesics.charts.chart import ObservableChart
from dlngeo.core.geodesics.search.spaces import MatrixSpace
from dlngeo.core.networks.blocks import Blocks, join, split
from dlngeo.core.networks.frames import SingularFrames
from dlngeo.core.numerics.shooting import CONVERGED, FINEST, Aim, aim_at, shoot, unit_vectors

MOST_STEPS = 400
"""Steps of an integration after which a shot counts as lost."""

# Displacement and iterations up to which local geodesics are found.
_ROUGH, _FEW = 1e-3, 8


class Shots(NamedTuple):
    """Shots in a chart."""

    chart: ObservableChart

    def aim(self, source: MatrixSpace, target: MatrixSpace, part: float = 1.0) -> Aim:
        """Return the aim at points."""

        def pull_back(gap: Blocks, here: MatrixSpace, there: MatrixSpace) -> Blocks:
            return self.chart.pull_back(gap, here.frames, there.frames)

        # Displacements in the chart have no weights.
        weights = source.weights.map(numpy.ones_like)
        return aim_at(target._replace(weights=weights), source, self._gap, pull_back, part)

    def _gap(
        self,
        source: MatrixSpace,
        target: MatrixSpace,
        velocity: Blocks,
        length: numpy.ndarray,
        tolerance: numpy.ndarray,
    ) -> Blocks:
        end = self.flow(source, velocity, length, tolerance)
        return self.chart.displacement(end, target.frames)

    def flow(
        self,
        source: MatrixSpace,
        velocity: Blocks,
        length: numpy.ndarray,
        tolerance: numpy.ndarray | float,
    ) -> numpy.ndarray:
        """Return states after a length, NaN where geodesics do not arrive."""
        state = self.chart.enter(source.frames, velocity)
        return self.chart.flow(state, length, tolerance, MOST_STEPS).arrival

    def near_log(
        self, source: MatrixSpace, target: MatrixSpace
    ) -> tuple[numpy.ndarray, numpy.ndarray]:
        """Return the velocities to which the straight line of the chart leads, and what is left."""
        aim = self.aim(source, target)
        start = numpy.zeros((len(source.frames.sigma), source.dimension))
        return shoot(aim.miss, start, aim.inverse)

    def local_log(
        self, source: MatrixSpace, target: SingularFrames
    ) -> tuple[numpy.ndarray, numpy.ndarray]:
        """Return about the velocities to near points, and which ones lead there."""
        aim = self.aim(source, source._replace(frames=target))
        start = numpy.zeros((len(target.sigma), source.dimension))
        u, defect = shoot(aim.miss, start, aim.inverse, _ROUGH, _FEW, renews=False)
        return u, defect <= 10 * _ROUGH

    def turn_round(
        self, velocity: numpy.ndarray, source: MatrixSpace, target: MatrixSpace
    ) -> numpy.ndarray:
        """Return the velocities at the second matrices of geodesics backwards."""
        direction, length = unit_vectors(velocity)
        end = self.flow(source, source.unpack(direction), length, FINEST)
        frames, tangent = self.chart.decompose(end)
        ambient = join(tangent, frames.left, frames.right)
        back = -length[:, None, None] * ambient
        guess = target.pack(split(back, target.frames.left, target.frames.right))
        aim = self.aim(target, source)
        polished, defect = shoot(aim.miss, guess, aim.inverse, CONVERGED)
        return numpy.where((defect <= CONVERGED)[:, None], polished, guess)
