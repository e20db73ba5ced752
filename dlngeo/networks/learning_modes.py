r"""Training of one singular value at a time on whitened data, at every depth.

Where start and target share their singular vectors, balanced factors keep them, and each strength
``s`` moves on its own,

.. math:: \dot s = N s^{2 - 2/N} (y - s).

Of two layers ``s`` is a sigmoid. Of more, the time that it takes is an integral in ``x = s / |y|``,

.. math:: |y|^{2-2/N} \, t = \frac1N \int \frac{dx}{x^{2-2/N} (\pm 1 - x)},

of which this file holds the three branches, each as a function that increases along the flow:
below the target, above it, and from a target of the other sign down to zero. Below and above the
variable is the logarithm of the odds, ``p = \log(x / (1 - x))`` or that of ``1/x``, so that
neither tiny strengths nor the last way to the target lose digits; the other sign has ``p = \log
(1/x)``. At ``y = 0`` a power law is left.

References
----------
A. Saxe, J. McClelland, S. Ganguli, *Exact solutions to the nonlinear dynamics of learning in deep
linear neural networks*, ICLR 2014; THEORY 1.
"""

from collections.abc import Callable

import numpy
import scipy.special
from numpy.polynomial.polynomial import polyval
from scipy.optimize.elementwise import find_root

from dlngeo.core.base.arrays import Array

_N_TERMS = 60
"""Of a series in ``x ≤ ½``, to round-off."""


def mode_strengths(start: Array, target: Array, depth: int, times: Array) -> Array:
    """Return strengths at some times, shape=[t, k].

    Parameters
    ----------
    start : array, shape=[k]
        Strengths at time zero, positive.
    target : array, shape=[k]
        Those of the target, of any sign.
    depth : int
        ``N``, at least 3.
    times : array, shape=[t]
        Not negative.
    """
    paths = [_path(float(s), float(y), depth, times) for s, y in zip(start, target, strict=True)]
    return numpy.stack(paths, axis=-1)


def _path(s: float, y: float, depth: int, times: Array) -> Array:
    """Return one strength at the times, shape=[t]."""
    power = 2 - 2 / depth
    if y == 0:
        return s * (1 + (2 * depth - 2) * s**power * times) ** (-1 / power)
    if s == y:
        return numpy.full(times.shape, y)
    x, ages = s / abs(y), abs(y) ** power * times
    if y < 0:
        # The rate of x is between x^power and (1 + x_0) x^power.
        growth = (power - 1) * (1 + x) * x ** (power - 1) * depth * ages
        p = _advance(_age_against, -numpy.log(x), numpy.log1p(growth) / (power - 1), depth, ages)
        return -y * numpy.exp(-p)
    # The rate of the odds' logarithm is at most 1 below the target, and x_0^power above it.
    if s < y:
        p = _advance(_age_below, numpy.log(s / (y - s)), depth * ages, depth, ages)
        return y * scipy.special.expit(p)
    p = _advance(_age_above, numpy.log(y / (s - y)), depth * ages * x**power, depth, ages)
    return y * (1 + numpy.exp(-p))


def _advance(
    age: Callable[[Array, int], Array], start: float, farthest: Array, depth: int, ages: Array
) -> Array:
    """Return the variables at which the age has grown, which is no farther than said."""
    goal = age(numpy.array(start), depth) + ages
    end = start + farthest * (1 + 1e-9) + 1e-9  # beyond the root, whatever round-off does
    tolerances = {"xatol": 0, "xrtol": numpy.finfo(float).eps, "fatol": 0, "frtol": 0}
    found = find_root(
        lambda p, goal: age(p, depth) - goal, (start, end), args=(goal,), tolerances=tolerances
    )
    return numpy.where(ages == 0, start, found.x)


def _age_below(p: Array, depth: int) -> Array:
    x_power = numpy.exp(numpy.logaddexp(0, -p) * (depth - 2) / depth)
    return _odds_integral(2 / depth, p) / depth - x_power / (depth - 2)


def _age_above(p: Array, depth: int) -> Array:
    return _odds_integral(2 - 2 / depth, p) / depth


def _age_against(p: Array, depth: int) -> Array:
    # Up to x = 1 and from there on, in powers of what is at most one.
    inverse, x = numpy.exp(numpy.minimum(p, 0)), numpy.exp(-numpy.maximum(p, 0))
    b, c = 2 - 2 / depth, 2 / depth
    until = inverse**b * scipy.special.hyp2f1(1, b, 1 + b, -inverse) / b
    after = x**c * scipy.special.hyp2f1(1, c, 1 + c, -x) / c - numpy.pi / numpy.sin(c * numpy.pi)
    after = after + numpy.exp(numpy.maximum(p, 0) * (1 - c)) / (1 - c)
    return numpy.where(p < 0, until, after) / depth


def _odds_integral(b: float, p: Array) -> Array:
    """Return ``∫_0^x v^{b-1} / (1 - v) dv`` for ``x = 1 / (1 + e^{-p})``.

    It is ``x^b F(1, b; 1 + b; x) / b``, of which SciPy loses digits near 1.
    """
    k = numpy.arange(_N_TERMS)
    x, rest = scipy.special.expit(p), scipy.special.expit(-p)
    near_zero = x**b * polyval(numpy.minimum(x, 0.5), 1 / (b + k))
    # Off the logarithm is the integral of (1 - v^{b-1}) / (1 - v), a series in 1 - v.
    binomials = numpy.cumprod((k + 1 - b) / (k + 1)) / (k + 1)
    series = polyval(numpy.minimum(rest, 0.5), numpy.concatenate([[0.0], binomials]))
    whole = scipy.special.digamma(b) + numpy.euler_gamma
    near_one = numpy.logaddexp(0, p) - whole - series
    return numpy.where(p < 0, near_zero, near_one)
