r"""The logarithmic chart: geodesics of the depth metric at infinite depth.

Depth-root coordinates have the limit ``X = Q e^S Oᵀ`` with frames ``Q, O`` and a symmetric
``S``. In its eigenframe, with the differences ``x_kl`` of the eigenvalues,

.. math:: H = \tfrac12 \sum_{kl} \left( α(x_{kl}) p_{kl}^2 + γ(x_{kl}) c_{kl}^2 \right), \quad
          α(x) = \frac x2 \coth \frac x2, \; γ(x) = \frac{\tanh(x/2)}{2x}.

The metric does not change under ``X ↦ a X``, and is complete.
"""

from dataclasses import dataclass

import numpy

from dlngeo.core.base.arrays import eigh, symmetric_part, transpose
from dlngeo.core.geodesics.charts import ObservableChart
from dlngeo.core.geodesics.depth_root_chart import State
from dlngeo.core.networks.blocks import Blocks
from dlngeo.core.networks.frames import SingularFrames

_NODES, _WEIGHTS = numpy.polynomial.legendre.leggauss(10)
_NODES, _WEIGHTS = (_NODES + 1) / 2, _WEIGHTS / 2


def _excess(x: numpy.ndarray) -> numpy.ndarray:
    """Return ``sinh x - x`` without cancellation."""
    square = x * x
    series = 1.0
    for k in (17, 15, 13, 11, 9, 7, 5):
        series = 1 + square / (k * (k - 1)) * series
    return numpy.where(abs(x) < 1, x * square / 6 * series, numpy.sinh(x) - x)


def _stretch(x: numpy.ndarray) -> numpy.ndarray:
    """Return ``2 sinh(x/2) / x``, which turns velocities of ``S`` into those of ``X``."""
    safe = numpy.where(x == 0, 1.0, x)
    return numpy.where(x == 0, 1.0, 2 * numpy.sinh(safe / 2) / safe)


def _alpha(x: numpy.ndarray) -> numpy.ndarray:
    safe = numpy.where(x == 0, 1.0, x) / 2
    return numpy.where(x == 0, 1.0, safe / numpy.tanh(safe))


def _gamma(x: numpy.ndarray) -> numpy.ndarray:
    safe = numpy.where(x == 0, 1.0, x)
    return numpy.where(x == 0, 0.25, numpy.tanh(safe / 2) / (2 * safe))


def _alpha_slope(x: numpy.ndarray) -> numpy.ndarray:
    """Return ``α'(x) = (sinh x - x) / (4 sinh²(x/2))``."""
    safe = numpy.where(x == 0, 1.0, numpy.clip(x, -300, 300))
    return numpy.where(x == 0, 0.0, _excess(safe) / (4 * numpy.sinh(safe / 2) ** 2))


def _gamma_slope(x: numpy.ndarray) -> numpy.ndarray:
    """Return ``γ'(x) = -(sinh x - x) / (4 x² cosh²(x/2))``."""
    safe = numpy.where(x == 0, 1.0, numpy.clip(x, -300, 300))
    slope = -_excess(safe) / (4 * safe**2 * numpy.cosh(safe / 2) ** 2)
    return numpy.where(x == 0, 0.0, slope)


def _quotients(values, slope, x: numpy.ndarray, y: numpy.ndarray) -> numpy.ndarray:
    """Return ``(f(x) - f(y)) / (x - y)``, by quadrature of the slope where they are close."""
    gap = x - y
    is_close = abs(gap) < 1
    safe = numpy.where(is_close, 1.0, gap)
    near = slope(y[..., None] + gap[..., None] * _NODES) @ _WEIGHTS
    return numpy.where(is_close, near, (values(x) - values(y)) / safe)


