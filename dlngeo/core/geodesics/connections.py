"""Geodesics found between points: whether proved to be the shortest, and why there is none."""

import enum
from dataclasses import dataclass

import numpy

from dlngeo.core.base.arrays import Array, to_numpy
from dlngeo.core.base.checks import in_batch
from dlngeo.core.geodesics.search.bounds import CERTAIN


class Verdict(enum.IntEnum):
    """Whether a geodesic was found between two points, or why none."""

    FOUND = 0
    APART = 1
    STRAIGHT_LINE_LEAVES = 2
    PASSES_BOUNDARY = 3
    MAY_NOT_EXIST = 4
    EXISTS = 5
    NOT_REACHED = 6

    @property
    def reason(self) -> str:
        """What it means."""
        return {
            Verdict.FOUND: "a geodesic was found",
            Verdict.APART: "no path joins the points",
            Verdict.STRAIGHT_LINE_LEAVES: "the straight line, the only geodesic, leaves the space",
            Verdict.PASSES_BOUNDARY: "the geodesic found passes the boundary, where a singular "
            "value vanishes",
            Verdict.MAY_NOT_EXIST: "paths through the boundary may be as short as any, so that "
            "there may be no geodesic",
            Verdict.EXISTS: "a geodesic exists, but no shot arrived",
            Verdict.NOT_REACHED: "no shot arrived",
        }[self]


@dataclass(frozen=True)
class Connection:
    """Geodesics found between pairs of points.

    Attributes
    ----------
    velocity : array-like, shape=[..., m, n]
        Initial velocities; NaN where no geodesic was found.
    length : array-like, shape=[...]
        Their norms in the metric; NaN where no geodesic was found, and infinite where no path joins
        the points.
    residual : array, shape=[...]
        Distance of the end of the geodesic from the second point, in the chart.
    verdict : array of int, shape=[...]
        A `Verdict` for each pair: why no geodesic was found, where none was.
    bound : array, shape=[...]
        A length that no path between the points is shorter than.
    radius : array, shape=[...]
        A length up to which it is proved that there is one geodesic, see `injectivity_bound`.
    number : array of int, shape=[...]
        How many distinct geodesics were found.
    """

    velocity: Array
    length: Array
    residual: numpy.ndarray
    verdict: numpy.ndarray
    bound: numpy.ndarray
    radius: numpy.ndarray
    number: numpy.ndarray

    @property
    def is_found(self) -> numpy.ndarray:
        """Where a geodesic was found."""
        return numpy.asarray(self.verdict == Verdict.FOUND)

    @property
    def is_certified(self) -> numpy.ndarray:
        """Where the geodesic is proved to be the shortest path.

        There its length is the bound, or less than the radius.
        """
        length = to_numpy(self.length)
        return (length <= (1 + CERTAIN) * self.bound) | (length < self.radius)


def check_found(connection: Connection, teller: str) -> Connection:
    """Return a connection, or raise a RuntimeError where no geodesic was found on some path.

    The function ``teller`` is named as what tells for which pairs.
    """
    is_missing = numpy.isnan(to_numpy(connection.length))
    if is_missing.any():
        verdicts, counts = numpy.unique(connection.verdict[is_missing], return_counts=True)
        why = "; ".join(
            f"{Verdict(verdict).reason}, {count} times"
            if len(counts) > 1
            else Verdict(verdict).reason
            for verdict, count in zip(verdicts, counts, strict=True)
        )
        raise RuntimeError(
            f"no geodesic was found between two points{in_batch(is_missing)}: {why}; join them "
            f"through a point in between; {teller}() tells of which all."
        )
    return connection
