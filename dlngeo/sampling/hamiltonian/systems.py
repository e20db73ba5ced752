r"""Hamiltonian Monte Carlo by Mici: its systems for balanced networks and their matrices.

One law in three forms ([MY25]; THEORY 4): ``e^{-βE(φ(W))} dvol`` on the balanced manifold, which
is ``e^{-βF} dvol_{g^N}`` of the matrix ``X = φ(W)``, with the free energy ``F = E - S/β``. Mici's
samplers, integrators and adaptation take these systems as they are; needs the extra
``sampling``.

Square matrices of full rank have two components, ``det X > 0`` and ``det X < 0``, which meet where
``λ_d = 0``. A system samples the law on one of them, as the Langevin equation does, which is
reflected there. Its chains cross instead, and are folded: on the other side ``X`` is read with its
last left singular vector turned, which keeps the measure and costs no rejections
(`dlngeo.sampling.hamiltonian.root_frames`). On the balanced manifold of even depth there is nothing
to fold: where ``λ_d`` passes through zero, all factors change the signs of their determinants, and
``X``, whose singular value is ``λ_d^N``, turns back by itself.
"""

from collections.abc import Callable
from typing import Any

import numpy

from dlngeo.core.base.checks import positive
from dlngeo.core.networks.frames import check_positive

try:
    import mici
except ImportError as error:
    raise ImportError(
        "the Hamiltonian samplers are those of Mici, which is not installed: install the extra "
        "sampling (pip install 'dlngeo[sampling]'), or use the Langevin samplers."
    ) from error

Energy = Callable[[numpy.ndarray], Any]
EnergyGradient = Callable[[numpy.ndarray], numpy.ndarray]


class NetworkSystem(mici.systems.System):
    """What the systems share: an energy of the end-to-end matrix."""

    _has_components = True

    def _set_energy(
        self, energy: Energy, energy_gradient: EnergyGradient, beta: float, component: int
    ) -> None:
        if component not in (1, -1):
            raise ValueError(f"the component is the sign of det X, 1 or -1, got {component}.")
        self.beta, self.component = positive(beta, "the inverse temperature"), int(component)
        self._energy, self._energy_gradient = energy, energy_gradient

    def observables(self, positions: Any) -> numpy.ndarray:
        """Return the end-to-end matrices ``X`` at positions."""
        raise NotImplementedError

    def _value(self, position: numpy.ndarray) -> float:
        return self._slope_and_value(position)[1]

    def _slope_and_value(self, position: numpy.ndarray) -> tuple[numpy.ndarray, float]:
        """Return gradient and value of the negative logarithm of the density.

        Beyond all bounds the value is infinite and the gradient NaN: Mici rejects the proposal.
        """
        if numpy.isfinite(position).all():
            with numpy.errstate(over="ignore", invalid="ignore"):
                slope, value = self._finite_slope_and_value(position)
            if numpy.isfinite(slope).all():
                return slope, value
        return numpy.full_like(position, numpy.nan), numpy.inf

    def _finite_slope_and_value(self, position: numpy.ndarray) -> tuple[numpy.ndarray, float]:
        raise NotImplementedError

    def _scaled_energy(self, observable: numpy.ndarray) -> tuple[numpy.ndarray, float]:
        """Return ``β ∇E`` and ``β E``."""
        slope = self._energy_gradient(observable)
        return self.beta * slope, self.beta * float(self._energy(observable))

    def _checked_positions(
        self, observables: numpy.ndarray, positions: numpy.ndarray, rank: int
    ) -> list[numpy.ndarray]:
        """Return positions, one for each chain, over matrices that a chain can start at."""
        check_positive(numpy.linalg.svd(observables, compute_uv=False), rank)
        rows, columns = observables.shape[-2:]
        if self._has_components:
            signs = numpy.linalg.slogdet(observables)[0]
            if (signs != self.component).any():
                raise ValueError(
                    "expected initial matrices whose determinants have the sign "
                    f"{self.component}: sample each component, component=1 and component=-1, by a "
                    "system of its own."
                )
        for observable in observables.reshape(-1, rows, columns):
            value = numpy.asarray(self._energy(observable))
            slope = numpy.asarray(self._energy_gradient(observable))
            if value.size != 1 or slope.shape != observable.shape:
                raise ValueError(
                    f"energy and gradient of a matrix of shape {observable.shape} must be a number "
                    f"and a matrix of its shape, got shapes {value.shape} and {slope.shape}."
                )
            if not (numpy.isfinite(value).all() and numpy.isfinite(slope).all()):
                raise ValueError(
                    "energy or gradient of an initial matrix is NaN or infinite: start elsewhere."
                )
        return list(positions.reshape(-1, positions.shape[-1]))
