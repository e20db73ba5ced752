r"""The equilibrium of the Langevin equation for spectral energies, by quadrature.

For an energy of the singular values alone the Gibbs measure ``e^{-βL}`` of the balanced manifold is
a law of the ``r`` values ``λ = σ^{1/N}``; frames are uniform and independent of them. An integral
in ``r`` dimensions then gives what samplers are measured by.

References
----------
[MY25]; [Men24]; THEORY 4.
"""

import itertools
import math
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any, NamedTuple

import numpy

from dlngeo.core.cubature import Boxes, Cubature, Function, integrate, rule, support
from dlngeo.core.factors import check_widths
from dlngeo.core.thermodynamics import log_stiefel_volume, spectral_entropy_of_logs

Energy = Callable[[numpy.ndarray], Any]

_TOLERANCE = {1: 1e-12, 2: 1e-10, 3: 1e-8, 4: 1e-7}
_MOST_RANK = 4
_LARGEST = math.log(1e100)
"""Up to here an energy is followed before it is said not to confine: ``σ = 10^100``."""
_LEAST = math.log(1e-300)
"""Smaller ``σ`` are shown to the energy as this."""
_NEAR = 1e-9


def log_spectral_volume(
    roots: numpy.ndarray,
    widths: Sequence[int],
    kappa: float = 1.0,
    *,
    entropic: bool = True,
) -> numpy.ndarray:
    r"""Return the logarithm of the density of volume over the values ``λ``.

    .. math:: \frac{N^{r/2}}{2^r} \mathrm{vol}_1 St(d_0, r)\, \mathrm{vol}_1 St(d_N, r)
              \prod_{k<l} (λ_k^2 - λ_l^2) \prod_k λ_k^{d_0 + d_N - 2r} \, e^{S(λ)/κ}

    on ``λ_1 > ... > λ_r > 0``. At ``κ = 1`` it is the volume of the balanced manifold over ``dλ``:
    the two frames and the sign of every pair of singular vectors, the volume of ``g^N`` on the
    singular values, and that of the orbit, ``e^S``. Without the last, that of the observables.

    Parameters
    ----------
    roots : array, shape=[..., r]
        ``λ``, in falling order.
    widths : sequence of int
        Widths ``(d_0, ..., d_N)``.
    kappa : float
        Temperature of the horizontal noise over that of the vertical.
    entropic : bool
        Whether orbits count with their volume.

    Returns
    -------
    log_volume : array, shape=[...]

    References
    ----------
    [MY25]; [Men24]; THEORY 4.
    """
    widths, rank = check_widths(widths, roots.shape[-1])
    logs = numpy.log(roots)
    repulsion = _log_repulsion(logs[..., :-1] - logs[..., 1:], range(rank - 1))
    return _log_volume(logs, widths, kappa, entropic) + repulsion


def _log_volume(
    logs: numpy.ndarray, widths: tuple[int, ...], kappa: float, entropic: bool
) -> numpy.ndarray:
    """Return `log_spectral_volume` at ``log λ``, without the factors ``1 - (λ_l/λ_k)²``."""
    depth, rank = len(widths) - 1, logs.shape[-1]
    ends = log_stiefel_volume(widths[0], rank) + log_stiefel_volume(widths[-1], rank)
    constant = ends + rank * (math.log(depth) / 2 - math.log(2))
    powers = widths[0] + widths[-1] - 2 * rank + 2 * numpy.arange(rank)[::-1]
    total = constant + logs @ powers
    if entropic:
        total = total + spectral_entropy_of_logs(logs, widths) / kappa
    return total


def _log_repulsion(gaps: numpy.ndarray, first: range) -> numpy.ndarray:
    """Return ``Σ log(1 - (λ_l/λ_k)²)`` over ``k`` in a range and ``l > k``.

    The gaps are between neighbours of ``log λ``, shape=[..., r - 1].
    """
    total = numpy.zeros(gaps.shape[:-1])
    with numpy.errstate(divide="ignore"):  # zero where values meet
        for k in first:
            distances = gaps[..., k:].cumsum(axis=-1)
            total += numpy.log(-numpy.expm1(-2 * distances)).sum(axis=-1)
    return total