@dataclass(frozen=True, eq=False)
class LogarithmicChart(ObservableChart):
    """Logarithmic coordinates of square matrices of full rank, for infinite depth.

    Attributes
    ----------
    size : int
    """

    size: int

    def _unpack(self, packed: numpy.ndarray) -> State:
        return State.unpack(packed, self.size, self.size, self.size)

    def velocity(self, packed: numpy.ndarray) -> tuple[numpy.ndarray, numpy.ndarray]:
        r"""Return the velocity of the geodesic flow, and ones: there is no boundary.

        .. math:: \dot S = α ∘ p, \quad \dot c = [A, [S, p]], \; A = γ ∘ c, \quad
                  \dot p_{kl} = -\sum_m \left( α[x_{km}, x_{lm}] p_{km} p_{lm}
                  + γ[x_{km}, x_{lm}] c_{km} c_{lm} \right)

        in the eigenframe of ``S``, with divided differences in brackets.

        References
        ----------
        Own derivation; THEORY 3.
        """
        state = self._unpack(packed)
        psi, frame = eigh(state.stretch)
        back = transpose(frame)
        p, c = back @ state.momentum @ frame, back @ state.spin @ frame
        x = psi[..., :, None] - psi[..., None, :]
        x_km, x_lm = numpy.broadcast_arrays(x[..., :, None, :], x[..., None, :, :])
        by_alpha = _quotients(_alpha, _alpha_slope, x_km, x_lm)
        by_gamma = _quotients(_gamma, _gamma_slope, x_km, x_lm)
        p_dot = -numpy.sum(
            by_alpha * p[..., :, None, :] * p[..., None, :, :]
            + by_gamma * c[..., :, None, :] * c[..., None, :, :],
            axis=-1,
        )
        turn = _gamma(x) * c
        twist = turn @ (x * p)
        turn = turn @ back
        core = (_alpha(x) * p, p_dot, twist - transpose(twist))
        stretch, momentum, spin = (frame @ part @ back for part in core)
        sides = state.left @ frame @ turn, -state.right @ frame @ turn
        change = State(stretch, momentum, spin, *sides, state.left_null, state.right_null)
        return change.pack(), numpy.ones(len(packed))

    def enter(self, frames: SingularFrames, tangent: Blocks) -> numpy.ndarray:
        psi, x, core = self._logarithms(frames, tangent)
        empty = core[..., :0, :]
        state = State(
            psi[..., :, None] * numpy.eye(self.size) + 0 * core,
            symmetric_part(core) / (_stretch(x) * _alpha(x)),
            (core - transpose(core)) / (4 * numpy.cosh(x / 2) * _gamma(x)),
            frames.left + 0 * core,
            frames.right + 0 * core,
            empty,
            empty,
        )
        return state.pack()

    @staticmethod
    def _logarithms(frames: SingularFrames, tangent: Blocks) -> tuple[numpy.ndarray, ...]:
        """Return ``log σ``, its differences, and the velocity over ``(σ_k σ_l)^{1/2}``."""
        psi = numpy.log(frames.sigma)
        root = numpy.sqrt(frames.sigma)
        core = tangent.core / root[..., :, None] / root[..., None, :]
        return psi, psi[..., :, None] - psi[..., None, :], core

    def decompose(self, state: numpy.ndarray) -> tuple[SingularFrames, Blocks]:
        stretch, momentum, spin, left, right, _, _ = self._unpack(state)
        psi, frame = eigh(stretch)
        back = transpose(frame)
        x = psi[..., :, None] - psi[..., None, :]
        core = _stretch(x) * _alpha(x) * (back @ momentum @ frame)
        core = core + 2 * numpy.cosh(x / 2) * _gamma(x) * (back @ spin @ frame)
        root = numpy.exp(psi / 2)
        core = root[..., :, None] * core * root[..., None, :]
        return SingularFrames(left @ frame, root**2, right @ frame), Blocks(core)

    def speed(self, frames: SingularFrames, tangent: Blocks) -> numpy.ndarray:
        """Return the norm of a velocity in the depth metric, scaled by the depth."""
        _, x, core = self._logarithms(frames, tangent)
        safe = numpy.where(x == 0, 1.0, x)
        inverse = numpy.where(x == 0, 1.0, safe / numpy.sinh(safe))
        return numpy.sqrt(numpy.sum(core**2 * inverse, axis=(-2, -1)))

    def displacement(self, state: numpy.ndarray, frames: SingularFrames) -> Blocks:
        """Return ``Σ_1^{-1/2} Uᵀ X V Σ_1^{-1/2} - I`` in the frames of another matrix."""
        here, _ = self.decompose(state)
        core = transpose(frames.left) @ here.with_values(here.sigma) @ frames.right
        root = numpy.sqrt(frames.sigma)
        core = core / root[..., :, None] / root[..., None, :]
        return Blocks(core - numpy.eye(self.size))

    def pull_back(
        self, displacement: Blocks, source: SingularFrames, target: SingularFrames
    ) -> Blocks:
        root = numpy.sqrt(target.sigma)
        core = root[..., :, None] * displacement.core * root[..., None, :]
        velocity = target.left @ core @ transpose(target.right)
        return Blocks(transpose(source.left) @ velocity @ source.right)
