"""What the Langevin equation is about: an energy, a network, temperatures."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy

from dlngeo.core.base.arrays import diagonal_matrix, transpose
from dlngeo.core.base.checks import in_batch
from dlngeo.core.base.functions import returned
from dlngeo.core.networks.blocks import Blocks, split
from dlngeo.core.networks.frames import SingularFrames, tangent_at
from dlngeo.sampling.energies import SpectralEnergy
from dlngeo.sampling.langevin_dynamics.states import is_finite


@dataclass(frozen=True)
class Equation:
    r"""Riemannian Langevin equation of a deep linear network.

    On end-to-end matrices ``dX = -grad F_β dt + dB^{β/κ}`` with the free energy
    ``F_β = E - S/β`` and the Brownian motion of generator ``(κ/β) Δ_g``; its stationary law is
    ``e^{-(β/κ) F_β} dvol_g``.

    Attributes
    ----------
    gradient : callable, or None
        ``∇E`` of matrices, shape=[chains, d_N, d_0] to the same; of a spectral energy the
        derivatives ``∂E/∂σ``, shape=[chains, r] to the same, of values in descending order.
    widths : tuple of int
        ``(d_0, ..., d_N)``; at infinite depth the two ends.
    rank : int
    beta : float, or array, shape=[chains]
        Inverse temperature ``β``, of all chains or of each.
    kappa : float
        Ratio ``κ`` of the temperatures of horizontal and of vertical noise.
    is_spectral : bool
        Whether the energy is a function of singular values.
    energy : callable, optional
        ``E``, to shape=[chains].
    spectral : SpectralEnergy, optional
        A further energy, of the singular values of matrices.
    determinant : str, optional
        "positive" or "negative": the component that chains are confined to; all by default.
    is_infinite : bool
        Whether the depth is infinite.
    """

    gradient: Callable[[numpy.ndarray], Any] | None
    widths: tuple[int, ...]
    rank: int
    beta: Any
    kappa: float = 1.0
    is_spectral: bool = False
    energy: Callable[[numpy.ndarray], Any] | None = None
    spectral: SpectralEnergy | None = None
    determinant: str | None = None
    is_infinite: bool = False

    @property
    def depth(self) -> int:
        """Number of factors, of finite depth."""
        assert not self.is_infinite
        return len(self.widths) - 1

    @property
    def has_components(self) -> bool:
        """Whether the matrices of the rank are of two components, by the sign of ``det``."""
        return self.widths[0] == self.widths[-1] == self.rank

    @property
    def crosses(self) -> bool:
        """Whether chains may go from one component to the other."""
        return self.has_components and self.determinant is None and not self.is_spectral

    @property
    def space(self) -> str:
        """On which space chains have their law, in words."""
        rows, columns = self.widths[-1], self.widths[0]
        matrices = f"{rows} x {columns} matrices of rank {self.rank}"
        if self.is_infinite:
            matrices = f"{matrices} at infinite depth"
        if self.is_spectral:
            return f"singular values of {matrices}"
        if not self.has_components:
            return matrices
        return f"{matrices} with {self.determinant or 'either sign of the'} determinant"

    def temperature(self, n_axes: int = 1) -> Any:
        """Return ``1/β``, to multiply arrays of chains that have so many axes."""
        if isinstance(self.beta, numpy.ndarray):
            return 1 / self.beta.reshape(-1, *[1] * (n_axes - 1))
        return 1 / self.beta

    @property
    def least(self) -> float:
        """Value below which no ``λ`` is let fall: there kernels of the depth metric underflow."""
        return 1e-300 ** (1 / (2 * self.depth))

    @property
    def has_value(self) -> bool:
        """Whether the energy itself is known."""
        return self.energy is not None or self.spectral is not None

    @property
    def is_ambient(self) -> bool:
        """Whether the energy is a function of matrices alone."""
        return not self.is_spectral and self.spectral is None

    def point(self, matrix: SingularFrames) -> numpy.ndarray:
        """Return what the energy is a function of: the matrices, or values in descending order."""
        if self.is_spectral:
            return _sorted(matrix.sigma)
        return matrix.with_values(matrix.sigma)

    def covector(self, matrix: SingularFrames) -> numpy.ndarray:
        """Return the Euclidean gradient at matrices in frames.

        shape=[chains, d_N, d_0], without `spectral`; or of a spectral energy ``∂E/∂σ``,
        shape=[chains, r], in the order of the frames: as a matrix it would lose the small entries
        beside the large ones to round-off.
        """
        if self.is_spectral:
            return _in_order(self.slope, matrix.sigma)
        return self.slope(self.point(matrix))

    def blocks(self, covector: numpy.ndarray, matrix: SingularFrames) -> Blocks:
        """Return the whole gradient, of which `covector` gave a part, split in the frames."""
        if not self.is_spectral:
            blocks = split(covector, matrix.left, matrix.right)
            if self.spectral is None:
                return blocks
            slope = _in_order(self.spectral.gradient, matrix.sigma)
            return blocks._replace(core=blocks.core + diagonal_matrix(slope))
        return tangent_at(
            matrix,
            diagonal_matrix(covector),
            numpy.zeros_like(matrix.left),
            numpy.zeros_like(transpose(matrix.right)),
        )

    def values(self, matrix: SingularFrames) -> numpy.ndarray:
        """Return the energy at matrices in frames, shape=[chains]; it may be infinite."""
        assert self.has_value
        values = numpy.zeros(len(matrix.sigma))
        if self.energy is not None:
            values += self.value(self.point(matrix))
        if self.spectral is not None:
            own = self.spectral(_sorted(matrix.sigma))
            values += _of_shape(own, values.shape, "the spectral energy")
        return values

    def value(self, point: numpy.ndarray) -> numpy.ndarray:
        """Return the energy at matrices or singular values, without `spectral`."""
        assert self.energy is not None
        return _of_shape(self.energy(point), point.shape[:1], "energy")

    def slope(self, point: numpy.ndarray) -> numpy.ndarray:
        """Return the energy's gradient at matrices or singular values, of their shape.

        Where it is not finite is for the kernel to see: a chain does not go there.

        Raises
        ------
        ValueError
            If it is of another shape.
        """
        if self.gradient is None:
            return numpy.zeros_like(point)
        return _of_shape(self.gradient(point), point.shape, "energy_gradient")

    def initial_covector(self, matrix: SingularFrames) -> numpy.ndarray:
        """Return the `covector` at initial matrices.

        Raises
        ------
        ValueError
            If it is not finite somewhere.
        """
        covector = self.covector(matrix)
        is_lost = ~is_finite(covector)
        if is_lost.any():
            raise ValueError(
                f"the energy's gradient is not finite at every initial state{in_batch(is_lost)}: "
                "start elsewhere, or correct it."
            )
        return covector


def _sorted(values: numpy.ndarray) -> numpy.ndarray:
    return numpy.take_along_axis(values, _descending(values), -1)


def _in_order(
    function: Callable[[numpy.ndarray], numpy.ndarray], values: numpy.ndarray
) -> numpy.ndarray:
    """Return what a function gives of values in descending order, in the order of the values."""
    order = _descending(values)
    slope = function(numpy.take_along_axis(values, order, -1))
    return numpy.take_along_axis(slope, numpy.argsort(order, axis=-1), -1)


def _descending(values: numpy.ndarray) -> numpy.ndarray:
    return numpy.argsort(-values, axis=-1)


def _of_shape(values: Any, shape: tuple[int, ...], name: str) -> numpy.ndarray:
    # A copy, as it is kept while the caller may write the next one to the same place.
    array = numpy.array(returned(values, name), order="C")
    if array.shape != shape:
        raise ValueError(
            f"{name} takes all chains at once: expected a result of shape {shape}, got "
            f"{array.shape}."
        )
    return array
