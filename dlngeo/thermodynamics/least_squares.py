r"""The equilibrium of least squares, ``½ ‖X - Y‖²``, whose frames are not uniform.

Over the frames of ``X = U diag(σ) Vᵀ`` the density averages to a function of singular values by the
spherical integral of Harish-Chandra, Itzykson and Zuber,

.. math:: I(t) = \int_{O(m) × O(n)} e^{t \, \mathrm{tr}(U Σ V^T Y^T)} \, dU \, dV,

normalised. For real matrices it is Bessel's where one side is one, and for ``2 × 2`` matrices a sum
of products of such, by the angles of ``U`` and ``V``, one term for each sign of ``det``.
"""

from collections.abc import Sequence
from functools import cached_property
from typing import NamedTuple

import numpy
from scipy.special import gammaln, ive

from dlngeo.core.base.arrays import Array, to_numpy
from dlngeo.core.base.checks import positive, real_array
from dlngeo.core.base.functions import optional_function, returned
from dlngeo.core.networks.factors import check_widths
from dlngeo.thermodynamics.equilibrium import Energy, Equilibrium


class Cumulants(NamedTuple):
    """A logarithm of an integral of ``e^{ts}`` over ``s``, and its two derivatives by ``t``."""

    log: Array
    mean: Array
    variance: Array


class LeastSquaresEquilibrium(Equilibrium):
    r"""The law of singular values in equilibrium for ``E(X) = ½ ‖X - Y‖²``, or with weight decay.

    As `Equilibrium`, with the energy averaged over frames: ``log_partition``, ``mean_energy``,
    ``heat_capacity`` and the rest are those of ``E``, `mean` and `marginal` of singular values. At
    depth one ``Z = (2πκ/β)^{mn/2}``.

    Parameters
    ----------
    target : array-like, shape=[m, n]
        ``Y``, with one row, one column or of shape ``2 × 2``.
    spectral : callable, optional
        A further energy, of singular values as in `Equilibrium`, such as weight decay.
    widths, rank, beta, kappa, entropic
        As in `Equilibrium`.

    Raises
    ------
    ValueError
        As in `Equilibrium`, or if there is no formula for the shape.

    References
    ----------
    Harish-Chandra, *Differential operators on a semisimple Lie algebra*, Amer. J. Math. 79 (1957);
    THEORY 4.

    Examples
    --------
    >>> import numpy
    >>> from dlngeo.thermodynamics import LeastSquaresEquilibrium
    >>> target = numpy.diag([2.0, 0.5])
    >>> laws = [LeastSquaresEquilibrium(target, (2,) * (n + 1), beta=4.0) for n in (1, 2)]
    >>> [round(law.mean_energy, 4) for law in laws]
    [0.5, 0.4935]
    """

    def __init__(
        self,
        target: Array,
        widths: Sequence[int],
        rank: int | None = None,
        *,
        spectral: Energy | None = None,
        beta: float,
        kappa: float = 1.0,
        entropic: bool = True,
    ):
        matrix = to_numpy(real_array(target, "the target"))
        widths, rank = check_widths(widths, rank)
        if matrix.shape != (widths[-1], widths[0]):
            raise ValueError(
                f"expected a target of shape {(widths[-1], widths[0])}, got {matrix.shape}."
            )
        if min(matrix.shape) > 1 and matrix.shape != (2, 2):
            raise ValueError(
                "the spherical integral is known for one row, one column and 2 × 2 matrices, got "
                f"shape {matrix.shape}: sample, by langevin and free_energies of dlngeo.sampling."
            )
        self._spectral = optional_function(spectral, "spectral")
        self._larger = max(matrix.shape)
        self._values = numpy.linalg.svd(matrix, compute_uv=False)
        self._heat = positive(beta, "beta") / positive(kappa, "kappa")
        super().__init__(self._averaged, widths, rank, beta=beta, kappa=kappa, entropic=entropic)

    def _frames(self, sigma: Array) -> Cumulants:
        return spherical_cumulants(sigma, self._values, self._larger, self._heat)

    def _of_values(self, sigma: Array) -> Array:
        squares = ((sigma**2).sum(axis=-1) + (self._values**2).sum()) / 2
        if self._spectral is None:
            return squares
        return squares + returned(self._spectral(sigma), "spectral", squares.shape)

    def _averaged(self, sigma: Array) -> Array:
        """Return ``-log ∫ e^{-(β/κ) E} dU dV`` over ``β/κ``."""
        return self._of_values(sigma) - self._frames(sigma).log / self._heat

    def _mean(self, sigma: Array) -> Array:
        """Return the mean of ``E`` over frames."""
        return self._of_values(sigma) - self._frames(sigma).mean

    @cached_property
    def mean_energy(self) -> float:
        r"""``⟨E⟩ = -κ d log Z/dβ``."""
        return float(self.mean(self._mean))

    @cached_property
    def heat_capacity(self) -> float:
        r"""``C = d⟨E⟩/d(1/β) = β² Var E / κ``."""
        within = self.mean(lambda sigma: self._frames(sigma).variance)
        return self.beta * self._heat * float(within + self.variance(self._mean))