class Coordinates(NamedTuple):
    """Coordinates ``y`` of ``λ``, in which one of the values is the first.

    ``y_0 = log λ_i``. Smaller values follow by gaps, ``λ_{k+1} = λ_k e^{-y}``, ``y > 0``, larger ones
    by differences, ``λ_k = λ_{k+1} + e^y``: so the wells lie along the axes.

    Attributes
    ----------
    index : int
        ``i``.
    """

    index: int

    def logs(self, points: numpy.ndarray) -> tuple[numpy.ndarray, ...]:
        """Return ``log λ``, its gaps, and the logarithm of ``|dλ/dy|``."""
        index, rest = self.index, points[..., 1:]
        logs, gaps = [points[..., 0]], []
        for k in range(index - 1, -1, -1):
            gaps.insert(0, numpy.logaddexp(rest[..., k] - logs[0], 0))
            logs.insert(0, logs[0] + gaps[0])
        for k in range(index, rest.shape[-1]):
            gaps.append(rest[..., k])
            logs.append(logs[-1] - gaps[-1])
        change = sum(logs[index:]) + rest[..., :index].sum(axis=-1)
        return (
            numpy.stack(logs, axis=-1),
            numpy.stack(gaps, axis=-1) if gaps else rest,
            change,
        )


class Equilibrium:
    r"""The law of singular values in equilibrium, for a spectral energy.

    Over ``λ = σ^{1/N}``, ``λ_1 > ... > λ_r > 0``, with the ``S`` of `spectral_entropy`,

    .. math:: p(λ) ∝ \prod_{k<l} (λ_k^2 - λ_l^2) \prod_k λ_k^{d_0 + d_N - 2r}
              \; e^{-(β/κ)(E - S/β)},

    which at ``κ = 1`` is ``ρ(λ) e^{-βE}`` with
    ``ρ = Π_{k<l} √((λ_k²-λ_l²)(λ_k^{2N}-λ_l^{2N})) · Π_k λ_k^{Σ_p (d_p - r)}``.

    Parameters
    ----------
    energy : callable
        ``E``, from singular values in falling order, shape=[p, r], to shape=[p]; infinity bars a
        region. Smooth in ``σ``.
    widths : sequence of int
        Widths ``(d_0, ..., d_N)``.
    rank : int, optional
        ``r ≤ 4``, full by default.
    beta : float
        Inverse temperature ``β``, of the vertical noise.
    kappa : float
        Temperature of the horizontal noise over that of the vertical, ``κ > 0``.
    entropic : bool
        Whether the entropy acts; without, ``S = 0`` in the law: a Gibbs measure of the observables.

    Attributes
    ----------
    log_partition : float
        ``log Z``, ``Z = ∫ e^{-(β/κ) F_β} dvol_g``, ``F_β = E - S/β``. At ``κ = 1`` it is
        ``∫_M e^{-βL} dvol_M``, over the balanced manifold with the volume of parameter space.
        Absolute: no constant is left out.
    error : float
        Estimate of the relative error of ``Z``, from two orders. Means have about the same.

    Raises
    ------
    ValueError
        If an argument does not fit, the energy is NaN or has another shape, or ``Z`` is infinite or
        zero.

    Notes
    -----
    The integral runs over ``log λ_1`` and the gaps of ``log λ``, where wells of all sizes are found
    by branch and bound (`dlngeo.core.cubature`). With kinks and walls the error is larger, and
    `error` says so.

    References
    ----------
    [MY25]; [Men24]; THEORY 4.
    """

    def __init__(
        self,
        energy: Energy,
        widths: Sequence[int],
        rank: int | None = None,
        *,
        beta: float,
        kappa: float = 1.0,
        entropic: bool = True,
    ):
        self.energy = energy
        self.widths, self.rank = check_widths(widths, rank)
        self.beta, self.kappa, self.entropic = float(beta), float(kappa), entropic
        if self.rank > _MOST_RANK:
            raise ValueError(
                f"the quadrature is over at most {_MOST_RANK} singular values, got rank "
                f"{self.rank}: sample the law (dlngeo.sampling)."
            )
        for name, value in (("beta", self.beta), ("kappa", self.kappa)):
            if not 0 < value < math.inf:
                raise ValueError(f"{name} must be positive and finite, got {value}.")
        self.depth = len(self.widths) - 1
        self._cubatures: dict[int, Cubature] = {}
        self._ceiling = _LARGEST / self.depth
        self.log_partition = self._cubature(0).log_integral
        self.error = self._cubature(0).error

    # --- the integral ---

    def log_density(self, roots: numpy.ndarray) -> numpy.ndarray:
        """Return the logarithm of the density ``p(λ)``, normalised on ``λ_1 > ... > λ_r > 0``.

        Parameters
        ----------
        roots : array, shape=[..., r]
            ``λ``, in falling order.

        Returns
        -------
        log_density : array, shape=[...]
        """
        volume = log_spectral_volume(roots, self.widths, self.kappa, entropic=self.entropic)
        energies = self._energies(roots**self.depth)
        return volume - self.beta / self.kappa * energies - self.log_partition

    def _energies(self, sigma: numpy.ndarray) -> numpy.ndarray:
        points = sigma.reshape(-1, self.rank)
        with numpy.errstate(all="ignore"):  # far out an energy may overflow, and bars the region
            values = numpy.asarray(self.energy(points), dtype=float)
        if values.shape != points.shape[:1]:
            raise ValueError(
                "expected an energy from singular values of shape [p, r] to shape [p], got "
                f"{values.shape} from {points.shape}."
            )
        is_bad = numpy.isnan(values) | (values == -math.inf)
        if is_bad.any():
            where = ", ".join(f"{value:.3g}" for value in points[is_bad.argmax()])
            raise ValueError(
                f"the energy is NaN or -inf at the singular values ({where}): it must be a number, "
                "or +inf where it bars a region."
            )
        return values.reshape(sigma.shape[:-1])

    def _log_weight(self, points: numpy.ndarray, at: Coordinates, first: range) -> numpy.ndarray:
        """Return the logarithm of the density over ``y``, with some of the factors of repulsion."""
        logs, gaps, change = at.logs(points)
        # Beyond the ceiling there is no mass; a slope takes its place.
        excess = numpy.maximum(logs[..., 0] - self._ceiling, 0)
        logs = logs - excess[..., None]
        volume = _log_volume(logs, self.widths, self.kappa, self.entropic)
        energies = self._energies(self._sigma(logs))
        total = volume + change - self.beta / self.kappa * energies - 10 * excess
        return total + _log_repulsion(gaps, first)

    def _cubature(self, index: int) -> Cubature:
        """Return the rule in the coordinates that begin with ``log λ_index``."""
        if index not in self._cubatures:
            at = Coordinates(index)
            # Of the law of another value than the largest, six digits are enough.
            rtol = _TOLERANCE[self.rank] if index == 0 else 1e-6
            self._cubatures[index] = integrate(
                lambda points: self._log_weight(points, at, range(self.rank - 1)),
                *self._support(at),
                rtol,
            )
        return self._cubatures[index]

    def _support(self, at: Coordinates) -> tuple[Boxes, float]:
        """Return boxes that hold all mass but e^-50, and the peak of the bound of `support`.

        Energies have their scales between ``σ = 10^-10`` and ``10^10``, or the box grows. Below,
        the density over ``log λ`` falls like a power of ``λ`` of at least one.
        """
        scale = 10 * math.log(10) / self.depth
        margin, upper = scale + 60, min(scale, self._ceiling)
        n_gaps = self.rank - 1 - at.index
        while True:
            lower = numpy.array([-margin] * (at.index + 1) + [0.0] * n_gaps)
            ends = numpy.array([upper] * (at.index + 1) + [scale + margin] * n_gaps)
            boxes, peak = support(
                lambda points: self._log_weight(points, at, range(at.index)), lower, ends
            )
            if peak == -math.inf:
                raise ValueError(
                    "the energy is +inf at all singular values between 1e-10 and 1e10: no law."
                )
            rises = ends - (boxes.lower + boxes.width).max(axis=0) < _NEAR
            falls = boxes.lower.min(axis=0) - lower < _NEAR
            grows = rises[: at.index + 1].any()
            shrinks = falls[: at.index + 1].any() or rises[at.index + 1 :].any()
            if grows and upper == self._ceiling:
                raise ValueError(
                    "the energy does not confine the singular values: e^{-βE} is not integrable at "
                    "infinity, or has mass beyond 1e100. Add weight decay, or raise beta."
                )
            if shrinks and margin > 2 * (scale + 60):
                raise ValueError(
                    "the energy falls towards zero singular values faster than the volume does: "
                    "e^{-βE} is not integrable there. Bound it below, or lower beta."
                )
            if not grows and not shrinks:
                self._ceiling = upper
                return boxes, peak
            if grows:
                upper = min(upper + scale, self._ceiling)
            if shrinks:
                margin *= 2

    # --- means ---

    def mean(self, function: Callable[[numpy.ndarray], numpy.ndarray]) -> Any:
        """Return the mean of a function of the singular values.

        Parameters
        ----------
        function : callable
            From singular values in falling order, shape=[p, r], to shape=[p, ...]. Smooth; for
            indicators see `cdf`.

        Returns
        -------
        mean : float, or array, shape=[...]
        """
        return self._cubature(0).mean(lambda points: function(self._sigma(Coordinates(0).logs(points)[0])))

    def _sigma(self, logs: numpy.ndarray) -> numpy.ndarray:
        return numpy.exp(numpy.maximum(self.depth * logs, _LEAST))

    def variance(self, function: Callable[[numpy.ndarray], numpy.ndarray]) -> Any:
        """Return the variance of a function of the singular values; see `mean`."""
        centre = self.mean(function)
        return self.mean(lambda sigma: (function(sigma) - centre) ** 2)

    # --- thermodynamics ---

    @cached_property
    def mean_energy(self) -> float:
        r"""``⟨E⟩ = -κ d log Z/dβ``."""
        return float(self.mean(self._energies))

    @cached_property
    def heat_capacity(self) -> float:
        r"""``C = d⟨E⟩/d(1/β) = β² Var E / κ``."""
        return self.beta**2 / self.kappa * float(self.variance(self._energies))

    @property
    def free_energy(self) -> float:
        r"""``-(κ/β) log Z``, which for ``κ → 0`` is the minimum of ``F_β``."""
        return -self.kappa / self.beta * self.log_partition

    @cached_property
    def mean_orbit_entropy(self) -> float:
        """``⟨S⟩``, the mean of the logarithm of the volume of orbits; zero unless ``entropic``."""
        if not self.entropic:
            return 0.0
        return float(
            self._cubature(0).mean(
                lambda points: spectral_entropy_of_logs(
                    Coordinates(0).logs(points)[0], self.widths
                )
            )
        )

    @property
    def entropy(self) -> float:
        r"""The Gibbs entropy of the networks, ``-∫_M p log p``, with ``p`` uniform on orbits.

        ``log Z + (β⟨E⟩ - ⟨S⟩)/κ + ⟨S⟩``: that of the law of ``X`` against ``dvol_g``, and ``⟨S⟩``
        for the choice in an orbit. At ``κ = 1`` it is ``log Z + β⟨E⟩``. Unless ``entropic``, that
        of ``X`` alone. It depends on the unit of length, and may be negative.
        """
        orbits = self.mean_orbit_entropy
        exponent = self.beta * self.mean_energy - orbits
        return self.log_partition + exponent / self.kappa + orbits

    # --- marginal laws ---

    def marginal(self, index: int = 0) -> "Marginal":
        """Return the law of one singular value.

        Parameters
        ----------
        index : int
            0 for the largest, -1 for the smallest.

        Returns
        -------
        marginal : Marginal
        """
        if not -self.rank <= index < self.rank:
            raise ValueError(f"expected the index of one of {self.rank} values, got {index}.")
        cubature = self._cubature(index % self.rank)
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
        return Marginal(self.depth, ends[:, 0], ends[:, 1], numpy.linalg.solve(legendre, total.T).T)


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
            return numpy.log(numpy.asarray(sigma, dtype=float)) / self.depth

    def _integral(self, log: numpy.ndarray, end: int) -> numpy.ndarray:
        """Return the integral of the density between ``log λ`` and one end, -1 or 1."""
        total = numpy.zeros(log.shape)
        for lower, upper, series in zip(self.lower, self.upper, self.coefficients, strict=True):
            place = numpy.clip((2 * log - lower - upper) / (upper - lower), -1, 1)
            series = numpy.polynomial.legendre.legint(series, lbnd=end)
            total -= end * (upper - lower) / 2 * numpy.polynomial.legendre.legval(place, series)
        return total

    def log_root_density(self, log: numpy.ndarray) -> numpy.ndarray:
        """Return the density of ``log λ``, shape=[...]."""
        total = numpy.zeros(log.shape)
        for lower, upper, series in zip(self.lower, self.upper, self.coefficients, strict=True):
            inside = (log >= lower) & (log < upper)
            place = (2 * log[inside] - lower - upper) / (upper - lower)
            total[inside] += numpy.polynomial.legendre.legval(place, series)
        return total

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
        probability = numpy.asarray(probability, dtype=float)
        if not ((probability > 0) & (probability < 1)).all():
            raise ValueError("expected probabilities between 0 and 1.")
        low = numpy.full(probability.shape, self.lower.min())
        high = numpy.full(probability.shape, self.upper.max())
        for _ in range(60):
            middle = (low + high) / 2
            is_below = self.cdf(numpy.exp(self.depth * middle)) < probability
            low, high = numpy.where(is_below, middle, low), numpy.where(is_below, high, middle)
        return numpy.exp(self.depth * (low + high) / 2)
