"""The law of one singular value in equilibrium, from a rule of cubature.

On each box the integral over the other coordinates is a polynomial in the first.
"""

from typing import Any, NamedTuple

import numpy

from dlngeo.core.base.checks import host_array
from dlngeo.thermodynamics.cubature import MOST_POINTS, Cubature, rule


class Marginal(NamedTuple):
    """The law of one singular value: a density of ``log λ``, on intervals that may overlap.

    Attributes
    ----------
    depth : int
    lower, upper : array, shape=[m]
        Ends of intervals of ``log λ``.
    coefficients : array, shape=[m, n]
        Of Legendre's polynomials on each of them; the density is the sum.
    """

    depth: int
    lower: numpy.ndarray
    upper: numpy.ndarray
    coefficients: numpy.ndarray

    def _log_root(self, sigma: Any) -> numpy.ndarray:
        with numpy.errstate(divide="ignore"):
            return numpy.log(host_array(sigma, "singular values")) / self.depth

    def _sum_series(
        self, log: numpy.ndarray, series: numpy.ndarray, clipped: bool
    ) -> numpy.ndarray:
        """Return the sum of series on the intervals, clipped to their ends or zero outside."""
        centre, half = (self.upper + self.lower) / 2, (self.upper - self.lower) / 2
        flat, count = log.reshape(-1), max(1, MOST_POINTS // len(half))
        sums = [numpy.zeros(0)]
        for start in range(0, len(flat), count):
            place = (flat[start : start + count, None] - centre) / half
            inside = numpy.clip(place, -1, 1)
            values = numpy.polynomial.legendre.legval(inside, series.T, tensor=False)
            if not clipped:
                values = numpy.where((place >= -1) & (place < 1), values, 0.0)
            sums.append(values.sum(axis=1))
        return numpy.concatenate(sums).reshape(log.shape)

    def _integral(self, log: numpy.ndarray, end: int) -> numpy.ndarray:
        """Return the integral of the density between ``log λ`` and one end, -1 or 1."""
        series = numpy.polynomial.legendre.legint(self.coefficients, lbnd=end, axis=1)
        half = (self.upper - self.lower)[:, None] / 2
        return self._sum_series(log, -end * half * series, True)

    def log_root_density(self, log: numpy.ndarray) -> numpy.ndarray:
        """Return the density of ``log λ``, shape=[...]."""
        return self._sum_series(log, self.coefficients, False)

    def cdf(self, sigma: Any) -> numpy.ndarray:
        """Return the probability of a smaller singular value, shape=[...]."""
        return self._integral(self._log_root(sigma), -1)

    def survival(self, sigma: Any) -> numpy.ndarray:
        """Return the probability of a larger singular value, shape=[...]."""
        return self._integral(self._log_root(sigma), 1)

    def pdf(self, sigma: Any) -> numpy.ndarray:
        """Return the density of the singular value, shape=[...]; not zero."""
        log = self._log_root(sigma)
        return self.log_root_density(log) / (self.depth * numpy.exp(self.depth * log))

    def quantile(self, probability: Any) -> numpy.ndarray:
        """Return the singular values below which there is a probability, shape=[...]."""
        probability = host_array(probability, "probabilities")
        if not ((probability > 0) & (probability < 1)).all():
            raise ValueError("expected probabilities between 0 and 1.")
        low = numpy.full(probability.shape, self.lower.min())
        high = numpy.full(probability.shape, self.upper.max())
        for _ in range(60):
            middle = (low + high) / 2
            is_below = self.cdf(numpy.exp(self.depth * middle)) < probability
            low, high = numpy.where(is_below, middle, low), numpy.where(is_below, high, middle)
        return numpy.exp(self.depth * (low + high) / 2)


def leading_marginal(cubature: Cubature, depth: int) -> Marginal:
    """Return the law of the first coordinate, ``log λ``, of a rule."""
    order = len(cubature.fractions)
    lower, width = cubature.boxes.lower[:, 0], cubature.boxes.width[:, 0]
    sums = cubature.masses.reshape(len(lower), order, -1).sum(axis=-1)
    _, weights = rule(order)
    densities = sums / (weights * width[:, None])
    # Boxes are few that differ along this side.
    ends, where = numpy.unique(
        numpy.stack([lower, lower + width], axis=1).round(13), axis=0, return_inverse=True
    )
    total = numpy.zeros((len(ends), order))
    numpy.add.at(total, where.reshape(-1), densities)
    legendre = numpy.polynomial.legendre.legvander(2 * cubature.fractions - 1, order - 1)
    return Marginal(depth, ends[:, 0], ends[:, 1], numpy.linalg.solve(legendre, total.T).T)