def spherical_cumulants(sigma: Array, values: Array, larger: int, time: float) -> Cumulants:
    r"""Return the logarithm of the spherical integral ``I(t)``, and derivatives by ``t``.

    Parameters
    ----------
    sigma : array, shape=[..., r]
        Singular values of ``X``.
    values : array, shape=[m]
        Those of ``Y``, one or two.
    larger : int
        The larger side.
    time : float
        ``t``.
    """
    if len(values) == 1:
        return _bessel_cumulants(sigma[..., 0] * values[0], larger / 2 - 1, time)
    first = sigma[..., 0]
    second = sigma[..., 1] if sigma.shape[-1] == 2 else 0 * first
    even, odd = (first + second) / 2, (first - second) / 2
    total, gap = values[0] + values[1], values[0] - values[1]
    # tr(U Σ Vᵀ Yᵀ) is a sum of two cosines, of the sum and of the difference of the angles.
    return _mixture(
        _product(_bessel_cumulants(even * total, 0, time), _bessel_cumulants(odd * gap, 0, time)),
        _product(_bessel_cumulants(odd * total, 0, time), _bessel_cumulants(even * gap, 0, time)),
    )


def _bessel_cumulants(scale: Array, order: float, time: float) -> Cumulants:
    r"""Return those of ``Γ(ν + 1) (z/2)^{-ν} I_ν(z)``, with ``z`` the scale times ``t``."""
    z = numpy.asarray(scale * time, dtype=float)
    # Elsewhere the first terms of the series in z, or in 1/z, are exact to 1e-10.
    is_small, is_large = z**2 < 1e-10 * (order + 1), z > 1e5
    middle = numpy.where(is_small | is_large, 1.0, z)
    bessel, ratio = ive(order, middle), ive(order + 1, middle) / ive(order, middle)
    log = numpy.log(bessel) + middle
    bend = 1 - (2 * order + 1) / middle * ratio - ratio**2
    far = numpy.where(is_large, z, 1e9)
    tail = numpy.log1p((0.25 - order**2) / (2 * far)) - numpy.log(2 * numpy.pi * far) / 2
    log = numpy.where(is_large, far + tail, log)
    limit = 1 - (order + 0.5) / far * (1 - (order - 0.5) / (2 * far))
    ratio = numpy.where(is_large, limit, ratio)
    bend = numpy.where(is_large, (order + 0.5) / far**2, bend)
    log = log + gammaln(order + 1) - order * numpy.log(numpy.where(is_large, far, middle) / 2)
    near = 2 * (order + 1)
    return Cumulants(
        numpy.where(is_small, z**2 / (2 * near), log),
        scale * numpy.where(is_small, z / near, ratio),
        scale**2 * numpy.where(is_small, 1 / near, bend),
    )


def _product(one: Cumulants, other: Cumulants) -> Cumulants:
    return Cumulants(*(a + b for a, b in zip(one, other, strict=True)))


def _mixture(one: Cumulants, other: Cumulants) -> Cumulants:
    """Return those of the mean of two integrals."""
    log = numpy.logaddexp(one.log, other.log)
    share = numpy.exp(one.log - log)
    mean = share * one.mean + (1 - share) * other.mean
    spread = share * (1 - share) * (one.mean - other.mean) ** 2
    variance = share * one.variance + (1 - share) * other.variance + spread
    return Cumulants(log - numpy.log(2), mean, variance)
