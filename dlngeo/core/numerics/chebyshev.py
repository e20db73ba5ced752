r"""Stiff flows of many numbers, without Jacobians: the Runge–Kutta–Chebyshev method.

Explicit, of second order, its stages a recurrence of Chebyshev polynomials ``T_j``: of ``s`` stages
it is stable for rates from 0 to some ``0.65 s²`` per step, along the negative real axis, which is
where the Jacobians of gradient flows near their ends have their eigenvalues. So it takes about the
root of the number of evaluations that other explicit methods take.

J. G. Verwer, W. H. Hundsdorfer, B. P. Sommeijer, Convergence properties of the
Runge–Kutta–Chebyshev method, Numer. Math. 57 (1990); B. P. Sommeijer, L. F. Shampine, J. G. Verwer,
RKC: an explicit solver for parabolic PDEs, J. Comput. Appl. Math. 88 (1998).
"""

import functools
import math
from collections.abc import Callable
from typing import Any

import numpy
from scipy.integrate import DenseOutput, OdeSolver
from scipy.interpolate import CubicHermiteSpline

DAMPING = 2 / 13
STABLE = (2 / 3) * (1 - 2 * DAMPING / 15)
"""Of ``s`` stages the interval of stability is ``STABLE (s² - 1)`` long."""

PART = 1 / 30
"""Of the tolerance, so that errors at the end are like those of methods of higher order."""

SAFETY, LEAST, MOST = 0.8, 0.1, 10.0
"""Part of the step that the error allows, and bounds of the change of steps."""

RATE_SAFETY, RATE_STEPS = 1.2, 25
"""Factor above the fastest rate that was found, and steps after which it is looked for again."""


class RungeKuttaChebyshev(OdeSolver):
    """A solver like those of `scipy.integrate`, for real, non-stiff or dissipative problems.

    Parameters
    ----------
    fun : callable
        Velocity ``f(t, y)``, shape=[D].
    t0 : float
    y0 : array, shape=[D]
    t_bound : float
    rtol, atol : float
        The local error of a step is below a part of ``atol + rtol |y|``, in root mean square over
        entries.
    """

    t: float
    y: numpy.ndarray

    def __init__(
        self,
        fun: Callable[[float, Any], Any],
        t0: float,
        y0: numpy.ndarray,
        t_bound: float,
        rtol: float = 1e-3,
        atol: float = 1e-6,
        **extraneous: Any,
    ):
        super().__init__(fun, t0, y0, t_bound, vectorized=False)
        self.rtol, self.atol = PART * rtol, PART * atol
        self.f = self.fun(t0, self.y)
        self._direction_of_rate = self.f
        self._rate = self._fastest_rate()
        self._n_until_rate = RATE_STEPS
        self.h_abs = self._first_step()

    def _step_impl(self) -> tuple[bool, str | None]:
        least = 10 * abs(numpy.nextafter(self.t, self.direction * math.inf) - self.t)
        h_abs = min(self.h_abs, self._longest_step())
        has_failed = False
        while True:
            if h_abs < least:
                return False, self.TOO_SMALL_STEP
            left = abs(self.t_bound - self.t)
            h = self.direction * min(h_abs, left)
            t = self.t_bound if h_abs >= left else self.t + h
            n_stages = max(2, math.ceil(math.sqrt(abs(h) * self._rate / STABLE + 1)))
            y = self._stages(h, n_stages)
            f = self.fun(t, y)
            estimate = 0.8 * (self.y - y) + 0.4 * h * (self.f + f)
            error = self._norm(estimate, numpy.maximum(abs(self.y), abs(y)))
            if error < 1:
                break
            # NaN, of trial states where there is no velocity, is an error beyond all bounds.
            factor = SAFETY * error ** (-1 / 3) if math.isfinite(error) else 0.0
            h_abs = abs(h) * max(LEAST, factor)
            if not has_failed:
                self._rate = self._fastest_rate()
            has_failed = True
        factor = min(MOST, SAFETY * error ** (-1 / 3)) if error > 0 else MOST
        self.h_abs = abs(h) * (min(1.0, factor) if has_failed else factor)
        self._start = self.y, self.f
        self.t, self.y, self.f = t, y, f
        self._n_until_rate -= 1
        if self._n_until_rate <= 0:
            self._rate = self._fastest_rate()
            self._n_until_rate = RATE_STEPS
        return True, None

    def _stages(self, h: float, n_stages: int) -> numpy.ndarray:
        first, *rest = _coefficients(n_stages)
        before, now = self.y, self.y + first * h * self.f
        for c, mu, nu, mu_h, gamma_h in rest:
            slope = h * self.fun(self.t + c * h, now)
            after = (1 - mu - nu) * self.y + mu * now + nu * before
            after += mu_h * slope + gamma_h * h * self.f
            before, now = now, after
        return now

    def _longest_step(self) -> float:
        """Return the longest step of which the round-off, ``s² ε``, is below the tolerance."""
        square = max(self.rtol / numpy.finfo(float).eps, 100.0)
        return STABLE * square / self._rate if self._rate > 0 else math.inf

    def _norm(self, values: numpy.ndarray, size: numpy.ndarray) -> float:
        ratio = values / (self.atol + self.rtol * size)
        return float(numpy.sqrt(numpy.mean(ratio**2)))

    def _first_step(self) -> float:
        """Return a step after which the slope has changed as little as the tolerance asks for."""
        left = abs(self.t_bound - self.t)
        h = min(left, 1 / self._rate if self._rate > 0 else left)
        f = self.fun(self.t + self.direction * h, self.y + self.direction * h * self.f)
        change = h * self._norm(f - self.f, abs(self.y))
        return min(left, h * (0.1 / change**0.5 if change > 0 else 10.0))

    def _fastest_rate(self) -> float:
        """Return a bound on the spectral radius of the Jacobian, by differences along a vector."""
        direction, rate = self._direction_of_rate, 0.0
        size = float(numpy.linalg.norm(self.y)) or 1.0
        step = math.sqrt(numpy.finfo(float).eps) * size
        for _ in range(50):
            length = float(numpy.linalg.norm(direction))
            if not (0 < length < math.inf):
                break
            direction = direction * (step / length)
            change = self.fun(self.t, self.y + direction) - self.f
            found = float(numpy.linalg.norm(change)) / step
            if not math.isfinite(found):  # so near to where there is no velocity
                break
            is_settled = abs(found - rate) <= 0.01 * found
            rate, direction = found, change
            if is_settled:
                break
        self._direction_of_rate = direction
        return RATE_SAFETY * rate

    def _dense_output_impl(self) -> DenseOutput:
        assert self.t_old is not None
        return _Cubic((self.t_old, self.t), (self._start[0], self.y), (self._start[1], self.f))


