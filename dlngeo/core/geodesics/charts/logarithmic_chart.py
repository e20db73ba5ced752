r"""The logarithmic chart: geodesics of the depth metric at infinite depth.

Depth-root coordinates have the limit ``X = Q e^S Oᵀ`` with frames ``Q, O`` and a symmetric
``S``. In its eigenframe, with the differences ``x_kl`` of the eigenvalues,

.. math:: H = \tfrac12 \sum_{kl} \left( α(x_{kl}) p_{kl}^2 + γ(x_{kl}) c_{kl}^2 \right), \quad
          α(x) = \frac x2 \coth \frac x2, \; γ(x) = \frac{\tanh(x/2)}{2x}.

The metric does not change under ``X ↦ a X``, and is complete.
"""

from dataclasses import dataclass

import numpy
from scipy import special

from dlngeo.core.base import optional
from dlngeo.core.base.arrays import eigh, symmetric_part, transpose
from dlngeo.core.geodesics.charts.chart import ObservableChart
from dlngeo.core.geodesics.charts.depth_root_chart import COMPILED_UP_TO, State, compiled_flow
from dlngeo.core.networks.blocks import Blocks
from dlngeo.core.networks.frames import SingularFrames
from dlngeo.core.numerics.integration import Trajectory

# Below this half of a difference quotients are series, in the powers of its square: those of
# x coth x and of tanh(x) / x.
SMALL = 0.25
_BERNOULLI = numpy.array([1 / 6, -1 / 30, 1 / 42, -1 / 30, 5 / 66, -691 / 2730, 7 / 6, -3617 / 510])
_BERNOULLI = numpy.append(_BERNOULLI, [43867 / 798, -174611 / 330, 854513 / 138])
_POWERS = 4.0 ** numpy.arange(1, 12)
COTH_SERIES = _POWERS * _BERNOULLI / special.factorial(2 * numpy.arange(1, 12))
TANH_SERIES = (COTH_SERIES * (_POWERS - 1))[1:]


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


def _quotients(x: numpy.ndarray) -> tuple[numpy.ndarray, numpy.ndarray]:
    r"""Return the divided differences of ``α`` and ``γ`` at ``x_km`` and ``x_lm``.

    With ``a = x_km/2, b = x_lm/2`` and ``d = a - b = x_kl/2``, and the larger of both for ``a``,

    .. math:: α[x_{km}, x_{lm}] = \frac{\cosh a - \frac{\sinh d}{d} \frac{b}{\sinh b}}{2 \sinh a},
              \quad γ[x_{km}, x_{lm}] = \frac{1}{8a} \Bigl(\frac{\sinh d}{d \cosh a \cosh b}
              - \frac{\tanh b}{b}\Bigr).

    References
    ----------
    Own derivation.
    """
    half = x / 2
    sinh, cosh = numpy.sinh(half), numpy.cosh(half)
    pairs = numpy.stack([half, sinh, cosh])
    first, second = numpy.broadcast_arrays(pairs[..., :, None, :], pairs[..., None, :, :])
    is_larger = abs(first[0]) >= abs(second[0])
    (a, sinh_a, cosh_a), (b, sinh_b, cosh_b) = (
        numpy.where(is_larger, first, second),
        numpy.where(is_larger, second, first),
    )
    between = _stretch(x)[..., None]
    with numpy.errstate(divide="ignore", invalid="ignore"):
        per_sinh = numpy.where(b == 0, 1.0, b / sinh_b)
        by_alpha = (cosh_a - between * per_sinh) / (2 * sinh_a)
        by_gamma = (between / cosh_a - 1 / per_sinh) / (8 * a * cosh_b)
    is_small = abs(a) < SMALL
    if is_small.any():
        a, b = a[is_small], b[is_small]
        by_coth = by_tanh = 0.0
        power, sums = numpy.ones_like(b), numpy.ones_like(a)
        for coth, tanh in zip(COTH_SERIES[:-1], TANH_SERIES, strict=True):
            by_coth, by_tanh = by_coth + coth * sums, by_tanh + tanh * sums
            power = power * b**2
            sums = a**2 * sums + power
        by_alpha[is_small] = (a + b) * by_coth / 2
        by_gamma[is_small] = (a + b) * by_tanh / 8
    return by_alpha, by_gamma


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
        by_alpha, by_gamma = _quotients(x)
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

    def flow(
        self,
        start: numpy.ndarray,
        end: numpy.ndarray,
        tolerance: float | numpy.ndarray,
        most_steps: int = 2_000,
    ) -> Trajectory:
        """Follow the geodesic flow, by compiled loops where there are any."""
        compiled = None
        if self.size <= COMPILED_UP_TO:
            compiled = optional.compiled_loop(
                "dlngeo.core.geodesics.charts.compiled", "integrate_geodesics"
            )
        if compiled is None:
            return super().flow(start, end, tolerance, most_steps)
        return compiled_flow(
            compiled, start, end, tolerance, most_steps, (self.size, self.size, self.size, 0)
        )

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
