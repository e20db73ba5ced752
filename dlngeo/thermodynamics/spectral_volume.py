r"""Volume of networks over their singular values, and coordinates to integrate over them.

References
----------
[MY25]; THEORY 4.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy

from dlngeo.core.networks.factors import check_widths
from dlngeo.thermodynamics.boltzmann_entropy import log_stiefel_volume, spectral_entropy_of_logs


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
    """
    widths, rank = check_widths(widths, roots.shape[-1])
    logs = numpy.log(roots)
    repulsion = log_repulsion(logs[..., :-1] - logs[..., 1:], range(rank - 1))
    return log_smooth_volume(logs, widths, kappa, entropic) + repulsion


def log_smooth_volume(
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


def log_repulsion(gaps: numpy.ndarray, first: range) -> numpy.ndarray:
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

    ``y_0 = log λ_i``. Smaller values follow by gaps, ``λ_{k+1} = λ_k e^{-y}``, ``y > 0``, larger
    ones by differences, ``λ_k = λ_{k+1} + e^y``: so the wells lie along the axes.

    Attributes
    ----------
    leading : int
        ``i``.
    """

    leading: int

    def logs(self, points: numpy.ndarray) -> tuple[numpy.ndarray, ...]:
        """Return ``log λ``, its gaps, and the logarithm of ``|dλ/dy|``."""
        leading, rest = self.leading, points[..., 1:]
        logs = [points[..., 0]]
        gaps: list[numpy.ndarray] = []
        for k in range(leading - 1, -1, -1):
            gaps.insert(0, numpy.logaddexp(rest[..., k] - logs[0], 0))
            logs.insert(0, logs[0] + gaps[0])
        for k in range(leading, rest.shape[-1]):
            gaps.append(rest[..., k])
            logs.append(logs[-1] - gaps[-1])
        change = sum(logs[leading:]) + rest[..., :leading].sum(axis=-1)
        return (
            numpy.stack(logs, axis=-1),
            numpy.stack(gaps, axis=-1) if gaps else rest,
            change,
        )
