r"""The equilibrium of the Langevin equation for spectral energies, by quadrature.

For an energy of the singular values alone the Gibbs measure ``e^{-βL}`` of the balanced manifold is
a law of the ``r`` values ``λ = σ^{1/N}``; frames are uniform and independent of them. An integral
in ``r`` dimensions then gives what samplers are measured by.

References
----------
[MY25]; [Men24]; THEORY 4.
"""

import math
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any, NamedTuple

import numpy

from dlngeo.core.base.checks import flag, host_array, integer, positive, several
from dlngeo.core.base.functions import function as function_of
from dlngeo.core.base.functions import returned
from dlngeo.core.networks.factors import check_widths
from dlngeo.thermodynamics.boltzmann_entropy import spectral_entropy_of_logs
from dlngeo.thermodynamics.cubature import Boxes, Cubature, integrate, support
from dlngeo.thermodynamics.marginal import Marginal, leading_marginal
from dlngeo.thermodynamics.spectral_volume import (
    Coordinates,
    log_repulsion,
    log_smooth_volume,
    log_spectral_volume,
)

Energy = Callable[[numpy.ndarray], Any]

_TOLERANCE = {1: 1e-12, 2: 1e-10, 3: 1e-8, 4: 1e-7}
_MARGINAL_TOLERANCE = {2: 1e-9, 3: 1e-6, 4: 1e-5}
_MOST_RANK = 4
_LARGEST = math.log(1e100)
"""Up to here an energy is followed before it is said not to confine: ``σ = 10^100``."""
_LEAST = math.log(1e-300)
"""Smaller ``σ`` are shown to the energy as this."""
_NEAR = 1e-9


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
        ``r ≤ 4``, full by default; the cost grows from milliseconds at 1 to a minute at 4.
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
    by branch and bound (`dlngeo.thermodynamics.cubature`). With kinks and walls the error is
    larger, and `error` says so.
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
        self.energy = function_of(energy, "the energy")
        self.widths, self.rank = check_widths(widths, rank)
        self.beta, self.kappa = positive(beta, "beta"), positive(kappa, "kappa")
        self.entropic = flag(entropic, "entropic")
        if self.rank > _MOST_RANK:
            raise ValueError(
                f"the quadrature is over at most {_MOST_RANK} singular values, got rank "
                f"{self.rank}: sample the law (dlngeo.sampling)."
            )
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
        roots = host_array(roots, "the array of roots")
        if roots.ndim < 1 or roots.shape[-1] != self.rank:
            raise ValueError(f"expected roots [..., {self.rank}], got shape {roots.shape}.")
        volume = log_spectral_volume(roots, self.widths, self.kappa, entropic=self.entropic)
        energies = self._energies(roots**self.depth)
        return volume - self.beta / self.kappa * energies - self.log_partition

    def _energies(self, sigma: numpy.ndarray) -> numpy.ndarray:
        points = sigma.reshape(-1, self.rank)
        with numpy.errstate(all="ignore"):  # far out an energy may overflow, and bars the region
            values = returned(self.energy(points), "the energy")
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
        volume = log_smooth_volume(logs, self.widths, self.kappa, self.entropic)
        energies = self._energies(self._sigma(logs))
        total = volume + change - self.beta / self.kappa * energies - 10 * excess
        return total + log_repulsion(gaps, first)

    def _cubature(self, index: int) -> Cubature:
        """Return the rule in the coordinates that begin with ``log λ_index``."""
        if index not in self._cubatures:
            at = Coordinates(index)
            tolerances = _TOLERANCE if index == 0 else _MARGINAL_TOLERANCE
            self._cubatures[index] = integrate(
                lambda points: self._log_weight(points, at, range(self.rank - 1)),
                *self._support(at),
                tolerances[self.rank],
            )
        return self._cubatures[index]

    def _support(self, at: Coordinates) -> tuple[Boxes, float]:
        """Return boxes that hold all of the mass but 1e-12, and the peak, of the bound.

        Energies have their scales between ``σ = 10^-10`` and ``10^10``, or the box grows. Below,
        the density over ``log λ`` falls like a power of ``λ`` of at least one.
        """
        scale = 10 * math.log(10) / self.depth
        margin, upper = scale + 60, min(scale, self._ceiling)
        n_gaps = self.rank - 1 - at.leading
        while True:
            lower = numpy.array([-margin] * (at.leading + 1) + [0.0] * n_gaps)
            ends = numpy.array([upper] * (at.leading + 1) + [scale + margin] * n_gaps)
            boxes, peak = support(
                lambda points: self._log_weight(points, at, range(at.leading)), lower, ends
            )
            if peak == -math.inf:
                raise ValueError(
                    "the energy is +inf at all singular values between 1e-10 and 1e10: no law."
                )
            rises = ends - (boxes.lower + boxes.width).max(axis=0) < _NEAR
            falls = boxes.lower.min(axis=0) - lower < _NEAR
            grows = rises[: at.leading + 1].any()
            shrinks = falls[: at.leading + 1].any() or rises[at.leading + 1 :].any()
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
                if at.leading == 0:
                    self._ceiling = float((boxes.lower + boxes.width)[:, 0].max()) + 1.0
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
            indicators see `marginal`.

        Returns
        -------
        mean : float, or array, shape=[...]
        """
        function_of(function, "the function")

        def values(points: numpy.ndarray) -> numpy.ndarray:
            found = returned(function(self._sigma(Coordinates(0).logs(points)[0])), "the function")
            if found.shape[:1] != points.shape[:1]:
                raise ValueError(
                    f"the function must give values [p, ...] of {len(points)} points, got shape "
                    f"{found.shape}."
                )
            return found

        return self._cubature(0).mean(values)

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
                lambda points: spectral_entropy_of_logs(Coordinates(0).logs(points)[0], self.widths)
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

    def marginal(self, index: int = 0) -> Marginal:
        """Return the law of one singular value.

        Parameters
        ----------
        index : int
            0 for the largest, -1 for the smallest.

        Returns
        -------
        marginal : Marginal
        """
        index = integer(index, "the index", -self.rank)
        if index >= self.rank:
            raise ValueError(f"expected the index of one of {self.rank} values, got {index}.")
        return leading_marginal(self._cubature(index % self.rank), self.depth)


class ThermodynamicCurves(NamedTuple):
    """Equilibrium against temperature, arrays of shape=[b]; see `Equilibrium`."""

    beta: numpy.ndarray
    free_energy: numpy.ndarray
    mean_energy: numpy.ndarray
    entropy: numpy.ndarray
    heat_capacity: numpy.ndarray

    @classmethod
    def of(cls, laws: Sequence[Equilibrium]) -> "ThermodynamicCurves":
        """Return the curves through equilibria at several temperatures."""
        return cls(*(numpy.array([getattr(law, name) for law in laws]) for name in cls._fields))


def thermodynamic_curves(
    energy: Energy,
    widths: Sequence[int],
    betas: Sequence[float],
    rank: int | None = None,
    *,
    kappa: float = 1.0,
    entropic: bool = True,
) -> ThermodynamicCurves:
    """Return free energy, mean energy, entropy and heat capacity at several temperatures.

    Parameters
    ----------
    betas : sequence of float
        Inverse temperatures.
    energy, widths, rank, kappa, entropic
        As in `Equilibrium`.

    Returns
    -------
    curves : ThermodynamicCurves
    """
    return ThermodynamicCurves.of(
        [
            Equilibrium(energy, widths, rank, beta=beta, kappa=kappa, entropic=entropic)
            for beta in several(betas, "betas", positive)
        ]
    )
