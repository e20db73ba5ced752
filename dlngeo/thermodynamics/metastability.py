r"""Passage times between wells of a spectral energy.

In equilibrium's coordinates one singular value ``λ`` moves by ``dλ = D (log p)' dt + √(2D) db``,
``D = κ/(βN)``, with ``p`` its stationary density. That is exact for ``r = 1``; for the smallest of
several it is so in the limit where the others relax fast.

References
----------
[Men24]; THEORY 4; H. Kramers, Physica 7 (1940).
"""

import math

import numpy
import scipy.optimize

from dlngeo.core.base.checks import instance, positive
from dlngeo.thermodynamics.cubature import Function, rule
from dlngeo.thermodynamics.equilibrium import Equilibrium
from dlngeo.thermodynamics.marginal import Marginal

_NODES, _WEIGHTS = rule(16)
_N_GRID = 4001
_NEAR = 1e-11


def diffusion_constant(equilibrium: Equilibrium) -> float:
    """Return ``D = κ/(βN)`` of each ``λ``."""
    instance(equilibrium, Equilibrium, "the equilibrium")
    return equilibrium.kappa / (equilibrium.beta * equilibrium.depth)


def mean_passage_time(
    equilibrium: Equilibrium, start: float, stop: float, index: int = -1
) -> float:
    r"""Return the mean time until one singular value first passes from ``start`` to ``stop``.

    .. math:: τ = \frac{βN}{κ} \int_{λ_a}^{λ_b} \frac{dλ}{p(λ)} \int_0^{λ} p(λ')\, dλ'

    upwards, with reflection at zero, and with the outer integral of ``p`` downwards.

    Parameters
    ----------
    equilibrium : Equilibrium
    start, stop : float
        Singular values, positive.
    index : int
        Of the singular value, the smallest by default. Exact for ``r = 1``; else of the value
        alone, in the mean force of the others.

    Returns
    -------
    time : float
        In the time of the Langevin equation, in which the drift is ``-grad F_β``.

    Raises
    ------
    ValueError
        If a value is not positive, or the density on the way is too small to be known.
    """
    marginal, first, last = _way(equilibrium, start, stop, index)
    low, high = min(first, last), max(first, last)
    # With the density q of x = log λ: p dλ = q dx and dλ / p = λ² dx / q.
    ends = numpy.unique(numpy.concatenate([marginal.lower, marginal.upper, [low, high]]))
    ends = ends[(ends >= low) & (ends <= high)]
    # Between ends that differ by round-off there is no density.
    ends = ends[numpy.append(numpy.diff(ends) > _NEAR, True)]
    widths = numpy.diff(ends)[:, None]
    x = ends[:-1, None] + widths * _NODES
    sigma = numpy.exp(equilibrium.depth * x)
    density = _positive(marginal, x)
    mass = marginal.cdf(sigma) if first < last else marginal.survival(sigma)
    total = numpy.sum(widths * _WEIGHTS * numpy.exp(2 * x) * mass / density)
    return float(total / diffusion_constant(equilibrium))


def _way(
    equilibrium: Equilibrium, start: float, stop: float, index: int
) -> tuple[Marginal, float, float]:
    """Return the law of a singular value, and ``log λ`` at both ends of the way."""
    start = positive(start, "the singular value to start at")
    stop = positive(stop, "the singular value to stop at")
    depth = instance(equilibrium, Equilibrium, "the equilibrium").depth
    return equilibrium.marginal(index), math.log(start) / depth, math.log(stop) / depth


def _positive(marginal: Marginal, x: numpy.ndarray) -> numpy.ndarray:
    """Return the density of ``log λ``, where it is known."""
    density = marginal.log_root_density(x)
    if not (density > 0).all():
        raise ValueError(
            "the density is below round-off somewhere on the way: a passage there takes longer "
            "than can be computed. Lower beta, or choose start and stop nearer."
        )
    return density


def kramers_time(equilibrium: Equilibrium, start: float, stop: float, index: int = -1) -> float:
    r"""Return Kramers' estimate of the mean passage time over a high barrier.

    .. math:: τ ≈ \frac{2π βN}{κ \sqrt{U''(λ_w)\, |U''(λ_s)|}} e^{U(λ_s) - U(λ_w)}, \quad
              U = -\log p

    with the well ``λ_w`` on the side of ``start`` and the barrier ``λ_s`` before ``stop``.

    Parameters as in `mean_passage_time`.

    Raises
    ------
    ValueError
        If there is no barrier between, or the well is at zero.
    """
    marginal, first, last = _way(equilibrium, start, stop, index)

    def potential(x: numpy.ndarray) -> numpy.ndarray:
        return x - numpy.log(_positive(marginal, x))

    way = numpy.linspace(first, last, _N_GRID)
    top = int(potential(way).argmax())
    edge = marginal.lower.min() if first < last else marginal.upper.max()
    side = numpy.linspace(way[top], edge, _N_GRID)
    side = side[marginal.log_root_density(side) > 0]
    bottom = int(potential(side).argmin())
    if not (0 < top < len(way) - 1 and 0 < bottom < len(side) - 1):
        raise ValueError(
            f"Kramers' formula needs a well away from zero and a barrier between it and {stop}: "
            "there is none. Take mean_passage_time."
        )
    barrier = _stationary(potential, way[top - 1 : top + 2], -1)
    well = _stationary(potential, side[bottom - 1 : bottom + 2], 1)
    # At a stationary point d²U/dλ² = (d²U/dx²) / λ².
    curvatures = -_curvature(potential, barrier), _curvature(potential, well)
    width = math.exp(barrier + well) / math.sqrt(curvatures[0] * curvatures[1])
    climb = float(potential(numpy.array(barrier)) - potential(numpy.array(well)))
    return 2 * math.pi * width * math.exp(climb) / diffusion_constant(equilibrium)


def _stationary(potential: Function, bracket: numpy.ndarray, sign: int) -> float:
    """Return the minimum (sign 1) or maximum (sign -1) within a bracket."""
    ends = min(bracket), max(bracket)
    options = {"xatol": 1e-9 * (ends[1] - ends[0])}
    found = scipy.optimize.minimize_scalar(
        lambda x: sign * float(potential(numpy.array(x))),
        bounds=ends,
        method="bounded",
        options=options,
    )
    return float(found.x)


def _curvature(potential: Function, x: float) -> float:
    """Return the second derivative, by differences over a fifth of the width of the well."""
    step = 1e-3
    for _ in range(4):
        values = potential(x + step * numpy.arange(-2, 3))
        second = float(values @ [-1, 16, -30, 16, -1]) / (12 * step**2)
        step = 0.2 / math.sqrt(abs(second))
    return second
