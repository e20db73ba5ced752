r"""Hamiltonian Monte Carlo by Mici: its systems for balanced networks and their matrices.

One law in three forms ([MY25]; THEORY 4): ``e^{-βE(φ(W))} dvol`` on the balanced manifold, which
is ``e^{-βF} dvol_{g^N}`` of the matrix ``X = φ(W)``, with the free energy ``F = E - S/β``. Mici's
samplers, integrators and adaptation take these systems as they are; needs the extra
``sampling``.

Square matrices of full rank have two components, ``det X > 0`` and ``det X < 0``, which meet where
``λ_d = 0``. Chains cross there, and have the law of the whole space, as those of the Langevin
equation. For the law of one component they are folded: on the other side ``X`` is read with its
last left singular vector turned, which keeps the measure and costs no rejections
(`dlngeo.sampling.hamiltonian.root_frames`). On the balanced manifold of even depth it is the other
way round: where ``λ_d`` passes through zero, all factors change the signs of their determinants,
and ``X``, whose singular value is ``λ_d^N``, turns back by itself. There is nothing to fold for one
component then; for the whole space ``X`` is folded where ``det W_1`` is negative.
"""

from collections.abc import Callable
from typing import Any

import numpy

from dlngeo.core.base.checks import in_batch, positive
from dlngeo.core.base.functions import ReturningLike, ReturningNumbers, function
from dlngeo.core.networks.components import check_determinant, check_initial, is_across
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

    depth: int
    _has_components = True

    def _set_energy(
        self,
        energy: Energy,
        energy_gradient: EnergyGradient,
        beta: float,
        determinant: str | None,
    ) -> None:
        check_determinant(
            determinant, "matrices of this shape and rank", has_components=self._has_components
        )
        self.beta, self.determinant = positive(beta, "the inverse temperature"), determinant
        self._energy = ReturningNumbers(function(energy, "energy"), "energy")
        slope = function(energy_gradient, "energy_gradient")
        self._energy_gradient = ReturningLike(slope, "energy_gradient")

    def _is_across(self, product: numpy.ndarray) -> numpy.ndarray:
        """Return where matrices are of the component that chains are not confined to."""
        return is_across(product, self.determinant)

    def observables(self, positions: Any) -> numpy.ndarray:
        """Return the end-to-end matrices ``X`` at positions."""
        raise NotImplementedError

    def _value(self, position: numpy.ndarray) -> float:
        return self._slope_and_value(position)[1]

    def _slope_and_value(self, position: numpy.ndarray) -> tuple[numpy.ndarray, float]:
        """Return gradient and value of the negative logarithm of the density.

        Beyond all bounds the value is infinite and the gradient NaN: Mici rejects the proposal.
        """
        with numpy.errstate(over="ignore", invalid="ignore"):
            # A bound of ``‖X‖``, which is of degree N in the position.
            if numpy.isfinite(numpy.linalg.norm(position) ** self.depth):
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
        check_initial(observables, self.determinant)
        is_lost = numpy.empty(observables.shape[:-2], dtype=bool)
        for place, observable in zip(
            numpy.ndindex(is_lost.shape), observables.reshape(-1, rows, columns), strict=True
        ):
            value, slope = self._energy(observable), self._energy_gradient(observable)
            is_lost[place] = not (numpy.isfinite(value).all() and numpy.isfinite(slope).all())
        if is_lost.any():
            raise ValueError(
                f"energy or gradient of an initial matrix is NaN or infinite{in_batch(is_lost)}: "
                "start elsewhere."
            )
        return list(positions.reshape(-1, positions.shape[-1]))