class _Cubic(DenseOutput):
    """The cubic polynomial of states and slopes at both ends of a step."""

    def __init__(self, times: tuple[float, float], states: Any, slopes: Any):
        super().__init__(*times)
        self._spline = CubicHermiteSpline(times, states, slopes)

    def _call_impl(self, t: float) -> numpy.ndarray:
        return self._spline(t).T


@functools.lru_cache(maxsize=500)
def _coefficients(n_stages: int) -> tuple[Any, ...]:
    """Return ``μ̃_1``, and for each further stage ``(c_{j-1}, μ_j, ν_j, μ̃_j, γ̃_j)``."""
    w0 = 1 + DAMPING / n_stages**2
    t, slope, bend = _chebyshev(n_stages, w0)
    w1 = slope[-1] / bend[-1]
    b = numpy.empty(n_stages + 1)
    b[2:] = bend[2:] / slope[2:] ** 2
    b[:2] = b[2]
    a = 1 - b * t
    c = numpy.empty(n_stages + 1)
    c[2:] = w1 * bend[2:] / slope[2:]
    c[0], c[1] = 0.0, c[2] / slope[2]
    mu, nu = 2 * w0 * b[2:] / b[1:-1], -b[2:] / b[:-2]
    mu_h = 2 * w1 * b[2:] / b[1:-1]
    gamma_h = -a[1:-1] * mu_h
    return b[1] * w1, *numpy.stack([c[1:-1], mu, nu, mu_h, gamma_h], axis=1).tolist()


def _chebyshev(degree: int, x: float) -> tuple[numpy.ndarray, numpy.ndarray, numpy.ndarray]:
    """Return ``T_j(x)``, ``T_j'(x)`` and ``T_j''(x)``, j = 0, ..., degree."""
    t, slope, bend = numpy.zeros((3, degree + 1))
    t[0], t[1], slope[1] = 1.0, x, 1.0
    for j in range(2, degree + 1):
        t[j] = 2 * x * t[j - 1] - t[j - 2]
        slope[j] = 2 * t[j - 1] + 2 * x * slope[j - 1] - slope[j - 2]
        bend[j] = 4 * slope[j - 1] + 2 * x * bend[j - 1] - bend[j - 2]
    return t, slope, bend
